"""Drift: what changes with the calendar. A store's click appeal moves slowly, a cuisine has its season."""

from math import cos, pi, sin, sqrt
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from synth import draws
from synth.config import DriftConfig
from synth.draws import Cause, normal1
from synth.types import DAY_MS, Float32Array, FloatArray

_KEPT = 8


class Drift(NamedTuple):
    """The laws of change, in the units of the kernels."""

    appeal: float  # standard deviation, logits
    appeal_ms: float  # between the points that are drawn
    season: float  # amplitude, logits
    season_ms: float
    cos_phase: FloatArray  # (cuisines,) of the season
    sin_phase: FloatArray  # (cuisines,)
    points: Float32Array  # (points, S) the first points of every store's appeal, kept since they are asked for most


def make_drift(config: DriftConfig, n_cuisines: int, n_stores: int, seed: int) -> Drift:
    """Draw the seasons' phases and the first points of appeal."""
    phase = 2 * pi * draws.uniform(seed, Cause.CUISINE_SEASON, np.arange(n_cuisines))
    points = draws.normal(seed, Cause.STORE_DRIFT, np.arange(n_stores), np.arange(_KEPT)[:, None]).astype(np.float32)
    return Drift(
        config.appeal,
        config.appeal_days * DAY_MS,
        config.season,
        config.season_days * DAY_MS,
        np.cos(phase),
        np.sin(phase),
        points,
    )


@register_jitable
def drifted(seed: int, drift: Drift, store: int, time_ms: int) -> float:
    """Change of a store's click appeal, logits: normal points joined by lines, kept at unit variance in between."""
    if drift.appeal == 0.0:
        return 0.0
    point = int(time_ms // drift.appeal_ms)
    weight = time_ms / drift.appeal_ms - point
    before, after = _point(seed, drift, store, point), _point(seed, drift, store, point + 1)
    spread = sqrt((1.0 - weight) * (1.0 - weight) + weight * weight)
    return drift.appeal * ((1.0 - weight) * before + weight * after) / spread


@register_jitable
def _point(seed: int, drift: Drift, store: int, point: int) -> float:
    if 0 <= point < drift.points.shape[0]:
        return float(drift.points[point, store])
    return float(np.float32(normal1(seed, Cause.STORE_DRIFT, store, point)))


@register_jitable
def turn(drift: Drift, time_ms: int) -> tuple[float, float]:
    """Sine and cosine of the season's angle at a time, times its amplitude: what all cuisines have in common."""
    angle = 2.0 * pi * time_ms / drift.season_ms
    return drift.season * sin(angle), drift.season * cos(angle)


@register_jitable
def season(drift: Drift, cuisine: int, turned: tuple[float, float]) -> float:
    """Logits of a cuisine at a time of its year: amplitude x sin(angle + phase), by the sine of a sum."""
    return turned[0] * drift.cos_phase[cuisine] + turned[1] * drift.sin_phase[cuisine]
