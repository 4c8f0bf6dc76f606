"""Online bias: predicted clicks times a factor of the campaign that follows what the arm's own ads brought.

Expected clicks are those of the prediction as the model made it, before the factor, so that the factor goes to real over expected
clicks of the model itself, wherever it stands. Were they expected of what was served, a right factor would look like no bias and
go back to 1. Only clicks count, which are known at once: conversions come late, and a factor that took those still missing for
none would learn the delay.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from marketplace.arm import Arm
from marketplace.serve import Scored
from marketplace.tick import Shown
from synth.types import BoolArray, Float32Array, FloatArray, IntArray

_Clicks = tuple[IntArray, FloatArray, BoolArray]  # campaign, expected and real, (m,) each


@dataclass(slots=True, kw_only=True, eq=False)
class Online:
    """The arms' factors as published last, and what has come since."""

    arms: tuple[Arm, ...]
    states: list[FloatArray]  # of each arm's bias
    factor: Float32Array  # (arms, c + 1) published; the last is for no campaign, -1
    unpublished: list[list[_Clicks]] = field(default_factory=list)  # by arm, in the order of requests

    def correct(self, scored: Scored) -> Scored:
        """Multiply the models' predicted clicks by their factor, and cut them at 1; a fallback's stand."""
        if all(arm.bias is None for arm in self.arms):
            return scored
        factor = np.where(scored.late, np.float32(1.0), self.factor[scored.side, scored.campaign])
        pctr = scored.raw_pctr * factor
        return replace(scored, pctr=np.minimum(pctr, np.float32(1.0)))

    def count(self, scored: Scored, shown: Shown, slot_effect: FloatArray) -> None:
        """Count the ads shown in a tick: clicks expected of the model alone in their slots, and real ones."""
        for position, (arm, waiting) in enumerate(zip(self.arms, self.unpublished, strict=True)):
            if arm.bias is None:
                continue
            in_time = ~np.take_along_axis(scored.late, np.maximum(shown.column, 0), axis=1)
            row, slot = np.nonzero((shown.ad >= 0) & (shown.arm == position) & in_time)
            raw = scored.raw_pctr[row, shown.column[row, slot]].astype(np.float64)
            waiting.append((shown.campaign[row, slot], slot_effect[slot] * raw, shown.outcomes.clicked[row, slot]))

    def publish(self) -> None:
        """Let serving have factors of what has been counted; summed at once, so that ticks do not show in the rounding."""
        for position, (arm, waiting) in enumerate(zip(self.arms, self.unpublished, strict=True)):
            if arm.bias is None or not waiting:
                continue
            campaign, expected, real = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
            self.states[position] = arm.bias.update(
                self.states[position], campaign, expected, real.astype(np.float64)
            )  # fmt: skip
            self.factor[position, :-1] = arm.bias.factor(self.states[position])
            waiting.clear()


def new_online(arms: tuple[Arm, ...], n_campaigns: int) -> Online:
    """Factors of 1: an arm knows nothing of its own ads yet."""
    return Online(
        arms=arms,
        states=[np.empty((0, 2)) if arm.bias is None else arm.bias.init(n_campaigns) for arm in arms],
        factor=np.ones((len(arms), n_campaigns + 1), np.float32),
        unpublished=[[] for _ in arms],
    )
