"""What choices do to a number, learned from few trials: a Gaussian process over one-hot choices, and how far to trust it."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from synth.types import FloatArray, IntArray

_START = 3.0  # length scale that the search begins at; other starts found a likelier one in 3 of 60 trials
_LENGTHS = 1.0, 30.0  # shorter ones would say that architectures which share most settings have nothing in common
_EQUAL = 1e-9  # relative difference below which values count as equal
_STILL = 0.01  # of the spread: predictions that move by less have no ranks


class Trust(NamedTuple):
    """How well trials are predicted by the others: leave-one-out."""

    rmse: float
    spread: float  # the error of taking the mean of the others instead
    r2: float | None  # 1 - (rmse / spread)**2; 0 is no better than that mean; None where all values are equal
    rank: float | None  # Spearman's, of values and predictions, both less that mean; None where these are all alike


def one_hot(choice: IntArray, levels: Sequence[int]) -> FloatArray:
    """Choices (m, S), each one of so many levels of its setting, as columns of 0 and 1: (m, sum of levels)."""
    return np.concatenate([np.eye(n)[choice[:, place]] for place, n in enumerate(levels)], axis=1)


def fitted(x: FloatArray, y: FloatArray) -> GaussianProcessRegressor:
    """The likeliest Gaussian process of values (m,) at (m, c): a Matern kernel of smoothness 5/2, and noise.

    Its length scale, its variance and the noise are those of the greatest marginal likelihood (Rasmussen & Williams 2006,
    chapter 5). Its `predict(x, return_std=True)` gives mean and standard deviation of a measurement.
    """
    choices = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(_START, _LENGTHS, nu=2.5)
    with warnings.catch_warnings():
        # a scale that ends at its bound is an answer: the choices do nothing, or all there is
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(choices + WhiteKernel(0.1, (1e-4, 2.0)), normalize_y=True).fit(x, y)


def trust(x: FloatArray, y: FloatArray) -> Trust:
    """Predict each of at least three trials from the others alone, scales of the kernel included.

    Ranks are of what exceeds the mean of the others: that mean is low for a high value and high for a low one, so a process that
    knows nothing and answers with it would come out at a rank correlation of -1.
    """
    others = ~np.eye(len(y), dtype=bool)
    mean = np.array([y[own].mean() for own in others])
    known = np.array([fitted(x[own], y[own]).predict(x[~own])[0] for own in others]) - mean
    apart = y - mean
    rmse, spread = float(np.sqrt(np.mean((known - apart) ** 2))), float(np.sqrt(np.mean(apart**2)))
    if spread <= _EQUAL * np.abs(y).max():
        return Trust(rmse, spread, None, None)
    rank = float(spearmanr(known, apart).statistic) if np.ptp(known) > _STILL * spread else None
    return Trust(rmse, spread, 1 - (rmse / spread) ** 2, rank)
