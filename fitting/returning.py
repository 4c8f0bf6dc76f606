"""Pareto/NBD whose customers come back: purchases stop at a rate of the customer's own, and start again at one rate for all.

While active a customer buys at a rate Gamma(r, alpha) and goes away at a rate Gamma(s, beta); away, the customer comes
back at the rate `back`. Purchases are then a renewal process, as every purchase finds the customer active: an
interrupted Poisson process (Kuczura 1973, The interrupted Poisson process as an overflow process, Bell System
Technical Journal 52(3)) per customer, a partially hidden Markov model over all (Romero, van der Lans & Wierenga 2013,
Journal of Interactive Marketing 27(3)). `back` = 0 is Pareto/NBD. Time is in days.
"""

import numpy as np
from scipy.special import digamma, gammaln, logsumexp

from fitting.customers import Customers, FloatArray, IntArray

RETURNING = "r", "alpha", "s", "beta", "back"
_LOG_RATE = np.arange(-18.0, 1.0, 0.3)  # nodes, logs of rates per day: on logs the trapezoid rule converges fast
_LOG_LEAVING = np.arange(-15.0, 1.2, 0.6)
MOST_EVEN = 10.0  # shape of a gamma law that these nodes can follow
_ROWS = 2_000  # of customers at once
_TINY = 1e-300
_STEP = 1e-4  # of log(back), for its derivative


def returning(log_theta: FloatArray, customers: Customers) -> tuple[float, FloatArray]:
    """Log-likelihood of all customers' purchase days, and its gradient (5,).

    Args:
        log_theta: (5,) logs of RETURNING.
        customers: Seen until one day.
    """
    r, alpha, s, beta, back = np.exp(log_theta)
    rate, leaving = (grid.ravel() for grid in np.meshgrid(np.exp(_LOG_RATE), np.exp(_LOG_LEAVING), indexing="ij"))
    prior, by_rate = _gamma(_LOG_RATE, r, alpha)
    among, by_leaving = _gamma(_LOG_LEAVING, s, beta)
    weight = (prior[:, None] + among).ravel()
    table = _table(rate, leaving, back, customers.days)
    total, mass, use = 0.0, np.zeros(len(weight)), np.zeros_like(table)
    for start in range(0, len(customers.weight), _ROWS):
        rows = slice(start, start + _ROWS)
        gaps = customers.gaps[rows]
        log = gaps @ table + weight
        top = logsumexp(log, axis=1, keepdims=True)
        posterior = np.exp(log - top) * customers.weight[rows, None]
        total += float(customers.weight[rows] @ top[:, 0])
        mass += posterior.sum(axis=0)
        use += gaps.T @ posterior
    both = mass.reshape(len(_LOG_RATE), -1)
    more, less = (_table(rate, leaving, back * np.exp(step), customers.days) for step in (_STEP, -_STEP))
    gradient = by_rate @ both.sum(axis=1), by_leaving @ both.sum(axis=0), (use * (more - less)).sum() / (2 * _STEP)
    return total, np.hstack(gradient)


def expected(theta: FloatArray, age: FloatArray) -> FloatArray:
    """Mean repeats (n,) within `age` (n,), theta being RETURNING."""
    r, alpha, s, beta, back = theta
    leaving, share = np.exp(_LOG_LEAVING), np.exp(_gamma(_LOG_LEAVING, s, beta)[0])
    both = leaving + back
    active = back / both * age[:, None] - leaving / both**2 * np.expm1(-both * age[:, None])
    return r / alpha * active @ share


def active_share(theta: FloatArray, age: FloatArray) -> FloatArray:
    """(n,) probability that a customer is active at `age` (n,)."""
    _, _, s, beta, back = theta
    leaving, share = np.exp(_LOG_LEAVING), np.exp(_gamma(_LOG_LEAVING, s, beta)[0])
    both = leaving + back
    return (back / both + leaving / both * np.exp(-both * age[:, None])) @ share


def simulate(theta: FloatArray, age: FloatArray, horizon: float, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Repeats of customers (n,) within their `age` and in the `horizon` days after it; theta as PARETO_NBD or RETURNING."""
    r, alpha, s, beta, back = np.r_[theta, 0.0][:5]
    n = len(age)
    rate, leaving = rng.gamma(r, 1 / alpha, n), rng.gamma(s, 1 / beta, n)
    now, before, after = np.zeros(n), np.zeros(n), np.zeros(n)
    end, active, some = age + horizon, True, np.arange(n)
    while len(some):
        speed = leaving[some] if active else np.full(len(some), back)
        wait = np.full(len(some), np.inf)
        np.divide(rng.exponential(size=len(some)), speed, out=wait, where=speed > 1e-12)
        then = np.minimum(now[some] + wait, end[some])
        if active:
            early = np.clip(np.minimum(then, age[some]) - now[some], 0, None)
            before[some] += early
            after[some] += then - now[some] - early
        now[some], active = then, not active
        some = some[then < end[some]]
    return rng.poisson(rate * before), rng.poisson(rate * after)


def _gamma(log_rate: FloatArray, shape: float, scale: float) -> tuple[FloatArray, FloatArray]:
    """Logs of the weights (q,) of nodes under a gamma law, and their derivatives (2, q) by log shape and log scale."""
    log = shape * log_rate - scale * np.exp(log_rate) - gammaln(shape) + shape * np.log(scale)
    log -= logsumexp(log)
    moves = np.stack([
        shape * (log_rate - digamma(shape) + np.log(scale)), shape - scale * np.exp(log_rate)
    ])  # fmt: skip
    return log, moves - (moves @ np.exp(log))[:, None]


def _table(rate: FloatArray, leaving: FloatArray, back: float, days: int) -> FloatArray:
    """Logs (2 d, q): the density of a gap of 0 to d - 1 days, then the probability of no purchase in as many.

    With w_1 > w_2 the rates at which the states without a purchase decay, active is (w_1 - back) e^(-w_1 t) + (back -
    w_2) e^(-w_2 t) over w_1 - w_2, and away leaving (e^(-w_2 t) - e^(-w_1 t)) over it.
    """
    time = np.arange(days)[:, None]
    both = rate + leaving + back
    root = np.sqrt(np.square(rate + leaving - back) + 4 * leaving * back)
    fast = (both + root) / 2
    slow = rate * back / fast
    first, second = np.exp(-fast * time), np.exp(-slow * time)
    active = ((fast - back) * first + (back - slow) * second) / root
    away = leaving * (second - first) / root
    table: FloatArray = np.log(np.maximum(np.concatenate([active * rate, active + away]), _TINY))
    return table
