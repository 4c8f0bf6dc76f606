"""Calibration: fits of calibrators to labels that may be weights, such as those of a correction for delayed feedback."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from models.calibrators import Beta, Calibrator, Isotonic, Platt, Temperature, beta_terms
from models.errors import Unusable
from models.weights import Weights

FloatArray = NDArray[np.float64]
Logits = NDArray[np.floating[Any]]
Fit = Callable[[Logits, Weights], Calibrator]


def fit_platt(logit: Logits, weights: Weights) -> Platt:
    """Slope and intercept by maximum likelihood.

    Args:
        logit: (m,).
        weights: (m,) each; a row may count as both classes, or as none.

    Raises:
        Unusable: If all that counts is of one class, the model ranks backwards (slope <= 0), shapes differ, or a number is not
            finite or a weight below 0.
    """
    rows = _rows(logit, weights)
    (slope,), intercept = _regression(rows.logit[:, None], rows)
    return Platt(_forwards(slope), intercept)


def fit_temperature(logit: Logits, weights: Weights) -> Temperature:
    """The temperature by maximum likelihood; arguments and errors as for `fit_platt`."""
    rows = _rows(logit, weights)
    (slope,), _ = _regression(rows.logit[:, None], rows, intercept=False)
    return Temperature(1.0 / _forwards(slope))


def fit_beta(logit: Logits, weights: Weights) -> Beta:
    """a, b and c by maximum likelihood; where a or b comes out negative it is 0, and the others are fitted again without it.

    Arguments and errors as for `fit_platt`. Where all forecasts are small b is hardly determined, and matters as little.

    References:
        Kull, Silva Filho & Flach (2017), Beta calibration. AISTATS 2017.
    """
    rows = _rows(logit, weights)
    terms = np.stack(beta_terms(rows.logit), axis=1)
    (a, b), c = _regression(terms, rows)
    if a < 0:
        (b,), c = _regression(terms[:, 1:], rows)
        return Beta(0.0, _forwards(b), c)
    if b < 0:
        (a,), c = _regression(terms[:, :1], rows)
        return Beta(_forwards(a), 0.0, c)
    return Beta(a, b, c)


def fit_isotonic(logit: Logits, weights: Weights) -> Isotonic:
    """The best non-decreasing step function, by squared error and by likelihood alike.

    Its sum over the fitted rows is that of the labels, for each step and so for all. A model that ranks backwards gives a
    constant. Arguments and errors as for `fit_platt`, but for the slope.
    """
    rows = _rows(logit, weights)
    fitted = IsotonicRegression(out_of_bounds="clip").fit(rows.logit, rows.label, sample_weight=rows.weight)
    return Isotonic(fitted.X_thresholds_, fitted.y_thresholds_.astype(np.float32).astype(np.float64))


def no_fit(logit: Logits, weights: Weights) -> Platt:
    """The model's own probabilities, whatever the labels."""
    return Platt(1.0, 0.0)


FITS: dict[str, Fit] = {
    "platt": fit_platt, "isotonic": fit_isotonic, "temperature": fit_temperature, "beta": fit_beta, "none": no_fit
}  # fmt: skip


class _Rows(NamedTuple):
    """What counts, (r,) each; a row that counts as both classes stands here twice."""

    logit: FloatArray
    label: NDArray[np.bool_]
    weight: FloatArray  # > 0


def checked(logit: Logits, weights: Weights) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Logits, positive and negative weights, (m,) each.

    Raises:
        Unusable: If shapes differ, a number is not finite, a weight is below 0, or all that counts is of one class.
    """
    shapes = logit.shape, weights.positive.shape, weights.negative.shape
    if len(set(shapes)) > 1:
        raise Unusable(
            f"cannot calibrate: logits, positives and negatives have shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    wide, positive, negative = (np.ravel(values).astype(np.float64) for values in (logit, *weights))
    for name, values, low in (("logit", wide, -np.inf), ("positive", positive, 0.0), ("negative", negative, 0.0)):
        wrong = np.flatnonzero(~np.isfinite(values) | (values < low))
        if len(wrong):
            rule = "finite" if low < 0 else "finite and >= 0"
            raise Unusable(f"cannot calibrate: {name}[{wrong[0]}] is {values[wrong[0]]}, it must be {rule}")
    positives, negatives = positive.sum(), negative.sum()
    if not (positives > 0 and negatives > 0):
        raise Unusable(f"cannot calibrate: {positives:.10g} of {positives + negatives:.10g} labels are positive")
    return wide, positive, negative


def _rows(logit: Logits, weights: Weights) -> _Rows:
    wide, positive, negative = checked(logit, weights)
    both = np.stack([negative, positive], axis=1)
    row, label = np.nonzero(both)
    return _Rows(wide[row], label == 1, both[row, label])


def _regression(terms: FloatArray, rows: _Rows, *, intercept: bool = True) -> tuple[list[float], float]:
    """Coefficients and intercept of the logistic regression on `terms` (r, d), without a penalty.

    Rare labels need Newton: lbfgs stops where the mean gradient is below a tolerance that rare labels hardly exceed.
    """
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, fit_intercept=intercept)
    with warnings.catch_warnings():
        # terms that determine no unique answer: the solver goes on to another one, which gives one of them
        warnings.simplefilter("ignore", LinAlgWarning)
        fitted = model.fit(terms, rows.label, sample_weight=rows.weight)
    return fitted.coef_[0].tolist(), float(fitted.intercept_[0]) if intercept else 0.0


def _forwards(slope: float) -> float:
    if not slope > 0:
        raise Unusable(f"cannot calibrate: the slope is {slope:.3g}, the model ranks backwards on the calibration days")
    return slope
