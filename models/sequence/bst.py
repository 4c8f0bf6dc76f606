"""Behaviour sequence transformer (Chen et al. 2019)."""

import torch
from torch import Tensor, nn

from models.config import BstConfig
from models.sequence.block import Block, placed, positions


class Bst(nn.Module):
    """Blocks over target and events with learned positions; the outputs of all places beside one another.

    Positions are ranks of recency and are added; in the paper they are times since, and stand beside the item.
    """

    def __init__(self, width: int, places: int, config: BstConfig) -> None:
        super().__init__()
        self.places, self.out = places, (1 + places) * width
        self.position = positions(width, places)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.feed_forward, config.dropout) for _ in range(config.layers)
        )

    def forward(self, target: Tensor, events: Tensor, filled: Tensor) -> Tensor:
        """Targets (n, k, d), events (n, h, d) and (n, h) to (n, k, (1 + places) d), the target first, zeros if free."""
        own, others = placed(target, events, self.position)
        for block in self.blocks:
            own, others = block(own, others, filled)
        y = torch.cat([own, others.masked_fill(~filled[:, None, :, None], 0.0)], dim=2)
        return nn.functional.pad(y.flatten(2), (0, self.out - y.shape[2] * y.shape[3]))
