"""Shared budgets: a treatment that bids 10% more, read by users, by budgets, and as it is, over many fortnights of one market.

    python benchmarks/interference.py [--seeds 10] [--users 20000] [--budget 250] [--workers 1] [--json FILE]

The market is the delivery scenario with 40 campaigns, first price and no pacing. Both arms rank by the first ranker, so bids are
all that differs. Where users are split and share budgets, the arm that pays more takes money from the other; where each arm has
its part of the budgets, it does not (Liu, Mao & Kang 2021, budget-split design). Where demand is given there is a closed form
(`examples/04_shared_budgets.py`). Here a campaign that runs out frees slots for the others, so the gap is another one.

The budget was chosen for one figure, before any lift was looked at: that about half of the campaigns run out on a day of the
world of control. Intervals are over fortnights, by Student's t on logs; that of the bias is of the differences to the truth of
each fortnight.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import tempfile
from math import expm1
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from marketplace.assignment import everyone
from marketplace.counters import Counters
from marketplace.experiment import Pace, arms_of, complete
from marketplace.market import load_world
from marketplace.record import NoRecord
from marketplace.runs import Draft, new_run
from marketplace.scenario import Scenario, load_scenario
from marketplace.simulate import simulate
from marketplace.state import load_state
from marketplace.study import run_study

DELIVERY = Path(__file__).parents[1] / "scenarios" / "delivery.toml"
DESIGNS = ("users", "budgets")
METRIC = "revenue"
BUDGET_USD = 250.0  # a day, mean over campaigns
MARKET = (
    "world.population.regions=4", "world.catalogue.stores=400", "world.campaigns.count=40",
    "world.campaigns.stores_per_campaign=10", "world.feed.candidates=20", "calendar.log_days=3", "calendar.test_days=7",
    "auction.mechanism=first_price", "pacing.pacer=none", "experiment.arms.control.model=first_ranker",
    "experiment.arms.treatment.model=first_ranker", "experiment.arms.treatment.bid_factor=1.1",
)  # fmt: skip


def main() -> None:
    args = _arguments()
    started = perf_counter()
    scenario = scenario_of(args.users, args.budget)
    with tempfile.TemporaryDirectory() as folder, new_run(scenario, "benchmark", Path(folder)) as draft:
        complete(draft, None, "models", (), Pace(threads=1), lambda what, share: None)
        out = run_out(draft)
        content = {"users": args.users, "daily_budget_usd": args.budget, "run_out": out}
        if args.seeds > 1:
            study = run_study(draft, DESIGNS, args.seeds, None, args.workers, lambda what, share: None)
            content |= {"seeds": args.seeds, "rows": rows_of(study["replications"])}
    content["wall_s"] = perf_counter() - started
    show(content)
    if args.json:
        args.json.write_text(json.dumps(content, indent=1) + "\n")


def scenario_of(users: int, budget_usd: float) -> Scenario:
    """The market and the experiment."""
    own = f"world.population.users={users}", f"world.campaigns.daily_budget_usd={budget_usd}"
    return load_scenario(DELIVERY, (*MARKET, *own))


def run_out(draft: Draft) -> float:
    """Share of the campaigns on the air that end a day of the test with nothing left, where control serves all."""
    scenario = draft.scenario
    world = load_world(scenario, draft.folder / "truth")
    state, first = load_state(scenario, world, draft.folder / "state"), scenario.calendar.log_days
    spent: list[np.ndarray] = []

    def end_day(counters: Counters) -> None:
        spent.append(state.ledger.remaining == 0)

    simulate(
        scenario, world, arms_of(scenario, draft.folder)[:1], everyone(scenario.world.population.users), state, NoRecord(),
        first_day=first, days=scenario.calendar.test_days, threads=1, end_day=end_day,
    )  # fmt: skip
    on_air = np.stack([world.population.on_air(first + day).any(axis=0) for day in range(len(spent))])
    return float(np.stack(spent)[on_air].mean())


def rows_of(replications: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Truth, and the lift and bias of each design: means of logs over fortnights, with their intervals."""
    own = {name: [row for row in replications if (row["design"], row["metric"]) == (name, METRIC)] for name in DESIGNS}
    truth = np.log1p([row["true_lift"] for row in own[DESIGNS[0]]])
    rows: list[dict[str, Any]] = [{"what": "truth"} | _around("lift", truth)]
    for name in DESIGNS:
        lift = np.log1p([row["lift"] for row in own[name]])
        covered = sum(row["low"] <= row["true_lift"] <= row["high"] for row in own[name])
        rows.append(
            {"what": f"by {name}"} | _around("lift", lift) | _around("bias", lift - truth) | {"covered": covered}
        )
    return rows


def _around(name: str, logs: np.ndarray) -> dict[str, float]:
    """A mean of logs as a relative difference, with its 95% interval."""
    n = len(logs)
    mean, half = float(logs.mean()), float(stats.t.isf(0.025, n - 1) * logs.std(ddof=1) / np.sqrt(n))
    return {name: expm1(mean), f"{name}_low": expm1(mean - half), f"{name}_high": expm1(mean + half)}


def show(content: dict[str, Any]) -> None:
    """Print what was found."""
    console = Console(width=120)
    console.print(
        f"{content['users']:,} users, daily budgets of ${content['daily_budget_usd']:g} on average: on a day of the world of "
        f"control {content['run_out']:.0%} of the campaigns on the air run out"
    )
    table = Table(METRIC, "lift", "95% interval", "bias", "95% interval", "covered", box=None)
    for row in content.get("rows", ()):
        covered = f"{row['covered']} of {content['seeds']}" if "covered" in row else ""
        table.add_row(row["what"], *_cells(row, "lift"), *_cells(row, "bias"), covered)
    console.print(table)
    console.print(f"{content['wall_s']:.0f} s")


def _cells(row: dict[str, Any], name: str) -> tuple[str, str]:
    if name not in row:
        return "", ""
    return f"{row[name]:+.2%}", f"[{row[f'{name}_low']:+.2%}, {row[f'{name}_high']:+.2%}]"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=10, help="fortnights; under 2, only the campaigns that run out are counted"
    )
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--budget", type=float, default=BUDGET_USD, help="USD a day, mean over campaigns")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
