"""What a slot does to a click, learned beside the relevance by gradients: a term of the logit, or a factor of the probability."""

import torch
from torch import Tensor, nn

from models.multitask import product_logit
from models.position import SlotCurve

_KINDS = ("tower", "pal", "ipw")


class Slots(nn.Module):
    """A curve over slots, nothing at the top one.

    Args:
        position: "tower" adds to the logit, "pal" multiplies by a probability of looking, "ipw" takes probabilities that were
            measured, which are no part of the training's loss; any other does nothing.
        n_slots: Of the training log.
    """

    def __init__(self, position: str, n_slots: int) -> None:
        super().__init__()
        self.position = position
        self.below = nn.Parameter(torch.zeros(n_slots - 1), requires_grad=self.learned) if position in _KINDS else None

    @property
    def learned(self) -> bool:
        """Whether the curve is part of what is trained."""
        return self.position in ("tower", "pal")

    def forward(self, logit: Tensor, slot: Tensor) -> Tensor:
        """Logits (n, k) of a click at the top to those in slots (k,)."""
        if not self.learned or self.below is None or not len(self.below):
            return logit
        under = self.below[(slot - 1).clamp(min=0, max=len(self.below) - 1)].expand_as(logit)
        there = logit + under if self.position == "tower" else product_logit(logit, under)
        return torch.where(slot > 0, there, logit)

    @torch.no_grad()
    def begin(self, rate: Tensor) -> None:
        """Start where the rates of clicks (s,) would be right, if all slots had the same ads."""
        if self.below is not None:
            rate = rate.clamp(1e-6, 1 - 1e-6)
            additive = rate.logit() - rate[0].logit()
            self.below.copy_((additive if self.position == "tower" else (rate / rate[0]).clamp(0.01, 0.99).logit())[1:])

    @torch.no_grad()
    def measured(self, propensity: Tensor) -> None:
        """Take propensities (s,)."""
        if self.below is not None:
            self.below.copy_(propensity[1:].clamp(max=1 - 1e-6).logit())

    def curve(self) -> SlotCurve | None:
        """As numbers; None where slots are no matter of their own."""
        if self.below is None:
            return None
        below = self.below.detach().double().cpu()
        if self.position == "tower":
            return SlotCurve("additive", torch.cat([torch.zeros(1), below]).numpy())
        return SlotCurve("product", torch.cat([torch.ones(1), below.sigmoid()]).numpy())
