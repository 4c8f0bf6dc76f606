"""Traffic: Poisson numbers of requests, at times of the day's profile, user by user."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synth import draws
from synth.config import TrafficConfig
from synth.draws import Cause
from synth.traffic import expected_share, requests_on
from synth.types import DAY_MS, HOUR_MS

WEIGHT = (0, 0, 1, 1, 1, 1, 2, 3, 3, 2, 2, 4, 5, 4, 2, 2, 3, 5, 6, 5, 3, 2, 1, 0)
CONFIG = TrafficConfig(hour_weight=WEIGHT, weekday_weight=(1, 1, 1, 1, 2, 3, 5))
ACTIVITY = np.exp(draws.normal(3, Cause.USER_ACTIVITY, np.arange(4_000)))
PLAUSIBLE = 1e-4


def test_requests_come_in_order_of_time_and_inside_their_day():
    for day in (0, 1, 6, 4_095):
        time_ms = requests_on(day, ACTIVITY, CONFIG, 3).time_ms
        assert (np.diff(time_ms) >= 0).all()
        assert day * DAY_MS <= time_ms[0] <= time_ms[-1] < (day + 1) * DAY_MS


def test_no_id_is_used_twice_in_a_run():
    ids = np.concatenate([requests_on(day, ACTIVITY, CONFIG, 3).id for day in range(8)])

    assert len(np.unique(ids)) == len(ids)
    assert (ids >= 0).all()


@pytest.mark.parametrize("m", [0, 1, 1_500])
def test_requests_of_a_user_do_not_depend_on_the_other_users(m):
    whole, part = requests_on(2, ACTIVITY, CONFIG, 3), requests_on(2, ACTIVITY[:m], CONFIG, 3)

    kept = whole.user < m
    for name in ("id", "user", "time_ms"):
        assert np.array_equal(getattr(whole, name)[kept], getattr(part, name))


def test_requests_of_a_day_do_not_depend_on_other_users_being_busier():
    busier = ACTIVITY * np.where(np.arange(len(ACTIVITY)) % 2, 3, 1)

    quiet, busy = requests_on(2, ACTIVITY, CONFIG, 3), requests_on(2, busier, CONFIG, 3)

    assert np.array_equal(quiet.id[quiet.user % 2 == 0], busy.id[busy.user % 2 == 0])


def test_days_and_seeds_bring_other_requests():
    times = [requests_on(day, ACTIVITY, CONFIG, seed).time_ms % DAY_MS for day, seed in ((0, 3), (7, 3), (0, 4))]

    assert not any(np.isin(a, b).mean() > 0.1 for a, b in ((times[0], times[1]), (times[0], times[2])))


def test_numbers_of_requests_are_poisson():
    mean = 2.5
    requests = requests_on(0, np.full(20_000, mean), CONFIG.model_copy(update={"weekday_weight": (1.0,) * 7}), 3)

    count = np.bincount(requests.user, minlength=20_000)
    seen = np.bincount(np.minimum(count, 8), minlength=9)
    law = stats.poisson.pmf(np.arange(8), mean)
    assert stats.chisquare(seen, 20_000 * np.append(law, 1 - law.sum())).pvalue > PLAUSIBLE


def test_numbers_of_a_user_on_two_days_are_uncorrelated():
    alike = np.full(4_000, 2.5)
    count = [np.bincount(requests_on(day, alike, CONFIG, 3).user, minlength=4_000) for day in (0, 1, 7)]

    assert np.abs(np.corrcoef(count) - np.eye(3)).max() < 4.5 / np.sqrt(4_000)


@pytest.mark.parametrize(("day", "factor"), [(0, 0.5), (4, 1.0), (6, 2.5), (7, 0.5), (13, 2.5)])
def test_mean_number_of_requests_is_activity_times_the_weekdays_weight(day, factor):
    expected = ACTIVITY.sum() * factor

    assert len(requests_on(day, ACTIVITY, CONFIG, 3)) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_hours_follow_their_weights():
    hour = requests_on(6, ACTIVITY, CONFIG, 3).time_ms % DAY_MS // HOUR_MS

    seen, weight = np.bincount(hour, minlength=24), np.array(WEIGHT)
    assert not seen[weight == 0].any()
    share = weight[weight > 0] / weight.sum()
    assert stats.chisquare(seen[weight > 0], seen.sum() * share).pvalue > PLAUSIBLE


def test_times_are_uniform_inside_an_hour():
    inside = requests_on(6, ACTIVITY, CONFIG, 3).time_ms % HOUR_MS / HOUR_MS

    assert stats.kstest(inside, "uniform").pvalue > PLAUSIBLE


@settings(deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(0, DAY_MS), max_size=8), day=st.integers(0, 9))
def test_expected_shares_of_a_whole_day_add_up_to_one(cuts, day):
    edges = [day * DAY_MS + t for t in sorted({0, DAY_MS, *cuts})]

    shares = [expected_share(CONFIG, a, b) for a, b in pairwise(edges)]

    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) >= 0


def test_expected_share_is_that_of_the_hours_weights():
    total = sum(WEIGHT)

    assert expected_share(CONFIG, 11 * HOUR_MS, 13 * HOUR_MS) == pytest.approx(9 / total)
    assert expected_share(CONFIG, DAY_MS + 11 * HOUR_MS + HOUR_MS // 4, DAY_MS + 12 * HOUR_MS) == pytest.approx(
        3 / total
    )
    assert expected_share(CONFIG, 0, 2 * HOUR_MS) == 0
