"""MaskNet (Wang, She & Zhang 2021): instance-guided masks."""

import torch
from torch import Tensor, nn

from models.config import MaskNetConfig


class MaskNet(nn.Module):
    """Mask blocks over the tokens, each ReLU(LN(W (mask * x))), the mask drawn from all tokens.

    In parallel all blocks mask the normed tokens; in series each masks what the block before gave.
    """

    def __init__(self, tokens: int, width: int, config: MaskNetConfig) -> None:
        super().__init__()
        size, self.serial = tokens * width, config.arrangement == "serial"
        self.norm = nn.LayerNorm(width)
        inputs = [config.hidden if self.serial and i else size for i in range(config.blocks)]
        self.blocks = nn.ModuleList(MaskBlock(size, own, config.hidden, config.dropout) for own in inputs)
        self.outer = nn.Linear(config.hidden * (1 if self.serial else config.blocks), size)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        guide, own = x.flatten(1), self.norm(x).flatten(1)
        if self.serial:
            for block in self.blocks:
                own = block(guide, own)
        else:
            own = torch.cat([block(guide, own) for block in self.blocks], dim=1)
        return self.outer(own).view_as(x)


class MaskBlock(nn.Module):
    """A mask of two dense layers over all tokens, put on the block's own input."""

    def __init__(self, size: int, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.aggregate = nn.Linear(size, hidden)
        self.project = nn.Linear(hidden, inputs)
        self.dense = nn.Linear(inputs, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        nn.init.ones_(self.project.bias)  # at first nothing is masked

    def forward(self, guide: Tensor, own: Tensor) -> Tensor:
        """Tokens beside one another (b, size) and what to mask (b, inputs) to (b, hidden)."""
        mask = self.project(self.aggregate(guide).relu())
        return self.dropout(self.norm(self.dense(mask * own)).relu())
