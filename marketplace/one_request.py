"""One request's auction, step by step, beside the truth of its candidates and beside what other mechanisms would have done."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auction import Allocation
from auction.types import MICROS
from marketplace.advertisers import Advertisers, pricings_of
from marketplace.chances import attention_of
from marketplace.errors import Refused
from marketplace.landscape import due
from marketplace.replay import (
    Auctions,
    Rules,
    by_each,
    campaigns_of,
    hold,
    logged,
    read_auctions,
    rules_of,
    same,
    scores,
)
from marketplace.scenario import Scenario
from marketplace.slices import Rows, columns_of, rows_of
from synth.campaigns import GOALS
from synth.types import FloatArray


class Replayed(NamedTuple):
    """A request's auction, held again."""

    about: dict[str, Any]  # request, time_ms, user, arm (position), randomised, surface (position), mechanism, squash
    candidates: Rows  # best score first; those that do not compete last
    mechanisms: Rows  # a row per mechanism and slot that it fills
    totals: Rows  # a row per mechanism: ads shown, and USD that they bring in expectation
    same: bool  # whether winners and prices are those of the log, to the micro


def replay(simulation: Path, scenario: Scenario, own: Advertisers, name: str, request: int) -> Replayed:
    """Hold the auction of a request again.

    Prices are in USD per billable event. `ecpm_usd` is what a thousand looks bring, bid x quality x 1,000; `true_ecpm_usd` the
    same by the true probability of the event. What impressions bring in expectation is by the scenario's slot effects: a charge
    that needs a click or a conversion needs a look.

    Args:
        simulation: Folder of it.
        name: Its name, or `log`.

    Raises:
        Refused: If the request's auction was not logged whole, or a file is missing or damaged.
    """
    about = _about(simulation, name, request)
    auctions = read_auctions(simulation, np.array([request]))
    rules = rules_of(scenario, name)
    if len(auctions.request) == 0 or about["arm"] >= len(rules):
        raise Refused(f"request {request}: its auction was not logged whole in simulation {name}")
    mine = rules[about["arm"]]
    attention = float(attention_of(scenario)[about["surface"]])
    truth = _truth(simulation, auctions, own)
    truth["click"] = attention * truth["click"]
    sold, real = hold(mine, auctions, own), logged(simulation, auctions, len(scenario.world.feed.slot_effect))
    mechanisms, totals = _mechanisms(by_each(mine, scenario), scenario, auctions, own, truth)
    return Replayed(
        about=about | {"mechanism": mine.auction.mechanism, "squash": mine.auction.squash},
        candidates=_candidates(mine, auctions, own, sold, truth), mechanisms=mechanisms, totals=totals,
        same=bool(same(sold, real)[0]),
    )  # fmt: skip


def _about(simulation: Path, name: str, request: int) -> dict[str, Any]:
    found = rows_of(
        simulation,
        """SELECT request, time_ms, "user", arm, randomised, surface FROM read_parquet($requests)
        WHERE request = $request""",
        request=request,
    )
    if not found:
        raise Refused(f"request {request}: there is none in simulation {name}")
    return found[0]


def _truth(simulation: Path, auctions: Auctions, own: Advertisers) -> dict[str, FloatArray]:
    """(1, k) each: click given examination; conversion, the campaign's goal given a click, however late."""
    found = columns_of(
        simulation,
        "SELECT rank, click, cart, checkout, sign_up FROM read_parquet($true_candidates) WHERE request = $request",
        request=int(auctions.request[0]),
    )
    whole = {name: np.full(auctions.ad.shape, np.nan) for name in ("click", "cart", "checkout", "sign_up")}
    for name, values in whole.items():
        values[0, found["rank"]] = found[name]
    goal = own.campaigns.goal[campaigns_of(auctions, own)]
    bought = whole["cart"] * whole["checkout"]  # a campaign that aims at clicks is held to checkouts
    by_goal = {"click": bought, "cart": whole["cart"], "checkout": bought, "sign_up": whole["sign_up"]}
    conversion = np.choose(goal, [by_goal[name] for name in GOALS])
    return {"click": whole["click"], "conversion": conversion}


