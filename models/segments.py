"""Calibration by segment: an offset per value of a column, shrunk by what the segments themselves say of their spread."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from models.calibration import Logits, checked, fit_platt
from models.calibrators import BySegment, IntArray
from models.errors import Unusable
from models.weights import Weights

FloatArray = NDArray[np.float64]

_LEAST, _MOST = 1e-3, 10.0  # of tau: spreads below are none, and those above are as good as no prior
_STEP, _STEPS = 0.5, 200  # of Newton: logistic curvature changes by e^0.5 at most over a step, so that every step gains


def fit_segments(logit: Logits, weights: Weights, segment: IntArray, column: str, *, shrink: bool = True) -> BySegment:
    """Platt on all rows, then each segment's most probable offset under a prior N(0, tau^2).

    A segment's labels exceed its forecasts by offset / tau^2. Tau maximises the marginal likelihood of all segments, in which
    each offset is integrated out by Laplace's approximation; it is 0 where no spread is likelier.

    Args:
        logit: (m,).
        weights: (m,) each; a row may count as both classes, or as none.
        segment: (m,) value of the column, -1 where missing: such rows count for the base alone.
        column: The ads' categorical column.
        shrink: Without it offsets are those of maximum likelihood.

    Raises:
        Unusable: As for `fit_platt`; or if shapes differ; or without shrinkage, if a segment is all of one class.

    References:
        Morris (1983), Parametric empirical Bayes inference. JASA 78(381).
        Tierney & Kadane (1986), Accurate approximations for posterior moments and marginal densities. JASA 81(393).
    """
    if segment.shape != logit.shape:
        raise Unusable(f"cannot calibrate by {column}: logits have shape {logit.shape}, segments {segment.shape}")
    base = fit_platt(logit, weights)
    wide, positive, negative = checked(logit, weights)
    value = segment.ravel()
    rows = _Rows(base.slope * wide + base.intercept, positive, positive + negative, value).take(
        np.flatnonzero((value >= 0) & (positive + negative > 0))
    )
    tau = _spread(rows) if shrink else None
    if not shrink:
        _refuse_one_class(rows, column)
    return BySegment(
        base=base,
        column=column,
        tau=tau,
        offset=_offsets(rows, tau)[0],
        rows=rows.by_value(rows.total),
        positives=rows.by_value(rows.positive),
    )


class _Rows(NamedTuple):
    """Rows whose segment is known, (m,) each."""

    logit: FloatArray  # of the base
    positive: FloatArray
    total: FloatArray  # > 0
    value: IntArray  # >= 0

    def take(self, rows: NDArray[np.intp]) -> "_Rows":
        return _Rows(self.logit[rows], self.positive[rows], self.total[rows], self.value[rows])

    def by_value(self, of_row: FloatArray) -> FloatArray:
        """(v,) sums."""
        return np.bincount(self.value, of_row).astype(np.float64)


def _offsets(rows: _Rows, tau: float | None) -> tuple[FloatArray, FloatArray]:
    """Most probable offsets (v,), and the likelihood's curvature there (v,); tau is None without a prior."""
    positive = rows.by_value(rows.positive)
    offset, curvature = np.zeros_like(positive), rows.by_value(rows.total * 0.25)
    if tau == 0:
        return offset, curvature
    precision = 0.0 if tau is None else tau**-2
    for _ in range(_STEPS):
        p = expit(rows.logit + offset[rows.value])
        curvature = rows.by_value(rows.total * p * (1 - p))
        slope = positive - rows.by_value(rows.total * p) - precision * offset
        step = np.divide(slope, curvature + precision, out=np.zeros_like(slope), where=slope != 0)
        offset += np.clip(step, -_STEP, _STEP)
        if (np.abs(step) < 1e-10).all():
            break
    return offset, curvature


def _evidence(rows: _Rows, tau: float) -> float:
    """Log marginal likelihood of all labels, over that of no spread."""
    offset, curvature = _offsets(rows, tau)
    moved = rows.logit + offset[rows.value]
    gain = rows.positive * (moved - rows.logit) - rows.total * (np.logaddexp(0, moved) - np.logaddexp(0, rows.logit))
    return float(gain.sum() - (offset**2).sum() / (2 * tau**2) - 0.5 * np.log1p(tau**2 * curvature).sum())


def _spread(rows: _Rows) -> float:
    """The likeliest tau."""
    found = minimize_scalar(
        lambda log_tau: -_evidence(rows, np.exp(log_tau)), bounds=(np.log(_LEAST), np.log(_MOST)), method="bounded",
        options={"xatol": 1e-3},
    )  # fmt: skip
    return float(np.exp(found.x)) if found.fun < 0 else 0.0


def _refuse_one_class(rows: _Rows, column: str) -> None:
    positives, total = rows.by_value(rows.positive), rows.by_value(rows.total)
    for value in np.flatnonzero((total > 0) & ((positives == 0) | (positives == total)))[:1]:
        raise Unusable(
            f"cannot calibrate {column} {value} without shrinkage: "
            f"{positives[value]:.10g} of {total[value]:.10g} labels are positive"
        )
