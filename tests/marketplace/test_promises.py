"""The promises that the product stands on."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import duckdb
import numpy as np
import pytest

from marketplace.assignment import everyone, split_users
from marketplace.counters import NAMES
from marketplace.market import model_arm
from marketplace.record import LogRecorder
from marketplace.schema import log_schema
from marketplace.simulate import Result, simulate
from marketplace.state import load_state, new_state, save_state
from models.predictor import load_model
from synth.world import populate, rebuild


def run(tiny, world, arms, assignment, folder, *, state=None, first_day=0, days=2, tick=2048, threads=2):
    """Simulate into `folder`; gives the result and the digest of log and truth."""
    state = state or new_state(tiny, world)
    with LogRecorder(folder, log_schema(tiny.world), world.population.content, 0.05, tiny.seed) as recorder:
        result = simulate(
            tiny,
            world,
            arms,
            assignment,
            state,
            recorder,
            first_day=first_day,
            days=days,
            tick_requests=tick,
            threads=threads,
        )
        return result, recorder.digest()


def rows(query: str, *parts: Path):
    with duckdb.connect() as db:
        return db.execute(query, [str(part / "*.parquet") for part in parts]).fetchnumpy()


@pytest.fixture(scope="module")
def models(finished, tiny):
    return {
        name: model_arm(tiny, name, load_model(finished.folder / "models" / name)) for name in ("control", "treatment")
    }


@pytest.fixture(scope="module")
def everybody(tiny):
    return everyone(tiny.world.population.users)


@pytest.mark.parametrize("tick, threads", [(1, 1), (7, 2), (1_000, 1), (10_000, 2)])
def test_a_run_is_the_same_for_every_tick_size_and_number_of_threads(
    tiny, world, ranker, everybody, tmp_path, tick, threads
):
    _, expected = run(tiny, world, (ranker,), everybody, tmp_path / "a", days=1)

    _, digest = run(tiny, world, (ranker,), everybody, tmp_path / "b", days=1, tick=tick, threads=threads)

    assert digest == expected


def test_ticks_do_not_show_where_they_cut_the_interval_and_histories_are_full(tiny, world, ranker, tmp_path):
    """Ten times the users, with memories of three stores: ad orders and organic ones of an interval mix in time."""
    many = tiny.world.model_copy(
        update={
            "population": tiny.world.population.model_copy(update={"users": 20_000}),
            "habit": tiny.world.habit.model_copy(update={"history_stores": 2.0, "history_capacity": 3}),
        }
    )
    crowd = tiny.model_copy(update={"world": many})
    busy = rebuild(populate(many, tiny.seed), world.solved, [])

    digests = [
        run(crowd, busy, (ranker,), everyone(20_000), tmp_path / str(tick), tick=tick)[1]
        for tick in (1_000, 10_000, 77)
    ]

    assert digests[0] == digests[1] == digests[2]


def test_a_simulation_leaves_nothing_behind_for_the_garbage_collector(tiny, world, ranker, everybody, tmp_path):
    """A cycle would hold the users' state, and whatever a recorder keeps, for an unknown time."""
    gc.collect()
    gc.disable()
    try:
        with LogRecorder(tmp_path, log_schema(tiny.world), world.population.content, 0.05, tiny.seed) as recorder:
            simulate(tiny, world, (ranker,), everybody, new_state(tiny, world), recorder, first_day=0, days=1)
        kept = weakref.ref(recorder)
        del recorder
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["control", "treatment"])
def test_a_trained_model_serves_the_same_for_every_tick_size_and_number_of_threads(
    tiny, world, models, everybody, tmp_path, name
):
    _, expected = run(tiny, world, (models[name],), everybody, tmp_path / "a", days=1, tick=10_000)

    _, digest = run(tiny, world, (models[name],), everybody, tmp_path / "b", days=1, tick=100, threads=1)

    assert digest == expected


def test_a_run_repeats_to_the_bit(tiny, world, ranker, everybody, tmp_path):
    first, second = (run(tiny, world, (ranker,), everybody, tmp_path / name) for name in "ab")

    assert first[1] == second[1]
    assert (first[0].counters.sums == second[0].counters.sums).all()


def test_a_run_stopped_at_midnight_goes_on_as_if_unbroken(tiny, world, ranker, everybody, tmp_path):
    state = new_state(tiny, world)
    run(tiny, world, (ranker,), everybody, tmp_path / "first", state=state, days=1)
    save_state(state, tmp_path / "state")
    restored = load_state(tiny, world, tmp_path / "state")
    run(tiny, world, (ranker,), everybody, tmp_path / "second", state=restored, first_day=1, days=1)

    run(tiny, world, (ranker,), everybody, tmp_path / "whole", days=2)

    for table in ("requests", "impressions", "conversions", "organic", "candidates"):
        whole = (tmp_path / "whole" / "log" / table / "day=0001.parquet").read_bytes()
        assert (tmp_path / "second" / "log" / table / "day=0001.parquet").read_bytes() == whole


def test_the_log_of_a_finished_run_comes_again_from_its_scenario(tiny, world, ranker, everybody, tmp_path, finished):
    with LogRecorder(
        tmp_path, log_schema(tiny.world), world.population.content, tiny.log.candidate_share, tiny.seed
    ) as recorder:
        state = new_state(tiny, world)
        simulate(tiny, world, (ranker,), everybody, state, recorder, first_day=0, days=tiny.calendar.log_days)
        digest = recorder.digest()

    assert finished.manifest["stages"]["log"]["digest"] == digest


