"""The border of the package: what is refused, and in which words."""

import numpy as np
from numpy.typing import ArrayLike

from auction.types import FloatArray


def number(name: str, value: ArrayLike, *, low: float, strict: bool = False) -> FloatArray:
    """`value` as float64, every entry finite and >= low (> low if `strict`).

    Raises:
        ValueError: With the name, the rule, the first offender and its place.
    """
    array = np.asarray(value, np.float64)
    wrong = ~np.isfinite(array) | (array <= low if strict else array < low)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        rule = f"finite and {'>' if strict else '>='} {low:g}"
        raise ValueError(f"{name}{list(place) if place else ''} is {array[place]}, it must be {rule}")
    return array


def market(
    bid: ArrayLike, quality: ArrayLike, n_slots: int, reserve: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bid, quality and reserve as (n, k) float64.

    Raises:
        ValueError: If a shape differs, an entry is out of range or `n_slots` is not a positive whole number.
    """
    bids = number("bid", bid, low=0.0)
    qualities = number("quality", quality, low=0.0, strict=True)
    reserves = number("reserve", reserve, low=0.0)
    if bids.ndim != 2:
        raise ValueError(f"bid has shape {bids.shape}, it must be (n, k)")
    if qualities.shape != bids.shape:
        raise ValueError(f"quality has shape {qualities.shape}, it must be that of bid, {bids.shape}")
    if reserves.shape not in ((), bids.shape):
        raise ValueError(f"reserve has shape {reserves.shape}, it must be one number or that of bid, {bids.shape}")
    if n_slots < 1 or n_slots != int(n_slots):
        raise ValueError(f"n_slots is {n_slots}, it must be a whole number, 1 or more")
    return bids, qualities, np.broadcast_to(reserves, bids.shape)
