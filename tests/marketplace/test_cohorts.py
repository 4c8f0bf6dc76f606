"""Cohorts: a log of four requests told apart by hand; and, in the demo's log, the published pattern emerges."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from marketplace.cohorts import (
    AGES_OF_A_DAY,
    Parting,
    by_age,
    by_column,
    by_familiarity,
    by_novelty,
    by_slot,
    category,
    cohorts_of_a_day,
    score_by,
    shown_in,
)
from marketplace.errors import Refused
from marketplace.experiment import Pace, complete
from marketplace.runs import new_run
from marketplace.scenario import load_scenario
from marketplace.training import Learned, by_task, offline_table
from models.data import AdTable, Batch, Dataset
from models.log import read_log
from models.predictor import load_model
from models.schema import Column, Kind, Schema, Side
from models.scores import concentration, gauc, score
from synth.campaigns import GOALS
from synth.types import DAY_MS

ROOT = Path(__file__).parents[2]
ROW = np.array([[2, 0], [1, -1], [0, 1], [2, -1]], np.int32)  # of the shown ads
STORE = np.array([7, -1, 3], np.int32)  # of the ads
PLATFORM = np.array([1, 0, -1, 1], np.int32)  # of the requests


@pytest.fixture
def small() -> Dataset:
    """Four requests of two slots, two of them empty; clicks in slot 0 alone, but for the last."""

    def column(name: str, kind: Kind, side: Side, **more) -> Column:
        return Column(name=name, kind=kind, dtype="int32", side=side, **more)

    schema = Schema(
        tables={
            "requests": (
                column("hour", Kind.CATEGORICAL, Side.REQUEST),
                column("platform", Kind.CATEGORICAL, Side.REQUEST, values=("phone", "desktop")),
            ),
            "impressions": (
                column("campaign", Kind.CATEGORICAL, Side.AD),
                column("store", Kind.CATEGORICAL, Side.AD),
                column("match", Kind.DENSE, Side.CROSS),
                column("known_orders", Kind.DENSE, Side.CROSS),
            ),
        }
    )
    cross = np.zeros((4, 2, 2), np.float32)
    cross[:, :, 0], cross[0, 1, 1], cross[3, :, 1] = 1.0, 0.7, 2.0
    nothing = np.empty((3, 0), np.float32)
    batch = Batch(
        categorical=np.stack([np.zeros(4, np.int32), PLATFORM], axis=1), dense=np.empty((4, 0), np.float32), lists=(),
        ads=AdTable(categorical=np.stack([np.arange(3, dtype=np.int32), STORE], axis=1), dense=nothing, vector=nothing),
        row=ROW, cross=cross, slot=np.arange(2, dtype=np.int32),
    )  # fmt: skip
    click = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], bool)
    time_ms = np.array([0, 2, 3, 4]) * DAY_MS
    return Dataset(schema=schema, batch=batch, time_ms=time_ms, click=click, conversion=np.zeros((4, 2), bool))


def told(parting) -> dict[str, list[tuple[int, int]]]:
    """Requests and slots of each part."""
    return {name: [tuple(place) for place in np.argwhere(mask).tolist()] for name, mask in parting.masks()}


def test_familiarity_by_hand(small):
    assert told(by_familiarity(small)) == {
        "repurchase": [(0, 1), (3, 0)],
        "exploration": [(0, 0), (1, 0), (2, 0), (2, 1)],
    }


def test_slots_by_hand(small):
    assert told(by_slot(small)) == {"0": [(0, 0), (1, 0), (2, 0), (3, 0)], "1": [(0, 1), (2, 1)]}


def test_age_by_hand_an_age_on_an_edge_being_of_the_older_part(small):
    """Clicked on days 0, 2 and 3; at the end of day 3 they are 4, 2 and 1 days old, a millisecond sooner the last is under 1."""
    end = 4 * DAY_MS

    assert told(by_age(small, end)) == {"under 1 day": [], "1 to 3 days": [(1, 0), (2, 0)], "3 days and over": [(0, 0)]}
    assert told(by_age(small, end - 1))["under 1 day"] == [(2, 0)]
    assert told(by_age(small, end + DAY_MS))["3 days and over"] == [(0, 0), (1, 0)]


def test_new_stores_by_hand(small):
    """Shown are stores 3, 7, none, 7, none, 3; a store that is missing is neither new nor seen."""
    assert told(by_novelty(small, np.array([7, 9]))) == {"new": [(0, 0), (3, 0)], "seen": [(0, 1), (2, 0)]}
    assert told(by_novelty(small, np.array([0, 2]), column="campaign"))["new"] == [(1, 0), (2, 1)]


def test_values_of_a_column_by_hand(small):
    assert told(by_column(small, "platform")) == {
        "missing": [(2, 0), (2, 1)], "phone": [(1, 0)], "desktop": [(0, 0), (0, 1), (3, 0)]
    }  # fmt: skip
    assert told(by_column(small, "store")) == {
        "missing": [(1, 0), (2, 1)], "3": [(0, 0), (3, 0)], "7": [(0, 1), (2, 0)]
    }  # fmt: skip
    assert category(small, "store").tolist() == [[3, 7], [-1, -1], [7, -1], [3, -1]]


def test_stores_shown_are_those_of_all_blocks_and_of_nothing_none(small):
    assert shown_in(small).tolist() == [3, 7]
    assert shown_in(small.take(np.array([1, 3]))).tolist() == [3]
    empty = small.between(9 * DAY_MS, 9 * DAY_MS)
    assert shown_in(empty).size == 0 and by_column(empty, "store").names == ()


def test_an_unknown_column_is_refused_with_the_nearest(small):
    with pytest.raises(Refused, match=r"cohort 'plattform'.* nearest are platform, "):
        by_column(small, "plattform")
    with pytest.raises(Refused, match=r"'match': the log has no such categorical column"):
        category(small, "match")
    with pytest.raises(Refused, match=r"'known_orders'.* the nearest are none"):
        by_familiarity(Dataset(**{name: getattr(small, name) for name in ("batch", "time_ms", "click", "conversion")},
                               schema=Schema(tables={})))  # fmt: skip


def test_scores_by_part_are_those_of_its_rows_alone(small):
    p = np.linspace(0.1, 0.8, 8).reshape(4, 2)

    chosen = small.shown.copy()
    chosen[0, 0] = False

    rows = score_by(p, small.click, chosen, {"slot": by_slot(small), "age": by_age(small, 4 * DAY_MS)})

    assert [(row["cohort"], row["value"], row["rows"]) for row in rows] == [
        ("slot", "0", 3), ("slot", "1", 2), ("age", "1 to 3 days", 2)
    ]  # fmt: skip
    assert rows[0]["auc"] == score(p[1:, 0], small.click[1:, 0]).auc == 0.0
    assert rows[1]["auc"] is rows[2]["auc"] is None
    assert rows[1]["log_loss"] == pytest.approx(-np.log([0.8, 0.4]).mean())


def test_parts_of_a_simulated_log_are_as_many_as_sql_counts_and_leave_out_nothing(finished):
    log = read_log(finished.folder / "log", 10**15)
    parts = str(finished.folder / "log" / "impressions" / "*.parquet")

    for column, parting in (
        ("goal", by_column(log, "goal")),
        ("slot", by_slot(log)),
        ("store", by_column(log, "store")),
    ):
        counted = duckdb.sql(f"SELECT {column}, count(*) FROM read_parquet('{parts}') GROUP BY 1").fetchall()
        got = {name: int(mask.sum()) for name, mask in parting.masks() if mask.any()}
        names = {value: GOALS[value] if column == "goal" else str(value) for value, _ in counted}
        assert got == {names[value]: number for value, number in counted}, column
    for parting in (by_familiarity(log), by_novelty(log, np.arange(20)), by_column(log, "platform")):
        assert (sum(mask.astype(int) for _, mask in parting.masks()) == log.shown).all()


def predicted(learned: Learned, log: Dataset) -> dict[str, np.ndarray]:
    return by_task(*learned.model.predict(log.batch))


@pytest.fixture(scope="module")
def offline(finished) -> tuple[Dataset, Learned, dict[str, Parting], list[dict]]:
    """The last day, control's model, its cohorts and its offline table."""
    end = 3 * DAY_MS
    log = read_log(finished.folder / "log", end, start_ms=end - DAY_MS)
    model = load_model(finished.folder / "models" / "control")
    learned = Learned(model.predictor, model, 1.0, {}, ())
    cohorts = cohorts_of_a_day(log, np.arange(50), end)
    return log, learned, cohorts, offline_table("control", "", learned, predicted(learned, log), log, None, cohorts)


