"""Scores of probability forecasts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

FloatArray = NDArray[np.float64]


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
