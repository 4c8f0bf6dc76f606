"""Habits: what users had ordered before the start and since, and what it does to their appetite."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax

from synth import draws
from synth.config import HabitConfig, WorldConfig
from synth.draws import Cause
from synth.habits import (
    Appetite,
    Habits,
    appetite,
    appetite_of,
    daypart_of_habit,
    make_habits,
    period_of,
    place_of,
    record_orders,
)
from synth.items import make_shelf
from synth.types import DAY_MS, HOUR_MS
from synth.users import TASTE_DIMS
from synth.world import populate

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


@given(orders=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=25))
def test_memories_hold_the_latest_stores_of_each_user(orders):
    habits = memory(np.full((3, 3), -1), np.zeros((3, 3)), np.zeros((3, 3)))

    record(habits, *((user, store, 1 + i) for i, (user, store) in enumerate(orders)))

    for u in range(3):
        latest = list(dict.fromkeys(store for user, store in reversed(orders) if user == u))[:3]
        assert {int(store) for store in habits.store[u] if store >= 0} == set(latest)


def test_a_copy_is_not_changed_by_later_orders_and_rows_are():
    habits = memory([[4, -1], [3, -1]], [[2, 0], [1, 0]], [[-5, 0], [-2, 0]])
    copy, rows = habits.copy(), habits.rows(1, 2)

    record(habits, (0, 4, 10), (1, 5, 20))

    assert [table.tolist() for table in copy] == [[[4, -1], [3, -1]], [[2, 0], [1, 0]], [[-5, 0], [-2, 0]]]
    assert [table.tolist() for table in rows] == [[[3, 5]], [[1, 1]], [[-2, 20]]]


def test_place_of_finds_the_users_own_place_only():
    store = np.array([[4, 9], [9, -1]], np.int32)

    assert [place_of(store, u, s) for u, s in ((0, 4), (0, 9), (1, 9), (1, 4))] == [0, 1, 0, -1]


# What a habit does

LAWS = Appetite(
    renewal=1.2, period_ms=7.0 * DAY_MS, period_sigma=0.0, daypart=0.0, exploration=0.4, novelty=0.3, novelty_ms=14.0 * DAY_MS
)  # fmt: skip


def hunger(
    time_ms: int, laws: Appetite = LAWS, *, known: bool = True, usual: int = 0, explores: float = 0.0, launch_ms=0
):
    return appetite(3, laws, 0, known, 5, 8, time_ms, usual, explores, launch_ms)


@pytest.mark.parametrize(("days", "share"), [(0, 0.0), (3.5, 0.39347), (7, 0.63212), (14, 0.86466), (700, 1.0)])
def test_appetite_is_gone_right_after_an_order_and_comes_back_over_the_period(days, share):
    assert hunger(int(days * DAY_MS)) == pytest.approx(1.2 * (share - 0.39347), abs=1e-4)


@given(first=st.integers(0, 60 * DAY_MS), second=st.integers(0, 60 * DAY_MS))
def test_appetite_never_falls_while_nothing_is_ordered(first, second):
    early, late = sorted((first, second))

    assert -1.2 * 0.4 <= hunger(early) <= hunger(late) <= 1.2 * 0.61


def test_an_order_just_placed_counts_as_placed_now():
    assert appetite(3, LAWS, DAY_MS, True, 5, 8, 0, 0, 0.0, 0) == hunger(0)


def test_periods_are_lognormal_over_users_and_stores():
    laws = LAWS._replace(period_sigma=0.6)
    period = np.array([period_of(3, laws, user, store) for user in range(40) for store in range(40)])

    assert stats.kstest(np.log(period / laws.period_ms) / 0.6, "norm").pvalue > PLAUSIBLE


def test_a_habit_has_the_users_usual_part_of_the_day_seven_times_in_ten_and_else_any_other():
    part = [daypart_of_habit(3, user, store, 4) for user in range(50) for store in range(40)]

    expected = 2_000 * np.array([0.06, 0.06, 0.06, 0.06, 0.7, 0.06])
    assert stats.chisquare(np.bincount(part, minlength=6), expected).pvalue > PLAUSIBLE


def test_the_habits_part_of_the_day_adds_its_logits_and_no_other_part_does():
    laws = LAWS._replace(renewal=0.0, daypart=0.8)
    mine = daypart_of_habit(3, 5, 8, 2)

    hours = [hunger(9 * DAY_MS + hour * HOUR_MS, laws, usual=2) for hour in range(24)]

    assert hours == [0.8 if hour // 4 == mine else 0.0 for hour in range(24)]


def test_curiosity_is_the_users_own_and_goes_to_unknown_stores_only():
    assert hunger(DAY_MS, known=False, explores=-1.5) == pytest.approx(0.4 * -1.5)
    assert hunger(DAY_MS, explores=-1.5) == hunger(DAY_MS)


def test_novelty_wears_off_exponentially_after_the_launch_and_old_stores_have_none():
    launch = 10 * DAY_MS

    for days, novelty in ((10, 0.3), (24, 0.3 / np.e), (38, 0.3 / np.e**2)):
        assert hunger(days * DAY_MS, known=False, launch_ms=launch) == pytest.approx(novelty)
    assert hunger(10 * DAY_MS, known=False) == 0.0
    assert hunger(10 * DAY_MS, launch_ms=launch) == hunger(10 * DAY_MS)


def test_weights_of_zero_leave_no_appetite_of_any_kind():
    laws = appetite_of(HabitConfig(renewal=0.0, daypart=0.0, exploration=0.0, novelty=0.0))

    for known in (True, False):
        assert hunger(5 * HOUR_MS, laws, known=known, usual=1, explores=2.0, launch_ms=HOUR_MS) == 0.0


def test_the_scenarios_laws_are_in_milliseconds():
    config = HabitConfig(
        renewal=1.1, period_days=3.0, period_sigma=0.2, daypart=0.5, exploration=0.6, novelty=0.7, novelty_days=9.0
    )

    assert appetite_of(config) == Appetite(1.1, 3.0 * DAY_MS, 0.2, 0.5, 0.6, 0.7, 9.0 * DAY_MS)


# What users had ordered before the start


def test_history_holds_stores_of_the_users_region_only(population):
    store = population.habits.store
    user, place = np.nonzero(store >= 0)

    assert len(user) > 5_000
    assert np.array_equal(population.stores.region[store[user, place]], population.users.region[user])


def test_history_holds_no_store_that_opens_later(population):
    late = population.stores.launch_ms > 0

    assert late.sum() > 10
    assert not late[population.habits.store[population.habits.store >= 0]].any()


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


def ages(population) -> tuple[np.ndarray, np.ndarray]:
    """Days since the last order at each known store, and half the days in which the user orders from as many stores."""
    user, place = np.nonzero(population.habits.store >= 0)
    c, activity = population.config, population.users.activity[user]
    sessions, sigma = c.marginals.sessions_per_day, c.population.activity_sigma
    mean = expected_stores(activity, c.habit.history_stores, sigma, sessions)
    wanted = stats.poisson.ppf(draws.uniform(population.seed, Cause.HISTORY_LENGTH, user), mean)
    asked = c.marginals
    per_session = c.traffic.requests_per_session * len(c.feed.slot_effect) * asked.ctr * asked.cvr
    orders = activity * per_session / (1 - asked.organic_share)
    return -population.habits.last_ms[user, place] / DAY_MS, np.minimum(wanted, c.habit.history_capacity) / orders / 2


def test_the_last_order_is_exponentially_old_with_a_mean_of_half_a_round_of_the_users_stores(population):
    """Of those within the sixty days of memory, the age's distribution function is uniform."""
    age, mean = ages(population)
    within = age < 60

    law = -np.expm1(-age / mean) / -np.expm1(-60 / mean)
    assert within.sum() > 3_000
    assert stats.kstest(law[within], "uniform").pvalue > PLAUSIBLE
    slow = mean > np.median(mean)
    for half in (slow, ~slow):
        assert stats.kstest(law[within & half], "uniform").pvalue > PLAUSIBLE


