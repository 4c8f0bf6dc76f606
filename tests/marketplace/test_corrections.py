"""Corrections at work in the market: what the command line trains and refuses, shuffled slots, final labels, and the truth."""

import json
from dataclasses import replace
from itertools import permutations
from math import exp, sqrt
from pathlib import Path

import duckdb
import numpy as np
import pytest
from scipy.stats import chisquare
from typer.testing import CliRunner

from auction import Allocation
from marketplace.arm import Shuffle
from marketplace.assignment import everyone
from marketplace.cli import app
from marketplace.errors import Refused
from marketplace.experiment import Pace, complete
from marketplace.log import COMING
from marketplace.market import first_ranker, load_world
from marketplace.record import LogRecorder
from marketplace.runs import new_run, open_run
from marketplace.scenario import load_scenario
from marketplace.schema import log_schema
from marketplace.simulate import simulate
from marketplace.state import load_state, new_state
from marketplace.truth import true_rates
from models.log import read_log
from synth.campaigns import GOALS
from synth.types import CHECKOUT, DAY_MS, SIGN_UP

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
GIVEN = "conversion given click"
TASKS = ["click", GIVEN, "conversion"]


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def columns(query: str, *values: Path | int) -> dict[str, np.ndarray]:
    with duckdb.connect() as db:
        return db.execute(query, [str(v) if isinstance(v, Path) else v for v in values]).fetchnumpy()


def test_a_model_is_shown_plain_with_each_correction_and_with_both(finished):
    result = call("train", finished.folder, "--model", "lightgbm", "--correct", "delay=fsiw,position=pal", "--json")

    rows = json.loads(result.stdout)
    wanted = ["", "delay=fsiw", "position=pal", "delay=fsiw,position=pal"]
    assert [row["correct"] for row in rows] == [correct for correct in wanted for _ in TASKS]
    assert [row["model"] for row in rows[::3]] == ["lightgbm", *(f"lightgbm+{correct}" for correct in wanted[1:])]
    assert [row["task"] for row in rows] == TASKS * 4
    assert all(0.2 < row["true_calibration"] < 5 for row in rows)
    by = {(row["correct"], row["task"]): row for row in rows}
    # the youngest clicks lack conversions: corrected, more are expected
    assert by["delay=fsiw", GIVEN]["true_calibration"] > by["", GIVEN]["true_calibration"] + 0.05
    assert by["delay=fsiw", GIVEN]["effective_share"] < 1
    assert by["", GIVEN]["effective_share"] is None
    assert by["delay=fsiw", "conversion"]["effective_share"] is None  # a product of two, calibrated by none
    # what leaves clicks alone leaves them as they were
    assert by["delay=fsiw", "click"]["log_loss"] == by["", "click"]["log_loss"]
    assert by["position=pal", GIVEN]["effective_share"] is None
    assert by["position=pal", "click"]["log_loss"] != by["", "click"]["log_loss"]


@pytest.fixture
def small(tmp_path) -> Path:
    """A model that is trained in no time."""
    path = tmp_path / "small.toml"
    path.write_text('kind = "lightgbm"\ntrees = 8\nleaves = 7\nmin_rows_per_leaf = 20\n')
    return path


def test_a_correction_that_changes_nothing_is_not_shown_twice(finished, small):
    correct = "delay=none,selection=ipw,calibrate=beta"

    rows = json.loads(call("train", finished.folder, "--model", small, "--correct", correct, "--json").stdout)

    names = ["small", "small+selection=ipw", "small+calibrate=beta", "small+selection=ipw,calibrate=beta"]
    assert [row["model"] for row in rows[::3]] == names


def test_labels_that_are_final_are_a_runs(finished, small):
    rows = json.loads(call("train", finished.folder, "--model", small, "--correct", "delay=oracle", "--json").stdout)

    plain, oracle = (row["true_calibration"] for row in rows if row["task"] == GIVEN)
    assert plain < oracle
    assert oracle == pytest.approx(1, abs=0.25)


