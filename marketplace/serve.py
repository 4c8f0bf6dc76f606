"""The story of a batch of requests: who competes, what models see and say, what is bid, who is shown."""

from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from auction import Allocation
from marketplace.arm import Arm, Mechanism
from marketplace.assignment import Assignment
from marketplace.bids import Terms, bids, worth
from marketplace.cascade import Cascade, Predict, best, only
from marketplace.features import Features
from marketplace.sequences import Recent
from marketplace.stopwatch import Stopwatch
from models.data import Batch
from synth.retrieval import Pool
from synth.types import BoolArray, Float32Array, FloatArray, IdArray, IntArray, Requests, Visits
from synth.world import Minds, World

_ROWS, _MOST_ROWS = 128, 512  # a thread takes a multiple of the first, up to the second, at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A tick of requests with everything that does not depend on budgets."""

    requests: Requests
    visits: Visits
    arm: IdArray  # (n,) whose rules hold the auction
    retrieved: IdArray  # (n, r) what retrieval passed on
    ad: IdArray  # (n, k) candidates, -1 where there are no more
    campaign: IdArray  # (n, k)
    side: IdArray  # (n, k) arm that predicts and bids for the candidate
    line: IdArray  # (n, k) see `Terms`
    account: IdArray  # (n, k) of the ledger, that pays: the line where budgets are split, else the campaign
    batch: Batch
    raw_pctr: Float32Array  # (n, k) as the arm's model predicts
    pctr: Float32Array  # (n, k) as it is served, times the factor of an arm's online bias
    pcvr: Float32Array  # (n, k)
    randomised: BoolArray  # (n,) whose winners are put in the slots at random
    late: BoolArray  # (n, k) predictions of the arm's fallback, since its model's came too late
    n_slots: int


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
    n, usual = len(requests), world.population.config.feed.candidates
    retrieved, ranked = widths(arms, usual)
    k = max(ranked)
    arm_of = assignment.of_request(requests)
    campaigns = len(terms.pricing) // len(arms)
    pctr, pcvr = np.empty((n, k), np.float32), np.empty((n, k), np.float32)
    wide = np.full((n, max(retrieved)), -1, np.int32)
    ad, campaign, side = np.full((n, k), -1, np.int32), np.empty((n, k), np.int32), np.empty((n, k), np.int32)
    late = np.zeros((n, k), np.bool_)
    sources: dict[tuple[int, int], list[int]] = {}  # arms that draw as many candidates from the same pool
    for position, width in enumerate(retrieved):
        sources.setdefault((position if len(pools) > 1 else 0, width), []).append(position)

    size = min(_MOST_ROWS, _ROWS * -(-n // (_ROWS * n_threads))) or _ROWS

    def block(start: int) -> tuple[Batch, Counter[str]]:
        spent: Counter[str] = Counter()
        stop = min(start + size, n)
        some, query, seen = requests.rows(start, stop), visits.query[start:stop], recent.rows(start, stop)
        own = arm_of[start:stop]
        clock = Stopwatch(spent)
        for (pool, width), positions in sources.items():
            rows = np.flatnonzero(np.isin(own, positions))
            if len(rows) == stop - start:
                wide[start:stop, :width] = world.candidates(some, query, minds, pools[pool], width)
            elif len(rows):
                wide[start + rows, :width] = world.candidates(some.take(rows), query[rows], minds, pools[pool], width)
        clock.lap("retrieve")
        for position, arm in enumerate(arms):
            rows = np.flatnonzero(own == position)
            if len(rows) == 0:
                continue
            offered = wide[start + rows, : retrieved[position]]
            if arm.cascade is not None:
                batch = features.observe(some.take(rows), query[rows], seen.take(rows), offered)
                clock.lap("observe")
                offered = _ranked(offered, arm.cascade, batch, np.int32(campaigns * position), terms)
                clock.lap(f"light {arm.name}")
            ad[start + rows, : offered.shape[1]] = offered
        batch = features.observe(some, query, seen, ad[start:stop])
        clock.lap("observe")
        campaign[start:stop] = np.where(ad[start:stop] >= 0, terms.ad_campaign[ad[start:stop]], np.int32(-1))
        of_campaign = assignment.of_campaign
        side[start:stop] = own[:, None] if of_campaign is None else of_campaign[campaign[start:stop]]
        for position, arm in enumerate(arms):
            mine = side[start:stop] == position
            rows = np.flatnonzero(mine.any(axis=1))
            if len(rows) == 0:
                continue

            def put(rows: IntArray, predict: Predict, mine: BoolArray = mine) -> None:
                predicted = predict(batch if len(rows) == stop - start else batch.take(rows))
                for whole, part in ((pctr, predicted.click), (pcvr, predicted.conversion)):
                    whole[start + rows] = np.where(mine[rows], part, whole[start + rows])

            put(rows, arm.predict)
            clock.lap(f"predict {arm.name}")
            if arm.fallback is not None:
                rows = rows[arm.fallback.late(some.id[rows])]
                late[start + rows] |= mine[rows]
                put(rows, arm.fallback.predict)
                clock.lap(f"fallback {arm.name}")
        return batch, spent

    done = list(threads.map(block, range(0, max(n, 1), size)))
    for _, spent in done:
        seconds.update(spent)
    line = campaign if len(arms) == 1 else np.where(ad >= 0, side * np.int32(campaigns) + campaign, np.int32(-1))
    return Scored(
        requests=requests,
        visits=visits,
        arm=arm_of,
        retrieved=wide,
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
        late=late,
        n_slots=len(world.population.slot_effect),
    )


def widths(arms: tuple[Arm, ...], usual: int) -> tuple[list[int], list[int]]:
    """Candidates that each arm retrieves, and those that its model scores."""
    cascades = [arm.cascade for arm in arms]
    return [c.retrieved if c else usual for c in cascades], [c.ranked if c else usual for c in cascades]


def _ranked(ad: IdArray, cascade: Cascade, batch: Batch, first_line: np.int32, terms: Terms) -> IdArray:
    """(n, ranked) the ads that the light ranker passes on, of those (n, r) that its arm has retrieved."""
    line = np.where(ad >= 0, first_line + terms.ad_campaign[ad], np.int32(-1))
    kept = best(worth(line, ad, *cascade.light(batch), terms), ad >= 0, cascade.ranked)
    return only(ad, kept, cascade.ranked)


def shortlisted(scored: Scored, arms: tuple[Arm, ...], terms: Terms) -> Scored:
    """The tick with those candidates alone that each arm's cascade passes on to its auctions."""
    if all(arm.cascade is None for arm in arms):
        return scored
    kept = scored.ad >= 0
    value = worth(scored.line, scored.ad, scored.pctr, scored.pcvr, terms)
    for position, arm in enumerate(arms):
        rows = np.flatnonzero(scored.arm == position)
        if arm.cascade is not None:
            kept[rows] = best(value[rows], kept[rows], arm.cascade.auctioned)

    def of_kept(values: IdArray) -> IdArray:
        return np.where(kept, values, np.int32(-1))

    return replace(
        scored, ad=of_kept(scored.ad), campaign=of_kept(scored.campaign), line=of_kept(scored.line),
        account=of_kept(scored.account),
    )  # fmt: skip


class Offers(NamedTuple):
    """What competes in the auctions of a tick, (n, k) each but the last."""

    bid: FloatArray  # USD per billable event; 0 where nobody competes
    quality: FloatArray  # probability of that event given examination
    reserve: FloatArray  # USD per billable event
    ends: IntArray  # (accounts,) request from which on the account has nothing left to bid with; n of one that has


def offers_of(
    scored: Scored, terms: Terms, multiplier: FloatArray, active: BoolArray, takes_part: BoolArray | None = None
) -> Offers:
    """The bids of all candidates whose account is `active`; if `takes_part` (n, k) is given, whole bids of those alone.

    Args:
        multiplier: (accounts,)
        active: (accounts,)
    """
    arms = len(terms.pricing) // len(active)  # that draw on one account
    paced = np.tile(multiplier, arms) if takes_part is None else np.ones_like(terms.bid_usd)
    bid, quality = bids(scored.line, scored.ad, scored.pctr, scored.pcvr, terms, paced, np.tile(active, arms))
    if takes_part is not None:
        bid[~takes_part] = 0.0
    return Offers(bid, quality, terms.reserve_usd[scored.line], np.where(active, len(bid), 0))


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
        bid, quality, reserve = (offer[rows[own]] for offer in offers[:3])
        sold = arm.mechanism(bid, quality, reserve)
        if tested.any():
            exposed[own] = _won_by(tested, sold, campaign)
        if arm.withheld is not None:
            hold_again(sold, arm.mechanism, arm.withheld[campaign], bid, quality, reserve)
        sold = arm.shuffle(request, sold)
        winner[own], price[own] = sold.winner, sold.price_micros
    return Allocation(winner=winner, price_micros=price), exposed


def hold_again(
    sold: Allocation, mechanism: Mechanism, withheld: BoolArray, bid: FloatArray, quality: FloatArray, reserve: FloatArray
) -> None:  # fmt: skip
    """Hold the auctions again in which a candidate competes that is `withheld` (m, k), without it, and put that in `sold`."""
    out = withheld & (bid > 0)
    rest = np.flatnonzero(out.any(axis=1))
    again = mechanism(np.where(out[rest], 0.0, bid[rest]), quality[rest], reserve[rest])
    sold.winner[rest], sold.price_micros[rest] = again.winner, again.price_micros


def _won_by(chosen: BoolArray, sold: Allocation, campaign: IdArray) -> BoolArray:
    """(m, s) slots won by the `chosen` (c,) campaigns; `campaign` is (m, k)."""
    return (sold.winner >= 0) & chosen[np.take_along_axis(campaign, np.maximum(sold.winner, 0), axis=1)]
