"""Gradient-boosted trees (LightGBM), one booster per task; lists and content vectors do not enter."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numba import njit

from models.config import GbdtConfig
from models.data import Batch, Float32Array, IdArray, Source
from models.errors import Unusable
from models.schema import Kind, Schema, Side

_MANY = 64  # a category with more values than this is left to its aggregates


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gbdt:
    """Two boosters over one matrix of features."""

    click: lightgbm.Booster
    conversion: lightgbm.Booster
    ad_categories: IdArray  # columns of the ad's categories with few enough values

    @property
    def device(self) -> str:
        """It runs on the processor."""
        return "cpu"

    @property
    def parameters(self) -> int:
        """Splits and leaves of all trees."""
        trees = [b.trees_to_dataframe() for b in (self.click, self.conversion)]
        return sum(len(table) for table in trees)

    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click and of conversion given click."""
        x = matrix(batch, self.ad_categories)
        return self._raw(self.click, x, batch), self._raw(self.conversion, x, batch)

    @staticmethod
    def _raw(booster: lightgbm.Booster, x: Float32Array, batch: Batch) -> Float32Array:
        raw: Any = booster.predict(x, raw_score=True, num_threads=1)
        return raw.astype(np.float32).reshape(batch.row.shape)

    def save(self, folder: Path) -> None:
        """Write both boosters as LightGBM's text."""
        self.click.save_model(folder / "click.txt")
        self.conversion.save_model(folder / "conversion.txt")


def fit_gbdt(
    data: Source, config: GbdtConfig, *, seed: int, threads: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Gbdt:  # fmt: skip
    """Train on the shown ads for clicks, on the clicked ones for conversions.

    Raises:
        Unusable: If there is no click, or no conversion, to learn from.
    """
    few = _few(data.schema)
    # the one predictor that holds its whole log, though of the shown ads' features only: LightGBM bins them together
    blocks = [(matrix(b.batch, few)[b.shown.ravel()], b.click[b.shown], b.conversion[b.shown]) for b in data.blocks()]
    x, click, conversion = (np.concatenate(part) for part in zip(*blocks, strict=True))
    settings = {
        "objective": "binary", "num_leaves": config.leaves, "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.min_rows_per_leaf, "use_quantized_grad": True, "num_threads": threads, "seed": seed,
        "deterministic": True, "force_row_wise": True, "verbose": -1,
    }  # fmt: skip

    def booster(task: str, x: Float32Array, y: np.ndarray) -> lightgbm.Booster:
        if y.all() or not y.any():
            raise Unusable(f"cannot learn {task}: {int(y.sum())} of {len(y)} rows are positive")
        done = {"clicks": 0.0, "conversions": 0.5}[task]

        def report(env: Any) -> None:
            progress(done + (env.iteration + 1) / config.trees / 2)

        return lightgbm.train(
            settings, lightgbm.Dataset(x, y.astype(np.float32)), config.trees, callbacks=[report]
        )  # fmt: skip

    return Gbdt(
        click=booster("clicks", x, click),
        conversion=booster("conversions", x[click], conversion[click]),
        ad_categories=few,
    )


def load_gbdt(folder: Path, schema: Schema) -> Gbdt:
    """Read what `Gbdt.save` wrote."""
    return Gbdt(
        click=lightgbm.Booster(model_file=folder / "click.txt"),
        conversion=lightgbm.Booster(model_file=folder / "conversion.txt"),
        ad_categories=_few(schema),
    )


def _few(schema: Schema) -> IdArray:
    columns = schema.columns(Kind.CATEGORICAL, Side.AD)
    return np.array([i for i, c in enumerate(columns) if c.cardinality <= _MANY], np.int32)


def matrix(batch: Batch, ad_categories: IdArray) -> Float32Array:
    """Features of all candidates but lists and vectors, (n k, F): request, ad, cross, slot."""
    n, k = batch.row.shape
    widths = (
        batch.categorical.shape[1], batch.dense.shape[1], len(ad_categories), batch.ads.dense.shape[1],
        batch.cross.shape[2], 1,
    )  # fmt: skip
    out = np.zeros((n * k, sum(widths)), np.float32)
    _expand(
        batch.categorical, batch.dense, batch.row, batch.ads.categorical, ad_categories, batch.ads.dense, batch.cross,
        batch.slot, out,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True)
def _expand(
    request_cat: IdArray,
    request_dense: Float32Array,
    row: IdArray,
    ad_cat: IdArray,
    chosen: IdArray,
    ad_dense: Float32Array,
    cross: Float32Array,
    slot: IdArray,
    out: Float32Array,
) -> None:
    k = row.shape[1]
    for i in range(row.shape[0]):
        for j in range(k):
            ad = row[i, j]
            if ad < 0:
                continue
            to = out[i * k + j]
            f = 0
            for c in range(request_cat.shape[1]):
                to[f] = request_cat[i, c]
                f += 1
            for c in range(request_dense.shape[1]):
                to[f] = request_dense[i, c]
                f += 1
            for c in range(chosen.size):
                to[f] = ad_cat[ad, chosen[c]]
                f += 1
            for c in range(ad_dense.shape[1]):
                to[f] = ad_dense[ad, c]
                f += 1
            for c in range(cross.shape[2]):
                to[f] = cross[i, j, c]
                f += 1
            to[f] = slot[j]
