"""Bias of each campaign's forecasts, followed while outcomes come in; an algorithm as a triple of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import Unusable

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]


class Bias(NamedTuple):
    """init(n_campaigns) -> state; update(state, campaign, expected, real) -> state; factor(state) -> (c,) to multiply by.

    An update takes the events whose outcome came in over an interval, (m,) each: the campaign, the probability that was
    expected, and what happened, 0 or 1, or a share of it. The state is (c, 2): expected and real counts.
    """

    init: Callable[[int], FloatArray]
    update: Callable[[FloatArray, IntArray, FloatArray, FloatArray], FloatArray]
    factor: Callable[[FloatArray], FloatArray]


def online_bias(*, prior: float, half_life: float, lowest: float = 0.5, highest: float = 2.0) -> Bias:
    """Real over expected counts, the past counting for less and less: (real + prior) / (expected + prior).

    This is the posterior mean of the factor where counts are Poisson and the factor has the prior Gamma(prior, prior), of mean 1.

    Args:
        prior: Events that a factor of 1 counts for, > 0; a campaign without data has it.
        half_life: Updates after which an event counts half.
        lowest: Least factor, in (0, 1].
        highest: Largest factor, >= 1.

    Raises:
        Unusable: If a setting is out of range; in an update, if shapes differ, a campaign is none of the state's, or a number is
            negative or not finite.

    References:
        Gelman et al. (2013), Bayesian Data Analysis, section 2.6.
    """
    for name, value in (("prior", prior), ("half_life", half_life)):
        if not 0 < value < np.inf:
            raise Unusable(f"{name} is {value}, it must be > 0 and finite")
    if not 0 < lowest <= 1 <= highest < np.inf:
        raise Unusable(f"lowest is {lowest} and highest {highest}, they must be > 0 and finite, with 1 between them")
    kept = 0.5 ** (1.0 / half_life)

    def update(state: FloatArray, campaign: IntArray, expected: FloatArray, real: FloatArray) -> FloatArray:
        _check(len(state), campaign, expected, real)
        came = [np.bincount(campaign, counts, minlength=len(state)) for counts in (expected, real)]
        return kept * state + np.column_stack(came)

    def factor(state: FloatArray) -> FloatArray:
        expected, real = state.T
        return np.clip((real + prior) / (expected + prior), lowest, highest)

    return Bias(lambda n: np.zeros((n, 2)), update, factor)


def _check(n_campaigns: int, campaign: IntArray, expected: FloatArray, real: FloatArray) -> None:
    if not campaign.shape == expected.shape == real.shape:
        raise Unusable(f"campaign, expected and real have shapes {campaign.shape}, {expected.shape} and {real.shape}")
    wrong = (campaign < 0) | (campaign >= n_campaigns)
    for i in np.flatnonzero(wrong)[:1]:
        raise Unusable(f"campaign[{i}] is {campaign[i]}, it must be >= 0 and < {n_campaigns}")
    for name, counts in (("expected", expected), ("real", real)):
        for i in np.flatnonzero(~(np.isfinite(counts) & (counts >= 0)))[:1]:
            raise Unusable(f"{name}[{i}] is {counts[i]}, it must be finite and >= 0")
