"""Assignment: which arm serves a request, in every design."""

from itertools import pairwise

import numpy as np
import pytest
from trials import DESIGNS, assigned, counted

from marketplace.assignment import (
    MINUTE_MS,
    everyone,
    in_shares,
    ramp,
    split_campaigns,
    split_clusters,
    split_users,
    split_visits,
    switchback,
)
from marketplace.designs import read
from marketplace.metrics import Metric, value
from synth.traffic import session_of
from synth.types import DAY_MS, Requests

HOUR = 60  # minutes
Y = Metric("y", "platform", "conversions", "requests", "per period", "up")


def at(time_ms) -> Requests:
    """Requests of one user at these times."""
    time_ms = np.asarray(time_ms, np.int64)
    none = np.zeros(len(time_ms), np.int32)
    return Requests(id=np.arange(len(time_ms)), user=none, time_ms=time_ms, surface=none)


@pytest.fixture(scope="module")
def requests(world) -> Requests:
    """Of two days."""
    return Requests.stack([world.requests_on(day, world.minds()) for day in (0, 1)])


def test_a_user_is_always_in_the_same_arm_and_arms_have_their_shares():
    split = split_users(40_000, (0.9, 0.1), seed=5)
    user = np.array([3, 7, 3, 7], np.int32)
    arm = split.of_request(Requests(id=np.arange(4), user=user, time_ms=np.arange(4), surface=np.zeros(4, np.int32)))

    assert (arm == split.of_unit[user]).all()
    assert abs(split.of_unit.mean() - 0.1) < 4 * np.sqrt(0.09 / 40_000)


def test_a_users_arm_does_not_depend_on_how_many_users_there_are():
    assert (split_users(100, (0.5, 0.5), 1).of_unit == split_users(1000, (0.5, 0.5), 1).of_unit[:100]).all()


def test_everyone_is_in_the_first_arm():
    assert everyone(10).of_unit.tolist() == [0] * 10


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.0, 0.0), (0.5, -0.5, 1.0), (0.5, float("nan"))])
def test_shares_that_do_not_add_up_are_refused(shares):
    for make in (
        lambda: split_users(10, shares, 1),
        lambda: split_visits(10, shares, 1, sessions=True),
        lambda: ramp(10, shares, [(1, 0.5)], 0, 1),
        lambda: switchback(10, shares, 0, 2, 60, 0, 1),
        lambda: split_clusters(np.arange(10), shares, 1),
        lambda: split_campaigns(10, shares, 1),
    ):
        with pytest.raises(ValueError, match="add up to 1"):
            make()


@pytest.mark.parametrize("design", DESIGNS)
def test_an_arm_is_a_function_of_seed_and_request_and_of_no_other_request(world, requests, design):
    """Requests one by one, backwards, have the arms that they have together."""
    split = assigned(design, world)
    arm = split.of_request(requests)
    some = np.arange(len(requests))[::-7]

    assert arm.min() >= 0 and arm.max() < split.arms == 2
    assert (arm == assigned(design, world).of_request(requests)).all()
    assert (split.of_request(requests.take(some)) == arm[some]).all()
    assert [split.of_request(requests.rows(i, i + 1))[0] for i in range(20)] == arm[:20].tolist()
    splits = [assigned(design, world, seed=seed) for seed in range(10)]
    assert len({(s.of_request(requests) if s.of_campaign is None else s.of_campaign).tobytes() for s in splits}) > 3


