"""How rates differ over users, items and days: a normal random effect on the logit, and rates shrunk by it."""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, gammaln, logit

from fitting.interval import missing, profile
from fitting.quadrature import FloatArray, Integrated, Terms, column, integrated
from fitting.types import Estimate

_LEAST, _MOST = 1e-3, 6.0
_WIDE = 8.0  # logits on both sides of the raw rate that a mean may be


class Counts(NamedTuple):
    """So many units (k,) had so many successes (k,) of so many trials (k,)."""

    trials: FloatArray  # (k,) > 0
    successes: FloatArray  # (k,)
    units: FloatArray  # (k,)
    look: FloatArray  # (k,) within (0, 1]: factor known of them, such as the mean effect of their slots


class Spread(NamedTuple):
    """Mean logit, and standard deviation of the effect."""

    mean: float
    sigma: float


def spread_of(name: str, counts: Counts, what: str) -> list[Estimate]:
    """Standard deviation over units of the logit of a rate, by maximum likelihood; its interval by the profile likelihood.

    Successes are binomial with probability look x sigmoid(mean + effect), the effect N(0, sigma^2), integrated out. It is the
    spread of units as they are met: over all the items, for users. A sigma that the data cannot tell from 0 has an
    interval that begins there.

    Args:
        name: Of the estimate.
        counts: Of the units.
        what: Units and rate in words.
    """
    units, hits = int(counts.units.sum()), int(counts.units @ counts.successes)
    if units < 3 or not 0 < hits < counts.units @ counts.trials:
        return [missing(name, "logits", f"{units} units with {hits} events are too few", events=hits)]
    best = fit(counts)

    @cache
    def at(sigma: float) -> float:
        return _over_mean(counts, sigma)[0]

    low, high = profile(at, best.sigma, max(best.sigma / 4, 0.02), floor=_LEAST, most=_MOST)
    method = f"{what}: logit-normal random effect over {units} units, taken as independent; profile likelihood"
    edge = [0.0 if end <= _LEAST * 1.01 else end for end in (best.sigma, low)]
    return [Estimate(name, edge[0], edge[1], high, hits, "logits", method)]


def fit(counts: Counts) -> Spread:
    """Mean and sigma of the highest likelihood."""
    found = minimize_scalar(
        lambda s: -_over_mean(counts, float(np.exp(s)))[0], bounds=np.log((_LEAST, _MOST)), method="bounded",
        options={"xatol": 1e-5},
    )  # fmt: skip
    sigma = float(np.exp(found.x))
    if _over_mean(counts, _LEAST)[0] >= -float(found.fun):
        sigma = _LEAST
    return Spread(_over_mean(counts, sigma)[1], sigma)


def shrunk(counts: Counts, spread: Spread) -> FloatArray:
    """Rates (k,) that the counts and what is known of all units together give: at the effect's posterior mean."""
    return counts.look * expit(spread.mean + _marginal(counts, spread.mean, spread.sigma).mean)


def log_likelihood(counts: Counts, spread: Spread) -> float:
    """Of the counts, the effects integrated out."""
    return float(counts.units @ _marginal(counts, spread.mean, spread.sigma).log)


def _over_mean(counts: Counts, sigma: float) -> tuple[float, float]:
    """Highest log likelihood for a sigma, and the mean that has it."""
    weight, n = counts.units, counts.trials
    raw = float(logit(min((weight @ counts.successes) / (weight * counts.look @ n), 0.99)))
    found = minimize_scalar(
        lambda mean: -log_likelihood(counts, Spread(mean, sigma)), bounds=(raw - _WIDE, raw + 2), method="bounded",
        options={"xatol": 1e-6},
    )  # fmt: skip
    return -float(found.fun), float(found.x)


def _marginal(counts: Counts, mean: float, sigma: float) -> Integrated:
    n, k = counts.trials, counts.successes
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    def terms(effect: FloatArray) -> Terms:
        trials, hits, look = column(n, effect), column(k, effect), column(counts.look, effect)
        x = mean + effect
        s, rest = expit(x), expit(-x)
        other = rest + (1 - look) * s  # 1 - look x s, which would lose its digits near 1
        p, miss = look * s, look * s * rest / other
        unseen = np.logaddexp(0.0, x + np.log(np.maximum(1 - look, 1e-300))) - np.logaddexp(0.0, x)
        value = hits * (np.log(look) - np.logaddexp(0.0, -x)) + (trials - hits) * unseen + column(choose, effect)
        bend = miss * ((1 - 2 * s) * other + p * rest) / other
        curve = -hits * s * (1 - s) - (trials - hits) * bend
        return Terms(value, hits * (1 - s) - (trials - hits) * miss, np.minimum(curve, 0.0))

    return integrated(terms, len(n), sigma)
