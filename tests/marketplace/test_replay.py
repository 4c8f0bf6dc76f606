"""Auctions held again from the log: winners and prices to the micro, whatever the rules; what other bids would have won."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from auction.types import MICROS
from marketplace.advertisers import advertisers_of
from marketplace.designs import assignment_of
from marketplace.errors import Refused
from marketplace.landscape import FACTORS, landscape
from marketplace.market import first_ranker, served_arms
from marketplace.one_request import replay
from marketplace.record import LogRecorder
from marketplace.replay import MECHANISMS, arms_of, hold, logged, read_auctions, rules_of, same, whole_requests
from marketplace.scenario import load_scenario
from marketplace.schema import log_schema
from marketplace.simulate import simulate
from marketplace.slices import LOG, simulation_of
from marketplace.state import new_state
from synth.campaigns import PRICINGS

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
FEW = 250  # users who come
RANKERS = ("experiment.arms.control.model=first_ranker", "experiment.arms.treatment.model=first_ranker")
SETTINGS = {
    "gsp": (),
    "squash": ("auction.squash=0.5",),
    "first_price": ("auction.mechanism=first_price", "auction.reserve_cpm_usd=0.004"),
    "vcg": ("auction.mechanism=vcg", "auction.reserve_cpc_usd=0.2", "auction.reserve_cpa_usd=1.0"),
    "arms of their own": ("experiment.arms.treatment.mechanism=first_price", "experiment.arms.treatment.squash=0.7"),
    "throttling": ("pacing.pacer=throttling",),
    "withheld": ("experiment.arms.treatment.withhold=[0, 1, 2, 3, 4, 5, 6, 7]",),
    "cascade": (
        "experiment.arms.treatment.cascade={light='first_ranker', retrieved=20, ranked=12, auctioned=6}",
        "experiment.arms.treatment.bid_factor=1.5",
    ),
    "advertisers": ("experiment.design=advertisers", "experiment.arms.treatment.bid_factor=1.3"),
    "budgets": ("experiment.design=budgets", "world.campaigns.daily_budget_usd=35.0"),
}


def served(world, overrides, folder: Path, budget_share: float = 0.02):
    """A day of a test whose auctions are all logged, with budgets so small that some run out."""
    scenario = load_scenario(TINY, [*RANKERS, *overrides])
    assignment = assignment_of(scenario, world, 0)
    with LogRecorder(folder, log_schema(scenario.world), world.population.content, 1.0, scenario.seed) as recorder:
        simulate(
            scenario, world, served_arms(scenario, {}), assignment, new_state(scenario, world, budget_share=budget_share),
            recorder, first_day=0, days=1, users=FEW,
        )  # fmt: skip
        recorder.digest()
    return scenario


def all_whole(simulation: Path, arm: int):
    return read_auctions(simulation, np.array([row["request"] for row in whole_requests(simulation, arm, 10**6)]))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_logged_auction_comes_to_the_logged_winners_and_prices_to_the_micro(world, tmp_path, setting):
    scenario = served(world, SETTINGS[setting], tmp_path)
    own, held = advertisers_of(scenario), 0
    for arm, rules in enumerate(rules_of(scenario, "ab")):
        auctions = all_whole(tmp_path, arm)
        if not len(auctions.request):  # where advertisers are split, one arm's rules hold all auctions
            assert setting == "advertisers"
            continue
        sold = hold(rules, auctions, own)
        assert same(sold, logged(tmp_path, auctions, 3)).all()
        row, slot = np.nonzero(sold.winner >= 0)
        assert (auctions.slot[row, sold.winner[row, slot]] == slot).all()
        held += len(auctions.request)

    shown = duckdb.sql(f"SELECT count(*), count(DISTINCT request) FROM '{tmp_path}/log/requests/*.parquet'").fetchall()[
        0
    ]
    assert held == shown[0] > 100
    assert duckdb.sql(f"SELECT max(price_micros) FROM '{tmp_path}/log/impressions/*.parquet'").fetchall()[0][0] > 0


def test_winners_put_in_the_slots_at_random_are_found_in_the_same_slots(tiny, world, tmp_path):
    scenario = load_scenario(TINY, ["log.randomised_share=0.5"])
    assignment = assignment_of(tiny, world, 0)
    with LogRecorder(tmp_path, log_schema(tiny.world), world.population.content, 1.0, tiny.seed) as recorder:
        simulate(
            scenario, world, (first_ranker(scenario),), assignment._replace(of_request=lambda r: np.zeros(len(r), np.int32)),
            new_state(scenario, world), recorder, first_day=0, days=1, users=FEW,
        )  # fmt: skip
        recorder.digest()
    auctions, own = all_whole(tmp_path, 0), advertisers_of(scenario)
    (rules,) = rules_of(scenario, LOG)
    (in_order,) = rules_of(tiny, LOG)
    real = logged(tmp_path, auctions, 3)

    assert same(hold(rules, auctions, own), real).all()
    assert not same(hold(in_order, auctions, own), real).all()


def test_every_whole_auction_of_a_finished_run_is_reproduced_in_every_simulation(finished):
    scenario = load_scenario(finished.folder / "scenario.json")
    own = advertisers_of(scenario)
    for name in (*scenario.simulations, LOG):
        simulation, held = simulation_of(finished.folder, name), 0
        for arm, rules in enumerate(rules_of(scenario, name)):
            auctions = all_whole(simulation, arm)
            assert same(hold(rules, auctions, own), logged(simulation, auctions, 3)).all()
            held += len(auctions.request)
        there = duckdb.sql(f"SELECT count(DISTINCT request) FROM '{simulation}/log/candidates/*.parquet'").fetchall()[0]
        assert held == there[0] > 20
        assert len(arms_of(scenario, name)) == len(rules_of(scenario, name))


def test_a_lower_reserve_than_that_of_the_scenario_is_found_out(world, tmp_path):
    scenario = served(world, ("auction.reserve_cpc_usd=1.5", "auction.reserve_cpa_usd=6.0"), tmp_path, budget_share=1.0)
    without = advertisers_of(load_scenario(TINY))
    auctions = all_whole(tmp_path, 0)
    rules, real = rules_of(scenario, "ab")[0], logged(tmp_path, auctions, 3)

    assert same(hold(rules, auctions, advertisers_of(scenario)), real).all()
    assert not same(hold(rules, auctions, without), real).all()


def test_the_advertisers_drawn_without_users_are_those_of_the_world(tiny, world):
    own, campaigns = advertisers_of(tiny), world.population.campaigns

    for mine, theirs in zip(own.campaigns, campaigns, strict=True):
        assert np.array_equal(mine, theirs)
    assert np.array_equal(own.ad_campaign, world.population.ads.campaign)
    assert own.delays == world.laws.delays


@pytest.fixture
def two_bidders(tiny, tmp_path):
    """Three requests: campaign 0 bids 2 against 1 of campaign 1; 0 has no bid; 1 is alone. Both pay per click."""
    own = advertisers_of(tiny)
    cpc = np.full_like(own.campaigns.pricing, PRICINGS.index("cpc"))
    own = own._replace(campaigns=own.campaigns._replace(pricing=cpc))
    candidates = pd.DataFrame(
        {
            "request": [1, 1, 2, 2, 3], "time_ms": 5, "rank": [0, 1, 0, 1, 0], "ad": [0, 3, 0, 3, 3],
            "pctr": np.float32([0.1, 0.1, 0.1, 0.1, 0.1]), "pcvr": np.float32(0.2), "bid_usd": [2.0, 1.0, 0.0, 1.0, 1.0],
            "quality": [0.1, 0.1, 1.0, 0.1, 0.1], "multiplier": 1.0, "slot": [0, 1, -1, 0, 0],
        }
    )  # fmt: skip
    requests = pd.DataFrame({"request": [1, 2, 3], "arm": 0})
    for name, table in (("candidates", candidates), ("requests", requests)):
        (tmp_path / "log" / name).mkdir(parents=True)
        table.to_parquet(tmp_path / "log" / name / "day=0000.parquet")
    return own, tmp_path


def test_a_landscape_worked_by_hand(tiny, two_bidders):
    """With a bid of 2, campaign 0 takes the top slot at the other's score, 1; below half of it the second slot for nothing."""
    own, folder = two_bidders
    rules = rules_of(tiny, "ab")[0]

    rows = {row["factor"]: row for row in landscape(folder, rules, own, [1.0, 0.7, 0.5], 0, 0)}

    assert list(rows) == list(FACTORS)
    for factor, row in rows.items():
        top = factor >= 0.5  # ties go to the one that came first
        assert (row["auctions"], row["there"], row["won"]) == (1, 1, 1.0)
        assert row["price_usd"] == pytest.approx(1.0 if top else 0.0)
        assert row["clicks"] == pytest.approx(100.0 if top else 70.0)
        assert row["spend_usd"] == pytest.approx(100.0 if top else 0.0)


