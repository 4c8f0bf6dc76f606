"""Formats that a trained network is served in: candidates scored per second, and what a format costs in accuracy.

    python benchmarks/serving.py [--rows 150_000] [--rounds 3] [--threads 1] [--only dcnv2] [--json FILE]

The networks and the synthetic set are those of benchmarks/train.py, trained for one epoch in batches of 2,048 rows; scoring is
of 50 candidates per request. AUC and errors are of rows that were not trained on, errors in the probability of a click against
float32. "ready" is the time from a trained network to its first scores, with the ranges of int8 and compilation. Formats run in
turn, round by round, so that a slow minute of a shared machine hits all of them; medians are printed.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
from statistics import median
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from torch._inductor.utils import fresh_cache

from benchmarks.train import candidates, draw
from models.config import NetworkConfig, Serving
from models.data import Batch, Dataset
from models.errors import Unusable
from models.scoring import Network
from models.train import fit_network

_CROSSINGS = ("none", "dcnv2", "dhen")
_FORMS: dict[str, tuple[Serving, bool]] = {
    "float32": ("float32", False), "bfloat16": ("bfloat16", False), "int8": ("int8", False),
    "float32, compiled": ("float32", True), "bfloat16, compiled": ("bfloat16", True), "int8, compiled": ("int8", True),
}  # fmt: skip
_SAMPLE = 8192  # rows of the training set that int8 takes its ranges from
_TEST = 50_000  # rows that AUC and errors are of
_CROWD = 1_280  # requests that are timed; a multiple of the 128 that are scored at once, so that none is filled up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=_CROSSINGS, default=_CROSSINGS, metavar="CROSSING")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    data, _ = draw(args.rows, 1)
    test, truth = draw(_TEST, 2)
    rows = []
    for crossing in args.only:
        config = NetworkConfig.model_validate(
            {
                "kind": "network", "crossing": crossing, "token_width": 64, "hidden": (256, 128, 64), "batch_requests": 2048,
                "learning_rate": 2e-3, "serving": "float32",
            }
        )  # fmt: skip
        network = fit_network(data, config, seed=1, threads=args.threads)
        rows += [{"crossing": crossing} | row for row in compared(network, data, test, args.rounds)]
    best = roc_auc_score(test.click[:, 0], truth)
    title = f"{args.rows:,} rows, {args.threads} threads, {args.rounds} rounds; best AUC {best:.4f}"
    table = Table(*rows[0], title=title, box=None)
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "best": best}, indent=1) + "\n")


def compared(network: Network, data: Dataset, test: Dataset, rounds: int) -> list[dict[str, object]]:
    """One row per format that the machine can run."""
    crowd = candidates(test.batch).rows(0, _CROWD)
    sample = data.batch.take(np.linspace(0, len(data.batch) - 1, _SAMPLE).astype(int))
    served, ready = {}, {}
    for name, (form, compiled) in _FORMS.items():
        started = perf_counter()
        try:
            served[name] = network.served(form, compile=compiled, sample=sample if form == "int8" else None)
        except Unusable as refusal:
            print(f"{name}: {refusal}")
            continue
        with fresh_cache():  # what was compiled on another day would be taken from the disk
            served[name].logits(crowd.rows(0, 1))
        ready[name] = perf_counter() - started
    took: dict[str, list[float]] = {name: [] for name in served}
    for model in served.values():
        seconds(model, crowd)
    for _ in range(rounds):
        for name, model in served.items():
            took[name].append(seconds(model, crowd))
    click = test.click[:, 0]
    p = {name: expit(model.logits(test.batch)[0][:, 0]) for name, model in served.items()}
    plain = p["float32"]
    auc = roc_auc_score(click, plain)
    return [
        {
            "format": name, "rows/s": round(crowd.row.size / median(took[name])), "AUC": round(auc, 4),
            "AUC change": f"{roc_auc_score(click, p[name]) - auc:+.5f}", "largest error": f"{abs(p[name] - plain).max():.1e}",
            "mean error": f"{abs(p[name] - plain).mean():.1e}", "ready s": round(ready[name], 2),
        }
        for name in served
    ]  # fmt: skip


def seconds(network: Network, batch: Batch) -> float:
    started = perf_counter()
    network.logits(batch)
    return perf_counter() - started


if __name__ == "__main__":
    main()
