"""Delayed feedback: closed forms of every method, laws of delays found again, and what goes wrong where a method is wrong."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq

from models.delayed import (
    METHODS,
    Exponential,
    Facts,
    Seen,
    Weibull,
    dfm_log_likelihood,
    fit_dfm,
    fit_empirical,
    fnc,
)
from models.errors import Unusable

DAY, MEAN_H, P = 24.0, 168.0, 0.1
LAW = Exponential(MEAN_H)
STREAMS = [name for name, method in METHODS.items() if method.streams and name != "fnc"]
SNAPSHOTS = ["dfm", "dfm_weibull", "fsiw", "window"]


def in_stream(name: str, wait_h: float, window_h: float) -> Facts:
    """How often a click of a stationary stream is seen as a positive and as a negative, in the mean: each reading by hand."""
    by = LAW.by(np.array([wait_h]))[0]
    if name == "fnw":
        return Facts(np.array(P), np.array(1.0), np.array(0.0))
    if name == "es_dfm":
        return Facts(np.array(P), np.array(1 - P * by), np.array(by))
    late = P * (1 - by)
    return Facts(np.array(P - late / 2), np.array(1 - P + late / 2), np.array(by))  # each twice, of weight 1/2


def fixed_point(name: str, facts: Facts) -> float:
    """The rate that a method settles at, its own prediction weighing the rows: p = positives / (positives + negatives)."""

    def gap(p: float) -> float:
        weights = METHODS[name].weigh(p, *facts)
        return float(weights.positive.sum() / weights.total.sum()) - p

    return brentq(gap, 1e-4, 0.9, xtol=1e-14)


@pytest.mark.parametrize("wait_h", [1.0, 24.0, 168.0])
@pytest.mark.parametrize("name", STREAMS)
def test_weights_of_a_stream_restore_the_rate(name, wait_h):
    assert fixed_point(name, in_stream(name, wait_h, 1e9)) == pytest.approx(P, abs=1e-9)


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_weights_of_a_snapshot_restore_the_rate(name):
    """Clicks of all ages: of those of an age, P F have converted."""
    by = LAW.by(np.array([1.0, 24.0, 72.0, 168.0, 720.0]))

    assert fixed_point(name, Facts(P * by, 1 - P * by, by)) == pytest.approx(P, abs=1e-9)


@pytest.mark.parametrize("name", [*STREAMS, *SNAPSHOTS])
def test_without_delay_labels_are_labels(name):
    positive, negative = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    if name == "fnw":  # a positive was a negative first
        negative = np.ones(2)

    assert fixed_point(name, Facts(positive, negative, np.ones(2))) == pytest.approx(0.5, abs=1e-9)


def test_fake_negative_calibration_maps_the_rate_of_the_stream_to_that_of_clicks():
    """Of 11 rows of the stream 1 is a positive: 0.0909091 is 0.1."""
    assert fnc(np.array([0.1 / 1.1]))[0] == pytest.approx(0.1, abs=1e-12)
    assert fnc(np.array([0.0909091]))[0] == pytest.approx(0.1, abs=1e-7)
    assert fnc(np.array([0.0, 0.5, 0.7])).tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("days", [1, 3, 7, 14, 30])
def test_labels_as_they_are_show_what_has_come_by_then(days):
    """p (1 - exp(-w / 7)) of clicks that are w days old."""
    rng = np.random.default_rng(days)
    n = 400_000
    delay = np.where(rng.random(n) < P, rng.exponential(MEAN_H, n), np.inf)
    age = np.full(n, days * DAY)

    facts = METHODS["none"].facts(Seen(age, np.where(delay <= age, delay, np.nan), np.inf), LAW.by, 0.0, np.inf)

    expected = P * (1 - np.exp(-days / 7))
    assert facts.positive.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / n))


def test_weights_worked_out_by_hand():
    """p = 0.2, of the conversions 3/4 come in time: 0.05 are late; without a conversion so far 0.85, without one ever 0.8."""
    p, one, zero, share = 0.2, np.array(1.0), np.array(0.0), np.array(0.75)

    assert METHODS["es_dfm"].weigh(p, one, zero, share).positive == pytest.approx(1.05)
    assert METHODS["es_dfm"].weigh(p, zero, one, share).negative == pytest.approx(1.05 * 0.8 / 0.85)
    assert METHODS["defer"].weigh(p, one, zero, share).positive == pytest.approx(0.2 / 0.175)
    assert METHODS["defer"].weigh(p, zero, one, share).negative == pytest.approx(0.8 / 0.825)
    assert METHODS["fsiw"].weigh(p, one, zero, share).positive == pytest.approx(4 / 3)
    assert METHODS["fsiw"].weigh(p, zero, one, share).negative == pytest.approx(0.8 / 0.85)
    assert METHODS["fnw"].weigh(p, one, one, share) == pytest.approx((1.2, 0.96))
    assert METHODS["dfm"].weigh(p, zero, one, share) == pytest.approx((0.05 / 0.85, 0.8 / 0.85))


@given(p=st.floats(0.001, 0.999), share=st.floats(0.01, 0.99))
def test_the_slope_of_the_em_weights_is_that_of_the_likelihood(p, share):
    """d/dp log(1 - p F), at any p."""
    weights = METHODS["dfm"].weigh(p, np.array(0.0), np.array(1.0), np.array(share))

    assert weights.positive / p - weights.negative / (1 - p) == pytest.approx(-share / (1 - p * share), rel=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_the_same_of_arrays_and_of_tensors(name):
    rng = np.random.default_rng(5)
    p, positive, negative, share = rng.uniform(0.05, 0.9, (4, 50))

    ours = METHODS[name].weigh(p, positive, negative, share)
    theirs = METHODS[name].weigh(*map(torch.from_numpy, (p, positive, negative, share)))

    for a, b in zip(ours, theirs, strict=True):
        assert np.asarray(b) == pytest.approx(a, rel=1e-12)


def clicks(law: Exponential | Weibull, n: int, seed: int, longest_h: float = 30 * DAY) -> tuple[np.ndarray, np.ndarray]:
    """Delays, NaN where no conversion has come, and ages of n clicks."""
    rng = np.random.default_rng(seed)
    drawn = law.scale_h * rng.weibull(law.shape, n) if isinstance(law, Weibull) else rng.exponential(law.mean_h, n)
    age = rng.uniform(0, longest_h, n)
    delay = np.where(rng.random(n) < P, drawn, np.inf)
    return np.where(delay <= age, delay, np.nan), age


def errors(p: float, law: Weibull, delay: np.ndarray, age: np.ndarray, n_free: int) -> np.ndarray:
    """Standard errors of p, scale and shape from the curvature of the log likelihood, by differences."""
    came = ~np.isnan(delay)

    def at(x: np.ndarray) -> float:
        shape = x[2] if n_free > 2 else 1.0
        return dfm_log_likelihood(x[0], Weibull(x[1], shape), delay[came], age[~came])

    x = np.array([p, law.scale_h, law.shape])[:n_free]
    step = 1e-3 * x
    hessian = np.empty((n_free, n_free))
    for i in range(n_free):
        for j in range(n_free):
            a, b = np.eye(n_free)[i] * step, np.eye(n_free)[j] * step
            hessian[i, j] = (at(x + a + b) - at(x + a - b) - at(x - a + b) + at(x - a - b)) / (4 * step[i] * step[j])
    return np.sqrt(np.diag(np.linalg.inv(-hessian)))


def test_dfm_finds_rate_and_mean_delay_again():
    delay, age = clicks(LAW, 100_000, 1)

    p, law = fit_dfm(delay, age, law="exponential")

    se = errors(p, Weibull(law.mean_h, 1.0), delay, age, 2)
    assert abs(p - P) < 4 * se[0] < 0.02
    assert abs(law.mean_h - MEAN_H) < 4 * se[1] < 40


def test_dfm_of_weibull_delays_finds_rate_scale_and_shape_again():
    delay, age = clicks(Weibull(MEAN_H, 0.5), 200_000, 2)

    p, law = fit_dfm(delay, age, law="weibull")

    se = errors(p, law, delay, age, 3)
    assert abs(p - P) < 4 * se[0] < 0.03
    assert abs(law.scale_h - MEAN_H) < 4 * se[1]
    assert abs(law.shape - 0.5) < 4 * se[2] < 0.1


def test_exponential_dfm_is_biased_where_delays_are_weibull():
    """A heavy tail looks like a law that is nearly over, so the rate comes out low, by the amount that theory says."""
    delay, age = clicks(Weibull(MEAN_H, 0.5), 200_000, 2)

    p, _ = fit_dfm(delay, age, law="exponential")

    assert p == pytest.approx(limit_of_exponential_dfm(Weibull(MEAN_H, 0.5), 30 * DAY), abs=0.002)
    assert p < 0.9 * P


def limit_of_exponential_dfm(law: Weibull, longest_h: float) -> float:
    """The rate that maximises the expected log likelihood of clicks whose ages are even up to `longest_h`."""
    from scipy.optimize import minimize  # noqa: PLC0415

    delays = (np.arange(20_000) + 0.5) / 20_000
    delays = law.scale_h * (-np.log1p(-delays)) ** (1 / law.shape)
    seen = np.clip(1 - delays / longest_h, 0, 1)  # share of clicks old enough

    def loss(x: np.ndarray) -> float:
        p, mean = 1 / (1 + np.exp(-x[0])), np.exp(x[1])
        came = P * (seen * (np.log(p) - np.log(mean) - delays / mean)).mean()
        not_yet = quad(lambda e: (1 - P * law.by(np.array([e]))[0]) * np.log1p(p * np.expm1(-e / mean)), 0, longest_h)[
            0
        ]
        return -came - not_yet / longest_h

    return float(1 / (1 + np.exp(-minimize(loss, [-2.0, 5.0], method="Nelder-Mead", options={"xatol": 1e-6}).x[0])))


@pytest.mark.parametrize("law", [Exponential(MEAN_H), Weibull(MEAN_H, 0.5), Weibull(40.0, 1.5)])
def test_the_empirical_law_is_the_law_whatever_its_form(law):
    delay, age = clicks(law, 400_000, 3)
    came, window_h, hours = ~np.isnan(delay), 14 * DAY, np.array([1.0, 12.0, 48.0, 120.0, 240.0])

    found = fit_empirical(delay[came], age[came], window_h)

    within = law._replace(window_h=window_h).by(hours)
    assert found.by(hours) == pytest.approx(within, abs=4 * np.sqrt(0.25 / came.sum()) + 0.002)
    assert found.by(np.array([0.0, window_h, 1e9])).tolist() == [0.0, 1.0, 1.0]


def test_the_empirical_law_without_truncation_is_the_distribution_of_the_delays():
    """Ages beyond all delays hide nothing: the shares of 100 delays are 1/100, 2/100 and so on."""
    delay = np.arange(1.0, 101.0)

    found = fit_empirical(delay, np.full(100, 1000.0), 500.0)

    assert found.by(delay) == pytest.approx(delay / 100, rel=1e-9)


def test_naive_shares_of_what_has_come_are_short_of_the_law():
    """Why the law is read backwards: among conversions that have come, the quick ones are too many."""
    delay, age = clicks(LAW, 200_000, 4, longest_h=7 * DAY)
    came = ~np.isnan(delay)

    assert (delay[came] <= DAY).mean() > 1.3 * fit_empirical(delay[came], age[came], 7 * DAY).by(np.array([DAY]))[0]


SEEN = Seen(
    age_h=np.array([10.0, 10.0, 30.0, 30.0, 60.0, 60.0, 60.0]),
    delay_h=np.array([5.0, np.nan, 26.0, np.nan, 2.0, 55.0, 25.0]), since_h=40.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "positive", "negative"),
    [
        ("none", [1, 0, 1, 0, 1, 1, 1], [0, 1, 0, 1, 0, 0, 0]),
        ("window", [0, 0, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 1, 1]),
        # a negative if the click is among the last 40 hours, a positive if the conversion is
        ("fnw", [1, 0, 1, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0, 0]),
        # read 24 h after the click: of the two of 10 h not yet, of those of 60 h within the last 40 hours
        ("es_dfm", [0, 0, 1, 0, 1, 1, 1], [0, 0, 1, 1, 0, 1, 1]),
        # and once more, after 48 h, those that are not late: of 60 h the first; 55 h is beyond the window
        ("defer", [0, 0, 0.5, 0, 1, 0, 0.5], [0, 0, 0.5, 0.5, 0, 1, 0.5]),
    ],
)
def test_what_a_method_has_seen_of_clicks(name, positive, negative):
    facts = METHODS[name].facts(SEEN, LAW.by, 24.0, 48.0 if name == "defer" else 1e9)

    assert facts.positive.tolist() == positive
    assert facts.negative.tolist() == negative


def test_a_conversion_beyond_the_window_is_none():
    facts = METHODS["dfm"].facts(SEEN, LAW.by, 0.0, 50.0)

    assert facts.positive.tolist() == [1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("law", ["exponential", "weibull"])
def test_delays_that_cannot_be_are_refused(law):
    with pytest.raises(Unusable, match="delay of conversion 1 is -2 h: a conversion cannot come before its click"):
        fit_dfm(np.array([1.0, -2.0]), np.array([5.0, 5.0]), law=law)
    with pytest.raises(
        Unusable, match="conversion 0 came 9 h after a click that is 5 h old: labels are later than the snapshot"
    ):
        fit_dfm(np.array([9.0, 2.0]), np.array([5.0, 5.0]), law=law)
    with pytest.raises(Unusable, match="none of 2 clicks has one"):
        fit_dfm(np.array([np.nan, np.nan]), np.array([5.0, 5.0]), law=law)


def test_a_law_of_one_conversion_is_refused():
    with pytest.raises(Unusable, match="needs more conversions: 1 have come within 48 h"):
        fit_empirical(np.array([3.0]), np.array([5.0]), 48.0)
