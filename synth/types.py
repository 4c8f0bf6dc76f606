"""What the rooms hand to one another: arrays, with their shapes beside them.

n requests, k candidates, s slots. `-1` is "none" in every id array. Time is int64 milliseconds since the scenario's start,
money int64 micros of a dollar.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]  # int64 unless said otherwise
IdArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Columns:
    """A struct of arrays: every field runs along the same first axis, or is itself such a struct."""

    __slots__ = ()

    def rows(self, start: int, stop: int) -> Self:
        """Rows start to stop - 1, as views."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(
            **{name: v.rows(start, stop) if isinstance(v, Columns) else v[start:stop] for name, v in parts.items()}
        )

    def take(self, rows: IntArray) -> Self:
        """The rows at `rows`, as copies."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{name: v.take(rows) if isinstance(v, Columns) else v[rows] for name, v in parts.items()})

    def put(self, rows: IntArray, other: Self) -> None:
        """Write `other` over the rows at `rows`."""
        for f in fields(self):  # type: ignore[arg-type]
            mine, new = getattr(self, f.name), getattr(other, f.name)
            if isinstance(mine, Columns):
                mine.put(rows, new)
            else:
                mine[rows] = new

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """One after the other; `parts` holds at least one."""
        if len(parts) == 1:
            return parts[0]

        def together(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            first = values[0]
            return type(first).stack(values) if isinstance(first, Columns) else np.concatenate(values)

        return cls(**{f.name: together(f.name) for f in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests(Columns):
    """Ad requests in order of time, ties by id."""

    id: IntArray  # (n,) unique over the whole run
    user: IdArray  # (n,)
    time_ms: IntArray  # (n,)

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes(Columns):
    """What users did with the ads they were shown; an empty slot has no outcome (False, 0)."""

    clicked: BoolArray  # (n, s)
    long_clicked: BoolArray  # (n, s) stayed 30 seconds or more; implies clicked
    hidden: BoolArray  # (n, s) asked not to see the ad again
    converted: BoolArray  # (n, s) ordered, now or later; implies clicked
    delay_ms: IntArray  # (n, s) from click to order, 0 where none
    value_micros: IntArray  # (n, s) basket of the order, 0 where none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth(Columns):
    """The probabilities behind the outcomes; never shown to a model, a bidder or an estimator."""

    examination: Float32Array  # (n, s) that the slot is looked at
    click: Float32Array  # (n, s) given examination
    conversion: Float32Array  # (n, s) given click, however late
