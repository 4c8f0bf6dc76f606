"""Speed and memory of the world: building it, and arrivals, browsing, retrieval and response per request.

    python benchmarks/world.py [--users 10_000_000] [--items 100_000] [--ads 2_000] [--requests 400_000] [--threads 2]

The world is built in shards of users; then days of traffic are served without any market: every request draws its arrival, its
session's need and views, 50 candidates of the eligible ads of its region, and the answers to four of them. The same work is done
on a half, a quarter and an eighth of the requests, in turn, to see that time grows with their number. Medians are printed.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import resource
from collections import defaultdict
from concurrent.futures import Executor, ThreadPoolExecutor
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from synth.affinity import Intercepts
from synth.config import WorldConfig
from synth.marginals import Solved
from synth.types import Requests
from synth.world import Minds, World, populate, rebuild

_REGIONS, _BLOCK, _SLOTS = 10, 2_048, 4
_SOLVED = Solved(
    Intercepts(
        click=-3.2, long_click=-0.6, hide=-6.3, cart=-0.6, checkout=-1.7, sign_up=-4.0, post_view=-7.0, organic=-4.3, habit=-0.3
    ),
    familiar=0.8, slot_effect=(1.0, 0.75, 0.58, 0.46), visits=1.0, basket_usd=30.0,
)  # fmt: skip


def main() -> None:
    args = _arguments()
    found: dict[str, float] = {}
    with ThreadPoolExecutor(args.threads) as threads:
        populate(_config(5_000, 1_000, 10), 1, threads=threads)  # compiles
        started = perf_counter()
        population = populate(_config(args.users, args.items, args.ads), 1, threads=threads)
        world = rebuild(population, _SOLVED, [])
        found["build_s"] = perf_counter() - started
        found["build_peak_gib"] = _peak_gib()
        minds = world.minds()
        small = rebuild(population.first(min(args.users, args.requests // 2)), _SOLVED, [])
        few = Minds(*(part.rows(0, len(small.population.users.region)) for part in minds))
        for share, seconds in _serve(small, few, args.requests, args.repeat, threads).items():
            n = args.requests // share
            found |= {f"{stage}_us_{n}": 1e6 * median(times) / n for stage, times in seconds.items()}
            found[f"requests_per_s_{n}"] = n / median(seconds["all"])
    found["peak_gib"] = _peak_gib()
    _print(found, args)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def _serve(world: World, minds: Minds, n: int, repeat: int, threads: Executor) -> dict[int, dict[str, list[float]]]:
    """Wall seconds by stage, for the whole of the requests and for parts of them, round by round."""
    pool = world.population.pool(np.ones(len(world.population.ads.store), np.bool_))
    seconds: dict[int, dict[str, list[float]]] = {share: defaultdict(list) for share in (1, 2, 4, 8)}
    day = 0
    for turn in range(repeat + 1):
        for share, times in seconds.items():
            started = perf_counter()
            requests = _arrivals(world, minds, n // share, day, threads)
            spent = {"arrivals": perf_counter() - started}
            blocks = [requests.rows(a, a + _BLOCK) for a in range(0, len(requests), _BLOCK)]

            def block(some: Requests, work: dict[str, float] = spent) -> dict[str, float]:
                clock = [perf_counter()]
                visits = world.browse(some, minds)
                clock.append(perf_counter())
                ad = world.candidates(some, visits.query, minds, pool)
                clock.append(perf_counter())
                world.respond(some, visits.need, ad[:, :_SLOTS], minds)
                clock.append(perf_counter())
                return dict(zip(("browse", "retrieval", "response"), np.diff(clock), strict=True))

            for part in list(threads.map(block, blocks)):
                for stage, s in part.items():
                    spent[stage] = spent.get(stage, 0.0) + s
            spent["all"] = perf_counter() - started
            if turn:  # the first one warms up
                for stage, s in spent.items():
                    times[stage].append(s)
            day += 1
    return seconds


def _arrivals(world: World, minds: Minds, n: int, day: int, threads: Executor) -> Requests:
    """A day of as many users as bring about n requests, cut to n."""
    users = int(n / 1.9)  # two sessions' requests a day and user, a little more than needed
    return world.requests_on(day, minds, users, threads).rows(0, n)


def _config(users: int, items: int, ads: int) -> WorldConfig:
    return WorldConfig.model_validate(
        {
            "population": {"users": users, "regions": _REGIONS, "activity_sigma": 0.8},
            "catalogue": {"stores": items},
            "campaigns": {
                "count": ads * _REGIONS // 5, "stores_per_campaign": 5, "daily_budget_usd": 60, "flighted_share": 0,
                "daypart_share": 0,
            },
            "traffic": {"hour_weight": [1] * 8 + [3] * 16, "requests_per_session": 2},
            "feed": {"slot_effect": [1.0, 0.75, 0.58, 0.46], "candidates": min(50, ads)},
            "marginals": {"ctr": 0.06, "cvr": 0.2, "sessions_per_day": 1.0, "basket_usd": 32, "organic_share": 0.6},
            "habit": {"history_stores": 8},
        }
    )  # fmt: skip


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _print(found: dict[str, float], args: argparse.Namespace) -> None:
    table = Table(
        title=f"{args.users:,} users, {args.items:,} items, {args.ads:,} eligible ads per region, {args.threads} threads",
        box=None,
    )
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in found.items():
        table.add_row(name, f"{value:,.2f}")
    Console().print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--ads", type=int, default=2_000, help="eligible ads per region")
    parser.add_argument("--requests", type=int, default=400_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
