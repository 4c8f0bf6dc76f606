"""Advertisers: the campaigns of a scenario and what follows from them, without the users of its world."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from auction import to_micros
from marketplace.bids import reserve_of
from marketplace.errors import Refused
from marketplace.scenario import Scenario
from synth.campaigns import GOALS, PRICINGS, Campaigns, make_ads, make_campaigns
from synth.delay import DelayLaw, delay_laws, solve_delay
from synth.errors import Impossible
from synth.items import make_stores
from synth.types import FloatArray, IdArray, IntArray


class Advertisers(NamedTuple):
    """Campaigns (C of them), their ads (A) and the laws of their delays."""

    campaigns: Campaigns
    ad_campaign: IdArray  # (A,)
    ad_store: IdArray  # (A,)
    reserve_usd: FloatArray  # (C,) per billable event
    daily_micros: IntArray  # (C,) budgets
    delays: tuple[DelayLaw, ...]  # by event, in the order of `synth.types.EVENTS`


def advertisers_of(scenario: Scenario) -> Advertisers:
    """Draw the campaigns of a scenario again.

    Raises:
        Refused: If no delays go through the scenario's points.
    """
    world, seed = scenario.world, scenario.seed
    stores = make_stores(
        world.catalogue, world.taste, world.interaction, world.drift, world.population.regions, seed
    )  # fmt: skip
    campaigns = make_campaigns(
        world.campaigns, world.marginals, world.population, world.delay.campaign_sigma, stores, seed
    )
    ads = make_ads(world.campaigns, world.catalogue.stores)
    try:
        checkout = solve_delay(world.marginals.delay, campaigns.delay)
    except Impossible as error:
        raise Refused(f"scenario {scenario.name}: {error}") from error
    return Advertisers(
        campaigns=campaigns, ad_campaign=ads.campaign, ad_store=ads.store,
        reserve_usd=reserve_of(scenario.auction)[campaigns.pricing], daily_micros=to_micros(campaigns.daily_budget_usd),
        delays=delay_laws(checkout, world.delay),
    )  # fmt: skip


def campaign_table(own: Advertisers) -> pa.Table:
    """Columns campaign, pricing, goal and daily_micros, to join a log with."""
    campaigns = own.campaigns
    return pa.table(
        {
            "campaign": np.arange(len(campaigns.pricing), dtype=np.int32), "pricing": campaigns.pricing,
            "goal": [GOALS[goal] for goal in campaigns.goal], "daily_micros": own.daily_micros,
        }
    )  # fmt: skip


def pricings_of(own: Advertisers) -> list[str]:
    """(C,) names of what campaigns pay for."""
    return [PRICINGS[pricing] for pricing in own.campaigns.pricing]
