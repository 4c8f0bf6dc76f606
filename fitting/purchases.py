"""Buy till you die: how often customers buy, and when they stop, each with a rate of their own.

All laws have exponential times between a customer's purchases, with rates Gamma(r, alpha) over customers. In BG/NBD
(Fader, Hardie & Lee 2005, Counting your customers the easy way, Marketing Science 24(2)) a customer leaves after a
repeat purchase with a probability Beta(a, b); in Pareto/NBD (Schmittlein, Morrison & Colombo 1987, Counting your
customers, Management Science 33(1)) at a rate Gamma(s, beta), whether buying or not. Time is in days. A customer
with x repeats, the last t_x after the first purchase, is seen for T.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import betaln, gammaln, hyp2f1

from fitting.customers import Customers, FloatArray, IntArray

Form = Callable[[FloatArray, IntArray, FloatArray, FloatArray], FloatArray]
BG_NBD = "r", "alpha", "a", "b"
PARETO_NBD = "r", "alpha", "s", "beta"


def bg_nbd(theta: FloatArray, repeats: IntArray, last: FloatArray, age: FloatArray) -> FloatArray:
    """Log-likelihood (g,) of purchase histories, theta being BG_NBD (equation 6 of the paper)."""
    r, alpha, a, b = theta
    buys = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    stays = betaln(a, b + repeats) - (r + repeats) * np.log(alpha + age)
    leaves = betaln(a + 1, b + np.maximum(repeats, 1) - 1) - (r + repeats) * np.log(alpha + last)
    return buys + np.logaddexp(stays, np.where(repeats > 0, leaves, -np.inf))


def bg_nbd_expected(theta: FloatArray, age: FloatArray) -> FloatArray:
    """Mean repeats within `age` (equation 9); a = 1 is a removable singularity, and moved off."""
    r, alpha, a, b = theta
    if abs(a - 1) < 1e-6:
        a = 1 + 1e-6
    form = hyp2f1(r, b, a + b - 1, age / (alpha + age))
    return (a + b - 1) / (a - 1) * (1 - (alpha / (alpha + age)) ** r * form)


def bg_nbd_probability(theta: FloatArray, most: int, age: float) -> FloatArray:
    """(most + 1,) probability of 0, 1 ... `most` repeats within `age` (equation 8)."""
    r, alpha, a, b = theta
    x = np.arange(most + 1)
    log = (
        gammaln(r + x)
        - gammaln(r)
        - gammaln(x + 1)
        + r * np.log(alpha / (alpha + age))
        + x * np.log(age / (alpha + age))
    )
    count = np.exp(log)  # negative binomial
    alive = np.exp(betaln(a, b + x) - betaln(a, b)) * count
    before = np.r_[0.0, np.cumsum(count)[:-1]]
    return alive + np.where(x > 0, np.exp(betaln(a + 1, b + np.maximum(x, 1) - 1) - betaln(a, b)) * (1 - before), 0.0)


def pareto_nbd(theta: FloatArray, repeats: IntArray, last: FloatArray, age: FloatArray) -> FloatArray:
    """Log-likelihood (g,) of purchase histories, theta being PARETO_NBD (Fader & Hardie 2005, A note on deriving it)."""
    r, alpha, s, beta = theta
    most, whole = max(alpha, beta), r + s + repeats
    second = s + 1 if alpha >= beta else r + repeats

    def integral(time: FloatArray) -> FloatArray:
        form = hyp2f1(whole, second, whole + 1, abs(alpha - beta) / (most + time))
        return np.log(form) - whole * np.log(most + time)

    until_last, until_end = integral(last), integral(age)
    with np.errstate(divide="ignore"):  # nothing lies between the last purchase and the end
        between = until_last + np.log(-np.expm1(np.minimum(until_end - until_last, 0.0)))
    stays = -(r + repeats) * np.log(alpha + age) - s * np.log(beta + age)
    leaves = np.log(s) - np.log(whole) + between
    return gammaln(r + repeats) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + np.logaddexp(stays, leaves)


def pareto_nbd_expected(theta: FloatArray, age: FloatArray) -> FloatArray:
    """Mean repeats within `age`: the mean rate times the mean time before leaving, cut at `age`."""
    r, alpha, s, beta = theta
    log = np.log1p(age / beta)
    stay = log if s == 1 else -np.expm1((1 - s) * log) / (s - 1)
    return r / alpha * beta * stay


def simulate_bg_nbd(
    theta: FloatArray, age: FloatArray, horizon: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Repeats of customers (n,) within their `age` and in the `horizon` days after it."""
    r, alpha, a, b = theta
    rate, leaving = rng.gamma(r, 1 / alpha, len(age)), rng.beta(a, b, len(age))
    most = np.minimum(rng.geometric(np.maximum(leaving, 1e-15)), 2**40)
    bought = rng.poisson(rate * age)
    later = bought + rng.poisson(rate * horizon)
    return np.minimum(bought, most), np.minimum(later, most) - np.minimum(bought, most)


def log_likelihood(form: Form, theta: FloatArray, customers: Customers) -> float:
    """Of all customers."""
    return float(customers.weight @ form(theta, customers.repeats, customers.last, customers.age))
