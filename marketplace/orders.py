"""Orders: conversions of all types on their way, placed some time after the click (or the sight) that led to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.types import CHECKOUT, IntArray, Requests, Visits

Orders = NDArray[Any]  # of ORDER, one per order

ORDER = np.dtype(
    [
        ("time_ms", np.int64),  # placed
        ("request", np.int64),
        ("ad", np.int32),
        ("user", np.int32),
        ("store", np.int32),
        ("campaign", np.int32),
        ("arm", np.int16),
        ("event", np.int8),  # position in EVENTS
        ("known", np.bool_),  # the user was known to have ordered from the store
        ("attributed", np.bool_),  # the campaign's goal, placed inside the attribution window, both ends included
        ("click_ms", np.int64),  # -1 where the ad was seen and not clicked
        ("shown_ms", np.int64),
        ("price_micros", np.int64),  # due when attributed; fixed at the impression
        ("value_micros", np.int64),  # basket
    ]
)


def no_orders() -> Orders:
    """None at all."""
    return np.empty(0, ORDER)


def organic_orders(requests: Requests, visits: Visits) -> Orders:
    """Orders of the requests' organic surface, which no campaign has a part in."""
    orders = np.zeros(len(requests), ORDER)
    for name in ("ad", "campaign", "arm", "click_ms"):
        orders[name] = -1
    orders["request"], orders["user"], orders["store"] = requests.id, requests.user, visits.ordered
    orders["time_ms"] = orders["shown_ms"] = requests.time_ms
    orders["event"], orders["value_micros"] = CHECKOUT, visits.value_micros
    return orders


def answered(orders: Orders) -> Requests:
    """The requests that orders go back to, whatever their surface."""
    user = orders["user"].copy()
    return Requests(
        id=orders["request"].copy(), user=user, time_ms=orders["shown_ms"].copy(), surface=np.zeros_like(user)
    )


def remembered(orders: Orders) -> tuple[IntArray, IntArray, IntArray]:
    """User, store and time of orders, each (m,)."""
    return orders["user"].astype(np.int64), orders["store"].astype(np.int64), orders["time_ms"].copy()


def in_time(orders: list[Orders]) -> Orders:
    """All of them, by time, ties by request, ad and event."""
    together = np.concatenate([no_orders(), *orders])
    return together[np.lexsort((together["event"], together["ad"], together["request"], together["time_ms"]))]
