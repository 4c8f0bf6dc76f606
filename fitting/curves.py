"""Estimates brought into the form that a scenario asks for: a slot curve that falls, three points of a delay."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq, isotonic_regression

from fitting.cure import Cure
from fitting.delays import POINTS_H

_LEAST = 1e-4  # effect of a slot that nobody seems to look at
_APART = 0.01  # that shares of neighbouring points differ by at least, and from 0 and 1


def falling(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest curve that never rises from 1 (weighted least squares, pool adjacent violators)."""
    fitted = isotonic_regression(values[1:], weights=weights[1:], increasing=False).x if len(values) > 1 else []
    return [1.0, *(float(x) for x in np.clip(fitted, _LEAST, 1.0))]


def delay_points(fast_share: float, fast_mean_h: float, slow_mean_h: float) -> list[tuple[float, float]]:
    """Hours and shares of three points of a mixture of two exponentials.

    They are at POINTS_H, or where 30%, 60% and 90% have come if the law is nearly flat between those.
    """
    law = Cure(0.5, fast_share, fast_mean_h, slow_mean_h)
    shares = np.concatenate(([0.0], law.within(POINTS_H), [1.0]))
    if np.diff(shares).min() > _APART:
        return [(hours, round(float(law.within(hours)), 9)) for hours in POINTS_H]

    def gap(x: float, share: float) -> float:
        return float(law.within(np.exp(x))) - share

    low, high = np.log(fast_mean_h) - 5, np.log(slow_mean_h) + 5
    hours = [float(f"{np.exp(brentq(gap, low, high, args=(share,))):.6g}") for share in (0.3, 0.6, 0.9)]
    return [(h, round(float(law.within(h)), 9)) for h in hours]
