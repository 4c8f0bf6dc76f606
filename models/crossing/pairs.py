"""Products of pairs of tokens: dot products (DLRM, Naumov et al. 2019) and product layers (PNN, Qu et al. 2016)."""

import torch
from torch import Tensor, nn

from models.config import DotConfig, ProductConfig


class Dot(nn.Module):
    """Dot products of all pairs, projected back to tokens."""

    pair: Tensor

    def __init__(self, tokens: int, width: int, config: DotConfig) -> None:
        super().__init__()
        self.register_buffer("pair", pairs(tokens), persistent=False)
        self.outer = nn.Linear(self.pair.shape[1], tokens * width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        return self.outer(dots(x, self.pair)).view_as(x)


class Product(nn.Module):
    """The tokens, beside inner products of all pairs or the outer product of their sum with itself."""

    pair: Tensor

    def __init__(self, tokens: int, width: int, config: ProductConfig) -> None:
        super().__init__()
        self.outer_products = config.product == "outer"
        self.register_buffer("pair", pairs(tokens), persistent=False)
        products = width * width if self.outer_products else self.pair.shape[1]
        self.outer = nn.Linear(tokens * width + products, tokens * width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        if self.outer_products:
            total = x.sum(dim=1)
            products = (total.unsqueeze(2) * total.unsqueeze(1)).flatten(1)
        else:
            products = dots(x, self.pair)
        return self.outer(torch.cat([x.flatten(1), products], dim=1)).view_as(x)


def pairs(tokens: int) -> Tensor:
    """(2, t (t - 1) / 2) the pairs i < j."""
    return torch.triu_indices(tokens, tokens, offset=1)


def dots(x: Tensor, pair: Tensor) -> Tensor:
    """(b, t, d) to (b, pairs), divided by the root of the width."""
    return (x @ x.transpose(1, 2))[:, pair[0], pair[1]] * x.shape[2] ** -0.5
