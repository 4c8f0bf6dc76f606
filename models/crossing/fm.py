"""Factorisation machine (Rendle 2010), the second-order part of DeepFM (Guo et al. 2017)."""

from torch import Tensor, nn

from models.config import FmConfig


class Fm(nn.Module):
    """Sum of all pairs' elementwise products, in linear time, and a projection back to tokens."""

    def __init__(self, tokens: int, width: int, config: FmConfig) -> None:
        super().__init__()
        self.outer = nn.Linear(width, tokens * width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        return self.outer(pair_sum(x)).view_as(x)


def pair_sum(x: Tensor) -> Tensor:
    """Sum over pairs i < j of x_i * x_j: (b, t, d) to (b, d)."""
    return 0.5 * (x.sum(dim=1).square() - x.square().sum(dim=1))
