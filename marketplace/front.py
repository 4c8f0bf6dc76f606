"""Fronts of two goals that are to be as large as possible, and what a further point is expected to add to one."""

import numpy as np
from scipy.stats import norm

from synth.types import BoolArray, FloatArray

_LEAST_SD = 1e-12  # of a value that is as good as certain


def undominated(goals: FloatArray) -> BoolArray:
    """Which points no other dominates: is at least as good in both goals and better in one.

    Equal points do not dominate each other, so they stand or fall together. Sorting is all that it takes: O(m log m).

    Args:
        goals: (m, 2), the larger the better.

    Returns:
        (m,)

    Raises:
        ValueError: If a goal is not finite.
    """
    if not np.isfinite(goals).all():
        raise ValueError("a front needs finite goals")
    if not len(goals):
        return np.zeros(0, bool)
    points, place = np.unique(goals, axis=0, return_inverse=True)  # by the first goal, equal ones by the second
    best = np.maximum.accumulate(points[::-1, 1])[::-1]
    kept: BoolArray = points[:, 1] > np.append(best[1:], -np.inf)
    return kept[place.ravel()]


def area(goals: FloatArray, worst: FloatArray) -> float:
    """Area of what points (m, 2) dominate beyond a worst point (2,): the hypervolume of two goals."""
    edges, heights = _steps(goals, worst)
    return float(np.diff(edges[:-1]) @ (heights[:-1] - worst[1]))


def expected_gain(mean: FloatArray, sd: FloatArray, goals: FloatArray, worst: FloatArray) -> FloatArray:
    """What a point of uncertain goals is expected to add to the area that others dominate.

    Below the steps of the front nothing is gained. In a strip between two of its edges a point gains its width beyond the left
    edge, at most that of the strip, times its height beyond the step; with goals independent and normal, the expectation is the
    product of the expected excesses.

    Args:
        mean: (m, 2) of the goals of points, one at a time.
        sd: (m, 2) their standard deviations, >= 0.
        goals: (f, 2) what is there.
        worst: (2,) below which nothing counts.

    Returns:
        (m,), the expected improvement of the hypervolume (Emmerich, Deutz & Klinkenberg 2011).
    """
    edges, heights = _steps(goals, worst)
    beyond_edge, beyond_step = _excess(mean[:, :1], sd[:, :1], edges[:-1]), _excess(mean[:, 1:], sd[:, 1:], heights)
    in_strip = beyond_edge - np.append(beyond_edge[:, 1:], np.zeros((len(mean), 1)), axis=1)
    return np.asarray((in_strip * beyond_step).sum(axis=1))


def _steps(goals: FloatArray, worst: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Edges (f + 2,) in the first goal, from the worst to infinity, and the front's heights (f + 1,) between them."""
    counted = goals[(goals > worst).all(axis=1)]
    front = np.unique(counted[undominated(counted)], axis=0)
    return np.concatenate([worst[:1], front[:, 0], [np.inf]]), np.append(front[:, 1], worst[1])


def _excess(mean: FloatArray, sd: FloatArray, least: FloatArray) -> FloatArray:
    """Expectation of how far normal values (m, 1) exceed (f,) levels, 0 where they do not: (m, f)."""
    spread = np.maximum(sd, _LEAST_SD)
    z = (mean - least) / spread
    return np.asarray((mean - least) * norm.cdf(z) + spread * norm.pdf(z))
