"""Lifetimes: users go away, each at a rate of their own, and come back at one rate for all.

As customers of Pareto/NBD do (Schmittlein, Morrison & Colombo 1987, Counting your customers, Management Science 33(1)), but
that some come back: what a log of purchases can tell of it, `fitting` finds.
"""

import numpy as np
from numba import njit
from scipy.special import gammaincinv

from synth import draws
from synth.config import LifetimeConfig
from synth.draws import Cause, uniform1
from synth.types import BoolArray, FloatArray


def present(config: LifetimeConfig, users: int, day: int, seed: int) -> BoolArray:
    """(users,) who is there at the beginning of a day.

    Args:
        config: Its laws.
        users: The first so many.
        day: Days since the start, when all are there.
        seed: Of what happens.
    """
    there = np.empty(users, np.bool_)
    _present(np.uint64(seed), leaving_rate(config, users, seed), 1 / config.away_days, day, there)
    return there


def leaving_rate(config: LifetimeConfig, users: int, seed: int) -> FloatArray:
    """(users,) rate per day at which each goes away while there: a gamma's quantile of a keyed draw."""
    quantile = gammaincinv(config.leaving_shape, draws.uniform(seed, Cause.LEAVING_RATE, np.arange(users)))
    rate: FloatArray = config.leaving_per_day / config.leaving_shape * quantile
    return rate


@njit(cache=True, nogil=True)
def _present(seed: int, leaving: FloatArray, back: float, day: int, there: BoolArray) -> None:
    """Stays and absences in turn, exponential, from the start to the day."""
    for u in range(there.size):
        there[u], at, turn = True, 0.0, 0
        while True:
            rate = leaving[u] if there[u] else back
            if rate <= 0.0:
                break
            at -= np.log(uniform1(seed, Cause.LEAVING, u, turn)) / rate
            if at > day:
                break
            there[u], turn = not there[u], turn + 1
