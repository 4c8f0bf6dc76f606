"""Replay: auctions that the log holds whole, held again by the rules of their arm or by others."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from auction import Allocation
from auction.ranking import weight
from marketplace.advertisers import Advertisers
from marketplace.arm import Mechanism, Shuffle, mechanism_of, withheld_by
from marketplace.errors import Refused
from marketplace.scenario import CONTROL, DESIGNS, FIRST_RANKER, ArmConfig, AuctionConfig, Scenario
from marketplace.serve import hold_again
from marketplace.slices import LOG, Rows, columns_of, rows_of
from synth.types import BoolArray, Float32Array, FloatArray, IdArray, IntArray

MECHANISMS = ("gsp", "first_price", "vcg", "second_price")


class Auctions(NamedTuple):
    """Auctions logged whole: m of them with k candidates, in the order in which they competed."""

    request: IntArray  # (m,)
    arm: IntArray  # (m,) position of the arm whose rules held it
    ad: IdArray  # (m, k) -1 where there is no candidate
    pctr: Float32Array  # (m, k)
    pcvr: Float32Array  # (m, k)
    bid: FloatArray  # (m, k) USD per billable event, paced; 0 where nobody competes
    quality: FloatArray  # (m, k) probability of that event given examination; 1 where nobody competes
    multiplier: FloatArray  # (m, k)
    slot: IntArray  # (m, k) won, by the log; -1 none


class Rules(NamedTuple):
    """How an arm holds its auctions."""

    auction: AuctionConfig
    mechanism: Mechanism
    withheld: BoolArray  # (C,) campaigns whose ads are not shown
    shuffle: Shuffle


def rules_of(scenario: Scenario, simulation: str) -> tuple[Rules, ...]:
    """Rules by the position of the log's arms.

    Args:
        simulation: One of `Scenario.simulations`, or `slices.LOG` for what the first ranker served.

    Raises:
        Refused: If the scenario has no such simulation.
    """
    if simulation in scenario.simulations:
        names = {"ab": list(scenario.arms), "aa": [CONTROL] * len(scenario.arms)}.get(simulation, [simulation])
        return tuple(_rules(scenario, scenario.arms[name], Shuffle()) for name in names)
    if simulation != LOG:
        raise Refused(f"scenario {scenario.name}: there is no simulation {simulation}")
    return (_rules(scenario, ArmConfig(), Shuffle(scenario.log.randomised_share, scenario.seed)),)


def arms_of(scenario: Scenario, simulation: str) -> list[str]:
    """Names of a simulation's arms, by their position in its log."""
    if simulation == "aa":
        return [CONTROL, *(f"{CONTROL}_{n}" for n in range(1, len(scenario.arms)))]
    return list(scenario.arms) if simulation in DESIGNS else [FIRST_RANKER if simulation == LOG else simulation]


def _rules(scenario: Scenario, arm: ArmConfig, shuffle: Shuffle) -> Rules:
    auction, slots = scenario.auction_of(arm), scenario.world.feed.slot_effect
    return Rules(
        auction, mechanism_of(auction, slots), withheld_by(arm, scenario.world.campaigns.count), shuffle
    )  # fmt: skip


def whole_requests(simulation: Path, arm: int, most: int, ads: IntArray | None = None) -> Rows:
    """Requests of an arm whose whole auction was logged, in an order by chance that is always the same.

    Args:
        arm: Its position.
        most: Rows to give.
        ads: Only auctions in which one of these has a bid; all where None.

    Returns:
        request, time_ms, sold (ads shown) and `there`, the number of such requests.
    """
    among = "TRUE" if ads is None else "bid_usd > 0 AND ad BETWEEN $first AND $last"
    bounds: dict[str, Any] = {} if ads is None else {"first": int(ads.min()), "last": int(ads.max())}
    return rows_of(
        simulation,
        f"""
        WITH whole AS (
            SELECT request, any_value(time_ms) AS time_ms, count_if(slot >= 0) AS sold, bool_or({among}) AS among
            FROM read_parquet($candidates) GROUP BY request
        ), own AS (
            SELECT w.* EXCLUDE among FROM whole w JOIN read_parquet($requests) r USING (request)
            WHERE among AND r.arm = $arm
        )
        SELECT *, count(*) OVER () AS there FROM own ORDER BY hash(request), request LIMIT $most
        """,
        arm=arm, most=most, **bounds,
    )  # fmt: skip