def _billable(auctions: Auctions, own: Advertisers, truth: dict[str, FloatArray]) -> FloatArray:
    """(m, k) true probability of the billable event, given a look at the top slot."""
    pricing = np.array(pricings_of(own))[campaigns_of(auctions, own)]
    click = truth["click"]
    return np.select([pricing == "cpc", pricing == "cpa"], [click, click * truth["conversion"]], 1.0)


def _candidates(
    rules: Rules, auctions: Auctions, own: Advertisers, sold: Allocation, truth: dict[str, FloatArray]
) -> Rows:
    campaign, names = campaigns_of(auctions, own)[0], pricings_of(own)
    score, bid = scores(rules, auctions)[0], auctions.bid[0]
    reserve, event = own.reserve_usd[campaign], _billable(auctions, own, truth)[0]
    competes = (bid > 0) & (bid >= reserve) & ~rules.withheld[campaign]
    slot = np.full(len(bid), -1)
    price = np.zeros(len(bid))
    filled = sold.winner[0] >= 0
    slot[sold.winner[0][filled]] = np.flatnonzero(filled)
    price[sold.winner[0][filled]] = sold.price_micros[0][filled] / MICROS
    states = np.select(
        [slot >= 0, bid == 0, bid < reserve, rules.withheld[campaign]],
        ["shown", "no bid", "below its reserve", "withheld"], "outbid",
    )  # fmt: skip
    there = np.flatnonzero(auctions.ad[0] >= 0)
    order = there[np.lexsort((there, -score[there], ~competes[there]))]
    return [
        {
            "place": place + 1 if competes[j] else None, "rank": int(j), "ad": int(auctions.ad[0, j]),
            "campaign": int(campaign[j]), "pricing": names[campaign[j]], "goal": GOALS[own.campaigns.goal[campaign[j]]],
            "pctr": float(auctions.pctr[0, j]), "true_ctr": float(truth["click"][0, j]),
            "pcvr": float(auctions.pcvr[0, j]), "true_cvr": float(truth["conversion"][0, j]),
            "multiplier": float(auctions.multiplier[0, j]), "bid_usd": float(bid[j]), "reserve_usd": float(reserve[j]),
            "quality": float(auctions.quality[0, j]), "true_quality": float(event[j]), "score": float(score[j]),
            "ecpm_usd": float(1e3 * bid[j] * auctions.quality[0, j]), "true_ecpm_usd": float(1e3 * bid[j] * event[j]),
            "state": str(states[j]), "slot": int(slot[j]) if slot[j] >= 0 else None,
            "price_usd": float(price[j]) if slot[j] >= 0 else None,
            "logged_slot": int(auctions.slot[0, j]) if auctions.slot[0, j] >= 0 else None,
        }
        for place, j in enumerate(order)
    ]  # fmt: skip


def _mechanisms(
    each: dict[str, Rules], scenario: Scenario, auctions: Auctions, own: Advertisers, truth: dict[str, FloatArray]
) -> tuple[Rows, Rows]:
    effect, campaign = np.asarray(scenario.world.feed.slot_effect), campaigns_of(auctions, own)
    event, names = _billable(auctions, own, truth), pricings_of(own)
    rows: Rows = []
    totals: Rows = []
    for name, rules in each.items():
        sold = hold(rules, auctions, own)
        at, filled = np.maximum(sold.winner, 0), sold.winner[0] >= 0
        price = sold.price_micros / MICROS
        pricing = own.campaigns.pricing[np.take_along_axis(campaign, at, axis=1)]
        predicted, true = (
            due(price, np.take_along_axis(by, at, axis=1), effect, pricing)[0] for by in (auctions.quality, event)
        )
        for slot in np.flatnonzero(filled):
            j = at[0, slot]
            rows.append(
                {
                    "mechanism": name, "slot": int(slot), "ad": int(auctions.ad[0, j]), "campaign": int(campaign[0, j]),
                    "pricing": names[campaign[0, j]], "bid_usd": float(auctions.bid[0, j]),
                    "price_usd": float(price[0, slot]), "expected_usd": float(predicted[slot]), "true_usd": float(true[slot]),
                }
            )  # fmt: skip
        totals.append(
            {
                "mechanism": name, "shown": int(filled.sum()), "expected_usd": float(predicted[filled].sum()),
                "true_usd": float(true[filled].sum()),
            }
        )  # fmt: skip
    return rows, totals
