"""Traffic: Poisson numbers of sessions, at times of the day's profile and of the user's habit; each has its pages."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synth import draws, traffic
from synth.config import SurfaceConfig, TrafficConfig
from synth.draws import Cause
from synth.traffic import busiest, daypart_share, expected_share, requests_on, session_of, weekday_factor
from synth.types import DAY_MS, HOUR_MS, Requests

WEIGHT = (0, 0, 1, 1, 1, 1, 2, 3, 3, 2, 2, 4, 5, 4, 2, 2, 3, 5, 6, 5, 3, 2, 1, 0)  # 58 in all
CONFIG = TrafficConfig(hour_weight=WEIGHT, weekday_weight=(1, 1, 1, 1, 2, 3, 5), requests_per_session=2.5)
EVEN = CONFIG.model_copy(update={"weekday_weight": (1.0,) * 7})
FEED = (SurfaceConfig(name="feed"),)
N = 58 * 70
VISITS = np.exp(draws.normal(3, Cause.USER_ACTIVITY, np.arange(N)))
USUAL = np.repeat(np.arange(6), 70 * np.array([2, 7, 11, 13, 19, 6])).astype(np.int32)  # as many as the profile has
PLAUSIBLE = 1e-4


def requests(
    day: int = 2, visits: np.ndarray = VISITS, config: TrafficConfig = CONFIG, seed: int = 3,
    surfaces: tuple[SurfaceConfig, ...] = FEED, **changes,
) -> Requests:  # fmt: skip
    config = config.model_copy(update=changes)
    return requests_on(day, visits, USUAL[: len(visits)], config, surfaces, seed)


def starts(got: Requests) -> tuple[np.ndarray, np.ndarray]:
    """User and time of the first request of every session."""
    first = got.id % 32 == 0
    return got.user[first], got.time_ms[first]


def equal(a: Requests, b: Requests) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("id", "user", "time_ms", "surface"))


def test_requests_come_in_order_of_time_and_inside_their_day():
    for day in (0, 1, 6, 4_095):
        time_ms = requests(day, page_seconds=7_200.0).time_ms
        assert (np.diff(time_ms) >= 0).all()
        assert day * DAY_MS <= time_ms[0] <= time_ms[-1] < (day + 1) * DAY_MS


def test_requests_at_one_time_come_in_order_of_their_ids():
    got = requests(1, page_seconds=1e9)  # further pages all fall on the day's last moment
    last = got.time_ms == 2 * DAY_MS - 1

    assert last.sum() > 1_000
    assert (np.diff(got.id[last]) > 0).all()


def test_no_id_is_used_twice_in_a_run():
    ids = np.concatenate([requests(day).id for day in range(8)])

    assert len(np.unique(ids)) == len(ids)
    assert (ids >= 0).all()


@pytest.mark.parametrize("day", [0, 5, 4_095])
def test_an_id_tells_user_day_session_and_page(day):
    got = requests(day)
    page, session, of_day, user = got.id % 32, got.id >> 5 & 127, got.id >> 12 & 4_095, got.id >> 24

    assert np.array_equal(user, got.user)
    assert (of_day == day).all()
    for number, within in ((session, got.id >> 12), (page, got.id >> 5)):
        group = np.unique(within, return_inverse=True)[1]
        present = np.zeros((group.max() + 1, 128), bool)
        present[group, number] = True
        assert (np.diff(present.astype(int), axis=1) <= 0).all()  # counted from 0 without gaps


def test_requests_of_one_session_have_one_session_id_of_their_own():
    got = requests()

    session = session_of(got.id)
    first, of = np.unique(session, return_inverse=True)
    assert len(first) == (got.id % 32 == 0).sum()
    assert (np.bincount(of, got.user) / np.bincount(of) == first >> 19).all()


@pytest.mark.parametrize("m", [0, 1, 1_500])
def test_requests_of_a_user_do_not_depend_on_the_other_users(m):
    whole = requests()

    assert equal(whole.take(np.flatnonzero(whole.user < m)), requests(visits=VISITS[:m]))


def test_requests_of_a_day_do_not_depend_on_other_users_being_busier():
    busier = VISITS * np.where(np.arange(N) % 2, 3, 1)

    quiet, busy = requests(), requests(visits=busier)

    assert np.array_equal(quiet.id[quiet.user % 2 == 0], busy.id[busy.user % 2 == 0])


@pytest.mark.parametrize("shard", [N, -(-N // 2), N // 8 + 1, 700])
def test_requests_drawn_in_shards_are_those_of_the_whole(shard, monkeypatch):
    whole = requests()

    monkeypatch.setattr(traffic, "_SHARD", shard)
    assert equal(requests(), whole)
    with ThreadPoolExecutor(3) as threads:
        assert equal(requests_on(2, VISITS, USUAL, CONFIG, FEED, 3, threads), whole)


def test_days_and_seeds_bring_other_requests():
    times = [requests(day, seed=seed).time_ms % DAY_MS for day, seed in ((0, 3), (7, 3), (0, 4))]

    assert not any(np.isin(a, b).mean() > 0.1 for a, b in ((times[0], times[1]), (times[0], times[2])))


@pytest.mark.parametrize(("mean", "most"), [(0.3, 4), (2.5, 8)])
def test_numbers_of_sessions_are_poisson(mean, most):
    user, _ = starts(requests(0, np.full(N, mean), EVEN))

    seen = np.bincount(np.minimum(np.bincount(user, minlength=N), most), minlength=most + 1)
    law = stats.poisson.pmf(np.arange(most), mean)
    assert stats.chisquare(seen, N * np.append(law, 1 - law.sum())).pvalue > PLAUSIBLE


def test_numbers_of_a_user_on_two_days_are_uncorrelated():
    alike = np.full(N, 2.5)
    count = [np.bincount(starts(requests(day, alike))[0], minlength=N) for day in (0, 1, 7)]

    assert np.abs(np.corrcoef(count) - np.eye(3)).max() < 4.5 / np.sqrt(N)


@pytest.mark.parametrize(("day", "factor"), [(0, 0.5), (4, 1.0), (6, 2.5), (7, 0.5), (13, 2.5)])
def test_mean_number_of_sessions_is_visits_times_the_weekdays_weight(day, factor):
    expected = VISITS.sum() * factor

    assert len(starts(requests(day))[0]) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_a_session_has_one_request_and_a_poisson_number_of_further_ones():
    got = requests(6)

    further = np.unique(session_of(got.id), return_counts=True)[1] - 1
    seen = np.bincount(np.minimum(further, 6), minlength=7)
    law = stats.poisson.pmf(np.arange(6), 1.5)
    assert stats.chisquare(seen, seen.sum() * np.append(law, 1 - law.sum())).pvalue > PLAUSIBLE


def test_sessions_have_one_request_each_where_the_mean_is_one():
    assert not (requests(requests_per_session=1.0).id % 32).any()


def test_requests_of_a_session_are_exponential_times_apart():
    got = requests(6).take(np.argsort(requests(6).id))
    early = got.time_ms % DAY_MS < 20 * HOUR_MS
    same = (np.diff(session_of(got.id)) == 0) & early[1:]

    gap = np.diff(got.time_ms)[same] / 60_000
    assert len(gap) > 5_000
    assert stats.kstest(gap, "expon").pvalue > PLAUSIBLE


@pytest.mark.parametrize("regularity", [0.0, 0.4, 1.0])
def test_hours_of_sessions_follow_the_profile_however_regular_users_are(regularity):
    _, time_ms = starts(requests(6, np.full(N, 2.0), regularity=regularity))

    seen, weight = np.bincount(time_ms % DAY_MS // HOUR_MS, minlength=24), np.array(WEIGHT)
    assert not seen[weight == 0].any()
    share = weight[weight > 0] / weight.sum()
    assert stats.chisquare(seen[weight > 0], seen.sum() * share).pvalue > PLAUSIBLE


@pytest.mark.parametrize("regularity", [0.0, 0.4, 1.0])
def test_users_come_in_their_usual_part_of_the_day_by_regularity_and_else_by_the_profile(regularity):
    user, time_ms = starts(requests(6, np.full(N, 2.0), regularity=regularity))

    part, usual = time_ms % DAY_MS // (4 * HOUR_MS), USUAL[user]
    for d, by_profile in enumerate(np.array([2, 7, 11, 13, 19, 6]) / 58):
        n, p = (usual == d).sum(), regularity + (1 - regularity) * by_profile
        assert (part[usual == d] == d).mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / n))


def test_sessions_start_at_any_time_inside_an_hour():
    _, time_ms = starts(requests(6))

    assert stats.kstest(time_ms % HOUR_MS / HOUR_MS, "uniform").pvalue > PLAUSIBLE


def test_requests_come_on_the_surfaces_by_their_shares_on_every_page():
    surfaces = tuple(SurfaceConfig(name=name, share=p) for name, p in (("feed", 0.5), ("search", 0.2), ("cart", 0.3)))
    got = requests(6, surfaces=surfaces)

    for rows in (got.id % 32 == 0, got.id % 32 > 0):
        seen = np.bincount(got.surface[rows], minlength=3)
        assert stats.chisquare(seen, seen.sum() * np.array([0.5, 0.2, 0.3])).pvalue > PLAUSIBLE


def test_pages_of_a_session_come_on_surfaces_drawn_apart():
    surfaces = (SurfaceConfig(name="feed", share=0.6), SurfaceConfig(name="search", share=0.4))
    got = requests(6, surfaces=surfaces)
    got = got.take(np.argsort(got.id))
    same = np.diff(session_of(got.id)) == 0

    r = np.corrcoef(got.surface[1:][same], got.surface[:-1][same])[0, 1]
    assert abs(r) < 4 / np.sqrt(same.sum())


def test_the_only_surface_has_all_requests_and_another_one_changes_no_request():
    two = requests(surfaces=(SurfaceConfig(name="feed", share=0.5), SurfaceConfig(name="search", share=0.5)))

    assert not requests().surface.any()
    assert np.array_equal(two.id, requests().id)
    assert np.array_equal(two.time_ms, requests().time_ms)


@given(weight=st.lists(st.floats(0, 10), min_size=7, max_size=7).filter(lambda w: sum(w) > 0.1))
def test_a_mean_day_has_mean_traffic(weight):
    factor = weekday_factor(CONFIG.model_copy(update={"weekday_weight": tuple(weight)}))

    assert factor.mean() == pytest.approx(1.0)
    assert factor * np.mean(weight) == pytest.approx(weight)


def test_the_busiest_user_comes_as_often_as_on_the_busiest_weekday():
    assert busiest(np.array([1.0, 4.0, 2.0]), CONFIG) == pytest.approx(4.0 * 2.5)


def test_shares_of_the_parts_of_the_day_are_those_of_their_hours():
    assert daypart_share(CONFIG) == pytest.approx(np.array([2, 7, 11, 13, 19, 6]) / 58)


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
