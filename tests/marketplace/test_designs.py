"""Designs through the simulation: laws for all of them, equal arms, and readings of what was counted."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from ticks import Ticks
from trials import DESIGNS, SHARED, assigned, counted, other_ranker, served

from marketplace.assignment import everyone, split_users, split_visits, switchback
from marketplace.counters import NAMES
from marketplace.designs import read
from marketplace.metrics import METRICS, Metric
from marketplace.record import LogRecorder
from marketplace.schema import log_schema
from marketplace.state import new_state
from marketplace.trial import budget_by_day
from synth.types import DAY_MS, Requests

ONCE_PER_USER = {"cuisines", "tried", "returned"}
FEW = 700  # users who come, where a law needs no more
EXPECTED = {"expected_clicks", "expected_conversions"}  # not whole numbers, so their sums depend on the order


def logged(tiny, world, arms, assignment, folder: Path, **settings):
    with LogRecorder(folder, log_schema(tiny.world), world.population.content, 0.05, tiny.seed) as recorder:
        result = served(tiny, world, arms, assignment, recorder, **settings)
        return result, recorder.digest()


@pytest.fixture(scope="module")
def alone(tiny, world, ranker, tmp_path_factory):
    """The world of control alone: result and folder."""
    folder = tmp_path_factory.mktemp("alone")
    result, _ = logged(tiny, world, (ranker,), everyone(tiny.world.population.users), folder, users=FEW)
    return result, folder


@pytest.mark.parametrize("design", DESIGNS)
def test_a_test_of_unlike_arms_is_the_same_for_every_tick_size(tiny, world, ranker, tmp_path, design):
    arms, few = (ranker, other_ranker(tiny)), {"users": FEW, "days": 1}
    whole, expected = logged(tiny, world, arms, assigned(design, world), tmp_path / "a", tick_requests=1_000, **few)
    cut, digest = logged(tiny, world, arms, assigned(design, world), tmp_path / "b", tick_requests=7, **few)

    assert digest == expected
    exact = [i for i, name in enumerate(NAMES) if name not in EXPECTED]
    assert (whole.counters.sums[:, exact] == cut.counters.sums[:, exact]).all()


@pytest.mark.parametrize("design", DESIGNS)
def test_counters_of_all_rows_add_up_to_those_of_everyone(tiny, world, ranker, design):
    """What a unit does not count is counted by nobody."""
    result = served(
        tiny, world, (ranker, other_ranker(tiny)), assigned(design, world), Ticks(),
        also=[everyone(tiny.world.population.users)], users=FEW,
    )  # fmt: skip
    (whole,) = result.others
    table = result.counters.table()
    for i, name in enumerate(NAMES):
        if name in ONCE_PER_USER or np.isnan(table[0, i]):
            continue
        assert result.counters.sums[:, i].sum() == pytest.approx(whole.sums[:, i].sum(), rel=1e-12), name
        assert name in EXPECTED or result.counters.sums[:, i].sum() == whole.sums[:, i].sum(), name
    assert (result.counters.came == whole.came).all()
    assert np.isnan(table[:, NAMES.index("requests")]).all() == (design == "advertisers")
    assert result.revenue_micros == result.counters.sums[:, NAMES.index("spend_usd")].sum()
    if design != "advertisers":
        assert sum(result.requests_by_arm.values()) == result.n_requests


@pytest.mark.parametrize("design", SHARED)
def test_equal_arms_leave_the_log_of_control_alone_apart_from_the_arm(tiny, world, ranker, alone, tmp_path, design):
    split = assigned(design, world)
    result, _ = logged(tiny, world, (ranker, ranker._replace(name="again")), split, tmp_path, users=FEW)

    assert result.revenue_micros == alone[0].revenue_micros
    arms = set()
    for part in sorted((alone[1] / "log").glob("*/*.parquet")):
        one, other = pq.read_table(part), pq.read_table(tmp_path / part.relative_to(alone[1]))
        if "arm" in one.column_names:
            arms |= set(other["arm"].to_pylist())
            one, other = one.drop_columns("arm"), other.drop_columns("arm")
        assert one.equals(other), part
    for part in (alone[1] / "truth").glob("*/*.parquet"):
        assert part.read_bytes() == (tmp_path / part.relative_to(alone[1])).read_bytes()
    assert arms == {0, 1}


@pytest.mark.parametrize("design", SHARED)
def test_equal_arms_are_counted_as_if_they_had_been_served(tiny, world, ranker, alone, design):
    """`also` counts a world of equal arms as the same test of two of them does."""
    split = assigned(design, world)
    result = served(tiny, world, (ranker, ranker._replace(name="again")), split, Ticks(), users=FEW)
    also = served(tiny, world, (ranker,), everyone(tiny.world.population.users), Ticks(), also=[split], users=FEW)

    assert (result.counters.sums == also.others[0].sums).all()
    assert also.counters.sums.sum() == alone[0].counters.sums.sum()


def test_requests_and_sessions_are_those_of_the_log(tiny, world, ranker, tmp_path):
    split = assigned("sessions", world)
    result, _ = logged(tiny, world, (ranker, other_ranker(tiny)), split, tmp_path)
    log = pq.read_table(tmp_path / "log" / "requests").to_pandas()

    assert result.requests_by_arm == dict(zip(("first_ranker", "other"), np.bincount(log["arm"]), strict=True))
    by_session = log.groupby("session")["arm"]
    assert (by_session.nunique() == 1).all()
    assert list(result.sessions_by_arm.values()) == np.bincount(by_session.first()).tolist()


@pytest.mark.parametrize("sessions", [True, False])
@pytest.mark.parametrize("shares, splits", [((0.8, 0.2), 120), pytest.param((0.5, 0.5), 600, marks=pytest.mark.deep)])
def test_visits_split_at_any_shares_read_no_lift_of_equal_arms_19_times_in_20(world, sessions, shares, splits):
    """A user of a large arm would be seen in it more often, and do more there, than one of a small arm."""
    requests = Requests.stack([world.requests_on(day, world.minds()) for day in (0, 1)])
    n = len(world.population.users.region)
    rng = np.random.default_rng(1)
    busy = rng.random(n)  # users differ, so that their requests go together
    clicks = rng.binomial(3, 0.4 * busy[requests.user]).astype(float)
    metrics = [
        Metric(name, "platform", name, over, "", "up")
        for name, over in (("clicks", "users"), ("clicks", "impressions"), ("spend_usd", "budget_usd"))
    ]
    found, lifts = np.zeros(len(metrics)), []
    for seed in range(splits):
        split = split_visits(n, shares, seed, sessions=sessions)
        row = split.rows.of(requests.user, requests.time_ms, split.of_request(requests), requests.user)
        counters = counted(
            split.rows, world.population, requests=(row, 1.0), impressions=(row, 3.0), clicks=(row, clicks),
            spend_usd=(row, 1e6 * clicks),
        )  # fmt: skip
        reading = read(counters, split, 100.0)
        effects = [reading.effect(metric, 1) for metric in metrics]
        found += [e.p_value < 0.05 for e in effects]
        lifts.append([e.lift for e in effects])

    assert (abs(found / splits - 0.05) < 4 * np.sqrt(0.05 * 0.95 / splits)).all()
    lifts = np.log1p(lifts)
    assert (abs(lifts.mean(axis=0)) < 4 * lifts.std(axis=0) / np.sqrt(splits)).all()


def test_what_is_counted_once_per_user_is_not_read_of_visits(tiny, world, ranker):
    split = assigned("requests", world)
    result = served(tiny, world, (ranker, ranker._replace(name="again")), split, Ticks(), days=1)
    reading = read(result.counters, split, 1.0)

    once = [metric for metric in METRICS if {metric.numerator, metric.denominator} & ONCE_PER_USER]
    assert {metric.name for metric in once} == {"merchant_trial_rate", "ad_diversity", "return_rate"}
    assert {reading.effect(metric, 1).why for metric in once} == {"not counted in this design"}


def test_blocks_still_to_come_do_not_make_a_look_surer(world):
    """After the first of two days a test of two days reads what its first 12 blocks alone would."""
    population, rng = world.population, np.random.default_rng(2)
    split = switchback(2_000, (0.5, 0.5), 0, 2, 120, 0, 3)
    time_ms = np.sort(rng.integers(DAY_MS, size=3_000))
    user = rng.integers(2_000, size=3_000).astype(np.int32)
    requests = Requests(id=np.arange(3_000), user=user, time_ms=time_ms, surface=np.zeros(3_000, np.int32))
    row = split.rows.of(user, time_ms, split.of_request(requests), user)
    clicks = rng.random(3_000) < 0.3
    half = split._replace(rows=split.rows._replace(n=12), of_unit=split.of_unit[:12])

    def effect(assignment):
        counters = counted(assignment.rows, population, requests=(row, 1.0), clicks=(row, clicks))
        return read(counters, assignment, 1.0).effect(Metric("c", "user", "clicks", "requests", "", "up"), 1)

    assert min(np.bincount(half.of_unit)) >= 2
    assert effect(split) == effect(half)


@pytest.fixture(scope="module")
def past_and_test(tiny, world, ranker):
    """Counters of two days of a log, and of the two days after it."""
    state, all_users = new_state(tiny, world), everyone(tiny.world.population.users)
    log = served(tiny, world, (ranker,), all_users, Ticks(), state=state)
    test = served(tiny, world, (ranker,), all_users, Ticks(), state=state, first_day=2)
    return log.counters.table(), test.counters, float(budget_by_day(world, 2, 2).sum())


@pytest.mark.parametrize("splits", [40, pytest.param(600, marks=pytest.mark.deep)])
@pytest.mark.parametrize("adjust", ["cuped", "strata"])
def test_equal_arms_differ_19_times_in_20_no_more_than_their_intervals_and_the_past_makes_them_narrower(
    past_and_test, adjust, splits
):
    """The counters of equal arms are those of everyone, whoever is in which."""
    before, counters, budget = past_and_test
    n = len(before)
    metrics = [metric for metric in METRICS if metric.name in ("conversions", "CTR", "CPC", "return_rate", "total_GMV")]
    significant, ratio = np.zeros((2, len(metrics))), np.zeros((splits, len(metrics)))
    for seed in range(splits):
        split = split_users(n, (0.5, 0.5), seed)
        plain, own = (read(counters, split, budget, before, how) for how in ("none", adjust))
        effects = [[reading.effect(metric, 1) for metric in metrics] for reading in (plain, own)]
        significant += [[e.p_value < 0.05 for e in row] for row in effects]
        ratio[seed] = [b.se / a.se for a, b in zip(*effects, strict=True)]

    assert (abs(significant / splits - 0.05) < 4 * np.sqrt(0.05 * 0.95 / splits)).all()
    assert (ratio.mean(axis=0) < 1.01).all()  # strata that tell nothing cost some of a percent
    by_name = dict(zip([metric.name for metric in metrics], ratio.mean(axis=0), strict=True))
    assert by_name["return_rate"] < 0.97


def test_a_post_stratified_mean_is_that_of_strata_in_their_shares_by_hand(past_and_test):
    before, counters, budget = past_and_test
    split = split_users(len(before), (0.7, 0.3), 4)
    requests = before[:, NAMES.index("requests")]
    edges = np.unique(np.quantile(requests, [0.25, 0.5, 0.75]))
    stratum = np.searchsorted(edges, requests, side="left")
    table, came = counters.table(), counters.came
    want = []
    for arm in (0, 1):
        cells = [came & (stratum == h) & (split.of_unit == arm) for h in np.unique(stratum)]
        weight = [(came & (stratum == h)).sum() / came.sum() for h in np.unique(stratum)]
        want.append(sum(w * table[cell, NAMES.index("clicks")].mean() for w, cell in zip(weight, cells, strict=True)))
    metric = Metric("clicks", "platform", "clicks", "users", "", "up")

    effect = read(counters, split, budget, before, "strata").effect(metric, 1)

    assert (effect.control, effect.treatment) == pytest.approx(want)
    assert effect.lift == pytest.approx(want[1] / want[0] - 1)
