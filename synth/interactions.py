"""Interactions: user x item x context, of low rank and not additive: sum over r of a[u, r] b[j, r] c[context, r].

None of the three tells anything alone, nor any two of them: only a model that crosses all three learns it. The form is
the canonical polyadic one (Carroll & Chang 1970).
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from synth import draws
from synth.config import InteractionConfig
from synth.draws import Cause
from synth.types import DAYPARTS, Float32Array


class Mix(NamedTuple):
    """Factors of the three sides."""

    user: Float32Array  # (U, rank)
    store: Float32Array  # (S, rank)
    context: Float32Array  # (DAYPARTS * platforms, rank)
    weight: float  # divided by sqrt(rank); 0 switches it off


def make_mix(config: InteractionConfig, user: Float32Array, store: Float32Array, n_platforms: int, seed: int) -> Mix:
    """Add the context's factors to those drawn with users and stores."""
    context = np.arange(DAYPARTS * n_platforms)[:, None]
    factors = draws.normal(seed, Cause.CONTEXT_MIX, context, np.arange(config.rank)).astype(np.float32)
    return Mix(user, store, factors, config.weight / np.sqrt(config.rank))


@register_jitable
def interaction(mix: Mix, user: int, store: int, part: int, platform: int) -> float:
    """Logits of a user, a store and a context."""
    if mix.weight == 0.0:
        return 0.0
    context = platform * DAYPARTS + part
    total = 0.0
    for r in range(mix.context.shape[1]):
        total += mix.user[user, r] * mix.store[store, r] * mix.context[context, r]
    return mix.weight * total
