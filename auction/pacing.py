"""Pacing: spread a budget over the day by scaling bids; algorithms as triples of pure functions whose state the caller holds."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from auction.types import FloatArray


class Pacer(NamedTuple):
    """init(n_campaigns) -> state; update(state, spend, target) -> state; multiplier(state) -> (c,) in (0, 1].

    Spend and target are of the interval just ended, each as a share of the campaign's budget for the day.
    """

    init: Callable[[int], FloatArray]
    update: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
    multiplier: Callable[[FloatArray], FloatArray]


def unpaced() -> Pacer:
    """Bid the full value until the budget is gone."""
    return Pacer(np.zeros, lambda state, spend, target: state, np.ones_like)


def dual_descent(*, step: float, mu_max: float = 20.0) -> Pacer:
    """Adaptive pacing: bid value / (1 + mu), mu rising when spend runs ahead of target (Balseiro & Gur 2019).

    Args:
        step: Change of mu for spending one whole budget above target.
        mu_max: Largest mu.

    Raises:
        ValueError: If step or mu_max is not positive.
    """
    if not step > 0:
        raise ValueError(f"step is {step}, it must be > 0")
    if not mu_max > 0:
        raise ValueError(f"mu_max is {mu_max}, it must be > 0")

    def update(state: FloatArray, spend: FloatArray, target: FloatArray) -> FloatArray:
        return np.clip(state - step * (target - spend), 0.0, mu_max)

    def multiplier(state: FloatArray) -> FloatArray:
        return 1.0 / (1.0 + state)

    return Pacer(np.zeros, update, multiplier)