def test_orders_from_before_the_memory_of_sixty_days_count_as_sixty_days_old(population, errors):
    age, mean = ages(population)

    assert 0 <= age.min() <= age.max() == 60
    assert errors(age == 60, np.exp(-60 / mean)) < 4


def test_a_user_orders_before_the_start_about_as_often_as_the_marginals_say(changed):
    """Nobody differs, four stores, no organic orders: 1.5 sessions x 2 x 4 slots x .1 x .25 = .3 orders a day, so each store was
    last at 4 / (2 x .3) = 6.67 days ago on average, but for the sixty days.
    """
    calm = changed(
        population={"activity_sigma": 0.0}, habit={"history_stores": 4.0}, traffic={"requests_per_session": 2.0},
        marginals={"sessions_per_day": 1.5, "ctr": 0.1, "cvr": 0.25, "cart_rate": None, "organic_share": 0.0},
    )  # fmt: skip
    age, mean = ages(populate(calm, 4))

    assert (mean == pytest.approx(np.round(mean * 0.6) / 0.6)) and set(np.round(mean * 0.6)) >= {2.0, 4.0, 6.0}
    four = np.isclose(mean * 0.6, 4.0)
    assert age[four].mean() == pytest.approx(20 / 3, abs=4 * age[four].std() / np.sqrt(four.sum()))


def expected_stores(activity: np.ndarray, mean: float, sigma: float, sessions: float) -> np.ndarray:
    """Mean stores of each user: with the root of activity, and `mean` on average over users."""
    return mean * np.sqrt(activity / sessions) * np.exp(sigma**2 / 8)


def test_numbers_of_stores_are_poisson_up_to_the_memorys_places(population):
    """With the user's own mean; activity spreads by 1 around 1.5 sessions a day."""
    length = (population.habits.store >= 0).sum(axis=1)
    mean = expected_stores(population.users.activity, 6.0, 1.0, 1.5)

    law = stats.poisson.pmf(np.arange(8), mean[:, None]).sum(axis=0)
    expected = np.append(law, len(length) - law.sum())
    assert stats.chisquare(np.bincount(length, minlength=9), expected).pvalue > PLAUSIBLE


