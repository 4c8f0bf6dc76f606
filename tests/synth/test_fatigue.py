"""Fatigue: ads seen in vain tire, hides tire more, both less and less; long clicks relieve, time heals; the tired come less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.config import FatigueConfig
from synth.fatigue import Fatigue, Tiring, fatigue_at, rested, staying, tire, tiring_of
from synth.types import DAY_MS, N_EVENTS, Outcomes, Requests

TIRING = Tiring(gain=0.1, hide=0.5, relief=0.3, half_life_ms=7.0 * DAY_MS, blindness=0.2, limit=4.0)
UNSEEN, SEEN, CLICK, LONG, HIDE = range(5)


def outcomes(what: list[list[int]]) -> Outcomes:
    code = np.array(what)
    return Outcomes(
        examined=code > UNSEEN, clicked=(code == CLICK) | (code == LONG), long_clicked=code == LONG, hidden=code == HIDE,
        delay_ms=np.full((*code.shape, N_EVENTS), -1), value_micros=np.zeros(code.shape, np.int64),
    )  # fmt: skip


def felt(
    what: list[list[int]], *, start: float = 0.0, user: list[int] | None = None, days: list[float] | None = None,
    tiring: Tiring = TIRING,
) -> Fatigue:  # fmt: skip
    """Levels of three users who start with `start`, after requests with these slots, by default of user 0 at time 0."""
    n = len(what)
    requests = Requests(
        id=np.arange(n), user=np.array(user or [0] * n, np.int32),
        time_ms=(np.array(days or [0.0] * n) * DAY_MS).astype(np.int64), surface=np.zeros(n, np.int32),
    )  # fmt: skip
    fatigue = Fatigue(np.full(3, start), np.zeros(3, np.int64))
    tire(fatigue, tiring, requests, outcomes(what))
    return fatigue


@pytest.mark.parametrize(
    ("slots", "level"),
    [
        ([UNSEEN, UNSEEN], 2.0), ([SEEN, UNSEEN], 2.05), ([SEEN, SEEN], 2.09875), ([HIDE, UNSEEN], 2.25),
        ([HIDE, SEEN], 2.29375), ([CLICK, UNSEEN], 2.0), ([LONG, UNSEEN], 1.7), ([LONG, SEEN], 1.7575), ([LONG, LONG], 1.4),
    ],
)  # fmt: skip
def test_each_ad_adds_what_was_done_with_it_and_gains_are_halved_half_way_to_the_limit(slots, level):
    """Of a limit of 4: after 2 a gain of 0.1 is 0.1 x (1 - 2/4) = 0.05, the next one 0.1 x (1 - 2.05/4), and so on."""
    assert felt([slots], start=2.0).level[0] == pytest.approx(level)


def test_half_is_forgotten_in_a_half_life_before_the_next_ad_is_felt():
    fatigue = felt([[SEEN], [SEEN]], start=2.0, days=[7.0, 21.0])

    assert fatigue.level[0] == pytest.approx(1.075 / 4 + 0.1 * (1 - 1.075 / 16))
    assert fatigue.since_ms[0] == 21 * DAY_MS


def test_users_feel_their_own_ads_only():
    fatigue = felt([[SEEN], [HIDE], [SEEN]], start=1.0, user=[0, 2, 0])

    assert fatigue.level == pytest.approx([1.075 + 0.1 * (1 - 1.075 / 4), 1.0, 1.375])


def test_nobody_tires_beyond_the_limit_by_however_many_ads():
    """What is left to the limit shrinks by 1 - 0.1/4 with each ad."""
    tired = felt([[SEEN]] * 400)

    assert tired.level[0] == pytest.approx(4.0 * (1 - (1 - 0.1 / 4) ** 400))
    assert 3.9 < tired.level[0] < 4.0


def test_a_hide_that_weighs_more_than_the_limit_tires_to_the_limit():
    assert felt([[HIDE]], tiring=TIRING._replace(hide=9.0)).level[0] == 4.0


def test_who_is_at_the_limit_gains_nothing_and_loses_by_long_clicks_all_the_same():
    assert felt([[SEEN, HIDE]], start=4.0).level[0] == 4.0
    assert felt([[LONG]], start=4.0).level[0] == pytest.approx(3.7)


@given(start=st.floats(0, 4), slots=st.lists(st.sampled_from([UNSEEN, SEEN, CLICK, HIDE]), min_size=1, max_size=6))
def test_ads_without_a_long_click_never_rest_and_stay_within_the_limit(start, slots):
    once, twice = (felt([slots] * n, start=start).level[0] for n in (1, 2))

    assert start <= once <= twice <= 4.0
    assert twice - once <= once - start + 1e-12


def test_nobody_is_more_rested_than_rested():
    assert felt([[LONG], [SEEN]], start=0.1).level[0] == pytest.approx(0.1)


@given(level=st.floats(0, 50), hours=st.integers(0, 10_000), more=st.integers(0, 10_000))
def test_fatigue_fades_by_a_law_without_memory(level, hours, more):
    fatigue = Fatigue(np.array([level]), np.array([DAY_MS]))
    at, later = DAY_MS + hours * 3_600_000, DAY_MS + (hours + more) * 3_600_000

    now = fatigue_at(fatigue, TIRING, 0, at)
    restarted = Fatigue(np.array([now]), np.array([at]))

    assert now == pytest.approx(level * 0.5 ** (hours / 24 / 7))
    assert fatigue_at(restarted, TIRING, 0, later) == pytest.approx(fatigue_at(fatigue, TIRING, 0, later))


def test_fatigue_before_the_last_ad_is_that_of_the_last_ad():
    assert fatigue_at(Fatigue(np.array([3.0]), np.array([DAY_MS])), TIRING, 0, 0) == 3.0


def test_the_rest_level_is_kept_by_those_who_look_at_as_many_ads():
    """200 small looks a day, evenly: after as many half-lives as one likes, the mean of the level over a gap is the same."""
    config = FatigueConfig(gain=0.01, half_life_days=7.0, limit=5.0)
    looks, days = 200, 40
    start = rested(config, np.array([float(looks)]))
    fatigue, n = start.copy(), looks * days
    requests = Requests(
        id=np.arange(n), user=np.zeros(n, np.int32), time_ms=(np.arange(1, n + 1) * DAY_MS // looks),
        surface=np.zeros(n, np.int32),
    )  # fmt: skip

    tire(fatigue, tiring_of(config), requests, outcomes([[SEEN]] * n))

    assert start.level[0] == pytest.approx(2.0 / (np.log(2) / 7 + 2.0 / 5.0))
    assert fatigue.level[0] - 0.005 * (1 - start.level[0] / 5) == pytest.approx(start.level[0], rel=5e-4)


def test_two_looks_a_day_without_a_limit_to_speak_of_are_forgotten_as_fast_as_they_are_felt():
    assert rested(FatigueConfig(gain=0.1, limit=1e9), np.array([2.0])).level[0] == pytest.approx(0.2 * 7 / np.log(2))


@given(
    looks=st.lists(st.floats(0, 1_000), min_size=1, max_size=5), gain=st.floats(0.001, 2), limit=st.floats(0.1, 50),
    half_life=st.floats(0.1, 50),
)  # fmt: skip
def test_at_rest_a_day_brings_as_much_as_it_takes(looks, gain, limit, half_life):
    looks = np.sort(looks)
    level = rested(FatigueConfig(gain=gain, limit=limit, half_life_days=half_life), looks).level

    np.testing.assert_allclose(gain * looks * (1 - level / limit), level * np.log(2) / half_life, rtol=1e-6, atol=1e-9)
    assert (np.diff(level) >= 0).all()
    assert ((level >= 0) & (level <= limit)).all()


def test_the_scenarios_weights_are_in_units_of_an_ad_seen_in_vain():
    config = FatigueConfig(gain=0.2, hide_weight=5.0, relief=3.0, half_life_days=2.0, blindness=0.7, limit=3.0)
    got = tiring_of(config)

    expected = Tiring(gain=0.2, hide=1.0, relief=0.6, half_life_ms=2.0 * DAY_MS, blindness=0.7, limit=3.0)
    assert got == pytest.approx(expected)


def test_visits_fall_by_the_exponential_of_fatigue_as_it_is_by_then():
    config = FatigueConfig(leaving=0.1, half_life_days=7.0)
    fatigue = Fatigue(np.array([0.0, 4.0, 4.0]), np.array([0, 0, 7 * DAY_MS]))

    assert staying(fatigue, config, 7 * DAY_MS) == pytest.approx(np.exp([0.0, -0.2, -0.4]))


@given(level=st.lists(st.floats(0, 100), min_size=1, max_size=5), days=st.integers(0, 100))
def test_the_more_tired_never_come_more(level, days):
    got = staying(Fatigue(np.sort(level), np.zeros(len(level), np.int64)), FatigueConfig(leaving=0.05), days * DAY_MS)

    assert (np.diff(got) <= 0).all()
    assert ((got > 0) & (got <= 1)).all()


def test_everyone_stays_where_leaving_is_zero_and_nobody_tires_where_gain_is_zero():
    tired = Fatigue(np.array([9.0]), np.zeros(1, np.int64))

    assert staying(tired, FatigueConfig(leaving=0.0), 0).tolist() == [1.0]
    assert rested(FatigueConfig(gain=0.0), np.array([30.0])).level.tolist() == [0.0]
    assert tiring_of(FatigueConfig(gain=0.0))[:3] == (0.0, 0.0, 0.0)


def test_a_copy_is_not_changed_by_later_ads_and_rows_are():
    fatigue = Fatigue(np.zeros(3), np.zeros(3, np.int64))
    copy, rows = fatigue.copy(), fatigue.rows(1, 3)

    fatigue.level[1] = 5.0

    assert copy.level[1] == 0.0
    assert rows.level.tolist() == [5.0, 0.0]
