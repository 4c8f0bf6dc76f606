"""Planted data whose conversions come late, as a snapshot shows them and as a stream takes them in."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.data import Dataset

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Latecomers:
    """Clicks over some days, and when their conversions come in the end."""

    data: Dataset  # labels are final
    p: np.ndarray  # (n, s) probability that a click converts within the window
    delay_ms: np.ndarray  # (n, s) -1 where none ever comes

    @staticmethod
    def of(
        data: Dataset,
        p: np.ndarray,
        hours: float,
        delay_h: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
    ) -> "Latecomers":
        """Requests spread evenly over so many hours; clicks convert with probability p, after delays as they are drawn."""
        rng = np.random.default_rng(len(p))
        n, shape = len(data.time_ms), data.click.shape
        converts = data.click & (rng.random(shape) < p)
        delay = np.where(converts, np.round(delay_h(rng, shape) * HOUR_MS), -1).astype(np.int64)
        time_ms = ((np.arange(n) + 0.5) * hours * HOUR_MS / n).astype(np.int64)
        return Latecomers(replace(data, time_ms=time_ms, conversion=converts), p, delay)

    def at(self, snapshot_h: float, start_h: float, stop_h: float) -> tuple[Dataset, np.ndarray]:
        """The requests from start to stop as they stood at a time, and their p."""
        return self._read(snapshot_h, start_h, stop_h, since_h=0.0)

    def stream(self, since_h: float, stop_h: float, window_h: float) -> tuple[Dataset, np.ndarray]:
        """What came in from a time to another, with the clicks of the window before, and p."""
        return self._read(stop_h, since_h - window_h, stop_h, since_h)

    def _read(self, snapshot_h: float, start_h: float, stop_h: float, since_h: float) -> tuple[Dataset, np.ndarray]:
        time_h = self.data.time_ms / HOUR_MS
        rows = np.flatnonzero(
            (time_h >= start_h) & (time_h < stop_h) & ((time_h >= since_h) | self.data.click.any(axis=1))
        )
        data, delay = self.data.take(rows), self.delay_ms[rows]
        come = (delay >= 0) & (data.time_ms[:, None] + delay < snapshot_h * HOUR_MS)
        old = (data.time_ms < since_h * HOUR_MS)[:, None] & ~data.click
        data = replace(
            data, batch=replace(data.batch, row=np.where(old, np.int32(-1), data.batch.row)), conversion=come,
            delay_ms=np.where(come, delay, -1), snapshot_ms=int(snapshot_h * HOUR_MS), since_ms=int(since_h * HOUR_MS),
        )  # fmt: skip
        return data, self.p[rows]
