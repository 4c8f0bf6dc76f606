"""What candidates and formats cost: hosts for a p99 target and dollars a year, from curves measured here and now.

    python benchmarks/capacity.py RUN [--models control treatment] [--candidates 25 50 100 200] [--peak 50_000] [--target 50]
                                      [--json FILE]

RUN is a folder with a log and trained models. Every model, network formats apart, is timed with each number of candidates; the
fleet is the smallest that answers `--peak` requests per second with a p99 within the target, fetch and bidding as by default,
all candidates of a request being scored. Curves are of one thread; a host has 8 workers at $0.334 per hour.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from marketplace.candidates import candidates_of
from marketplace.capacity import Demand, Ranker, arrivals, curve, smallest_fleet
from marketplace.cost import usd_per_year
from marketplace.servers import CostConfig, ServingConfig
from models.data import Batch
from models.errors import Unusable
from models.predictor import Model, load_model
from models.profiling import curve_of
from models.schema import load_schema
from models.scoring import Network

_SIZES = (1, 2, 4, 8, 16)
_FORMATS = ("float32", "bfloat16", "int8")
_HOST = CostConfig().hosts["t3_2xlarge"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--candidates", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--peak", type=float, default=50_000.0)
    parser.add_argument("--target", type=float, default=50.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    log = args.run / "log"
    names = args.models or sorted(path.name for path in (args.run / "models").iterdir())
    rows = []
    schema = load_schema(log)
    sample = candidates_of(log, schema, 50, 256, seed=1)  # that the ranges of int8 are taken from
    for name in names:
        for form, model in formats(load_model(args.run / "models" / name), sample):
            for k in args.candidates:
                batch = candidates_of(log, schema, k, 64)
                points = curve_of(model, batch, _SIZES, budget_s=0.3)
                rows.append(
                    {"model": name, "format": form, "candidates": k, "ms of 1 request": round(1e3 * points[0].seconds, 2)}
                    | {"ms of 16": round(1e3 * points[-1].seconds, 2)} | fleet(points, k, args.peak, args.target)
                )  # fmt: skip
    table = Table(*rows[0], title=f"{args.peak:,.0f} requests/s, p99 within {args.target:g} ms", box=None)
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    Console(width=120).print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def formats(model: Model, sample: Batch) -> Iterator[tuple[str, Model]]:
    """A network in each of its formats that the machine runs; another model as it is."""
    predictor = model.predictor
    if not isinstance(predictor, Network):
        yield "as it is", model
        return
    for form in _FORMATS:
        try:
            yield form, replace(model, predictor=predictor.served(form, sample=sample if form == "int8" else None))
        except Unusable as refusal:
            print(f"{form}: {refusal}")


def fleet(points: list, k: int, peak: float, target: float) -> dict[str, object]:
    """Hosts, p99 and dollars; or why there are none."""
    config = ServingConfig(target_p99_ms=target)
    n = config.sample_requests
    ranker = Ranker(
        name="model", curve=curve([p.rows for p in points], [p.seconds for p in points]), rows=np.full(n, k),
        workers=_HOST.cores,
    )  # fmt: skip
    demand = Demand(
        arrived_s=arrivals(n, peak, 0), rate=peak, light=None, model=ranker, topology="sequential", seed=0
    )  # fmt: skip
    found = smallest_fleet(demand, config)
    if not found.hosts:
        return {"hosts": found.why, "p99 ms": round(found.latency.ms["p99"], 1), "USD a year": "–"}
    return {
        "hosts": found.hosts[0], "p99 ms": round(found.latency.ms["p99"], 1),
        "USD a year": round(usd_per_year(found.hosts[0], _HOST)),
    }  # fmt: skip


if __name__ == "__main__":
    main()
