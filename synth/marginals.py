"""Marginals: solve the world's intercepts for the figures that an analyst knows, and say what was obtained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.optimize import brentq, least_squares, root
from scipy.special import expit

from synth.affinity import Intercepts, Tastes, wish
from synth.config import DelayPoint, MarginalsConfig
from synth.habits import Habits, place_of
from synth.response import DelayLaw
from synth.types import BoolArray, FloatArray, IdArray, IntArray

_LOGIT_LIMIT = 40.0  # an intercept beyond this makes no finite rate
_CLOSE = 0.01  # relative error at which a marginal counts as obtained
_ROUNDS = 8
_DELAY_SPAN = 12.0  # how far, in logs, the solved delays may lie beyond the points given


class Impossible(ValueError):
    """No world has the marginals asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exposure:
    """Ad impressions of a pilot: enough to know what any intercepts would give."""

    examination: FloatArray  # (m,) of the slot
    click: FloatArray  # (m,) logit before intercepts
    conversion: FloatArray  # (m,) logit before intercepts
    known: BoolArray  # (m,) the user had ordered from the store


class Marginal(NamedTuple):
    """One figure of the market: what the scenario asks, and what the solved world gives."""

    name: str
    asked: float
    obtained: float


def expose(
    tastes: Tastes, habits: Habits, user: IdArray, time_ms: IntArray, shown_store: IdArray, slot_effect: FloatArray
) -> Exposure:
    """Look up what lies under the impressions `shown_store` (n, s), -1 where a slot is empty."""
    row, slot = np.nonzero(shown_store >= 0)
    click, conversion = np.empty(len(row)), np.empty(len(row))
    known = np.empty(len(row), np.bool_)
    _wishes(tastes, habits.store, user[row], time_ms[row], shown_store[row, slot], click, conversion, known)
    return Exposure(examination=slot_effect[slot], click=click, conversion=conversion, known=known)


@njit(cache=True, nogil=True)
def _wishes(
    tastes: Tastes,
    habit_store: IdArray,
    user: IdArray,
    time_ms: IntArray,
    store: IdArray,
    click: FloatArray,
    conversion: FloatArray,
    known: BoolArray,
) -> None:
    for i in range(user.size):
        click[i], conversion[i] = wish(tastes, user[i], store[i], time_ms[i])
        known[i] = place_of(habit_store, user[i], store[i]) >= 0


def solve(
    pilot: Callable[[Intercepts, float], Exposure], asked: MarginalsConfig
) -> tuple[Intercepts, float, list[Marginal]]:
    """Find the intercepts and the share of familiar stores in retrieval, round by round.

    What the market shows depends on them, since budgets run out and pacing answers; so each round runs a pilot, solves the
    intercepts for what it showed, and moves the share towards the known stores that the repurchase shares imply.

    Args:
        pilot: Runs the market with intercepts and a share of familiar stores retrieved, in (0, 1].

    Returns:
        The intercepts, the share, and asked against obtained in a pilot that was run with them.

    Raises:
        Impossible: If no intercepts give the marginals asked for.
    """
    orders = asked.ctr * asked.cvr
    wanted = orders * asked.repurchase_positives + (1 - orders) * asked.repurchase_negatives
    intercepts, familiar = Intercepts(_logit(asked.ctr), _logit(asked.cvr), 0.0, 0.0, _logit(asked.hide_rate)), 0.5
    for left in reversed(range(_ROUNDS)):
        exposure = pilot(intercepts, familiar)
        obtained, known = _obtained(exposure, intercepts), float(exposure.known.mean())
        error = max(abs(getattr(obtained, name) / getattr(asked, name) - 1) for name in obtained._fields)
        if error < _CLOSE or not left:
            break
        if familiar == 1.0 and known < wanted * (1 - 2 * _CLOSE):
            raise Impossible(
                f"repurchase_negatives is {asked.repurchase_negatives:g}, but users know only {known:.3g} of the stores "
                "shown: raise population.history_stores or campaigns.count"
            )
        intercepts = _solve_intercepts(exposure, asked)
        familiar = min(1.0, familiar * wanted / max(known, 1e-3))
    return intercepts, familiar, [Marginal(n, getattr(asked, n), float(getattr(obtained, n))) for n in obtained._fields]


class _Figures(NamedTuple):
    ctr: float
    cvr: float
    repurchase_positives: float
    repurchase_negatives: float
    long_click_share: float
    hide_rate: float


def _obtained(exposure: Exposure, intercepts: Intercepts) -> _Figures:
    habit = intercepts.habit * exposure.known
    clicks = exposure.examination * expit(intercepts.click + exposure.click + habit)
    orders = clicks * expit(intercepts.conversion + exposure.conversion + habit)
    long_clicks = clicks * expit(intercepts.long_click + exposure.conversion + habit)
    hides = (exposure.examination - clicks) * expit(intercepts.hide - exposure.click - habit)
    return _Figures(
        ctr=clicks.mean(),
        cvr=orders.sum() / clicks.sum(),
        repurchase_positives=orders[exposure.known].sum() / orders.sum(),
        repurchase_negatives=(1 - orders)[exposure.known].sum() / (1 - orders).sum(),
        long_click_share=long_clicks.sum() / clicks.sum(),
        hide_rate=hides.mean(),
    )


