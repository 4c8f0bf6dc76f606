"""What networks, sequences, tasks and losses are worth on a scenario's log: AUC against the true probabilities, over seeds.

    python benchmarks/line_up.py SCENARIO [--seeds 5] [--days 12] [--only dhen lightgbm ...] [--logs FOLDER] [--json FILE]

Each seed is another world with a log of its own, collected under the scenario's first ranker: all days but the last two are
trained on, in one pass; the last is evaluated. Its AUC is the expected one: an impression counts as a positive with its true
probability and as a negative with the rest, so that no luck of labels is left. A conversion given a click counts by its
probability of a click too. A finding is the difference of two configurations trained on the same logs, with its 95% interval over
seeds (t).
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import duckdb
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import expit
from scipy.stats import t as student

from marketplace.errors import Refused
from marketplace.experiment import Pace, collect_log
from marketplace.runs import new_run
from marketplace.scenario import load_scenario
from models.config import (
    CROSSINGS,
    LINE_UP,
    AdsformerConfig,
    BstConfig,
    DinConfig,
    LastConfig,
    MaskedConfig,
    MeanConfig,
    MmoeConfig,
    NetworkConfig,
    NextActionConfig,
    VectorsConfig,
)
from models.data import Dataset
from models.log import LogWindow, read_log
from models.predictor import fit
from models.schema import Schema
from models.scores import expected_auc, norm_bce
from synth.campaigns import GOALS
from synth.types import DAY_MS

Floats = NDArray[np.float64]
_BLOCK = 1_500_000


RECIPE = {
    "learning_rate": 3e-3, "embedding_learning_rate": 1e-2, "warm_up": 0.05, "task_weight": {"conversion": 5.0}, "wide": True,
}  # fmt: skip


def network(**settings: object) -> NetworkConfig:
    return NetworkConfig.model_validate({"kind": "network"} | RECIPE | settings)


STORES = ("history", "views", "clicks")  # lists of stores, most recent first
ADPM = (AdsformerConfig(lists=("views",)), VectorsConfig(), MeanConfig())
EVERY_TASK = ("click", "conversion", "long_click", "cart", "checkout", "sign_up", "organic")
CONFIGS = {
    "lightgbm": LINE_UP["lightgbm"].model_copy(update={"trees": 200, "min_rows_per_leaf": 300}),
    "none": network(),
    "no lists": network(sequences=()),
    "no click head": network(task_weight={"click": 0.0, "conversion": 5.0}),
    **{name: network(crossing=name) for name in CROSSINGS if name != "none"},
    "last": network(sequences=(LastConfig(),)),
    "din": network(sequences=(MeanConfig(), DinConfig(lists=STORES))),
    "bst": network(sequences=(MeanConfig(), BstConfig(lists=STORES))),
    "adsformer": network(sequences=ADPM, crossing="dcnv2"),
    "adsformer without 1": network(sequences=ADPM[1:], crossing="dcnv2"),
    "adsformer without 2": network(sequences=(ADPM[0], ADPM[2]), crossing="dcnv2"),
    "adsformer without 3": network(sequences=ADPM[:2], crossing="dcnv2"),
    "adsformer without cross": network(sequences=ADPM),
    "esmm": network(conversions_from="impressions"),
    "mmoe": network(towers=MmoeConfig()),
    "every task": network(tasks=EVERY_TASK),
    "next_action": network(self_supervised=(NextActionConfig(),)),
    "next_action, weight 0.1": network(self_supervised=(NextActionConfig(weight=0.1),)),
    "masked": network(self_supervised=(MaskedConfig(),)),
    "two_tower": LINE_UP["two_tower"].model_copy(update={name: value for name, value in RECIPE.items() if name != "wide"}),
}  # fmt: skip
SINGLE = tuple(name for name in CROSSINGS if name not in ("none", "dhen"))
FINDINGS = (
    ("a network against LightGBM", "none", "lightgbm"),
    ("DHEN against LightGBM", "dhen", "lightgbm"),
    ("the click head", "none", "no click head"),
    ("lists, pooled, against none", "none", "no lists"),
    ("DIN against pooled lists", "din", "none"),
    ("BST against pooled lists", "bst", "none"),
    ("last five against none", "last", "no lists"),
    *((f"DHEN against {name}", "dhen", name) for name in SINGLE),
    ("adSformer against DCN v2", "adsformer", "dcnv2"),
    ("its first component, attention", "adsformer", "adsformer without 1"),
    ("its second, content vectors", "adsformer", "adsformer without 2"),
    ("its third, learned on the fly", "adsformer", "adsformer without 3"),
    ("its cross layers", "adsformer", "adsformer without cross"),
    ("ESMM against the shared bottom", "esmm", "none"),
    ("MMoE against the shared bottom", "mmoe", "none"),
    ("seven tasks against two", "every task", "none"),
    ("next action against none", "next_action", "none"),
    ("the same of weight 0.1", "next_action, weight 0.1", "none"),
    ("masked against none", "masked", "none"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One configuration on one seed's log."""

    click: float
    conversion: float
    rows_per_s: float
    score_per_s: float
    norm_bce: float  # of clicks, by labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--days", type=int, default=12)
    parser.add_argument("--only", nargs="+", choices=CONFIGS, default=list(CONFIGS), metavar="NAME")
    parser.add_argument("--logs", type=Path, default=Path("runs/line_up"))
    parser.add_argument("--set", dest="overrides", nargs="+", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    kept: dict[str, dict[str, dict[str, float]]] = {}
    if args.json and args.json.exists():
        kept = json.loads(args.json.read_text())["scored"]
    for seed in range(1, args.seeds + 1):
        overrides = [f"calendar.log_days={args.days}", "log.candidate_share=0", *args.overrides]
        run = log_of(args.scenario, seed, overrides, args.logs, args.threads)
        scored = kept.setdefault(str(seed), {})
        wanted = [name for name in args.only if name not in scored]
        if not wanted:
            continue
        held_out = HeldOut.of(run, args.days)
        days = Days.of(run, args.days)
        scored["truth"] = {"click": held_out.best[0], "conversion": held_out.best[1]}
        for name in wanted:
            result = evaluate(CONFIGS[name], days, held_out, seed, args.threads)
            scored[name] = {field: getattr(result, field) for field in Scored.__dataclass_fields__}
            print(seed, name, scored[name], file=sys.stderr, flush=True)
            if args.json:
                args.json.write_text(json.dumps({"scored": kept}, indent=1) + "\n")
    show(kept)


def log_of(scenario: Path, seed: int, overrides: list[str], logs: Path, threads: int) -> Path:
    """The run folder with a seed's log, collected unless it is there."""
    logs.mkdir(parents=True, exist_ok=True)
    wanted = load_scenario(scenario, overrides, seed)
    for folder in sorted(logs.glob(f"{wanted.name}-*")):
        try:
            if load_scenario(folder / "scenario.json") == wanted:
                return folder
        except Refused:
            continue
    with new_run(wanted, "generate", logs) as draft:
        collect_log(draft, Pace(threads=threads), lambda what, share: None)
    return draft.folder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """The last day of a log, and the true probabilities behind it, (m,) each in the order of the log."""

    data: Dataset
    click: Floats
    conversion: Floats
    best: tuple[float, float]

    @staticmethod
    def of(run: Path, days: int) -> "HeldOut":
        data = read_log(run / "log", days * DAY_MS, start_ms=(days - 1) * DAY_MS)
        truth = duckdb.sql(
            f"""SELECT t.examination * t.click AS click, t.cart, t.cart * t.checkout AS checkout, t.sign_up
            FROM read_parquet('{run}/truth/impressions/*.parquet') t
            JOIN read_parquet('{run}/log/impressions/*.parquet') i ON i.request = t.request AND i.slot = t.slot
            WHERE i.time_ms >= {(days - 1) * DAY_MS} ORDER BY i.time_ms, i.request, i.slot"""
        ).fetchnumpy()
        ads = data.batch.ads.categorical[data.batch.row[data.shown]]
        names = [c.name for c in data.schema.tables["impressions"] if c.kind == "categorical"]
        goal = ads[:, names.index("goal")]
        of_goal = np.stack([np.zeros(len(goal)), truth["cart"], truth["checkout"], truth["sign_up"]], axis=1)
        assert GOALS == ("click", "cart", "checkout", "sign_up")
        click = truth["click"].astype(np.float64)
        conversion = of_goal[np.arange(len(goal)), goal].astype(np.float64)
        best = expected_auc(click, click, np.ones_like(click)), expected_auc(conversion, conversion, click)
        return HeldOut(data=data, click=click, conversion=conversion, best=best)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Days:
    """The days to learn from, in memory, for many trainings."""

    schema: Schema
    held: list[Dataset]

    @staticmethod
    def of(run: Path, days: int) -> "Days":
        end = days * DAY_MS
        window = LogWindow(
            folder=run / "log", snapshot_ms=end, start_ms=0, stop_ms=end - 2 * DAY_MS, tasks=EVERY_TASK[2:],
            block_impressions=_BLOCK,
        )  # fmt: skip
        return Days(schema=window.schema, held=list(window.blocks()))

    def blocks(self) -> Iterator[Dataset]:
        return iter(self.held)


def evaluate(config, days: Days, held_out: HeldOut, seed: int, threads: int) -> Scored:  # type: ignore[no-untyped-def]
    """Train a configuration on a seed's log, and score it on the day that was held out."""
    started = perf_counter()
    model = fit(days, config, seed=seed, threads=threads)
    trained = perf_counter() - started
    rows = sum(int(block.shown.sum()) for block in days.held)
    data = held_out.data
    started = perf_counter()
    click, conversion = (logit[data.shown].astype(np.float64) for logit in model.logits(data.batch))
    took = perf_counter() - started
    return Scored(
        click=expected_auc(click, held_out.click, np.ones_like(click)),
        conversion=expected_auc(conversion, held_out.conversion, held_out.click),
        rows_per_s=rows / trained, score_per_s=len(click) / took,
        norm_bce=norm_bce(expit(click), data.click[data.shown]),
    )  # fmt: skip


def show(kept: dict[str, dict[str, dict[str, float]]]) -> None:
    """The configurations, then the findings."""
    seeds = list(kept.values())
    every = [name for name in ("truth", *CONFIGS) if all(name in scored for scored in seeds)]
    table = Table(
        "", "click AUC", "conversion AUC", "Norm-BCE", "trained rows/s", title=f"{len(seeds)} seeds", box=None
    )
    for name in every:
        of = [scored[name] for scored in seeds]
        cells = [f"{np.mean([s[task] for s in of]):.4f}" for task in ("click", "conversion")]
        if name != "truth":
            cells += [f"{np.mean([s['norm_bce'] for s in of]):.4f}", f"{np.median([s['rows_per_s'] for s in of]):,.0f}"]
        table.add_row(name, *cells)
    console = Console(width=140)
    console.print(table)
    table = Table(
        "finding", "click AUC x 100", "conversion AUC x 100", title="\ndifferences, 95% interval over seeds", box=None
    )
    for what, ours, other in FINDINGS:
        if ours in every and other in every:
            table.add_row(what, *(interval([s[ours][t] - s[other][t] for s in seeds]) for t in ("click", "conversion")))
    console.print(table)


def interval(differences: list[float]) -> str:
    """Mean and 95% interval, in hundredths of AUC."""
    d = 100 * np.array(differences)
    half = student.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.nan
    return f"{d.mean():+.3f} [{d.mean() - half:+.3f}, {d.mean() + half:+.3f}]"


if __name__ == "__main__":
    main()
