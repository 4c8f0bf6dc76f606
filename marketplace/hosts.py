"""A host while it runs: who waits on it, which of its workers are free, and when a service ends through its outages."""

from collections import deque
from collections.abc import Sequence

from marketplace.stations import Outage


class Host:
    """What a host holds."""

    __slots__ = ("doomed", "down", "free", "outages", "requests", "slow", "waiting", "woken")

    def __init__(self, free: float, slow: float, outages: Sequence[Outage]) -> None:
        self.free, self.slow = free, slow
        self.waiting: deque[int] = deque()  # those timed out stay until they are taken
        self.requests = 0  # waiting or in service, and not yet answered
        self.outages = deque(outages)  # that have not ended, by time
        self.down: Outage | None = None
        self.doomed: list[int] = []  # in a service that the next failure cuts short
        self.woken = False  # its workers look for work before the moment is over

    def first(self, most: int, gone: Sequence[int]) -> list[int]:
        """Take up to `most` of those that wait, first come first, without those that are `gone`."""
        batch: list[int] = []
        while self.waiting and len(batch) < most:
            request = self.waiting.popleft()
            if not gone[request]:
                batch.append(request)
        return batch

    def through(self, now: float, work: float) -> tuple[float, float]:
        """When a service of `work` seconds that begins `now` ends or is lost, and the seconds worked on it until then."""
        left = work
        for outage in self.outages:
            if outage.start_s >= now + left:
                break
            left -= outage.start_s - now
            if outage.lossy:
                return outage.start_s, work - left
            now = outage.start_s + outage.length_s
        return now + left, work
