"""Batches: what a model sees, the same in training and in serving."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import Unusable
from models.jagged import Jagged
from models.schema import Kind, Schema, Side

Float32Array = NDArray[np.float32]
IdArray = NDArray[np.int32]
IntArray = NDArray[np.integer[Any]]  # int64 unless said otherwise
BoolArray = NDArray[np.bool_]

OF_SHOWN = ("click", "organic")  # tasks that every shown ad teaches; the others are taught by the clicked ones


@dataclass(frozen=True, kw_only=True, eq=False)
class AdTable:
    """Features of ads alone, one row per ad; a new object whenever they change, so that a model may cache by identity."""

    categorical: IdArray  # (A, Ac) -1 is missing
    dense: Float32Array  # (A, Ad)
    vector: Float32Array  # (A, V) the content vectors beside one another; V is 0 where there are none

    def rows(self, start: int, stop: int) -> "AdTable":
        """Ads start to stop - 1, as views."""
        return AdTable(
            categorical=self.categorical[start:stop], dense=self.dense[start:stop], vector=self.vector[start:stop]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """n requests with k candidates each; in a log, the candidates are the s shown ads."""

    categorical: IdArray  # (n, Rc) of the request; -1 is missing
    dense: Float32Array  # (n, Rd) of the request
    lists: tuple[Jagged, ...]  # n lists each
    ads: AdTable
    row: IdArray  # (n, k) row of each candidate in `ads`, -1 where there is none
    cross: Float32Array  # (n, k, X) of user and ad together
    slot: IdArray  # (k,) slot that each candidate is predicted for; 0 is the top

    def __len__(self) -> int:
        return len(self.categorical)

    def rows(self, start: int, stop: int) -> "Batch":
        """Requests start to stop - 1, as views."""
        return Batch(
            categorical=self.categorical[start:stop], dense=self.dense[start:stop],
            lists=tuple(values.rows(start, stop) for values in self.lists), ads=self.ads, row=self.row[start:stop],
            cross=self.cross[start:stop], slot=self.slot,
        )  # fmt: skip

    def take(self, rows: IntArray) -> "Batch":
        """The requests at `rows`."""
        return Batch(
            categorical=self.categorical[rows], dense=self.dense[rows],
            lists=tuple(values.take(rows) for values in self.lists), ads=self.ads, row=self.row[rows], cross=self.cross[rows],
            slot=self.slot,
        )  # fmt: skip

    def ad_category(self, place: int) -> IdArray:
        """(n, k) the candidates' values of the ads' categorical column at a place, -1 where there is no candidate."""
        return np.append(self.ads.categorical[:, place], np.int32(-1))[self.row]  # row -1 is the last

    @staticmethod
    def stack(batches: list["Batch"]) -> "Batch":
        """Batches over one table of ads, one after the other."""
        if len(batches) == 1:
            return batches[0]
        return Batch(
            categorical=np.concatenate([b.categorical for b in batches]),
            dense=np.concatenate([b.dense for b in batches]),
            lists=tuple(Jagged.stack(parts) for parts in zip(*(b.lists for b in batches), strict=True)),
            ads=batches[0].ads,
            row=np.concatenate([b.row for b in batches]),
            cross=np.concatenate([b.cross for b in batches]),
            slot=batches[0].slot,
        )


class Predictions(NamedTuple):
    """Estimated probabilities."""

    click: Float32Array  # (n, k) given examination
    conversion: Float32Array  # (n, k) given click


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A log as known at a snapshot time: features as they were served, labels as they had come in."""

    schema: Schema
    batch: Batch  # k = slots, `slot` = 0 .. s - 1
    time_ms: IntArray  # (n,)
    click: BoolArray  # (n, s)
    conversion: BoolArray  # (n, s) attributed by the snapshot
    delay_ms: IntArray | None = None  # (n, s) from impression to conversion, -1 where none has come; None: not known
    snapshot_ms: int | None = None  # when the log was read
    since_ms: int = 0  # requests before it are there for their clicks alone, whose conversions may have come since
    randomised: BoolArray | None = (
        None  # (n,) whose winners were put in slots at random; None where the log does not say
    )
    user: IntArray | None = None  # (n,) whose requests they are, for scores by user; likewise
    further: dict[str, BoolArray] = field(default_factory=dict)  # (n, s) labels of other tasks
    items: dict[str, Float32Array] = field(default_factory=dict)  # (cardinality, V) content vectors by category

    @cached_property
    def shown(self) -> BoolArray:
        """(n, s) True where an ad was shown."""
        return self.batch.row >= 0

    def label(self, task: str) -> BoolArray:
        """(n, s) what came of an ad.

        Raises:
            Unusable: If the log says nothing of the task.
        """
        labels = {"click": self.click, "conversion": self.conversion} | self.further
        if task not in labels:
            raise Unusable(f"the log has no label for the task {task}; there are {', '.join(labels)}")
        return labels[task]

    def taught_by(self, task: str) -> BoolArray:
        """(n, s) True where an ad teaches a task: every shown one, or every clicked one, of the requests since `since_ms`."""
        shown = self.shown & (self.time_ms >= self.since_ms)[:, None]
        return shown if task in OF_SHOWN else shown & self.click

    def blocks(self) -> Iterator["Dataset"]:
        """Itself: a log in memory is one block."""
        yield self

    def take(self, rows: IntArray) -> "Dataset":
        """The requests at `rows`, over the same table of ads."""
        return replace(
            self, batch=self.batch.take(rows), time_ms=self.time_ms[rows], click=self.click[rows],
            conversion=self.conversion[rows], delay_ms=None if self.delay_ms is None else self.delay_ms[rows],
            randomised=None if self.randomised is None else self.randomised[rows],
            user=None if self.user is None else self.user[rows],
            further={task: label[rows] for task, label in self.further.items()},
        )  # fmt: skip

    def between(self, start_ms: int, stop_ms: int) -> "Dataset":
        """Requests with start_ms <= time < stop_ms, with their own rows of the table of ads."""
        a, b = np.searchsorted(self.time_ms, [start_ms, stop_ms])
        batch = self.batch.rows(a, b)
        used = batch.row[batch.row >= 0]
        first, last = (used.min(), used.max() + 1) if used.size else (0, 0)
        own = replace(
            batch,
            ads=batch.ads.rows(first, last),
            row=np.where(batch.row >= 0, batch.row - first, np.int32(-1)).astype(np.int32),
        )
        return replace(
            self, batch=own, time_ms=self.time_ms[a:b], click=self.click[a:b], conversion=self.conversion[a:b],
            delay_ms=None if self.delay_ms is None else self.delay_ms[a:b],
            randomised=None if self.randomised is None else self.randomised[a:b],
            user=None if self.user is None else self.user[a:b],
            further={task: label[a:b] for task, label in self.further.items()},
        )  # fmt: skip

    def cross(self, name: str) -> Float32Array:
        """(n, s) the cross feature `name`."""
        names = [c.name for c in self.schema.columns(Kind.DENSE, Side.CROSS)]
        return self.batch.cross[:, :, names.index(name)]


class Source(Protocol):
    """What a model is trained on: a log in blocks, in the order of time, that can be read again and again."""

    @property
    def schema(self) -> Schema:
        """Of the log."""
        ...

    def blocks(self) -> Iterator[Dataset]:
        """The blocks, from the first."""
        ...