def test_a_bare_log_folder_has_no_truth_and_no_final_labels(finished, small, tmp_path):
    bare = tmp_path / "log"
    bare.symlink_to(finished.folder / "log")

    rows = json.loads(call("train", bare, "--model", small, "--correct", "delay=fsiw", "--json").stdout)
    refused = call("train", bare, "--model", small, "--correct", "delay=oracle")

    assert {row["true_calibration"] for row in rows} == {None}
    assert refused.exit_code == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "delay oracle needs final labels" in refused.stderr and "give the folder of a run" in refused.stderr


@pytest.mark.parametrize("arms", [False, True])
@pytest.mark.parametrize(
    ("correct", "words"),
    [
        ("dellay=fsiw", "there is no dellay, did you mean delay?"),
        ("positon=pal", "there is no positon, did you mean position?"),
        ("delay", "'delay' must be name=value, such as delay=es_dfm"),
        ("delay=", "'delay=' must be name=value"),
        ("delay=fsiw,,position=pal", "'' must be name=value"),
        ("delay=fsiw,delay=dfm", "delay is given twice"),
        ("wait_hours=3", "it must name one of delay, position, selection, calibrate"),
        ("delay=soon", "delay: Input should be 'none', 'window'"),
        ("delay=window,wait_hours=-1", "wait_hours: Input should be greater than 0"),
        ("selection=dr,delay=fsiw", "selection dr takes labels as they are"),
    ],
)
def test_a_correction_that_cannot_be_is_refused_in_one_line(finished, tmp_path, correct, words, arms):
    more = ["--runs", tmp_path / "runs"] if arms else ["--model", "lightgbm", "--out", tmp_path / "out"]

    result = call("train", finished.folder, "--correct", correct, *more)

    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert words in result.stderr
    assert not any(tmp_path.iterdir())


def test_a_position_that_needs_randomised_slots_is_refused_where_there_are_none(finished, small):
    result = call("train", finished.folder, "--model", small, "--correct", "position=ipw")

    assert result.exit_code == 2
    assert "no request of these days has them (log.randomised_share)" in result.stderr


@pytest.fixture(scope="module")
def arms(tmp_path_factory) -> dict:
    """What the command line says of a log with half its slots shuffled, trained on with corrections, and one simulation."""
    runs = tmp_path_factory.mktemp("arms")
    trained = call(
        "train",
        TINY,
        "--set",
        "log.randomised_share=0.5",
        "--correct",
        "delay=fsiw,position=ipw",
        "--runs",
        runs,
        "--json",
    )
    made = json.loads(trained.stdout)
    simulated = json.loads(call("simulate", made["folder"], "--design", "control", "--runs", runs, "--json").stdout)
    return made | {"simulated": Path(simulated["folder"])}


def test_both_arms_are_trained_with_and_without(arms):
    rows = arms["models"]

    assert list(dict.fromkeys((row["model"], row["correct"]) for row in rows)) == [
        ("control", "delay=fsiw,position=ipw"), ("control, uncorrected", ""),
        ("treatment", "delay=fsiw,position=ipw"), ("treatment, uncorrected", ""),
    ]  # fmt: skip
    assert json.loads((Path(arms["folder"]) / "models.json").read_text()) == rows
    models = Path(arms["folder"]) / "models"
    assert sorted(path.name for path in models.iterdir() if path.is_dir()) == ["control", "treatment"]
    assert set(arms["stages"]["models"]["train_s"]) == {row["model"] for row in rows}
    overall = {(r["model"], r["task"]): r for r in rows if r["segment"] == "overall"}
    for arm in ("control", "treatment"):
        corrected, plain = overall[arm, GIVEN], overall[f"{arm}, uncorrected", GIVEN]
        assert plain["effective_share"] is None
        assert corrected["effective_share"] < 1
        corrected, plain = overall[arm, "click"], overall[f"{arm}, uncorrected", "click"]
        assert plain["true_calibration"] < 0.9  # slots are a feature among many
        assert corrected["true_calibration"] == pytest.approx(1, abs=0.06)


