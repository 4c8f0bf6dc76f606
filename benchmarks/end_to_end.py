"""Speed of the whole pipe: requests per second of each simulation, seconds of each other stage, peak memory.

    python benchmarks/end_to_end.py [SCENARIO] [--days 2] [--repeat 3] [--threads 2] [--json FILE]

Simulations run in turn, round by round, so a slow minute of a shared machine hits all of them; medians are printed.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import resource
import shutil
import tempfile
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from marketplace.arm import Arm
from marketplace.assignment import everyone
from marketplace.market import first_ranker, model_arm, open_market
from marketplace.record import LogRecorder
from marketplace.scenario import load_scenario
from marketplace.schema import log_schema
from marketplace.simulate import Result, simulate
from marketplace.state import State, new_state
from marketplace.training import train
from models.predictor import load_model


def main() -> None:
    args = _arguments()
    scenario = load_scenario(args.scenario)
    n_users = scenario.world.population.users
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def timed(stage: str, work: Callable[[], Any]) -> Any:
            started = perf_counter()
            done = work()
            seconds[stage] = perf_counter() - started
            return done

        def run(arm: Arm, state: State, name: str, first_day: int, days: int) -> Result:
            shutil.rmtree(folder / name, ignore_errors=True)
            content, share = world.population.content, scenario.log.candidate_share
            with LogRecorder(folder / name, log_schema(scenario.world), content, share, 0) as recorder:
                result = simulate(
                    scenario, world, (arm,), everyone(n_users), state, recorder,
                    first_day=first_day, days=days, threads=args.threads,
                )  # fmt: skip
                recorder.digest()
            return result

        world = timed("market", lambda: open_market(scenario))
        state = new_state(scenario, world)
        linear = first_ranker(scenario)
        log_days = scenario.calendar.log_days
        timed("log", lambda: run(linear, state, "log", 0, log_days))
        (folder / "models").mkdir()
        timed("train", lambda: train(scenario, folder / "log" / "log", folder / "models",
                                     threads=args.threads, progress=lambda name, share: None))  # fmt: skip
        arms = {"linear": linear} | {
            f"{name} ({scenario.models[name].kind})": model_arm(scenario, name, load_model(folder / "models" / name))
            for name in scenario.trained
        }
        results: dict[str, list[Result]] = {name: [] for name in arms}
        for _ in range(args.repeat):
            for name, arm in arms.items():
                results[name].append(run(arm, state.copy(), "simulation", log_days, args.days))
    content = {
        "scenario": scenario.name,
        "candidates": scenario.world.feed.candidates,
        "threads": args.threads,
        "simulate": {name: _row(rows) for name, rows in results.items()},
        "seconds": seconds,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    _print(content)
    if args.json:
        args.json.write_text(json.dumps(content, indent=1) + "\n")


def _row(results: list[Result]) -> dict[str, Any]:
    rates = sorted(result.n_requests / result.wall_s for result in results)
    stages = {stage: 1e6 * median(r.cpu_s[stage] / r.n_requests for r in results) for stage in results[0].cpu_s}
    return {
        "requests": results[0].n_requests,
        "requests_per_s": {"min": rates[0], "median": median(rates), "max": rates[-1]},
        "cpu_us_per_request": stages,
    }


def _print(content: dict[str, Any]) -> None:
    console = Console(width=160)
    speed = Table("simulate", "requests", "requests/s (min, median, max)", "CPU microseconds per request, by part")
    for name, row in content["simulate"].items():
        rate = row["requests_per_s"]
        parts = ", ".join(f"{stage} {us:.1f}" for stage, us in row["cpu_us_per_request"].items())
        speed.add_row(
            name, f"{row['requests']:,}", f"{rate['min']:,.0f}  {rate['median']:,.0f}  {rate['max']:,.0f}", parts
        )
    console.print(speed)
    for stage, seconds in content["seconds"].items():
        console.print(f"{stage}: {seconds:.1f} s")
    console.print(f"peak memory: {content['peak_memory_mib']:,.0f} MiB")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="?", type=Path, default=Path("scenarios/delivery.toml"))
    parser.add_argument("--days", type=int, default=2, help="days of each simulation")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
