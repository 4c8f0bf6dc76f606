"""The truth behind logged impressions: what each would have brought, had a model known everything."""

from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from marketplace.errors import Refused
from marketplace.market import load_world
from marketplace.scenario import Scenario
from models.data import Dataset
from models.schema import Kind, Side
from synth.campaigns import GOALS
from synth.delay import by_campaign
from synth.types import CART, CHECKOUT, SIGN_UP, Float32Array, FloatArray, IdArray
from synth.world import World


class Rates(NamedTuple):
    """Probabilities (n, s), 0 where no ad was shown."""

    click: FloatArray  # in the slot where it was
    click_on_top: FloatArray  # in the top slot, which is what an auction bids on
    conversion: FloatArray  # attributed to the ad in the end, given a click


def true_rates(scenario: Scenario, run: Path, data: Dataset) -> Rates:
    """Of the impressions of a part of a run's log.

    Args:
        scenario: The run's.
        run: Its folder.
        data: Whole requests of its log, in the order of time.

    Raises:
        Refused: If the truth is missing or is of other impressions.
    """
    first, last = int(data.time_ms[0]), int(data.time_ms[-1])
    try:
        with duckdb.connect() as db:
            found = db.execute(
                """SELECT t.examination, t.click, t.cart, t.checkout, t.sign_up, i.campaign
                FROM read_parquet(?) t JOIN read_parquet(?) i ON i.request = t.request AND i.slot = t.slot
                WHERE i.time_ms >= ? AND i.time_ms <= ? ORDER BY i.time_ms, i.request, i.slot""",
                [str(run / "truth/impressions/*.parquet"), str(run / "log/impressions/*.parquet"), first, last],
            ).fetchnumpy()
    except duckdb.Error as error:
        raise Refused(f"the truth of {run} is damaged: {str(error).splitlines()[0]}") from error
    if len(found["click"]) != data.shown.sum():
        raise Refused(f"the truth of {run} has {len(found['click'])} impressions, its log {data.shown.sum()}")
    world = load_world(scenario, run / "truth")
    conversion = conversion_chance(
        scenario, world, found["campaign"], found["cart"], found["checkout"], found["sign_up"]
    )
    surfaces = [c.name for c in data.schema.columns(Kind.CATEGORICAL, Side.REQUEST)].index("surface")
    attention = attention_of(scenario)[data.batch.categorical[:, surfaces]]
    on_top = np.broadcast_to(attention[:, None], data.shown.shape)[data.shown]

    def spread(values: FloatArray) -> FloatArray:
        out = np.zeros(data.shown.shape)
        out[data.shown] = values
        return out

    return Rates(spread(found["examination"] * found["click"]), spread(on_top * found["click"]), spread(conversion))


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
