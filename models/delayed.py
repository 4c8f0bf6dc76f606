"""Delayed feedback: conversions that come after the log was read, and what its rows teach of those that come in the end.

A conversion counts if it comes within a window after the click. Until then a click without one may still have one: its label is
a negative for now. Every method here is a pair of weights per row (`models.weights`), worked out from three facts of the row and
from what the model predicts at present:

    positive, negative: how often the row has been seen with and without a conversion (0, 1, or a share)
    share: of the conversions that come in the end, those that come by some age (each method says which)

Methods of snapshots read each click once, at its age then. Methods of streams read a click when it is made, or some time later,
and again when its conversion comes: what they undo is that a stream sees the negatives first. They are right where a stream is
stationary, and not where a log begins, before which there are clicks that it does not know of.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from models.errors import Unusable
from models.weights import Weights

FloatArray = NDArray[np.floating[Any]]

_LEAST_AT_RISK = 50  # conversions that could have been as late, for the law to be read that far out


class Exponential(NamedTuple):
    """Delays of a constant hazard, given that they are within a window."""

    mean_h: float
    window_h: float = np.inf

    def by(self, hours: FloatArray) -> FloatArray:
        """Share of conversions within `hours` (m,) of the click."""
        return Weibull(self.mean_h, 1.0, self.window_h).by(hours)


class Weibull(NamedTuple):
    """Delays with P(later than t) = exp(-(t / scale)^shape), given that they are within a window."""

    scale_h: float
    shape: float
    window_h: float = np.inf

    def by(self, hours: FloatArray) -> FloatArray:
        """Share of conversions within `hours` (m,) of the click."""
        within = -np.expm1(-((np.minimum(hours, self.window_h) / self.scale_h) ** self.shape))
        return within / -np.expm1(-((self.window_h / self.scale_h) ** self.shape))

    def log_density(self, hours: FloatArray) -> FloatArray:
        """Of delays (m,), all above 0."""
        u = hours / self.scale_h
        whole = np.log(-np.expm1(-((self.window_h / self.scale_h) ** self.shape)))
        return np.log(self.shape / self.scale_h) + (self.shape - 1) * np.log(u) - u**self.shape - whole


class Empirical(NamedTuple):
    """Delays as they were found, straight lines between them."""

    hours: FloatArray  # (t,) rising from 0
    share: FloatArray  # (t,) rising from 0 to 1

    def by(self, hours: FloatArray) -> FloatArray:
        """Share of conversions within `hours` (m,) of the click."""
        return np.interp(hours, self.hours, self.share)


Law = Exponential | Weibull | Empirical


def fit_empirical(delay_h: FloatArray, age_h: FloatArray, window_h: float) -> Empirical:
    """The law of delays, from conversions that have come, free of form.

    A conversion is only seen if its delay is below the click's age: truncation on the right. Read backwards in time that is late
    entry, which the product-limit estimator takes (Lagakos, Barraj & De Gruttola 1988): from the longest delay down,
    F(t) = product over u > t of 1 - (how many took u) / (how many took u or less and were as old).

    Args:
        delay_h: (m,) of conversions, hours after their clicks.
        age_h: (m,) of those clicks, hours; at least the delay.
        window_h: Longer delays are none.

    Raises:
        Unusable: If there are not enough conversions, or a delay is negative or above its click's age.
    """
    _check(delay_h, age_h)
    kept = delay_h <= window_h
    delay, age = np.sort(delay_h[kept]), np.sort(age_h[kept])
    times, counts = np.unique(delay, return_counts=True)
    at_risk = np.searchsorted(delay, times, side="right") - np.searchsorted(age, times, side="left")
    read = np.flatnonzero(at_risk >= min(_LEAST_AT_RISK, len(delay) / 2))  # far out single conversions would decide
    if len(delay) < 2 or not len(read):
        raise Unusable(f"a law of delays needs more conversions: {len(delay)} have come within {window_h:g} h")
    last = read[-1]
    later = np.log1p(-np.minimum(counts[1 : last + 1] / at_risk[1 : last + 1], 1 - 1e-12))
    share = np.exp(np.concatenate((-np.cumsum(-later[::-1])[::-1], [0.0])))
    return Empirical(np.concatenate(([0.0], times[: last + 1])), np.concatenate(([0.0], share)))


def fit_dfm(
    delay_h: FloatArray, age_h: FloatArray, *, window_h: float = np.inf, law: Literal["exponential", "weibull"]
) -> tuple[float, Exponential | Weibull]:
    """Conversion rate and law of delays together, by maximum likelihood (Chapelle 2014; Ji, Wang & Zhu 2017 for Weibull).

    Args:
        delay_h: (m,) of clicks, hours; NaN where no conversion has come.
        age_h: (m,) hours since those clicks.
        window_h: Conversions later than this count as none.
        law: "exponential" is Chapelle's.

    Raises:
        Unusable: If no conversion has come, or a delay is negative or above its click's age.
    """
    came = ~np.isnan(delay_h)
    _check(delay_h[came], age_h[came])
    came &= np.nan_to_num(delay_h) <= window_h
    if not came.any():
        raise Unusable(f"a law of delays needs conversions: none of {came.size} clicks has one")
    delay, elapsed = np.maximum(delay_h[came], 1e-6), np.minimum(age_h[~came], window_h)

    def read(x: FloatArray) -> tuple[float, Weibull]:
        return float(expit(x[0])), Weibull(float(np.exp(x[1])), float(np.exp(x[2])) if len(x) > 2 else 1.0, window_h)

    def loss(x: FloatArray) -> float:
        return -dfm_log_likelihood(*read(x), delay, elapsed) / came.size

    rate = came.mean()
    start = [np.log(rate) - np.log1p(-min(rate, 0.999)), np.log(delay.mean()), 0.0]
    shapes = 3 if law == "weibull" else 2
    bounds = [(-20, 20), (np.log(1e-4), np.log(1e6)), (-3, 3)][:shapes]
    found = minimize(loss, start[:shapes], bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9})
    p, fitted = read(found.x)
    return p, Exponential(fitted.scale_h, window_h) if law == "exponential" else fitted


def dfm_log_likelihood(p: float, law: Weibull, delay_h: FloatArray, elapsed_h: FloatArray) -> float:
    """Of conversions after `delay_h` (m,), and of clicks without one after `elapsed_h` (l,): p f(d), and 1 - p F(e)."""
    came = len(delay_h) * np.log(p) + law.log_density(delay_h).sum()
    return float(came + np.log1p(-p * law.by(elapsed_h)).sum())


def _check(delay_h: FloatArray, age_h: FloatArray) -> None:
    if (delay_h < 0).any():
        at = int(np.argmax(delay_h < 0))
        raise Unusable(f"delay of conversion {at} is {delay_h[at]:g} h: a conversion cannot come before its click")
    if (delay_h > age_h).any():
        at = int(np.argmax(delay_h > age_h))
        raise Unusable(
            f"conversion {at} came {delay_h[at]:g} h after a click that is {age_h[at]:g} h old: labels are later than the "
            "snapshot"
        )


class Facts(NamedTuple):
    """What a method knows of rows (m,) beside the features."""

    positive: FloatArray
    negative: FloatArray
    share: FloatArray


class Seen(NamedTuple):
    """Clicks as a log shows them."""

    age_h: FloatArray  # (m,) at the snapshot
    delay_h: FloatArray  # (m,) NaN where no conversion has come by the snapshot
    since_h: float  # age of the oldest click or conversion that a stream takes in now; infinite where it takes in all


def _snapshot(seen: Seen, by: Callable[[FloatArray], FloatArray], wait_h: float, window_h: float) -> Facts:
    """Each click at its age: the label so far, and the share of conversions that come by that age."""
    came = (seen.delay_h <= window_h).astype(np.float64)
    return Facts(came, 1.0 - came, by(seen.age_h))


def _window(seen: Seen, by: Callable[[FloatArray], FloatArray], wait_h: float, window_h: float) -> Facts:
    """Clicks that are old enough, with the label that they had after the wait."""
    old, came = seen.age_h >= wait_h, seen.delay_h <= wait_h
    return Facts(
        (old & came).astype(np.float64), (old & ~came).astype(np.float64), by(np.full_like(seen.age_h, wait_h))
    )


def _at_once(seen: Seen, by: Callable[[FloatArray], FloatArray], wait_h: float, window_h: float) -> Facts:
    """A negative when the click is made, a positive when the conversion comes."""
    return _late_labels(seen, by, 0.0, window_h)


def _late_labels(seen: Seen, by: Callable[[FloatArray], FloatArray], wait_h: float, window_h: float) -> Facts:
    """The label after the wait, and a positive more when a later conversion comes; the share is of those that come in time."""
    read = (seen.age_h >= wait_h) & (seen.age_h - wait_h <= seen.since_h)
    in_time = seen.delay_h <= wait_h if wait_h else np.zeros(len(seen.delay_h), np.bool_)
    late = ~in_time & (seen.delay_h <= window_h) & (seen.age_h - seen.delay_h <= seen.since_h)
    share = by(np.full_like(seen.age_h, wait_h))
    return Facts((read & in_time).astype(np.float64) + late, (read & ~in_time).astype(np.float64), share)


def _twice(seen: Seen, by: Callable[[FloatArray], FloatArray], wait_h: float, window_h: float) -> Facts:
    """As late labels, and every other click a second time when the window closes: each click is seen twice, of weight 1/2."""
    first = _late_labels(seen, by, wait_h, window_h)
    in_time = seen.delay_h <= wait_h
    closed = (seen.age_h >= window_h) & (seen.age_h - window_h <= seen.since_h)
    never = ~(seen.delay_h <= window_h)
    return Facts((first.positive + (closed & in_time)) / 2, (first.negative + (closed & never)) / 2, first.share)


def _as_seen(p: Any, positive: Any, negative: Any, share: Any) -> Weights:
    """Rows as they are."""
    return Weights(positive, negative)


def dfm(p: Any, positive: Any, negative: Any, share: Any) -> Weights:
    """The likelihood of Chapelle (KDD 2014), by the probability that a click without a conversion will still have one.

    The gradient of log(1 - p F) is that of the weights with which an EM algorithm would fit p, so they give the same descent.
    """
    coming = p * (1 - share) / (1 - p * share)
    return Weights(positive + negative * coming, negative * (1 - coming))


def fsiw(p: Any, positive: Any, negative: Any, share: Any) -> Weights:
    """Feedback shift importance weights (Yasui et al., WWW 2020): 1 / F, and P(none ever) / P(none so far)."""
    return Weights(positive / share, negative * (1 - p) / (1 - p * share))


def fnw(p: Any, positive: Any, negative: Any, share: Any) -> Weights:
    """Fake negative weights (Ktena et al., RecSys 2019): in the stream a positive has probability p / (1 + p)."""
    return Weights(positive * (1 + p), negative * (1 - p) * (1 + p))


def es_dfm(p: Any, positive: Any, negative: Any, share: Any) -> Weights:
    """Elapsed-time sampling (Yang et al., AAAI 2021): 1 + p P(later than the wait), and P(none ever) / P(none yet) of it."""
    late = p * (1 - share)
    return Weights(positive * (1 + late), negative * (1 + late) * (1 - p) / (1 - p + late))


def defer(p: Any, positive: Any, negative: Any, share: Any) -> Weights:
    """Delayed feedback with real negatives (Gu et al., CIKM 2021): every row twice, the late positives first as negatives."""
    late = p * (1 - share)
    return Weights(positive * p / (p - late / 2), negative * (1 - p) / (1 - p + late / 2))


class Method(NamedTuple):
    """A way to learn from labels that are not final."""

    facts: Callable[[Seen, Callable[[FloatArray], FloatArray], float, float], Facts]
    weigh: Callable[[Any, Any, Any, Any], Weights]  # present p (m,) and the facts, as arrays of numpy or torch
    streams: bool = False  # reads conversions when they come, of clicks made earlier, too
    law: Literal["empirical", "exponential", "weibull"] = "empirical"


METHODS = {
    "none": Method(_snapshot, _as_seen),
    "window": Method(_window, dfm),
    "dfm": Method(_snapshot, dfm, law="exponential"),
    "dfm_weibull": Method(_snapshot, dfm, law="weibull"),
    "fsiw": Method(_snapshot, fsiw),
    "fnw": Method(_at_once, fnw, streams=True),
    "fnc": Method(_at_once, _as_seen, streams=True),
    "es_dfm": Method(_late_labels, es_dfm, streams=True),
    "defer": Method(_twice, defer, streams=True),
    "oracle": Method(_snapshot, _as_seen),
}
"""By name. "oracle" is for labels that are final, however late they come: a bound, which no platform has in time."""


def fnc(p: FloatArray) -> FloatArray:
    """Fake negative calibration (Ktena et al., RecSys 2019): what a model of the stream predicts, b = p / (1 + p), back to p.

    Args:
        p: Of the stream, below 1/2; what is above gives 1.
    """
    stream = np.minimum(p, 0.5)
    return stream / (1 - stream)
