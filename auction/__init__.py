"""Ad auctions: mechanisms, pricing and pacing as pure functions over arrays; needs numpy, numba and scipy only."""

from auction.first_price import first_price
from auction.gsp import gsp
from auction.types import Allocation, to_micros

__all__ = ["Allocation", "first_price", "gsp", "to_micros"]
