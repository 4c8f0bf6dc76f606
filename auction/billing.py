"""Billing: which event of a sold impression is charged, how much, and when no more."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numba import njit

from auction.checks import index
from auction.pricing import Pricing
from auction.types import BoolArray, IdArray, IntArray


class Event(IntEnum):
    """What is reported of an impression."""

    IMPRESSION = 0
    CLICK = 1
    CONVERSION = 2


class Sold(NamedTuple):
    """Impressions, as the auction sold them; (m,) each."""

    campaign: IdArray
    pricing: IdArray  # a `Pricing`
    price_micros: IntArray  # per billable event, fixed from here on
    time_ms: IntArray


class Books(NamedTuple):
    """What billing remembers."""

    remaining_micros: IntArray  # (c,) of each budget
    charged: BoolArray  # (m,) whether the impression's billable event was charged


def bill(
    books: Books, sold: Sold, impression: IntArray, event: IdArray, time_ms: IntArray, *, window_ms: int
) -> tuple[Books, IntArray, IntArray]:
    """Charge the events reported, in the order given, at the prices fixed when the impressions were sold.

    Billable are the impression under CPM, oCPM and value pricing, the click under CPC, and the conversion under CPA if it comes
    no later than `window_ms` after the impression, and no earlier than it: the window is closed at both ends. An impression is
    charged once, however often its event is reported. A charge is clipped to what is left of the budget; the rest is unbilled.

    Args:
        impression: (e,) index into the sold impressions.
        event: (e,) an `Event`.
        time_ms: (e,) when it happened; events before their impression are not charged.

    Returns:
        The books after the last event, and billed and unbilled micros, (e,) each; the arguments stay as they are.

    Raises:
        ValueError: If an impression or its campaign is none, or a price is negative.
    """
    index("impression", impression, low=0, stop=len(sold.campaign))
    index("sold.campaign", sold.campaign, low=0, stop=len(books.remaining_micros))
    index("sold.price_micros", sold.price_micros, low=0, stop=2**63)
    after = Books(books.remaining_micros.copy(), books.charged.copy())
    billed, unbilled = np.zeros((2, len(impression)), np.int64)
    _bill(after, sold, impression, event, time_ms, window_ms, billed, unbilled)
    return after, billed, unbilled


@njit(cache=True, nogil=True)
def _bill(
    books: Books, sold: Sold, impression: IntArray, event: IdArray, time_ms: IntArray, window_ms: int, billed: IntArray,
    unbilled: IntArray,
) -> None:  # fmt: skip
    for e in range(impression.size):
        i = impression[e]
        billable = Event.IMPRESSION
        if sold.pricing[i] == Pricing.CPC:
            billable = Event.CLICK
        elif sold.pricing[i] == Pricing.CPA:
            billable = Event.CONVERSION
        age = time_ms[e] - sold.time_ms[i]
        late = billable == Event.CONVERSION and age > window_ms
        if event[e] != billable or age < 0 or late or books.charged[i]:
            continue
        books.charged[i] = True
        left = books.remaining_micros[sold.campaign[i]]
        billed[e] = min(left, sold.price_micros[i])
        unbilled[e] = sold.price_micros[i] - billed[e]
        books.remaining_micros[sold.campaign[i]] = left - billed[e]
