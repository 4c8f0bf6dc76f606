"""Random splits of units that were all treated alike: what both arms would have read, for thousands of splits at once."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from marketplace.counters import NAMES
from marketplace.metrics import Moments, unit_values
from synth import draws
from synth.draws import Cause
from synth.types import BoolArray, FloatArray, IntArray

_CELLS = 1 << 25  # most bytes of the arms of units that are held at once
_DRAWS = 1 << 20  # most numbers drawn at once
_UNITS = 4096  # whose products are held at once


class Splits(NamedTuple):
    """Moments of both arms, control first, of R random splits of the same units; m as in `Moments`."""

    units: IntArray  # (2, R)
    mean: FloatArray  # (2, R, m)
    cov: FloatArray  # (2, R, m, m)

    def moments(self, run: int) -> tuple[Moments, Moments]:
        """Control and treatment of one split."""
        control, treatment = (
            Moments(int(self.units[arm, run]), self.mean[arm, run], self.cov[arm, run]) for arm in (0, 1)
        )  # fmt: skip
        return control, treatment


def resplit(
    table: FloatArray, runs: int, seed: int, *, share: float = 0.5, complete: bool = False, budget_usd: float = 1.0,
    users: FloatArray | None = None, before: FloatArray | None = None,
) -> Splits:  # fmt: skip
    """Split the units at random again and again, and take the moments of both arms each time.

    The sums over the treated units of every run at once are W @ [1, x, x x', x > 0], W (R, n) being 1 for a treated unit;
    control has the rest of the total. A unit's lot depends on its row in `table` and on the run, so tables of the same units
    are split alike.

    Args:
        table: (n, len(counters.NAMES)) counters of each unit, >= 0; a counter that is not counted is NaN for all.
        runs: Splits R.
        seed: Of the lots.
        share: Of the units in treatment.
        complete: Treat exactly the share of the units, to the nearest, for few units such as days, regions or campaigns; else
            each unit has a lot of its own, as users in a test.
        budget_usd: All budgets of the period; each unit has the part of its users.
        users: (n,) that a unit stands for, all units being read; where None each unit is a user, and those who came are read.
        before: (n, len(counters.NAMES)) the same counters before the test; their moments then follow those of the test.

    Raises:
        ValueError: If there is no run, the share is not inside (0, 1), or with `complete` it leaves an arm empty.
    """
    if runs < 1:
        raise ValueError(f"runs are {runs}, there must be 1 at least")
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, it must be inside (0, 1)")
    unit = np.arange(len(table)) if users is not None else np.flatnonzero(table[:, NAMES.index("requests")] > 0)
    stands_for = np.ones(len(table)) if users is None else np.asarray(users, np.float64)
    x = unit_values(unit, table, stands_for, budget_usd / max(stands_for[unit].sum(), 1), before)
    centre = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
    x, occurs = x - centre, x > 0  # of counts in the millions, uncentred squares would lose the variance
    treated = np.concatenate(
        [_sums(arm, x, occurs) for arm in _arms(seed, unit, runs, share, complete)]
    )  # fmt: skip
    both = _sums(np.ones((1, len(x)), np.bool_), x, occurs) - treated, treated
    return Splits(*(np.stack(parts) for parts in zip(*(_moments(sums, centre) for sums in both), strict=True)))


def _arms(seed: int, unit: IntArray, runs: int, share: float, complete: bool) -> Iterator[BoolArray]:
    """(r, n) True for treated units, for some runs after the other."""
    n = len(unit)
    k = round(share * n)
    if complete and not 0 < k < n:
        raise ValueError(f"share is {share}, of {n} units it leaves an arm empty")
    at_once, drawn = max(1, _CELLS // max(n, 1)), max(1, _DRAWS // max(n, 1))
    for start in range(0, runs, at_once):
        stop = min(start + at_once, runs)
        treated = np.zeros((stop - start, n), np.bool_)
        for first in range(start, stop, drawn):
            run = np.arange(first, min(first + drawn, stop))
            lot = draws.uniform(seed, Cause.RESPLIT, unit, run[:, None])
            arm = treated[first - start : first - start + len(run)]
            if complete:
                np.put_along_axis(arm, np.argpartition(lot, k - 1, axis=1)[:, :k], True, axis=1)
            else:
                arm[:] = lot < share
        yield treated


def _sums(chosen: BoolArray, x: FloatArray, occurs: BoolArray) -> FloatArray:
    """(r, 1 + m + m (m + 1) / 2 + m) over the chosen units: how many, x, products of pairs, and how many have some."""
    m = x.shape[1]
    sums = np.zeros((len(chosen), 1 + m + m * (m + 1) // 2 + m))
    for start in range(0, len(x), _UNITS):
        some = slice(start, start + _UNITS)
        pairs = [x[some, i, None] * x[some, i:] for i in range(m)]
        terms = np.concatenate([np.ones((len(x[some]), 1)), x[some], *pairs, occurs[some]], axis=1)
        sums += chosen[:, some].astype(np.float64) @ terms
    return sums


def _moments(sums: FloatArray, centre: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Units (R,), means (R, m) and covariances (R, m, m), 0 where there are too few units, from sums about `centre`."""
    m = len(centre)
    n, first, pairs, some = np.split(sums, [1, 1 + m, sums.shape[1] - m], axis=1)
    apart = first / np.maximum(n, 1)
    mean = np.where(some > 0, centre + apart, 0 * centre)  # nobody has any: 0 to the bit, NaN where it is not counted
    upper = np.triu_indices(m)
    within = np.where(n > 1, pairs - n * apart[:, upper[0]] * apart[:, upper[1]], 0.0) / np.maximum(n - 1, 1)
    cov = np.empty((len(sums), m, m))
    cov[:, upper[0], upper[1]] = within
    cov[:, upper[1], upper[0]] = within
    return n[:, 0].astype(np.int64), mean, cov
