"""Cascade: how many candidates each stage of ranking passes on: retrieval, light ranker, fine ranker, auction."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.data import Batch, Predictions
from synth.types import BoolArray, FloatArray, IdArray

Predict = Callable[[Batch], Predictions]


class Cascade(NamedTuple):
    """The stages of an arm, each of which passes on the candidates that it holds worth the most."""

    light: Predict  # the light ranker, which sees what the fine one sees
    retrieved: int  # candidates that retrieval passes on
    ranked: int  # of those, by the light ranker
    auctioned: int  # of those, by the fine ranker


def best(worth: FloatArray, there: BoolArray, keep: int) -> BoolArray:
    """(n, k) True for the `keep` candidates of the greatest worth that are there, ties to the lower column."""
    if worth.shape[1] <= keep:
        return there
    first = np.argsort(np.where(there, -worth, np.inf), axis=1, kind="stable")[:, :keep]
    kept = np.zeros(worth.shape, np.bool_)
    np.put_along_axis(kept, first, True, axis=1)
    return kept & there


def only(ad: IdArray, kept: BoolArray, keep: int) -> IdArray:
    """(n, keep) the ads (n, k) that are kept, at most `keep` of a request, in the order of their columns; -1 behind them."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, :keep]
    return np.where(np.take_along_axis(kept, order, axis=1), np.take_along_axis(ad, order, axis=1), np.int32(-1))
