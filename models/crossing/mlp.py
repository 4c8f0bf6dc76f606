"""Dense layers."""

from torch import Tensor, nn

from models.config import MlpConfig


class Mlp(nn.Module):
    """Two dense layers over all tokens beside one another: implicit crosses of any order."""

    def __init__(self, tokens: int, width: int, config: MlpConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(tokens * width, config.hidden)
        self.outer = nn.Linear(config.hidden, tokens * width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        return self.outer(self.dropout(self.inner(x.flatten(1)).relu())).view_as(x)
