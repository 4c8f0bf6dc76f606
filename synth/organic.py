"""The organic surface beside the ads: what users look at and order there, with or without ads."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from synth import draws
from synth.affinity import Intercepts, Tastes, inclination, sigmoid
from synth.draws import Cause, normal1, poisson1, uniform1
from synth.habits import Habits, appetite
from synth.items import Shelf, draw_store
from synth.sessions import Intent, need_of
from synth.types import BoolArray, Float32Array, IdArray, Requests, Visits

MOST_VIEWS = 4  # stores looked at before one request
_TRIES = 4  # at a store that is not open yet
_WANDERS = 0.25  # share of the views that look for a need that go to any dish of its cuisine


class OrderLaw(NamedTuple):
    """Basket values: lognormal around the store's price level."""

    basket_usd: float  # mean at a store of price level 1
    sigma: float


@register_jitable
def basket1(seed: int, law: OrderLaw, cause: int, log_price: float, request: int, store: int) -> int:
    """Value of one order, micros."""
    noise = law.sigma * normal1(seed, cause, request, store)
    return int(law.basket_usd * np.exp(log_price - 0.5 * law.sigma * law.sigma + noise) * 1e6)


def browse(
    requests: Requests, region: IdArray, habits: Habits, tastes: Tastes, intent: Intent, shelf: Shelf,
    cuisine_style: Float32Array, intercepts: Intercepts, law: OrderLaw,
) -> Visits:  # fmt: skip
    """What users look for, look at and would order with no ad at all, just before each request.

    A view goes with probability `familiar_views` to a known store, by appetite; else, with probability `focus`, to a store of
    the dish needed (now and then, or where there is none, of its cuisine); else to any store of the region; both by popularity.
    """
    n = len(requests)
    visits = Visits(
        need=np.full(n, -1, np.int32), query=np.full(n, -1, np.int32), view=np.full((n, MOST_VIEWS), -1, np.int32),
        chance=np.zeros((n, MOST_VIEWS), np.float32), known=np.zeros((n, MOST_VIEWS), np.bool_),
        ordered=np.full(n, -1, np.int32), value_micros=np.zeros(n, np.int64),
    )  # fmt: skip
    _browse(
        requests.id, requests.user, requests.time_ms, region, habits, tastes, intent, shelf, cuisine_style, intercepts, law,
        visits.need, visits.query, visits.view, visits.chance, visits.known, visits.ordered, visits.value_micros,
    )  # fmt: skip
    return visits


@njit(cache=True, nogil=True)
def _browse(  # type: ignore[no-untyped-def]
    request, user, time_ms, region, habits, tastes, intent, shelf, cuisine_style, intercepts, law,
    need, query, view, chance, known, ordered, value_micros,
):  # fmt: skip
    seed = tastes.luck
    for i in range(request.size):
        r, u, t = request[i], user[i], time_ms[i]
        need[i] = need_of(tastes, intent, shelf, cuisine_style, region[u], u, r, t)
        if uniform1(seed, Cause.SEARCH, r, 0) < intent.search:
            query[i] = need[i]
        wanted = min(poisson1(intent.views, uniform1(seed, Cause.VIEW_COUNT, r, 0)), view.shape[1])
        for v in range(wanted):
            store = _look(seed, r, v, region[u], u, t, need[i], habits, tastes, intent, shelf)
            if store < 0:
                continue
            _, order, own, familiar = inclination(tastes, habits, u, store, t, need[i])
            p = sigmoid(intercepts.organic + order + own + (intercepts.habit if familiar else 0.0))
            view[i, v], chance[i, v], known[i, v] = store, p, familiar
            if ordered[i] < 0 and uniform1(seed, Cause.ORGANIC_ORDER, r, v) < p:
                ordered[i] = store
                value_micros[i] = basket1(seed, law, Cause.ORGANIC_VALUE, tastes.store_log_price[store], r, store)


@register_jitable
def _known_store(habits: Habits, tastes: Tastes, user: int, time_ms: int, lot: float) -> int:
    """A store that the user knows, with weight exp(appetite), at the quantile `lot`; -1 where there is none."""
    total = np.zeros(habits.store.shape[1] + 1)
    known = 0
    while known < habits.store.shape[1] and habits.store[user, known] >= 0:
        wants = appetite(
            tastes.seed, tastes.appetite, habits.last_ms[user, known], True, user, habits.store[user, known], time_ms,
            tastes.user_daypart[user], 0.0, 0,
        )  # fmt: skip
        total[known + 1] = total[known] + np.exp(wants)
        known += 1
    if known == 0:
        return -1
    return habits.store[user, np.searchsorted(total[1:known], lot * total[known], side="right")]


@register_jitable
def _look(  # type: ignore[no-untyped-def]
    seed, request, v, region, user, time_ms, need, habits, tastes, intent, shelf
):  # fmt: skip
    """The store looked at, -1 where there is none."""
    lot = uniform1(seed, Cause.VIEW_FAMILIAR, request, v) / intent.familiar_views if intent.familiar_views > 0 else 1.0
    if lot < 1.0:
        store = _known_store(habits, tastes, user, time_ms, lot)
        if store >= 0:
            return store
    lot = uniform1(seed, Cause.VIEW_NEED, request, v)
    focused = lot < intent.focus and need >= 0
    wanders = lot < intent.focus * _WANDERS
    for attempt in range(_TRIES):
        at = uniform1(seed, Cause.VIEW_STORE, request, v * _TRIES + attempt)
        store = -1
        if focused:
            store = -1 if wanders else draw_store(shelf, region, need, 1, at)
            if store < 0:
                store = draw_store(shelf, region, need // tastes.siblings * tastes.siblings, tastes.siblings, at)
        if store < 0:
            store = draw_store(shelf, region, 0, shelf.n_dishes, at)
        if store >= 0 and tastes.store_launch_ms[store] <= time_ms:
            return store
    return -1


def displaced(seed: int, requests: Requests, visits: Visits, bought: BoolArray, substitution: float) -> BoolArray:
    """(n,) organic orders that an order after an ad of the same request takes the place of.

    Args:
        bought: (n,) the request led to an order after an ad.
        substitution: Probability that such an order replaces the organic one.
    """
    lot = draws.uniform(seed, Cause.DISPLACED, requests.id)
    return (visits.ordered >= 0) & bought & (lot < substitution)
