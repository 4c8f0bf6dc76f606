"""The world's events in the market: goals, values, orders without a click, orders without an ad, shards."""

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from ticks import Ticks

from auction.pricing import Pricing
from marketplace.assignment import everyone
from marketplace.bids import campaign_terms
from marketplace.counters import NAMES
from marketplace.market import first_ranker
from marketplace.record import LogRecorder
from marketplace.scenario import load_scenario
from marketplace.schema import log_schema
from marketplace.serve import offers_of
from marketplace.simulate import simulate
from marketplace.state import new_state
from synth.affinity import NEVER
from synth.campaigns import GOALS, PRICINGS
from synth.traffic import expected_share
from synth.types import CHECKOUT, DAY_MS
from synth.world import populate, rebuild

ROOT = Path(__file__).parents[2]
TINY = ROOT / "scenarios" / "tiny.toml"


def run(world, *overrides, days=2, folder=None):
    """The scenario's first days in `world`; ticks, or the log's digest where a folder is given."""
    scenario = load_scenario(TINY, overrides)
    users, arms, state = (
        everyone(scenario.world.population.users),
        (first_ranker(scenario),),
        new_state(scenario, world),
    )
    if folder:
        with LogRecorder(folder, log_schema(scenario.world), world.population.content, 0.1, 1) as recorder:
            simulate(scenario, world, arms, users, state, recorder, first_day=0, days=days)
            return recorder.digest()
    seen = Ticks()
    simulate(scenario, world, arms, users, state, seen, first_day=0, days=days)
    return scenario, seen.ticks


def with_campaigns(world, **changes):
    population = world.population
    return replace(world, population=replace(population, campaigns=population.campaigns._replace(**changes)))


