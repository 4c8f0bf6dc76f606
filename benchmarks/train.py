"""Training and scoring of networks: rows per second on a synthetic set, and the AUC that they reach.

    python benchmarks/train.py [--rows 1_000_000] [--repeat 3] [--threads 2] [--only dcnv2 dhen] [--json FILE]

13 dense and 26 categorical features (vocabularies of 10 to 100,000 values, Zipf), 16-d embeddings, dense layers 256-128-64,
batches of 8,192 rows, one epoch; labels come from a known logit, whose AUC is shown as the best. 16 of the categories and the
dense features are the request's, 10 categories the ad's. Scoring is of 50 candidates per request. Networks run in turn, round by
round, so that a slow minute of a shared machine hits all of them; medians are printed.
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
from rich.console import Console
from rich.table import Table
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from models.config import CROSSINGS, NetworkConfig
from models.data import AdTable, Batch, Dataset
from models.schema import Column, Kind, Schema, Side
from models.train import fit_network

_DENSE, _REQUEST, _AD = 13, 16, 10
_SIZES = np.geomspace(10, 100_000, _REQUEST + _AD).astype(int)
_BATCH, _CANDIDATES = 8192, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CROSSINGS, metavar="CROSSING")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    data, _ = draw(args.rows, 1)
    test, truth = draw(200_000, 2)
    names = args.only or list(CROSSINGS)
    took: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    size = {}
    for _ in range(args.repeat):
        for name in names:
            config = NetworkConfig(
                kind="network", crossing=name, token_width=64, hidden=(256, 128, 64), batch_requests=_BATCH,
                learning_rate=2e-3,
            )  # fmt: skip
            started = perf_counter()
            model = fit_network(data, config, seed=1, threads=args.threads)
            train_s = perf_counter() - started
            auc = roc_auc_score(test.click[:, 0], model.logits(test.batch)[0][:, 0])
            crowd = candidates(test.batch)
            model.logits(crowd)
            started = perf_counter()
            model.logits(crowd)
            score_s = perf_counter() - started
            took[name].append((len(data.batch) / train_s, crowd.row.size / score_s, float(auc)))
            size[name] = sum(p.numel() for p in model.net.parameters() if p.requires_grad)
    rows = [
        {
            "crossing": name, "dense parameters": size[name], "train rows/s": round(median(t for t, _, _ in runs)),
            "score rows/s": round(median(s for _, s, _ in runs)), "AUC": round(median(a for _, _, a in runs), 4),
        }
        for name, runs in took.items()
    ]  # fmt: skip
    best = roc_auc_score(test.click[:, 0], truth)
    table = Table(*rows[0], title=f"{args.rows:,} rows, {args.threads} threads; best AUC {best:.4f}", box=None)
    for row in rows:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "best": best}, indent=1) + "\n")


def schema() -> Schema:
    def column(name: str, kind: Kind, side: Side, cardinality: int = 0) -> Column:
        return Column(name=name, kind=kind, dtype="", side=side, cardinality=cardinality)

    requests = [column(f"d{i}", Kind.DENSE, Side.REQUEST) for i in range(_DENSE)]
    requests += [column(f"r{i}", Kind.CATEGORICAL, Side.REQUEST, int(n)) for i, n in enumerate(_SIZES[:_REQUEST])]
    ads = [column(f"a{i}", Kind.CATEGORICAL, Side.AD, int(n)) for i, n in enumerate(_SIZES[_REQUEST:])]
    return Schema(tables={"requests": tuple(requests), "impressions": tuple(ads)})


def draw(n: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """n requests of one ad each, and the logits of a click; the market is the same for every seed."""
    market, rng = np.random.default_rng(0), np.random.default_rng(seed)
    ids = [np.minimum(rng.zipf(1.2, n) - 1, size - 1).astype(np.int32) for size in _SIZES]
    dense = rng.normal(size=(n, _DENSE)).astype(np.float32)
    vectors = [market.normal(size=(size, 4)) for size in _SIZES]
    pairs = [tuple(market.choice(len(_SIZES), 2, replace=False)) for _ in range(20)]
    z = dense @ market.normal(scale=0.15, size=_DENSE)
    z += sum(0.15 * v[i, 0] for v, i in zip(vectors, ids, strict=True))
    z += sum(0.12 * (vectors[a][ids[a]] * vectors[b][ids[b]]).sum(axis=1) for a, b in pairs)
    z = z / z.std() * 1.2 - 2.2
    click = (rng.random(n) < expit(z))[:, None]
    batch = Batch(
        categorical=np.stack(ids[:_REQUEST], axis=1), dense=dense, lists=(),
        ads=AdTable(
            categorical=np.stack(ids[_REQUEST:], axis=1), dense=np.zeros((n, 0), np.float32),
            vector=np.zeros((n, 0), np.float32),
        ),
        row=np.arange(n, dtype=np.int32)[:, None], cross=np.zeros((n, 1, 0), np.float32), slot=np.zeros(1, np.int32),
    )  # fmt: skip
    converted = click & (rng.random((n, 1)) < 0.3)
    return Dataset(schema=schema(), batch=batch, time_ms=np.arange(n), click=click, conversion=converted), z


def candidates(batch: Batch) -> Batch:
    """20,000 requests with 50 of 5,000 ads each."""
    n, ads = 20_000, 5_000
    row = np.random.default_rng(0).integers(ads, size=(n, _CANDIDATES)).astype(np.int32)
    own = batch.rows(0, n)
    return Batch(
        categorical=own.categorical, dense=own.dense, lists=(), ads=batch.ads.rows(0, ads), row=row,
        cross=np.zeros((n, _CANDIDATES, 0), np.float32), slot=np.zeros(_CANDIDATES, np.int32),
    )  # fmt: skip


if __name__ == "__main__":
    main()
