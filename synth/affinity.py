"""What a user wants from a store at an hour: the truth under clicks, orders, long clicks and hides, in logits."""

from math import exp
from typing import NamedTuple

from numba.extending import register_jitable

from synth.types import HOUR_MS, Float32Array, IdArray

DAYPARTS = 6  # of four hours each, from midnight


class Tastes(NamedTuple):
    """What the kernels read of the world."""

    user_taste: Float32Array  # (U, d)
    user_price_sensitivity: Float32Array  # (U,)
    store_style: Float32Array  # (S, d)
    store_click_appeal: Float32Array  # (S,)
    store_purchase_appeal: Float32Array  # (S,)
    store_log_price: Float32Array  # (S,)
    store_cuisine: IdArray  # (S,)
    daypart: Float32Array  # (DAYPARTS, cuisines) logits
    match: float  # weight of taste x style, divided by sqrt(d)
    price: float  # weight of price level x price sensitivity


class Intercepts(NamedTuple):
    """What is solved for, so that the market shows the marginals asked for."""

    click: float
    conversion: float
    habit: float  # added to the logit of click and of order where the user has ordered before
    long_click: float
    hide: float


@register_jitable
def wish(tastes: Tastes, user: int, store: int, time_ms: int) -> tuple[float, float]:
    """Logits of click (given examination) and of order (given click), before intercepts and habit."""
    fit = 0.0
    for d in range(tastes.user_taste.shape[1]):
        fit += tastes.user_taste[user, d] * tastes.store_style[store, d]
    part = (time_ms // (4 * HOUR_MS)) % DAYPARTS
    shared = (
        tastes.match * fit
        + tastes.daypart[part, tastes.store_cuisine[store]]
        - tastes.price * tastes.user_price_sensitivity[user] * tastes.store_log_price[store]
    )
    return shared + tastes.store_click_appeal[store], 0.5 * shared + tastes.store_purchase_appeal[store]


@register_jitable
def sigmoid(logit: float) -> float:
    """The probability of a logit."""
    return 1.0 / (1.0 + exp(-logit))
