"""Ad auctions: mechanisms, pricing, bidding, pacing and budgets as pure functions over arrays; needs numpy, numba and scipy."""

from auction.equilibrium import fppe, throttling_equilibrium
from auction.first_price import first_price
from auction.gsp import gsp
from auction.kernel import clear
from auction.reserve import myerson_reserve
from auction.second_price import second_price
from auction.types import Allocation, to_micros
from auction.vcg import vcg
from auction.vcg_matrix import vcg_matrix

__all__ = [
    "Allocation", "clear", "first_price", "fppe", "gsp", "myerson_reserve", "second_price", "throttling_equilibrium",
    "to_micros", "vcg", "vcg_matrix",
]  # fmt: skip
