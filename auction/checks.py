"""The border of the package: what is refused, and in which words."""

import numpy as np
from numpy.typing import ArrayLike

from auction.types import FloatArray

MOST_USD = 9e12  # more does not fit into int64 micros


def number(
    name: str, value: ArrayLike, *, low: float = -np.inf, high: float = np.inf, strict: bool = False
) -> FloatArray:
    """`value` as float64, every entry finite, >= low (> low if `strict`) and <= high.

    Raises:
        ValueError: With the name, the rule, the first offender and its place.
    """
    array = np.asarray(value, np.float64)
    wrong = ~np.isfinite(array) | (array <= low if strict else array < low) | (array > high)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        rule = "finite"
        if low > -np.inf:
            rule += f" and {'>' if strict else '>='} {low:g}"
        if high < np.inf:
            rule += f" and <= {high:g}"
        raise ValueError(f"{name}{list(place) if place else ''} is {array[place]}, it must be {rule}")
    return array


def whole(name: str, value: int) -> int:
    """`value`, a whole number >= 1.

    Raises:
        ValueError: If it is anything else.
    """
    if not (value >= 1 and value // 1 == value):
        raise ValueError(f"{name} is {value}, it must be a whole number, 1 or more")
    return int(value)


def index(name: str, value: ArrayLike, *, low: int, stop: int) -> None:
    """Refuse whole numbers that are not >= `low` and < `stop`.

    Raises:
        ValueError: With the name, the rule, the first offender and its place.
    """
    array = np.asarray(value)
    if array.size and (array.min() < low or array.max() >= stop):
        place = tuple(int(i) for i in np.argwhere((array < low) | (array >= stop))[0])
        raise ValueError(f"{name}{list(place)} is {array[place]}, it must be >= {low} and < {stop}")


def positive(name: str, value: float, *, most: float = np.inf) -> None:
    """Refuse a setting that is not > 0 and <= `most`.

    Raises:
        ValueError: With the name, the value and the rule.
    """
    if not 0 < value <= most:
        raise ValueError(f"{name} is {value}, it must be > 0" + (f" and <= {most:g}" if most < np.inf else ""))


def like(name: str, value: ArrayLike, shape: tuple[int, ...], *, low: float = -np.inf) -> FloatArray:
    """`value`, one number or an array of `shape`, as finite float64 of `shape` that may not be written to.

    Raises:
        ValueError: If the shape is another one or an entry is below `low`.
    """
    array = number(name, value, low=low)
    if array.shape not in ((), shape):
        raise ValueError(f"{name} has shape {array.shape}, it must be one number or of shape {shape}")
    return np.broadcast_to(array, shape)


def market(
    bid: ArrayLike, quality: ArrayLike, reserve: ArrayLike, user_value: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Bid, quality, reserve and user value, each (n, k) float64.

    Raises:
        ValueError: If a shape differs or an entry is out of range.
    """
    bids = number("bid", bid, low=0.0, high=MOST_USD)
    qualities = number("quality", quality, low=0.0, strict=True)
    if bids.ndim != 2:
        raise ValueError(f"bid has shape {bids.shape}, it must be (n, k)")
    if qualities.shape != bids.shape:
        raise ValueError(f"quality has shape {qualities.shape}, it must be that of bid, {bids.shape}")
    return bids, qualities, like("reserve", reserve, bids.shape, low=0.0), like("user_value", user_value, bids.shape)


def falling(slot_effect: ArrayLike) -> FloatArray:
    """The slot effects (s,), at least one, >= 0 and non-increasing.

    Raises:
        ValueError: If they are anything else.
    """
    effect = number("slot_effect", slot_effect, low=0.0)
    if effect.ndim != 1 or effect.size == 0:
        raise ValueError(f"slot_effect has shape {effect.shape}, it must be (s,) with at least one slot")
    rise = np.flatnonzero(np.diff(effect) > 0)
    if len(rise):
        raise ValueError(
            f"slot_effect rises from {effect[rise[0]]} to {effect[rise[0] + 1]} after slot {rise[0]}, it must not rise"
        )
    return effect
