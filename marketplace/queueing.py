"""What waits for what, and how long: requests through stations of hosts, on SimPy's clock.

Requests come at the times given, whatever happens (an open loop), and go from station to station. SimPy carries requests
and batches. What is random, the caller has drawn before: a run is a function of its arguments.

At one moment, things happen in this order, each kind in the order in which it was scheduled: services end, and their
requests leave and come to the next stations; hosts come up; hosts go down; requests without a host are sent to one; requests
are timed out; requests arrive; free workers take what waits. So a service that ends just when its request would be timed out,
or its host fails, has ended; one that could begin just then does not begin; and requests that come together are taken
together.

A failed host is sent nothing. What it held, and what would be sent there, goes to the host that is up and has the fewest
requests, or waits for the first that comes up where all are down. A paused host is down as well, yet keeps what it holds, and
who was drawn for it is still sent there: a pause, such as a garbage collection, is not seen from outside. Whoever is sent to
the fewest requests avoids it.

References:
    Lindley (1952), The theory of queues with a single server. Mathematical Proceedings of the Cambridge Philosophical
    Society 48(2).
    Little (1961), A proof for the queuing formula L = lambda W. Operations Research 9(3).
"""

from array import array
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import reduce
from math import inf, isnan, nan
from operator import attrgetter
from typing import Any

import numpy as np
import simpy

from marketplace.hosts import Host
from marketplace.stations import Flow, Outage, Station, Visit, check_arrivals, check_station
from synth.types import FloatArray

__all__ = ["Flow", "Outage", "Station", "Visit", "run_stations"]

_END, _UP, _DOWN, _MOVE, _TIME_OUT, _ARRIVE, _TAKE = range(7)  # what comes first at one moment
_Call = Callable[[Any], None]  # with the event as its argument
_requests = attrgetter("requests")


def run_stations(arrived_s: FloatArray, stations: Sequence[Station]) -> Flow:
    """Send requests through stations until all have left.

    Args:
        arrived_s: (n,) seconds since the start of the run, never decreasing.
        stations: Any number, each after those that it waits for.

    Raises:
        ValueError: With name, rule and value, if an argument is out of range, or a service time when it is returned.
    """
    check_arrivals(arrived_s)
    for position, station in enumerate(stations):
        check_station(station, position, len(arrived_s))
    env = simpy.Environment()
    running = [_Running(env, station, len(arrived_s)) for station in stations]
    for station, own in zip(stations, running, strict=True):
        for before in set(station.after):
            running[before].next.append(own)
    first = [own for station, own in zip(stations, running, strict=True) if not station.after]
    env.process(_arrive(env, arrived_s, first))
    env.run()
    visits = tuple(own.visit() for own in running)
    left = reduce(np.fmax, [visit.left_s for visit in visits], arrived_s)  # of two, the one that is not NaN
    return Flow(arrived_s=arrived_s, left_s=left, visits=visits)


def _arrive(env: simpy.Environment, arrived_s: FloatArray, first: "list[_Running]") -> Generator[simpy.Event]:
    """Let every request come to the stations that wait for no other."""
    yield _Moment(env, _ARRIVE, 0.0)
    for request, at in enumerate(arrived_s.tolist()):
        if at > env.now:
            yield _Moment(env, _ARRIVE, at - env.now)
        for station in first:
            station.reach(request)


class _Moment(simpy.Event):  # type: ignore[misc]
    """Something that happens after a delay, in its order among others of that moment."""

    def __init__(
        self, env: simpy.Environment, order: int, delay: float, call: _Call | None = None, value: Any = None
    ) -> None:
        self.env, self.callbacks, self._ok, self._value = env, [call] if call else [], True, value
        env.schedule(self, order, delay)


