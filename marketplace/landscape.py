"""Bid landscape: what a campaign would win and pay, had it bid more or less in the auctions that the log holds whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from auction.types import MICROS
from marketplace.advertisers import Advertisers
from marketplace.replay import Rules, campaigns_of, hold, read_auctions, whole_requests
from marketplace.slices import Rows
from synth.campaigns import PRICINGS
from synth.types import FloatArray, IdArray

FACTORS = tuple(float(2.0 ** (n / 4)) for n in range(-12, 13))  # an eighth to eightfold
MOST_AUCTIONS = 2_000


def landscape(
    simulation: Path, rules: Rules, own: Advertisers, slot_effect: Sequence[float], arm: int, campaign: int
) -> Rows:
    """Hold a campaign's auctions again with its bids times each factor; all other bids stay, and budgets are not charged.

    Args:
        rules: Of the arm.
        slot_effect: (s,) by which clicks are expected.
        arm: Position of the arm.
        campaign: Has a bid in all of the auctions.

    Returns:
        A row per factor: `auctions` held, of those `there`; `won`, the share of them in which an ad of the campaign is shown;
        `price_usd`, the mean per billable event of its impressions, None where there is none; `clicks` and `spend_usd` that its
        own predictions promise per 1,000 auctions. No rows where no such auction was logged whole.

    Raises:
        Refused: If a file is missing or damaged.
    """
    found = whole_requests(simulation, arm, MOST_AUCTIONS, np.flatnonzero(own.ad_campaign == campaign))
    if not found:
        return []
    auctions = read_auctions(simulation, np.array([row["request"] for row in found]))
    effect = np.asarray(slot_effect)
    mine = campaigns_of(auctions, own) == campaign
    rows = []
    for factor in FACTORS:
        sold = hold(rules, auctions, own, np.where(mine, factor * auctions.bid, auctions.bid))
        at = np.maximum(sold.winner, 0)
        shown = (sold.winner >= 0) & np.take_along_axis(mine, at, axis=1)
        price = sold.price_micros / MICROS
        click = np.take_along_axis(auctions.pctr, at, axis=1) * effect[: shown.shape[1]]
        event = np.take_along_axis(auctions.quality, at, axis=1)
        pricing = np.full(shown.shape, own.campaigns.pricing[campaign])
        rows.append(
            {
                "factor": factor, "auctions": len(shown), "there": found[0]["there"], "won": float(shown.any(axis=1).mean()),
                "price_usd": float(price[shown].mean()) if shown.any() else None,
                "clicks": 1e3 * float(click[shown].sum()) / len(shown),
                "spend_usd": 1e3 * float(due(price, event, effect, pricing)[shown].sum()) / len(shown),
            }
        )  # fmt: skip
    return rows


def due(price_usd: FloatArray, event: FloatArray, slot_effect: FloatArray, pricing: IdArray) -> FloatArray:
    """(m, s) USD that impressions bring in expectation: at once, or with a click or conversion that needs a look.

    Args:
        price_usd: (m, s) per billable event.
        event: (m, s) its probability given examination.
        slot_effect: (s,) probability of a look.
        pricing: (m, s) position in PRICINGS.
    """
    by_event = np.isin(pricing, (PRICINGS.index("cpc"), PRICINGS.index("cpa")))
    return price_usd * np.where(by_event, event * slot_effect[: price_usd.shape[1]], 1.0)