def test_slots_are_randomised_and_said_to_be_while_the_log_is_collected_and_never_after(arms):
    query = "SELECT request, randomised FROM read_parquet(?)"
    log = columns(query, Path(arms["folder"]) / "log/requests/*.parquet")
    later = columns(query, arms["simulated"] / "simulations/control/log/requests/*.parquet")

    shuffle = Shuffle(0.5, load_scenario(TINY).seed)
    n = len(log["request"])
    assert abs(log["randomised"].mean() - 0.5) < 4 * sqrt(0.25 / n)
    assert np.array_equal(log["randomised"], shuffle.chosen(log["request"]))
    assert len(later["randomised"]) > 1_000 and not later["randomised"].any()


def test_where_slots_are_randomised_the_first_rankers_order_is_lost(arms):
    """Of ads that pay by impression, prices fall from slot to slot; of shuffled requests they do not."""
    found = columns(
        """SELECT r.randomised, i.slot, i.pctr FROM read_parquet(?) i JOIN read_parquet(?) r USING (request)""",
        Path(arms["folder"]) / "log/impressions/*.parquet", Path(arms["folder"]) / "log/requests/*.parquet",
    )  # fmt: skip

    mean = {
        (shuffled, slot): found["pctr"][(found["randomised"] == shuffled) & (found["slot"] == slot)].mean()
        for shuffled in (False, True) for slot in range(3)
    }  # fmt: skip
    assert mean[False, 0] > 1.05 * mean[False, 2]
    assert mean[True, 0] == pytest.approx(mean[True, 2], rel=0.04)


def sold(n: int, winners: list[int]) -> Allocation:
    """The same winners in every auction, each at a price of its own."""
    winner = np.tile(np.array(winners, np.int64), (n, 1))
    price = np.where(winner >= 0, 1_000 * (winner + 1) + np.arange(n)[:, None] % 7, 0)
    return Allocation(winner=winner, price_micros=price)


def test_a_share_of_none_changes_nothing():
    request, allocation = np.arange(1_000) * 977, sold(1_000, [5, 2, 9])

    got = Shuffle(0.0, 3)(request, sold(1_000, [5, 2, 9]))

    assert np.array_equal(got.winner, allocation.winner)
    assert np.array_equal(got.price_micros, allocation.price_micros)
    assert not Shuffle().chosen(request).any()


def test_winners_change_places_with_their_prices_in_the_chosen_requests_alone():
    request, before = np.arange(4_000) * 977, sold(4_000, [5, 2, 9, -1])
    shuffle = Shuffle(0.3, 3)

    got = shuffle(request, sold(4_000, [5, 2, 9, -1]))

    chosen = shuffle.chosen(request)
    assert abs(chosen.mean() - 0.3) < 4 * sqrt(0.21 / 4_000)
    assert np.array_equal(got.winner[~chosen], before.winner[~chosen])
    assert np.array_equal(np.sort(got.winner, axis=1), np.sort(before.winner, axis=1))
    assert (got.winner[:, 3] == -1).all() and (got.price_micros[:, 3] == 0).all()  # an empty slot stays last
    for place in range(3):
        column = got.winner[:, place]
        assert np.array_equal(got.price_micros[:, place], 1_000 * (column + 1) + np.arange(4_000) % 7)
    assert (got.winner[chosen] != before.winner[chosen]).any(axis=1).mean() > 0.7


def test_all_orders_are_equally_likely_whatever_the_share():
    request = np.arange(60_000) * 31 + 7

    for share in (1.0, 0.4):
        shuffle = Shuffle(share, 11)
        chosen = shuffle.chosen(request)
        got = [tuple(row) for row in shuffle(request, sold(60_000, [4, 1, 6])).winner[chosen].tolist()]
        counts = [got.count(order) for order in permutations([4, 1, 6])]
        assert sum(counts) == chosen.sum()
        assert chisquare(counts).pvalue > 1e-4


def test_an_order_is_of_the_request_and_the_seed_alone():
    request = np.arange(500) * 31
    whole = Shuffle(1.0, 11)(request, sold(500, [4, 1, 6])).winner

    backwards = Shuffle(1.0, 11)(request[::-1].copy(), sold(500, [4, 1, 6])).winner[::-1]

    assert np.array_equal(backwards, whole)
    assert not np.array_equal(Shuffle(1.0, 12)(request, sold(500, [4, 1, 6])).winner, whole)