@pytest.fixture(scope="module")
def money(tiny, world, ranker, everybody, tmp_path_factory) -> tuple[Result, Path, object]:
    folder = tmp_path_factory.mktemp("money")
    state = new_state(tiny, world)
    result, _ = run(tiny, world, (ranker,), everybody, folder, state=state, days=3)
    return result, folder / "log", state


def test_revenue_is_the_sum_of_charges_and_the_fall_of_budgets_to_the_micro(money):
    result, log, state = money
    shown = rows("SELECT sum(billed_micros) AS m FROM read_parquet(?)", log / "impressions")["m"][0]
    ordered = rows("SELECT sum(billed_micros) AS m FROM read_parquet(?)", log / "conversions")["m"][0]
    ledger = state.ledger

    assert result.revenue_micros == int(shown) + int(ordered)
    assert result.revenue_micros == ledger.granted - ledger.lapsed - int(ledger.remaining.sum())
    assert result.counters.table()[:, NAMES.index("spend_usd")].sum() == pytest.approx(
        result.revenue_micros / 1e6, abs=1e-6
    )


def test_no_campaign_is_billed_more_than_its_budget_on_any_day(money, world):
    _, log, _ = money
    query = """
        SELECT campaign, day, sum(billed_micros)::BIGINT AS billed FROM (
            SELECT campaign, time_ms // 86400000 AS day, billed_micros FROM read_parquet(?)
            UNION ALL SELECT campaign, time_ms // 86400000, billed_micros FROM read_parquet(?)
        ) GROUP BY ALL"""
    spent = rows(query, log / "impressions", log / "conversions")
    budget = np.floor(world.population.campaigns.daily_budget_usd * 1e6)[spent["campaign"]]

    assert (spent["billed"] <= budget).all()
    assert (spent["billed"] == budget).any()  # some run out, so the cap is tested


def test_what_is_due_is_billed_or_recorded_as_unbilled(money, world):
    _, log, _ = money
    pricing = world.population.campaigns.pricing
    shown = rows(
        "SELECT campaign, clicked, price_micros, billed_micros, unbilled_micros FROM read_parquet(?)",
        log / "impressions",
    )
    kind = pricing[shown["campaign"]]
    due = np.where((kind == 0) | (kind == 3) | ((kind == 1) & shown["clicked"]), shown["price_micros"], 0)

    assert (shown["billed_micros"] + shown["unbilled_micros"] == due).all()
    assert shown["unbilled_micros"].sum() > 0


def test_a_conversion_is_charged_once_at_the_price_fixed_at_its_impression(money, world):
    _, log, _ = money
    found = rows(
        """SELECT c.campaign, c.attributed, c.billed_micros + c.unbilled_micros AS charged, i.price_micros, i.clicked, c.event,
           c.time_ms - c.shown_ms AS delay, i.time_ms = c.shown_ms AND c.click_ms = c.shown_ms AS at_click
           FROM read_parquet(?) c JOIN read_parquet(?) i USING (request, ad)""",
        log / "conversions", log / "impressions",
    )  # fmt: skip
    by_order = (world.population.campaigns.pricing[found["campaign"]] == 2) & found["attributed"]

    assert found["clicked"].all() and found["at_click"].all() and (found["delay"] > 0).all()
    assert (found["charged"] == np.where(by_order, found["price_micros"], 0)).all()
    assert len(found["campaign"]) == rows("SELECT count(*) AS n FROM read_parquet(?)", log / "conversions")["n"][0]


def test_models_and_auctions_cannot_see_the_truth():
    code = """
import pkgutil, sys, importlib, auction, models
for package in (auction, models):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
assert not [name for name in sys.modules if name.split(".")[0] in ("synth", "marketplace")], "a leaf imports upwards"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_log_holds_no_column_of_the_truth(tiny):
    logged = {column.name for table in log_schema(tiny.world).tables.values() for column in table}

    assert not logged & {"examination", "click", "conversion", "taste", "segment", "appeal", "need", "style"}


def test_an_a_a_test_is_the_world_of_control_read_in_two_halves(tiny, world, models, everybody, tmp_path):
    control = models["control"]
    split = split_users(tiny.world.population.users, (0.5, 0.5), tiny.seed)
    both, _ = run(tiny, world, (control, control._replace(name="again")), split, tmp_path / "aa", days=1)
    alone, _ = run(tiny, world, (control,), everybody, tmp_path / "control", days=1)

    assert both.revenue_micros == alone.revenue_micros
    assert (both.counters.sums == alone.counters.sums).all()


def test_worlds_that_differ_in_policy_only_share_their_luck(tiny, world, models, everybody, tmp_path):
    for name in ("control", "treatment"):
        run(tiny, world, (models[name],), everybody, tmp_path / name, days=1)
    pair = rows(
        """SELECT a.clicked AS a, b.clicked AS b, p.click AS p, q.click AS q
           FROM read_parquet(?) a JOIN read_parquet(?) b USING (request, slot, ad)
           JOIN read_parquet(?) p USING (request, slot, ad) JOIN read_parquet(?) q USING (request, slot, ad)""",
        *(tmp_path / name / part / "impressions" for part in ("log", "truth") for name in ("control", "treatment")),
    )
    a, b, p, q = (pair[name] for name in "abpq")

    # orders and fatigue of one world only change a probability, never the luck that it meets
    assert len(p) > 500 and (p == q).mean() > 0.5
    assert (b | ~a)[p <= q].all() and (a | ~b)[p >= q].all()
