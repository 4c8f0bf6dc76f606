"""A stopwatch: CPU seconds by stage."""

import time
from collections import Counter


class Stopwatch:
    """Adds the CPU seconds of this thread to the stages of `seconds`, lap by lap."""

    def __init__(self, seconds: Counter[str]) -> None:
        self._seconds, self._last = seconds, time.thread_time()

    def lap(self, stage: str) -> None:
        """What passed since the last lap was spent on `stage`."""
        now = time.thread_time()
        self._seconds[stage] += now - self._last  # type: ignore[assignment]
        self._last = now
