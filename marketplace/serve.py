"""The story of a batch of requests: who competes, what models see and say, what is bid, who is shown."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from auction import Allocation, first_price, gsp, second_price, vcg
from auction.pricing import Pricing, competing_bids
from marketplace.assignment import Assignment
from marketplace.features import Features
from marketplace.scenario import ArmConfig, AuctionConfig, Scenario
from marketplace.sequences import Recent
from marketplace.stopwatch import Stopwatch
from models.bias import Bias
from models.data import Batch, Predictions
from synth import draws
from synth.campaigns import GOALS, PRICINGS
from synth.draws import Cause
from synth.retrieval import Pool
from synth.types import BoolArray, Float32Array, FloatArray, IdArray, IntArray, Requests, Visits
from synth.world import Minds, World

_ROWS, _MOST_ROWS = 128, 512  # a thread takes a multiple of the first, up to the second, at a time

Mechanism = Callable[[FloatArray, FloatArray, FloatArray], Allocation]  # bid, quality, reserve, each (n, k)


class Shuffle(NamedTuple):
    """Requests whose winners are put in the slots at random, so that what a slot does can be told from what an ad does."""

    share: float = 0.0  # of the requests
    seed: int = 0

    def chosen(self, request: IntArray) -> BoolArray:
        """(n,) which of the requests."""
        return draws.uniform(self.seed, Cause.RANDOMISED, request) < self.share

    def __call__(self, request: IntArray, sold: Allocation) -> Allocation:
        """Winners of the chosen requests in the order of a draw each, empty slots last; a winner keeps its price."""
        rows = np.flatnonzero(self.chosen(request)) if self.share else np.empty(0, np.int64)
        winner, price = sold.winner[rows], sold.price_micros[rows]
        lot = draws.uniform(self.seed, Cause.SLOT, request[rows, None], np.arange(winner.shape[1]))
        order = np.argsort(np.where(winner >= 0, lot, 2.0), axis=1, kind="stable")
        sold.winner[rows] = np.take_along_axis(winner, order, axis=1)
        sold.price_micros[rows] = np.take_along_axis(price, order, axis=1)
        return sold


class Arm(NamedTuple):
    """What a side of an experiment does its own way."""

    name: str
    predict: Callable[[Batch], Predictions]
    mechanism: Mechanism
    device: str = "cpu"  # that it predicts on
    shuffle: Shuffle = Shuffle()
    bias: Bias | None = None  # follows the bias of predicted clicks by campaign
    bid_factor: float = 1.0  # of all bids
    withheld: BoolArray | None = None  # (c,) campaigns whose ads win and are not shown; none where None


class Terms(NamedTuple):
    """What campaigns pay for and how much, as the auction sees it.

    A line is a campaign in an arm: arm x c + campaign.
    """

    pricing: IdArray  # (lines,) a `Pricing`
    bid_usd: FloatArray  # (lines,)
    reserve_usd: FloatArray  # (lines,) per billable event
    goal: IdArray  # (lines,) position in GOALS
    ad_campaign: IdArray  # (A,)
    tested: BoolArray  # (c,) campaigns whose ads some arm withholds
    ad_value_usd: FloatArray  # (A,) of an order, by the advertiser's list of products and prices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A tick of requests with everything that does not depend on budgets."""

    requests: Requests
    visits: Visits
    arm: IdArray  # (n,) whose rules hold the auction
    ad: IdArray  # (n, k) candidates
    campaign: IdArray  # (n, k)
    side: IdArray  # (n, k) arm that predicts and bids for the candidate
    line: IdArray  # (n, k) see `Terms`
    account: IdArray  # (n, k) of the ledger, that pays: the line where budgets are split, else the campaign
    batch: Batch
    raw_pctr: Float32Array  # (n, k) as the arm's model predicts
    pctr: Float32Array  # (n, k) as it is served, times the factor of an arm's online bias
    pcvr: Float32Array  # (n, k)
    randomised: BoolArray  # (n,) whose winners are put in the slots at random
    n_slots: int


def withheld_by(arm: ArmConfig, n_campaigns: int) -> BoolArray:
    """(c,) campaigns whose ads the arm does not show."""
    if isinstance(arm.withhold, str):
        return np.full(n_campaigns, arm.withhold == "all")
    return np.isin(np.arange(n_campaigns), arm.withhold)


def tested_campaigns(scenario: Scenario) -> BoolArray:
    """(c,) campaigns whose ads some arm of the experiment withholds."""
    n_campaigns = scenario.world.campaigns.count
    return np.any([withheld_by(arm, n_campaigns) for arm in scenario.arms.values()], axis=0)


