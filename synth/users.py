"""Users: where they live, what they like, how often they come."""

from typing import NamedTuple

import numpy as np

from synth import draws
from synth.config import PopulationConfig
from synth.draws import Cause
from synth.types import Float32Array, FloatArray, IdArray

TASTE_DIMS = 8


class Users(NamedTuple):
    """The population, one entry per user (U of them)."""

    region: IdArray  # (U,)
    platform: IdArray  # (U,) position in the scenario's platform_share
    segment: IdArray  # (U,) true group of taste; hidden
    cohort: IdArray  # (U,) the platform's guess of the segment
    activity: FloatArray  # (U,) mean requests per day
    price_sensitivity: Float32Array  # (U,) standard normal; hidden
    taste: Float32Array  # (U, TASTE_DIMS) unit variance; hidden


def make_users(config: PopulationConfig, seed: int) -> Users:
    """Draw the population, each user by its own id."""
    user = np.arange(config.users)
    segment = _pick(draws.uniform(seed, Cause.USER_SEGMENT, user), config.segments)
    other = 1 + _pick(draws.uniform(seed, Cause.USER_COHORT, user, 1), max(config.segments - 1, 1))
    known = draws.uniform(seed, Cause.USER_COHORT, user) < config.cohort_accuracy
    bounds = np.cumsum(config.platform_share)[:-1]
    spread = config.activity_sigma
    return Users(
        region=_pick(draws.uniform(seed, Cause.USER_REGION, user), config.regions),
        platform=np.searchsorted(bounds, draws.uniform(seed, Cause.USER_PLATFORM, user)).astype(np.int32),
        segment=segment,
        cohort=np.where(known, segment, (segment + other) % config.segments).astype(np.int32),
        activity=config.requests_per_day
        * np.exp(spread * draws.normal(seed, Cause.USER_ACTIVITY, user) - spread**2 / 2),
        price_sensitivity=draws.normal(seed, Cause.USER_PRICE_SENSITIVITY, user).astype(np.float32),
        taste=clustered(seed, Cause.SEGMENT_TASTE, Cause.USER_TASTE, segment, config.taste_spread),
    )


def clustered(seed: int, centre: Cause, member: Cause, group: IdArray, spread: float) -> Float32Array:
    """Vectors around the centre of their group, unit variance in each of TASTE_DIMS dimensions: (len(group), dims)."""
    dims = np.arange(TASTE_DIMS)
    centres = draws.normal(seed, centre, np.arange(group.max() + 1)[:, None], dims)
    noise = draws.normal(seed, member, np.arange(len(group))[:, None], dims)
    return ((centres[group] + spread * noise) / np.sqrt(1 + spread**2)).astype(np.float32)


def _pick(uniform: FloatArray, n: int) -> IdArray:
    return (uniform * n).astype(np.int32)
