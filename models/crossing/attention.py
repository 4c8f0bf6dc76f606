"""Attention among tokens: the Transformer (Vaswani et al. 2017) and HSTU (Zhai et al. 2024)."""

import torch
from torch import Tensor, nn

from models.config import HstuConfig, TransformerConfig


class Transformer(nn.Module):
    """Encoder blocks, normed before each part."""

    def __init__(self, tokens: int, width: int, config: TransformerConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(width, config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        for block in self.blocks:
            x = block(x)
        return x


class TransformerBlock(nn.Module):
    """x + attention(LN(x)), then x + feed-forward(LN(x))."""

    def __init__(self, width: int, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, config.feed_forward), nn.Linear(config.feed_forward, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        q, k, v = (split(part, self.heads) for part in self.queries_keys_values(self.before(x)).chunk(3, dim=2))
        x = x + self.dropout(self.mix(merge(attend(q, k, v))))
        return x + self.dropout(self.outer(self.inner(self.between(x)).relu()))


class Hstu(nn.Module):
    """Blocks of pointwise attention, gated: x + mix(LN(silu(q k') v / t) * u), with u, q, k, v = silu(linear(LN(x)))."""

    def __init__(self, tokens: int, width: int, config: HstuConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(HstuBlock(width, config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        for block in self.blocks:
            x = block(x)
        return x


class HstuBlock(nn.Module):
    """One block; weights are not made to sum to 1, so how much there is to attend to counts too."""

    def __init__(self, width: int, config: HstuConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.parts = nn.Linear(width, 4 * width)
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        gate, *rest = nn.functional.silu(self.parts(self.before(x))).chunk(4, dim=2)
        q, k, v = (split(part, self.heads) for part in rest)
        weight = nn.functional.silu(q @ k.transpose(2, 3)) / x.shape[1]
        return x + self.mix(self.after(merge(weight @ v)) * gate)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention, (b, heads, t, e) each; on the processor by two products, which are faster there for few tokens."""
    if q.is_cuda:
        return nn.functional.scaled_dot_product_attention(q, k, v)
    weight = torch.softmax(q @ k.transpose(2, 3) * q.shape[3] ** -0.5, dim=3)
    return weight.to(v.dtype) @ v


def split(x: Tensor, heads: int) -> Tensor:
    """(b, t, d) to (b, heads, t, d / heads)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """(b, heads, t, e) to (b, t, heads e)."""
    return x.transpose(1, 2).flatten(2)
