"""A log in memory, in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from models.data import Dataset
from models.schema import Schema


@dataclass
class Blocks:
    """`count` blocks of equal numbers of requests; the times at which blocks were asked for are counted."""

    data: Dataset
    count: int
    readings: list[int] = field(default_factory=list)

    @property
    def schema(self) -> Schema:
        return self.data.schema

    def blocks(self) -> Iterator[Dataset]:
        n = len(self.data.batch)
        cuts = [n * i // self.count for i in range(self.count + 1)]
        for i, (a, b) in enumerate(pairwise(cuts)):
            self.readings.append(i)
            yield self.data.between(self.data.time_ms[a], self.data.time_ms[b - 1] + 1)
