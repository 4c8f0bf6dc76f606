"""Repurchase and exploration in a run's log: AUC by cohort, and who the hard negatives are.

    python benchmarks/cohorts.py RUN [--json FILE]

RUN is a run folder with trained models. Control's model predicts conversions on the log's last day. A repurchase is an impression
whose store the user had ordered from; hard negatives are the 3% of the impressions without an order that are predicted highest.
Published for a delivery marketplace: AUC 0.787 overall, 0.724 repurchase, 0.707 exploration; repurchases 67.6% of positives,
34.3% of negatives, 75% of hard negatives; 38% of false positives in the user's unusual part of the day.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json

import duckdb
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from marketplace.market import load_world
from marketplace.scenario import load_scenario
from models.log import read_log
from models.predictor import load_model
from synth.types import DAY_MS, DAYPARTS

_HARD = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = cohorts(args.run)
    table = Table("figure", "value", box=None)
    for name, value in found.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def cohorts(run: Path) -> dict[str, float]:
    """The figures of a run folder."""
    scenario = load_scenario(run / "scenario.json")
    world, model = load_world(scenario, run / "truth"), load_model(run / "models" / "control")
    end = scenario.calendar.log_days * DAY_MS
    log = read_log(run / "log", end)
    positive = log.conversion[log.shown]
    known = (log.cross("known_orders") > 0)[log.shown]
    figures = {
        "repurchase share of positives": known[positive].mean(),
        "repurchase share of negatives": known[~positive].mean(),
    }
    last = log.between(end - DAY_MS, end)
    predicted = model.predict(last.batch)
    shown = last.shown
    p, ordered = (predicted.click * predicted.conversion)[shown], last.conversion[shown]
    known = (last.cross("known_orders") > 0)[shown]
    for name, rows in (("overall", known | True), ("repurchase", known), ("exploration", ~known)):
        figures[f"AUC, {name}"] = roc_auc_score(ordered[rows], p[rows])
    unusual = np.broadcast_to(_unusual(run, end, last.time_ms, world.population.users.daypart)[:, None], shown.shape)[
        shown
    ]
    hard = ~ordered & (p >= np.quantile(p[~ordered], 1 - _HARD))
    figures |= {
        "repurchase share of hard negatives": known[hard].mean(),
        "of them, out of the user's usual part of the day": unusual[hard & known].mean(),
        "of all impressions, out of it": unusual.mean(),
    }
    return {name: float(value) for name, value in figures.items()}


def _unusual(run: Path, end: int, time_ms: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """(n,) requests of the last day that come out of their user's usual part of the day."""
    with duckdb.connect() as db:
        users = db.execute(
            "SELECT user FROM read_parquet(?) WHERE time_ms >= ? AND time_ms < ? ORDER BY time_ms, request",
            [str(run / "log" / "requests" / "*.parquet"), end - DAY_MS, end],
        ).fetchnumpy()["user"]
    return time_ms // (DAY_MS // DAYPARTS) % DAYPARTS != usual[users]


if __name__ == "__main__":
    main()