def test_a_campaign_without_a_bid_in_any_whole_auction_has_no_landscape(tiny, two_bidders):
    own, folder = two_bidders

    assert landscape(folder, rules_of(tiny, "ab")[0], own, [1.0, 0.7, 0.5], 0, 2) == []


def test_at_its_own_bids_a_campaign_wins_what_it_won_and_more_at_higher_ones(finished):
    scenario = load_scenario(finished.folder / "scenario.json")
    simulation, own = simulation_of(finished.folder, LOG), advertisers_of(scenario)
    candidates = pd.read_parquet(simulation / "log" / "candidates").query("bid_usd > 0")
    candidates["campaign"] = own.ad_campaign[candidates["ad"]]
    campaign = int(candidates.query("slot >= 0")["campaign"].mode()[0])
    mine = candidates[candidates["campaign"] == campaign]
    won = mine.groupby("request")["slot"].max() >= 0
    prices = pd.read_parquet(simulation / "log" / "impressions", columns=["request", "ad", "price_micros"])
    paid = mine.query("slot >= 0").merge(prices, on=["request", "ad"])["price_micros"]

    rows = landscape(simulation, rules_of(scenario, LOG)[0], own, scenario.world.feed.slot_effect, 0, campaign)

    now = next(row for row in rows if row["factor"] == 1.0)
    assert (now["there"], now["won"]) == (len(won), pytest.approx(won.mean()))
    assert now["price_usd"] == pytest.approx(paid.mean() / MICROS)
    for name in (
        "won",
        "clicks",
        "spend_usd",
    ):  # gsp: a higher bid keeps or betters each slot, at the price of that slot
        assert (np.diff([row[name] for row in rows]) >= -1e-12).all()
    assert rows[0]["won"] < rows[-1]["won"]


