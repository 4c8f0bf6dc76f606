"""Generalised second price."""

from numpy.typing import ArrayLike

from auction.checks import market, whole
from auction.ranking import at, needed, ranked, weight
from auction.types import Allocation, sold


def gsp(
    bid: ArrayLike,
    quality: ArrayLike,
    *,
    n_slots: int,
    reserve: ArrayLike = 0.0,
    squash: float = 1.0,
    user_value: ArrayLike = 0.0,
) -> Allocation:
    """Weighted generalised second price: a winner pays the least bid that keeps its slot.

    Candidates whose bid reaches their reserve are ranked by bid x quality^squash + user value; the price per billable event
    is max(reserve, (next score - own user value) / own quality^squash). An empty slot is worth 0: a candidate with a score
    below is not shown, and the last one to be shown competes with a score of 0.

    Args:
        bid: (n, k) USD per billable event, >= 0; 0 marks an absent candidate.
        quality: (n, k) ranking weight, > 0, such as the predicted CTR.
        n_slots: Slots s per request; those past the candidates stay empty.
        reserve: Least price, USD per billable event, one number or (n, k).
        squash: Exponent of quality, 0 (rank by bid) to 1 (rank by expected revenue).
        user_value: What showing the ad is worth to the user, USD per examined impression, of any sign, one number or (n, k);
            in the units of the score where squash is 1.

    Raises:
        ValueError: If the shapes differ or an entry is out of range, NaN or infinite.

    References:
        Edelman, Ostrovsky & Schwarz (2007), American Economic Review 97(1).
        Lahaie & Pennock (2007), ACM EC.

    Examples:
        >>> gsp([[10, 4, 2]], [[1, 1, 1]], n_slots=2).price_micros
        array([[4000000, 2000000]])
    """
    bids, qualities, reserves, values = market(bid, quality, reserve, user_value)
    weights = weight(qualities, squash)
    order, score = ranked(bids, weights, reserves, values, whole("n_slots", n_slots) + 1)
    winner = order[:, :-1]
    price = needed(
        score[:, 1:], at(values, winner), at(weights, winner), at(reserves, winner), at(bids, winner)
    )  # fmt: skip
    return sold(winner, price)
