"""Encoder of adSformers (Awad et al. 2023), the first component of their personalisation module."""

import torch
from torch import Tensor, nn

from models.config import AdsformerConfig
from models.sequence.block import NEVER, Block, placed, positions


class Adsformer(nn.Module):
    """One block over target and events with learned positions, then the greatest or the mean of each dimension."""

    def __init__(self, width: int, places: int, config: AdsformerConfig) -> None:
        super().__init__()
        self.out = width
        self.greatest = config.pool == "max"
        self.position = positions(width, places)
        self.block = Block(width, config.heads, config.feed_forward, config.dropout)

    def forward(self, target: Tensor, events: Tensor, filled: Tensor) -> Tensor:
        """Targets (n, k, d), events (n, h, d) and (n, h) to (n, k, d)."""
        own, others = self.block(*placed(target, events, self.position), filled)
        free = ~filled[:, None, :, None]
        if self.greatest:
            return torch.cat([own, others.masked_fill(free, NEVER)], dim=2).amax(dim=2)
        total = own.squeeze(2) + others.masked_fill(free, 0.0).sum(dim=2)
        return total / (1 + filled.sum(dim=1))[:, None, None]
