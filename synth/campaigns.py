"""Campaigns: what advertisers aim at, pay for and can spend, whom and when they address; and their ads."""

from typing import NamedTuple

import numpy as np

from synth import draws
from synth.config import CampaignConfig, MarginalsConfig, PopulationConfig
from synth.draws import Cause
from synth.items import Stores
from synth.types import DAY_MS, DAYPARTS, BoolArray, FloatArray, IdArray, IntArray, daypart_of

PRICINGS = ("cpm", "cpc", "cpa", "ocpm", "value")
GOALS = ("click", "cart", "checkout", "sign_up")
COHORT_BIT = 8  # of an audience; the bits below are platforms


class Campaigns(NamedTuple):
    """One entry per campaign (C of them)."""

    pricing: IdArray  # (C,) position in PRICINGS
    goal: IdArray  # (C,) position in GOALS: the event that is its conversion
    bid_usd: FloatArray  # (C,) per impression, click or goal; oCPM: target per goal; value: USD per USD of order value
    daily_budget_usd: FloatArray  # (C,)
    audience: IntArray  # (C,) bits of the platforms and of the cohorts that it addresses
    flight: IntArray  # (C,) phase in days of its runs and pauses, -1 where it never pauses
    dayparts: IntArray  # (C,) bits of the parts of the day that it runs in
    delay: FloatArray  # (C,) factor of the slow part of its delays, mean 1


class Ads(NamedTuple):
    """One entry per ad (A of them): one store of one campaign."""

    campaign: IdArray  # (A,)
    store: IdArray  # (A,)
    of_store: IdArray  # (S,) the ad of each store, -1 where it has none


def make_ads(config: CampaignConfig, n_stores: int) -> Ads:
    """Lay out the ads: the first stores, in turn."""
    store = np.arange(config.count * config.stores_per_campaign, dtype=np.int32)
    of_store = np.full(n_stores, -1, np.int32)
    of_store[store] = store
    campaign = np.repeat(np.arange(config.count, dtype=np.int32), config.stores_per_campaign)
    return Ads(campaign, store, of_store)


def make_campaigns(
    config: CampaignConfig, marginals: MarginalsConfig, population: PopulationConfig, delay_sigma: float, stores: Stores,
    seed: int,
) -> Campaigns:  # fmt: skip
    """Draw the campaigns.

    An advertiser bids what the event that it pays for is worth to it: the value of an order times the market's mean number of
    orders per event, which is what it can know.
    """
    campaign = np.arange(config.count)
    pricing = draws.choose(
        (config.cpm_share, config.cpc_share, config.cpa_share, config.ocpm_share, config.value_share),
        draws.uniform(seed, Cause.CAMPAIGN_PRICING, campaign),
    )
    goal = _goals(config, pricing, draws.uniform(seed, Cause.CAMPAIGN_GOAL, campaign))
    advertised = stores.log_price[: config.count * config.stores_per_campaign].astype(np.float64)
    price_level = np.exp(advertised).reshape(config.count, -1).mean(axis=1)
    share = config.take_rate * _lognormal(seed, Cause.CAMPAIGN_TARGET, campaign, config.value_sigma)
    order = share * marginals.basket_usd * price_level
    by_goal = order * np.array([marginals.cvr, marginals.cvr / marginals.carts, 1.0, config.sign_up_worth])[goal]
    bid = np.stack([order * marginals.ctr * marginals.cvr, order * marginals.cvr, by_goal, by_goal, share])
    return Campaigns(
        pricing=pricing,
        goal=goal,
        bid_usd=bid[pricing, campaign],
        daily_budget_usd=config.daily_budget_usd
        * _lognormal(seed, Cause.CAMPAIGN_BUDGET, campaign, config.budget_sigma),
        audience=_audiences(config, population, seed),
        flight=_flights(config, seed),
        dayparts=_dayparts(config, seed),
        delay=_lognormal(seed, Cause.CAMPAIGN_DELAY, campaign, delay_sigma),
    )


