"""Scores of probability forecasts."""

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from models.errors import Unusable

FloatArray = NDArray[np.float64]

_TWO_SIDED_95 = 1.959963984540054  # standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One model on one set of impressions; None where a score cannot be computed."""

    rows: int
    positives: int
    auc: float | None
    pr_auc: float | None
    norm_bce: float | None
    calibration: float | None
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
        norm_bce=norm_bce(p, label) if both else None,
        calibration=float(p.sum() / label.sum()) if label.any() else None,
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


def _normal(estimate: float, variance: float) -> Interval:
    half = _TWO_SIDED_95 * sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half)


def norm_bce(p: FloatArray, label: NDArray[np.bool_]) -> float:
    """Log loss over that of the mean label, also called normalised entropy: below 1 beats the base rate (He et al. 2014)."""
    rate = label.mean()
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    loss = np.where(label, np.log(clipped), np.log1p(-clipped)).mean()
    return float(loss / (rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


def ece(p: FloatArray, label: NDArray[np.bool_], *, bins: int = 10) -> float:
    """Expected calibration error over `bins` equally full bins (Naeini et al. 2015)."""
    gap = _binned(p, p - label, bins)
    return float(np.abs(gap).sum() / len(p)) if len(p) else 0.0


def ece_null(p: FloatArray, *, bins: int = 10) -> float:
    """What a perfect model with these forecasts would show: the mean of |error| of a bin is sqrt(2/pi) of its deviation."""
    variance = _binned(p, p * (1 - p), bins)
    return float(np.sqrt(2 / np.pi * variance).sum() / len(p)) if len(p) else 0.0


def _binned(p: FloatArray, values: FloatArray, bins: int) -> FloatArray:
    """Sums of `values` over equally full bins of `p`."""
    parts = np.array_split(values[np.argsort(p, kind="stable")], bins)
    return np.array([part.sum() for part in parts])
