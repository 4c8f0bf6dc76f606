"""Scores of probability forecasts."""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from models.errors import Unusable
from models.reliability import calibration_p_value, ece, ece_null

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]

_TWO_SIDED_95 = 1.959963984540054  # standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One model on one set of impressions; None where a score cannot be computed."""

    rows: int
    positives: int
    auc: float | None
    pr_auc: float | None
    log_loss: float | None
    norm_bce: float | None
    calibration: float | None
    calibration_p_value: float
    ece: float
    ece_null: float


def score(p: FloatArray, label: NDArray[np.bool_], *, bins: int = 10) -> Scores:
    """Score forecasts `p` (m,) of `label` (m,)."""
    p = np.asarray(p, np.float64)
    both = bool(label.any() and not label.all())
    return Scores(
        rows=label.size,
        positives=int(label.sum()),
        auc=float(roc_auc_score(label, p)) if both else None,
        pr_auc=float(average_precision_score(label, p)) if both else None,
        log_loss=log_loss(p, label) if label.size else None,
        norm_bce=norm_bce(p, label) if both else None,
        calibration=float(p.sum() / label.sum()) if label.any() else None,
        calibration_p_value=calibration_p_value(p, label, bins=bins),
        ece=ece(p, label, bins=bins),
        ece_null=ece_null(p, bins=bins),
    )


class Interval(NamedTuple):
    """An estimate and the ends of its 95% interval."""

    estimate: float
    low: float
    high: float


def auc_interval(p: FloatArray, label: NDArray[np.bool_]) -> Interval:
    """AUC of forecasts (m,). Where no negative ranks above a positive the interval has no width, and says too much.

    Raises:
        Unusable: If there are fewer than two rows of a class.
    """
    return _normal(*auc_error(p, label))


def auc_difference(p: FloatArray, other: FloatArray, label: NDArray[np.bool_]) -> Interval:
    """AUC of `p` less that of `other`, (m,) each on the same rows: what they owe to the rows they share cancels.

    Raises:
        Unusable: If there are fewer than two rows of a class.
    """
    return _normal(*auc_error(p, label, other))


def auc_error(p: FloatArray, label: NDArray[np.bool_], other: FloatArray | None = None) -> tuple[float, float]:
    """AUC of forecasts (m,), or what it exceeds that of `other` by on the same rows; and the variance of that, at least 0.

    Raises:
        Unusable: If there are fewer than two rows of a class.
    """
    auc, covariance = delong(np.stack([p] if other is None else [p, other]), label)
    sign = np.array([1.0, -1.0])[: len(auc)]
    # a difference of equal models may fall below 0 by rounding
    return float(sign @ auc), max(float(sign @ covariance @ sign), 0.0)


def delong(p: FloatArray, label: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """AUCs of several models on the same rows, and the covariance of their errors.

    A row's placement is the share of the other class that it ranks on the right side of, a tie being half; the AUC is their mean,
    and its error comes from their spread in either class (DeLong, DeLong & Clarke-Pearson 1988). Placements are differences of
    ranks, so that sorting is all that it takes (Sun & Xu 2014).

    Args:
        p: (M, m) forecasts.
        label: (m,).

    Returns:
        (M,) and (M, M).

    Raises:
        Unusable: If there are fewer than two rows of a class.
    """
    positives = int(label.sum())
    negatives = label.size - positives
    if min(positives, negatives) < 2:
        raise Unusable(f"an AUC's error needs two rows of each class: {positives} of {label.size} rows are positive")
    rank = rankdata(p, axis=1)
    of_positives = (rank[:, label] - rankdata(p[:, label], axis=1)) / negatives
    of_negatives = 1 - (rank[:, ~label] - rankdata(p[:, ~label], axis=1)) / positives
    covariance = np.cov(of_positives) / positives + np.cov(of_negatives) / negatives
    return of_positives.mean(axis=1), np.atleast_2d(covariance)


def expected_auc(p: FloatArray, truth: FloatArray, weight: FloatArray) -> float:
    """AUC of forecasts if each row, of some weight, is a positive with its true probability: no luck of labels is left in it.

    Args:
        p: (m,) forecasts; ties count a half.
        truth: (m,) probabilities.
        weight: (m,) >= 0, such as how often a row comes to have a label.
    """
    _, group = np.unique(p, return_inverse=True)
    positive, negative = (np.bincount(group, weight * share) for share in (truth, 1 - truth))
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _normal(estimate: float, variance: float) -> Interval:
    half = _TWO_SIDED_95 * sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half)