@pytest.fixture
def one(finished):
    """A request of the finished run's A/B, replayed, and the log's own rows of it."""
    scenario = load_scenario(finished.folder / "scenario.json")
    simulation = simulation_of(finished.folder, "ab")
    candidates = pd.read_parquet(simulation / "log" / "candidates").merge(
        pd.read_parquet(simulation / "truth" / "candidates"), on=["request", "rank"]
    )
    request = int(candidates.query("slot >= 0").groupby("request").size().idxmax())
    own = advertisers_of(scenario)
    rows = candidates[candidates["request"] == request]
    return replay(simulation, scenario, own, "ab", request), rows, own, simulation


def test_a_replayed_request_shows_what_was_logged_of_its_candidates_and_their_truth(one):
    found, rows, own, _ = one

    assert found.same
    assert len(found.candidates) == len(rows)
    for row in found.candidates:
        logged_row = rows[rows["rank"] == row["rank"]].iloc[0]
        for name in ("ad", "pctr", "pcvr", "bid_usd", "quality", "multiplier"):
            assert row[name] == logged_row[name]
        campaign = own.campaigns
        goal = {"checkout": logged_row["cart"] * logged_row["checkout"], "cart": logged_row["cart"]}[row["goal"]]
        assert row["pricing"] == PRICINGS[campaign.pricing[row["campaign"]]]
        assert row["true_ctr"] == pytest.approx(logged_row["click"])
        assert row["true_cvr"] == pytest.approx(goal, rel=1e-6)
        event = {"cpc": row["true_ctr"], "cpa": row["true_ctr"] * row["true_cvr"]}.get(row["pricing"], 1.0)
        assert row["true_ecpm_usd"] == pytest.approx(1000 * row["bid_usd"] * event)
        assert (-1 if row["slot"] is None else row["slot"]) == logged_row["slot"]
        assert (row["state"] == "shown") == (logged_row["slot"] >= 0)
    scored = [row["score"] for row in found.candidates if row["place"] is not None]
    assert scored == sorted(scored, reverse=True)


