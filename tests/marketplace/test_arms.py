"""Arms in a tick: their own models, bids and withheld ads, against auctions held by hand."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ticks import Ticks
from trials import other_ranker, served

from marketplace.arm import mechanism_of
from marketplace.assignment import everyone, split_campaigns, split_users
from marketplace.bids import campaign_terms
from marketplace.counters import NAMES
from marketplace.designs import read
from marketplace.ledger import open_ledger
from marketplace.market import served_arms
from marketplace.orders import no_orders
from marketplace.scenario import Scenario
from marketplace.serve import auction_off, offers_of, score
from marketplace.state import new_state
from marketplace.tick import Window, run_tick
from synth.types import DAY_MS

N = 1_200  # requests


def scored_by(scenario, world, arms, assignment):
    """A tick of requests as the arms score it, and the campaigns' terms."""
    state, terms = new_state(scenario, world), campaign_terms(scenario, world, [arm.bid_factor for arm in arms])
    requests = world.requests_on(0, state.minds).rows(0, N)
    visits = world.browse(requests, state.minds)
    pool = world.population.pool(np.ones(len(terms.ad_campaign), np.bool_))
    with ThreadPoolExecutor(1) as threads:
        scored = score(
            requests, visits, state.features.see(requests, visits), assignment, arms, world, state.minds, (pool,),
            state.features, terms, threads, 1, Counter(),
        )  # fmt: skip
    return scored, terms, state


def offered(scored, terms, world):
    n = len(world.population.campaigns.bid_usd)
    return offers_of(scored, terms, np.ones(n), np.ones(n, np.bool_))


@pytest.fixture(scope="module")
def everybody(tiny):
    return everyone(tiny.world.population.users)


def test_ads_of_a_campaign_are_predicted_and_bid_for_by_its_arm_and_meet_in_one_auction(tiny, world, ranker, everybody):
    arms = ranker, other_ranker(tiny)
    split = split_campaigns(tiny.world.campaigns.count, (0.5, 0.5), 3)
    mixed, terms, state = scored_by(tiny, world, arms, split)
    alone = [scored_by(tiny, world, (arm,), everybody)[:2] for arm in arms]
    side = split.of_campaign[mixed.campaign]
    there = mixed.ad >= 0

    def by_hand(zero, one):
        return np.where(side == 0, zero, one)[there]

    assert (mixed.pctr[there] == by_hand(alone[0][0].pctr, alone[1][0].pctr)).all()
    assert (mixed.pcvr[there] == by_hand(alone[0][0].pcvr, alone[1][0].pcvr)).all()
    offers, (zero, one) = offered(mixed, terms, world), [offered(*own, world) for own in alone]
    bid, quality = (np.where(side == 0, a, b) for a, b in zip(zero[:2], one[:2], strict=True))
    assert (offers.bid[there] == bid[there]).all() and (offers.quality[there] == quality[there]).all()
    sold = ranker.mechanism(np.where(there, bid, 0.0), np.where(there, quality, 1.0), offers.reserve)
    with ThreadPoolExecutor(1) as threads:
        ledger = open_ledger(np.full(tiny.world.campaigns.count, 10**12))
        ledger.refill()
        _, shown, *_ = run_tick(
            mixed, DAY_MS, arms, world, state.minds, ledger, no_orders(), terms, np.ones(tiny.world.campaigns.count),
            Window(7 * DAY_MS, -1), threads, Counter(),
        )  # fmt: skip
    assert (shown.column == sold.winner).all() and (shown.price_micros == sold.price_micros).all()
    assert (shown.arm == split.of_campaign[shown.campaign])[shown.ad >= 0].all()
    assert (shown.arm.min(axis=1) < shown.arm.max(axis=1)).sum() > 100  # both in one auction


def test_an_arm_that_bids_a_tenth_more_pays_a_tenth_more_under_first_price_and_wins_the_same(tiny, world, ranker):
    first = mechanism_of(tiny.auction.model_copy(update={"mechanism": "first_price"}), tiny.world.feed.slot_effect)
    plain = ranker._replace(mechanism=first)
    split = split_users(tiny.world.population.users, (0.5, 0.5), 3)
    sold = []
    for factor in (1.0, 1.1):
        arms = plain, plain._replace(name="loud", bid_factor=factor)
        scored, terms, _ = scored_by(tiny, world, arms, split)
        nobody = np.zeros(tiny.world.campaigns.count, np.bool_)
        sold.append(auction_off(scored, offered(scored, terms, world), np.arange(N), arms, nobody)[0])
    before, after = sold
    loud = scored.arm == 1

    assert (before.winner == after.winner).all() and (before.winner >= 0).sum() > N
    assert (before.price_micros[~loud] == after.price_micros[~loud]).all()
    assert (abs(after.price_micros[loud] - 1.1 * before.price_micros[loud]) <= 1.1).all()  # both are rounded down


