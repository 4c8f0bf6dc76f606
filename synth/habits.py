"""Habits: the stores each user has ordered from, before the start and since, and what they do to the next order.

A habit has a period and a usual part of the day of its own. Right after an order the appetite for the store is gone; it comes
back over the period. A store that the user does not know profits from the user's wish to explore and from its novelty.
"""

from math import exp
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from synth.config import HabitConfig, WorldConfig
from synth.draws import Cause, normal1, poisson1, uniform1
from synth.items import Shelf, draw_store
from synth.types import DAY_MS, DAYPARTS, Float32Array, FloatArray, IdArray, IntArray, daypart_of
from synth.users import Users

_MEMORY_DAYS = 60.0  # how far back the orders before the start reach at most
_MEAN_ORDERS = 2.5  # at a store that the user has ordered from
_OWN_DAYPART = 0.3  # probability that a habit's part of the day is any other than the user's usual one
_DRAWS = 3  # per store wanted, before a region is taken to have no more


class Habits(NamedTuple):
    """Orders per user and store, in H places per user; a free place holds -1, 0 and 0."""

    store: IdArray  # (U, H)
    orders: IdArray  # (U, H) how many
    last_ms: IntArray  # (U, H) when last; negative before the start

    def copy(self) -> "Habits":
        """Independent of the original from here on."""
        return Habits(self.store.copy(), self.orders.copy(), self.last_ms.copy())

    def rows(self, start: int, stop: int) -> "Habits":
        """Users start to stop - 1, as views."""
        return Habits._make(column[start:stop] for column in self)


class Appetite(NamedTuple):
    """The laws of habits, in the units of the kernels."""

    renewal: float  # logits
    period_ms: float  # median over pairs of user and store
    period_sigma: float
    daypart: float  # logits
    exploration: float  # logits per standard deviation
    novelty: float  # logits at the launch
    novelty_ms: float


def appetite_of(config: HabitConfig) -> Appetite:
    """The scenario's laws."""
    return Appetite(
        renewal=config.renewal, period_ms=config.period_days * DAY_MS, period_sigma=config.period_sigma,
        daypart=config.daypart, exploration=config.exploration, novelty=config.novelty,
        novelty_ms=config.novelty_days * DAY_MS,
    )  # fmt: skip


@register_jitable
def place_of(habit_store: IdArray, user: int, store: int) -> int:
    """Where `store` stands among the places of `user`, or -1: the user never ordered there."""
    for h in range(habit_store.shape[1]):
        if habit_store[user, h] == store:
            return h
    return -1


@register_jitable
def period_of(seed: int, laws: Appetite, user: int, store: int) -> float:
    """Time in which the user's appetite for the store comes back to 1 - 1/e, ms."""
    return laws.period_ms * exp(laws.period_sigma * normal1(seed, Cause.HABIT_PERIOD, user, store))


@register_jitable
def daypart_of_habit(seed: int, user: int, store: int, usual: int) -> int:
    """Part of the day that the user orders there in: the user's usual one, or any other."""
    lot = uniform1(seed, Cause.HABIT_DAYPART, user, store)
    if lot >= _OWN_DAYPART:
        return usual
    return (usual + 1 + int(lot / _OWN_DAYPART * (DAYPARTS - 1))) % DAYPARTS


@register_jitable
def appetite(
    seed: int, laws: Appetite, last_ms: int, known: bool, user: int, store: int, time_ms: int, usual: int, explores: float,
    launch_ms: int,
) -> float:  # fmt: skip
    """Logits that a habit (if the store is `known`) or curiosity adds, apart from the constant that is solved for.

    Known: renewal x (exp(-1/2) - exp(-t / period)), t since the last order, so 0 after half a period;
    + daypart in the habit's part of the day. Unknown: exploration x the user's propensity + novelty x exp(-age / novelty_ms).
    """
    if known:
        logit = 0.0
        if laws.renewal > 0:
            since = max(0, time_ms - last_ms)
            logit += laws.renewal * (exp(-0.5) - exp(-since / period_of(seed, laws, user, store)))
        if laws.daypart > 0 and daypart_of(time_ms) == daypart_of_habit(seed, user, store, usual):
            logit += laws.daypart
        return logit
    logit = laws.exploration * explores
    if laws.novelty > 0 and launch_ms > 0:
        logit += laws.novelty * exp(-max(0, time_ms - launch_ms) / laws.novelty_ms)
    return logit


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


