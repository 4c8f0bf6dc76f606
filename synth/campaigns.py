"""Campaigns: what advertisers pay for, how much an order is worth to them, what they can spend; and their ads."""

from typing import NamedTuple

import numpy as np

from synth import draws
from synth.config import CampaignConfig, CatalogueConfig, MarginalsConfig
from synth.draws import Cause
from synth.items import Stores
from synth.types import FloatArray, IdArray, IntArray

PRICINGS = ("cpm", "cpc", "cpa", "ocpm")


class Campaigns(NamedTuple):
    """One entry per campaign (C of them)."""

    pricing: IdArray  # (C,) position in PRICINGS
    bid_usd: FloatArray  # (C,) per impression, click or order; the target per order for oCPM
    daily_budget_usd: FloatArray  # (C,)


class Ads(NamedTuple):
    """One entry per ad (A of them): one store of one campaign."""

    campaign: IdArray  # (A,)
    store: IdArray  # (A,)
    of_store: IdArray  # (S,) the ad of each store, -1 where it has none


def make_campaigns(
    config: CampaignConfig, catalogue: CatalogueConfig, marginals: MarginalsConfig, stores: Stores, seed: int
) -> tuple[Campaigns, Ads]:
    """Draw the campaigns and lay out their ads.

    An advertiser bids what an order is worth to it; one that pays per click or per impression multiplies that by the
    market's mean rates, which is what it can know.
    """
    campaign = np.arange(config.count)
    store = np.arange(config.count * config.stores_per_campaign)
    ads = Ads(
        campaign=np.repeat(campaign, config.stores_per_campaign).astype(np.int32),
        store=store.astype(np.int32),
        of_store=np.where(np.arange(catalogue.stores) < len(store), np.arange(catalogue.stores), -1).astype(np.int32),
    )
    price_level = np.exp(stores.log_price[store].astype(np.float64)).reshape(config.count, -1).mean(axis=1)
    value = config.take_rate * catalogue.basket_usd * price_level
    value *= _lognormal(seed, Cause.CAMPAIGN_TARGET, campaign, config.value_sigma)

    share = {"cpm": config.cpm_share, "cpc": config.cpc_share, "cpa": config.cpa_share, "ocpm": config.ocpm_share}
    bounds = np.cumsum([share[name] for name in PRICINGS])[:-1]
    pricing = np.searchsorted(bounds, draws.uniform(seed, Cause.CAMPAIGN_PRICING, campaign), side="right")
    orders_per_event = np.array([marginals.ctr * marginals.cvr, marginals.cvr, 1.0, 1.0])
    budget = config.daily_budget_usd * _lognormal(seed, Cause.CAMPAIGN_BUDGET, campaign, config.budget_sigma)
    campaigns = Campaigns(
        pricing=pricing.astype(np.int32), bid_usd=value * orders_per_event[pricing], daily_budget_usd=budget
    )
    return campaigns, ads


def _lognormal(seed: int, cause: Cause, entity: IntArray, sigma: float) -> FloatArray:
    """Factors with mean 1."""
    return np.exp(sigma * draws.normal(seed, cause, entity) - sigma**2 / 2)
