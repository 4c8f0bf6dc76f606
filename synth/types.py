"""What the rooms hand to one another: arrays, with their shapes beside them.

n requests, k candidates, s slots. `-1` is "none" in every id array. Time is int64 milliseconds since the scenario's start,
money int64 micros of a dollar.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]  # int64 unless said otherwise
IdArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DAYPARTS = 6  # of four hours each, from midnight


@register_jitable
def daypart_of(time_ms: int) -> int:
    """Part of the day, 0 to DAYPARTS - 1."""
    return (time_ms // (4 * HOUR_MS)) % DAYPARTS


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

    id: IntArray  # (n,) unique over the whole run; made of user, day, session and page
    user: IdArray  # (n,)
    time_ms: IntArray  # (n,)
    surface: IdArray  # (n,) where the ads stand

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visits(Columns):
    """What users looked for and looked at just before each request, and what they would order with no ad at all."""

    need: IdArray  # (n,) dish that the user is after; hidden
    query: IdArray  # (n,) dish searched for in words, -1 where none was
    view: IdArray  # (n, v) stores looked at, in order of time, -1 where there was none
    chance: Float32Array  # (n, v) probability of an order there, without ads; hidden
    known: BoolArray  # (n, v) the user had ordered there
    ordered: IdArray  # (n,) store of the order placed without ads, -1 where there is none
    value_micros: IntArray  # (n,) basket of that order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes(Columns):
    """What users did with the ads they were shown; an empty slot has no outcome (False, 0, -1)."""

    examined: BoolArray  # (n, s) looked at; never logged
    clicked: BoolArray  # (n, s)
    long_clicked: BoolArray  # (n, s) stayed 30 seconds or more; implies clicked
    hidden: BoolArray  # (n, s) asked not to see the ad again
    delay_ms: IntArray  # (n, s, N_EVENTS) to each of EVENTS, from the click (or the sight, if not clicked); -1 never
    value_micros: IntArray  # (n, s) basket of the checkout, 0 where there is none


EVENTS = ("cart", "checkout", "sign_up")
N_EVENTS = len(EVENTS)
CART, CHECKOUT, SIGN_UP = range(N_EVENTS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth(Columns):
    """The probabilities behind the outcomes; never shown to a model, a bidder or an estimator."""

    examination: Float32Array  # (n, s) that the slot is looked at
    click: Float32Array  # (n, s) given examination
    long_click: Float32Array  # (n, s) given click and no add-to-cart, which implies one
    hide: Float32Array  # (n, s) given examination and no click
    cart: Float32Array  # (n, s) given click, however late; likewise below
    checkout: Float32Array  # (n, s) given cart
    sign_up: Float32Array  # (n, s) given click
    post_view: Float32Array  # (n, s) of a checkout, given examination and no click
    known: BoolArray  # (n, s) the user had ordered from the store, or signed up there
