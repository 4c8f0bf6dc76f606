"""Lifetimes: which law of repeat purchase a log follows, its parameters with intervals, and what it says of later months.

The law is chosen by the log alone: each is fitted to the first two thirds of its days, and the one under which the
purchases of the last third are most likely is fitted to all of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import duckdb
import numpy as np
from scipy.optimize import approx_fprime, minimize
from scipy.stats import norm

from fitting import purchases as die
from fitting import returning as back
from fitting.customers import MOST, Customers, FloatArray, IntArray, purchase_days, seen_until
from fitting.errors import Unfit
from fitting.types import Estimate

_FARTHEST = 12.0  # logs that a parameter may move from where the search starts
_FLAT = 1e-3  # slope per customer at a maximum
_STEP = 1e-3  # of logs, for second derivatives
_SHORTEST = 21  # days of a log that a law can be chosen on
_Z = float(norm.ppf(0.975))

Value = Callable[[FloatArray, Customers], tuple[float, FloatArray]]  # of the parameters' logs: log-likelihood, gradient
Simulate = Callable[[FloatArray, FloatArray, float, np.random.Generator], tuple[IntArray, IntArray]]


class Law(NamedTuple):
    """A law of repeat purchase."""

    names: tuple[str, ...]
    start: FloatArray  # of rates and shapes; scales are in units of the mean age
    value: Value
    expected: Callable[[FloatArray, FloatArray], FloatArray]
    simulate: Simulate


class Fitted(NamedTuple):
    """A law and its parameters."""

    law: str
    theta: FloatArray  # (p,)
    error: FloatArray  # (p, p) covariance of their logs, by the observed information
    log_likelihood: float


def fit(law: str, customers: Customers) -> Fitted:
    """Maximum likelihood.

    Raises:
        Unfit: If the search does not settle.
    """
    rule, scale = LAWS[law], float(np.average(customers.age, weights=customers.weight))
    names = rule.names
    units = np.array([scale if name in ("alpha", "beta") else 1 / scale if name == "back" else 1.0 for name in names])
    start = np.log(rule.start * units)

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = rule.value(x, customers)
        return -value / customers.weight.sum(), -gradient / customers.weight.sum()

    most = [np.log(back.MOST_EVEN) if name in ("r", "s") else np.inf for name in names]
    bounds = [(x - _FARTHEST, min(x + _FARTHEST, top)) for x, top in zip(start, most, strict=True)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-7})
    if not np.isfinite(found.fun) or np.abs(found.jac).max() > _FLAT:
        raise Unfit(
            f"{law}: the likelihood of {customers.weight.sum():,.0f} customers' purchases has no maximum in sight"
        )
    return Fitted(
        law, np.exp(found.x), _covariance(rule.value, found.x, customers), -found.fun * customers.weight.sum()
    )


def held_out(fitted: Fitted, early: Customers, late: Customers) -> float:
    """Log-likelihood of the purchases of later days, given those up to the day that the law was fitted on.

    Args:
        fitted: To `early`.
        early: Customers as seen until some day.
        late: The same customers as seen until a later day.
    """
    value = LAWS[fitted.law].value
    return value(np.log(fitted.theta), late)[0] - value(np.log(fitted.theta), early)[0]


def choose(customer: IntArray, day: IntArray, end: int) -> dict[str, float]:
    """Held-out log-likelihoods of all laws, the best first.

    Args:
        customer: (m,) as of `purchase_days`.
        day: (m,)
        end: Last day of the log.

    Raises:
        Unfit: If the log is shorter than three weeks, or no law can be fitted.
    """
    first = int(day.min())
    if end - first < _SHORTEST:
        raise Unfit(f"purchases span {end - first + 1} days, a law of repeat purchase needs {_SHORTEST + 1}")
    middle = first + 2 * (end - first) // 3
    early, late = seen_until(customer, day, middle), seen_until(customer, day, end, joined=middle)
    score = {}
    for law in LAWS:
        try:
            score[law] = held_out(fit(law, early), early, late)
        except Unfit:
            continue
    if not score:
        raise Unfit("no law of repeat purchase could be fitted to the log's first two thirds")
    return dict(sorted(score.items(), key=lambda item: -item[1]))


def expected(fitted: Fitted, age: FloatArray, horizon: float) -> float:
    """Mean repeats of all customers of `age` (n,) in the `horizon` days after it."""
    count = LAWS[fitted.law].expected
    return float((count(fitted.theta, age + horizon) - count(fitted.theta, age)).sum())


def simulate(fitted: Fitted, age: FloatArray, horizon: float, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Repeats of new customers (n,) within their `age` (n,), and in the `horizon` days after it."""
    return LAWS[fitted.law].simulate(fitted.theta, age, horizon, rng)