def read_auctions(simulation: Path, requests: IntArray) -> Auctions:
    """The auctions of the requests (m,) that were logged whole, by request.

    Raises:
        Refused: If a file is missing or damaged.
    """
    found = columns_of(
        simulation,
        """
        WITH arms AS (SELECT request, arm FROM read_parquet($requests) WHERE request IN (SELECT request FROM chosen))
        SELECT request, arm, rank, ad, pctr, pcvr, bid_usd, quality, multiplier, slot
        FROM read_parquet($candidates) JOIN arms USING (request)
        WHERE request IN (SELECT request FROM chosen) ORDER BY request, rank
        """,
        {"chosen": pa.table({"request": np.asarray(requests, np.int64)})},
    )
    request, first, row = np.unique(found["request"], return_index=True, return_inverse=True)
    shape = len(request), int(found["rank"].max(initial=-1)) + 1

    def spread(name: str, none: float) -> np.ndarray:
        whole = np.full(shape, none, found[name].dtype)
        whole[row, found["rank"]] = found[name]
        return whole

    return Auctions(
        request, found["arm"][first], spread("ad", -1), spread("pctr", 0), spread("pcvr", 0), spread("bid_usd", 0),
        spread("quality", 1), spread("multiplier", 0), spread("slot", -1),
    )  # fmt: skip


def campaigns_of(auctions: Auctions, own: Advertisers) -> IdArray:
    """(m, k) campaigns of the candidates, -1 where there is none.

    Raises:
        Refused: If an ad is none of the scenario's.
    """
    if (auctions.ad >= len(own.ad_campaign)).any():
        raise Refused(f"ad {auctions.ad.max()} is in the log, the scenario has {len(own.ad_campaign)} ads")
    return np.where(auctions.ad >= 0, own.ad_campaign[auctions.ad], np.int32(-1))


def hold(rules: Rules, auctions: Auctions, own: Advertisers, bid: FloatArray | None = None) -> Allocation:
    """Hold auctions again; all by the same rules.

    Args:
        bid: (m, k) instead of those that were made.
    """
    campaign = campaigns_of(auctions, own)
    bid = auctions.bid if bid is None else bid
    reserve = own.reserve_usd[campaign]
    sold = rules.mechanism(bid, auctions.quality, reserve)
    if rules.withheld.any():
        hold_again(sold, rules.mechanism, rules.withheld[campaign], bid, auctions.quality, reserve)
    return rules.shuffle(auctions.request, sold)


def logged(simulation: Path, auctions: Auctions, slots: int) -> Allocation:
    """What the log says that the auctions came to."""
    found = columns_of(
        simulation,
        """SELECT request, slot, ad, price_micros FROM read_parquet($impressions)
        WHERE request IN (SELECT request FROM chosen)""",
        {"chosen": pa.table({"request": auctions.request})},
    )
    row, shape = np.searchsorted(auctions.request, found["request"]), (len(auctions.request), slots)
    winner, price = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    place = row, found["slot"]
    of_ad = auctions.ad[row] == found["ad"][:, None]
    winner[place] = np.where(of_ad.any(axis=1), of_ad.argmax(axis=1), -1)
    price[place] = found["price_micros"]
    return Allocation(winner=winner, price_micros=price)


def same(one: Allocation, other: Allocation) -> BoolArray:
    """(m,) auctions with the same winners and prices, to the micro."""
    alike = (one.winner == other.winner) & (one.price_micros == other.price_micros)
    return np.asarray(alike.all(axis=1))


def by_each(rules: Rules, scenario: Scenario) -> dict[str, Rules]:
    """The same rules with each mechanism: with the arm's squash where a mechanism has one; second price sells the top slot."""
    slots = scenario.world.feed.slot_effect
    made: dict[str, Callable[[], Mechanism]] = {
        name: partial(mechanism_of, rules.auction.model_copy(update={"mechanism": name}), slots) for name in MECHANISMS
    }
    return {name: rules._replace(mechanism=make()) for name, make in made.items()}


def scores(rules: Rules, auctions: Auctions) -> FloatArray:
    """(m, k) what candidates are ranked by: bid x quality ** squash."""
    return auctions.bid * weight(auctions.quality, rules.auction.squash)