def make_habits(
    config: WorldConfig, users: Users, shelf: Shelf, cuisine_style: Float32Array, seed: int, first: int
) -> Habits:
    """Draw what users had ordered before the start, each user by its own id.

    The number of stores is Poisson, with a mean that grows with the root of the user's activity. Each is drawn by cuisine, with
    weight popularity of the cuisine's stores in the region x exp(match x taste . style / sqrt(d)), then by popularity within
    the cuisine; a store drawn again is drawn anew, a few times. The last orders are as old as the marginals make them: a user
    who orders every T days, from K stores in turn, was last at each K T / 2 days ago in the mean; exponential, at most 60 days.

    Args:
        users: Those whose history is drawn; the first of them has the id `first`.
        shelf: Of the stores open at the start.
        cuisine_style: (cuisines, TASTE_DIMS) what the stores of a cuisine have in common.
    """
    n_users, capacity = len(users.region), config.habit.history_capacity
    habits = Habits(
        np.full((n_users, capacity), -1, np.int32),
        np.zeros((n_users, capacity), np.int32),
        np.zeros((n_users, capacity), np.int64),
    )
    mean = config.habit.history_stores * np.sqrt(users.activity / config.marginals.sessions_per_day)
    mean *= np.exp(config.population.activity_sigma**2 / 8)  # the mean of the root is less than the root of the mean
    asked = config.marginals
    by_ads = config.traffic.requests_per_session * len(config.feed.slot_effect) * asked.ctr * asked.cvr
    per_day = users.activity * by_ads / (1 - asked.organic_share)
    _draw_history(
        np.uint64(seed), first, habits, users.region, users.taste, shelf, cuisine_style,
        config.taste.match / np.sqrt(cuisine_style.shape[1]), mean, per_day,
    )  # fmt: skip
    return habits


@njit(cache=True, nogil=True)
def _draw_history(
    seed: int,
    first: int,
    habits: Habits,
    region: IdArray,
    taste: Float32Array,
    shelf: Shelf,
    cuisine_style: Float32Array,
    scale: float,
    mean_stores: FloatArray,
    orders_per_day: FloatArray,
) -> None:
    n_cuisines, dims = cuisine_style.shape
    siblings = shelf.n_dishes // n_cuisines
    total = np.empty(n_cuisines + 1)
    total[0] = 0.0
    for i in range(region.size):
        u = first + i
        for c in range(n_cuisines):
            group = region[i] * shelf.n_dishes + c * siblings
            stock = shelf.total[shelf.start[group + siblings]] - shelf.total[shelf.start[group]]
            fit = np.float32(0.0)
            for d in range(dims):
                fit += taste[i, d] * cuisine_style[c, d]
            total[c + 1] = total[c] + stock * np.exp(scale * fit)
        if total[n_cuisines] == 0.0:
            continue
        wanted = min(poisson1(mean_stores[i], uniform1(seed, Cause.HISTORY_LENGTH, u, 0)), habits.store.shape[1])
        filled = 0
        for draw in range(_DRAWS * wanted):
            at = uniform1(seed, Cause.HISTORY_CUISINE, u, draw) * total[n_cuisines]
            cuisine = np.searchsorted(total[1:n_cuisines], at, side="right")
            store = draw_store(
                shelf, region[i], cuisine * siblings, siblings, uniform1(seed, Cause.HISTORY_STORE, u, draw)
            )
            if store < 0 or place_of(habits.store, i, store) >= 0:
                continue
            habits.store[i, filled] = store
            habits.orders[i, filled] = 1 + poisson1(_MEAN_ORDERS - 1, uniform1(seed, Cause.HISTORY_ORDERS, u, filled))
            age = -np.log(uniform1(seed, Cause.HISTORY_AGE, u, filled)) * wanted / (2 * orders_per_day[i])
            habits.last_ms[i, filled] = -np.int64(min(age, _MEMORY_DAYS) * DAY_MS)
            filled += 1
            if filled == wanted:
                break
