"""Deep hierarchical ensemble network (Zhang et al. 2022): layers of crossing modules of different kinds."""

import torch
from torch import Tensor, nn

from models.config import (
    CrossConfig,
    DotConfig,
    FmConfig,
    HstuConfig,
    LayerConfig,
    MaskNetConfig,
    MlpConfig,
    ModuleConfig,
    ProductConfig,
    SenetConfig,
    TransformerConfig,
)
from models.crossing.attention import Hstu, Transformer
from models.crossing.cross import Cross
from models.crossing.fm import Fm
from models.crossing.masknet import MaskNet
from models.crossing.mlp import Mlp
from models.crossing.pairs import Dot, Product
from models.crossing.senet import Senet

_MODULES: dict[type, type[nn.Module]] = {
    MlpConfig: Mlp, FmConfig: Fm, DotConfig: Dot, ProductConfig: Product, CrossConfig: Cross, SenetConfig: Senet,
    MaskNetConfig: MaskNet, TransformerConfig: Transformer, HstuConfig: Hstu,
}  # fmt: skip


def crossing(config: ModuleConfig, tokens: int, width: int) -> nn.Module:
    """The module that a setting names, (b, tokens, width) to (b, tokens, width)."""
    return _MODULES[type(config)](tokens, width, config)


class Layer(nn.Module):
    """LN(ensemble of the modules' outputs + input); the ensemble is their sum, or a linear mix of all their tokens."""

    def __init__(self, config: LayerConfig, tokens: int, width: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(crossing(module, tokens, width) for module in config.modules)
        concat = config.ensemble == "concat"
        self.mix = nn.Linear(tokens * len(config.modules), tokens, bias=False) if concat else None
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        outputs = [module(x) for module in self.members]
        if self.mix is None:
            together = torch.stack(outputs).sum(dim=0)
        else:
            together = self.mix(torch.cat(outputs, dim=1).transpose(1, 2)).transpose(1, 2)
        return self.norm(together + x)


def dhen(layers: tuple[LayerConfig, ...], tokens: int, width: int) -> nn.Sequential:
    """One layer after the other."""
    return nn.Sequential(*(Layer(layer, tokens, width) for layer in layers))
