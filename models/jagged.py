"""Lists of any length: flat values and the offsets at which each row's begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

IdArray = NDArray[np.int32]
IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Jagged:
    """n lists of categories; most recent first, if they are ordered."""

    values: IdArray  # (L,) of the lists one after the other; an empty list has none
    offsets: IntArray  # (n + 1,) list i is values[offsets[i] : offsets[i + 1]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def packed(cls, padded: IdArray) -> Self:
        """From (n, H) with -1 where a place is free, wherever that is."""
        filled = padded >= 0
        offsets = np.zeros(len(padded) + 1, np.int64)
        np.cumsum(filled.sum(axis=1), out=offsets[1:])
        return cls(values=padded[filled].astype(np.int32, copy=False), offsets=offsets)

    def padded(self, places: int | None = None) -> IdArray:
        """(n, places) with -1 in free places; what is beyond the last place is cut. As wide as the longest by default."""
        if places is None:
            places = max(1, self.longest)
        out = np.full((len(self), places), -1, np.int32)
        _spread(self.values, self.offsets, out)
        return out

    @property
    def longest(self) -> int:
        """Values of the longest list."""
        return int(np.diff(self.offsets).max(initial=0))

    def rows(self, start: int, stop: int) -> Self:
        """Lists start to stop - 1; their values are a view."""
        offsets = self.offsets[start : stop + 1] if start < len(self) else self.offsets[-1:]
        return type(self)(values=self.values[offsets[0] : offsets[-1]], offsets=offsets - offsets[0])

    def take(self, rows: IntArray) -> Self:
        """The lists at `rows`."""
        length = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(length)))
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], length)
        return type(self)(values=self.values[place], offsets=offsets)

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """One after the other; `parts` holds at least one."""
        ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        offsets = [part.offsets[1:] + end for part, end in zip(parts, ends[:-1], strict=True)]
        values = np.concatenate([part.values for part in parts])
        return cls(values=values, offsets=np.concatenate([np.zeros(1, np.int64), *offsets]))


@njit(cache=True, nogil=True)
def _spread(values: IdArray, offsets: IntArray, out: IdArray) -> None:
    for i in range(out.shape[0]):
        for place in range(min(out.shape[1], offsets[i + 1] - offsets[i])):
            out[i, place] = values[offsets[i] + place]
