"""Habits: the stores each user has ordered from, before the start and since."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from synth.config import PopulationConfig
from synth.draws import Cause, uniform1
from synth.items import Stores
from synth.types import DAY_MS, Float32Array, IdArray, IntArray
from synth.users import Users

_MEMORY_DAYS = 60.0  # how far back the orders before the start reach
_MEAN_ORDERS = 2.5  # at a store that the user has ordered from


class Habits(NamedTuple):
    """Orders per user and store, in H places per user; a free place holds -1, 0 and 0."""

    store: IdArray  # (U, H)
    orders: IdArray  # (U, H) how many
    last_ms: IntArray  # (U, H) when last; negative before the start

    def copy(self) -> "Habits":
        """Independent of the original from here on."""
        return Habits(self.store.copy(), self.orders.copy(), self.last_ms.copy())


@register_jitable
def place_of(habit_store: IdArray, user: int, store: int) -> int:
    """Where `store` stands among the places of `user`, or -1: the user never ordered there."""
    for h in range(habit_store.shape[1]):
        if habit_store[user, h] == store:
            return h
    return -1


@njit(cache=True, nogil=True)
def record_orders(habits: Habits, user: IntArray, store: IntArray, time_ms: IntArray) -> None:
    """Write orders into `habits`, in the order given; a full memory gives up the store ordered from longest ago."""
    for i in range(user.size):
        u = user[i]
        place = place_of(habits.store, u, store[i])
        if place < 0:
            place = 0
            for h in range(habits.store.shape[1]):
                if habits.store[u, h] < 0:
                    place = h
                    break
                if habits.last_ms[u, h] < habits.last_ms[u, place]:
                    place = h
            habits.store[u, place] = store[i]
            habits.orders[u, place] = 0
        habits.orders[u, place] += 1
        habits.last_ms[u, place] = time_ms[i]


def make_habits(config: PopulationConfig, users: Users, stores: Stores, match: float, seed: int) -> Habits:
    """Draw what each user had ordered before the start: stores of the region, by popularity and taste.

    The number of stores is Poisson; which ones, a draw without replacement with weight popularity x exp(match x fit), by
    the Gumbel-max trick (Yellott 1977).
    """
    n_users, capacity = len(users.region), config.history_capacity
    habits = Habits(
        np.full((n_users, capacity), -1, np.int32),
        np.zeros((n_users, capacity), np.int32),
        np.zeros((n_users, capacity), np.int64),
    )
    by_region = np.argsort(stores.region, kind="stable").astype(np.int32)
    start = np.searchsorted(stores.region[by_region], np.arange(config.regions + 1))
    _draw_history(
        np.uint64(seed), habits, users.region, users.taste, by_region, start,
        np.log(stores.popularity).astype(np.float32), stores.style, match, config.history_stores,
    )  # fmt: skip
    return habits


@njit(cache=True, nogil=True)
def _draw_history(
    seed: int,
    habits: Habits,
    region: IdArray,
    taste: Float32Array,
    by_region: IdArray,
    start: IntArray,
    log_popularity: Float32Array,
    style: Float32Array,
    match: float,
    mean_stores: float,
) -> None:
    dims = taste.shape[1]
    scale = match / np.sqrt(dims)
    for u in range(region.size):
        pool = by_region[start[region[u]] : start[region[u] + 1]]
        wanted = min(
            poisson1(mean_stores, uniform1(seed, Cause.HISTORY_LENGTH, u, 0)), habits.store.shape[1], pool.size
        )
        score = np.empty(pool.size)
        for p in range(pool.size):
            fit = 0.0
            for d in range(dims):
                fit += taste[u, d] * style[pool[p], d]
            gumbel = -np.log(-np.log(uniform1(seed, Cause.HISTORY_STORE, u, pool[p])))
            score[p] = log_popularity[pool[p]] + scale * fit + gumbel
        for h in range(wanted):
            best = np.argmax(score)
            score[best] = -np.inf
            habits.store[u, h] = pool[best]
            habits.orders[u, h] = 1 + poisson1(_MEAN_ORDERS - 1, uniform1(seed, Cause.HISTORY_ORDERS, u, h))
            habits.last_ms[u, h] = -np.int64(uniform1(seed, Cause.HISTORY_AGE, u, h) * _MEMORY_DAYS * DAY_MS)


@register_jitable
def poisson1(mean: float, uniform: float) -> int:
    """The Poisson number at the quantile `uniform`, by inversion; at most 255."""
    p = np.exp(-mean)
    cumulative = p
    n = 0
    while uniform > cumulative and n < 255:
        n += 1
        p *= mean / n
        cumulative += p
    return n