def campaign_terms(scenario: Scenario, world: World, bid_factors: Sequence[float] = (1.0,)) -> Terms:
    """The campaigns of `world` in arms with these factors of bids, under the scenario's reserves."""
    auction = scenario.auction
    reserve = {
        Pricing.CPM: auction.reserve_cpm_usd, Pricing.CPC: auction.reserve_cpc_usd,
        Pricing.CPA: auction.reserve_cpa_usd, Pricing.OCPM: auction.reserve_ocpm_usd,
        Pricing.VALUE: auction.reserve_ocpm_usd,
    }  # fmt: skip
    campaigns, basket = world.population.campaigns, scenario.world.marginals.basket_usd
    pricing = np.array([Pricing[name.upper()] for name in PRICINGS], np.int32)[campaigns.pricing]
    return Terms(
        pricing=np.tile(pricing, len(bid_factors)),
        bid_usd=np.concatenate([factor * campaigns.bid_usd for factor in bid_factors]),
        reserve_usd=np.tile([reserve[Pricing(p)] for p in pricing], len(bid_factors)),
        goal=np.tile(campaigns.goal, len(bid_factors)),
        ad_campaign=world.population.ads.campaign,
        tested=tested_campaigns(scenario),
        ad_value_usd=basket * np.exp(world.population.stores.log_price[world.population.ads.store].astype(np.float64)),
    )


def mechanism_of(auction: AuctionConfig, slot_effect: Sequence[float]) -> Mechanism:
    """The scenario's mechanism, ready to run."""
    slots = len(slot_effect)
    rules: dict[str, Callable[..., Allocation]] = {
        "gsp": partial(gsp, n_slots=slots, squash=auction.squash),
        "first_price": partial(first_price, n_slots=slots, squash=auction.squash),
        "vcg": partial(vcg, slot_effect=slot_effect),
        "second_price": second_price,
    }
    rule = rules[auction.mechanism]
    return lambda bid, quality, reserve: rule(bid, quality, reserve=reserve)