def _solve_intercepts(exposure: Exposure, asked: MarginalsConfig) -> Intercepts:
    if asked.ctr >= exposure.examination.mean():
        raise Impossible(
            f"ctr is {asked.ctr:g}, but only {exposure.examination.mean():.3g} of the impressions are looked at: "
            "lower ctr or raise feed.slot_effect"
        )

    if not exposure.known.any():
        raise Impossible(
            f"repurchase_positives is {asked.repurchase_positives:g}, but users know none of the stores shown: "
            "raise population.history_stores"
        )

    def gap(x: FloatArray) -> list[float]:
        got = _obtained(exposure, Intercepts(x[0], x[1], x[2], 0.0, 0.0))
        return [_logit(got.ctr) - _logit(asked.ctr), _logit(got.cvr) - _logit(asked.cvr),
                _logit(got.repurchase_positives) - _logit(asked.repurchase_positives)]  # fmt: skip

    start = np.array([_logit(asked.ctr), _logit(asked.cvr), 0.0])
    found = root(gap, start, tol=1e-10)
    if not found.success or np.abs(found.x).max() > _LOGIT_LIMIT:
        raise Impossible(
            f"ctr {asked.ctr:g}, cvr {asked.cvr:g} and repurchase_positives {asked.repurchase_positives:g} "
            "cannot be had together in this world"
        )
    click, conversion, habit = (float(x) for x in found.x)
    solved = Intercepts(click, conversion, habit, 0.0, 0.0)

    def with_long(x: float) -> Intercepts:
        return solved._replace(long_click=x)

    def with_hide(x: float) -> Intercepts:
        return solved._replace(hide=x)

    limits = -_LOGIT_LIMIT, _LOGIT_LIMIT
    long_click = brentq(lambda x: _obtained(exposure, with_long(x)).long_click_share - asked.long_click_share, *limits)
    unseen = _obtained(exposure, with_hide(_LOGIT_LIMIT)).hide_rate
    if unseen <= asked.hide_rate:
        raise Impossible(
            f"hide_rate is {asked.hide_rate:g}, but only {unseen:.3g} of impressions are seen and not clicked"
        )
    hide = brentq(lambda x: _obtained(exposure, with_hide(x)).hide_rate - asked.hide_rate, *limits)
    return solved._replace(long_click=long_click, hide=hide)


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def solve_delay(points: tuple[DelayPoint, ...]) -> DelayLaw:
    """The mixture of two exponentials through three points of the distribution function.

    35% within 1 hour, 50% within 24 hours and 87% within two weeks give 44.54% Exp(0.6596 h) + 55.46% Exp(9.6506 d), the
    delays of Criteo's logs.

    Raises:
        Impossible: If the points do not rise, or no such mixture goes through them.
    """
    hours, share = np.array([p.hours for p in points]), np.array([p.share for p in points])
    if (np.diff(hours) <= 0).any() or (np.diff(share) <= 0).any():
        raise Impossible(f"delay points must rise in hours and in share, got {list(zip(hours, share, strict=True))}")

    def gap(x: FloatArray) -> FloatArray:
        weight, fast, slow = expit(x[0]), np.exp(x[1]), np.exp(x[2])
        return weight * -np.expm1(-hours / fast) + (1 - weight) * -np.expm1(-hours / slow) - share

    shortest, longest = np.log(hours[0]) - _DELAY_SPAN, np.log(hours[2]) + _DELAY_SPAN
    bounds = [-_DELAY_SPAN, shortest, shortest], [_DELAY_SPAN, longest, longest]
    for weight in (share[0], 0.5, 0.2, 0.8):
        for fast, slow in ((hours[0] / 2, hours[2]), (hours[0], hours[1]), (hours[1] / 4, hours[2] * 2)):
            start = [_logit(weight), np.log(fast), np.log(slow)]
            x = least_squares(gap, start, bounds=bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15).x
            if x[1] < x[2] and np.abs(gap(x)).max() < 1e-9:
                return DelayLaw(float(expit(x[0])), float(np.exp(x[1])), float(np.exp(x[2])))
    raise Impossible(
        f"no mixture of two exponentials goes through the delay points {list(zip(hours, share, strict=True))}"
    )


def within(law: DelayLaw, hours: float) -> float:
    """Share of orders placed within `hours` of the click."""
    return float(
        law.fast_share * -np.expm1(-hours / law.fast_mean_h)
        + (1 - law.fast_share) * -np.expm1(-hours / law.slow_mean_h)
    )
