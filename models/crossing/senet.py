"""FiBiNET (Huang, Zhang & Zhang 2019): squeeze and excitation, then bilinear products."""

from torch import Tensor, nn

from models.config import SenetConfig
from models.crossing.pairs import pairs


class Senet(nn.Module):
    """Tokens weighed by what all of them say; then, of the weighed ones, the pairs x_i W * x_j, projected back."""

    pair: Tensor

    def __init__(self, tokens: int, width: int, config: SenetConfig) -> None:
        super().__init__()
        narrow = max(1, tokens // config.reduction)
        self.squeeze = nn.Linear(tokens, narrow, bias=False)
        self.excite = nn.Linear(narrow, tokens)  # the bias lets training start from equal weights
        nn.init.ones_(self.excite.bias)
        self.register_buffer("pair", pairs(tokens), persistent=False)
        self.bilinear = nn.Linear(width, width, bias=False) if config.bilinear else None
        self.outer = nn.Linear(self.pair.shape[1] * width, tokens * width) if config.bilinear else None

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d) to (b, t, d)."""
        weight = self.excite(self.squeeze(x.mean(dim=2)).relu()).relu()
        x = x * weight.unsqueeze(2)
        if self.bilinear is None or self.outer is None:
            return x
        products = self.bilinear(x)[:, self.pair[0]] * x[:, self.pair[1]]
        return x + self.outer(products.flatten(1)).view_as(x)