def test_the_offline_table_has_all_first_and_then_the_parts_of_every_cohort_that_has_two(offline):
    log, learned, cohorts, table = offline
    clicks = learned.model.predict(log.batch).click.astype(np.float64)
    rows = score_by(clicks, log.click, log.shown, {"familiarity": by_familiarity(log), "slot": by_slot(log)})

    of_clicks = [row for row in table if row["task"] == "click"]
    assert [(row["cohort"], row["segment"]) for row in of_clicks[:6]] == [
        ("", "overall"), ("familiarity", "repurchase"), ("familiarity", "exploration"), ("slot", "0"), ("slot", "1"),
        ("slot", "2"),
    ]  # fmt: skip
    for row, known in zip(of_clicks[1:6], rows, strict=True):
        assert all(row[name] == known[name] for name in ("rows", "positives", "auc", "log_loss"))
    # this market has one surface and one goal, and what needs no click has no age
    assert {row["cohort"] for row in of_clicks} == {"", "familiarity", "slot", "novelty", "platform"}
    assert set(cohorts) - {row["cohort"] for row in table} == {"goal", "surface"}


def test_parts_of_a_cohort_add_up_to_the_whole_in_every_task(offline):
    log, _, _, table = offline
    of = {"click": log.shown, "conversion given click": log.click, "conversion": log.shown}

    for task, chosen in of.items():
        own = [row for row in table if row["task"] == task]
        for cohort in {row["cohort"] for row in own}:
            assert sum(row["rows"] for row in own if row["cohort"] == cohort) == chosen.sum(), (task, cohort)
    ages = [row["segment"] for row in table if row["cohort"] == "age of label"]
    assert ages == ["under 6 h", "6 to 12 h", "12 h and over"]


