"""Estimates with their 95% intervals: on a normal scale, on that of logarithms or logits, or by the profile likelihood."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import chi2, t

from fitting.types import Estimate

LEVEL = 0.95
DROP = float(chi2.ppf(LEVEL, 1)) / 2  # of the log likelihood, at the ends of an interval


def quantile(freedom: float = np.inf) -> float:
    """Of Student's t at 97.5%, for so many degrees of freedom (at least 1)."""
    return float(t.ppf(0.5 + LEVEL / 2, max(freedom, 1.0)))


def plain(
    name: str, value: float, error: float, events: int, unit: str, method: str, *, freedom: float = np.inf
) -> Estimate:
    """value -+ t x standard error."""
    half = quantile(freedom) * error
    return Estimate(name, value, value - half, value + half, int(events), unit, method)


def on_logs(
    name: str, value: float, error: float, events: int, unit: str, method: str, *, freedom: float = np.inf
) -> Estimate:
    """Value x exp(-+ t x standard error / value), for what is above 0."""
    half = np.exp(quantile(freedom) * error / value)
    return Estimate(name, value, float(value / half), float(value * half), int(events), unit, method)


def on_logits(
    name: str, value: float, error: float, events: int, unit: str, method: str, *, freedom: float = np.inf
) -> Estimate:
    """The same for shares within (0, 1), on the scale of logits."""
    middle, half = logit(value), quantile(freedom) * error / (value * (1 - value))
    return Estimate(name, value, float(expit(middle - half)), float(expit(middle + half)), int(events), unit, method)


def missing(name: str, unit: str, why: str, *, events: int = 0) -> Estimate:
    """What the log cannot tell."""
    return Estimate(name, None, None, None, int(events), unit, "", why)


def profile(
    likelihood: Callable[[float], float], best: float, step: float, *, floor: float = -np.inf, most: float = np.inf,
    drop: float = DROP,
) -> tuple[float, float]:  # fmt: skip
    """Where the profile log likelihood lies `drop` below its maximum, on both sides; the floor or most where it never does.

    Args:
        likelihood: Of the parameter, the others being at their best for it.
        best: Where it is highest.
        step: First to try; it doubles until the end is passed.
        floor: Least value.
        most: Largest value.
        drop: 1.92 for 95%, times what the likelihood overstates.
    """
    top = likelihood(best)

    def gap(x: float) -> float:
        return likelihood(x) - top + drop

    def end(sign: int, limit: float) -> float:
        inside, far = best, step
        while True:
            outside = best + sign * far
            if sign * (outside - limit) >= 0:
                if not np.isfinite(limit) or gap(limit) >= 0:
                    return limit
                outside = limit
            if gap(outside) < 0:
                return float(brentq(gap, inside, outside, xtol=1e-6 * max(abs(step), 1e-3)))
            inside, far = outside, 2 * far

    return end(-1, floor), end(1, most)