@pytest.mark.parametrize(("tick", "threads"), [(7, 2), (1_000, 1)])
def test_a_log_with_shuffled_slots_is_the_same_for_every_tick_size_and_number_of_threads(
    tiny, world, tmp_path, tick, threads
):
    half = tiny.model_copy(update={"log": tiny.log.model_copy(update={"randomised_share": 0.5})})

    def digest(name: str, share, **pace) -> str:
        with LogRecorder(
            tmp_path / name, log_schema(tiny.world), world.population.content, 0.05, tiny.seed
        ) as recorder:
            simulate(
                share, world, (first_ranker(share),), everyone(tiny.world.population.users), new_state(share, world), recorder,
                first_day=0, days=1, **pace,
            )  # fmt: skip
            return recorder.digest()

    expected = digest("a", half)

    assert digest("b", half, tick_requests=tick, threads=threads) == expected
    assert digest("c", tiny) != expected


def test_what_is_still_to_come_is_the_orders_under_way_when_the_log_ends(finished, tiny, world):
    state = load_state(tiny, world, finished.folder / "state")
    kept = columns("SELECT * FROM read_parquet(?)", finished.folder / COMING)
    end = tiny.calendar.log_days * DAY_MS

    assert len(kept["time_ms"]) == len(state.orders) > 50
    same = ("time_ms", "request", "ad", "event", "click_ms", "attributed")
    assert sorted(zip(*(kept[n].tolist() for n in same), strict=True)) == sorted(
        zip(*(state.orders[n].tolist() for n in same), strict=True)
    )
    assert kept["time_ms"].min() >= end and (np.diff(kept["time_ms"]) >= 0).all()
    assert kept["click_ms"].max() < end
    logged = columns("SELECT max(time_ms) AS last FROM read_parquet(?)", finished.folder / "log/conversions/*.parquet")
    assert logged["last"][0] < end


def test_final_labels_are_those_that_a_longer_log_would_have_shown(finished, tiny, world):
    """The test's days go on from the log: what came in them, of the log's clicks, was still to come when it ended."""
    end = tiny.calendar.log_days * DAY_MS
    now = read_log(finished.folder / "log", end)
    final = read_log(finished.folder / "log", end, coming=finished.folder / COMING)
    came = columns(
        "SELECT DISTINCT request, ad FROM read_parquet(?) WHERE attributed AND click_ms >= 0 AND click_ms < ?",
        finished.folder / "simulations/control/log/conversions/*.parquet", end,
    )  # fmt: skip

    gained = final.conversion & ~now.conversion & now.click
    in_the_test = final.time_ms[:, None] + final.delay_ms < end + tiny.calendar.test_days * DAY_MS
    assert (now.conversion <= final.conversion).all()
    assert (gained & in_the_test).sum() == len(came["request"]) > 20
    assert (gained & ~in_the_test).any()


@pytest.fixture(scope="module", params=["pbm", "cascade"])
def market(request, tmp_path_factory):
    """A run up to its log, of two surfaces and every goal, and its last day."""
    scenario = load_scenario(
        TINY,
        [
            f'world.feed.model="{request.param}"',
            'world.feed.surfaces=[{name="feed", share=0.6}, {name="strip", share=0.4, attention=0.5}]',
            "world.campaigns.click_goal_share=0.3",
            "world.campaigns.cart_goal_share=0.25",
            "world.campaigns.sign_up_goal_share=0.2",
            "world.marginals.sign_up_rate=0.1",
            "auction.attribution_days=1",
        ],
    )
    with new_run(scenario, "generate", tmp_path_factory.mktemp("markets")) as draft:
        complete(draft, None, "log", (), Pace(), lambda what, share: None)
    run = open_run(draft.folder)
    days = scenario.calendar.log_days
    return scenario, run.folder, read_log(run.folder / "log", days * DAY_MS, start_ms=(days - 1) * DAY_MS)