class _Running:
    """A station while it runs: who is there, and what came of it so far."""

    def __init__(self, env: simpy.Environment, station: Station, n: int) -> None:
        self.env, self.station = env, station
        self.next: list[_Running] = []
        before = len(set(station.after))
        self.awaited = bytearray([before]) * n if before > 1 else None  # of those stations, not yet left
        self.needed = None if station.needed is None else station.needed.tobytes()
        self.drawn = None if station.host is None else station.host.tolist()
        self.came, self.began, self.left = (array("d", [nan]) * n for _ in range(3))
        self.fallback = bytearray(n)
        self.at: list[Host | None] = [None] * n
        self.due: deque[int] = deque()  # by the time they came, if there is a time-out
        self.stranded: list[int] = []  # have no host
        self.moving = False  # they are sent to one before the moment is over
        self.here, self.since, self.area, self.busy, self.batches = 0, 0.0, 0.0, 0.0, 0
        self.workers = inf if station.workers is None else station.workers
        slow = [1.0] * station.hosts if station.slow is None else station.slow.tolist()
        outages = sorted(station.outages)
        self.hosts = [Host(self.workers, slow[h], [o for o in outages if o.host == h]) for h in range(station.hosts)]
        self.ring = deque(self.hosts)  # by when a request was last sent to them, so that equals take turns
        for outage in outages:
            _Moment(env, _DOWN, outage.start_s, self.go_down, outage)
            _Moment(env, _UP, outage.start_s + outage.length_s, self.come_up, self.hosts[outage.host])

    def visit(self) -> Visit:
        """What came of the station."""
        return Visit(
            came_s=np.frombuffer(self.came), began_s=np.frombuffer(self.began), left_s=np.frombuffer(self.left),
            fallback=np.frombuffer(self.fallback, np.bool_), batches=self.batches, busy_s=self.busy, area_s=self.area,
        )  # fmt: skip

    def count(self, more: int) -> None:
        """So many requests more are here from now on."""
        now = self.env.now
        self.area += self.here * (now - self.since)
        self.since = now
        self.here += more

    def reach(self, request: int) -> None:
        """A station before this one has been left, or there is none."""
        if self.awaited is not None:
            self.awaited[request] -= 1
            if self.awaited[request]:
                return
        if self.needed is None or self.needed[request]:
            self.come(request)
        else:
            self.go_on(request)

    def go_on(self, request: int) -> None:
        for station in self.next:
            station.reach(request)

    def come(self, request: int) -> None:
        self.came[request] = self.env.now
        self.count(1)
        if self.station.timeout_s < inf:
            self.due.append(request)
            if len(self.due) == 1:
                self.watch()
        self.send(request)

    def send(self, request: int) -> None:
        """Let a request wait on a host, or for one."""
        host = self.at[request] = self.choose(request)
        if host is None:
            self.stranded.append(request)
            return
        host.requests += 1
        host.waiting.append(request)
        self.wake(host)

    def choose(self, request: int) -> Host | None:
        """The host that a request is sent to, None if there is none."""
        if self.drawn is not None:
            host = self.hosts[self.drawn[request]]
            if host.down is None or not host.down.lossy:
                return host
        best = min((host for host in self.ring if host.down is None), key=_requests, default=None)
        if best is not None:
            self.ring.remove(best)
            self.ring.append(best)
        return best

    def wake(self, host: Host) -> None:
        """Let free workers look for work once all else of this moment has happened."""
        if host.free and host.waiting and not host.woken:
            host.woken = True
            _Moment(self.env, _TAKE, 0.0, self.take, host)

    def take(self, moment: _Moment) -> None:
        """Let free workers begin what waits."""
        host: Host = moment.value
        host.woken = False
        while host.free and host.down is None and (batch := host.first(self.station.batch, self.fallback)):
            self.begin(host, batch)

    def begin(self, host: Host, batch: list[int]) -> None:
        """A worker begins a batch; when it ends or is lost is known at once, since outages are."""
        work = float(self.station.service_s(batch))
        if not 0 <= work < inf:
            raise ValueError(f"{self.station.name}.service_s of requests {batch} is {work}, it must be finite and >= 0")
        work *= host.slow
        now = self.env.now
        for request in batch:
            self.began[request] = now
        end, worked = host.through(now, work)
        self.batches += 1
        self.busy += worked
        host.free -= 1
        if worked < work:
            host.doomed += batch
        else:
            _Moment(self.env, _END, end - now, self.end, (host, batch))

    def end(self, moment: _Moment) -> None:
        """A service ends: its worker is free, and its requests leave, but for those timed out before."""
        host: Host
        batch: list[int]
        host, batch = moment.value
        host.free += 1
        self.wake(host)
        answered = [request for request in batch if not self.fallback[request]]
        host.requests -= len(answered)
        self.leave(answered)

    def leave(self, requests: list[int]) -> None:
        """Requests are answered, and come to the next stations."""
        self.count(-len(requests))
        now = self.env.now
        for request in requests:
            self.left[request] = now
        for request in requests:
            self.go_on(request)

    def watch(self) -> None:
        """Look again when the next of those that came may be timed out."""
        _Moment(self.env, _TIME_OUT, self.came[self.due[0]] + self.station.timeout_s - self.env.now, self.time_out)

    def time_out(self, moment: _Moment) -> None:
        """Answer whoever has been here too long with a fallback."""
        now = self.env.now
        late = []
        while self.due:
            request = self.due[0]
            if isnan(self.left[request]):  # not yet answered
                if self.came[request] + self.station.timeout_s > now:
                    self.watch()
                    break
                late.append(request)
            self.due.popleft()
        for request in late:
            self.fallback[request] = True
            host = self.at[request]
            if host is not None:
                host.requests -= 1
        self.leave(late)

    def go_down(self, moment: _Moment) -> None:
        """A host goes down; if it fails, all that it holds has to begin again elsewhere."""
        outage: Outage = moment.value
        host = self.hosts[outage.host]
        host.down = outage
        if outage.lossy:
            held = [request for request in (*host.doomed, *host.waiting) if not self.fallback[request]]
            host.doomed.clear()
            host.waiting.clear()
            host.requests -= len(held)
            for request in held:
                self.began[request] = nan
            self.stranded += held
            self.move()

    def come_up(self, moment: _Moment) -> None:
        """A host is up again, after a failure with all workers free."""
        host: Host = moment.value
        if host.outages.popleft().lossy:
            host.free = self.workers
        host.down = None
        self.wake(host)
        self.move()

    def move(self) -> None:
        """Send who has no host, once all hosts have come up or gone down that do so now."""
        if self.stranded and not self.moving:
            self.moving = True
            _Moment(self.env, _MOVE, 0.0, self.send_stranded)

    def send_stranded(self, moment: _Moment) -> None:
        self.moving = False
        stranded, self.stranded = self.stranded, []
        for request in stranded:
            if not self.fallback[request]:
                self.send(request)
