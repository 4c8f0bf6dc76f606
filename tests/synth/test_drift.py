"""Drift: a store's appeal wanders without jumps and with one spread at all times; a cuisine's season comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synth import draws
from synth.config import DriftConfig
from synth.draws import Cause
from synth.drift import Drift, drifted, make_drift, season, turn
from synth.types import DAY_MS

WEEK = 7 * DAY_MS
PLAUSIBLE = 1e-4
DRIFT = make_drift(DriftConfig(appeal=0.3, appeal_days=7.0, season=0.2, season_days=28.0), 400, 1_500, 3)
TIMES = st.integers(0, 4_096 * DAY_MS)
STORES = st.integers(0, 1_499)


def wandering(time_ms: int, stores: int = 1_500) -> np.ndarray:
    return np.array([drifted(3, DRIFT, store, time_ms) for store in range(stores)])


@pytest.mark.parametrize("time_ms", [0, 1, WEEK // 4, WEEK // 2, WEEK, 5 * WEEK + WEEK // 3, 4_095 * DAY_MS])
def test_appeals_have_drifted_by_the_stated_spread_at_every_time(time_ms):
    assert stats.kstest(wandering(time_ms) / 0.3, "norm").pvalue > PLAUSIBLE


def test_appeals_are_drawn_at_points_and_joined_by_lines_of_unit_variance():
    for first in (0, 4, 7, 30):  # among the points that are kept, from the last of these on, beyond them
        before, after = (draws.normal(3, Cause.STORE_DRIFT, 17, point) for point in (first, first + 1))
        for weight in (0.0, 0.25, 0.5):
            expected = 0.3 * ((1 - weight) * before + weight * after) / np.hypot(1 - weight, weight)
            assert drifted(3, DRIFT, 17, int((first + weight) * WEEK)) == pytest.approx(float(expected), rel=1e-6)


@given(time_ms=st.integers(0, 12 * WEEK), store=STORES, kept=st.integers(0, 8))
def test_a_point_that_is_kept_and_one_that_is_drawn_are_the_same_to_the_bit(time_ms, store, kept):
    assert drifted(3, DRIFT._replace(points=DRIFT.points[:kept]), store, time_ms) == drifted(3, DRIFT, store, time_ms)


def test_the_first_points_of_every_store_are_kept():
    assert DRIFT.points.shape == (8, 1_500)
    assert DRIFT.points.dtype == np.float32
    assert DRIFT.points[5, 9] == np.float32(draws.normal(3, Cause.STORE_DRIFT, 9, 5))


def test_appeals_half_a_point_apart_are_alike_and_those_two_points_apart_are_not():
    """Half-way the correlation with the point is 1 / sqrt(2)."""
    start, half, far = wandering(0), wandering(WEEK // 2), wandering(2 * WEEK)

    assert np.corrcoef(start, half)[0, 1] == pytest.approx(np.sqrt(0.5), abs=4 * 0.5 / np.sqrt(1_500))
    assert abs(np.corrcoef(start, far)[0, 1]) < 4 / np.sqrt(1_500)


@given(time_ms=TIMES, store=STORES)
def test_appeals_do_not_jump(time_ms, store):
    """Points are at most 7 apart, and the joining line is at most sqrt(2) times as steep for its unit variance."""
    minute = 60_000
    change = drifted(3, DRIFT, store, time_ms + minute) - drifted(3, DRIFT, store, time_ms)

    assert abs(change) < 0.3 * 20 * minute / WEEK


@given(point=st.integers(1, 500), store=STORES)
def test_appeals_are_continuous_where_lines_meet(point, store):
    left, right = drifted(3, DRIFT, store, point * WEEK - 1), drifted(3, DRIFT, store, point * WEEK)

    assert left == pytest.approx(right, abs=1e-7)


@given(time_ms=TIMES, cuisine=st.integers(0, 399))
def test_a_season_comes_back_after_its_length_and_turns_over_after_half_of_it(time_ms, cuisine):
    now, half_later, later = (season(DRIFT, cuisine, turn(DRIFT, time_ms + days * DAY_MS)) for days in (0, 14, 28))

    assert later == pytest.approx(now, abs=1e-6)
    assert half_later == pytest.approx(-now, abs=1e-6)
    assert abs(now) <= 0.2 + 1e-12


@given(time_ms=TIMES, cuisine=st.integers(0, 399))
def test_a_season_is_the_sine_of_time_and_phase_together(time_ms, cuisine):
    phase = draws.uniform(3, Cause.CUISINE_SEASON, cuisine)

    expected = 0.2 * np.sin(2 * np.pi * (time_ms / DAY_MS / 28 + phase))
    assert season(DRIFT, cuisine, turn(DRIFT, time_ms)) == pytest.approx(float(expected), abs=1e-9)


def test_a_season_is_a_sine_of_the_stated_amplitude():
    """Phases of 0 and of 30 degrees, and with it sin 30 = 0.5 at the start."""
    phases = np.array([1.0, np.sqrt(0.75)]), np.array([0.0, 0.5])
    drift = Drift(0.0, 1.0, 0.2, 28.0 * DAY_MS, *phases, np.zeros((0, 1), np.float32))

    assert [season(drift, 0, turn(drift, day * DAY_MS)) for day in (0, 7, 14, 21)] == pytest.approx([0, 0.2, 0, -0.2])
    assert season(drift, 1, turn(drift, 0)) == pytest.approx(0.1)


def test_what_all_cuisines_share_of_a_season_is_amplitude_times_sine_and_cosine_of_the_time():
    """30 degrees of a turn of 28 days are 7/3 days."""
    assert turn(DRIFT, 0) == pytest.approx((0.0, 0.2))
    assert turn(DRIFT, 7 * DAY_MS // 3) == pytest.approx((0.1, 0.2 * np.sqrt(0.75)))


def test_seasons_of_cuisines_start_anywhere_in_the_year():
    phase = np.arctan2(DRIFT.sin_phase, DRIFT.cos_phase) % (2 * np.pi)

    assert stats.kstest(phase / (2 * np.pi), "uniform").pvalue > PLAUSIBLE
    assert DRIFT.sin_phase**2 + DRIFT.cos_phase**2 == pytest.approx(1.0)


def test_nothing_drifts_where_the_weights_are_zero():
    still = make_drift(DriftConfig(appeal=0.0, season=0.0), 3, 50, 3)

    assert {drifted(3, still, store, 5 * DAY_MS) for store in range(50)} == {0.0}
    assert {season(still, cuisine, turn(still, 5 * DAY_MS)) for cuisine in range(3)} == {0.0}
