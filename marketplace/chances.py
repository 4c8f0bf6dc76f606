"""Chances: what the truth says of any ad in the top slot, which is what an auction bids on."""

import numpy as np

from marketplace.scenario import Scenario
from synth.campaigns import GOALS
from synth.delay import by_campaign
from synth.types import CART, CHECKOUT, SIGN_UP, Float32Array, FloatArray, IdArray
from synth.world import World


def attention_of(scenario: Scenario) -> FloatArray:
    """(surfaces,) probability that the top slot is looked at."""
    return np.array([surface.attention for surface in scenario.world.feed.surfaces])


def conversion_chance(
    scenario: Scenario, world: World, campaign: IdArray, cart: Float32Array, checkout: Float32Array, sign_up: Float32Array
) -> FloatArray:  # fmt: skip
    """Probability that a click brings a conversion which is attributed to the ad in the end.

    Args:
        scenario: Says how long conversions are attributed.
        world: Its world.
        campaign: (m,) of the ads; by its goal and its delays.
        cart: (m,) given a click, however late; likewise below.
        checkout: (m,) given a cart.
        sign_up: (m,) given a click.

    Returns:
        (m,)
    """
    window_h, factor = np.array([24 * scenario.auction.attribution_days]), world.population.campaigns.delay
    goal, bought = world.population.campaigns.goal[campaign], cart * checkout
    chance = np.zeros(len(campaign))
    # a campaign that aims at clicks is held to checkouts
    for name, event, rate in (
        ("click", CHECKOUT, bought), ("cart", CART, cart), ("checkout", CHECKOUT, bought), ("sign_up", SIGN_UP, sign_up),
    ):  # fmt: skip
        own = goal == GOALS.index(name)
        in_time = by_campaign(world.laws.delays[event], window_h, np.ones_like(factor) if event == CART else factor)[0]
        chance[own] = rate[own] * in_time[campaign[own]]
    return chance
