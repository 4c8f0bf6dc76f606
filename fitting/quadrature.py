"""Integrals over a normal random effect, by Gauss-Hermite quadrature around the mode of each (adaptive)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]
_NODES, _WEIGHTS = np.polynomial.hermite.hermgauss(31)
_STEPS = 60
_FARTHEST = 2.0  # that a mode may move in one step


class Terms(NamedTuple):
    """A log likelihood of the effect, with its first two derivatives, the second of which is at most 0."""

    value: FloatArray
    slope: FloatArray
    curve: FloatArray


class Integrated(NamedTuple):
    """Logarithm of the likelihood without the effect, and the effect's mean and standard deviation given the data."""

    log: FloatArray  # (m,)
    mean: FloatArray  # (m,)
    deviation: FloatArray  # (m,)


def integrated(terms: Callable[[FloatArray], Terms], m: int, sigma: float) -> Integrated:
    """Integrate m likelihoods over an effect u ~ N(0, sigma^2).

    Nodes are laid around the mode of likelihood x density, scaled by the curvature there (Liu & Pierce 1994, Biometrika 81).

    Args:
        terms: Of effects, (m,) or (m, nodes).
        m: How many.
        sigma: Of the effect, > 0.
    """
    mode: FloatArray = np.zeros(m)
    for _ in range(_STEPS):
        at = terms(mode)
        step = (at.slope - mode / sigma**2) / (1 / sigma**2 - at.curve)
        mode = mode + np.clip(step, -_FARTHEST * sigma, _FARTHEST * sigma)
        if np.abs(step).max(initial=0.0) < 1e-9 * max(sigma, 1e-3):
            break
    scale = 1 / np.sqrt(1 / sigma**2 - terms(mode).curve)
    effect = mode[:, None] + np.sqrt(2) * scale[:, None] * _NODES
    height = terms(effect).value - effect**2 / (2 * sigma**2) + _NODES**2 + np.log(_WEIGHTS)
    top = height.max(axis=1, keepdims=True)
    weight = np.exp(height - top)
    total = weight.sum(axis=1)
    mean = (weight * effect).sum(axis=1) / total
    square = (weight * (effect - mean[:, None]) ** 2).sum(axis=1) / total
    log = np.log(total) + top[:, 0] + np.log(scale / sigma) - 0.5 * np.log(np.pi)
    return Integrated(log, mean, np.sqrt(square))


def column(of: NDArray[Any], like: FloatArray) -> FloatArray:
    """(m,) numbers so that they meet effects (m,) or (m, nodes)."""
    return np.asarray(of, np.float64).reshape((-1,) + (1,) * (like.ndim - 1))
