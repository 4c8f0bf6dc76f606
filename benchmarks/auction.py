"""Speed of `auction.clear`: auctions per second with exact budgets and pacing.

    python benchmarks/auction.py [--auctions 200000] [--repeat 5] [--json FILE]

1,000 advertisers, 4 slots, pacing every 1,000 auctions, budgets that run out for some. The kernel on one thread and as two
markets on two threads, against its numpy twin and against a bare pass over the same arrays. All rows are timed in turn, round
by round, so a slow minute of a shared machine hits all of them.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, this one would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table

from auction import clear
from auction.kernel import clear_plain
from auction.pacing import dual_descent

ADVERTISERS, SLOTS = 1_000, 4
PLAIN = 2_000  # auctions that the twin is timed on
Market = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # bid, quality, campaign, budget_micros


def market(auctions: int, candidates: int, seed: int) -> Market:
    """Bids of 0.10 to 5 USD; budgets from a fifth to three times what an even share would cost."""
    rng = np.random.default_rng(seed)
    shape = auctions, candidates
    budget = rng.uniform(0.2, 3.0, ADVERTISERS) * 3e6 * SLOTS * auctions / ADVERTISERS
    return (
        rng.uniform(0.1, 5.0, shape), rng.uniform(0.001, 0.2, shape),
        rng.integers(0, ADVERTISERS, shape).astype(np.int32), budget.astype(np.int64),
    )  # fmt: skip


@njit(nogil=True)
def bare(bid: np.ndarray, quality: np.ndarray, campaign: np.ndarray, live: np.ndarray) -> float:
    """Read everything once and choose nothing."""
    total = 0.0
    for i in range(len(bid)):
        row = 0.0
        for j in range(bid.shape[1]):
            row += bid[i, j] * quality[i, j] * live[campaign[i, j]]
        total += row
    return total


def rows(auctions: int) -> dict[str, tuple[int, Callable[[], Any]]]:
    """What is timed, by name, and how many auctions that is."""
    paced = partial(clear, n_slots=SLOTS, reserve=0.05, pacer=dual_descent(step=2.0), every=1_000)
    effect = [1.0, 0.7, 0.5, 0.35]
    first, second = market(auctions, 50, 1), market(auctions, 50, 2)
    few, many = market(auctions, 10, 3), market(auctions // 4, 200, 4)
    draw = np.random.default_rng(5).random((auctions, SLOTS))
    threads = ThreadPoolExecutor(2)
    short = tuple(part[:PLAIN] for part in first[:3]), first[3]
    return {
        "bare pass over the arrays": (auctions, partial(bare, *first[:3], np.ones(ADVERTISERS))),
        "kernel, GSP": (auctions, partial(paced, *first)),
        "kernel, GSP, two markets on two threads": (
            2 * auctions,
            lambda: list(threads.map(lambda some: paced(*some), (first, second))),
        ),
        "kernel, GSP, unpaced": (auctions, partial(clear, *first, n_slots=SLOTS, reserve=0.05, every=auctions)),
        "kernel, GSP, clicks drawn": (auctions, partial(paced, *first, slot_effect=effect, draw=draw)),
        "kernel, first price": (auctions, partial(paced, *first, mechanism="first_price")),
        "kernel, VCG": (auctions, partial(paced, *first, mechanism="vcg", slot_effect=effect)),
        "kernel, GSP, 10 candidates": (auctions, partial(paced, *few)),
        "kernel, GSP, 200 candidates": (auctions // 4, partial(paced, *many)),
        "numpy twin, GSP": (
            PLAIN,
            lambda: clear_plain(*short[0], short[1], n_slots=SLOTS, reserve=0.05, pacer=dual_descent(step=2.0)),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auctions", type=int, default=200_000, help="per market")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    timed = rows(args.auctions)
    rates: dict[str, list[float]] = {name: [] for name in timed}
    for name in timed:
        timed[name][1]()  # compiled, and all memory touched
    for _ in range(args.repeat):
        for name, (auctions, work) in timed.items():
            started = perf_counter()
            work()
            rates[name].append(auctions / (perf_counter() - started))
    result = {
        name: {"min": min(some), "median": median(some), "max": max(some)} for name, some in rates.items()
    }  # fmt: skip
    table = Table("auctions per second", "min", "median", "max")
    for name, rate in result.items():
        table.add_row(name, *(f"{rate[key]:,.0f}" for key in ("min", "median", "max")))
    Console(width=120).print(table)
    if args.json:
        content = {
            "auctions": args.auctions, "advertisers": ADVERTISERS, "slots": SLOTS, "candidates": 50,
            "machine": platform.machine(), "python": platform.python_version(), "auctions_per_s": result,
        }  # fmt: skip
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
