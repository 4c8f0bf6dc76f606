"""Looking at a test before its end: group-sequential bounds and always-valid intervals.

Whoever reads the usual 95% interval every day and stops when it leaves out 0 is wrong more often than 1 time in 20: after ten
equal looks, in 19 of 100 tests without any effect. Four rules say how to look. Each gives the estimate plus or minus a multiple
of its standard error.

- `fixed`: one look, at the end. It has the shortest interval there, and the looks before it decide nothing. For tests that
  nobody will stop.
- `obrien_fleming`: some planned looks, very strict at first, at the end nearly `fixed` (2.09 instead of 1.96 with ten looks). It
  stops early for large effects only. The usual choice where the test has a planned end and looks are daily or weekly.
- `pocock`: some planned looks, all equally strict (2.56 with ten). It stops sooner, and pays at the end. For changes that may do
  harm, where every day counts.
- `msprt`: as many looks as one likes, at times that need not be planned, with no end. Its interval is never shorter than 3.0
  standard errors at 95%. For dashboards that are open all day.

What that means for 14 daily looks at an effect of 2.8 standard errors of the end, tau being 3 of them:

| rule | tests that stop | without an effect | days until they stop, 14 where they do not |
|---|---|---|---|
| `fixed` | 80% | 5% | 14 |
| `obrien_fleming` | 78% | 5% | 10.7 |
| `pocock` | 67% | 5% | 9.6 |
| `msprt` | 48% | 1% | 11.5 |

Each promises that the interval of every look holds the true effect, in at least 1 - alpha of all tests. So at most alpha of the
tests without an effect ever stop, and the interval may be read at whichever look the test stops. The estimate there is another
matter: a test that stops because its estimate was large shows, on average, too large an estimate.

The promise rests on independent increments. With the information of a look, 1 / se^2, the estimate times its information has to
move by amounts that owe nothing to the days before. This holds where every day brings new users. Where the same users come
back it holds roughly, and A/A tests tell how well. An effect that changes from day to day, as it does while late conversions are
missing, is another effect at each look.

References:
    Armitage, McPherson & Rowe (1969), Repeated significance tests on accumulating data. JRSS A 132(2).
    Pocock (1977), Group sequential methods in the design and analysis of clinical trials. Biometrika 64(2).
    O'Brien & Fleming (1979), A multiple testing procedure for clinical trials. Biometrics 35(3).
    Jennison & Turnbull (2000), Group sequential methods with applications to clinical trials. Chapters 2, 9 (repeated
    intervals) and 19 (numerical integration).
    Robbins (1970), Statistical methods related to the law of the iterated logarithm. Annals of Mathematical Statistics 41(5).
    Johari, Koomen, Pekelis & Walsh (2022), Always valid inference: continuous monitoring of A/B tests. Operations Research 70(3);
    first as Peeking at A/B tests, KDD 2017.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

FloatArray = NDArray[np.float64]

MSPRT = "msprt"
_LEAST_RISE = 1e-4  # of a fraction over the one before: the grid's nodes grow as its inverse square root
_FAR = 8.0  # standard deviations beyond which the score is never found: 1e-15 of the mass
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)  # in two standard deviations of a step: probabilities to 1e-8


class Look(NamedTuple):
    """What looking at one metric gave, look by look.

    An interval before the last look of `fixed` is (-inf, inf): it says nothing yet. Where there is no estimate
    the ends are NaN.
    """

    low: FloatArray  # (K,) ends of the interval, in the unit of the estimate
    high: FloatArray  # (K,)
    stopped: int  # first look whose interval leaves out 0, from 0; -1 if none does


def monitor(
    rule: str, estimate: ArrayLike, se: ArrayLike, fraction: ArrayLike, tau: float, alpha: float = 0.05
) -> Look:
    """Intervals of one metric at each look, and the look at which the rule stops the test.

    The group-sequential rules use the planned fractions; where information came otherwise, `crossing_probability` of the real
    fractions tells the level that was kept. A look without an estimate decides nothing, which only makes them stricter.

    Args:
        rule: A name of `RULES`, or "msprt".
        estimate: (K,) such as log lift, of all data so far; NaN where it could not be computed.
        se: (K,) standard errors > 0 of the estimates; NaN as well where there is none.
        fraction: (K,) planned information at each look over that at the end, rising to 1; not read under "msprt".
        tau: Standard deviation of true effects, see `mixture_half_width`; read under "msprt" only.
        alpha: Probability of ever stopping without an effect.

    Raises:
        ValueError: If the rule is unknown, shapes differ, or a number breaks its rule.

    Examples:
        Six times the same reading, as information grows:

        >>> day = np.arange(1, 7)
        >>> for rule in (*RULES, MSPRT):
        ...     print(rule, monitor(rule, np.full(6, 0.02), 0.016 / np.sqrt(day), day / 6, tau=0.02).stopped)
        fixed 5
        pocock 3
        obrien_fleming 4
        msprt 5
    """
    value, error = _estimates(estimate, se)
    if value.ndim != 1:
        raise ValueError(f"estimate has shape {value.shape}, it must be (K,), one per look")
    half = _half_width(rule, error, fraction, tau, alpha)
    low, high = value - half, value + half
    crossed = (low > 0) | (high < 0)
    return Look(low, high, int(crossed.argmax()) if crossed.any() else -1)


def fixed(fraction: ArrayLike, alpha: float = 0.05) -> FloatArray:
    """(K,) critical values of |z| of a test that is read at the end only: infinity before.

    Args:
        fraction: (K,) information at each look over that at the end, > 0, rising to 1.
        alpha: Probability of crossing without an effect.

    Raises:
        ValueError: If fraction or alpha breaks its rule.

    Examples:
        >>> fixed([0.5, 1]).round(3)
        array([ inf, 1.96])
    """
    critical = np.full(len(_fractions(fraction)), np.inf)
    critical[-1] = norm.isf(_level(alpha) / 2)
    return critical


def pocock(fraction: ArrayLike, alpha: float = 0.05) -> FloatArray:
    """(K,) critical values of |z|, the same at every look (Pocock 1977, for looks at any fractions).

    Args:
        fraction: (K,) information at each look over that at the end, > 0, rising to 1.
        alpha: Probability of ever crossing without an effect.

    Raises:
        ValueError: If fraction or alpha breaks its rule.

    Examples:
        >>> pocock([0.2, 0.4, 0.6, 0.8, 1]).round(3)
        array([2.413, 2.413, 2.413, 2.413, 2.413])
    """
    t = _fractions(fraction)
    return _at_level(t, np.ones(len(t)), alpha)


def obrien_fleming(fraction: ArrayLike, alpha: float = 0.05) -> FloatArray:
    """(K,) critical values of |z|, c / sqrt(fraction) (O'Brien & Fleming 1979, for looks at any fractions).

    Args:
        fraction: (K,) information at each look over that at the end, > 0, rising to 1.
        alpha: Probability of ever crossing without an effect.

    Raises:
        ValueError: If fraction or alpha breaks its rule.

    Examples:
        >>> obrien_fleming([0.2, 0.4, 0.6, 0.8, 1]).round(3)
        array([4.562, 3.226, 2.634, 2.281, 2.04 ])
    """
    t = _fractions(fraction)
    return _at_level(t, 1 / np.sqrt(t), alpha)


RULES: dict[str, Callable[[ArrayLike, float], FloatArray]] = {
    "fixed": fixed,
    "pocock": pocock,
    "obrien_fleming": obrien_fleming,
}


def crossing_probability(fraction: ArrayLike, critical: ArrayLike) -> float:
    """Probability that |z| exceeds its critical value at one look or more, without an effect.

    The score z sqrt(t) is a Brownian motion at times t. The distribution of its absolute value, among tests that have not crossed
    yet, is carried from look to look on a grid (Armitage, McPherson & Rowe 1969).

    Args:
        fraction: (K,) information at each look over that at the end, > 0, rising to 1.
        critical: (K,) critical values > 0 of |z|, or one for all looks; infinity where nothing is decided.

    Raises:
        ValueError: If fraction or critical breaks its rule.

    Examples:
        Ten looks at the usual 5% level:

        >>> round(crossing_probability(np.linspace(0.1, 1, 10), 1.96), 3)
        0.193
    """
    t = _fractions(fraction)
    c = np.asarray(critical, np.float64)
    if c.shape not in ((), t.shape):
        raise ValueError(f"critical has shape {c.shape}, it must be one number or one per fraction, {t.shape}")
    _refuse("critical", c, ~(c > 0), "> 0")
    edge = c * np.sqrt(t)
    spread = np.sqrt(np.diff(t, prepend=0.0))
    finest = np.minimum(spread, np.append(spread[1:], np.inf))
    end = np.minimum(edge, _FAR * np.sqrt(t))
    score, mass, crossed = np.zeros(1), np.ones(1), 0.0
    for k in range(len(t)):
        crossed += float(mass @ _leaving(score, edge[k], spread[k]))
        node, weight = _grid(end[k], 2 * finest[k])
        score, mass = node, weight * (_density(node[:, None], score, spread[k]) @ mass)
    return crossed


def mixture_half_width(se: ArrayLike, tau: float, alpha: float = 0.05) -> FloatArray:
    """Half the width of the always-valid interval, by the mixture sequential probability ratio test.

    With V = se^2 it is sqrt(V (V + tau^2) / tau^2 (2 ln(1 / alpha) + ln((V + tau^2) / V))). In at least 1 - alpha of all tests
    the intervals of all looks, however many, hold the true effect. This is so for any tau. Counted in standard errors an
    interval is shortest where se is 0.35 tau (at alpha = 5%), so three times the standard error at the end is a good tau.

    Args:
        se: Standard errors > 0 of the estimate, of any shape; NaN where there is none.
        tau: Standard deviation > 0 of the effects that are expected, in the unit of the estimate; chosen before the test.
        alpha: Probability of ever leaving out the true effect.

    Returns:
        In the shape of se.

    Raises:
        ValueError: If se, tau or alpha breaks its rule.

    Examples:
        In standard errors, as the test grows:

        >>> se = np.array([0.08, 0.04, 0.02, 0.01])
        >>> (mixture_half_width(se, tau=0.04) / se).round(2)
        array([5.57, 3.66, 3.08, 3.06])
    """
    error = _errors(se)
    ratio = (error / _spread(tau)) ** 2
    return error * np.sqrt((1 + ratio) * (-2 * np.log(_level(alpha)) + np.log1p(1 / ratio)))


def mixture_p_value(estimate: ArrayLike, se: ArrayLike, tau: float) -> FloatArray:
    """Always-valid p-value of no effect: min over the looks so far of min(1, 1 / Lambda).

    Lambda is the likelihood ratio of effects drawn from N(0, tau^2) against none: with V = se^2,
    sqrt(V / (V + tau^2)) exp(tau^2 estimate^2 / (2 V (V + tau^2))). The p-value falls to alpha or below at the first look whose
    interval of `mixture_half_width` leaves out 0.

    Args:
        estimate: (..., K) looks along the last axis; NaN where it could not be computed, which decides nothing.
        se: (..., K) standard errors > 0; NaN where there is none.
        tau: Standard deviation > 0 of the effects that are expected, in the unit of the estimate; chosen before the test.

    Returns:
        (..., K) never rising along the looks.

    Raises:
        ValueError: If shapes differ, there is no look, or a number breaks its rule.

    Examples:
        >>> mixture_p_value([0.0, 0.1, 0.07, 0.02], [0.08, 0.04, 0.02, 0.01], tau=0.04).round(4)
        array([1.    , 0.2964, 0.0167, 0.0167])
    """
    value, error = _estimates(estimate, se)
    ratio = (error / _spread(tau)) ** 2
    log_p = (np.log1p(1 / ratio) - (value / error) ** 2 / (1 + ratio)) / 2
    p = np.exp(np.fmin(log_p, 0.0))  # fmin: 1 where NaN
    return np.minimum.accumulate(p, axis=-1)


def _half_width(rule: str, se: FloatArray, fraction: ArrayLike, tau: float, alpha: float) -> FloatArray:
    if rule == MSPRT:
        return mixture_half_width(se, tau, alpha)
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}, it must be one of {', '.join((*RULES, MSPRT))}")
    critical = RULES[rule](fraction, alpha)
    if critical.shape != se.shape:
        raise ValueError(f"estimate has {len(se)} looks, it must have one per fraction, {len(critical)}")
    return critical * se


def _at_level(t: FloatArray, shape: FloatArray, alpha: float) -> FloatArray:
    """The multiple of `shape`, >= 1 and 1 at the last look, that is ever crossed with probability alpha."""
    ends = norm.isf(_level(alpha) / np.array([2, 2 * len(t)]))  # one look, and Bonferroni's bound
    wider = ends * (1 - 1e-3, 1 + 1e-3)  # with one look the ends are the same
    return shape * brentq(lambda c: crossing_probability(t, c * shape) - alpha, *wider, xtol=1e-9)


def _leaving(score: FloatArray, edge: float, spread: float) -> FloatArray:
    """Probability that |score| goes beyond `edge` in a step of standard deviation `spread`."""
    return ndtr((score - edge) / spread) + ndtr((-score - edge) / spread)


def _density(node: FloatArray, score: FloatArray, spread: float) -> FloatArray:
    """Density at `node` of |score| after a step of standard deviation `spread`."""
    ahead = np.exp(-0.5 * ((node - score) / spread) ** 2)
    mirrored = np.exp(-0.5 * ((node + score) / spread) ** 2)
    return (ahead + mirrored) / (spread * np.sqrt(2 * np.pi))


def _grid(end: float, width: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of Gauss-Legendre quadrature on equal panels of [0, end], none wider than `width`."""
    panels = int(np.ceil(end / width))
    half = end / panels / 2
    middle = half * (2 * np.arange(panels) + 1)
    return (middle[:, None] + half * _NODES).ravel(), np.tile(half * _WEIGHTS, panels)


def _fractions(fraction: ArrayLike) -> FloatArray:
    t = np.asarray(fraction, np.float64)
    if t.ndim != 1 or not t.size:
        raise ValueError(f"fraction has shape {t.shape}, it must be (K,) with at least one look")
    _refuse("fraction", t, ~((t > 0) & (t < np.inf)), "finite and > 0")
    rise = np.diff(t, prepend=0.0) / t
    _refuse("fraction", t, rise < _LEAST_RISE, f"above the one before by {_LEAST_RISE:g} of itself or more")
    if not abs(t[-1] - 1) < 1e-9:
        raise ValueError(f"fraction ends at {t[-1]}, it must end at 1")
    return t


def _level(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, it must be > 0 and < 1")
    return alpha


def _spread(tau: float) -> float:
    if not 0 < tau < np.inf:
        raise ValueError(f"tau is {tau}, it must be finite and > 0")
    return tau


def _errors(se: ArrayLike) -> FloatArray:
    error = np.asarray(se, np.float64)
    _refuse("se", error, (error <= 0) | np.isinf(error), "finite and > 0, or NaN where there is none")
    return error


def _estimates(estimate: ArrayLike, se: ArrayLike) -> tuple[FloatArray, FloatArray]:
    value, error = np.asarray(estimate, np.float64), _errors(se)
    if value.shape != error.shape:
        raise ValueError(f"se has shape {error.shape}, it must be that of estimate, {value.shape}")
    if not value.shape or not value.shape[-1]:
        raise ValueError(f"estimate has shape {value.shape}, it must be (..., K) with at least one look")
    _refuse("estimate", value, np.isinf(value), "finite, or NaN where it could not be computed")
    return value, error


def _refuse(name: str, value: FloatArray, wrong: NDArray[np.bool_], rule: str) -> None:
    """Raise on the first entry that is wrong, with its place."""
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name}{list(place) if place else ''} is {value[place]}, it must be {rule}")