@pytest.mark.parametrize("design", DESIGNS)
def test_every_request_has_a_row_of_its_arm_and_rows_do_not_mix_arms(world, requests, design):
    split = assigned(design, world)
    arm = split.of_request(requests)
    campaign = np.arange(len(requests), dtype=np.int32) % len(world.population.campaigns.bid_usd)
    side = arm if split.of_campaign is None else split.of_campaign[campaign]
    row = split.rows.of(requests.user, requests.time_ms, side, campaign)

    assert ((row >= 0) & (row < split.rows.n)).all()
    for own in np.unique(row)[:300]:
        assert len(np.unique(side[row == own])) == 1


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.2, 0.1)])
@pytest.mark.parametrize("sessions", [True, False])
def test_arms_have_their_shares_of_sessions_and_requests(requests, sessions, shares):
    arm = split_visits(2_000, shares, 3, sessions=sessions).of_request(requests)
    unit = session_of(requests.id) if sessions else requests.id
    _, first = np.unique(unit, return_index=True)
    came = np.bincount(arm[first], minlength=len(shares)) / len(first)

    assert (abs(came - shares) < 4 * np.sqrt(np.array(shares) * (1 - np.array(shares)) / len(first))).all()


def test_a_session_stays_in_its_arm_and_its_user_does_not(requests):
    arm = split_visits(2_000, (0.5, 0.5), 3, sessions=True).of_request(requests)
    _, first, session = np.unique(session_of(requests.id), return_index=True, return_inverse=True)

    assert (arm == arm[first][session]).all()
    assert len(first) < len(requests)
    both = [user for user in np.unique(requests.user) if len(np.unique(arm[requests.user == user])) == 2]
    assert len(both) > 100


def test_requests_of_one_session_are_split():
    """A session of 4 pages is in one arm with probability 1/8."""
    session = np.repeat(np.arange(4_000), 4)
    requests = Requests(
        id=np.arange(16_000), user=session.astype(np.int32), time_ms=np.zeros(16_000, np.int64),
        surface=np.zeros(16_000, np.int32),
    )  # fmt: skip
    arm = split_visits(4_000, (0.5, 0.5), 3, sessions=False).of_request(requests).reshape(-1, 4)

    whole = (arm == arm[:, :1]).all(axis=1).mean()
    assert abs(whole - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 4_000)


@pytest.mark.parametrize("n, shares", [(7, (0.5, 0.5)), (100, (0.9, 0.1)), (41, (0.5, 0.3, 0.2)), (6, (1 / 3,) * 3)])
def test_few_units_are_split_in_exact_shares_and_each_as_often_as_any_other(n, shares):
    arms = np.array([in_shares(shares, n, seed, "units") for seed in range(600)])
    sizes = np.bincount(arms[0], minlength=len(shares))

    assert (abs(sizes - n * np.array(shares)) < 1).all() and sizes.sum() == n
    assert all((np.bincount(own, minlength=len(shares)) == sizes).all() for own in arms)
    for a, size in enumerate(sizes):
        p = size / n
        assert (abs((arms == a).mean(axis=0) - p) < 4.5 * np.sqrt(p * (1 - p) / 600)).all()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: split_clusters(np.array([0, 1, 2, 2]), (0.5, 0.5), 1), "3 clusters leave an arm 1"),
        (lambda: split_campaigns(40, (0.98, 0.02), 1), "40 campaigns leave an arm 1"),
        (lambda: switchback(5, (0.5, 0.5), 0, 1, 480, 0, 1), "3 blocks of time leave an arm 1"),
    ],
)
def test_an_arm_of_one_unit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_users_of_a_cluster_are_together(world, requests):
    region = world.population.users.region
    split = split_clusters(region, (0.5, 0.5), 5)
    arm = split.of_request(requests)

    assert (arm == split.of_unit[region[requests.user]]).all()
    assert sorted(split.of_unit) == [0, 0, 1, 1]


