"""Drift: what changes with the calendar. A store's click appeal moves slowly, a cuisine has its season."""

from math import pi, sin, sqrt
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from synth import draws
from synth.config import DriftConfig
from synth.draws import Cause, normal1
from synth.types import DAY_MS, FloatArray


class Drift(NamedTuple):
    """The laws of change, in the units of the kernels."""

    appeal: float  # standard deviation, logits
    appeal_ms: float  # between the points that are drawn
    season: float  # amplitude, logits
    season_ms: float
    phase: FloatArray  # (cuisines,) of the season, radians


def make_drift(config: DriftConfig, n_cuisines: int, seed: int) -> Drift:
    """Draw the seasons' phases."""
    phase = 2 * pi * draws.uniform(seed, Cause.CUISINE_SEASON, np.arange(n_cuisines))
    return Drift(config.appeal, config.appeal_days * DAY_MS, config.season, config.season_days * DAY_MS, phase)


@register_jitable
def drifted(seed: int, drift: Drift, store: int, time_ms: int) -> float:
    """Change of a store's click appeal, logits: normal points joined by lines, kept at unit variance in between."""
    if drift.appeal == 0.0:
        return 0.0
    point = int(time_ms // drift.appeal_ms)
    weight = time_ms / drift.appeal_ms - point
    before = normal1(seed, Cause.STORE_DRIFT, store, point)
    after = normal1(seed, Cause.STORE_DRIFT, store, point + 1)
    spread = sqrt((1.0 - weight) * (1.0 - weight) + weight * weight)
    return drift.appeal * ((1.0 - weight) * before + weight * after) / spread


@register_jitable
def season(drift: Drift, cuisine: int, time_ms: int) -> float:
    """Logits of a cuisine at a time of its year."""
    if drift.season == 0.0:
        return 0.0
    return drift.season * sin(2.0 * pi * time_ms / drift.season_ms + drift.phase[cuisine])
