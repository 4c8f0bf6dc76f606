"""Calibration: from a model's logit to a probability that can be bid on."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.errors import Unusable

Float32Array = NDArray[np.float32]


class Platt(NamedTuple):
    """p = sigmoid(slope x logit + intercept); keeps the order of the candidates (Platt 1999)."""

    slope: float
    intercept: float

    def __call__(self, logit: Float32Array) -> Float32Array:
        """Probabilities of the shape of `logit`."""
        out = np.empty(logit.size, np.float32)
        _sigmoid(np.ascontiguousarray(logit).ravel(), np.float32(self.slope), np.float32(self.intercept), out)
        return out.reshape(logit.shape)


def fit_platt(logit: Float32Array, label: NDArray[np.bool_]) -> Platt:
    """Fit slope and intercept by maximum likelihood.

    Raises:
        Unusable: If the labels are all of one class, or the model ranks backwards (slope <= 0).
    """
    if label.all() or not label.any():
        raise Unusable(f"cannot calibrate: {int(label.sum())} of {label.size} labels are positive")
    fitted = LogisticRegression(C=np.inf).fit(logit.reshape(-1, 1).astype(np.float64), label.ravel())
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        raise Unusable(f"cannot calibrate: the slope is {slope:.3g}, the model ranks backwards on the calibration days")
    return Platt(slope, intercept)


@njit(cache=True, nogil=True)
def _sigmoid(logit: Float32Array, slope: np.float32, intercept: np.float32, out: Float32Array) -> None:
    for i in range(logit.size):
        out[i] = np.float32(1.0) / (np.float32(1.0) + np.exp(-(slope * logit[i] + intercept)))