def test_a_surface_that_half_of_the_users_look_at_halves_the_true_clicks(finished, one):
    found, _, own, simulation = one
    scenario = load_scenario(
        finished.folder / "scenario.json", ["world.feed.surfaces=[{name='feed', share=1, attention=0.5}]"]
    )

    dim = replay(simulation, scenario, own, "ab", found.about["request"])
    for row, before in zip(dim.candidates, found.candidates, strict=True):
        assert row["true_ctr"] == before["true_ctr"] / 2
        assert row["true_cvr"] == before["true_cvr"]


def test_mechanisms_differ_by_price_alone_and_first_price_asks_most_and_vcg_least(one):
    found, rows, _, simulation = one
    by_name = {name: [row for row in found.mechanisms if row["mechanism"] == name] for name in MECHANISMS}

    first, second, vcg = by_name["first_price"], by_name["gsp"], by_name["vcg"]
    assert [row["ad"] for row in first] == [row["ad"] for row in second] == [row["ad"] for row in vcg]
    for most, between, least in zip(first, second, vcg, strict=True):
        assert most["price_usd"] >= between["price_usd"] >= least["price_usd"]
        assert most["price_usd"] == pytest.approx(most["bid_usd"], abs=1e-6)
    assert by_name["second_price"] == [second[0] | {"mechanism": "second_price"}]
    impressions = pd.read_parquet(simulation / "log" / "impressions").query(f"request == {rows['request'].iloc[0]}")
    paid = dict(zip(impressions["ad"], impressions["price_micros"], strict=True))
    assert {row["ad"]: round(row["price_usd"] * MICROS) for row in second} == paid


def test_revenue_of_a_request_is_price_times_the_chance_that_it_falls_due(one):
    found = one[0]
    by_ad = {row["ad"]: row for row in found.candidates}
    effect = [1.0, 0.7, 0.5]

    for total in found.totals:
        own = [row for row in found.mechanisms if row["mechanism"] == total["mechanism"]]
        for name, chance in (("expected_usd", "quality"), ("true_usd", "true_quality")):
            due = [
                row["price_usd"] * (by_ad[row["ad"]][chance] * effect[row["slot"]] if row["pricing"] in ("cpc", "cpa") else 1)
                for row in own
            ]  # fmt: skip
            assert total[name] == pytest.approx(sum(due))


def test_a_request_that_was_not_logged_whole_is_refused_by_name(finished):
    scenario = load_scenario(finished.folder / "scenario.json")
    simulation, own = simulation_of(finished.folder, "ab"), advertisers_of(scenario)
    query = f"SELECT min(request) FROM '{simulation}/log/requests/*.parquet' WHERE request NOT IN ("
    (other,) = duckdb.sql(f"{query} SELECT request FROM '{simulation}/log/candidates/*.parquet')").fetchall()[0]

    with pytest.raises(Refused, match=f"request {other}: its auction was not logged whole in simulation ab"):
        replay(simulation, scenario, own, "ab", other)
    with pytest.raises(Refused, match="request 1: there is none in simulation ab"):
        replay(simulation, scenario, own, "ab", 1)
