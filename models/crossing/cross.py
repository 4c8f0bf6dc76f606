"""Cross layers: DCN (Wang et al. 2017) and DCN v2 (Wang et al. 2021)."""

import torch
from torch import Tensor, nn

from models.config import CrossConfig


class Cross(nn.Module):
    """Explicit crosses, one order more per layer.

    DCN: x_(l+1) = x_0 (w_l . x_l) + b_l + x_l. DCN v2: x_(l+1) = x_0 * (W_l x_l + b_l) + x_l, W_l perhaps of low rank.
    """

    def __init__(self, tokens: int, width: int, config: CrossConfig) -> None:
        super().__init__()
        size, rank = tokens * width, config.rank
        vector = config.weight == "vector"
        self.steps = nn.ModuleList(VectorStep(size) if vector else MatrixStep(size, rank) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        first = last = x.flatten(1)
        for step in self.steps:
            last = step(first, last)
        return last.view_as(x)


class VectorStep(nn.Module):
    """x_0 (w . x) + b + x."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Linear(size, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, first: Tensor, last: Tensor) -> Tensor:
        """(b, size) both."""
        return first * self.weight(last) + self.bias + last


class MatrixStep(nn.Module):
    """x_0 * (W x + b) + x."""

    def __init__(self, size: int, rank: int | None) -> None:
        super().__init__()
        self.weight: nn.Module = nn.Linear(size, size)
        if rank is not None:
            self.weight = nn.Sequential(nn.Linear(size, rank, bias=False), nn.Linear(rank, size))

    def forward(self, first: Tensor, last: Tensor) -> Tensor:
        """(b, size) both."""
        return first * self.weight(last) + last
