"""Delays: the time from a click to each event that follows it, by type of event and campaign."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, logit

from synth.config import DelayConfig, DelayPoint
from synth.errors import Impossible
from synth.types import FloatArray

_SPAN = 12.0  # how far, in logs, the solved means may lie beyond the points given


class DelayLaw(NamedTuple):
    """A mixture of two exponentials; the mean of the slow one is multiplied by the campaign's own factor."""

    fast_share: float
    fast_mean_h: float
    slow_mean_h: float


def delay_laws(checkout: DelayLaw, config: DelayConfig) -> tuple[DelayLaw, DelayLaw, DelayLaw]:
    """The law of each event, in the order of EVENTS."""
    return DelayLaw(1.0, config.cart_minutes / 60, 1.0), checkout, DelayLaw(0.0, 1.0, config.sign_up_hours)


def solve_delay(points: tuple[DelayPoint, ...], factor: FloatArray | None = None) -> DelayLaw:
    """The mixture of two exponentials through three points of the distribution function.

    35% within 1 hour, 50% within 24 hours and 87% within two weeks give 44.54% Exp(0.6596 h) + 55.46% Exp(9.6506 d), the
    delays of Criteo's logs.

    Args:
        points: Of the mean over campaigns.
        factor: (c,) of each campaign's slow mean; all 1 where None.

    Raises:
        Impossible: If the points do not rise, or no such mixture goes through them.
    """
    hours, share = np.array([p.hours for p in points]), np.array([p.share for p in points])
    given = ", ".join(f"{p.share:g} within {p.hours:g} h" for p in points)
    if (np.diff(hours) <= 0).any() or (np.diff(share) <= 0).any():
        raise Impossible(f"marginals.delay must rise in hours and in share, got {given}")
    own = np.ones(1) if factor is None else factor

    def law(x: FloatArray) -> DelayLaw:
        return DelayLaw(float(expit(x[0])), float(np.exp(x[1])), float(np.exp(x[2])))

    def gap(x: FloatArray) -> FloatArray:
        return within(law(x), hours, own) - share

    shortest, longest = np.log(hours[0]) - _SPAN, np.log(hours[2]) + _SPAN
    bounds = [-_SPAN, shortest, shortest], [_SPAN, longest, longest]
    for weight in (share[0], 0.5, 0.2, 0.8):
        for fast, slow in ((hours[0] / 2, hours[2]), (hours[0], hours[1]), (hours[1] / 4, hours[2] * 2)):
            start = [float(logit(weight)), np.log(fast), np.log(slow)]
            x = least_squares(gap, start, bounds=bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15).x
            if x[1] < x[2] and np.abs(gap(x)).max() < 1e-9:
                return law(x)
    raise Impossible(f"marginals.delay: no mixture of two exponentials goes through {given}")


def within(law: DelayLaw, hours: FloatArray, factor: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    """Share of events within `hours` (h,) of the click, the mean over campaigns with factors (c,) and weights (c,)."""
    return np.average(by_campaign(law, hours, factor), axis=1, weights=weight)


def by_campaign(law: DelayLaw, hours: FloatArray, factor: FloatArray) -> FloatArray:
    """Share (h, c) of events within `hours` (h,) of the click, for campaigns with factors (c,)."""
    slow = -np.expm1(-np.asarray(hours)[:, None] / (law.slow_mean_h * factor))
    return law.fast_share * -np.expm1(-np.asarray(hours)[:, None] / law.fast_mean_h) + (1 - law.fast_share) * slow
