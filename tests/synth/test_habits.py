"""Habits: orders remembered per user and store, and those before the start."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from synth import draws
from synth.config import PopulationConfig
from synth.draws import Cause
from synth.habits import Habits, make_habits, place_of, poisson1, record_orders
from synth.items import Stores
from synth.types import DAY_MS
from synth.users import TASTE_DIMS, Users

PLAUSIBLE = 1e-4


def memory(store, orders, last_ms) -> Habits:
    return Habits(np.array(store, np.int32), np.array(orders, np.int32), np.array(last_ms, np.int64))


def record(habits: Habits, *orders) -> list[list]:
    """Record (user, store, time_ms) triples; give the three tables as lists."""
    user, store, time_ms = (np.array(column, np.int64) for column in zip(*orders, strict=True))
    record_orders(habits, user, store, time_ms)
    return [table.tolist() for table in habits]


def test_an_order_at_a_new_store_takes_the_first_free_place():
    habits = memory([[4, -1, -1], [-1, -1, -1]], [[2, 0, 0], [0, 0, 0]], [[-5, 0, 0], [0, 0, 0]])

    assert record(habits, (0, 9, 100)) == [
        [[4, 9, -1], [-1, -1, -1]], [[2, 1, 0], [0, 0, 0]], [[-5, 100, 0], [0, 0, 0]],
    ]  # fmt: skip


def test_an_order_at_a_known_store_adds_one_and_renews_its_time():
    habits = memory([[4, 9, 7]], [[2, 1, 3]], [[-5, -9, -1]])

    assert record(habits, (0, 9, 100)) == [[[4, 9, 7]], [[2, 2, 3]], [[-5, 100, -1]]]


def test_a_full_memory_gives_up_the_store_ordered_from_longest_ago():
    habits = memory([[4, 9, 7]], [[2, 1, 3]], [[-5, -9, -1]])

    assert record(habits, (0, 8, 100)) == [[[4, 8, 7]], [[2, 1, 3]], [[-5, 100, -1]]]


def test_orders_are_recorded_one_after_another():
    habits = memory([[4, 9]], [[2, 1]], [[-5, -9]])

    tables = record(habits, (0, 4, 10), (0, 8, 20), (0, 8, 30), (0, 6, 40))

    assert tables == [[[6, 8]], [[1, 2]], [[40, 30]]]


def test_a_forgotten_store_starts_again_from_one_order():
    habits = memory([[4]], [[7]], [[-5]])

    assert record(habits, (0, 8, 10), (0, 4, 20)) == [[[4]], [[1]], [[20]]]


def test_a_copy_is_not_changed_by_later_orders():
    habits = memory([[4, -1]], [[2, 0]], [[-5, 0]])
    copy = habits.copy()

    record(habits, (0, 4, 10), (0, 5, 20))

    assert [table.tolist() for table in copy] == [[[4, -1]], [[2, 0]], [[-5, 0]]]


def test_place_of_finds_the_users_own_place_only():
    store = np.array([[4, 9], [9, -1]], np.int32)

    assert [place_of(store, u, s) for u, s in ((0, 4), (0, 9), (1, 9), (1, 4))] == [0, 1, 0, -1]


@pytest.mark.parametrize("mean", [0.0, 0.3, 1.5, 8.0, 60.0])
def test_poisson_number_is_the_quantile_of_the_law(mean):
    u = np.concatenate((draws.uniform(1, Cause.ARRIVALS, np.arange(2_000)), [1e-12, 1 - 1e-9]))

    assert np.array_equal([poisson1(mean, x) for x in u], stats.poisson.ppf(u, mean))


def test_history_holds_stores_of_the_users_region_only(population):
    store = population.habits.store
    user, place = np.nonzero(store >= 0)

    assert len(user) > 5_000
    assert np.array_equal(population.stores.region[store[user, place]], population.users.region[user])


def test_history_holds_no_store_twice(population):
    for stores in population.habits.store:
        kept = stores[stores >= 0]
        assert len(set(kept)) == len(kept)


def test_history_fills_places_from_the_front_and_leaves_free_ones_at_minus_one_and_zero(population):
    store, orders, last_ms = population.habits
    free = store < 0

    assert (np.diff(free.astype(int), axis=1) >= 0).all()
    assert not orders[free].any()
    assert not last_ms[free].any()
    assert (orders[~free] >= 1).all()


def test_history_lies_in_the_sixty_days_before_the_start(population):
    age = -population.habits.last_ms[population.habits.store >= 0] / (60 * DAY_MS)

    assert 0 <= age.min() <= age.max() < 1
    assert stats.kstest(age, "uniform").pvalue > PLAUSIBLE


def test_numbers_of_stores_are_poisson_up_to_the_memorys_places(population):
    length = (population.habits.store >= 0).sum(axis=1)
    capacity = population.config.population.history_capacity

    law = stats.poisson.pmf(np.arange(capacity), 6.0)
    expected = len(length) * np.append(law, 1 - law.sum())
    assert stats.chisquare(np.bincount(length, minlength=capacity + 1), expected).pvalue > PLAUSIBLE


def test_orders_at_a_known_store_are_one_and_a_poisson_number_of_mean_one_and_a_half(population):
    again = population.habits.orders[population.habits.store >= 0] - 1

    seen = np.bincount(np.minimum(again, 6), minlength=7)
    law = stats.poisson.pmf(np.arange(6), 1.5)
    assert stats.chisquare(seen, seen.sum() * np.append(law, 1 - law.sum())).pvalue > PLAUSIBLE


def test_the_first_store_is_chosen_by_popularity_times_the_exponential_of_match_and_fit():
    n_users, n_stores, match = 8_000, 6, 1.2
    rng = np.random.default_rng(5)
    taste, style = rng.normal(size=TASTE_DIMS), rng.normal(size=(n_stores, TASTE_DIMS))
    popularity = np.array([0.2, 0.5, 1.0, 1.0, 1.5, 1.8])
    zeros = np.zeros(n_users, np.int32)
    users = Users(
        zeros,
        zeros,
        zeros,
        zeros,
        np.ones(n_users),
        zeros.astype(np.float32),
        np.tile(taste, (n_users, 1)).astype("f4"),
    )
    some = np.zeros(n_stores, np.float32)
    stores = Stores(some.astype(np.int32), some.astype(np.int32), popularity, some, some, some, style.astype("f4"))
    config = PopulationConfig(users=n_users, regions=1, requests_per_day=1, history_stores=3)

    first = make_habits(config, users, stores, match, 2).store[:, 0]

    law = softmax(np.log(popularity) + match / np.sqrt(TASTE_DIMS) * style @ taste)
    seen = np.bincount(first[first >= 0], minlength=n_stores)
    assert stats.chisquare(seen, seen.sum() * law).pvalue > PLAUSIBLE