def on_air(campaigns: Campaigns, flight_days: int, time_ms: int) -> BoolArray:
    """(c,) campaigns whose schedule lets them run at a time; it changes with the part of the day at most."""
    day, bit = time_ms // DAY_MS, np.int64(1) << daypart_of(time_ms)
    running = (campaigns.flight < 0) | ((day + campaigns.flight) % (2 * flight_days) < flight_days)
    return running & ((campaigns.dayparts & bit) > 0)


def live(campaigns: Campaigns, ads: Ads, stores: Stores, flight_days: int, time_ms: int) -> BoolArray:
    """(A,) ads on the air at a time: their store is open, their campaign's schedule lets them run."""
    return on_air(campaigns, flight_days, time_ms)[ads.campaign] & (stores.launch_ms[ads.store] <= time_ms)


def _goals(config: CampaignConfig, pricing: IdArray, uniform: FloatArray) -> IdArray:
    click, cart, sign_up = config.click_goal_share, config.cart_goal_share, config.sign_up_goal_share
    drawn = draws.choose((click, cart, 1 - click - cart - sign_up, sign_up), uniform)
    ocpm, cpa, checkout = PRICINGS.index("ocpm"), PRICINGS.index("cpa"), np.int32(GOALS.index("checkout"))
    free = (pricing == ocpm) | ((pricing == cpa) & (drawn > 0))
    return np.where(free, drawn, checkout)


def _audiences(config: CampaignConfig, population: PopulationConfig, seed: int) -> IntArray:
    campaign, platforms, cohorts = np.arange(config.count), len(population.platform_share), population.segments
    left_out = (draws.uniform(seed, Cause.CAMPAIGN_AUDIENCE, campaign, 1) * platforms).astype(np.int64)
    narrow = draws.uniform(seed, Cause.CAMPAIGN_AUDIENCE, campaign) < config.platform_share
    on = (np.int64(1) << platforms) - 1 - np.where(narrow, np.int64(1) << left_out, 0)
    some = draws.uniform(seed, Cause.CAMPAIGN_AUDIENCE, campaign, 2) < config.cohort_share
    lot = draws.uniform(seed, Cause.CAMPAIGN_AUDIENCE, campaign[:, None], 3 + np.arange(cohorts))
    half = np.argsort(np.argsort(lot, axis=1), axis=1) < -(-cohorts // 2)
    addressed = (np.where(some[:, None], half, True) * (np.int64(1) << np.arange(cohorts))).sum(axis=1)
    return on | (addressed << COHORT_BIT)


def _flights(config: CampaignConfig, seed: int) -> IntArray:
    campaign = np.arange(config.count)
    paused = draws.uniform(seed, Cause.CAMPAIGN_FLIGHT, campaign) < config.flighted_share
    phase = (draws.uniform(seed, Cause.CAMPAIGN_FLIGHT, campaign, 1) * 2 * config.flight_days).astype(np.int64)
    return np.where(paused, phase, -1)


def _dayparts(config: CampaignConfig, seed: int) -> IntArray:
    campaign = np.arange(config.count)
    some = draws.uniform(seed, Cause.CAMPAIGN_DAYPARTS, campaign) < config.daypart_share
    first = (draws.uniform(seed, Cause.CAMPAIGN_DAYPARTS, campaign, 1) * DAYPARTS).astype(np.int64)
    on = ((np.arange(DAYPARTS) - first[:, None]) % DAYPARTS < DAYPARTS // 2) | ~some[:, None]
    return (on * (np.int64(1) << np.arange(DAYPARTS))).sum(axis=1)


def _lognormal(seed: int, cause: Cause, entity: IntArray, sigma: float) -> FloatArray:
    """Factors with mean 1."""
    return np.exp(sigma * draws.normal(seed, cause, entity) - sigma**2 / 2)