def test_the_more_active_know_more_stores_by_the_root_of_their_activity(population):
    """In each fifth of the users: the mean of a Poisson number that stops at 8."""
    length = (population.habits.store >= 0).sum(axis=1)
    mean = expected_stores(population.users.activity, 6.0, 1.0, 1.5)
    law = stats.poisson.pmf(np.arange(8), mean[:, None])
    capped = law @ np.arange(8) + 8 * (1 - law.sum(axis=1))

    for fifth in np.array_split(np.argsort(mean), 5):
        se = length[fifth].std() / np.sqrt(len(fifth))
        assert length[fifth].mean() == pytest.approx(capped[fifth].mean(), abs=4 * se)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.2])
def test_users_know_the_stated_number_of_stores_on_average_however_activity_spreads(changed, sigma):
    many = changed(
        population={"activity_sigma": sigma}, catalogue={"stores": 2_000}, taste={"match": 0.0},
        habit={"history_stores": 3.0, "history_capacity": 64},
    )  # fmt: skip
    length = (populate(many, 4).habits.store >= 0).sum(axis=1)

    assert length.mean() == pytest.approx(3.0, abs=4 * length.std() / np.sqrt(2_000))


def test_orders_at_a_known_store_are_one_and_a_poisson_number_of_mean_one_and_a_half(population):
    again = population.habits.orders[population.habits.store >= 0] - 1

    seen = np.bincount(np.minimum(again, 6), minlength=7)
    law = stats.poisson.pmf(np.arange(6), 1.5)
    assert stats.chisquare(seen, seen.sum() * np.append(law, 1 - law.sum())).pvalue > PLAUSIBLE


def history(population, config: WorldConfig, users, shelf, seed: int = 2, first: int = 0) -> Habits:
    return make_habits(config, users, shelf, population.cuisine_style, seed, first)


def twins(population, n: int, region: int, taste: np.ndarray):
    """n users of one region and one taste."""
    users = population.users
    return users._replace(
        region=np.full(n, region, np.int32),
        taste=np.tile(taste, (n, 1)).astype(np.float32),
        activity=np.full(n, 1.5),
        platform=users.platform[:1],
    )


def test_the_first_store_is_chosen_by_cuisine_then_by_popularity(population, changed):
    """Cuisine: popularity of its open stores in the region x exp(match x fit); store: popularity."""
    stores, match, n = population.stores, 1.2, 8_000
    taste = np.random.default_rng(5).normal(size=TASTE_DIMS)
    shelf = make_shelf(stores, 4, 24, open_now=True)

    users = twins(population, n, 2, taste)
    config = changed(taste={"match": match}, habit={"history_stores": 3.0})
    first = history(population, config, users, shelf).store[:, 0]

    weight = np.where((stores.region == 2) & (stores.launch_ms == 0), stores.popularity, 0.0)
    stock = np.bincount(stores.cuisine, weight, minlength=8)
    by_cuisine = softmax(np.log(stock) + match / np.sqrt(TASTE_DIMS) * population.cuisine_style @ taste)
    law = by_cuisine[stores.cuisine] * weight / stock[stores.cuisine]
    first = first[first >= 0]
    often = law * len(first) > 5
    seen = np.bincount(first, minlength=len(law))
    expected = len(first) * np.append(law[often], law[~often].sum())
    assert stats.chisquare(np.append(seen[often], seen[~often].sum()), expected).pvalue > PLAUSIBLE


def test_a_region_without_open_stores_leaves_no_history(population):
    elsewhere = population.stores._replace(region=np.zeros(240, np.int32))
    shelf = make_shelf(elsewhere, 4, 24, open_now=True)

    users = twins(population, 50, 2, np.zeros(TASTE_DIMS))
    habits = history(population, population.config, users, shelf)

    assert (habits.store == -1).all()


def test_a_region_with_few_stores_gives_all_it_has_and_no_more(changed):
    few = populate(changed(catalogue={"stores": 120}, habit={"history_stores": 8.0}, taste={"match": 0.0}), 4)
    shelf = make_shelf(few.stores._replace(launch_ms=(np.arange(120) >= 12).astype(np.int64)), 4, 24, open_now=True)

    habits = history(few, few.config, few.users, shelf)

    assert (habits.store >= 0).sum(axis=1).max() == 3
    assert habits.store.max() < 12


@pytest.mark.parametrize("cuts", [(0, 2_000), (0, 1_000, 2_000), (0, 1, 260, 700, 701, 1_500, 1_600, 1_999, 2_000)])
def test_histories_drawn_in_shards_are_those_of_the_whole(population, cuts):
    shelf = make_shelf(population.stores, 4, 24, open_now=True)
    shards = [
        history(population, population.config, population.users.rows(a, b), shelf, population.seed, a)
        for a, b in pairwise(cuts)
    ]

    for name, columns in zip(Habits._fields, zip(*shards, strict=True), strict=True):
        assert np.array_equal(np.concatenate(columns), getattr(population.habits, name)), name
