"""What a network has to know of a log before it learns: how often each value occurs, how dense features are spread, sizes."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.config import TrainedConfig
from models.data import Float32Array, Source
from models.errors import Unusable
from models.schema import Kind, Schema, Side

Floats = NDArray[np.float64]
Counts = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """Of the dense columns of one side, after the log where there is one: (F,) each."""

    mean: Floats
    deviation: Floats
    least: Floats
    most: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """Of a whole log, gathered block by block."""

    n_slots: int
    longest: tuple[int, ...]  # values of the longest list, by list column; at least 1
    counts: dict[str, Counts]  # (cardinality,) occurrences of a category's values, in its column and in lists of it
    spread: dict[Side, Spread]  # content vectors stand behind the ad's dense columns
    requests: tuple[int, ...]  # of each block that are trained on
    items: dict[str, Float32Array]  # content vectors by category
    taught: dict[str, Counts]  # (2,) positive rows and rows of each task


def logged(schema: Schema, config: TrainedConfig, side: Side) -> NDArray[np.bool_]:
    """(F,) True for the dense columns of a side that enter by their logarithm; content vectors stand behind them.

    Raises:
        Unusable: If a scaling is of a column that is no dense feature.
    """
    known = [c.name for own in (Side.REQUEST, Side.AD, Side.CROSS) for c in schema.columns(Kind.DENSE, own)]
    for name in config.scalings:
        if name not in known:
            raise Unusable(f"scalings names {name}, which is no dense feature; there are {', '.join(known)}")
    names = [c.name for c in schema.columns(Kind.DENSE, side)]
    own = [config.scalings.get(name, config.scaling) == "log" for name in names]
    width = sum(c.width for c in schema.columns(Kind.VECTOR, side))
    return np.array([*own, *[False] * width], np.bool_)


def log_scaled(values: Float32Array, chosen: NDArray[np.bool_]) -> Float32Array:
    """sign(x) log(1 + |x|) of the chosen columns."""
    if not chosen.any():
        return values
    return np.where(chosen, np.sign(values) * np.log1p(np.abs(values)), values)


def statistics_of(source: Source, config: TrainedConfig) -> Statistics:
    """Read a log once and gather what a network needs.

    Raises:
        Unusable: If a dense feature is not finite, a list's values are categories of no column, or a task has labels of one
            class only.
    """
    schema = source.schema
    categories = (*schema.columns(Kind.CATEGORICAL, Side.REQUEST), *schema.columns(Kind.CATEGORICAL, Side.AD))
    counts: dict[str, Counts] = {c.name: np.zeros(c.cardinality, np.int64) for c in categories}
    lists = schema.columns(Kind.LIST, Side.REQUEST)
    for c in lists:
        if c.values_of not in counts:
            raise Unusable(f"list {c.name} holds values of {c.values_of}, which is no category of requests or ads")
    longest, n_slots = [1] * len(lists), 1
    requests: list[int] = []
    items: dict[str, Float32Array] = {}
    moments = {side: _Moments(schema, config, side) for side in (Side.REQUEST, Side.AD, Side.CROSS)}
    taught: dict[str, Counts] = {task: np.zeros(2, np.int64) for task in config.tasks}
    for block in source.blocks():
        batch, shown = block.batch, block.shown
        row = batch.row[shown]
        for values, c in (
            *zip(batch.categorical.T, schema.columns(Kind.CATEGORICAL, Side.REQUEST), strict=True),
            *zip(batch.ads.categorical[row].T, schema.columns(Kind.CATEGORICAL, Side.AD), strict=True),
            *((values.values, c) for values, c in zip(batch.lists, lists, strict=True)),
        ):
            known = counts[c.values_of or c.name]
            known += np.bincount(values[(values >= 0) & (values < len(known))], minlength=len(known))
        longest = [max(known, values.longest) for known, values in zip(longest, batch.lists, strict=True)]
        moments[Side.REQUEST].add(batch.dense)
        moments[Side.AD].add(np.hstack((batch.ads.dense, batch.ads.vector))[row])
        moments[Side.CROSS].add(batch.cross[shown])
        n_slots = max(n_slots, batch.row.shape[1])
        requests.append(len(batch))
        items = items or block.items
        for task in config.tasks:
            label = block.label(task)[block.taught_by(task)]
            taught[task] += (label.sum(), label.size)
    _refuse_one_class(taught)
    return Statistics(
        n_slots=n_slots, longest=tuple(longest), counts=counts, requests=tuple(requests), items=items,
        taught=taught, spread={side: own.spread() for side, own in moments.items()},
    )  # fmt: skip


def fingerprint(statistics: Statistics) -> str:
    """Tells logs apart."""
    spread = [(own.mean, own.deviation, own.least, own.most) for own in statistics.spread.values()]
    counts = [np.array(statistics.requests), *statistics.counts.values(), *statistics.taught.values()]
    return hashlib.sha256(b"".join(part.tobytes() for part in (*counts, *sum(spread, ())))).hexdigest()


def _refuse_one_class(taught: dict[str, Counts]) -> None:
    for task, (positive, rows) in taught.items():
        if positive in (0, rows):
            raise Unusable(f"cannot learn {task}s: {positive} of {rows} rows are positive")


class _Moments:
    """Sums over the rows seen so far of one side's dense columns, about the first row."""

    def __init__(self, schema: Schema, config: TrainedConfig, side: Side) -> None:
        self.logged = logged(schema, config, side)
        self.names = [c.name for c in schema.columns(Kind.DENSE, side)]
        self.names += [c.name for c in schema.columns(Kind.VECTOR, side) for _ in range(c.width)]
        self.rows, width = 0, len(self.logged)
        self.first: Float32Array | None = None
        self.sum, self.square = np.zeros(width), np.zeros(width)
        self.least, self.most = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, values: Float32Array) -> None:
        """Values (rows, F)."""
        if not len(values):
            return
        finite = np.isfinite(values).all(axis=0)
        if not finite.all():
            raise Unusable(f"{self.names[int(finite.argmin())]} is not a finite number in all rows")
        values = log_scaled(values, self.logged)
        if self.first is None:
            self.first = values[0].copy()  # a view would hold the block
        about = values - self.first
        self.rows += len(values)
        self.sum += about.sum(axis=0, dtype=np.float64)
        self.square += np.square(about).sum(axis=0, dtype=np.float64)
        self.least, self.most = np.minimum(self.least, values.min(axis=0)), np.maximum(self.most, values.max(axis=0))

    def spread(self) -> Spread:
        """Of all rows."""
        if self.first is None:
            width = len(self.sum)
            return Spread(mean=np.zeros(width), deviation=np.ones(width), least=np.zeros(width), most=np.ones(width))
        mean = self.sum / self.rows
        variance = np.maximum(self.square / self.rows - np.square(mean), 0)
        return Spread(mean=mean + self.first, deviation=np.sqrt(variance), least=self.least, most=self.most)


def vocabulary(counts: Counts, most: int, least: int) -> Counts:
    """The values that get an embedding of their own: the `most` commonest of those seen `least` times, commonest first."""
    order = np.argsort(-counts, kind="stable")[:most]
    return order[counts[order] >= least]