@pytest.mark.parametrize("mechanism", ["gsp", "first_price", "vcg"])
def test_withheld_ads_are_replaced_by_an_auction_without_them_where_they_compete(
    tiny, world, ranker, everybody, mechanism
):
    rule = mechanism_of(tiny.auction.model_copy(update={"mechanism": mechanism}), tiny.world.feed.slot_effect)
    withheld = np.isin(np.arange(tiny.world.campaigns.count), [0, 7, 8, 21, 30])
    arm = ranker._replace(mechanism=rule, withheld=withheld)
    scored, terms, _ = scored_by(tiny, world, (arm,), everybody)
    offers = offered(scored, terms, world)
    sold, exposed = auction_off(scored, offers, np.arange(N), (arm,), withheld)

    ghosts = 0
    for i in range(N):
        row = offers.bid[[i]], offers.quality[[i]], offers.reserve[[i]]
        first = rule(*row)
        own = [c >= 0 and withheld[scored.campaign[i, c]] for c in first.winner[0]]
        assert exposed[i].tolist() == own
        ghosts += any(own)
        first = rule(np.where(withheld[scored.campaign[[i]]], 0.0, row[0]), *row[1:])
        assert sold.winner[i].tolist() == first.winner[0].tolist()
        assert sold.price_micros[i].tolist() == first.price_micros[0].tolist()
    assert 50 < ghosts < N
    shown = sold.winner >= 0
    assert not withheld[np.take_along_axis(scored.campaign, np.maximum(sold.winner, 0), axis=1)][shown].any()


def test_an_arm_that_withholds_all_ads_shows_none_and_counts_the_slots_that_would_have_been_seen(
    tiny, world, ranker, everybody
):
    all_of_them = np.ones(tiny.world.campaigns.count, np.bool_)
    arm = ranker._replace(withheld=all_of_them)
    scored, terms, _ = scored_by(tiny, world, (arm,), everybody)
    offers = offered(scored, terms, world)
    sold, exposed = auction_off(scored, offers, np.arange(N), (arm,), all_of_them)
    open_to_all, _ = auction_off(scored, offers, np.arange(N), (ranker,), all_of_them)

    assert (sold.winner == -1).all() and (sold.price_micros == 0).all()
    assert (exposed == (open_to_all.winner >= 0)).all() and exposed.sum() > N


def with_arm(tiny: Scenario, name: str, **settings) -> Scenario:
    """Control and an arm of this name under the first ranker."""
    arms = {"control": {"model": "first_ranker"}, name: {"model": "first_ranker"} | settings}
    content = tiny.model_dump() | {"models": {}, "experiment": {"arms": arms}}
    return Scenario.model_validate(content)


@pytest.fixture(scope="module")
def holdout(tiny, world):
    """Two days in which half of the users do not see the ads of eight campaigns, and both halves have budgets of their own."""
    scenario = with_arm(tiny, "holdout", withhold=list(range(0, 40, 5)))
    arms, state, seen = served_arms(scenario, {}), new_state(scenario, world), Ticks()
    split = split_users(scenario.world.population.users, (0.5, 0.5), 3, budgets=True)
    result = served(scenario, world, arms, split, seen, state=state)
    return scenario, arms, split, result, state, seen.ticks


def test_withheld_campaigns_do_not_appear_in_their_arm_nor_pay_there(holdout):
    _, arms, split, _, state, ticks = holdout
    withheld = arms[1].withheld
    left, daily = (money.reshape(2, -1) for money in (state.ledger.remaining, state.ledger.daily))

    assert arms[0].withheld is None and withheld.sum() == 8
    assert (left[1, withheld] == daily[1, withheld]).all()
    assert (left[0, withheld] < daily[0, withheld]).any()
    by_arm = np.zeros(2)
    for tick in ticks:
        shown, row = tick.shown, np.nonzero(tick.shown.ad >= 0)[0]
        own = withheld[shown.campaign[shown.ad >= 0]]
        by_arm += np.bincount(split.of_unit[tick.scored.requests.user[row]][own], minlength=2)
    assert by_arm[0] > 100 and by_arm[1] == 0


