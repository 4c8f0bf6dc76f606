"""First price."""

from numpy.typing import ArrayLike

from auction.checks import market, whole
from auction.ranking import at, ranked, weight
from auction.types import Allocation, sold


def first_price(
    bid: ArrayLike,
    quality: ArrayLike,
    *,
    n_slots: int,
    reserve: ArrayLike = 0.0,
    squash: float = 1.0,
    user_value: ArrayLike = 0.0,
) -> Allocation:
    """First price: the ranking of `gsp`, each winner pays its bid. Arguments and errors as for `gsp`."""
    bids, qualities, reserves, values = market(bid, quality, reserve, user_value)
    winner, _ = ranked(bids, weight(qualities, squash), reserves, values, whole("n_slots", n_slots))
    return sold(winner, at(bids, winner))
