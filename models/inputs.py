"""What a network makes of a log's columns: rows of one embedding table, scaled numbers, lists; the same wherever it is used.

A category's values are given rows of the table by a vocabulary: row 0 for what is missing, row 1 for all that is not in the
vocabulary, then a row for each of the commonest values of the training log. Vocabularies, scales and content vectors are buffers
that travel with the weights, so training, evaluation and serving cannot differ.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.config import TrainedConfig
from models.embedding import EmbeddingTable
from models.schema import Kind, Schema, Side
from models.sequence.lists import Lists
from models.statistics import Statistics, logged, vocabulary

_MISSING, _UNKNOWN, _KNOWN = 0, 1, 2  # rows of a category: the first two, and the first of its values


class Shape(NamedTuple):
    """Sizes that a network takes from its training log."""

    n_slots: int  # with an effect of their own
    places: tuple[int, ...]  # of each list column, that are looked at
    values: dict[str, int]  # in each category's vocabulary
    items: dict[str, int]  # width of the content vectors of a category's values


def features(schema: Schema) -> list[list[Any]]:
    """What a network's weights depend on of each feature column, in the order of the schema."""
    return [
        [c.name, str(c.kind), str(c.side), c.cardinality, c.values_of, c.ordered, c.width]
        for columns in schema.tables.values()
        for c in columns
        if c.side is not Side.NONE
    ]