def test_gauc_and_concentration_are_of_all_alone_and_by_the_users_of_the_log(offline, finished):
    log, learned, _, table = offline
    users = dict(
        duckdb.sql(
            f"SELECT request, user FROM read_parquet('{finished.folder}/log/requests/*.parquet') WHERE time_ms >= {2 * DAY_MS}"
        ).fetchall()
    )
    order = duckdb.sql(
        f"""SELECT request FROM read_parquet('{finished.folder}/log/requests/*.parquet')
        WHERE time_ms >= {2 * DAY_MS} ORDER BY time_ms, request"""
    ).fetchall()
    user = np.array([users[request] for (request,) in order])
    p = learned.model.predict(log.batch).click[log.shown]
    of = np.broadcast_to(user[:, None], log.shown.shape)[log.shown]

    first = table[0]
    assert (log.user == user).all()
    assert first["gauc"] == pytest.approx(gauc(p, log.click[log.shown], of).gauc)
    assert first["effective_scores"] == pytest.approx(concentration(p).effective)
    assert first["commonest"] == pytest.approx(concentration(p).commonest)
    for row in table:
        assert (row["gauc"] is None) == (row["cohort"] != "")


def test_a_log_that_does_not_name_users_has_no_gauc(offline):
    log, learned, cohorts, _ = offline

    row = offline_table("control", "", learned, predicted(learned, log), replace(log, user=None), None, cohorts)[0]

    assert row["gauc"] is None and row["effective_scores"] > 1


def test_ages_of_a_day_by_hand(small):
    """Clicked at 0:00 of days 0, 2 and 3; 12 hours into day 3 the last is 12 hours old."""
    at = 3 * DAY_MS + DAY_MS // 2

    assert told(by_age(small, at, AGES_OF_A_DAY))["12 h and over"] == [(0, 0), (1, 0), (2, 0)]
    assert told(by_age(small, at - 1, AGES_OF_A_DAY))["6 to 12 h"] == [(2, 0)]
    assert told(by_age(small, at - DAY_MS // 4 - 1, AGES_OF_A_DAY))["under 6 h"] == [(2, 0)]


@pytest.mark.deep
def test_cohorts_are_harder_than_the_whole_and_hard_negatives_are_repurchases(tmp_path):
    scenario = load_scenario(ROOT / "scenarios" / "delivery.toml")
    with new_run(scenario, "train", tmp_path) as draft:
        complete(draft, None, "models", (), Pace(), lambda what, share: None)
    script, out = ROOT / "benchmarks" / "cohorts.py", tmp_path / "cohorts.json"
    subprocess.run([sys.executable, str(script), str(draft.folder), "--json", str(out)], check=True)
    found = json.loads(out.read_text())

    assert found["AUC, repurchase"] < found["AUC, overall"] and found["AUC, exploration"] < found["AUC, overall"]
    assert found["repurchase share of positives"] == pytest.approx(0.676, abs=0.02)
    assert found["repurchase share of negatives"] == pytest.approx(0.343, abs=0.02)
    assert found["repurchase share of hard negatives"] > 0.5
    assert found["of them, out of the user's usual part of the day"] > 1 / 3
