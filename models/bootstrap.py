"""Intervals by resampling, for any score: where no formula of its error is known, or rows come in groups."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import Unusable
from models.jagged import Jagged
from models.scores import Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]


def bootstrap_difference(
    score: Callable[[FloatArray, Any], float | None], p: FloatArray, other: FloatArray, label: NDArray[Any], *,
    groups: IntArray | None = None, draws: int = 1_000, seed: int = 0,
) -> Interval:  # fmt: skip
    """Score of `p` less that of `other` on the same rows, with its 95% percentile interval (Efron & Tibshirani 1993).

    Both models are scored on the same drawn rows, so what they owe to the rows they share cancels.

    Args:
        score: Of forecasts and what `label` holds for the same rows, (r,) each.
        p: (m,) forecasts.
        other: (m,) forecasts.
        label: (m,), or whatever else `score` takes: row numbers serve one that needs more of the rows, such as their users.
        groups: (m,) group of each row: whole groups are drawn, as users whose rows are alike must be. None draws rows.
        draws: Resamples.
        seed: Of the resamples.

    Raises:
        Unusable: If a score is none or not finite, on all rows or on drawn ones, which may lack a class.
    """

    def difference(rows: IntArray) -> float:
        a, b = (score(forecast[rows], label[rows]) for forecast in (p, other))
        if a is None or b is None or not np.isfinite(a - b):
            raise Unusable(
                f"an interval by resampling needs a score of every draw: of {len(rows)} rows they are {a} and {b}"
            )
        return float(a - b)

    estimate = difference(np.arange(len(p)))
    rng = np.random.default_rng(seed)
    units = _units(np.arange(len(p)) if groups is None else groups)
    found = [difference(units.take(rng.integers(len(units), size=len(units))).values) for _ in range(draws)]
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(estimate, float(low), float(high))


def _units(groups: IntArray) -> Jagged:
    """The rows of each group."""
    _, size = np.unique(groups, return_counts=True)
    return Jagged(
        values=np.argsort(groups, kind="stable").astype(np.int32), offsets=np.concatenate(([0], np.cumsum(size)))
    )
