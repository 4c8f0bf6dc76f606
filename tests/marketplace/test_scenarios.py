"""Every scenario of the folder, as a slice of its market: some campaigns with their part of the users and of the stores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ticks import Ticks

from auction.pricing import Pricing
from marketplace.assignment import everyone
from marketplace.bids import Terms, campaign_terms
from marketplace.experiment import Pace, complete
from marketplace.market import first_ranker, load_world
from marketplace.record import Tick
from marketplace.report import _marginals
from marketplace.runs import new_run
from marketplace.scenario import Scenario, load_scenario
from marketplace.simulate import Result, simulate
from marketplace.state import State, load_state
from synth.campaigns import GOALS
from synth.types import CHECKOUT, DAY_MS, EVENTS
from synth.world import World

FOLDER = Path(__file__).parents[2] / "scenarios"
CAMPAIGNS = 40


@dataclass
class Day:
    """One day under the first ranker, after a log of three."""

    scenario: Scenario
    world: World
    terms: Terms
    ticks: list[Tick]
    result: Result
    state: State
    marginals: dict[str, dict[str, float]]

    def requests(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(tick.scored.requests, name) for tick in self.ticks])

    def shown(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(tick.shown, name) for tick in self.ticks])

    def placed(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(tick.placed, name) for tick in self.ticks])


def slice_of(path: Path) -> Scenario:
    """As crowded and as rich as the whole: users, stores and campaigns in the same proportion, budgets as they are."""
    whole = load_scenario(path).world
    part = min(1.0, CAMPAIGNS / whole.campaigns.count)
    ads = CAMPAIGNS * whole.campaigns.stores_per_campaign
    return load_scenario(
        path,
        [
            f"world.population.users={int(whole.population.users * part)}",
            f"world.population.regions={min(whole.population.regions, ads // whole.feed.candidates)}",
            f"world.catalogue.stores={max(ads, int(whole.catalogue.stores * part))}",
            f"world.campaigns.count={CAMPAIGNS}",
            "calendar.log_days=3",
            "calendar.test_days=1",
        ],
    )


@pytest.fixture(scope="module", params=sorted(path.stem for path in FOLDER.glob("*.toml")))
def day(request, tmp_path_factory) -> Day:
    scenario = slice_of(FOLDER / f"{request.param}.toml")
    with new_run(scenario, "generate", tmp_path_factory.mktemp("runs")) as draft:
        complete(draft, None, "log", (), Pace(), lambda what, share: None)
    world = load_world(scenario, draft.folder / "truth")
    state, seen = load_state(scenario, world, draft.folder / "state"), Ticks()
    result = simulate(
        scenario, world, (first_ranker(scenario),), everyone(scenario.world.population.users), state, seen,
        first_day=3, days=1,
    )  # fmt: skip
    return Day(
        scenario=scenario, world=world, terms=campaign_terms(scenario, world), ticks=seen.ticks, result=result, state=state,
        marginals={m["name"]: m for m in _marginals(draft.folder, scenario)},
    )  # fmt: skip


def test_the_market_shows_the_marginals_asked_for(day):
    """Solved within 4%, and the log within 1% of what was solved; shares of known stores within 2 points.

    A whole market is solved within 2%; the solver of a slice sees few orders. The log repeats the last pilot. Not held in the
    log of a slice: baskets (some tens of orders) and delays.
    """
    for name, m in day.marginals.items():
        room = {"abs": 0.02} if name.startswith("repurchase") else {"rel": 0.04}
        assert m["obtained"] == pytest.approx(m["asked"], **room), name
        if m["logged"] is not None and name != "basket_usd":
            counted = name == "organic_share"  # the others are made of probabilities
            assert m["logged"] == pytest.approx(m["obtained"], rel=0.04 if counted else 0.01), name


def test_revenue_is_the_sum_of_charges_and_the_fall_of_budgets(day):
    charges = day.shown("billed_micros").sum() + day.placed("billed_micros").sum()
    ledger = day.state.ledger

    assert day.result.revenue_micros == charges == (ledger.daily - ledger.remaining).sum() > 0
    assert (ledger.remaining >= 0).all()


def test_every_pricing_is_charged_at_its_event_alone(day):
    campaign, price = day.shown("campaign"), day.shown("price_micros")
    billed, due = day.shown("billed_micros"), day.shown("billed_micros") + day.shown("unbilled_micros")
    pricing = np.where(campaign >= 0, day.terms.pricing[campaign], -1)
    clicked = np.concatenate([tick.shown.outcomes.clicked for tick in day.ticks])
    at_impression = np.isin(pricing, (Pricing.CPM, Pricing.OCPM, Pricing.VALUE))

    assert np.array_equal(due, np.where(at_impression | ((pricing == Pricing.CPC) & clicked), price, 0))
    shares = day.scenario.world.campaigns
    for kind in Pricing:
        asked = getattr(shares, f"{kind.name.lower()}_share")
        assert asked > 0 or kind not in day.terms.pricing
        if kind != Pricing.CPA and (pricing == kind).sum() > 1_000:
            assert billed[pricing == kind].sum() > 0

    orders, charged = day.placed("orders"), day.placed("billed_micros")
    wanted = np.array([EVENTS.index("checkout" if goal == "click" else goal) for goal in GOALS])
    goal = wanted[day.terms.goal[orders["campaign"]]]
    assert (orders["event"][orders["attributed"]] == goal[orders["attributed"]]).all()
    paying = orders["attributed"] & (day.terms.pricing[orders["campaign"]] == Pricing.CPA)
    assert (charged[~paying] == 0).all()
    assert charged[paying].sum() > 0 or shares.cpa_share == 0


def test_conversions_are_attributed_inside_their_windows_alone(day):
    orders, auction = day.placed("orders"), day.scenario.auction
    after = orders["time_ms"] - orders["shown_ms"]
    viewed = orders["click_ms"] < 0

    assert (after[orders["attributed"] & ~viewed] <= auction.attribution_days * DAY_MS).all()
    assert (after[orders["attributed"] & viewed] <= auction.view_attribution_days * DAY_MS).all()
    assert (orders["event"][viewed] == CHECKOUT).all()
    assert not viewed.any() or day.scenario.world.marginals.post_view_rate > 0


def test_surfaces_have_their_share_and_their_attention(day):
    surfaces, surface = day.scenario.world.feed.surfaces, day.requests("surface")
    shown = day.shown("ad")[:, 0] >= 0
    look = np.concatenate([tick.shown.truth.examination for tick in day.ticks])[:, 0]

    for i, asked in enumerate(surfaces):
        error = np.sqrt(asked.share * (1 - asked.share) / len(surface))
        assert (surface == i).mean() == pytest.approx(asked.share, abs=4 * error + 1e-9)
        assert look[shown & (surface == i)] == pytest.approx(asked.attention)


def test_slots_are_sold_at_prices_between_reserve_and_bid(day):
    ad, campaign = day.shown("ad"), day.shown("campaign")
    slots = len(day.scenario.world.feed.slot_effect)
    assert ad.shape[1] == slots and (ad >= 0).mean() > 0.9

    first_price = day.scenario.auction.mechanism == "first_price"
    for tick in day.ticks:
        at = tick.shown.ad >= 0
        row, column = np.nonzero(at)[0], tick.shown.column[at]
        bid, reserve = tick.offers.bid[row, column] * 1e6, tick.offers.reserve[row, column] * 1e6
        price = tick.shown.price_micros[at]
        # a bid is taken back, in the books, where its campaign's budget ran out later in the tick
        stands = bid > 0
        assert (price[stands] <= bid[stands] + 1e-6).all() and (price[stands] >= np.floor(reserve[stands])).all()
        assert not first_price or (price[stands] >= np.floor(bid[stands] - 1e-6)).all()
    assert (day.terms.reserve_usd[campaign[campaign >= 0]] >= 0).all()


def test_budgets_are_used_and_not_all_gone(day):
    """Between a fifth and nine tenths on a slice, whose one day has few charges; a whole market's report shows 40% to 95%."""
    use = day.result.revenue_micros / day.state.ledger.daily.sum()

    assert 0.2 < use < 0.95


