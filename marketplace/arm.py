"""Arms: what the sides of an experiment do their own way."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from auction import Allocation, first_price, gsp, second_price, vcg
from marketplace.cascade import Cascade, Predict
from marketplace.scenario import ArmConfig, AuctionConfig, CacheKey, Scenario
from models.bias import Bias
from synth import draws
from synth.draws import Cause
from synth.types import BoolArray, FloatArray, IntArray

Mechanism = Callable[[FloatArray, FloatArray, FloatArray], Allocation]  # bid, quality, reserve, each (n, k)


class Shuffle(NamedTuple):
    """Requests whose winners are put in the slots at random, so that what a slot does can be told from what an ad does."""

    share: float = 0.0  # of the requests
    seed: int = 0

    def chosen(self, request: IntArray) -> BoolArray:
        """(n,) which of the requests."""
        return draws.uniform(self.seed, Cause.RANDOMISED, request) < self.share

    def __call__(self, request: IntArray, sold: Allocation) -> Allocation:
        """Winners of the chosen requests in the order of a draw each, empty slots last; a winner keeps its price."""
        rows = np.flatnonzero(self.chosen(request)) if self.share else np.empty(0, np.int64)
        winner, price = sold.winner[rows], sold.price_micros[rows]
        lot = draws.uniform(self.seed, Cause.SLOT, request[rows, None], np.arange(winner.shape[1]))
        order = np.argsort(np.where(winner >= 0, lot, 2.0), axis=1, kind="stable")
        sold.winner[rows] = np.take_along_axis(winner, order, axis=1)
        sold.price_micros[rows] = np.take_along_axis(price, order, axis=1)
        return sold


class CacheRule(NamedTuple):
    """How predictions are used again."""

    ttl_ms: int  # while they are younger
    key: CacheKey  # whose requests share those for an ad


class Fallback(NamedTuple):
    """What is predicted for the requests whose predictions come too late."""

    predict: Predict
    share: float  # of the requests
    seed: int

    def late(self, request: IntArray) -> BoolArray:
        """(n,) which of the requests."""
        return draws.uniform(self.seed, Cause.LATE_SCORE, request) < self.share


class Arm(NamedTuple):
    """What a side of an experiment does its own way."""

    name: str
    predict: Predict
    mechanism: Mechanism
    device: str = "cpu"  # that it predicts on
    shuffle: Shuffle = Shuffle()
    bias: Bias | None = None  # follows the bias of predicted clicks by campaign
    bid_factor: float = 1.0  # of all bids
    withheld: BoolArray | None = None  # (c,) campaigns whose ads win and are not shown; none where None
    cascade: Cascade | None = None  # all that is retrieved is ranked and auctioned where None
    cache: CacheRule | None = None  # of predictions; each is made anew where None
    fallback: Fallback | None = None  # every prediction is in time where None


def withheld_by(arm: ArmConfig, n_campaigns: int) -> BoolArray:
    """(c,) campaigns whose ads the arm does not show."""
    if isinstance(arm.withhold, str):
        return np.full(n_campaigns, arm.withhold == "all")
    return np.isin(np.arange(n_campaigns), arm.withhold)


def tested_campaigns(scenario: Scenario) -> BoolArray:
    """(c,) campaigns whose ads some arm of the experiment withholds."""
    n_campaigns = scenario.world.campaigns.count
    return np.any([withheld_by(arm, n_campaigns) for arm in scenario.arms.values()], axis=0)


def mechanism_of(auction: AuctionConfig, slot_effect: Sequence[float]) -> Mechanism:
    """The scenario's mechanism, ready to run."""
    slots = len(slot_effect)
    rules: dict[str, Callable[..., Allocation]] = {
        "gsp": partial(gsp, n_slots=slots, squash=auction.squash),
        "first_price": partial(first_price, n_slots=slots, squash=auction.squash),
        "vcg": partial(vcg, slot_effect=slot_effect),
        "second_price": second_price,
    }
    rule = rules[auction.mechanism]
    return lambda bid, quality, reserve: rule(bid, quality, reserve=reserve)
