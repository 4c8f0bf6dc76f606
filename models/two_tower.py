"""Two towers (Covington et al. 2016; Yi et al. 2019): a vector of the request and one of the ad, which meet in a dot product.

No feature of the pair enters, so ads can be scored by one product with the vectors of all of them: the light ranker of a cascade.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.config import TwoTowerConfig
from models.inputs import Inputs, Shape
from models.network import Columns
from models.schema import Schema
from models.sequence.lists import Lists
from models.sequence.pooling import Mean
from models.slots import Slots


class TwoTower(nn.Module):
    """Per task, logit = user . ad + bias of the user + bias of the ad + effect of the slot.

    Args:
        schema: Of the log that it is trained on.
        config: Widths of the towers.
        shape: Sizes of that log.
    """

    def __init__(self, schema: Schema, config: TwoTowerConfig, shape: Shape) -> None:
        super().__init__()
        self.inputs = inputs = Inputs(schema, config, shape)
        self.tasks, self.vector = config.tasks, config.vector
        self.pools = nn.ModuleList(
            Mean(places if c.ordered else 0) for places, c in zip(shape.places, inputs.lists, strict=True)
        )
        out = len(config.tasks) * (config.vector + 1)
        self.user = _tower((inputs.request_width + config.embedding * len(self.pools), *config.tower, out))
        self.item = _tower((inputs.ad_width, *config.tower, out))
        self.slot = nn.Embedding(shape.n_slots, len(config.tasks))
        self.slots = Slots(config.correct.position, shape.n_slots)
        self.seen_slots = shape.n_slots if config.correct.position == "feature" else 1
        nn.init.zeros_(self.slot.weight)

    def request(self, categorical: Tensor, dense: Tensor, lists: list[Lists]) -> tuple[list[Tensor], list[Tensor]]:
        """The vectors (n, T (v + 2)) of requests; and the embeddings of their lists' values."""
        x, events = self.inputs.request(categorical, dense, lists)
        pooled = [pool(e, of).to(x.dtype) for pool, e, of in zip(self.pools, events, lists, strict=True)]
        return [self._vectors(self.user(torch.cat([x, *pooled], dim=1)), first=True)], events

    def ad(self, categorical: Tensor, dense: Tensor, vector: Tensor) -> list[Tensor]:
        """The vectors (A, T (v + 2)) of ads."""
        return [self._vectors(self.item(self.inputs.ad(categorical, dense, vector)[0]), first=False)]

    def pair(self, request: list[Tensor], ad: list[Tensor], cross: Tensor, slot: Tensor) -> Tensor:
        """Logits (n, k, T) of requests, their candidates' ads (n, k, .) and slots (k,); cross features do not enter."""
        user, item = (vectors.float().unflatten(-1, (len(self.tasks), -1)) for vectors in (request[0], ad[0]))  # type: ignore[no-untyped-call]
        return (user.unsqueeze(1) * item).sum(dim=3) + self.slot(slot.clamp(max=self.seen_slots - 1)).float()

    def forward(self, columns: Columns, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For training: logits (n, k, T), and nothing else to learn from."""
        n, k, _ = columns.cross.shape
        request, _ = self.request(columns.categorical, columns.dense, columns.lists)
        ads = self.ad(columns.ad_categorical, columns.ad_dense, columns.ad_vector)
        logit = self.pair(request, [part.view(n, k, -1) for part in ads], columns.cross, columns.slot)
        return logit, logit.new_zeros(())

    def _vectors(self, out: Tensor, *, first: bool) -> Tensor:
        """Each task's vector, its own bias, and a one to take the other side's bias."""
        vector, bias = out.unflatten(1, (len(self.tasks), -1)).split([self.vector, 1], dim=2)  # type: ignore[no-untyped-call]
        one = torch.ones_like(bias)
        return torch.cat([vector, *((bias, one) if first else (one, bias))], dim=2).flatten(1)


def _tower(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