def exposures_of(result, split) -> list[np.ndarray]:
    """Of each user who came, by arm."""
    table, came = result.counters.table(), result.counters.came
    return [table[came & (split.of_unit == arm), NAMES.index("exposures")] for arm in (0, 1)]


def test_what_won_in_the_open_arm_is_what_was_shown_there(holdout):
    _, arms, split, result, _, ticks = holdout
    shown = np.zeros(len(split.of_unit))
    for tick in ticks:
        row, slot = np.nonzero(tick.shown.ad >= 0)
        own = arms[1].withheld[tick.shown.campaign[row, slot]]
        np.add.at(shown, tick.scored.requests.user[row[own]], 1)
    exposures = result.counters.table()[:, NAMES.index("exposures")]

    assert (exposures == shown)[split.of_unit == 0].all()
    assert (shown[split.of_unit == 1] == 0).all() and exposures[split.of_unit == 1].sum() > 100


def test_on_shared_budgets_both_arms_have_as_many_exposures_within_4_standard_errors(world, holdout):
    scenario, arms, _, _, _, _ = holdout
    split = split_users(scenario.world.population.users, (0.5, 0.5), 3)
    result = served(scenario, world, arms, split, Ticks())
    control, held = exposures_of(result, split)

    error = np.sqrt(control.var(ddof=1) / len(control) + held.var(ddof=1) / len(held))
    assert abs(control.mean() - held.mean()) < 4 * error
    reading = read(result.counters, split, 1.0)
    assert [moments.units for moments in reading.exposed] == [(own > 0).sum() for own in (control, held)]


def test_on_split_budgets_the_exposed_are_not_read_for_withheld_campaigns_save_their_money_and_win_more(holdout):
    _, _, split, result, _, _ = holdout
    control, held = exposures_of(result, split)

    assert held.mean() > 2 * control.mean()
    assert read(result.counters, split, 1.0).exposed is None


def test_orders_at_the_stores_under_test_are_counted_with_and_without_ads(holdout, world):
    """By hand, of all orders of users at the stores of those campaigns."""
    _, arms, split, result, _, ticks = holdout
    ads = world.population.ads
    stores = set(ads.store[arms[1].withheld[ads.campaign]].tolist())
    found, usd = np.zeros(len(split.of_unit)), np.zeros(len(split.of_unit))
    after_ads = 0
    for tick in ticks:
        for order in tick.placed.orders[tick.placed.orders["event"] == 1]:
            if int(order["store"]) in stores:
                found[order["user"]] += 1
                usd[order["user"]] += order["value_micros"] / 1e6
                after_ads += 1
        visits = tick.scored.visits
        for i in np.flatnonzero((visits.ordered >= 0) & ~tick.displaced):
            if int(visits.ordered[i]) in stores:
                found[tick.scored.requests.user[i]] += 1
                usd[tick.scored.requests.user[i]] += visits.value_micros[i] / 1e6
    table = result.counters.table()

    assert (table[:, NAMES.index("tested_orders")] == found).all()
    assert table[:, NAMES.index("tested_gmv_usd")] == pytest.approx(usd)
    assert 0 < after_ads < found.sum()


def test_a_world_without_ads_loses_fewer_orders_than_ads_had_brought(tiny, world):
    """Some orders after ads take the place of orders that would have come without."""
    scenario = with_arm(tiny, "dark", withhold="all")
    worlds = [
        served(scenario, world, (arm,), everyone(scenario.world.population.users), Ticks()).counters.table().sum(axis=0)
        for arm in served_arms(scenario, {})
    ]
    orders, organic = (np.array([own[NAMES.index(name)] for own in worlds]) for name in ("orders", "organic_orders"))
    impressions, exposures = ([own[NAMES.index(name)] for own in worlds] for name in ("impressions", "exposures"))

    assert orders[0] > 100 and orders[1] == 0 and impressions[1] == 0
    assert organic[1] > organic[0]
    assert 0 < (orders + organic)[0] - (orders + organic)[1] < orders[0]
    assert exposures[0] == impressions[0] and exposures[1] > 0
