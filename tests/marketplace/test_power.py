"""Power: closed forms worked by hand, and the share of simulated tests that find what they were said to find."""

import numpy as np
import pytest
import tea_tasting as tt
from counted import active, metric, rows
from scipy.stats import norm
from tea_tasting.aggr import Aggregates

from marketplace.counters import NAMES
from marketplace.metrics import MOMENTS, USERS, Moments, moments_by_arm, place
from marketplace.power import minimum_effect, units_needed
from marketplace.stats import effect

CONVERSIONS, CTR = metric("conversions"), metric("CTR")
TESTS = 1000


def logged(n, *, sigma=1.0, rho=None):
    """Moments of n users whose conversions have mean 10; with rho, correlated with those before."""
    m = len(MOMENTS)
    mean, cov = np.zeros(2 * m), np.zeros((2 * m, 2 * m))
    at = place("conversions")
    for half in (0, m):
        mean[half + at], mean[half + place(USERS)], cov[half + at, half + at] = 10.0, 1.0, sigma**2
    cov[at, m + at] = cov[m + at, at] = (rho or 0.0) * sigma**2
    return Moments(n, mean, cov) if rho is not None else Moments(n, mean[:m], cov[:m, :m])


def z(p):
    return norm.ppf(p)


def test_the_minimum_effect_is_that_of_the_closed_form():
    by_hand = (1.959964 + 0.841621) * 2.0 * np.sqrt(1 / 50_000 + 1 / 50_000) / 10  # 0.354%

    assert minimum_effect(CONVERSIONS, logged(100_000, sigma=2.0)) == pytest.approx(by_hand, rel=1e-4)


def test_unequal_shares_power_and_alpha_enter_as_in_the_closed_form():
    found = minimum_effect(CONVERSIONS, logged(100_000), (0.6, 0.1), units=200_000, power=0.9, alpha=0.01)

    assert found == pytest.approx((z(0.995) + z(0.9)) * np.sqrt(1 / 120_000 + 1 / 20_000) / 10, rel=3e-4)


@pytest.mark.parametrize("n", [20, 100, 5000])
def test_few_units_take_the_t_distribution_as_tea_tasting_does(n):
    users = Aggregates(count_=n, mean_={"x": 10.0}, var_={"x": 1.0})
    (oracle,) = tt.Mean("x").solve_power_from_aggregates(users, "rel_effect_size")

    assert minimum_effect(CONVERSIONS, logged(n)) == pytest.approx(oracle.rel_effect_size, rel=3e-3)


def test_sixteen_variances_over_the_squared_effect_are_needed_per_arm():
    """Lehr's rule: 16 (rather 15.7) sigma^2 / delta^2 in each arm."""
    found = units_needed(CONVERSIONS, logged(1000), 0.01)

    assert found / 2 == pytest.approx((z(0.975) + z(0.8)) ** 2 * 2 / 0.1**2, rel=2e-3)


@pytest.mark.parametrize("cuped", [False, True])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.3, 0.2)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_units_needed_for_the_minimum_effect_are_those_it_was_of(shares, sign, cuped):
    moments = logged(5000, rho=0.5)
    least = minimum_effect(CONVERSIONS, moments, shares, units=8000, cuped=cuped)

    assert units_needed(CONVERSIONS, moments, sign * least, shares, cuped=cuped) == pytest.approx(8000, abs=1)


def test_with_cuped_the_minimum_effect_shrinks_by_the_root_of_1_minus_rho_squared():
    moments = logged(10_000, rho=0.8)

    assert minimum_effect(CONVERSIONS, moments, cuped=True) == pytest.approx(0.6 * minimum_effect(CONVERSIONS, moments))


def test_a_ratio_has_the_minimum_effect_of_its_delta_variance():
    table = active(np.random.default_rng(0), 20_000)
    (log,) = moments_by_arm(table, np.zeros(20_000, int), 1.0, 1)
    y, x = table[:, NAMES.index("clicks")], table[:, NAMES.index("impressions")]
    sigma = np.std(y - y.sum() / x.sum() * x, ddof=1) / y.mean()

    assert minimum_effect(CTR, log) == pytest.approx((z(0.975) + z(0.8)) * sigma * np.sqrt(2 / 10_000), rel=1e-3)


@pytest.mark.parametrize(("shares", "rho"), [((0.75, 0.25), None), ((0.5, 0.5), 0.8)])
def test_tests_at_the_minimum_effect_find_it_4_times_in_5(shares, rho):
    """Read as a test is read, by `effect`, from draws of the users' conversions before and in the test."""
    rng = np.random.default_rng(1)
    n = 200
    least = minimum_effect(CONVERSIONS, logged(n, rho=rho), shares, cuped=rho is not None)
    arm = (np.arange(n) >= shares[0] * n).astype(int)
    old = rng.normal(size=(TESTS, n))
    new = 10 + (rho or 0) * old + np.sqrt(1 - (rho or 0) ** 2) * rng.normal(size=(TESTS, n)) + 10 * least * arm
    found = 0
    for x, y in zip(10 + old, new, strict=True):
        before = None if rho is None else rows(n, conversions=x)
        arms = moments_by_arm(rows(n, conversions=y), arm, 1.0, 2, before=before)
        found += effect(CONVERSIONS, *arms, cuped=rho is not None).p_value < 0.05

    assert abs(found / TESTS - 0.8) < 4 * np.sqrt(0.8 * 0.2 / TESTS)


def test_a_metric_that_cannot_be_read_has_no_power():
    flat, absent = logged(100, sigma=0.0), logged(100)
    absent.mean[place("conversions")] = np.nan

    assert minimum_effect(CONVERSIONS, flat) is minimum_effect(CONVERSIONS, absent) is None
    assert minimum_effect(CTR, logged(100)) is units_needed(CTR, logged(100), 0.1) is None
    assert (
        minimum_effect(CONVERSIONS, logged(100), cuped=True)
        is units_needed(CONVERSIONS, logged(9), 1, cuped=True)
        is None
    )
    assert minimum_effect(CONVERSIONS, logged(100), (0.9, 0.01)) is None


@pytest.mark.parametrize("shares", [(0.5, 0.0), (-0.5, 0.5), (0.8, 0.4)])
def test_shares_that_cannot_be_are_refused(shares):
    with pytest.raises(ValueError, match="shares must be above 0"):
        minimum_effect(CONVERSIONS, logged(100), shares)
    with pytest.raises(ValueError, match="lift must not be 0"):
        units_needed(CONVERSIONS, logged(100), 0.0)
