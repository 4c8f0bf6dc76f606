"""Selection by clicks: conversions are seen after clicks only, which are not a sample of the impressions.

A conversion model that serves all impressions is wanted for all of them. Dividing by the probability of the click brings the
clicked to the mix of all; imputing what was not seen lowers the variance, and with both, one of the two may be wrong.
"""

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import Unusable
from models.weights import FloatArray, Weights, effective_rows

BoolArray = NDArray[np.bool_]


class Mean(NamedTuple):
    """An estimate of the mean conversion after a click over all impressions."""

    estimate: float
    error: float  # standard
    effective_rows: float  # of the clicks, weighted by 1 / p


def ipw_cvr_weights(weights: Weights, click_probability: FloatArray, *, least: float = 0.0) -> Weights:
    """Clicked rows weighted by 1 / p: in expectation the loss over all impressions (Zhang et al. 2020).

    Args:
        weights: Of the clicked rows (m,).
        click_probability: (m,) p of each.
        least: Smaller probabilities are taken as this, within [0, 1]: less variance, some bias.

    Raises:
        Unusable: If a probability is not within (0, 1].
    """
    p = _propensity(click_probability, least)
    return Weights(weights.positive / p, weights.negative / p)


def doubly_robust_weights(
    click: BoolArray,
    conversion: NDArray[Any],
    click_probability: FloatArray,
    imputed: FloatArray,
    *,
    least: float = 0.0,
) -> Weights:
    """Weights t and 1 - t over all impressions, t = r + o (y - r) / p, of which either may be below 0.

    The log loss is linear in the label, so that imputing the loss by that of the label r is imputing the label. Its
    expectation is that of the full loss if p or r is right (Wang, Zhang, Sun & Qi 2019, Doubly robust joint learning
    for recommendation on data missing not at random; Zhang et al. 2020, Large-scale causal approaches to debiasing
    post-click conversion rate estimation with multi-task learning).

    Args:
        click: (m,) o.
        conversion: (m,) y, 1 or 0; anything finite where there is no click.
        click_probability: (m,) p.
        imputed: (m,) r, what the conversion is taken to be without a click, within [0, 1]; made without the row's own label.
        least: Smaller probabilities are taken as this, within [0, 1].

    Raises:
        Unusable: If a probability is not within (0, 1].
    """
    positive = imputed + click * (conversion - imputed) / _propensity(click_probability, least)
    return Weights(positive, 1.0 - positive)


def ipw_mean(click: BoolArray, conversion: NDArray[Any], click_probability: FloatArray) -> Mean:
    """Mean of o y / p over at least two impressions (Horvitz & Thompson 1952). Arguments as of `doubly_robust_weights`.

    Raises:
        Unusable: If a probability is not within (0, 1].
    """
    weight = click / _propensity(click_probability)
    return _mean(weight * conversion, weight)


def snips_mean(click: BoolArray, conversion: NDArray[Any], click_probability: FloatArray) -> Mean:
    """Self-normalised: sum of o y / p over that of o / p, within the range of y; error by the delta method.

    Biased by a term in 1 / m; a factor on p cancels (Swaminathan & Joachims 2015). Arguments as of `doubly_robust_weights`.

    Raises:
        Unusable: If a probability is not within (0, 1], or nothing was clicked.
    """
    weight = click / _propensity(click_probability)
    total = float(weight.sum())
    if not total:
        raise Unusable(f"a mean over clicks needs one: none of {click.size} impressions was clicked")
    estimate = float(weight @ conversion) / total
    error = sqrt(float(np.square(weight * (conversion - estimate)).sum())) / total
    return Mean(estimate, error, effective_rows(weight))


def dr_mean(click: BoolArray, conversion: NDArray[Any], click_probability: FloatArray, imputed: FloatArray) -> Mean:
    """Mean of r + o (y - r) / p over at least two impressions. Arguments as of `doubly_robust_weights`.

    Raises:
        Unusable: If a probability is not within (0, 1].
    """
    label = doubly_robust_weights(click, conversion, click_probability, imputed).positive
    return _mean(label, click / click_probability)


def _mean(value: FloatArray, weight: FloatArray) -> Mean:
    return Mean(float(value.mean()), float(value.std(ddof=1)) / sqrt(value.size), effective_rows(weight))


def _propensity(click_probability: FloatArray, least: float = 0.0) -> FloatArray:
    wrong = ~((click_probability > 0) & (click_probability <= 1))
    if wrong.any():
        first = int(wrong.argmax())
        raise Unusable(
            f"a click probability must be within (0, 1]: {int(wrong.sum())} of {wrong.size} are not, "
            f"the first is {click_probability[first]} in row {first}"
        )
    return np.maximum(click_probability, least)
