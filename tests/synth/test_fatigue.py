"""Fatigue: ads seen in vain tire, hides tire more, long clicks relieve, time heals; the tired come less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.config import FatigueConfig
from synth.fatigue import Fatigue, Tiring, fatigue_at, rested, staying, tire, tiring_of
from synth.types import DAY_MS, N_EVENTS, Outcomes, Requests

TIRING = Tiring(gain=0.1, hide=0.5, relief=0.3, half_life_ms=7.0 * DAY_MS, blindness=0.2)
UNSEEN, SEEN, CLICK, LONG, HIDE = range(5)


def outcomes(what: list[list[int]]) -> Outcomes:
    code = np.array(what)
    return Outcomes(
        examined=code > UNSEEN, clicked=(code == CLICK) | (code == LONG), long_clicked=code == LONG, hidden=code == HIDE,
        delay_ms=np.full((*code.shape, N_EVENTS), -1), value_micros=np.zeros(code.shape, np.int64),
    )  # fmt: skip


def felt(what: list[list[int]], *, start: float = 0.0, user: list[int] | None = None, days: list[float] | None = None):
    """Levels of three users who start with `start`, after requests with these slots, by default of user 0 at time 0."""
    n = len(what)
    requests = Requests(
        id=np.arange(n), user=np.array(user or [0] * n, np.int32),
        time_ms=(np.array(days or [0.0] * n) * DAY_MS).astype(np.int64), surface=np.zeros(n, np.int32),
    )  # fmt: skip
    fatigue = Fatigue(np.full(3, start), np.zeros(3, np.int64))
    tire(fatigue, TIRING, requests, outcomes(what))
    return fatigue


@pytest.mark.parametrize(
    ("slots", "level"),
    [
        ([UNSEEN, UNSEEN], 2.0), ([SEEN, UNSEEN], 2.1), ([SEEN, SEEN], 2.2), ([HIDE, UNSEEN], 2.5), ([HIDE, SEEN], 2.6),
        ([CLICK, UNSEEN], 2.0), ([LONG, UNSEEN], 1.7), ([LONG, SEEN], 1.8), ([LONG, LONG], 1.4),
    ],
)  # fmt: skip
def test_each_ad_adds_what_was_done_with_it(slots, level):
    assert felt([slots], start=2.0).level[0] == pytest.approx(level)


def test_half_is_forgotten_in_a_half_life_before_the_next_ad_is_felt():
    fatigue = felt([[SEEN], [SEEN]], start=2.0, days=[7.0, 21.0])

    assert fatigue.level[0] == pytest.approx((1.0 + 0.1) / 4 + 0.1)
    assert fatigue.since_ms[0] == 21 * DAY_MS


def test_users_feel_their_own_ads_only():
    fatigue = felt([[SEEN], [HIDE], [SEEN]], start=1.0, user=[0, 2, 0])

    assert fatigue.level == pytest.approx([1.2, 1.0, 1.5])


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
    """20 looks a day, evenly: after as many half-lives as one likes, the mean of the level over a gap is the same."""
    config = FatigueConfig(gain=0.1, half_life_days=7.0)
    looks, days = 20, 40
    start = rested(config, np.array([float(looks)]))
    fatigue, n = start.copy(), looks * days
    requests = Requests(
        id=np.arange(n), user=np.zeros(n, np.int32), time_ms=(np.arange(1, n + 1) * DAY_MS // looks),
        surface=np.zeros(n, np.int32),
    )  # fmt: skip

    tire(fatigue, tiring_of(config), requests, outcomes([[SEEN]] * n))

    assert start.level[0] == pytest.approx(20 * 0.1 * 7 / np.log(2))
    assert fatigue.level[0] - 0.05 == pytest.approx(start.level[0], rel=1e-3)


def test_the_scenarios_weights_are_in_units_of_an_ad_seen_in_vain():
    got = tiring_of(FatigueConfig(gain=0.2, hide_weight=5.0, relief=3.0, half_life_days=2.0, blindness=0.7))

    assert got == pytest.approx(Tiring(gain=0.2, hide=1.0, relief=0.6, half_life_ms=2.0 * DAY_MS, blindness=0.7))


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
