"""Metrics and statistics: hand-worked ratios, scipy as an oracle, and the coverage that an interval promises."""

import numpy as np
import pytest
from scipy import stats

from marketplace.cost import usd_per_million
from marketplace.counters import NAMES
from marketplace.metrics import METRICS, USERS, Metric, moments_by_arm, value
from marketplace.scenario import CostConfig
from marketplace.stats import effect, sample_ratio_p, true_lift

CPA = next(m for m in METRICS if m.name == "CPA")
CONVERSIONS = next(m for m in METRICS if m.name == "conversions")
BUDGET_USE = next(m for m in METRICS if m.name == "budget_use")


def table(rng, n, *, rate=1.0):
    """Users with requests, impressions, clicks that depend on them, conversions and spend."""
    t = np.zeros((n, len(NAMES)))
    t[:, NAMES.index("requests")] = 1 + rng.poisson(2, n)
    t[:, NAMES.index("impressions")] = impressions = rng.poisson(3 * rng.gamma(1, 1, n)) + 1
    t[:, NAMES.index("clicks")] = clicks = rng.binomial(impressions, 0.3)
    t[:, NAMES.index("conversions")] = conversions = rng.binomial(clicks, 0.4 * rate)
    t[:, NAMES.index("spend_usd")] = conversions * rng.gamma(4, 1, n)
    return t


def arms(t, arm, n_arms=2):
    return moments_by_arm(t, arm, 1000.0, n_arms)


def test_a_metric_is_a_ratio_of_sums_not_a_mean_of_ratios():
    t = np.zeros((3, len(NAMES)))
    t[:, NAMES.index("requests")] = 1
    t[:, NAMES.index("spend_usd")] = [1, 2, 9]
    t[:, NAMES.index("conversions")] = [1, 1, 2]
    (only,) = arms(t, np.zeros(3, int), 1)

    assert value(CPA, only) == pytest.approx(12 / 4)
    assert value(CONVERSIONS, only) == pytest.approx(1000 * 4 / 3)


def test_users_who_never_came_are_not_counted():
    t = np.zeros((5, len(NAMES)))
    t[:3, NAMES.index("requests")] = 1
    t[:3, NAMES.index("conversions")] = 2
    (only,) = arms(t, np.zeros(5, int), 1)

    assert only.users == 3
    assert value(CONVERSIONS, only) == pytest.approx(2000)


def test_a_mean_is_read_by_welchs_test():
    rng = np.random.default_rng(1)
    t, arm = table(rng, 3000), rng.integers(0, 2, 3000)
    x = t[:, NAMES.index("conversions")]
    expected = stats.ttest_ind(x[arm == 1], x[arm == 0], equal_var=False)

    read = effect(CONVERSIONS, *arms(t, arm))

    assert read.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert read.lift == pytest.approx(x[arm == 1].mean() / x[arm == 0].mean() - 1)


def test_a_ratio_is_read_by_the_delta_method():
    rng = np.random.default_rng(2)
    t, arm = table(rng, 3000), rng.integers(0, 2, 3000)
    y, x = t[:, NAMES.index("spend_usd")], t[:, NAMES.index("conversions")]

    def ratio(rows):
        r = y[rows].sum() / x[rows].sum()
        return r, np.var(y[rows] - r * x[rows], ddof=1) / rows.sum() / x[rows].mean() ** 2

    (a, va), (b, vb) = ratio(arm == 0), ratio(arm == 1)
    z = (b - a) / np.sqrt(va + vb)

    assert effect(CPA, *arms(t, arm)).p_value == pytest.approx(2 * stats.norm.sf(abs(z)), rel=2e-2)


@pytest.mark.parametrize("metric", [CPA, CONVERSIONS, BUDGET_USE], ids=lambda m: m.name)
def test_intervals_of_a_tests_without_effect_cover_zero_19_times_in_20(metric):
    rng = np.random.default_rng(3)
    n = 600
    covered = 0
    for _ in range(n):
        t = table(rng, 800)
        read = effect(metric, *arms(t, rng.integers(0, 2, 800)))
        covered += read.low <= 0 <= read.high

    assert abs(covered / n - 0.95) < 4 * np.sqrt(0.95 * 0.05 / n)


def test_a_metric_that_cannot_be_computed_says_why_and_is_neither_0_nor_p_1():
    rng = np.random.default_rng(4)
    t, arm = table(rng, 100, rate=0.0), rng.integers(0, 2, 100)

    read = effect(CPA, *arms(t, arm))

    assert (read.control, read.lift, read.p_value) == (None, None, None)
    assert read.why == "no conversions in an arm"


def test_a_metric_that_is_0_in_treatment_has_a_lift_and_no_interval():
    rng = np.random.default_rng(5)
    t, arm = table(rng, 100), rng.integers(0, 2, 100)
    t[arm == 1, NAMES.index("conversions")] = 0

    read = effect(CONVERSIONS, *arms(t, arm))

    assert (read.lift, read.low, read.high, read.p_value) == (-1.0, None, None, None)
    assert read.why == "no conversions in treatment"


def test_a_metric_that_does_not_vary_has_no_p_value():
    t = np.zeros((10, len(NAMES)))
    t[:, NAMES.index("requests")] = 1
    t[:, NAMES.index("slots")] = t[:, NAMES.index("impressions")] = 4
    fill = next(m for m in METRICS if m.name == "fill_rate")

    read = effect(fill, *arms(t, np.arange(10) % 2))

    assert (read.lift, read.p_value, read.why) == (0.0, None, "does not vary")


def test_budget_use_is_spend_over_the_budgets_of_the_arms_active_users():
    t = np.zeros((5, len(NAMES)))
    t[:4, NAMES.index("requests")] = 1
    t[:, NAMES.index("spend_usd")] = [10, 20, 30, 40, 0]
    control, treatment = arms(t, np.array([0, 0, 0, 1, 1]))

    assert value(BUDGET_USE, control) == pytest.approx(60 / 750)
    assert value(BUDGET_USE, treatment) == pytest.approx(40 / 250)


def test_the_published_sample_ratio_mismatch_raises_the_alarm():
    t = np.zeros((2, len(NAMES)))
    t[:, 0] = 1
    control, treatment = arms(t, np.array([0, 1]))
    p = sample_ratio_p(control._replace(users=821_588), treatment._replace(users=815_482), (0.5, 0.5))

    assert p == pytest.approx(1.82e-6, rel=0.01)


def test_the_true_lift_compares_two_worlds():
    rng = np.random.default_rng(5)
    control, treatment = (arms(table(rng, 500, rate=r), np.zeros(500, int), 1)[0] for r in (1.0, 1.2))

    assert true_lift(CONVERSIONS, control, treatment) == pytest.approx(
        value(CONVERSIONS, treatment) / value(CONVERSIONS, control) - 1
    )


def test_every_metric_is_made_of_known_counters_and_named_once():
    known = {*NAMES, USERS, "budget_usd"}
    assert all({m.numerator, m.denominator} <= known for m in METRICS)
    assert len({m.name for m in METRICS}) == len(METRICS)
    assert all(isinstance(m, Metric) and m.unit for m in METRICS)


def test_an_hour_of_one_core_costs_its_share_of_the_host():
    config = CostConfig()

    assert usd_per_million(3600.0, 1_000_000, "cpu", config) == pytest.approx(0.334 / 8)
    assert usd_per_million(3600.0, 1_000_000, "cuda", config) == pytest.approx(3.912 / 4)
    assert usd_per_million(1.0, 1000, "cpu", config) == pytest.approx(1000 * 0.334 / 8 / 3600)