def test_queries_are_as_frequent_as_asked_and_search_ads_match_them(day):
    """The match is not held where all ads of a region compete, as in slices of the other markets."""
    query = np.concatenate([tick.scored.visits.query for tick in day.ticks])
    asked = day.scenario.world.intent.search
    error = np.sqrt(asked * (1 - asked) / len(query))
    assert (query >= 0).mean() == pytest.approx(asked, abs=4 * error + 1e-9)

    if asked < 1:
        return
    ad, dish = day.shown("ad"), day.world.population.stores.dish
    matches = (dish[day.world.population.store_of(ad)] == query[:, None])[(query >= 0)[:, None] & (ad >= 0)].mean()
    n_dishes = day.scenario.world.catalogue.cuisines * day.scenario.world.catalogue.dishes_per_cuisine
    assert matches > 10 / n_dishes  # ten times what chance would bring


def test_what_makes_each_market(day):
    """The one thing of every market that a change must not lose."""
    world, auction, pricing = day.scenario.world, day.scenario.auction, day.terms.pricing
    if day.scenario.name == "conversions":
        assert {"cart", "checkout", "sign_up"} <= {GOALS[g] for g in day.terms.goal}
        assert (pricing == Pricing.OCPM).mean() > 0.5 and len(world.feed.surfaces) == 3
    if day.scenario.name == "search":
        assert (pricing == Pricing.CPC).all() and world.intent.search == 1 and world.feed.model == "cascade"
    if day.scenario.name == "dsp":
        assert auction.mechanism == "first_price" and day.shown("ad").shape[1] == 1 and len(world.feed.surfaces) == 3
        assert {Pricing.CPM, Pricing.OCPM, Pricing.VALUE} == set(pricing)
    if day.scenario.name == "delivery":
        assert (pricing == Pricing.CPA).mean() > 0.3
