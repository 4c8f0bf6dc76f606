"""Users: where they live, what they like, how often and when they come."""

from typing import NamedTuple

import numpy as np

from synth import draws
from synth.config import InteractionConfig, MarginalsConfig, PopulationConfig
from synth.draws import Cause
from synth.types import Float32Array, FloatArray, IdArray

TASTE_DIMS = 8


class Users(NamedTuple):
    """The population, one entry per user (U of them)."""

    region: IdArray  # (U,)
    platform: IdArray  # (U,) position in the scenario's platform_share
    segment: IdArray  # (U,) true group of taste; hidden
    cohort: IdArray  # (U,) the platform's guess of the segment
    activity: FloatArray  # (U,) mean sessions per day, before fatigue; hidden
    daypart: IdArray  # (U,) usual part of the day; hidden
    price_sensitivity: Float32Array  # (U,) standard normal; hidden
    exploration: Float32Array  # (U,) standard normal; hidden
    taste: Float32Array  # (U, TASTE_DIMS) unit variance; hidden
    mix: Float32Array  # (U, rank) factors of the interaction with items and contexts; hidden

    def rows(self, start: int, stop: int) -> "Users":
        """Users start to stop - 1, as views."""
        return Users._make(column[start:stop] for column in self)


def make_users(
    config: PopulationConfig,
    marginals: MarginalsConfig,
    interaction: InteractionConfig,
    daypart_share: FloatArray,
    seed: int,
    first: int,
    stop: int,
) -> Users:
    """Draw the users first to stop - 1, each by its own id: so shards drawn apart are those of the whole.

    Args:
        daypart_share: (DAYPARTS,) share of visits in each part of the day.
    """
    user = np.arange(first, stop)
    segment = _pick(draws.uniform(seed, Cause.USER_SEGMENT, user), config.segments)
    other = 1 + _pick(draws.uniform(seed, Cause.USER_COHORT, user, 1), max(config.segments - 1, 1))
    known = draws.uniform(seed, Cause.USER_COHORT, user) < config.cohort_accuracy
    spread = config.activity_sigma
    return Users(
        region=_pick(draws.uniform(seed, Cause.USER_REGION, user), config.regions),
        platform=draws.choose(config.platform_share, draws.uniform(seed, Cause.USER_PLATFORM, user)),
        segment=segment,
        cohort=np.where(known, segment, (segment + other) % config.segments).astype(np.int32),
        activity=marginals.sessions_per_day
        * np.exp(spread * draws.normal(seed, Cause.USER_ACTIVITY, user) - spread**2 / 2),
        daypart=draws.choose(daypart_share, draws.uniform(seed, Cause.USER_DAYPART, user)),
        price_sensitivity=draws.normal(seed, Cause.USER_PRICE_SENSITIVITY, user).astype(np.float32),
        exploration=draws.normal(seed, Cause.USER_EXPLORATION, user).astype(np.float32),
        taste=around(seed, Cause.USER_TASTE, user, centres(seed, Cause.SEGMENT_TASTE, config.segments)[segment],
                     config.taste_spread),
        mix=draws.normal(seed, Cause.USER_MIX, user[:, None], np.arange(interaction.rank)).astype(np.float32),
    )  # fmt: skip


def centres(seed: int, cause: Cause, n: int) -> Float32Array:
    """Centres of n groups, standard normal: (n, TASTE_DIMS)."""
    return draws.normal(seed, cause, np.arange(n)[:, None], np.arange(TASTE_DIMS)).astype(np.float32)


def around(seed: int, cause: Cause, member: np.ndarray, centre: Float32Array, spread: float) -> Float32Array:
    """Vectors around their centres (m, TASTE_DIMS), of unit variance in each dimension."""
    noise = draws.normal(seed, cause, member[:, None], np.arange(TASTE_DIMS)).astype(np.float32)
    noise *= np.float32(spread)
    noise += centre
    noise /= np.float32(np.sqrt(1 + spread**2))
    return noise


def _pick(uniform: FloatArray, n: int) -> IdArray:
    return (uniform * n).astype(np.int32)