def lifetimes(con: duckdb.DuckDBPyConnection, view: str = "purchases", most: int = MOST) -> list[Estimate]:
    """Rates of purchase, of going away and of coming back, and the share of customers who are active at the log's end.

    Args:
        con: That has the view.
        view: Of purchases.
        most: Customers that are used at most.
    """
    try:
        customer, day = purchase_days(con, view, most)
        end = int(day.max())
        score = choose(customer, day, end)
        customers = seen_until(customer, day, end)
        fitted = fit(next(iter(score)), customers)
    except Unfit as error:
        return [Estimate(name, None, None, None, 0, unit, "", str(error)) for name, (unit, _) in _FIGURES.items()]
    events = int(customers.weight @ customers.repeats)
    margin = ", ".join(f"{law} {value:,.1f}" for law, value in score.items())
    method = (
        f"{fitted.law} by maximum likelihood, interval by the observed information; chosen by the log-likelihood of the last "
        f"third of the days: {margin}; purchases of one customer on one day count once"
    )
    return [_figure(name, unit, of, fitted, customers, events, method) for name, (unit, of) in _FIGURES.items()]


def _figure(
    name: str, unit: str, of: "Figure", fitted: Fitted, customers: Customers, events: int, method: str
) -> Estimate:
    """A positive function of the parameters, its interval by the delta method on its logarithm."""
    value = of(fitted, fitted.theta, customers)
    if value is None:
        return Estimate(name, None, None, None, events, unit, method, f"{fitted.law} has no such parameter")

    def log(x: FloatArray) -> float:
        return float(np.log(of(fitted, np.exp(x), customers) or np.nan))

    slope = approx_fprime(np.log(fitted.theta), log, 1e-6)
    error = float(np.sqrt(slope @ fitted.error @ slope))
    return Estimate(name, value, value * np.exp(-_Z * error), value * np.exp(_Z * error), events, unit, method)


def _parameter(of: Callable[..., float], *names: str) -> "Figure":
    def figure(fitted: Fitted, theta: FloatArray, customers: Customers) -> float | None:
        known = dict(zip(LAWS[fitted.law].names, theta, strict=True))
        return of(*(known[name] for name in names)) if set(names) <= set(known) else None

    return figure


def _active(fitted: Fitted, theta: FloatArray, customers: Customers) -> float | None:
    if fitted.law == "bg_nbd":
        return None
    share = back.active_share(np.r_[theta, 1e-12][:5], customers.age)
    return float(np.average(share, weights=customers.weight))


Figure = Callable[[Fitted, FloatArray, Customers], float | None]
_FIGURES: dict[str, tuple[str, Figure]] = {
    "purchases.per_day": ("per active customer and day", _parameter(lambda r, alpha: r / alpha, "r", "alpha")),
    "purchases.rate_shape": ("shape of a gamma over customers", _parameter(lambda r: r, "r")),
    "world.lifetime.leaving_per_day": ("per day", _parameter(lambda s, beta: s / beta, "s", "beta")),
    "world.lifetime.leaving_shape": ("shape of a gamma over customers", _parameter(lambda s: s, "s")),
    "world.lifetime.away_days": ("days", _parameter(lambda rate: 1 / rate, "back")),
    "purchases.leaving_per_repeat": ("mean probability", _parameter(lambda a, b: a / (a + b), "a", "b")),
    "purchases.active_share": ("of customers, at the end of the log", _active),
}


def _covariance(value: Value, x: FloatArray, customers: Customers) -> FloatArray:
    columns = [
        (value(x + step, customers)[1] - value(x - step, customers)[1]) / (2 * _STEP) for step in np.eye(len(x)) * _STEP
    ]
    information = -(np.array(columns) + np.array(columns).T) / 2
    return np.asarray(np.linalg.pinv(information, hermitian=True), np.float64)


def _closed(form: die.Form) -> Value:
    """A likelihood in closed form, its gradient by differences."""

    def value(x: FloatArray, customers: Customers) -> tuple[float, FloatArray]:
        steps = np.eye(len(x)) * 1e-5
        gradient = [
            die.log_likelihood(form, np.exp(x + step), customers)
            - die.log_likelihood(form, np.exp(x - step), customers)
            for step in steps
        ]
        return die.log_likelihood(form, np.exp(x), customers), np.array(gradient) / 2e-5

    return value


LAWS: dict[str, Law] = {
    "bg_nbd": Law(
        die.BG_NBD, np.array([0.5, 0.3, 0.8, 2.0]), _closed(die.bg_nbd), die.bg_nbd_expected, die.simulate_bg_nbd
    ),
    "pareto_nbd": Law(
        die.PARETO_NBD, np.array([0.5, 0.3, 0.7, 0.5]), _closed(die.pareto_nbd), die.pareto_nbd_expected, back.simulate
    ),
    "returning": Law(
        back.RETURNING, np.array([0.5, 0.3, 0.7, 0.3, 0.5]), back.returning, back.expected, back.simulate
    ),
}  # fmt: skip
