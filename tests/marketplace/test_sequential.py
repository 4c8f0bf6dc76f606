"""Looking at a test: published tables, Brownian motion simulated, scipy's multivariate normal, and the level that is promised."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from marketplace import sequential
from marketplace.sequential import (
    MSPRT,
    RULES,
    Look,
    crossing_probability,
    fixed,
    mixture_half_width,
    mixture_p_value,
    monitor,
    obrien_fleming,
    pocock,
)

UNEQUAL = np.array([0.07, 0.2, 0.31, 0.8, 1.0])
LEVELS = st.floats(1e-4, 0.9)


@st.composite
def fractions(draw):
    """Up to eight looks, at least a hundredth of the traffic each before they are scaled."""
    share = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
    return np.cumsum(share) / np.sum(share)


def equal(looks):
    return np.arange(1, looks + 1) / looks


def brownian_z(rng, fraction, n, drift=0.0):
    """(n, K) z at each look, of tests whose z at the end has mean `drift`."""
    step = np.diff(fraction, prepend=0.0)
    score = np.cumsum(drift * step + rng.standard_normal((n, len(fraction))) * np.sqrt(step), axis=1)
    return score / np.sqrt(fraction)


def four_errors(share, n):
    return 4 * np.sqrt(share * (1 - share) / n)


def test_the_examples_of_the_module_are_true():
    assert doctest.testmod(sequential) == (0, 9)


@pytest.mark.parametrize(
    ("rule", "looks", "alpha", "published"),
    [
        # as in Jennison & Turnbull (2000), chapter 2
        (pocock, 1, 0.05, 1.960), (pocock, 2, 0.05, 2.178), (pocock, 3, 0.05, 2.289), (pocock, 4, 0.05, 2.361),
        (pocock, 5, 0.05, 2.413), (pocock, 10, 0.05, 2.555), (pocock, 20, 0.05, 2.672), (pocock, 5, 0.01, 2.986),
        (pocock, 5, 0.10, 2.122),
        (obrien_fleming, 1, 0.05, 1.960), (obrien_fleming, 2, 0.05, 1.977), (obrien_fleming, 3, 0.05, 2.004),
        (obrien_fleming, 4, 0.05, 2.024), (obrien_fleming, 5, 0.05, 2.040), (obrien_fleming, 10, 0.05, 2.087),
        (obrien_fleming, 20, 0.05, 2.126), (obrien_fleming, 5, 0.10, 1.751),
    ],
)  # fmt: skip
def test_the_last_critical_value_is_the_one_in_the_tables(rule, looks, alpha, published):
    assert rule(equal(looks), alpha)[-1] == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize(
    ("looks", "published"),
    [(1, 0.050), (2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193), (20, 0.248)],
)
def test_looks_at_1_96_reject_as_often_as_armitage_mcpherson_and_rowe_found(looks, published):
    assert crossing_probability(equal(looks), 1.96) == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize("critical", [1.96, (2.9, 2.5, np.inf, 2.2, 1.9)], ids=["1.96", "falling"])
def test_scipys_multivariate_normal_gives_the_same_crossing_probability(critical):
    low, high = np.minimum.outer(UNEQUAL, UNEQUAL), np.maximum.outer(UNEQUAL, UNEQUAL)
    limit = np.broadcast_to(critical, UNEQUAL.shape)
    inside = stats.multivariate_normal(cov=np.sqrt(low / high), abseps=1e-7, releps=1e-7, maxpts=2_000_000, seed=1).cdf(
        limit, lower_limit=-limit
    )

    assert crossing_probability(UNEQUAL, critical) == pytest.approx(1 - inside, abs=1e-5)


def test_two_looks_cross_as_often_as_a_double_integral_says():
    t, a, b = 0.3, 2.1, 1.7

    def stays(z):
        mean, sd = np.sqrt(t) * z, np.sqrt(1 - t)
        return stats.norm.pdf(z) * (stats.norm.cdf(b, mean, sd) - stats.norm.cdf(-b, mean, sd))

    inside, _ = integrate.quad(stays, -a, a, epsabs=1e-12)

    assert crossing_probability([t, 1], [a, b]) == pytest.approx(1 - inside, abs=1e-9)


@pytest.mark.parametrize(
    "fraction",
    [UNEQUAL, equal(10), equal(100), np.array([0.01, 0.0101, 0.3, 0.3001, 0.9, 1])],
    ids=["unequal", "10", "100", "close"],
)
def test_a_finer_grid_changes_no_probability_by_1e_8(fraction, monkeypatch):
    found = crossing_probability(fraction, 2.2)
    nodes, weights = np.polynomial.legendre.leggauss(16)
    monkeypatch.setattr(sequential, "_NODES", nodes)
    monkeypatch.setattr(sequential, "_WEIGHTS", weights)

    assert found == pytest.approx(crossing_probability(fraction, 2.2), abs=1e-8)


@pytest.mark.parametrize("critical", [1.96, (2.9, 2.5, np.inf, 2.2, 1.9)], ids=["1.96", "falling"])
def test_brownian_motion_crosses_as_often_as_computed_at_unequal_looks(critical):
    n = 200_000
    z = brownian_z(np.random.default_rng(1), UNEQUAL, n)
    computed = crossing_probability(UNEQUAL, critical)

    assert abs((np.abs(z) > critical).any(axis=1).mean() - computed) < four_errors(computed, n)


def test_ten_uncorrected_looks_reject_19_of_100_true_nulls():
    n = 200_000
    z = brownian_z(np.random.default_rng(2), equal(10), n)

    assert abs((np.abs(z) > 1.96).any(axis=1).mean() - 0.1933) < four_errors(0.1933, n)


@pytest.mark.parametrize("fraction", [UNEQUAL, equal(14)], ids=["unequal", "two weeks"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_rejects_1_true_null_in_20(rule, fraction):
    n = 200_000
    z = brownian_z(np.random.default_rng(3), fraction, n)

    assert abs((np.abs(z) > RULES[rule](fraction, 0.05)).any(axis=1).mean() - 0.05) < four_errors(0.05, n)


@pytest.mark.parametrize("rule", RULES)
def test_the_intervals_of_all_looks_hold_a_true_effect_in_95_tests_of_100(rule):
    n, drift = 100_000, 3.0
    z = brownian_z(np.random.default_rng(4), UNEQUAL, n, drift)
    missed = (np.abs(z - drift * np.sqrt(UNEQUAL)) > RULES[rule](UNEQUAL, 0.05)).any(axis=1)

    assert abs(missed.mean() - 0.05) < four_errors(0.05, n)


@pytest.mark.parametrize("rule", RULES)
@given(fraction=fractions(), alpha=LEVELS)
def test_the_probability_of_crossing_is_alpha(rule, fraction, alpha):
    assert crossing_probability(fraction, RULES[rule](fraction, alpha)) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize("rule", RULES)
@given(fraction=fractions(), one=LEVELS, other=LEVELS)
def test_critical_values_fall_as_alpha_grows(rule, fraction, one, other):
    strict, lax = RULES[rule](fraction, min(one, other)), RULES[rule](fraction, max(one, other))

    assert (lax <= strict + 1e-8).all()


@pytest.mark.parametrize("rule", RULES)
@given(fraction=fractions(), alpha=LEVELS)
def test_the_last_critical_value_is_between_one_look_and_bonferroni(rule, fraction, alpha):
    last = RULES[rule](fraction, alpha)[-1]

    assert stats.norm.isf(alpha / 2) - 1e-8 <= last <= stats.norm.isf(alpha / 2 / len(fraction)) + 1e-8


@given(fraction=fractions(), alpha=LEVELS)
def test_obrien_fleming_falls_over_the_looks_as_one_over_the_root_of_information(fraction, alpha):
    critical = obrien_fleming(fraction, alpha)

    assert (np.diff(critical) < 0).all()
    np.testing.assert_allclose(critical * np.sqrt(fraction), critical[-1])


@given(fraction=fractions(), alpha=LEVELS)
def test_pocock_is_the_same_at_every_look_and_ends_above_obrien_fleming(fraction, alpha):
    critical = pocock(fraction, alpha)

    assert (critical == critical[0]).all()
    assert critical[-1] >= obrien_fleming(fraction, alpha)[-1] - 1e-8


@given(fraction=fractions(), alpha=LEVELS)
def test_fixed_is_scipys_normal_quantile_at_the_end_and_infinite_before(fraction, alpha):
    critical = fixed(fraction, alpha)

    assert critical[-1] == pytest.approx(stats.norm.ppf(1 - alpha / 2), abs=1e-9)
    assert np.isposinf(critical[:-1]).all()


@given(fraction=fractions(), critical=st.floats(0.1, 5))
def test_one_look_more_never_lowers_the_probability_of_crossing(fraction, critical):
    fewer = np.full(len(fraction), critical)
    fewer[0] = np.inf if len(fraction) > 1 else critical

    assert crossing_probability(fraction, critical) >= crossing_probability(fraction, fewer) - 1e-8


def test_looks_never_cross_more_often_than_brownian_motion_without_pause():
    x = 2.0
    odd = 2 * np.arange(20) + 1
    stays = 4 / np.pi * np.sum((-1.0) ** np.arange(20) / odd * np.exp(-((odd * np.pi / x) ** 2) / 8))
    found = [crossing_probability(equal(k), x / np.sqrt(equal(k))) for k in (1, 10, 100)]

    assert found[0] < found[1] < found[2] < 1 - stays


def test_the_half_width_is_the_one_worked_by_hand():
    # V = 1, tau^2 = 1: sqrt(2 (2 ln 20 + ln 2)) = sqrt(2 x 6.68461)
    assert mixture_half_width(1.0, 1.0) == pytest.approx(3.656394, abs=1e-6)
    # V = 0.04, tau^2 = 0.01: sqrt(0.04 x 0.05 / 0.01 (2 ln 10 + ln 1.25)) = sqrt(0.2 x 4.82831)
    assert mixture_half_width(0.2, 0.1, alpha=0.1) == pytest.approx(0.982681, abs=1e-6)


@given(z=st.floats(-6, 6), se=st.floats(0.01, 1), tau=st.floats(0.01, 1))
def test_the_p_value_is_one_over_the_mean_likelihood_ratio_of_effects_drawn_from_the_mixture(z, se, tau):
    estimate = z * se
    middle, width = estimate * tau**2 / (se**2 + tau**2), se * tau / np.hypot(se, tau)

    def weighted(theta):
        return stats.norm.pdf(estimate, theta, se) * stats.norm.pdf(theta, 0, tau)

    mixed, _ = integrate.quad(weighted, middle - 12 * width, middle + 12 * width, epsabs=0, points=[middle])
    expected = min(1.0, stats.norm.pdf(estimate, 0, se) / mixed)

    assert mixture_p_value([estimate], [se], tau)[0] == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1), tau=st.floats(0.05, 20), alpha=st.floats(1e-4, 0.5), drift=st.floats(-5, 5))
def test_the_p_value_is_at_most_alpha_exactly_when_an_interval_so_far_leaves_out_0(seed, tau, alpha, drift):
    fraction = equal(30)
    se = 1 / np.sqrt(fraction)
    estimate = brownian_z(np.random.default_rng(seed), fraction, 50, drift) * se
    left_out = np.abs(estimate) > mixture_half_width(se, tau, alpha)
    p = mixture_p_value(estimate, np.broadcast_to(se, estimate.shape), tau)

    np.testing.assert_array_equal(p <= alpha, np.logical_or.accumulate(left_out, axis=1))
    assert ((p > 0) & (p <= 1)).all()


def test_looking_2000_times_stops_at_most_1_true_null_in_20_under_msprt_and_most_of_them_at_1_96():
    n, fraction = 5_000, equal(2_000)
    z = brownian_z(np.random.default_rng(5), fraction, n)
    se = 1 / np.sqrt(2_000 * fraction)
    stopped = (np.abs(z) > mixture_half_width(se, 0.1) / se).any(axis=1).mean()

    assert stopped < 0.05 + four_errors(0.05, n)
    assert (np.abs(z) > 1.96).any(axis=1).mean() > 0.5


def test_msprt_uses_most_of_its_level_when_the_test_is_long():
    n, fraction = 5_000, np.geomspace(1e-6, 1, 2_000)
    z = brownian_z(np.random.default_rng(6), fraction, n)
    se = 1e-3 / np.sqrt(fraction)  # se from 10 tau to a hundredth of it

    stopped = (np.abs(z) > mixture_half_width(se, 0.1) / se).any(axis=1).mean()

    assert 0.05 / 2 < stopped < 0.05 + four_errors(0.05, n)


def test_msprt_finds_an_effect_and_its_intervals_hold_it():
    n, effect, fraction = 5_000, 0.1, equal(2_000)
    se = 1 / np.sqrt(2_000 * fraction)
    estimate = brownian_z(np.random.default_rng(7), fraction, n, effect / se[-1]) * se
    half = mixture_half_width(se, 0.1)

    assert (np.abs(estimate) > half).any(axis=1).mean() > 0.9
    assert (np.abs(estimate - effect) > half).any(axis=1).mean() < 0.05 + four_errors(0.05, n)


@pytest.mark.parametrize(
    ("rule", "power", "false", "days"),
    [
        ("fixed", 0.80, 0.05, 14),
        ("obrien_fleming", 0.78, 0.05, 10.7),
        ("pocock", 0.67, 0.05, 9.6),
        (MSPRT, 0.48, 0.01, 11.5),
    ],
)
def test_the_table_of_the_module_is_true(rule, power, false, days):
    n, fraction = 50_000, equal(14)
    se = 1 / np.sqrt(fraction)
    critical = mixture_half_width(se, 3.0) / se if rule == MSPRT else RULES[rule](fraction, 0.05)
    rng = np.random.default_rng(8)
    none, some = (np.abs(brownian_z(rng, fraction, n, drift)) > critical for drift in (0.0, 2.8))
    day = np.where(some.any(axis=1), some.argmax(axis=1) + 1, 14)

    # the table is rounded to a hundredth and a tenth
    assert abs(some.any(axis=1).mean() - power) < 0.005 + four_errors(power, n)
    assert abs(none.any(axis=1).mean() - false) < 0.005 + four_errors(false, n)
    assert abs(day.mean() - days) < 0.05 + 4 * day.std() / np.sqrt(n)


def test_no_interval_of_msprt_is_shorter_than_3_035_standard_errors_and_035_tau_has_it():
    se = np.geomspace(1e-3, 1e3, 2_001)
    multiple = mixture_half_width(se, 1.0) / se

    assert multiple.min() == pytest.approx(3.035, abs=1e-3)
    assert se[multiple.argmin()] == pytest.approx(0.35, abs=0.01)


def test_monitor_gives_estimate_plus_or_minus_critical_times_standard_error():
    look = monitor("obrien_fleming", [0.3, 0.2, 0.2], [0.1, 0.05, 0.04], [0.25, 0.5, 1], tau=0.1)
    c = obrien_fleming([0.25, 0.5, 1])

    assert isinstance(look, Look)
    np.testing.assert_allclose(look.low, [0.3 - 0.1 * c[0], 0.2 - 0.05 * c[1], 0.2 - 0.04 * c[2]])
    np.testing.assert_allclose(look.high, [0.3 + 0.1 * c[0], 0.2 + 0.05 * c[1], 0.2 + 0.04 * c[2]])
    assert look.stopped == 1  # z is 3, 4, 5 against 4.0, 2.8, 2.0


def test_monitor_under_msprt_stops_where_the_p_value_reaches_alpha():
    day = np.arange(1, 31)
    estimate, se = np.full(30, -0.02), 0.03 / np.sqrt(day)
    p = mixture_p_value(estimate, se, 0.02)
    look = monitor(MSPRT, estimate, se, [1.0], 0.02)

    assert look.stopped == int((p <= 0.05).argmax()) > 0
    np.testing.assert_allclose((look.high - look.low) / 2, mixture_half_width(se, 0.02))


def test_a_test_of_fixed_length_says_nothing_before_its_end():
    look = monitor("fixed", [9.0, 9.0, 2.0], [1.0, 1.0, 1.0], [0.2, 0.5, 1], 1.0)

    np.testing.assert_allclose(look.low, [-np.inf, -np.inf, 2 - 1.959964], rtol=1e-5)
    np.testing.assert_allclose(look.high, [np.inf, np.inf, 2 + 1.959964], rtol=1e-5)
    assert look.stopped == 2


@pytest.mark.parametrize("rule", [*RULES, MSPRT])
def test_a_test_that_never_leaves_out_0_never_stops(rule):
    assert monitor(rule, [0.1, -0.1, 0.1], [1.0, 0.5, 0.3], [0.3, 0.6, 1], 1.0).stopped == -1


@pytest.mark.parametrize("rule", [*RULES, MSPRT])
@pytest.mark.parametrize("missing", [(np.nan, np.nan), (np.nan, 1.0), (0.5, np.nan)])
def test_a_look_without_an_estimate_decides_nothing_and_changes_no_other(rule, missing):
    whole = monitor(rule, [0.5, 3.0, 9.0], [1.0, 0.9, 0.8], [0.1, 0.6, 1], 1.0)
    look = monitor(rule, [missing[0], 3.0, 9.0], [missing[1], 0.9, 0.8], [0.1, 0.6, 1], 1.0)

    assert np.isnan([look.low[0], look.high[0]]).all()
    np.testing.assert_array_equal(look.low[1:], whole.low[1:])
    assert look.stopped == whole.stopped > 0
    assert monitor(rule, [np.nan] * 3, [np.nan] * 3, [0.1, 0.6, 1], 1.0).stopped == -1


def test_a_look_without_an_estimate_leaves_the_always_valid_p_value_where_it_was():
    p = mixture_p_value([np.nan, 2.0, np.nan, 0.0], [np.nan, 0.5, np.nan, 0.3], 1.0)

    assert p[0] == 1
    assert p[1] < 1
    assert (p[1:] == p[1]).all()


@pytest.mark.parametrize("rule", [*RULES.values(), lambda t, alpha=0.05: crossing_probability(t, 2.0)])
@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        ([], r"fraction has shape \(0,\), it must be \(K,\) with at least one look"),
        (1.0, r"fraction has shape \(\), it must be"),
        ([0.0, 1.0], r"fraction\[0\] is 0.0, it must be finite and > 0"),
        ([np.nan, 1.0], r"fraction\[0\] is nan, it must be finite and > 0"),
        ([0.5, np.inf], r"fraction\[1\] is inf, it must be finite and > 0"),
        ([0.5, 0.5, 1.0], r"fraction\[1\] is 0.5, it must be above the one before by 0.0001 of itself or more"),
        ([0.6, 0.5, 1.0], r"fraction\[1\] is 0.5, it must be above the one before"),
        ([0.5, 0.9], r"fraction ends at 0.9, it must end at 1"),
    ],
)
def test_fractions_that_do_not_rise_to_1_are_refused(rule, fraction, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        rule(fraction)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, np.nan])
def test_an_alpha_outside_0_to_1_is_refused(alpha):
    for rule in RULES:
        with pytest.raises(ValueError, match=r"^alpha is .*, it must be > 0 and < 1$"):
            RULES[rule]([0.5, 1.0], alpha)
    with pytest.raises(ValueError, match=r"^alpha is .*, it must be > 0 and < 1$"):
        mixture_half_width(1.0, 1.0, alpha)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.inf])
def test_a_standard_error_or_a_tau_that_is_not_positive_is_refused(wrong):
    for rule in (*RULES, MSPRT):
        with pytest.raises(ValueError, match=r"^se\[1\] is .*, it must be finite and > 0, or NaN where there is none$"):
            monitor(rule, [1.0, 1.0], [1.0, wrong], [0.5, 1], 1.0)
    with pytest.raises(ValueError, match=r"^tau is .*, it must be finite and > 0$"):
        mixture_half_width([1.0], wrong)
    with pytest.raises(ValueError, match=r"^tau is .*, it must be finite and > 0$"):
        mixture_p_value([1.0], [1.0], wrong)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: monitor("bayes", [1.0], [1.0], [1.0], 1.0), "rule is 'bayes', it must be one of fixed, pocock, obri"),
        (
            lambda: monitor("fixed", [1.0], [1.0], [0.5, 1.0], 1.0),
            "estimate has 1 looks, it must have one per fraction, 2",
        ),
        (lambda: monitor("fixed", [1.0], [1.0, 1.0], [1.0], 1.0), "se has shape"),
        (lambda: monitor(MSPRT, [[1.0]], [[1.0]], [1.0], 1.0), "estimate has shape"),
        (lambda: monitor(MSPRT, [], [], [1.0], 1.0), "estimate has shape"),
        (lambda: monitor(MSPRT, [-np.inf], [1.0], [1.0], 1.0), "estimate.0. is -inf, it must be finite, or NaN"),
        (lambda: crossing_probability([0.5, 1], [2.0]), "critical has shape"),
        (lambda: crossing_probability([0.5, 1], [2.0, 0.0]), "critical.1. is 0.0, it must be > 0"),
        (lambda: crossing_probability([0.5, 1], np.nan), "critical is nan, it must be > 0"),
    ],
)
def test_other_bad_input_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=f"^{words}") as refused:
        call()
    assert "\n" not in str(refused.value)
