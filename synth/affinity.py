"""What a user wants from a store, now: the truth under every probability, in logits."""

from math import exp, sqrt
from typing import NamedTuple

from numba.extending import register_jitable

from synth.drift import Drift, drifted, season, turn
from synth.habits import Appetite, Habits, appetite, place_of
from synth.interactions import Mix, interaction
from synth.types import Float32Array, IdArray, IntArray, daypart_of

_ON_ORDERS = 0.5  # weight of the wish in the logit of an order, that in the logit of a click being 1


class Tastes(NamedTuple):
    """What the kernels read of the world."""

    seed: int  # of what lasts
    luck: int  # seed of what happens
    user_taste: Float32Array  # (U, d)
    user_price_sensitivity: Float32Array  # (U,)
    user_exploration: Float32Array  # (U,)
    user_daypart: IdArray  # (U,)
    user_platform: IdArray  # (U,)
    store_style: Float32Array  # (S, d)
    store_click_appeal: Float32Array  # (S,)
    store_purchase_appeal: Float32Array  # (S,) with the quality's part
    store_log_price: Float32Array  # (S,)
    store_dish: IdArray  # (S,)
    store_launch_ms: IntArray  # (S,)
    daypart: Float32Array  # (DAYPARTS, cuisines) logits
    dish_style: Float32Array  # (dishes, d) what the stores of a dish have in common
    siblings: int  # dishes per cuisine
    match: float  # weight of taste x style, divided by sqrt(d)
    price: float  # weight of price level x price sensitivity
    intent: float  # weight of the needed dish x style, divided by sqrt(d)
    mix: Mix
    drift: Drift
    appetite: Appetite


class Intercepts(NamedTuple):
    """What is solved for, so that the market shows the marginals asked for; logits."""

    click: float
    long_click: float
    hide: float
    cart: float
    checkout: float
    sign_up: float
    post_view: float
    organic: float
    habit: float  # added where the user has ordered before: to click, long click, cart, post-view and organic order


NEVER = -1_000.0  # intercept of what is switched off


@register_jitable
def wish(tastes: Tastes, user: int, store: int, time_ms: int, need: int) -> float:
    """Logits of a click (given examination) that come from taste, need, price and context; half of them tell in an order."""
    fit = wanted = 0.0
    for d in range(tastes.user_taste.shape[1]):
        fit += tastes.user_taste[user, d] * tastes.store_style[store, d]
        if need >= 0:
            wanted += tastes.dish_style[need, d] * tastes.store_style[store, d]
    cuisine, part = tastes.store_dish[store] // tastes.siblings, daypart_of(time_ms)
    return (
        tastes.match * fit
        + tastes.intent * wanted
        + tastes.daypart[part, cuisine]
        - tastes.price * tastes.user_price_sensitivity[user] * tastes.store_log_price[store]
        + interaction(tastes.mix, user, store, part, tastes.user_platform[user])
        + season(tastes.drift, cuisine, turn(tastes.drift, time_ms))
    )


@register_jitable
def inclination(
    tastes: Tastes, habits: Habits, user: int, store: int, time_ms: int, need: int
) -> tuple[float, float, float, bool]:
    """Logits of click, of order, of habit or curiosity, and whether the user had ordered from the store."""
    shared = wish(tastes, user, store, time_ms, need)
    place = place_of(habits.store, user, store)
    known = place >= 0
    own = appetite(
        tastes.seed, tastes.appetite, habits.last_ms[user, place] if known else 0, known, user, store, time_ms,
        tastes.user_daypart[user], tastes.user_exploration[user], tastes.store_launch_ms[store],
    )  # fmt: skip
    click = shared + tastes.store_click_appeal[store] + drifted(tastes.seed, tastes.drift, store, time_ms)
    return click, _ON_ORDERS * shared + tastes.store_purchase_appeal[store], own, known


@register_jitable
def sigmoid(logit: float) -> float:
    """The probability of a logit."""
    return 1.0 / (1.0 + exp(-logit))


def per_dimension(weight: float, dims: int) -> float:
    """Weight of each product in a sum of `dims` of them whose standard deviation is to be `weight`."""
    return weight / sqrt(dims)
