"""Every mechanism and pacer that a scenario can name, run for a day of the tiny market."""

from pathlib import Path

import numpy as np
import pytest
from ticks import Ticks

from auction import first_price, gsp, vcg
from marketplace.arm import mechanism_of
from marketplace.assignment import everyone
from marketplace.bids import campaign_terms
from marketplace.errors import Refused
from marketplace.market import first_ranker
from marketplace.scenario import PacingConfig, load_scenario
from marketplace.serve import offers_of
from marketplace.simulate import simulate
from marketplace.state import load_state, new_state, pacer_of, save_state

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"


def one_day(world, *overrides):
    """A day with a tenth of every budget, so that pacing has work to do."""
    scenario = load_scenario(TINY, overrides)
    state, seen = new_state(scenario, world, budget_share=0.1), Ticks()
    arms = (first_ranker(scenario),)
    simulate(scenario, world, arms, everyone(scenario.world.population.users), state, seen, first_day=0, days=1)
    return scenario, state, seen.ticks


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gsp", lambda bid, quality, reserve, effect: gsp(bid, quality, n_slots=len(effect), reserve=reserve)),
        ("first_price", lambda b, q, r, effect: first_price(b, q, n_slots=len(effect), reserve=r)),
        ("vcg", lambda bid, quality, reserve, effect: vcg(bid, quality, slot_effect=effect, reserve=reserve)),
    ],
)
def test_a_scenarios_mechanism_sets_its_prices(world, name, rule):
    scenario, _, ticks = one_day(
        world, f"auction.mechanism={name}", "auction.reserve_cpc_usd=0.05", "pacing.pacer=none"
    )
    tick = ticks[0]
    first = rule(*tick.offers[:3], np.array(scenario.world.feed.slot_effect))

    # bids of a campaign that runs out are taken away from the whole rest of the tick, so only requests before that compare
    same = (first.winner == tick.shown.column).all(axis=1)
    assert same.mean() > 0.5
    assert np.array_equal(first.price_micros[same], tick.shown.price_micros[same])


def test_second_price_is_for_one_slot(world):
    scenario = load_scenario(TINY, ["auction.mechanism=second_price", "world.feed.slot_effect=[1.0]"])
    rule = mechanism_of(scenario.auction, scenario.world.feed.slot_effect)

    assert rule(np.array([[3.0, 2.0]]), np.ones((1, 2)), np.zeros((1, 2))).price_micros.tolist() == [[2_000_000]]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["auction.mechanism=second_price"],
            "auction.mechanism is second_price, it must be another one where slots are 3",
        ),
        (["auction.mechanism=vcg", "auction.squash=0.5"], "auction.squash is 0.5, it must be 1 under vcg"),
        (["pacing.pacer=pace"], "pacing.pacer is pace, auction.mechanism must be first_price, not gsp"),
        (["pacing.pacer=pdi"], "pacing.pacer: Input should be"),
        (["pacing.lowest=0"], "pacing.lowest: Input should be greater than 0"),
        (["pacing.ki=0"], "pacing.ki: Input should be greater than or equal to 0.000001"),
    ],
)
def test_mechanisms_and_pacers_that_do_not_fit_are_refused(overrides, words):
    with pytest.raises(Refused) as refused:
        load_scenario(TINY, overrides)

    assert words in str(refused.value)


@pytest.mark.parametrize("pacer", ["dual", "pid", "pace", "throttling", "hard_stop", "none"])
def test_under_every_pacer_money_is_exact_and_the_state_survives_the_disk(world, tmp_path, pacer):
    mechanism = "first_price" if pacer == "pace" else "gsp"
    scenario, state, ticks = one_day(world, f"pacing.pacer={pacer}", f"auction.mechanism={mechanism}")
    billed = sum(int(t.shown.billed_micros.sum() + t.placed.billed_micros.sum()) for t in ticks)
    ledger = state.ledger

    assert (ledger.remaining >= 0).all() and billed == ledger.billed > 0
    assert ledger.granted == ledger.billed + ledger.lapsed + ledger.remaining.sum()
    save_state(state, tmp_path / "state")
    assert np.array_equal(load_state(scenario, world, tmp_path / "state").pacing, state.pacing)


@pytest.mark.parametrize("pacer", ["dual", "pid", "throttling"])
def test_pacing_keeps_spend_nearer_to_the_plan_than_none(world, pacer):
    def distance(name):
        """Mean distance of what is spent so far from what is planned so far, over the mean budget."""
        scenario = load_scenario(TINY, [f"pacing.pacer={name}"])
        state, seen = new_state(scenario, world, budget_share=0.4), Ticks()
        arms, users = (first_ranker(scenario),), everyone(scenario.world.population.users)
        spending = simulate(scenario, world, arms, users, state, seen, first_day=0, days=1).spending
        spent, planned = np.cumsum(spending.spent_usd, axis=0), np.cumsum(spending.planned_usd, axis=0)
        return np.abs(spent - planned).mean() / planned[-1].mean()

    assert distance(pacer) < 0.7 * distance("none")


def test_a_throttled_campaign_bids_whole_or_not_at_all(world):
    _, _, ticks = one_day(world, "pacing.pacer=throttling", "pacing.step=20.0")
    scenario = load_scenario(TINY)
    tick = min(ticks, key=lambda tick: tick.multiplier.mean())
    terms = campaign_terms(scenario, world)
    everyone_pays = np.ones(len(terms.pricing), bool)
    whole = offers_of(tick.scored, terms, np.ones(len(terms.pricing)), everyone_pays).bid
    bid = tick.offers.bid

    assert ((bid == 0) | (bid == whole)).all()
    chance = tick.multiplier[tick.scored.campaign]
    assert (bid > 0)[chance == 1].mean() > (bid > 0)[chance < 0.5].mean()


def test_the_settings_of_a_pacer_reach_it():
    pacer = pacer_of(PacingConfig(pacer="pid", kp=0.0, ki=1.0, lowest=0.25))
    state = pacer.update(pacer.init(1), np.array([9.0]), np.array([1.0]))

    assert pacer.multiplier(state) == pytest.approx([0.25])