def test_the_log_is_the_same_for_users_drawn_in_one_shard_in_two_and_in_eight(tiny, world, tmp_path):
    whole = run(world, folder=tmp_path / "whole")

    for shards in (1, 2, 8):
        population = populate(tiny.world, tiny.seed, shard=-(-tiny.world.population.users // shards))
        assert run(rebuild(population, world.solved, []), folder=tmp_path / str(shards)) == whole


def test_a_campaign_that_aims_at_clicks_bids_for_them_whatever_they_lead_to(tiny, world):
    n = len(world.population.campaigns.goal)
    ocpm = np.full(n, PRICINGS.index("ocpm"), np.int32)
    clicks = with_campaigns(world, pricing=ocpm, goal=np.full(n, GOALS.index("click"), np.int32))
    _, (tick, *_) = run(clicks, days=1)
    terms = campaign_terms(tiny, clicks)

    offers = offers_of(tick.scored, terms, np.ones(n), np.ones(n, bool))

    there = tick.scored.campaign >= 0
    expected = terms.bid_usd[tick.scored.campaign] * tick.scored.pctr
    assert offers.bid[there] == pytest.approx(expected[there], rel=1e-6)


def test_a_campaign_priced_by_value_bids_for_the_value_of_its_stores_orders(tiny, world):
    n = len(world.population.campaigns.goal)
    by_value = with_campaigns(world, pricing=np.full(n, PRICINGS.index("value"), np.int32), bid_usd=np.full(n, 0.2))
    _, (tick, *_) = run(by_value, days=1)
    terms = campaign_terms(tiny, by_value)

    offers = offers_of(tick.scored, terms, np.ones(n), np.ones(n, bool))

    there, store = tick.scored.ad >= 0, world.population.ads.store[tick.scored.ad]
    value = tiny.world.marginals.basket_usd * np.exp(world.population.stores.log_price[store].astype(float))
    assert offers.bid[there] == pytest.approx((0.2 * tick.scored.pctr * tick.scored.pcvr * value)[there], rel=1e-5)


@pytest.mark.parametrize("goal", ["cart", "sign_up"])
def test_a_conversion_is_the_campaigns_goal_and_charged_then(world, goal):
    n = len(world.population.campaigns.goal)
    solved = world.solved._replace(intercepts=world.intercepts._replace(sign_up=-1.0))
    changed = with_campaigns(
        rebuild(world.population, solved, []), goal=np.full(n, GOALS.index(goal), np.int32),
        pricing=np.full(n, Pricing.CPA, np.int32),
    )  # fmt: skip
    _, ticks = run(changed)
    orders = np.concatenate([tick.placed.orders for tick in ticks])
    due = np.concatenate([tick.placed.billed_micros + tick.placed.unbilled_micros for tick in ticks])

    event = ("cart", "checkout", "sign_up").index(goal)
    assert orders["attributed"].any() and (orders["event"] != event).any()
    assert (orders["attributed"] == (orders["event"] == event)).all()
    assert (due == orders["price_micros"]).all() and not due[~orders["attributed"]].any()
    assert (due > 0)[orders["attributed"]].mean() > 0.5  # the others met no competitor


def test_an_order_without_a_click_counts_inside_the_window_after_a_view(world):
    solved = world.solved._replace(intercepts=world.intercepts._replace(post_view=-4.0))
    changed = rebuild(world.population, solved, [])

    def unclicked(view_days):
        _, ticks = run(changed, f"auction.view_attribution_days={view_days}")
        orders = np.concatenate([tick.placed.orders for tick in ticks])
        found = orders[orders["click_ms"] < 0]
        assert len(found) > 50 and (found["event"] == CHECKOUT).all()
        return found

    assert not unclicked(0)["attributed"].any()
    some = unclicked(0.25)
    assert (some["attributed"] == (some["time_ms"] - some["shown_ms"] <= DAY_MS / 4)).all()
    assert 0 < some["attributed"].mean() < 1


def test_switched_off_events_never_happen(world):
    assert world.intercepts.sign_up == world.intercepts.post_view == NEVER
    _, ticks = run(world)
    orders = np.concatenate([tick.placed.orders for tick in ticks])

    assert set(np.unique(orders["event"])) == {0, 1} and (orders["click_ms"] >= 0).all()


def test_organic_orders_are_logged_unless_an_order_after_an_ad_took_their_place(tiny, world, tmp_path):
    run(world, folder=tmp_path, days=3)
    with duckdb.connect() as db:

        def table(part, name):
            return (
                db.sql(f"SELECT * FROM read_parquet('{tmp_path / part / name}/*.parquet')")
                .arrow()
                .read_all()
                .to_pandas()
            )

        organic, truth = table("log", "organic"), table("truth", "requests")

    placed = truth[(truth.organic_store >= 0) & ~truth.displaced]
    assert organic.request.tolist() == placed.request.tolist()
    assert organic.store.tolist() == placed.organic_store.tolist()
    assert truth.displaced.sum() > 0 and (truth.organic_store[truth.displaced] >= 0).all()
    wanted = (truth.organic_store >= 0).sum()
    expected = float(truth.organic.sum())
    assert wanted == pytest.approx(expected, abs=4 * expected**0.5)


def test_ads_off_the_air_compete_for_nothing(world):
    _, ticks = run(world, days=1)
    for tick in ticks[:: len(ticks) // 10]:
        start = int(tick.scored.requests.time_ms[0]) if len(tick.scored.requests) else 0
        live = world.population.live(start // (30 * 60_000) * 30 * 60_000)
        assert live[tick.scored.ad[tick.scored.ad >= 0]].all()
    assert not world.population.live(0).all()


def test_a_campaign_plans_its_days_budget_for_the_traffic_of_its_own_time_on_the_air(world):
    """Half on the air from noon only, a third paused in the first week: the plan follows, and adds up to each day's budget."""
    population = world.population
    n = len(population.campaigns.bid_usd)
    afternoon = np.arange(n) % 2 == 0
    changed = with_campaigns(
        world,
        dayparts=np.where(afternoon, 0b111000, 0b111111), flight=np.where(np.arange(n) % 3 == 0, 7, -1),
    )  # fmt: skip
    scenario = load_scenario(TINY)
    result = simulate(
        scenario, changed, (first_ranker(scenario),), everyone(scenario.world.population.users),
        new_state(scenario, changed), Ticks(), first_day=6, days=2,
    )  # fmt: skip
    planned = result.spending.planned_usd.reshape(2, 48, n)  # by day, interval of half an hour, campaign

    paused = np.arange(n) % 3 == 0
    assert (planned[:, :24, afternoon] == 0).all()
    assert (planned[0][:, paused] == 0).all()
    budget = population.campaigns.daily_budget_usd
    assert planned[1].sum(axis=0) == pytest.approx(budget, rel=1e-4)
    assert planned[0].sum(axis=0)[~paused] == pytest.approx(budget[~paused], rel=1e-4)
    traffic = [expected_share(scenario.world.traffic, h * 1_800_000, (h + 1) * 1_800_000) for h in range(48)]
    all_day = ~afternoon & ~paused
    assert planned[0][:, all_day] == pytest.approx(np.outer(traffic, budget[all_day]), rel=1e-4, abs=1e-5)


def test_click_through_figures_leave_out_orders_without_a_click(world):
    solved = world.solved._replace(intercepts=world.intercepts._replace(post_view=-4.0))
    changed = rebuild(world.population, solved, [])
    scenario = load_scenario(TINY, ["auction.view_attribution_days=1"])
    seen = Ticks()
    result = simulate(
        scenario, changed, (first_ranker(scenario),), everyone(scenario.world.population.users),
        new_state(scenario, changed), seen, first_day=0, days=2,
    )  # fmt: skip
    orders = np.concatenate([tick.placed.orders for tick in seen.ticks])
    attributed = orders[orders["attributed"]]
    total = dict(zip(NAMES, result.counters.table().sum(axis=0), strict=True))

    assert total["conversions"] == len(attributed)
    assert total["click_conversions"] == (attributed["click_ms"] >= 0).sum() < total["conversions"]
