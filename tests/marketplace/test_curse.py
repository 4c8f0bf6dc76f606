"""The winner's curse of a simulation: by hand on a log of four auctions, and against the truth of what was shown."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marketplace import words
from marketplace.curse import winners_curse_of
from marketplace.errors import Refused
from marketplace.runs import read_json
from synth.campaigns import GOALS
from synth.types import CART, CHECKOUT, SIGN_UP

COLUMNS = "request", "rank", "ad", "pctr", "pcvr", "bid_usd", "slot", "click", "cart", "checkout", "sign_up"
AUCTIONS = [  # of arm 0, but for the last two
    (1, 0, 0, 0.30, 0.5, 1.0, 0, 0.20, 0.5, 0.4, 0.3),
    (1, 1, 1, 0.10, 0.2, 1.0, -1, 0.20, 0.4, 0.3, 0.2),
    (1, 2, 2, 0.90, 0.9, 0.0, -1, 0.01, 0.4, 0.3, 0.2),  # no bid: it did not compete
    (2, 0, 2, 0.20, 0.4, 0.5, 1, 0.10, 0.6, 0.5, 0.1),
    (2, 1, 3, 0.40, 0.1, 0.5, 0, 0.40, 0.1, 0.2, 0.3),
    (3, 0, 4, 0.25, 0.5, 1.0, -1, 0.20, 0.5, 0.4, 0.3),
    (4, 0, 5, 0.35, 0.5, 1.0, 0, 0.30, 0.5, 0.4, 0.3),
]
SURFACE = {1: 0, 2: 0, 3: 0, 4: 0}


@pytest.fixture
def simulation(tmp_path) -> Path:
    columns = dict(zip(COLUMNS, map(np.array, zip(*AUCTIONS, strict=True)), strict=True))
    tables = {
        "log/candidates": {name: columns[name] for name in COLUMNS[:7]},
        "truth/candidates": {name: columns[name] for name in ("request", "rank", *COLUMNS[7:])},
        "log/requests": {
            "request": np.array([1, 2, 3, 4]), "user": np.array([8, 9, 8, 9]), "arm": np.array([0, 0, 1, 1]),
            "surface": np.zeros(4, np.int32),
        },
    }  # fmt: skip
    for table, content in tables.items():
        (tmp_path / table).mkdir(parents=True)
        pq.write_table(pa.table(content), tmp_path / table / "day=0000.parquet")
    return tmp_path


def chance_by_hand(scenario, world, row) -> float:
    """Of a conversion after a click, by the goal of the ad's campaign, from the world's own distribution of delays."""
    _, _, ad, *_, cart, checkout, sign_up = row
    campaign = int(world.population.ads.campaign[ad])
    event, rate = {
        "click": (CHECKOUT, cart * checkout), "checkout": (CHECKOUT, cart * checkout), "cart": (CART, cart),
        "sign_up": (SIGN_UP, sign_up),
    }[GOALS[world.population.campaigns.goal[campaign]]]  # fmt: skip
    return rate * float(world.delay_cdf(event, np.array([24 * scenario.auction.attribution_days]), campaign)[0])


def test_predicted_over_true_by_hand(tiny, world, simulation):
    rows = winners_curse_of(simulation, ["control", "treatment"], tiny, world)

    look = tiny.world.feed.surfaces[0].attention
    click, conversion, few, fewer = rows
    assert (click["arm"], click["task"], click["auctions"], click["competed"], click["won"]) == (
        "control", "click", 2, 4, 3
    )  # fmt: skip
    assert click["candidates"] == pytest.approx(1.0 / (0.9 * look))
    assert click["winners"] == pytest.approx(0.9 / (0.7 * look))
    assert click["curse"] == pytest.approx(0.9 * 0.9 / 0.7)
    own = [row for row in AUCTIONS if row[0] < 3 and row[5] > 0]
    predicted, true = (
        np.array([row[3] * row[4] for row in own]),
        np.array([look * row[7] * chance_by_hand(tiny, world, row) for row in own]),
    )
    won = np.array([True, False, True, True])
    assert conversion["candidates"] == pytest.approx(predicted.sum() / true.sum())
    assert conversion["winners"] == pytest.approx(predicted[won].sum() / true[won].sum())
    assert all(row["candidates_low"] < row["candidates"] < row["candidates_high"] for row in (click, conversion))
    assert (few["arm"], few["competed"], few["won"]) == (fewer["arm"], 2, 1)


def test_the_error_is_that_of_users(tiny, world, simulation):
    """Two users of control: with one auction each, the error of a ratio of sums is |x - ratio y| of either, once over."""
    click = winners_curse_of(simulation, ["control"], tiny, world)[0]

    off = 0.4 - 1.0 / 0.9 * 0.4  # of the first user: predicted less ratio x true, in the true's own units
    error = np.sqrt(2 / 1 * 2 * off**2) * click["candidates"]
    assert click["candidates_high"] - click["candidates"] == pytest.approx(1.959964 * error)


def test_an_arm_without_winners_has_no_figures_and_a_simulation_without_auctions_no_words(tiny, world, simulation):
    path = simulation / "log" / "candidates" / "day=0000.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("slot")
    pq.write_table(table.set_column(at, "slot", pa.array(np.full(len(table), -1))), path)

    rows = winners_curse_of(simulation, ["control", "treatment"], tiny, world)

    assert all(row["won"] == 0 and row["competed"] > 0 for row in rows)
    assert all(row[name + end] is None for row in rows for name in ("candidates", "curse") for end in ("", "_low"))
    assert words.summary({"winners_curse": rows}) == words.summary({}) == {}
    assert words.around(*(rows[0][f"curse{end}"] for end in ("", "_low", "_high"))) == words.DASH


def test_a_simulation_of_an_earlier_version_is_refused(tiny, world, simulation):
    (simulation / "truth" / "candidates" / "day=0000.parquet").unlink()

    with pytest.raises(Refused, match="is damaged or of another version"):
        winners_curse_of(simulation, ["control"], tiny, world)


@pytest.mark.parametrize("part", [".", "simulations/ab"])
def test_the_truth_of_whole_auctions_is_that_of_their_winners_and_has_every_candidate(finished, part):
    folder = finished.folder / part
    with duckdb.connect() as db:
        for name in ("log", "truth"):
            for table in ("candidates", "impressions"):
                db.execute(
                    f"CREATE VIEW {name}_{table} AS SELECT * FROM read_parquet('{folder}/{name}/{table}/*.parquet')"
                )
        shown = db.execute(
            """SELECT a.click, b.click AS click2, a.cart, b.cart AS cart2, a.checkout, b.checkout AS checkout2,
                a.sign_up, b.sign_up AS sign_up2
            FROM truth_candidates a JOIN log_candidates c USING (request, rank)
            JOIN truth_impressions b ON b.request = c.request AND b.slot = c.slot AND b.ad = c.ad"""
        ).fetchnumpy()
        won, logged, known, matched = db.execute(
            """SELECT (SELECT count(*) FROM log_candidates WHERE slot >= 0), (SELECT count(*) FROM log_candidates),
                (SELECT count(*) FROM truth_candidates),
                (SELECT count(*) FROM log_candidates JOIN truth_candidates USING (request, rank))"""
        ).fetchone()

    assert len(shown["click"]) == won > 50
    assert logged == known == matched > won
    for name in ("click", "cart", "checkout", "sign_up"):
        assert (shown[name] == shown[f"{name}2"]).all()


def test_the_report_has_both_arms_and_both_tasks(finished):
    rows = read_json(finished.folder / "report.json")["winners_curse"]

    assert [(row["arm"], row["task"]) for row in rows] == [
        (arm, task) for arm in ("control", "treatment") for task in ("click", "conversion")
    ]
    with duckdb.connect() as db:
        log = finished.folder / "simulations" / "ab" / "log"
        found = db.execute(
            f"""SELECT count(*), count(*) FILTER (slot >= 0) FROM read_parquet('{log}/candidates/*.parquet')
            JOIN read_parquet('{log}/requests/*.parquet') USING (request) WHERE arm = 1 AND bid_usd > 0"""
        ).fetchone()
    assert (rows[2]["competed"], rows[2]["won"]) == found
    assert f"<td>{words.count(found[0])}</td>" in (finished.folder / "report.html").read_text()


def test_words_say_what_auctions_pick_and_only_beyond_chance():
    row = {"arm": "control", "task": "click", "winners": 1.2, "candidates": 1.0, "curse": 1.2, "curse_low": 1.1}

    assert words.picked(row | {"curse_high": 1.3}) == "over-predicted"
    assert words.picked(row | {"curse_low": 0.9, "curse_high": 1.3}) == ""
    assert words.picked(row | {"curse": 0.8, "curse_low": 0.7, "curse_high": 0.9}) == "under-predicted"
    assert words.summary({"winners_curse": [row | {"curse_high": 1.3}]})["winner's curse"] == (
        "auctions pick what is over-predicted relative to the rest; predicted over true clicks of winners against all that "
        "competed: 1.2 against 1 in control"
    )
    assert (
        "none beyond chance"
        in words.summary({"winners_curse": [row | {"curse_low": 0.9, "curse_high": 1.3}]})["winner's curse"]
    )
