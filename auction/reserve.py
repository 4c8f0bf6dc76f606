"""Reserve prices."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from auction.checks import number
from auction.types import FloatArray


@runtime_checkable
class Distribution(Protocol):
    """A continuous distribution of values, such as a frozen one of scipy.stats."""

    def sf(self, value: float) -> float:
        """P(v > value)."""

    def pdf(self, value: float) -> float:
        """Density at value."""

    def isf(self, share: FloatArray) -> FloatArray:
        """The value that `share` of all exceed."""


def myerson_reserve(values: Distribution | ArrayLike) -> float:
    """The reserve that earns most from one bidder: r maximising r P(v >= r), the lowest where several do.

    For a regular distribution it is the optimal reserve for any number of bidders with values drawn from it: the root of the
    virtual value r - (1 - F(r)) / f(r). From a sample it is the best price in hindsight, which needs many observations where
    the tail is heavy.

    Args:
        values: A distribution or a sample (m,) of values in USD, >= 0.

    Raises:
        ValueError: If the sample is empty or has an entry that is negative, NaN or infinite, or if the revenue of the
            distribution grows with r without end.

    References:
        Myerson (1981), Mathematics of Operations Research 6(1).
        Dhangwatnotai, Roughgarden & Yan (2015), Games and Economic Behavior 91.

    Examples:
        >>> from scipy.stats import uniform
        >>> myerson_reserve(uniform(0, 1))
        0.5
        >>> myerson_reserve([1, 2, 3, 4])
        2.0
    """
    if isinstance(values, Distribution):
        return _of_distribution(values)
    return _of_sample(number("values", values, low=0.0))


def _of_sample(values: FloatArray) -> float:
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"values has shape {values.shape}, it must be (m,) with at least one value")
    price = np.sort(values)
    return float(price[np.argmax(price * np.arange(len(price), 0, -1))])


def _of_distribution(values: Distribution) -> float:
    """Search all quantiles, then follow the derivative of r P(v > r) to its root."""
    tail = np.geomspace(1e-12, 0.5, 2000)
    share = np.concatenate(([1.0], 1.0 - tail, tail[-2::-1]))
    price = values.isf(share)
    best = int(np.argmax(price * share))
    if best == len(share) - 1:
        raise ValueError("values has no best reserve: its revenue r P(v > r) grows without end")

    def slope(r: float) -> float:
        return float(values.sf(r) - r * values.pdf(r))

    low, high = max(float(price[max(best - 1, 0)]), 0.0), float(price[best + 1])
    return float(brentq(slope, low, high, xtol=1e-14)) if slope(low) > 0 > slope(high) else float(price[best])
