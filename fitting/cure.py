"""Delays of events of which some never come: the chance that one comes at all, kept apart from how late it is.

What is known of a click whose event has not come within its exposure e is 1 - c F(e); of one that came after d, c f(d)
(Chapelle 2014, Modeling delayed feedback in display advertising, KDD; a cure model in the older literature). F is a mixture
of exponentials, of one or two parts. An event that a later one hides (an add-to-cart that is logged no later than its order)
has come, but after d: c (1 - F(d)).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from fitting.errors import Unfit
from fitting.quadrature import FloatArray

_FAR = 40.0  # logits and logs beyond which nothing is searched


class Waits(NamedTuple):
    """One entry per click (m of them)."""

    hours: FloatArray  # until the event, or its exposure where none has come
    came: NDArray[np.bool_]
    hidden: NDArray[np.bool_]  # came, but at some time after `hours`
    cluster: NDArray[np.integer[Any]]  # 0 to the number of clusters - 1


class Cure(NamedTuple):
    """Chance c that an event comes, and the mixture (share of the fast part, both means in hours) of its delay."""

    chance: float
    fast_share: float  # 0 where there is one part
    fast_mean_h: float
    slow_mean_h: float

    def within(self, hours: Any) -> FloatArray:
        """Share of the events that come within so many hours."""
        h = np.asarray(hours, np.float64)
        fast = self.fast_share * -np.expm1(-h / self.fast_mean_h)
        return fast + (1 - self.fast_share) * -np.expm1(-h / self.slow_mean_h)


class Fit(NamedTuple):
    """Highest likelihood: theta is (logit c, log slow mean) or (logit c, logit share, log fast mean, log of slow / fast - 1)."""

    theta: FloatArray  # (q,)
    covariance: FloatArray  # (q, q) sandwich over clusters
    inflation: FloatArray  # (q,) its variances over those of the likelihood alone
    log_likelihood: float

    @property
    def law(self) -> Cure:
        """In hours and shares."""
        return law_of(self.theta)


def law_of(theta: FloatArray) -> Cure:
    """What theta stands for."""
    if len(theta) == 2:
        return Cure(float(expit(theta[0])), 0.0, 1.0, float(np.exp(theta[1])))
    fast = float(np.exp(theta[2]))
    return Cure(float(expit(theta[0])), float(expit(theta[1])), fast, fast * float(1 + np.exp(theta[3])))


def fit(waits: Waits, parts: int) -> Fit:
    """Fit by maximum likelihood from several starts.

    Args:
        waits: Of the clicks.
        parts: 1 or 2 exponentials.

    Raises:
        Unfit: If too few events came, or the likelihood has no maximum inside: the data do not tell the parts apart.
    """
    seen = waits.came & ~waits.hidden
    if seen.sum() < 5 * parts or waits.came.all():
        what = "none is without" if waits.came.all() else f"{int(seen.sum())} are too few"
        raise Unfit(f"of {len(waits.came)} clicks {int(waits.came.sum())} have the event: {what}")
    found = [_climb(waits, start, None) for start in _starts(waits, parts)]
    theta, top = max(found, key=lambda one: one[1])
    inside = np.abs(theta).max() < _FAR - 1
    with np.errstate(all="ignore"):
        information = -_hessian(waits, theta)
        proper = bool(inside and np.isfinite(information).all() and np.linalg.eigvalsh(information)[0] > 1e-6)
    if not proper:
        raise Unfit(f"{int(seen.sum())} delays do not tell {parts} exponentials and the chance of an event apart")
    inverse = np.linalg.inv(information)
    scores = np.zeros((int(waits.cluster.max()) + 1, len(theta)))
    np.add.at(scores, waits.cluster, _terms(waits, theta)[1])
    m = len(scores)
    covariance = inverse @ (scores.T @ scores) @ inverse * m / max(m - 1, 1)
    return Fit(theta, covariance, np.diag(covariance) / np.diag(inverse), top)


def held(waits: Waits, theta: FloatArray, place: int, value: float) -> float:
    """Highest log likelihood with one entry of theta held: the profile likelihood."""
    start = theta.copy()
    start[place] = value
    return _climb(waits, start, place)[1]


def _climb(waits: Waits, start: FloatArray, fixed: int | None) -> tuple[FloatArray, float]:
    free = np.arange(len(start)) != (-1 if fixed is None else fixed)

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        theta = start.copy()
        theta[free] = x
        value, score = _terms(waits, theta)
        return -float(value.sum()) / len(value), -score.sum(axis=0)[free] / len(value)

    bounds = [(-_FAR, _FAR)] * int(free.sum())
    found = minimize(loss, start[free], jac=True, method="L-BFGS-B", bounds=bounds,
                     options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500})  # fmt: skip
    theta = start.copy()
    theta[free] = found.x
    return theta, -float(found.fun) * len(waits.hours)


def _starts(waits: Waits, parts: int) -> list[FloatArray]:
    delay = waits.hours[waits.came & ~waits.hidden]
    mean, middle = float(delay.mean()), max(float(np.median(delay)), 1e-6)
    chance = float(logit(np.clip(waits.came.mean(), 1e-9, 0.9)))
    if parts == 1:
        return [np.array([chance, np.log(mean)])]
    starts = []
    for share, fast, slow in ((0.5, middle / 2, 2 * mean), (0.3, middle / 10, mean), (0.7, middle, 5 * mean)):
        starts.append(np.array([chance, logit(share), np.log(fast), np.log(max(slow / fast - 1, 0.5))]))
    return starts


def _terms(waits: Waits, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log likelihood (m,) of each click and its gradient (m, q)."""
    law, h = law_of(theta), waits.hours
    c, w, two = law.chance, law.fast_share, len(theta) == 4
    a, b = h / law.fast_mean_h, h / law.slow_mean_h
    gone_a, gone_b = np.exp(-a), np.exp(-b)  # survival of each part
    dens_a, dens_b = gone_a / law.fast_mean_h, gone_b / law.slow_mean_h
    survival, density = w * gone_a + (1 - w) * gone_b, w * dens_a + (1 - w) * dens_b
    # derivatives to (w, log fast, log slow); survival of a part falls with h / mean, density too, by its own mean
    d_survival = np.stack([gone_a - gone_b, w * a * gone_a, (1 - w) * b * gone_b])
    d_density = np.stack([dens_a - dens_b, w * dens_a * (a - 1), (1 - w) * dens_b * (b - 1)])
    tiny = 1e-300
    none = 1 - c + c * survival
    seen, waiting = waits.came & ~waits.hidden, ~waits.came
    value = np.where(waiting, np.log(none + tiny), np.log(c + tiny) + np.log(np.where(seen, density, survival) + tiny))
    inner = np.where(waiting, c * d_survival / (none + tiny),
                     np.where(seen, d_density / (density + tiny), d_survival / (survival + tiny)))  # fmt: skip
    to_c = np.where(waiting, -c * (1 - c) * (1 - survival) / (none + tiny), 1 - c)
    if not two:
        return value, np.stack([to_c, inner[2]], axis=1)
    ratio = expit(theta[3])  # d log slow / d theta[3], with slow = fast (1 + exp)
    return value, np.stack([to_c, inner[0] * w * (1 - w), inner[1] + inner[2], inner[2] * ratio], axis=1)


def _hessian(waits: Waits, theta: FloatArray) -> FloatArray:
    q, step = len(theta), 1e-4
    rows = []
    for k in range(q):
        move = np.zeros(q)
        move[k] = step
        rows.append(
            (_terms(waits, theta + move)[1].sum(axis=0) - _terms(waits, theta - move)[1].sum(axis=0)) / (2 * step)
        )
    found = np.array(rows)
    return (found + found.T) / 2
