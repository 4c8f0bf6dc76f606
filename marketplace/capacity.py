"""Capacity: how an arm's requests flow through a platform, and how many hosts answer them in time.

A request's features are fetched, a light ranker scores what was retrieved where the arm has one, and then it is bid for and
predicted: one after the other, where candidates without a bid are not predicted, or in parallel, where all are.

Arrivals are an open loop at the rate of the busiest hour. So many users act apart that their requests together come as a Poisson
process (Palm 1943; Khintchine 1960).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from marketplace.queueing import run_stations
from marketplace.servers import LawConfig, ServingConfig, TopologyName
from marketplace.stations import Flow, Outage, Station, Visit
from synth import draws
from synth.draws import Cause
from synth.types import BoolArray, FloatArray, IntArray

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
_WARM_UP = 0.1  # share of the requests that come first, while queues fill, and are not read
# more hosts help nobody: of four workers that work so little, the last is needed by one request in a million (Erlang C)
_GROWN, _IDLE = 4, 1 / 64
_Time = Callable[[Sequence[int]], float]


class Curve(NamedTuple):
    """Time of a batch by its candidates."""

    rows: tuple[int, ...]  # rising
    seconds: tuple[float, ...]  # not falling

    def at(self, rows: IntArray) -> FloatArray:
        """Seconds: flat before the first point, linear between points, on beyond the last two."""
        inside = np.interp(rows, self.rows, self.seconds)
        slope = (self.seconds[-1] - self.seconds[-2]) / (self.rows[-1] - self.rows[-2])
        return inside + slope * np.maximum(rows - self.rows[-1], 0)


def curve(rows: Sequence[int], seconds: Sequence[float]) -> Curve:
    """A curve through measured points, of which none may be faster than a smaller one: what looks so is noise."""
    return Curve(tuple(rows), tuple(np.maximum.accumulate(seconds).tolist()))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranker:
    """A model that hosts serve."""

    name: str  # of the stage
    curve: Curve
    rows: IntArray  # (n,) candidates of each request that it scores
    workers: int  # per host

    def least_hosts(self, rate: float, batch: int) -> int:
        """More than the load of the requests with candidates: with fewer, the queue would grow and grow."""
        served = self.rows[self.rows > 0]
        if len(served) == 0:
            return 1
        sizes = np.arange(1, batch + 1)
        per_request = float((self.curve.at(sizes * served.mean()) / sizes).min())
        return int(rate * len(served) / len(self.rows) * per_request / self.workers) + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """Requests of the busiest hour, and what they ask of an arm."""

    arrived_s: FloatArray  # (n,)
    rate: float  # requests per second
    light: Ranker | None
    model: Ranker
    topology: TopologyName
    seed: int

    @property
    def rankers(self) -> tuple[Ranker, ...]:
        """Those that have hosts."""
        return (self.model,) if self.light is None else (self.light, self.model)


class Latency(NamedTuple):
    """How requests fared, end to end."""

    ms: dict[str, float]  # by name of QUANTILES
    late: float  # share that got a fallback score
    utilisation: dict[str, float]  # share of the workers' time that they work, by ranker


def arrivals(n: int, rate: float, seed: int) -> FloatArray:
    """(n,) seconds at which requests come, as a Poisson process of so many per second."""
    gaps = -np.log1p(-draws.uniform(seed, Cause.PEAK_ARRIVAL, np.arange(n)))
    return np.cumsum(gaps) / rate


def rows_of(requests: Sequence[int], n: int, seed: int) -> IntArray:
    """(n,) candidates per request, drawn from how many requests had 0, 1, 2 ... of them."""
    share = np.asarray(requests, np.float64)
    return draws.choose(share / share.sum(), draws.uniform(seed, Cause.PEAK_ROWS, np.arange(n))).astype(np.int64)


def times(law: LawConfig, n: int, seed: int, stage: int) -> FloatArray:
    """(n,) seconds that a stage takes of each request."""
    u = draws.uniform(seed, Cause.STAGE_TIME, np.arange(n), stage)
    if law.law == "exponential":
        factor = -np.log1p(-u)
    elif law.law == "lognormal":
        factor = np.exp(law.sigma * ndtri(u) - law.sigma**2 / 2)
    else:
        factor = np.ones(n)
    return law.mean_ms / 1e3 * factor


def serve(demand: Demand, hosts: Sequence[int] | None, config: ServingConfig) -> Latency:
    """Send the requests of the busiest hour through the platform.

    Args:
        demand: Of an arm.
        hosts: Of each of its rankers; None for as many as nobody waits for.
        config: Of the platform.
    """
    flow = run_stations(demand.arrived_s, stations(demand, hosts, config))
    read = slice(int(_WARM_UP * len(demand.arrived_s)), None)
    ms = 1e3 * np.quantile((flow.left_s - flow.arrived_s)[read], list(QUANTILES.values()))
    return Latency(
        ms=dict(zip(QUANTILES, ms.tolist(), strict=True)), late=float(flow.visits[-1].fallback[read].mean()),
        utilisation=_utilisation(demand, hosts, flow),
    )  # fmt: skip


def _utilisation(demand: Demand, hosts: Sequence[int] | None, flow: Flow) -> dict[str, float]:
    if hosts is None:
        return {ranker.name: 0.0 for ranker in demand.rankers}
    took = float(flow.left_s.max())
    busy = {ranker.name: visit.busy_s for ranker, visit in zip(demand.rankers, _of_rankers(demand, flow), strict=True)}
    return {
        ranker.name: busy[ranker.name] / (own * ranker.workers * took)
        for ranker, own in zip(demand.rankers, hosts, strict=True)
    }


def _of_rankers(demand: Demand, flow: Flow) -> list[Visit]:
    return [flow.visits[-1]] if demand.light is None else [flow.visits[1], flow.visits[-1]]


def stations(demand: Demand, hosts: Sequence[int] | None, config: ServingConfig) -> list[Station]:
    """What a request passes: fetch, the light ranker if there is one, bidding, and the model last."""
    n = len(demand.arrived_s)

    def delay(name: str, law: LawConfig, stage: int, after: tuple[int, ...]) -> Station:
        seconds = times(law, n, demand.seed, stage).tolist()
        return Station(name=name, service_s=lambda jobs: seconds[jobs[0]], workers=None, after=after)

    def ranker(which: int, after: tuple[int, ...], timeout_s: float = inf) -> Station:
        own = demand.rankers[which]
        needed: BoolArray = own.rows > 0
        if hosts is None:
            return Station(
                name=own.name, service_s=_timed(own, 1), workers=None, after=after, needed=needed, timeout_s=timeout_s
            )
        return Station(
            name=own.name, service_s=_timed(own, config.batch_requests), hosts=hosts[which], workers=own.workers,
            batch=config.batch_requests, after=after, needed=needed, timeout_s=timeout_s,
            slow=_slow(hosts[which], config), outages=_outages(hosts[which], which, demand, config),
        )  # fmt: skip

    found = [delay("fetch", config.fetch, 0, ())]
    if demand.light is not None:
        found.append(ranker(0, (0,)))
    before = (len(found) - 1,)
    found.append(delay("bidding", config.bidding, 1, before))
    timeout_s = inf if config.timeout_ms is None else config.timeout_ms / 1e3
    after = before if demand.topology == "parallel" else (len(found) - 1,)
    found.append(ranker(len(demand.rankers) - 1, after, timeout_s))
    return found


def _timed(ranker: Ranker, batch: int) -> _Time:
    """Seconds of a batch, from a table by its candidates."""
    rows = ranker.rows.tolist()
    table = ranker.curve.at(np.arange(batch * max(rows, default=0) + 1)).tolist()
    return lambda jobs: table[rows[jobs[0]] if len(jobs) == 1 else sum(rows[job] for job in jobs)]


def _slow(hosts: int, config: ServingConfig) -> FloatArray | None:
    if config.slow_hosts == 0:
        return None
    return np.where(np.arange(hosts) < ceil(config.slow_hosts * hosts), config.slow_factor, 1.0)


def _outages(hosts: int, which: int, demand: Demand, config: ServingConfig) -> list[Outage]:
    """Failures of each host while requests come, after exponential times; repairs take exponential times, too."""
    if config.failures_per_minute == 0:
        return []
    end, found = float(demand.arrived_s[-1]), []
    for host in range(hosts):
        at, times_down = 0.0, 0
        while True:
            lots = 2 * times_down + np.arange(2)
            up, down = draws.uniform(demand.seed, Cause.HOST_FAILURE, (which << 32) + host, lots)
            at += -float(np.log1p(-up)) * 60 / config.failures_per_minute
            if at >= end:
                break
            length = -float(np.log1p(-down)) * config.repair_s
            found.append(Outage(host, at, length, lossy=True))
            at, times_down = at + length, times_down + 1
    return found


class Fleet(NamedTuple):
    """The fewest hosts that answer in time."""

    hosts: tuple[int, ...]  # of each ranker; none where the target cannot be met
    latency: Latency  # with those; or, where it cannot be met, with so many that nobody waits
    why: str = ""


def smallest_fleet(demand: Demand, config: ServingConfig) -> Fleet:
    """Search for the fewest hosts whose p99 is within the target, and whose share of fallback scores is within its own.

    All rankers' hosts grow together from the load on, until it is met; then each is cut as far as the others let it. Where hosts
    are slow or fail, it may be out of reach though it could be met without: growth ends where hardly anyone waits.
    """
    alone = serve(demand, None, config)
    if not _in_time(alone, config):
        return Fleet((), alone, _unmet(demand, alone, config, "without any wait"))
    tried: dict[tuple[int, ...], Latency] = {}

    def meets(hosts: Sequence[int]) -> bool:
        place = tuple(hosts)
        if place not in tried:
            tried[place] = serve(demand, place, config)
        return _in_time(tried[place], config)

    least = [ranker.least_hosts(demand.rate, config.batch_requests) for ranker in demand.rankers]
    grown = 1
    while not meets(hosts := [own * grown for own in least]):
        latency = tried[tuple(hosts)]
        if grown >= _GROWN and max(latency.utilisation.values()) < _IDLE:
            return Fleet((), latency, _unmet(demand, latency, config, f"with {grown} times the hosts of the load"))
        grown *= 2
    for which, low in enumerate(least):

        def enough(n: int, which: int = which) -> bool:
            return meets([*hosts[:which], n, *hosts[which + 1 :]])

        hosts[which] = _first(low, hosts[which], enough)
    return Fleet(tuple(hosts), tried[tuple(hosts)])


def _unmet(demand: Demand, latency: Latency, config: ServingConfig, how: str) -> str:
    stages = " + ".join(["fetch", *(["light"] if demand.light else []), "bidding", "model"])
    what = f"p99 of {stages} {how} is {latency.ms['p99']:.4g} ms" if latency.late <= config.most_late else (
        f"{latency.late:.2%} are late {how}, serving.most_late is {config.most_late:.2%}"
    )  # fmt: skip
    return f"serving.target_p99_ms is {config.target_p99_ms:g}, it cannot be met: {what}"


def _in_time(latency: Latency, config: ServingConfig) -> bool:
    return latency.ms["p99"] <= config.target_p99_ms and latency.late <= config.most_late


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number from low to high that holds, which `high` does, if more never harm."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high
