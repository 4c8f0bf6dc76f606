"""Speed of `marketplace.queueing`: CPU microseconds per request, and mean waits beside those that formulas give.

    python benchmarks/queueing.py [--requests 200000] [--repeat 3] [--json FILE]

Poisson arrivals at 1,000 requests/s. The last row is the same queue of 10 workers with SimPy's own Resource and a process per
request, which is what the callbacks of `marketplace.queueing` save. All rows are timed in turn, round by round, on one core.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import platform
import resource
from collections.abc import Callable, Generator
from functools import partial
from math import factorial
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import simpy
from rich.console import Console
from rich.table import Table

from marketplace.queueing import Outage, Station, run_stations

RATE = 1_000.0  # requests per second


def exponential(name: str, mean_s: float, n: int, seed: int, **settings: Any) -> Station:
    """A station with one exponential service time per request; a batch takes as long as its longest."""
    service = np.random.default_rng(seed).exponential(mean_s, n).tolist()
    if settings.get("batch", 1) == 1:
        return Station(name=name, service_s=lambda some: service[some[0]], **settings)
    return Station(name=name, service_s=lambda some: max(service[i] for i in some), **settings)


def ranking(**settings: Any) -> Station:
    """2 ms for a batch and 0.5 ms for each of its requests."""
    return Station(name="rank", service_s=lambda some: 0.002 + 0.0005 * len(some), workers=4, batch=8, **settings)


def waited(arrived_s: np.ndarray, stations: list[Station]) -> float:
    """Mean seconds before the service at the last station, of those who got one."""
    last = run_stations(arrived_s, stations).visits[-1]
    return float(np.nanmean(last.began_s - last.came_s))


def with_resources(arrived_s: np.ndarray, service_s: np.ndarray, workers: int) -> float:
    """The same in plain SimPy: a resource, and a process per request."""
    env = simpy.Environment()
    desk = simpy.Resource(env, workers)
    total = 0.0

    def request(service: float) -> Generator[simpy.Event]:
        nonlocal total
        came = env.now
        with desk.request() as turn:
            yield turn
            total += env.now - came
            yield env.timeout(service)

    def arrive() -> Generator[simpy.Event]:
        for at, service in zip(arrived_s.tolist(), service_s.tolist(), strict=True):
            yield env.timeout(max(at - env.now, 0.0))
            env.process(request(service))

    env.process(arrive())
    env.run()
    return total / len(arrived_s)


def erlang_c_wait_s(workers: int, load: float) -> float:
    """Mean wait in M/M/c at RATE arrivals (Erlang 1917)."""
    full = load**workers / factorial(workers) * workers / (workers - load)
    return full / (sum(load**k / factorial(k) for k in range(workers)) + full) * load / RATE / (workers - load)


def rows(n: int) -> dict[str, tuple[Callable[[], float], float | None]]:
    """What is timed, by name, and the mean wait in seconds that it should give, where a formula says."""
    arrived = np.cumsum(np.random.default_rng(1).exponential(1 / RATE, n))
    ten = {"mean_s": 0.008, "n": n, "seed": 2}
    late = [
        Outage(host, at, 1.0, lossy=host > 0) for host in range(4) for at in np.arange(10.0 + host, n / RATE, 100.0)
    ]
    fetch = exponential("fetch", 0.005, n, 4, workers=None)
    auction = exponential("auction", 0.006, n, 5, workers=8, after=(1,))
    run = partial(partial, waited, arrived)
    return {
        "pure delay": (run([fetch]), 0.0),
        "1 worker, load 0.6": (run([exponential("desk", 0.0006, n, 3)]), erlang_c_wait_s(1, 0.6)),
        "10 workers, load 8": (run([exponential("desk", workers=10, **ten)]), erlang_c_wait_s(10, 8.0)),
        "4 workers, batches of 8": (run([ranking()]), None),
        "10 hosts, fewest requests": (run([exponential("desk", hosts=10, **ten)]), None),
        "10 hosts, drawn": (run([exponential("desk", hosts=10, host=np.arange(n) % 10, **ten)]), None),
        "7 workers, load 8, time-out 50 ms": (run([exponential("desk", workers=7, timeout_s=0.05, **ten)]), None),
        "4 hosts, pauses and failures": (run([exponential("desk", hosts=4, workers=3, outages=late, **ten)]), None),
        "delay, then batches, then 8 workers": (run([fetch, ranking(after=(0,)), auction]), None),
        "10 workers, SimPy's Resource": (
            partial(with_resources, arrived, np.random.default_rng(2).exponential(0.008, n), 10),
            erlang_c_wait_s(10, 8.0),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    timed = rows(args.requests)
    spent: dict[str, list[float]] = {name: [] for name in timed}
    wait_s: dict[str, float] = {}
    for _ in range(args.repeat):
        for name, (work, _) in timed.items():
            started = process_time()
            wait_s[name] = work()
            spent[name].append(1e6 * (process_time() - started) / args.requests)
    result = {
        name: {"us_per_request": median(spent[name]), "least_us": min(spent[name]), "wait_ms": 1e3 * wait_s[name],
               "formula_ms": None if formula is None else 1e3 * formula}
        for name, (_, formula) in timed.items()
    }  # fmt: skip
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table = Table("", "CPU us per request", "least", "mean wait, ms", "by formula")
    for name, row in result.items():
        exact = "" if row["formula_ms"] is None else f"{row['formula_ms']:.3f}"
        table.add_row(name, f"{row['us_per_request']:.1f}", f"{row['least_us']:.1f}", f"{row['wait_ms']:.3f}", exact)
    Console(width=120).print(table)
    print(f"{args.requests:,} requests, medians of {args.repeat}; most memory {peak_mib:,.0f} MiB")
    if args.json:
        content = {
            "requests": args.requests, "repeat": args.repeat, "peak_mib": peak_mib, "machine": platform.machine(),
            "python": platform.python_version(), "stations": result,
        }  # fmt: skip
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
