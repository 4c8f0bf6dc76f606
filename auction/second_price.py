"""Second price."""

from numpy.typing import ArrayLike

from auction.gsp import gsp
from auction.types import Allocation


def second_price(
    bid: ArrayLike, quality: ArrayLike, *, reserve: ArrayLike = 0.0, user_value: ArrayLike = 0.0
) -> Allocation:
    """Second price (Vickrey 1961): `gsp` with one slot, where it is truthful. Arguments and errors as for `gsp`."""
    return gsp(bid, quality, n_slots=1, reserve=reserve, user_value=user_value)
