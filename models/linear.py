"""A linear predictor with given weights: the simple first ranker of a young platform. Only dense features enter."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from models.data import Batch, Float32Array, IdArray
from models.errors import Unusable
from models.schema import Kind, Schema, Side


class Weights(NamedTuple):
    """One logit: intercept + the dense features of the three sides times their weights."""

    intercept: float
    request: Float32Array  # (Rd,)
    ad: Float32Array  # (Ad,)
    cross: Float32Array  # (X,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """Logits of click and of conversion given click."""

    click: Weights
    conversion: Weights

    @property
    def device(self) -> str:
        """It runs on the processor."""
        return "cpu"

    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click and of conversion given click; no slot enters."""
        return _combine(batch, self.click), _combine(batch, self.conversion)


def weights(schema: Schema, intercept: float, by_name: dict[str, float]) -> Weights:
    """Sort weights given by column name into the three sides.

    Raises:
        Unusable: If a name is not a dense feature of the schema.
    """
    sides = {side: [c.name for c in schema.columns(Kind.DENSE, side)] for side in (Side.REQUEST, Side.AD, Side.CROSS)}
    known = [name for names in sides.values() for name in names]
    for name in by_name:
        if name not in known:
            raise Unusable(f"weight {name} names no dense feature; there are {', '.join(known)}")
    vector = {side: np.array([by_name.get(name, 0.0) for name in names], np.float32) for side, names in sides.items()}
    return Weights(intercept, vector[Side.REQUEST], vector[Side.AD], vector[Side.CROSS])


def _combine(batch: Batch, weights: Weights) -> Float32Array:
    out = np.empty(batch.row.shape, np.float32)
    ad = (batch.ads.dense @ weights.ad).astype(np.float32)
    _add(batch.dense, ad, batch.row, batch.cross, weights, out)
    return out


@njit(cache=True, nogil=True)
def _add(
    dense: Float32Array, ad: Float32Array, row: IdArray, cross: Float32Array, weights: Weights, out: Float32Array
) -> None:
    for i in range(row.shape[0]):
        request = np.float32(weights.intercept)
        for r in range(weights.request.size):
            request += dense[i, r] * weights.request[r]
        for j in range(row.shape[1]):
            logit = request
            if row[i, j] >= 0:
                logit += ad[row[i, j]]
            for x in range(weights.cross.size):
                logit += cross[i, j, x] * weights.cross[x]
            out[i, j] = logit