@pytest.fixture(scope="module")
def by_hand(market) -> dict[str, np.ndarray]:
    """The truth file's rows of the last day beside the log's, in the order of the log."""
    _, folder, data = market
    return columns(
        """SELECT t.*, i.campaign, i.goal, i.time_ms, r.surface
        FROM read_parquet(?) t JOIN read_parquet(?) i USING (request, slot) JOIN read_parquet(?) r USING (request)
        WHERE i.time_ms >= ? ORDER BY i.time_ms, request, slot""",
        folder / "truth/impressions/*.parquet", folder / "log/impressions/*.parquet", folder / "log/requests/*.parquet",
        int(data.time_ms[0]),
    )  # fmt: skip


def test_the_true_click_on_top_is_a_look_at_the_surfaces_top_slot_and_a_click(market, by_hand):
    scenario, folder, data = market

    rates = true_rates(scenario, folder, data)

    attention = np.array([1.0, 0.5])[by_hand["surface"]]
    assert set(by_hand["surface"].tolist()) == {0, 1}
    assert rates.click_on_top[data.shown] == pytest.approx(attention * by_hand["click"], rel=1e-6)
    assert rates.click[data.shown] == pytest.approx(by_hand["examination"] * by_hand["click"], rel=1e-6)
    top = data.shown[:, 0]
    assert rates.click[top, 0] == pytest.approx(rates.click_on_top[top, 0], rel=1e-5)
    below = data.shown[:, 1:]
    assert (rates.click[:, 1:][below] < rates.click_on_top[:, 1:][below]).all()
    assert not rates.click[~data.shown].any() and not rates.click_on_top[~data.shown].any()


def test_the_true_conversion_is_that_of_the_campaigns_goal_within_the_window(market, by_hand):
    """Each goal by hand; checkouts and sign-ups wait by a mixture whose slow part is the campaign's own."""
    scenario, folder, data = market
    world = load_world(scenario, folder / "truth")
    delay, hours = world.population.campaigns.delay, 24.0

    def within(event: int, campaign: int) -> float:
        law = world.laws.delays[event]
        slow = 1 - exp(-hours / (law.slow_mean_h * delay[campaign]))
        return law.fast_share * (1 - exp(-hours / law.fast_mean_h)) + (1 - law.fast_share) * slow

    got = true_rates(scenario, folder, data).conversion[data.shown]

    seen = set()
    for i in range(0, len(got), 7):
        cart, checkout, sign_up = (float(by_hand[name][i]) for name in ("cart", "checkout", "sign_up"))
        goal, campaign = GOALS[by_hand["goal"][i]], by_hand["campaign"][i]
        expected = {
            "click": cart * checkout * within(CHECKOUT, campaign),
            "cart": cart,
            "checkout": cart * checkout * within(CHECKOUT, campaign),
            "sign_up": sign_up * within(SIGN_UP, campaign),
        }[goal]
        assert got[i] == pytest.approx(expected, rel=1e-5)
        seen.add(goal)
    assert seen == set(GOALS)
    assert len({round(within(CHECKOUT, c), 6) for c in range(10)}) > 1 or np.ptp(delay) == 0


def test_the_truth_is_what_clicks_and_final_labels_come_to(market):
    """Of all days: as many clicks and conversions as it expects, within chance."""
    scenario, folder, data = market
    final = read_log(folder / "log", int(data.time_ms[-1]) + 1, coming=folder / COMING)

    rates = true_rates(scenario, folder, final)

    for p, label, rows in ((rates.click, final.click, final.shown), (rates.conversion, final.conversion, final.click)):
        assert abs(label[rows].sum() - p[rows].sum()) < 4 * sqrt((p * (1 - p))[rows].sum())
        assert label[rows].sum() > 100


def test_a_log_that_is_not_the_truths_is_refused(market):
    scenario, folder, data = market
    some = replace(data, batch=replace(data.batch, row=np.where(data.batch.slot > 0, np.int32(-1), data.batch.row)))

    with pytest.raises(Refused, match=r"the truth of .* has \d+ impressions, its log \d+"):
        true_rates(scenario, folder, some)