def score(
    requests: Requests,
    visits: Visits,
    recent: Recent,
    assignment: Assignment,
    arms: tuple[Arm, ...],
    world: World,
    minds: Minds,
    pools: tuple[Pool, ...],
    features: Features,
    terms: Terms,
    threads: Executor,
    n_threads: int,
    seconds: Counter[str],
) -> Scored:
    """Retrieve, observe and predict; rows go to the threads in blocks, and no row depends on its block.

    Args:
        recent: What the users looked at and searched for, up to each request.
        pools: Ads that may compete: of each arm where budgets are split, else of all.
    """
    n, k = len(requests), world.population.config.feed.candidates
    arm_of = assignment.of_request(requests)
    campaigns = len(terms.pricing) // len(arms)
    pctr, pcvr = np.empty((n, k), np.float32), np.empty((n, k), np.float32)
    ad, campaign, side = (np.empty((n, k), np.int32) for _ in range(3))

    size = min(_MOST_ROWS, _ROWS * -(-n // (_ROWS * n_threads))) or _ROWS

    def block(start: int) -> tuple[Batch, Counter[str]]:
        spent: Counter[str] = Counter()
        stop = min(start + size, n)
        some = requests.rows(start, stop)
        clock = Stopwatch(spent)
        query = visits.query[start:stop]
        own = arm_of[start:stop] if len(pools) > 1 else np.zeros(stop - start, np.int32)
        for position, pool in enumerate(pools):
            rows = np.flatnonzero(own == position)
            if len(rows) == stop - start:
                ad[start:stop] = world.candidates(some, query, minds, pool)
            elif len(rows):
                ad[start + rows] = world.candidates(some.take(rows), query[rows], minds, pool)
        clock.lap("retrieve")
        batch = features.observe(some, query, recent.rows(start, stop), ad[start:stop])
        clock.lap("observe")
        campaign[start:stop] = np.where(ad[start:stop] >= 0, terms.ad_campaign[ad[start:stop]], np.int32(-1))
        of_campaign = assignment.of_campaign
        side[start:stop] = arm_of[start:stop, None] if of_campaign is None else of_campaign[campaign[start:stop]]
        for position, arm in enumerate(arms):
            mine = side[start:stop] == position
            rows = np.flatnonzero(mine.any(axis=1))
            if len(rows) == 0:
                continue
            alone = len(rows) == stop - start
            predicted = arm.predict(batch if alone else batch.take(rows))
            for whole, part in ((pctr, predicted.click), (pcvr, predicted.conversion)):
                whole[start + rows] = np.where(mine[rows], part, whole[start + rows])
            clock.lap(f"predict {arm.name}")
        return batch, spent

    done = list(threads.map(block, range(0, max(n, 1), size)))
    for _, spent in done:
        seconds.update(spent)
    line = campaign if len(arms) == 1 else np.where(ad >= 0, side * np.int32(campaigns) + campaign, np.int32(-1))
    return Scored(
        requests=requests,
        visits=visits,
        arm=arm_of,
        ad=ad,
        campaign=campaign,
        side=side,
        line=line,
        account=campaign if assignment.of_account is None else line,
        batch=Batch.stack([batch for batch, _ in done]),
        raw_pctr=pctr,
        pctr=pctr,
        pcvr=pcvr,
        randomised=np.stack([arm.shuffle.chosen(requests.id) for arm in arms])[arm_of, np.arange(n)],
        n_slots=len(world.population.slot_effect),
    )


class Offers(NamedTuple):
    """What competes in the auctions of a tick, (n, k) each."""

    bid: FloatArray  # USD per billable event; 0 where nobody competes
    quality: FloatArray  # probability of that event given examination
    reserve: FloatArray  # USD per billable event


def offers_of(
    scored: Scored, terms: Terms, multiplier: FloatArray, active: BoolArray, takes_part: BoolArray | None = None
) -> Offers:
    """The bids of all candidates whose account is `active`; if `takes_part` (n, k) is given, whole bids of those alone.

    Args:
        multiplier: (accounts,)
        active: (accounts,)
    """
    arms = len(terms.pricing) // len(active)  # that draw on one account
    clicks_will_do = (terms.goal == GOALS.index("click"))[scored.line]
    whole = np.ones_like(terms.bid_usd)
    bid, quality = competing_bids(
        scored.line, terms.pricing, terms.bid_usd, np.tile(multiplier, arms) if takes_part is None else whole,
        np.tile(active, arms), scored.pctr, np.where(clicks_will_do, np.float32(1.0), scored.pcvr),
        terms.ad_value_usd.astype(np.float32)[scored.ad],
    )  # fmt: skip
    if takes_part is not None:
        bid[~takes_part] = 0.0
    return Offers(bid, quality, terms.reserve_usd[scored.line])


def auction_off(
    scored: Scored, offers: Offers, rows: IntArray, arms: tuple[Arm, ...], tested: BoolArray
) -> tuple[Allocation, BoolArray]:
    """Hold the auctions of the requests at `rows`, each by its arm's rules.

    Where an ad competes that the arm withholds, the auction is held again without it: it neither wins nor sets a price.

    Args:
        tested: (c,) campaigns whose ads some arm withholds.

    Returns:
        What is shown; and (m, s) which slots an ad of a campaign under test won before any was withheld (ghost ads; Johnson,
        Lewis & Nubbemeyer 2017): the users who saw it, and those who would have, are told apart alike in all arms.
    """
    shape = len(rows), scored.n_slots
    winner, price = np.empty(shape, np.int64), np.empty(shape, np.int64)
    exposed = np.zeros(shape, np.bool_)
    for position, arm in enumerate(arms):
        own = np.flatnonzero(scored.arm[rows] == position)
        request, campaign = scored.requests.id[rows[own]], scored.campaign[rows[own]]
        bid, quality, reserve = (offer[rows[own]] for offer in offers)
        sold = arm.mechanism(bid, quality, reserve)
        if tested.any():
            exposed[own] = _won_by(tested, sold, campaign)
        if arm.withheld is not None:
            out = arm.withheld[campaign] & (bid > 0)
            rest = np.flatnonzero(out.any(axis=1))
            again = arm.mechanism(np.where(out[rest], 0.0, bid[rest]), quality[rest], reserve[rest])
            sold.winner[rest], sold.price_micros[rest] = again.winner, again.price_micros
        sold = arm.shuffle(request, sold)
        winner[own], price[own] = sold.winner, sold.price_micros
    return Allocation(winner=winner, price_micros=price), exposed


def _won_by(chosen: BoolArray, sold: Allocation, campaign: IdArray) -> BoolArray:
    """(m, s) slots won by the `chosen` (c,) campaigns; `campaign` is (m, k)."""
    return (sold.winner >= 0) & chosen[np.take_along_axis(campaign, np.maximum(sold.winner, 0), axis=1)]
