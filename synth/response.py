"""Response: what a user does with the ads shown, with every probability that it was drawn from.

The position-based model (Craswell, Zoeter, Taylor & Ramsey 2008): a click needs examination, which depends on the slot
alone, and attraction, which does not depend on it. Draws are keyed by request and ad (examination by request and slot), so
an ad that two policies both show in one slot of a request gets the same answer.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from synth.affinity import Intercepts, Tastes, sigmoid, wish
from synth.draws import Cause, normal1, uniform1
from synth.habits import Habits, place_of
from synth.types import HOUR_MS, FloatArray, IdArray, Outcomes, Requests, Truth


class DelayLaw(NamedTuple):
    """Time from click to order: a mixture of two exponentials."""

    fast_share: float
    fast_mean_h: float
    slow_mean_h: float


class OrderLaw(NamedTuple):
    """Basket values: lognormal around the store's price level."""

    basket_usd: float
    sigma: float


def respond(
    seed: int,
    requests: Requests,
    shown_store: IdArray,
    habits: Habits,
    tastes: Tastes,
    intercepts: Intercepts,
    slot_effect: FloatArray,
    delay: DelayLaw,
    order: OrderLaw,
) -> tuple[Outcomes, Truth]:
    """Let users answer.

    Args:
        shown_store: (n, s) store in each slot, -1 where the slot is empty.
        slot_effect: (s,) probability of examination.

    Returns:
        What happened and the probabilities of it, each (n, s).
    """
    shape = shown_store.shape
    outcomes = Outcomes(
        clicked=np.zeros(shape, np.bool_),
        long_clicked=np.zeros(shape, np.bool_),
        hidden=np.zeros(shape, np.bool_),
        converted=np.zeros(shape, np.bool_),
        delay_ms=np.zeros(shape, np.int64),
        value_micros=np.zeros(shape, np.int64),
    )
    truth = Truth(
        examination=np.zeros(shape, np.float32),
        click=np.zeros(shape, np.float32),
        conversion=np.zeros(shape, np.float32),
    )
    _respond(
        np.uint64(seed), requests.id, requests.user, requests.time_ms, shown_store, habits.store, tastes, intercepts,
        slot_effect, delay, order, outcomes.clicked, outcomes.long_clicked, outcomes.hidden, outcomes.converted,
        outcomes.delay_ms, outcomes.value_micros, truth.examination, truth.click, truth.conversion,
    )  # fmt: skip
    return outcomes, truth


@njit(cache=True, nogil=True)
def _respond(  # type: ignore[no-untyped-def]
    seed, request, user, time_ms, shown, habit_store, tastes, intercepts, slot_effect, delay, order,
    clicked, long_clicked, hidden, converted, delay_ms, value_micros, p_examination, p_click, p_conversion,
):  # fmt: skip
    for i in range(shown.shape[0]):
        for s in range(shown.shape[1]):
            store = shown[i, s]
            if store < 0:
                continue
            u = user[i]
            click_wish, order_wish = wish(tastes, u, store, time_ms[i])
            habit = intercepts.habit if place_of(habit_store, u, store) >= 0 else 0.0
            p_examination[i, s] = slot_effect[s]
            p_click[i, s] = sigmoid(intercepts.click + click_wish + habit)
            p_conversion[i, s] = sigmoid(intercepts.conversion + order_wish + habit)
            if uniform1(seed, Cause.EXAMINATION, request[i], s) >= slot_effect[s]:
                continue
            if uniform1(seed, Cause.CLICK, request[i], store) >= p_click[i, s]:
                p_hide = sigmoid(intercepts.hide - click_wish - habit)
                hidden[i, s] = uniform1(seed, Cause.HIDE, request[i], store) < p_hide
                continue
            clicked[i, s] = True
            p_long = sigmoid(intercepts.long_click + order_wish + habit)
            long_clicked[i, s] = uniform1(seed, Cause.LONG_CLICK, request[i], store) < p_long
            if uniform1(seed, Cause.CONVERSION, request[i], store) < p_conversion[i, s]:
                converted[i, s] = True
                fast = uniform1(seed, Cause.DELAY_PART, request[i], store) < delay.fast_share
                mean = delay.fast_mean_h if fast else delay.slow_mean_h
                waited = -np.log(uniform1(seed, Cause.DELAY, request[i], store)) * mean
                delay_ms[i, s] = 1 + np.int64(waited * HOUR_MS)
                level = tastes.store_log_price[store] - 0.5 * order.sigma * order.sigma
                noise = order.sigma * normal1(seed, Cause.ORDER_VALUE, request[i], store)
                value_micros[i, s] = np.int64(order.basket_usd * np.exp(level + noise) * 1e6)
