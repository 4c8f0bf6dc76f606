"""Trains in each of torchrun's processes, or alone, and writes what came of it: python together.py FOLDER [CONFIG ...]."""

import sys
from pathlib import Path

import numpy as np
from blocks import Blocks
from safetensors.torch import save_file
from scipy.special import expit

from models import train
from models.config import NetworkConfig, TwoTowerConfig
from models.data import AdTable, Batch, Dataset
from models.distributed import joined
from models.jagged import Jagged
from models.schema import Column, Kind, Schema, Side

SMALL = {"embedding": 16, "batch_requests": 64, "epochs": 2}
CONFIGS = {
    "plain": NetworkConfig(kind="network", hidden=(32,), **SMALL),
    "entire space, sampled": NetworkConfig(
        kind="network", hidden=(16,), conversions_from="impressions", negatives_kept=0.6, **SMALL
    ),
    "two towers": TwoTowerConfig(kind="two_tower", tower=(16,), vector=16, **SMALL),
    "lists alone": NetworkConfig.model_validate(
        {"kind": "network", "hidden": (16,), "self_supervised": [{"kind": "next_action"}, {"kind": "masked"}], **SMALL}
    ),
    "patience": NetworkConfig(kind="network", hidden=(16,), patience=1, learning_rate=0.05, **SMALL),
}


def log(n: int, seed: int) -> Dataset:
    """Requests with two ads; one list in five has two values, the others have none, so that many a share has nothing to tell."""
    rng = np.random.default_rng(seed)
    schema = Schema(
        tables={
            "requests": (
                Column(name="hour", kind=Kind.CATEGORICAL, dtype="int32", side=Side.REQUEST, cardinality=24),
                Column(name="age", kind=Kind.DENSE, dtype="float32", side=Side.REQUEST),
                Column(
                    name="visited", kind=Kind.LIST, dtype="list<int32>", side=Side.REQUEST, cardinality=30, values_of="store",
                    ordered=True,
                ),
            ),
            "impressions": (
                Column(name="store", kind=Kind.CATEGORICAL, dtype="int32", side=Side.AD, cardinality=30),
                Column(name="ctr", kind=Kind.DENSE, dtype="float32", side=Side.AD),
                Column(name="near", kind=Kind.DENSE, dtype="float32", side=Side.CROSS),
            ),
        }
    )  # fmt: skip
    ads = AdTable(
        categorical=rng.integers(30, size=(50, 1)).astype(np.int32), dense=rng.normal(size=(50, 1)).astype(np.float32),
        vector=np.empty((50, 0), np.float32),
    )  # fmt: skip
    row = rng.integers(-1, 50, size=(n, 2)).astype(np.int32)
    cross = rng.normal(size=(n, 2, 1)).astype(np.float32)
    visited = np.where(np.arange(n)[:, None] % 5 == 0, rng.integers(30, size=(n, 2)), -1)
    batch = Batch(
        categorical=rng.integers(24, size=(n, 1)).astype(np.int32), dense=rng.normal(size=(n, 1)).astype(np.float32),
        lists=(Jagged.packed(visited),), ads=ads, row=row, cross=cross, slot=np.arange(2, dtype=np.int32),
    )  # fmt: skip
    click = (row >= 0) & (rng.random(row.shape) < expit(cross[:, :, 0] + ads.dense[row, 0]))
    conversion = click & (rng.random(row.shape) < 0.4)
    return Dataset(schema=schema, batch=batch, time_ms=np.arange(n), click=click, conversion=conversion)


def main(folder: Path, *names: str) -> None:
    train.has_fast_bf16 = lambda device: False  # float32 wherever it runs: the sums are compared
    with joined() as rank:
        for name in names or CONFIGS:
            # 129 and 130 requests: the last batch of a block has one, fewer than processes, or two
            model = train.fit_network(
                Blocks(log(259, 1), 2),
                CONFIGS[name],
                seed=1,
                threads=1,
                validation=log(200, 2),
                checkpoint=folder / f"kept {name}",
            )
            save_file(
                {key: value.contiguous() for key, value in model.net.state_dict().items()}, folder / f"{name} {rank}"
            )
            (folder / f"{name} {rank}.notes").write_text(repr([note | {"seconds": 0} for note in model.training]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
