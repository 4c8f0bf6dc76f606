"""Deep interest network (Zhou et al. 2018)."""

import torch
from torch import Tensor, nn

from models.config import DinConfig


class Din(nn.Module):
    """Sum of the events, each weighed by w . PReLU(W [e; t; e - t; e * t] + b) + c for the target t.

    No softmax, so that how much interest there is counts too. PReLU and not Dice, whose batch statistics would let a row depend
    on its company in training.
    """

    def __init__(self, width: int, places: int, config: DinConfig) -> None:
        super().__init__()
        self.out = width
        self.inner = nn.Linear(4 * width, config.hidden)
        self.slope = nn.Parameter(torch.full((config.hidden,), 0.25))
        self.outer = nn.Linear(config.hidden, 1)

    def forward(self, target: Tensor, events: Tensor, filled: Tensor) -> Tensor:
        """Targets (n, k, d), events (n, h, d) and (n, h) to (n, k, d); zeros where a list is empty."""
        inner = self.hidden(target, events)
        inner = nn.functional.prelu(inner.flatten(0, 2), self.slope.to(inner.dtype)).view_as(inner)
        weight = self.outer(inner).squeeze(3).masked_fill(~filled.unsqueeze(1), 0.0)
        return weight @ events.to(weight.dtype)

    def hidden(self, target: Tensor, events: Tensor) -> Tensor:
        """First layer (n, k, h, hidden): a part of the event, once per request, one of the target, and one of the pair.

        W [e; t; e - t; e * t] = (We + Wd) e + (Wt - Wd) t + Wp (e * t).
        """
        own, other, difference, product = self.inner.weight.chunk(4, dim=1)
        linear = nn.functional.linear
        of_event = linear(events, own + difference, self.inner.bias).unsqueeze(1)
        of_target = linear(target, other - difference).unsqueeze(2)
        return linear(target.unsqueeze(2) * events.unsqueeze(1), product) + of_event + of_target
