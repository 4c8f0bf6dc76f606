"""Lists of events as tensors."""

from typing import NamedTuple

import torch
from torch import Tensor


class Lists(NamedTuple):
    """n lists of categories, cut to the places that are looked at."""

    values: Tensor  # (L,) of all lists
    row: Tensor  # (L,) the list that each value is of
    place: Tensor  # (L,) its place there, the most recent first if the list is ordered
    n: int
    places: int

    @staticmethod
    def of(values: Tensor, offsets: Tensor, places: int, rows: Tensor | None = None) -> "Lists":
        """From flat values (L,) and offsets (N + 1,), all lists or those at `rows` (n,)."""
        start, length = offsets[:-1], offsets.diff()
        if rows is not None:
            start, length = start[rows], length[rows]
        length = length.clamp(max=places)
        row = torch.repeat_interleave(torch.arange(len(length), device=values.device), length)
        place = torch.arange(len(row), device=values.device) - (length.cumsum(0) - length)[row]
        return Lists(values[start[row] + place], row, place, len(length), places)

    def total(self, x: Tensor) -> Tensor:
        """Sums (n, ...) over each list of what its values have (L, ...)."""
        return x.new_zeros(self.n, *x.shape[1:]).index_add_(0, self.row, x)

    def spread(self, x: Tensor, free: float = 0) -> Tensor:
        """What values have (L, ...) in padded form (n, places, ...), the events first and then free places."""
        out = x.new_full((self.n * self.places, *x.shape[1:]), free)
        return out.index_copy(0, self.row * self.places + self.place, x).view(self.n, self.places, *x.shape[1:])
