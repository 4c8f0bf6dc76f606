"""Vickrey-Clarke-Groves for position auctions."""

import numpy as np
from numpy.typing import ArrayLike

from auction.checks import falling, market
from auction.ranking import at, needed, ranked
from auction.types import FORGIVEN, Allocation, FloatArray, sold


def vcg(
    bid: ArrayLike,
    quality: ArrayLike,
    *,
    slot_effect: ArrayLike,
    reserve: ArrayLike = 0.0,
    user_value: ArrayLike = 0.0,
) -> Allocation:
    """VCG for position auctions: a winner pays what its presence takes from the others; bidding the value is optimal.

    The ranking is that of `gsp`. With t(i) the least bid that wins slot i or a better one (never below the own reserve), and
    a(i) the slot effects, a(s) = 0, the price per billable event in slot j is Myerson's

        sum over i >= j of (a(i) - a(i + 1)) t(i) / a(j).

    Where reserves bind this is the externality once the losers are replaced by phantom bidders at the reserve. In a slot
    that nobody sees the price is t of that slot.

    Args:
        bid, quality, reserve, user_value: As for `gsp`.
        slot_effect: (s,) examination of each slot, >= 0 and non-increasing; only ratios matter.

    Raises:
        ValueError: If the shapes differ, an entry is out of range, NaN or infinite, or the slot effects rise.

    References:
        Varian (2007), International Journal of Industrial Organization 25(6).
        Myerson (1981), Mathematics of Operations Research 6(1).

    Examples:
        >>> vcg([[10, 4, 2]], [[1, 1, 1]], slot_effect=[1, 0.5]).price_micros
        array([[3000000, 2000000]])
    """
    bids, qualities, reserves, values = market(bid, quality, reserve, user_value)
    effect = falling(slot_effect)
    order, score = ranked(bids, qualities, reserves, values, len(effect) + 1)
    winner = order[:, :-1]
    own = at(values, winner), at(qualities, winner), at(reserves, winner), at(bids, winner)
    keeps = needed(score[:, 1:], *own)
    price = np.zeros(winner.shape)
    for slot, part in enumerate(shares(effect).T):
        price += part * needed(score[:, slot + 1, None], *own)
    # differences of slot effects are exact to the last place of the effects only
    return sold(winner, np.clip(price + FORGIVEN * keeps, own[2], keeps))


def shares(effect: FloatArray) -> FloatArray:
    """(s, s) weight of the threshold of slot i in the price of slot j: (a(i) - a(i + 1)) / a(j) for i >= j."""
    share = np.triu((effect - np.append(effect[1:], 0.0)) / np.where(effect > 0, effect, 1.0)[:, None])
    return share + np.diag(effect == 0)
