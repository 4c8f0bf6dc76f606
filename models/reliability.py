"""Whether forecasts mean what they say: bins of forecasts beside what happened, and what chance alone would show."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_TWO_SIDED_95 = 1.959963984540054  # standard deviations


class Reliability(NamedTuple):
    """A reliability curve, (b,) each, forecasts rising."""

    forecast: FloatArray  # mean of the bin
    positive: FloatArray  # share of the bin's rows
    rows: NDArray[np.int64]
    low: FloatArray  # ends of the band that 95% of a perfect model's shares fall in, each bin by itself
    high: FloatArray


def reliability(p: FloatArray, label: BoolArray, *, bins: int = 10) -> Reliability:
    """Mean forecast and share of positives over `bins` equally full bins of forecasts (m,), or m bins if that is less.

    Given its forecasts, a perfect model's positives are a sum of independent Bernoulli draws of variance sum p (1 - p), taken for
    normal: the band is too narrow above and too wide below where a bin expects fewer than about 10 positives or negatives.
    """
    rows = _binned(p, np.ones(len(p)), bins).astype(np.int64)
    expected, positive, variance = (_binned(p, values, bins) / rows for values in (p, label, p * (1 - p)))
    half = _TWO_SIDED_95 * np.sqrt(variance / rows)
    return Reliability(
        forecast=expected, positive=positive, rows=rows, low=np.maximum(expected - half, 0.0),
        high=np.minimum(expected + half, 1.0),
    )  # fmt: skip


def calibration_p_value(p: FloatArray, label: BoolArray, *, bins: int = 10) -> float:
    """Probability that a perfect model would be as far off as this in `bins` equally full bins; small if miscalibrated.

    The squared error of a bin's positives over its variance, summed over bins, is chi-squared with as many degrees of freedom as
    bins, as nothing was fitted to these labels; of forecasts fitted to them it has fewer (Hosmer & Lemeshow 1980). Labels are
    taken for independent given the forecasts, and a bin's positives for normal: where one expects fewer than about 5 positives or
    negatives, too many models are rejected.

    Args:
        p: (m,) forecasts.
        label: (m,).
        bins: Bins; those of certain forecasts alone, 0 or 1, count only if they are wrong, and then decide.
    """
    off, variance = _binned(p, p - label, bins), _binned(p, p * (1 - p), bins)
    doubtful = variance > 0
    if (off[~doubtful] != 0).any():
        return 0.0
    if not doubtful.any():
        return 1.0
    return float(chi2.sf((off[doubtful] ** 2 / variance[doubtful]).sum(), doubtful.sum()))


def ece(p: FloatArray, label: BoolArray, *, bins: int = 10) -> float:
    """Expected calibration error over `bins` equally full bins (Naeini et al. 2015).

    It is above 0 for a perfect model too, so that it means nothing without `ece_null`; `calibration_p_value` is the test.
    """
    gap = _binned(p, p - label, bins)
    return float(np.abs(gap).sum() / len(p)) if len(p) else 0.0


def ece_null(p: FloatArray, *, bins: int = 10) -> float:
    """What a perfect model with these forecasts would show: the mean of |error| of a bin is sqrt(2/pi) of its deviation.

    For 1,000 forecasts uniform on [0, 1] in 10 bins it is 0.0315.
    """
    variance = _binned(p, p * (1 - p), bins)
    return float(np.sqrt(2 / np.pi * variance).sum() / len(p)) if len(p) else 0.0


def _binned(p: FloatArray, values: FloatArray | BoolArray, bins: int) -> FloatArray:
    """Sums of `values` over equally full bins of `p`, of tied forecasts in the order of the rows; no bin is empty."""
    if not len(p):
        return np.empty(0)
    parts = np.array_split(values[np.argsort(p, kind="stable")], min(bins, len(p)))
    return np.array([part.sum(dtype=np.float64) for part in parts])
