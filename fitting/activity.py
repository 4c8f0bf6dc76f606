"""How active users are: a lognormal of mean sessions per day, from users of whom those who never came are not seen."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import gammaln

from fitting.interval import missing, profile, quantile
from fitting.quadrature import FloatArray, Terms, column, integrated
from fitting.types import Estimate

_LEAST_SIGMA, _MOST_SIGMA = 0.02, 5.0
_LEAST_USERS = 20


class Activity(NamedTuple):
    """So many users (k,) came so many times (k,), at least once, in so many days."""

    sessions: FloatArray  # (k,) >= 1
    users: FloatArray  # (k,)
    days: float


def activity_of(seen: Activity, how: str) -> list[Estimate]:
    """Mean sessions per user and day, sigma of its lognormal over users, and users that there are.

    A user's sessions are Poisson with a lognormal mean (Bulmer 1974, Biometrics 30), truncated at zero: a log shows no one who
    never came. Maximum likelihood; intervals by the profile. They are as wide as the share of the unseen is unknown.

    Args:
        seen: Counted.
        how: What sessions are, in words.
    """
    names = ("world.marginals.sessions_per_day", "per user and day"), ("world.population.activity_sigma", ""), (
        "world.population.users", "users",
    )  # fmt: skip
    users = int(seen.users.sum())
    if users < _LEAST_USERS or seen.sessions.max() < 2:
        why = f"{users} users, none of whom came twice" if users >= _LEAST_USERS else f"{users} users are too few"
        return [missing(name, unit, why, events=users) for name, unit in names]
    best = minimize(lambda x: -log_likelihood(seen, x[0], np.exp(x[1])), _start(seen), method="Nelder-Mead",
                    options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 2_000})  # fmt: skip
    log_mean, sigma = float(best.x[0]), float(np.clip(np.exp(best.x[1]), _LEAST_SIGMA, _MOST_SIGMA))

    @cache
    def over_sigma(at: float) -> tuple[float, float]:
        found = minimize_scalar(
            lambda s: -log_likelihood(seen, at, np.exp(s)), bounds=np.log((_LEAST_SIGMA, _MOST_SIGMA)), method="bounded",
            options={"xatol": 1e-6},
        )  # fmt: skip
        return -float(found.fun), float(np.exp(found.x))

    @cache
    def over_mean(at: float) -> float:
        found = minimize_scalar(
            lambda x: -log_likelihood(seen, x, at), bounds=(log_mean - 6, log_mean + 6), method="bounded",
            options={"xatol": 1e-7},
        )  # fmt: skip
        return -float(found.fun)

    step = 1.0 / np.sqrt(users)
    low, high = profile(lambda at: over_sigma(at)[0], log_mean, step, floor=log_mean - 6, most=log_mean + 6)
    sigmas = profile(over_mean, sigma, step, floor=_LEAST_SIGMA, most=_MOST_SIGMA)
    method = f"truncated Poisson-lognormal of {how} per user, maximum likelihood; profile likelihood"

    def all_users(x: FloatArray) -> float:
        return users / -np.expm1(log_none(seen.days, float(x[0]), float(np.exp(x[1]))))

    there = all_users(best.x)
    half = quantile() * np.sqrt(_variance(seen, best.x, all_users) + (there - users) * there / users)
    figures = (
        (float(np.exp(log_mean)), float(np.exp(low)), float(np.exp(high))), (sigma, *sigmas),
        (there, max(there - half, float(users)), there + half),
    )  # fmt: skip
    counted = "users seen over the share seen; delta method, and the binomial noise of who is seen"
    methods = method, method, f"{method.partition(';')[0]}; {counted}"
    return [
        Estimate(name, *figure, users, unit, how)
        for (name, unit), figure, how in zip(names, figures, methods, strict=True)
    ]


def log_likelihood(seen: Activity, log_mean: float, sigma: float) -> float:
    """Of the counts, given that each is above 0."""
    sigma = float(np.clip(sigma, _LEAST_SIGMA, _MOST_SIGMA))
    none = log_none(seen.days, log_mean, sigma)
    if none > -1e-12:
        return -1e300
    seen_log = _log_chance(seen.sessions, seen.days, log_mean, sigma) - np.log(-np.expm1(none))
    return float(seen.users @ seen_log)


def log_none(days: float, log_mean: float, sigma: float) -> float:
    """Logarithm of the probability that a user never comes."""
    return float(_log_chance(np.zeros(1), days, log_mean, sigma)[0])


def _variance(seen: Activity, best: FloatArray, what: Callable[[FloatArray], float]) -> float:
    """Of a figure of (log mean, log sigma), by the observed information and the delta method."""
    steps = 1e-3 * np.eye(2)

    def loss(x: FloatArray) -> float:
        return -log_likelihood(seen, float(x[0]), float(np.exp(x[1])))

    bend = np.array([
        [loss(best + a + b) - loss(best + a - b) - loss(best - a + b) + loss(best - a - b) for a in steps] for b in steps
    ]) / 4e-6  # fmt: skip
    slope = np.array([what(best + step) - what(best - step) for step in steps]) / 2e-3
    return max(float(slope @ np.linalg.pinv(bend) @ slope), 0.0)


def _log_chance(sessions: FloatArray, days: float, log_mean: float, sigma: float) -> FloatArray:
    """Logarithms (k,) of the probabilities of so many sessions."""
    middle = np.log(days) + log_mean - sigma**2 / 2

    def terms(effect: FloatArray) -> Terms:
        n, rate = column(sessions, effect), np.exp(np.minimum(middle + effect, 700.0))
        return Terms(n * (middle + effect) - rate - gammaln(n + 1), n - rate, -rate)

    return integrated(terms, len(sessions), sigma).log


def _start(seen: Activity) -> list[float]:
    """Moments of the users seen."""
    mean = float(np.average(seen.sessions, weights=seen.users))
    return [float(np.log(mean / seen.days)) - 0.3, np.log(0.7)]
