"""First price."""

import numpy as np
from numpy.typing import ArrayLike

from auction.checks import market
from auction.ranking import at, ranked, weight
from auction.types import Allocation, to_micros


def first_price(
    bid: ArrayLike, quality: ArrayLike, *, n_slots: int, reserve: ArrayLike = 0.0, squash: float = 1.0
) -> Allocation:
    """First price: the ranking of `gsp`, each winner pays its bid. Arguments and errors as for `gsp`."""
    bids, qualities, reserves = market(bid, quality, n_slots, reserve)
    winner, _ = ranked(bids, weight(qualities, squash), reserves, n_slots)
    return Allocation(winner=winner, price_micros=to_micros(np.where(winner >= 0, at(bids, winner), 0.0)))
