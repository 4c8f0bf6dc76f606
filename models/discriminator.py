"""A classifier that is asked which of two samples a row is from: its AUC is 0.5 where nothing tells them apart.

A classifier two-sample test (Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests) by gradient-boosted trees.
Rows of one user are alike, so users, not rows, are split into those that train and those that test, and carry the error.
What rows of several users have in common, such as a figure of an item, must not be common to training and test either.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple
from zlib import crc32

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.data import BoolArray, Float32Array, IntArray
from models.errors import Unusable
from models.scores import Interval

FloatArray = NDArray[np.float64]

_GROUPS = 40  # of users, each left out in turn
_LEAST = 10  # users of each sample, in training and in test
_SETTINGS = {
    "objective": "binary", "num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 100, "feature_fraction": 0.8,
    "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip
_TREES = 60


class Told(NamedTuple):
    """How well two samples can be told apart."""

    auc: Interval  # on users that it was not trained on
    loss: dict[str, Interval]  # of AUC when a feature's values are shuffled, the largest first
    rows: int  # tested
    users: int


def tell_apart(
    x: Float32Array, names: Sequence[str], second: BoolArray, user: IntArray, test: BoolArray, *, seed: int,
    threads: int = 1,
) -> Told:  # fmt: skip
    """Train on some users, test on the others, and shuffle each feature of the others (Breiman 2001).

    Intervals leave out one of 40 groups of users in turn (the jackknife). They are of this classifier: one that is trained on
    other users would do a little differently.

    Args:
        x: (m, F) features; NaN is missing.
        names: Of the features.
        second: (m,) whether a row is from the second sample.
        user: (m,) whose row it is; users of the two samples are different ones, whatever their numbers.
        test: (m,) whether a row tests; of a user all do, or none.
        seed: Of the training, the groups and the shuffles.
        threads: CPU threads.

    Raises:
        Unusable: If a sample has too few users.
    """
    users, key = np.unique(np.stack([user, second.astype(user.dtype)]), axis=1, return_inverse=True)
    for of, part in product((second, ~second), (test, ~test)):
        if (n := len(np.unique(user[of & part]))) < _LEAST:
            raise Unusable(f"to tell two logs apart takes {_LEAST} users of each in training and in test, one has {n}")
    lot = np.random.default_rng([seed, 0]).permutation(users.shape[1])
    data = lightgbm.Dataset(x[~test], second[~test].astype(np.float32))
    booster = lightgbm.train(_SETTINGS | {"seed": seed, "num_threads": threads}, data, _TREES)
    x, label, group = x[test], second[test], lot[key.ravel()[test]] % _GROUPS

    def score(rows: Float32Array) -> Float32Array:
        found: Float32Array = np.asarray(booster.predict(rows, num_threads=threads), np.float32)
        return found

    whole = score(x)
    loss = {}
    for column, name in enumerate(names):
        shuffled = x.copy()
        order = np.random.default_rng([seed, 1, crc32(name.encode())]).permutation(len(x))
        shuffled[:, column] = x[order, column]
        loss[name] = _jackknife(label, group, whole, score(shuffled))
    ranked = dict(sorted(loss.items(), key=lambda item: -item[1].estimate))
    return Told(_jackknife(label, group, whole), ranked, len(label), len(np.unique(key.ravel()[test])))


def _jackknife(label: BoolArray, group: IntArray, score: Float32Array, other: Float32Array | None = None) -> Interval:
    """AUC of scores (m,), or what it exceeds that of `other` by, with the interval that leaves out one group at a time."""
    aucs = _aucs(label, group, score) - (0.0 if other is None else _aucs(label, group, other))
    whole, without, n = float(aucs[0]), aucs[1:], len(aucs) - 1
    half = float(stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))
    return Interval(whole, whole - half, whole + half)


def _aucs(label: BoolArray, group: IntArray, score: Float32Array) -> FloatArray:
    """(1 + groups,) AUC of all rows, then without each group; scores are sorted once for all of them."""
    values, at = np.unique(score, return_inverse=True)
    groups, own = np.unique(group, return_inverse=True)
    count = np.zeros((2, len(groups), len(values)), np.int32)
    np.add.at(count, (label.astype(np.intp), own, at), 1)
    whole = count.sum(axis=1)
    aucs = np.empty(1 + len(groups))
    for i in range(len(aucs)):
        negative, positive = whole if i == 0 else whole - count[:, i - 1]
        below = np.cumsum(negative) - negative / 2  # a tie is half
        aucs[i] = positive @ below / (float(positive.sum()) * float(negative.sum()))
    return aucs