class Inputs(nn.Module):
    """Embeddings and scaled numbers of requests, ads and pairs.

    Args:
        schema: Of the log that it is trained on.
        config: Of the network.
        shape: Sizes of that log.
    """

    request_starts: Tensor  # entry of each column's value 0 in `known`
    request_sizes: Tensor
    ad_starts: Tensor
    ad_sizes: Tensor
    request_logged: Tensor
    ad_logged: Tensor
    cross_logged: Tensor
    known: Tensor  # rows of the table by category and value: missing, each value, any value beyond the cardinality
    ad_mean: Tensor

    def __init__(self, schema: Schema, config: TrainedConfig, shape: Shape) -> None:
        super().__init__()
        request = schema.columns(Kind.CATEGORICAL, Side.REQUEST)
        ad = schema.columns(Kind.CATEGORICAL, Side.AD)
        lists = schema.columns(Kind.LIST, Side.REQUEST)
        self.columns = features(schema)
        self.width = d = config.embedding
        self.lists = lists
        self.places = shape.places
        self.ad_columns = [c.name for c in ad]
        self.cardinality = {c.name: c.cardinality for c in (*request, *ad)}
        self.first_row: dict[str, int] = {}
        self.start: dict[str, int] = {}
        rows = entries = 0
        for name, cardinality in self.cardinality.items():
            self.first_row[name], self.start[name] = rows, entries
            rows, entries = rows + _KNOWN + shape.values[name], entries + cardinality + 2
        self.table = EmbeddingTable(rows, d)
        self.register_buffer("known", torch.zeros(entries, dtype=torch.int32))
        for side, columns in (("request", request), ("ad", ad)):
            starts = torch.tensor([self.start[c.name] + 1 for c in columns], dtype=torch.int32)
            sizes = torch.tensor([c.cardinality for c in columns], dtype=torch.int32)
            self.register_buffer(f"{side}_starts", starts, persistent=False)
            self.register_buffer(f"{side}_sizes", sizes, persistent=False)
        for side in (Side.REQUEST, Side.AD, Side.CROSS):
            chosen = torch.from_numpy(logged(schema, config, side))
            self.register_buffer(f"{side}_logged", chosen, persistent=False)
            self.register_buffer(f"{side}_mean", torch.zeros(len(chosen)))
            self.register_buffer(f"{side}_scale", torch.ones(len(chosen)))
        sides = (Side.REQUEST, Side.AD, Side.CROSS)
        self.takes_log = {side: bool(logged(schema, config, side).any()) for side in sides}
        for name, width in shape.items.items():
            self.register_buffer(f"items_{name}", torch.zeros(self.cardinality[name] + 1, width))
        self.dense_columns = {side: schema.columns(Kind.DENSE, side) for side in sides}
        self.request_width = d * len(request) + len(self.request_logged)
        self.ad_width = d * len(ad) + len(self.ad_logged)
        self.cross_width = len(self.cross_logged)

    @torch.no_grad()
    def learn(self, statistics: Statistics, config: TrainedConfig) -> None:
        """Take vocabularies, scales and content vectors from the training log."""
        for name, counts in statistics.counts.items():
            first, start = self.first_row[name], self.start[name]
            own = torch.full((len(counts) + 2,), first + _UNKNOWN, dtype=torch.int32)
            own[0] = first + _MISSING
            values = vocabulary(counts, config.vocabulary, config.least_count)
            own[torch.from_numpy(1 + values)] = first + _KNOWN + torch.arange(len(values), dtype=torch.int32)
            self.known[start : start + len(own)] = own
        for side, spread in statistics.spread.items():
            names = [c.name for c in self.dense_columns[side]]
            scalings = [config.scalings.get(name, config.scaling) for name in names]
            between = np.array([s == "min_max" for s in scalings] + [False] * (len(spread.mean) - len(names)), np.bool_)
            width = np.where(between, spread.most - spread.least, spread.deviation)
            getattr(self, f"{side}_mean").copy_(torch.from_numpy(np.where(between, spread.least, spread.mean)))
            getattr(self, f"{side}_scale").copy_(torch.from_numpy(1 / np.where(width > 1e-6, width, 1.0)))
        for name, vectors in statistics.items.items():
            if hasattr(self, f"items_{name}"):
                there = vectors.any(axis=1)
                some, scaled = vectors[there], np.zeros_like(vectors)
                if len(some):
                    deviation = some.std(axis=0)
                    scaled[there] = (some - some.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1.0)
                getattr(self, f"items_{name}")[: len(vectors)].copy_(torch.from_numpy(scaled))

    def request(self, categorical: Tensor, dense: Tensor, lists: list[Lists]) -> tuple[Tensor, list[Tensor]]:
        """Inputs (n, .) of requests, their lists left out; and the embeddings (L, d) of each list's values."""
        size = torch.minimum(categorical, self.request_sizes)
        values = [self._clamped(v.values, c.values_of) for v, c in zip(lists, self.lists, strict=True)]
        ids = self.known[torch.cat([(size + self.request_starts).flatten(), *values])]
        own, *others = self.table(ids).split([categorical.numel(), *map(len, values)])
        own = own.view(len(categorical), categorical.shape[1] * self.width)
        return torch.cat([own, self.scaled(Side.REQUEST, dense).to(own.dtype)], dim=1), list(others)

    def ad(self, categorical: Tensor, dense: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (A, .) and embeddings (A, Ac, d) of ads."""
        embedded = self.table(self.known[torch.minimum(categorical, self.ad_sizes) + self.ad_starts])
        numbers = self.scaled(Side.AD, torch.cat([dense, vector], dim=1)).to(embedded.dtype)
        return torch.cat([embedded.flatten(1), numbers], dim=1), embedded

    def scaled(self, side: Side, values: Tensor) -> Tensor:
        """Dense inputs of one side as they were scaled over the training log."""
        if self.takes_log[side]:
            values = torch.where(getattr(self, f"{side}_logged"), values.sign() * values.abs().log1p(), values)
        return (values - getattr(self, f"{side}_mean")) * getattr(self, f"{side}_scale")

    def vectors(self, column: str, values: Tensor) -> Tensor:
        """Content vectors (L, V) of a category's values; zeros of a value that there are none of."""
        return getattr(self, f"items_{column}")[values.clamp(max=self.cardinality[column])]

    def _clamped(self, values: Tensor, column: str) -> Tensor:
        return values.clamp(max=self.cardinality[column]) + (self.start[column] + 1)
