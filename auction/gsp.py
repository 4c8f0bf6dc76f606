"""Generalised second price."""

import numpy as np
from numpy.typing import ArrayLike

from auction.checks import market
from auction.ranking import at, ranked, weight
from auction.types import Allocation, to_micros


def gsp(
    bid: ArrayLike, quality: ArrayLike, *, n_slots: int, reserve: ArrayLike = 0.0, squash: float = 1.0
) -> Allocation:
    """Weighted generalised second price: a winner pays the least bid that keeps its slot.

    Candidates whose bid reaches their reserve are ranked by bid x quality^squash; the price per billable event is
    max(reserve, next score / own quality^squash).

    Args:
        bid: (n, k) USD per billable event, >= 0; 0 marks an absent candidate.
        quality: (n, k) ranking weight, > 0, such as the predicted CTR.
        n_slots: Slots s per request; those past the candidates stay empty.
        reserve: Least price, USD per billable event, one number or (n, k).
        squash: Exponent of quality, 0 (rank by bid) to 1 (rank by expected revenue).

    Raises:
        ValueError: If the shapes differ or an entry is negative, NaN or infinite.

    References:
        Edelman, Ostrovsky & Schwarz (2007), American Economic Review 97(1).
        Lahaie & Pennock (2007), ACM EC.
    """
    bids, qualities, reserves = market(bid, quality, n_slots, reserve)
    weights = weight(qualities, squash)
    order, score = ranked(bids, weights, reserves, n_slots + 1)
    winner = order[:, :n_slots]
    threshold = score[:, 1:] / at(weights, winner)
    price = np.minimum(np.maximum(threshold, at(reserves, winner)), at(bids, winner))
    return Allocation(winner=winner, price_micros=to_micros(np.where(winner >= 0, price, 0.0)))
