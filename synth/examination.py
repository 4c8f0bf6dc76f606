"""Examination: which slots a user looks at.

pbm: each slot is looked at independently (Craswell, Zoeter, Taylor & Ramsey 2008, the position-based model). cascade: from the
top, one after the other; a click may end the scan (the dependent click model of Guo, Liu & Wang 2009). Without clicks both
have the same probability at each slot: attention(surface) x slot effect ^ depth(platform).
"""

from typing import NamedTuple

import numpy as np

from synth.config import FeedConfig
from synth.types import FloatArray


class Examination(NamedTuple):
    """The law of looking."""

    effect: FloatArray  # (surfaces, platforms, s) probability that a slot is looked at, if nothing above is clicked
    cascade: bool
    stop: float  # cascade: probability that a click ends the scan


def examination_of(config: FeedConfig, slot_effect: tuple[float, ...], n_platforms: int) -> Examination:
    """The scenario's law.

    Args:
        slot_effect: (s,) what was solved for, so that the mean over platforms, after clicks, is what the scenario asks.
    """
    attention = np.array([surface.attention for surface in config.surfaces])
    depth = np.array(config.depths(n_platforms))
    effect = attention[:, None, None] * np.asarray(slot_effect) ** depth[None, :, None]
    return Examination(effect, config.model == "cascade", config.stop_after_click)
