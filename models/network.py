"""A multi-task network over requests, ads and pairs, its first layer split by side.

The first layer's sum has a part of the request (computed once for its k candidates), a part of the ad (computed once per
published table of ads) and a part of the pair; only the last, and the layers above, cost per candidate. User and ad also meet as
an elementwise product of two vectors, as in product-based networks (Qu et al. 2016).

Where there is a crossing, that sum is what every input is projected to: tokens (b, t, d), which the crossing's layers take, and
dense layers after them. Where there is none, the sum is the first dense layer.

A list enters by its encoders: as a pool of its events beside the request's other inputs, or, where the encoder looks at the
target, per candidate beside the pair's.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.config import (
    AdsformerConfig,
    BstConfig,
    DinConfig,
    LastConfig,
    MaskedConfig,
    MeanConfig,
    NetworkConfig,
    NextActionConfig,
    SelfSupervisedConfig,
    SequenceConfig,
    VectorsConfig,
)
from models.dhen import dhen
from models.errors import Unusable
from models.inputs import Inputs, Shape
from models.multitask import Towers
from models.schema import Kind, Schema, Side
from models.sequence.adsformer import Adsformer
from models.sequence.bst import Bst
from models.sequence.din import Din
from models.sequence.lists import Lists
from models.sequence.pooling import Last, Mean, weighed
from models.sequence.selfsupervised import Masked, NextAction
from models.slots import Slots

_LINEAR = 16  # columns of the first layer that go to the heads unbent, if the network is wide


_TARGETED: dict[type, type[nn.Module]] = {DinConfig: Din, BstConfig: Bst, AdsformerConfig: Adsformer}
_ALONE: dict[type, type[nn.Module]] = {NextActionConfig: NextAction, MaskedConfig: Masked}


class Columns(NamedTuple):
    """Requests (n) with their candidates (k), as tensors."""

    categorical: Tensor  # (n, Rc)
    dense: Tensor  # (n, Rd)
    lists: list[Lists]
    ad_categorical: Tensor  # (n k, Ac)
    ad_dense: Tensor  # (n k, Ad)
    ad_vector: Tensor  # (n k, V)
    cross: Tensor  # (n, k, X)
    slot: Tensor  # (k,)


class Net(nn.Module):
    """The layers.

    Args:
        schema: Of the log that it is trained on.
        config: Widths of the layers.
        shape: Sizes of that log.

    Raises:
        Unusable: If an encoder is of a list that there is not, or needs a target that ads do not have.
    """

    def __init__(self, schema: Schema, config: NetworkConfig, shape: Shape) -> None:
        super().__init__()
        self.inputs = inputs = Inputs(schema, config, shape)
        self.tasks = config.tasks
        d = config.embedding
        # a pool, or an encoder that looks at a target, of the list at a place of the schema
        self.pools, self.pool_of = nn.ModuleList(), []
        self.encoders, self.encoder_of, self.target_of = nn.ModuleList(), [], []
        self.vectors_of: list[int] = []
        for part in config.sequences:
            for i in _chosen(part, schema, targets=type(part) in _TARGETED):
                column, places = inputs.lists[i], shape.places[i]
                if isinstance(part, VectorsConfig):
                    self.vectors_of += [i] if column.values_of in shape.items else []
                elif isinstance(part, MeanConfig | LastConfig):
                    ordered = places if column.ordered else 0
                    self.pools.append(Last(part.events) if isinstance(part, LastConfig) else Mean(ordered))
                    self.pool_of.append(i)
                else:
                    self.encoders.append(_TARGETED[type(part)](d, places, part))
                    self.encoder_of.append(i)
                    self.target_of.append(inputs.ad_columns.index(column.values_of))
        self.alone, self.alone_of = nn.ModuleList(), []
        self.alone_weight: list[float] = []
        for loss in config.self_supervised:
            for i in _chosen(loss, schema, targets=False, ordered=True):
                self.alone.append(_ALONE[type(loss)](d, shape.places[i], loss))
                self.alone_of.append(i)
                self.alone_weight.append(loss.weight)
        pooled = d * len(self.pools) + sum(shape.items[inputs.lists[i].values_of] for i in self.vectors_of)
        self.token_width = config.token_width if config.crossing else 0
        self.crossing = dhen(config.crossing, config.tokens, config.token_width)
        bottom = config.tokens * config.token_width if config.crossing else config.hidden[0]
        self.linear_width = _LINEAR if config.wide else 0
        self.first = bottom + self.linear_width
        self.request_part = nn.Linear(inputs.request_width + pooled, self.first + d)
        self.ad_part = nn.Linear(inputs.ad_width, self.first + d)
        encoded = sum(encoder.out for encoder in self.encoders)  # type: ignore[misc]
        self.cross_part = nn.Linear(inputs.cross_width + d + encoded, self.first, bias=False)
        self.slot_part = nn.Embedding(shape.n_slots, self.first)
        self.slots = Slots(config.correct.position, shape.n_slots)
        self.seen_slots = shape.n_slots if config.correct.position == "feature" else 1
        widths = (bottom, *config.hidden) if config.crossing else config.hidden
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.heads = Towers(widths[-1] + self.linear_width, config.tasks, config.towers)
        nn.init.normal_(self.slot_part.weight, std=0.05)

    def request(self, categorical: Tensor, dense: Tensor, lists: list[Lists]) -> tuple[list[Tensor], list[Tensor]]:
        """What requests bring, once for all their candidates.

        Returns:
            Part of the first layer and vector that meets the ad's (n, h + d), then of each encoder its list's events
            (n, places, d) and which places are filled (n, places); and the embeddings (L, d) of each list's values.
        """
        x, events = self.of_requests(categorical, dense, lists)
        spread = {i: (lists[i].spread(events[i]), lists[i].spread(lists[i].values, -1) >= 0) for i in self.encoder_of}
        return [self.request_part(x), *(part for i in self.encoder_of for part in spread[i])], events

    def of_requests(self, categorical: Tensor, dense: Tensor, lists: list[Lists]) -> tuple[Tensor, list[Tensor]]:
        """What enters `request_part` (n, .), pooled lists last; and the embeddings (L, d) of each list's values."""
        x, events = self.inputs.request(categorical, dense, lists)
        pooled = [pool(events[i], lists[i]) for pool, i in zip(self.pools, self.pool_of, strict=True)]
        for i in self.vectors_of:
            vectors = self.inputs.vectors(self.inputs.lists[i].values_of, lists[i].values)
            pooled.append(weighed(vectors, torch.ones(len(vectors), device=x.device), lists[i]))
        return torch.cat([x, *(p.to(x.dtype) for p in pooled)], dim=1), events

    def ad(self, categorical: Tensor, dense: Tensor, vector: Tensor) -> list[Tensor]:
        """What ads bring: part of the first layer and vector (A, h + d), then of each encoder the target (A, d)."""
        x, embedded = self.inputs.ad(categorical, dense, vector)
        return [self.ad_part(x), *(embedded[:, column] for column in self.target_of)]

    def pair(self, request: list[Tensor], ad: list[Tensor], cross: Tensor, slot: Tensor) -> Tensor:
        """Logits (n, k, T) of requests, their candidates' ads (n, k, .), cross features (n, k, X) and slots (k,) or (1,).

        A slot past those of the training log has the effect of the last of them; none has, where slots are not a feature.
        """
        effect = self.slot_part(slot.clamp(max=self.seen_slots - 1))
        return self.meet(request, ad, self.inputs.scaled(Side.CROSS, cross), effect)

    def meet(self, request: list[Tensor], ad: list[Tensor], scaled: Tensor, effect: Tensor) -> Tensor:
        """Logits as of `pair`, from scaled cross features (n, k, X) and effects of slots (k, h), (1, h) or (n, k, h)."""
        own, user = request[0].unsqueeze(1).split([self.first, request[0].shape[1] - self.first], dim=2)  # type: ignore[no-untyped-call]
        other, vector = ad[0].split([self.first, ad[0].shape[2] - self.first], dim=2)  # type: ignore[no-untyped-call]
        encoded = [
            encoder(target, events, filled)
            for encoder, target, events, filled in zip(self.encoders, ad[1:], request[1::2], request[2::2], strict=True)
        ]
        meeting = torch.cat([part.to(vector.dtype) for part in (scaled, user * vector, *encoded)], dim=2)
        own = own + effect.to(own.dtype)  # one slot for all candidates stays one row per request
        first = self.cross_part(meeting).add_(other).add_(own)
        n, k, _ = first.shape
        bent = self.first - self.linear_width
        deep = first.flatten(0, 1)
        linear = [deep[:, bent:]] if self.linear_width else []
        if self.token_width:
            deep = self.crossing(deep[:, :bent].unflatten(1, (-1, self.token_width))).flatten(1)
        else:
            deep = deep[:, :bent].relu() if linear else deep.relu_()
        for layer in self.hidden:
            deep = layer(deep).relu_()
        return self.heads(torch.cat([deep, *linear], dim=1) if linear else deep).view(n, k, -1)

    def forward(self, columns: Columns, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For training: logits (n, k, T), and the weighed sum of the self-supervised losses."""
        n, k, _ = columns.cross.shape
        request, events = self.request(columns.categorical, columns.dense, columns.lists)
        ads = self.ad(columns.ad_categorical, columns.ad_dense, columns.ad_vector)
        logit = self.pair(request, [part.view(n, k, -1) for part in ads], columns.cross, columns.slot)
        alone = logit.new_zeros(())
        for loss, i, weight in zip(self.alone, self.alone_of, self.alone_weight, strict=True):
            lists = columns.lists[i]
            ids, embedded = lists.spread(lists.values, -1), lists.spread(events[i])
            alone = alone + weight * loss(ids, embedded, generator)
        return logit, alone


def _chosen(
    part: SequenceConfig | SelfSupervisedConfig, schema: Schema, *, targets: bool, ordered: bool = False
) -> list[int]:
    """Places among the schema's lists of those that a part of the network is for: the named ones, or all that suit it."""
    lists = schema.columns(Kind.LIST, Side.REQUEST)
    ads = [c.name for c in schema.columns(Kind.CATEGORICAL, Side.AD)]
    suits = [(not targets or c.values_of in ads) and (c.ordered or not (ordered or targets)) for c in lists]
    names = [c.name for c in lists]
    for name in part.lists:
        if name not in names:
            known = ", ".join(names) or "none"
            raise Unusable(f"{part.kind} is of the list {name}, which is no list; there are {known}")
        if targets and lists[names.index(name)].values_of not in ads:
            raise Unusable(f"{part.kind} is of the list {name}, whose values are no category of ads")
    return [i for i, name in enumerate(names) if (name in part.lists if part.lists else suits[i])]
