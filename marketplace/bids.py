"""Bids: what campaigns pay for and how much, and what a candidate is worth to its auction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from auction.pricing import Pricing, competing_bids
from marketplace.arm import tested_campaigns
from marketplace.scenario import AuctionConfig, Scenario
from synth.campaigns import GOALS, PRICINGS
from synth.types import BoolArray, Float32Array, FloatArray, IdArray
from synth.world import World


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


def campaign_terms(scenario: Scenario, world: World, bid_factors: Sequence[float] = (1.0,)) -> Terms:
    """The campaigns of `world` in arms with these factors of bids, under the scenario's reserves."""
    campaigns, basket = world.population.campaigns, scenario.world.marginals.basket_usd
    pricing = np.array([Pricing[name.upper()] for name in PRICINGS], np.int32)[campaigns.pricing]
    return Terms(
        pricing=np.tile(pricing, len(bid_factors)),
        bid_usd=np.concatenate([factor * campaigns.bid_usd for factor in bid_factors]),
        reserve_usd=np.tile(reserve_of(scenario.auction)[campaigns.pricing], len(bid_factors)),
        goal=np.tile(campaigns.goal, len(bid_factors)),
        ad_campaign=world.population.ads.campaign,
        tested=tested_campaigns(scenario),
        ad_value_usd=basket * np.exp(world.population.stores.log_price[world.population.ads.store].astype(np.float64)),
    )


def reserve_of(auction: AuctionConfig) -> FloatArray:
    """Least price, USD per billable event, by position in `synth.campaigns.PRICINGS`."""
    reserve = {
        "cpm": auction.reserve_cpm_usd, "cpc": auction.reserve_cpc_usd, "cpa": auction.reserve_cpa_usd,
        "ocpm": auction.reserve_ocpm_usd, "value": auction.reserve_ocpm_usd,
    }  # fmt: skip
    return np.array([reserve[name] for name in PRICINGS])


def worth(line: IdArray, ad: IdArray, pctr: Float32Array, pcvr: Float32Array, terms: Terms) -> FloatArray:
    """(n, k) USD per examined impression: the whole bid times the probability of its billable event; 0 where there is no ad."""
    whole = np.ones_like(terms.bid_usd)
    bid, quality = bids(line, ad, pctr, pcvr, terms, whole, whole > 0)
    return bid * quality


def bids(
    line: IdArray, ad: IdArray, pctr: Float32Array, pcvr: Float32Array, terms: Terms, multiplier: FloatArray, active: BoolArray
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Bid per billable event and probability of that event, (n, k) each, as `auction.pricing.competing_bids` has them.

    Args:
        multiplier: (lines,) of bids.
        active: (lines,) False for those who bid nothing.
    """
    clicks_will_do = (terms.goal == GOALS.index("click"))[line]
    return competing_bids(
        line, terms.pricing, terms.bid_usd, multiplier, active, pctr, np.where(clicks_will_do, np.float32(1.0), pcvr),
        terms.ad_value_usd.astype(np.float32)[ad],
    )  # fmt: skip
