"""Propensities: how likely a look at a slot is, from randomised slots or from rankers that disagree; and weights by them."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.errors import Unusable
from models.position import identified, rows_per_slot
from models.weights import Weights, effective_rows

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]

_STEPS = 100
_CLOSE = 1e-10  # Newton step at which a fit stands
_FARTHEST = 1.0  # that a logarithm may go in one


class Propensities(NamedTuple):
    """Probability of a look in each slot over that in slot 0, and its standard error, 0 in slot 0. Noise may take it above 1."""

    value: FloatArray  # (s,)
    error: FloatArray  # (s,)


class Explosion(NamedTuple):
    """What weights cost: effective rows over rows, and the largest weight."""

    share: float
    largest: float


def ipw_weights(label: BoolArray, propensity: FloatArray, slot: IntArray, *, least: float = 0.0) -> Weights:
    """Weights whose mean over looks is the label as if all were looked at: y / e as a positive, 1 - y / e as a negative.

    The second is below 0 for a click: the loss is unbiased (Saito et al. 2020, Unbiased recommender learning from
    missing-not-at-random implicit feedback), but no longer bounded below. A least propensity trades variance for bias.

    Args:
        label: (m,) clicks.
        propensity: (s,) e of each slot.
        slot: (m,) within [0, s).
        least: Smaller propensities are taken as this, within [0, 1].

    Raises:
        Unusable: If a propensity is not within (0, 1].
    """
    wrong = ~((propensity > 0) & (propensity <= 1))
    if wrong.any():
        first = int(wrong.argmax())
        raise Unusable(f"a propensity must be within (0, 1]: slot {first} has {propensity[first]}")
    positive = label / np.maximum(propensity, least)[slot]
    return Weights(positive, 1.0 - positive)


def explosion(weights: Weights) -> Explosion:
    """How far weights are from equal: a row counts for |positive| + |negative|.

    Args:
        weights: Of at least one row.
    """
    size = np.abs(weights.positive) + np.abs(weights.negative)
    return Explosion(effective_rows(size) / size.size, float(size.max()))


def propensities_randomised(slot: IntArray, click: BoolArray, n_slots: int) -> Propensities:
    """Ratios of click-through rates to that of slot 0, where ads were put into slots at random; errors by the delta method.

    Args:
        slot: (m,) within [0, s).
        click: (m,).
        n_slots: s.

    Raises:
        Unusable: If a slot has no impressions, or slot 0 no clicks.
    """
    rows = rows_per_slot(slot, n_slots)
    rate = np.bincount(slot, click, n_slots) / rows
    if not rate[0]:
        raise Unusable(f"propensities are relative to slot 0: none of its {rows[0]} impressions was clicked")
    value, variance = rate / rate[0], rate * (1 - rate) / rows
    error = np.sqrt(variance + value**2 * variance[0]) / rate[0]
    error[0] = 0.0
    return Propensities(value, error)


def propensities_harvested(
    unit: IntArray, slot: IntArray, click: BoolArray, ranker: IntArray, n_slots: int
) -> Propensities:
    """Propensities from rankers that put the same unit in different slots, without randomisation.

    Counts are those of AllPairs (Agarwal, Zaitsev, Wang, Li, Najork & Joachims 2019, Estimating position bias without
    intrusive interventions): for each two slots, over the units that one ranker put in the first and another in the
    second, clicks are summed by 1 over how often all rankers put the unit there, so that both slots have the same units
    and one mean relevance r. Their likelihood has rates e_s r and may end at r = 1; here it is given the clicks of both
    slots, e_s / (e_s + e_t) of which fall to s, as in Bradley & Terry (1952): r is gone, and there is one maximum.

    Which ranker served must not depend on the click; where a ranker puts a unit may depend on its relevance. Errors take
    units as independent (the sandwich).

    Args:
        unit: (m,) what has one relevance: an ad for a query.
        slot: (m,) within [0, s).
        click: (m,).
        ranker: (m,) which one served.
        n_slots: s >= 2.

    Raises:
        Unusable: If fewer than two units moved, the slots fall into parts that share no such units with clicks in both
            parts, or the fit does not settle.
    """
    rate, pairs, member = _interventions(unit, slot, click, ranker, n_slots)
    if (moved := int(member.any(axis=1).sum())) < 2:
        raise Unusable(f"propensities need two units that rankers put in different slots: there is {moved}")
    logs, error = _bradley_terry(member * rate[:, pairs[:, 0]], member * rate[:, pairs[:, 1]], pairs, n_slots)
    value = np.exp(logs)
    return Propensities(value, value * error * np.sqrt(moved / (moved - 1)))


def _interventions(
    unit: IntArray, slot: IntArray, click: BoolArray, ranker: IntArray, n_slots: int
) -> tuple[FloatArray, IntArray, BoolArray]:
    """Click rates (u, s), pairs of slots (pairs, 2), and which units (u, pairs) two rankers put one in each."""
    units, unit = np.unique(unit, return_inverse=True)
    rankers, ranker = np.unique(ranker, return_inverse=True)
    cell, shape = unit * n_slots + slot, (len(units), n_slots)
    rows = np.bincount(cell, minlength=len(units) * n_slots).reshape(shape)
    rate = np.bincount(cell, click, len(units) * n_slots).reshape(shape) / np.maximum(rows, 1)
    put = np.zeros((len(rankers), *shape), bool)
    put[ranker, unit, slot] = True
    by = put.sum(axis=0)
    pairs = np.array(list(combinations(range(n_slots), 2)))
    # of the pairs of rankers, those that are one and the same ranker do not count
    member = np.stack([by[:, a] * by[:, b] > (put[:, :, a] & put[:, :, b]).sum(axis=0) for a, b in pairs], axis=1)
    clicked = np.array([rate[of][:, pair].any(axis=0) for of, pair in zip(member.T, pairs, strict=True)])
    linked = np.flatnonzero(clicked.all(axis=1))
    identified(np.repeat(linked, 2), pairs[linked].ravel(), n_slots)  # with a click in one alone, nothing is finite
    return rate, pairs, member


def _bradley_terry(
    first: FloatArray, second: FloatArray, pairs: IntArray, n_slots: int
) -> tuple[FloatArray, FloatArray]:
    """Logs (s,) of strengths over that of slot 0, from what units (u, pairs) give to the slots of each pair; their errors."""
    design = (np.eye(n_slots)[pairs[:, 1]] - np.eye(n_slots)[pairs[:, 0]])[:, 1:]
    wins, both = second.sum(axis=0), (first + second).sum(axis=0)
    logs = np.zeros(n_slots - 1)
    for _ in range(_STEPS):
        share = expit(design @ logs)
        inverse = np.linalg.inv(design.T @ (design * (both * share * (1 - share))[:, None]))
        step = inverse @ design.T @ (wins - both * share)
        logs = logs + np.clip(step, -_FARTHEST, _FARTHEST)
        if np.abs(step).max() < _CLOSE:
            break
    else:
        raise Unusable(
            f"propensities did not settle in {_STEPS} steps: {both.sum():.3g} weighted clicks tell too little"
        )
    score = (second - (first + second) * share) @ design
    return np.append(0.0, logs), np.append(0.0, np.sqrt(np.square(score @ inverse).sum(axis=0)))
