"""Fatigue: poor ads tire. A tired user looks past ads (blindness) and comes back less; rest heals.

An ad that was looked at and not clicked adds a little, a hide much, the less the more tired the user is already; a long click
takes some away; half of it is forgotten in a half-life. After long-run experiments with ad load and ad quality (Hohnhold,
O'Brien & Tang 2015, KDD), in which users who saw worse ads clicked less on later ones and searched less.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from synth.config import FatigueConfig
from synth.types import DAY_MS, FloatArray, IntArray, Outcomes, Requests


class Fatigue(NamedTuple):
    """One entry per user (U of them)."""

    level: FloatArray  # (U,) at `since_ms`, >= 0
    since_ms: IntArray  # (U,)

    def copy(self) -> "Fatigue":
        """Independent of the original from here on."""
        return Fatigue(self.level.copy(), self.since_ms.copy())

    def rows(self, start: int, stop: int) -> "Fatigue":
        """Users start to stop - 1, as views."""
        return Fatigue._make(column[start:stop] for column in self)


class Tiring(NamedTuple):
    """The laws of fatigue, in the units of the kernels."""

    gain: float
    hide: float  # gain of a hide
    relief: float  # loss by a long click
    half_life_ms: float
    blindness: float  # logits of a click per unit
    limit: float  # where gains end


def tiring_of(config: FatigueConfig) -> Tiring:
    """The scenario's laws."""
    return Tiring(
        gain=config.gain, hide=config.gain * config.hide_weight, relief=config.gain * config.relief,
        half_life_ms=config.half_life_days * DAY_MS, blindness=config.blindness, limit=config.limit,
    )  # fmt: skip


def rested(config: FatigueConfig, looks_per_day: FloatArray) -> Fatigue:
    """Users as a market of long standing has left them: gain and forgetting in balance.

    Args:
        looks_per_day: (U,) ads that each user looks at in vain.
    """
    forgotten = np.log(2) / config.half_life_days
    level = config.gain * looks_per_day / (forgotten + config.gain * looks_per_day / config.limit)
    return Fatigue(level, np.zeros(len(level), np.int64))


@register_jitable
def fatigue_at(fatigue: Fatigue, tiring: Tiring, user: int, time_ms: int) -> float:
    """Fatigue of a user at a time not before the last ad."""
    return fatigue.level[user] * 2.0 ** (-max(0, time_ms - fatigue.since_ms[user]) / tiring.half_life_ms)


def staying(fatigue: Fatigue, config: FatigueConfig, time_ms: int) -> FloatArray:
    """(U,) factor of the visits of each user: exp(-leaving x fatigue)."""
    age = np.maximum(0, time_ms - fatigue.since_ms) / (config.half_life_days * DAY_MS)
    return np.exp(-config.leaving * fatigue.level * np.exp2(-age))


def tire(fatigue: Fatigue, tiring: Tiring, requests: Requests, outcomes: Outcomes) -> None:
    """Let users feel what they were shown, request by request in order of time."""
    _tire(
        fatigue, tiring, requests.user, requests.time_ms, outcomes.examined, outcomes.clicked, outcomes.long_clicked,
        outcomes.hidden,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _tire(fatigue, tiring, user, time_ms, examined, clicked, long_clicked, hidden):  # type: ignore[no-untyped-def]
    for i in range(user.size):
        u = user[i]
        level = fatigue_at(fatigue, tiring, u, time_ms[i])
        for s in range(examined.shape[1]):
            if hidden[i, s]:
                level += tiring.hide * (1.0 - level / tiring.limit)
            elif long_clicked[i, s]:
                level -= tiring.relief
            elif examined[i, s] and not clicked[i, s]:
                level += tiring.gain * (1.0 - level / tiring.limit)
            level = min(max(level, 0.0), tiring.limit)
        fatigue.level[u] = level
        fatigue.since_ms[u] = time_ms[i]
