"""Response: what a user does with the ads shown, with every probability that it was drawn from.

A click needs examination, which depends on the place alone, and attraction, which does not depend on it. After a click come a
long click, an add-to-cart with perhaps a checkout, a sign-up; after an ad that was seen and not clicked, a hide or a checkout
all the same (post-view). Draws are keyed by request and store (examination by request and slot), so an ad that two policies
both show in one slot of a request gets the same answer, and the answer to an ad that was not shown can be looked up.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from synth.affinity import Intercepts, Tastes, inclination, sigmoid
from synth.delay import DelayLaw
from synth.draws import Cause, uniform1
from synth.examination import Examination
from synth.fatigue import Fatigue, Tiring, fatigue_at
from synth.habits import Habits
from synth.organic import OrderLaw, basket1
from synth.types import CART, CHECKOUT, HOUR_MS, N_EVENTS, SIGN_UP, Float32Array, IdArray, Outcomes, Requests, Truth


class Laws(NamedTuple):
    """What answers are drawn by, apart from tastes."""

    intercepts: Intercepts
    examination: Examination
    tiring: Tiring
    delays: tuple[DelayLaw, DelayLaw, DelayLaw]  # by event
    order: OrderLaw


def respond(
    requests: Requests,
    need: IdArray,
    shown_store: IdArray,
    slow: Float32Array,
    habits: Habits,
    fatigue: Fatigue,
    tastes: Tastes,
    laws: Laws,
) -> tuple[Outcomes, Truth]:
    """Let users answer.

    Args:
        need: (n,) dish that the user is after.
        shown_store: (n, s) store in each slot, -1 where the slot is empty.
        slow: (n, s) factor of the slow part of its delays.

    Returns:
        What happened and the probabilities of it, each (n, s).
    """
    shape = shown_store.shape
    flags = [np.zeros(shape, np.bool_) for _ in range(4)]
    outcomes = Outcomes(
        examined=flags[0], clicked=flags[1], long_clicked=flags[2], hidden=flags[3],
        delay_ms=np.full((*shape, N_EVENTS), -1, np.int64), value_micros=np.zeros(shape, np.int64),
    )  # fmt: skip
    p = [np.zeros(shape, np.float32) for _ in range(8)]
    truth = Truth(
        examination=p[0], click=p[1], long_click=p[2], hide=p[3], cart=p[4], checkout=p[5], sign_up=p[6], post_view=p[7],
        known=np.zeros(shape, np.bool_),
    )  # fmt: skip
    _answer(
        requests.id, requests.user, requests.time_ms, requests.surface, need, shown_store, slow, habits, fatigue, tastes,
        laws.intercepts, laws.examination, laws.tiring, laws.delays, laws.order, *flags, outcomes.delay_ms,
        outcomes.value_micros, *p, truth.known,
    )  # fmt: skip
    return outcomes, truth


@njit(cache=True, nogil=True)
def _answer(  # type: ignore[no-untyped-def]
    request, user, time_ms, surface, need, shown, slow, habits, fatigue, tastes, intercepts, examination, tiring, delays, order,
    examined, clicked, long_clicked, hidden, delay_ms, value_micros,
    p_examination, p_click, p_long, p_hide, p_cart, p_checkout, p_sign_up, p_post_view, is_known,
):  # fmt: skip
    seed = tastes.luck
    for i in range(shown.shape[0]):
        r, u, t = request[i], user[i], time_ms[i]
        effect = examination.effect[surface[i], tastes.user_platform[u]]
        tired = tiring.blindness * fatigue_at(fatigue, tiring, u, t)
        scanning, reached = True, 1.0  # cascade: the scan goes on; the probability that it has not been ended above
        for s in range(shown.shape[1]):
            if examination.cascade:
                look = effect[s] / effect[s - 1] if s > 0 else effect[0]
                scanning = scanning and uniform1(seed, Cause.EXAMINATION, r, s) < look
                looked, p_look = scanning, effect[s] * reached
            else:
                looked, p_look = uniform1(seed, Cause.EXAMINATION, r, s) < effect[s], effect[s]
            store = shown[i, s]
            if store < 0:
                continue
            click, buy, own, known = inclination(tastes, habits, u, store, t, need[i])
            own += intercepts.habit if known else 0.0
            p_examination[i, s] = p_look
            p_click[i, s] = sigmoid(intercepts.click + click + own - tired)
            p_long[i, s] = sigmoid(intercepts.long_click + 0.5 * click + own)
            p_hide[i, s] = sigmoid(intercepts.hide - click - own)
            p_cart[i, s] = sigmoid(intercepts.cart + buy + own)
            p_checkout[i, s] = sigmoid(intercepts.checkout + buy)
            p_sign_up[i, s] = 0.0 if known else sigmoid(intercepts.sign_up + buy)
            p_post_view[i, s] = sigmoid(intercepts.post_view + buy + own)
            is_known[i, s] = known
            reached *= 1.0 - examination.stop * p_click[i, s]
            examined[i, s] = looked
            if not looked:
                continue
            bought = False
            if uniform1(seed, Cause.CLICK, r, store) < p_click[i, s]:
                clicked[i, s] = True
                if examination.cascade and uniform1(seed, Cause.STOP, r, s) < examination.stop:
                    scanning = False
                long_clicked[i, s] = uniform1(seed, Cause.LONG_CLICK, r, store) < p_long[i, s]
                if uniform1(seed, Cause.CART, r, store) < p_cart[i, s]:
                    long_clicked[i, s] = True
                    delay_ms[i, s, CART] = _delay(seed, delays[CART], CART, r, store, 1.0)
                    bought = uniform1(seed, Cause.CHECKOUT, r, store) < p_checkout[i, s]
                if uniform1(seed, Cause.SIGN_UP, r, store) < p_sign_up[i, s]:
                    delay_ms[i, s, SIGN_UP] = _delay(seed, delays[SIGN_UP], SIGN_UP, r, store, slow[i, s])
            else:
                hidden[i, s] = uniform1(seed, Cause.HIDE, r, store) < p_hide[i, s]
                bought = uniform1(seed, Cause.POST_VIEW, r, store) < p_post_view[i, s]
            if bought:
                wait = _delay(seed, delays[CHECKOUT], CHECKOUT, r, store, slow[i, s])
                delay_ms[i, s, CHECKOUT] = wait
                if clicked[i, s]:
                    delay_ms[i, s, CART] = min(delay_ms[i, s, CART], wait)
                value_micros[i, s] = basket1(seed, order, Cause.ORDER_VALUE, tastes.store_log_price[store], r, store)


@njit(cache=True, nogil=True)
def _delay(seed, law, event, request, store, slow):  # type: ignore[no-untyped-def]
    key = store * N_EVENTS + event
    fast = uniform1(seed, Cause.DELAY_PART, request, key) < law.fast_share
    mean = law.fast_mean_h if fast else law.slow_mean_h * slow
    return 1 + np.int64(-np.log(uniform1(seed, Cause.DELAY, request, key)) * mean * HOUR_MS)