def log_loss(p: FloatArray, label: NDArray[np.bool_]) -> float:
    """Mean over rows, at least one, of minus the log of the probability given to what happened; in nats.

    Forecasts (m,) are cut to [1e-12, 1 - 1e-12], so that a certain error costs 27.6.
    """
    clipped = np.clip(np.asarray(p, np.float64), 1e-12, 1 - 1e-12)
    return -float(np.where(label, np.log(clipped), np.log1p(-clipped)).mean())


def norm_bce(p: FloatArray, label: NDArray[np.bool_]) -> float:
    """Log loss over that of the mean label, also called normalised entropy: below 1 beats the base rate (He et al. 2014)."""
    rate = label.mean()
    return float(-log_loss(p, label) / (rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


class GroupedAuc(NamedTuple):
    """AUC within groups."""

    gauc: float | None  # None where no group has both classes
    share: float  # of rows, in groups that have both


def gauc(p: FloatArray, label: NDArray[np.bool_], group: IntArray) -> GroupedAuc:
    """Mean over groups of the AUC within a group, weighted by its rows; groups of one class do not count.

    What tells the groups apart, such as how often a user clicks, adds to the AUC and not to this.

    Args:
        p: (m,) forecasts.
        label: (m,).
        group: (m,) id of the row's group, such as the user.

    References:
        Zhu et al. (2017), Optimized cost per click in Taobao display advertising, KDD.
    """
    order = np.lexsort((p, group))
    p, positive, group = p[order], label[order], group[order]
    first, apart = np.ones((2, len(p)), bool)
    first[1:] = group[1:] != group[:-1]
    apart[1:] = first[1:] | (p[1:] != p[:-1])
    of, tie = np.cumsum(first) - 1, np.cumsum(apart) - 1
    rows, tied = np.bincount(of), np.bincount(tie)
    rank = (np.cumsum(tied) - (tied - 1) / 2)[tie] - (np.cumsum(rows) - rows)[of]

    positives = np.bincount(of, weights=positive)
    above = np.bincount(of, weights=positive * rank) - positives * (positives + 1) / 2
    pairs = positives * (rows - positives)
    both = pairs > 0
    if not both.any():
        return GroupedAuc(None, 0.0)
    return GroupedAuc(
        float(np.average(above[both] / pairs[both], weights=rows[both])), float(rows[both].sum() / len(p))
    )


class Concentration(NamedTuple):
    """How far scores pile up: on few values, or their sum on few rows."""

    commonest: float  # share of rows at the commonest score
    effective: (
        float  # number of distinct scores, 1 / sum of squared shares of rows: all equally common would give as many
    )
    top_1: float  # share of the sum of scores in the top 1% of rows, rounded up to whole rows
    top_10: float  # in the top 10%


def concentration(p: FloatArray) -> Concentration:
    """Concentration of scores (m,), >= 0; a model that cannot tell rows apart piles them on one point.

    Raises:
        Unusable: If no score is above 0.
    """
    p = np.asarray(p, np.float64)
    if not p.sum() > 0:
        raise Unusable(f"the concentration of scores needs one above 0: there is none among {p.size}")
    share = np.unique(p, return_counts=True)[1] / p.size
    falling = np.sort(p)[::-1]
    top_1, top_10 = (falling[: ceil(p.size / part)].sum() / p.sum() for part in (100, 10))
    return Concentration(float(share.max()), float(1 / (share**2).sum()), float(top_1), float(top_10))