def test_a_ramp_is_nested_and_has_the_share_of_its_stage():
    """1, 2 and 1 days at 5, 20 and 60 percent, shared 3 to 1 by two arms, from day 3."""
    n, stages = 40_000, [(1, 0.05), (2, 0.2), (1, 0.6)]
    split = ramp(n, (0.2, 0.6, 0.2), stages, first_day=3, seed=9)
    user = np.arange(n, dtype=np.int32)

    def arms(time_ms: int) -> np.ndarray:
        return split.of_request(Requests(id=user, user=user, time_ms=np.full(n, time_ms), surface=user))

    days = [arms(day * DAY_MS) for day in (3, 4, 5, 6)]
    for stage, (day, want) in enumerate(zip((0, 1, 3), (0.05, 0.2, 0.6), strict=True)):
        assert split.shares[stage] == pytest.approx((1 - want, 0.75 * want, 0.25 * want))
        for a, share in enumerate(split.shares[stage]):
            assert abs((days[day] == a).mean() - share) < 4 * np.sqrt(share * (1 - share) / n)
    assert (days[1] == days[2]).all() and (arms(6 * DAY_MS - 1) == days[2]).all()  # a stage ends at midnight
    for earlier, later in pairwise(days):
        assert (later[earlier > 0] == earlier[earlier > 0]).all()


def test_a_late_order_is_in_the_row_of_its_impressions_stage():
    split = ramp(10, (0.5, 0.5), [(1, 0.1), (1, 0.5)], first_day=2, seed=1)
    user, arm = np.array([4, 4, 4, 4]), np.array([0, 1, 0, 1], np.int16)  # as orders hold it
    shown_ms = np.array([2 * DAY_MS, 3 * DAY_MS - 1, 3 * DAY_MS, 4 * DAY_MS - 1])

    assert split.rows.of(user, shown_ms, arm, user).tolist() == [4, 10 + 4, 20 + 4, 30 + 4]


def test_blocks_of_time_are_whole_in_exact_shares_and_their_first_part_is_not_read():
    split = switchback(10, (0.75, 0.25), first_day=3, days=2, block_minutes=120, burn_in_minutes=30, seed=2)
    minute = 3 * DAY_MS + np.arange(2 * 24 * 60) * MINUTE_MS
    arm = split.of_request(at(minute))
    row = split.rows.of(np.zeros(len(minute), np.int32), minute, arm, arm)

    assert (arm.reshape(-1, 120) == arm[::120, None]).all()
    assert np.bincount(arm[::120]).tolist() == [18, 6]
    assert (row.reshape(-1, 120)[:, :30] == -1).all()
    assert (row.reshape(-1, 120)[:, 30:] == np.arange(24)[:, None]).all()
    assert split.rows.of(arm[:1], minute[:1] - 1, arm[:1], arm[:1]) == -1  # before the test


@pytest.mark.parametrize("block, want", [(1, 1.0), (2, 1.25), (5, 1.4), (10, 1.45)])
def test_a_switchback_with_carry_over_reads_what_theory_says_of_its_blocks(world, block, want):
    """y_t = 10 + w_t + w_{t-1} / 2, whose true effect is 1.5; a block of L periods reads 1 + (L - 1) / 2L.

    With blocks in exact shares the block before is the other arm's a little more often: 1 / (2L (n - 1)) less for n blocks.
    Without the first period of each block the reading is 1.5.
    """
    periods = 240
    hour = np.arange(periods) * HOUR * MINUTE_MS

    def reading(seed: int, burn_in: int):
        split = switchback(3, (0.5, 0.5), 0, 10, block * HOUR, burn_in * HOUR, seed)
        w = split.of_request(at(hour))
        row = split.rows.of(np.zeros(periods, np.int32), hour, w, w)
        y = 10 + w + 0.5 * np.roll(w, 1)
        return read(counted(split.rows, world.population, requests=(row, 1.0), conversions=(row, y)), split, 1.0)

    def difference(seed: int, burn_in: int) -> float:
        control, treatment = reading(seed, burn_in).arms
        return value(Y, treatment) - value(Y, control)

    found = [difference(seed, 0) for seed in range(400)]
    exact = want - 0.5 / (block * (periods / block - 1))
    assert abs(np.mean(found) - exact) < 4 * np.std(found) / np.sqrt(400)
    shown = reading(0, 0).effect(Y, 1)
    assert shown.treatment - shown.control == pytest.approx(found[0])
    assert shown.low < shown.lift < shown.high
    if block > 1:
        assert [difference(seed, 1) for seed in range(20)] == pytest.approx([1.5] * 20)
