"""A/A studies: p-values are uniform, intervals hold the truth, and the test that takes impressions for independent fails."""

import numpy as np
import pytest
from scipy import stats

from marketplace.aa import aa_study, judge, naive_ratio_p, naive_study, read_all, read_each, study_of
from marketplace.counters import NAMES
from marketplace.metrics import BUDGET, METRICS, USERS
from marketplace.resplit import Splits, resplit

BY_NAME = {metric.name: metric for metric in METRICS}
RUNS = 2_000
COUNTED = {
    "requests", "scored", "slots", "impressions", "clicks", "long_clicks", "hides", "conversions", "click_conversions", "orders",
    "spend_usd", "value_usd", "gmv_usd", "expected_clicks", "expected_conversions", "cuisines", "organic_orders", "all_gmv_usd",
}  # fmt: skip
STUDIED = [metric for metric in METRICS if {metric.numerator, metric.denominator} <= COUNTED | {USERS, BUDGET}]


def counters(**columns):
    """A table of the counters that are named; the others are 0."""
    table = np.zeros((len(next(iter(columns.values()))), len(NAMES)))
    for name, column in columns.items():
        table[:, NAMES.index(name)] = column
    return table


def sums(values, counts):
    """Of each user's `counts` next values."""
    return np.diff(np.concatenate([[0.0], np.cumsum(values)])[np.concatenate([[0], np.cumsum(counts)])])


def crowd(seed, n, *, sigma=1.0):
    """Users of very unequal activity and tastes, whose orders have lognormal values."""
    rng = np.random.default_rng(seed)
    requests = 1 + rng.poisson(rng.gamma(0.5, 6, n))
    impressions = rng.binomial(3 * requests, rng.beta(20, 3, n))
    clicks = rng.binomial(impressions, rng.beta(1, 9, n))
    orders, organic = rng.binomial(clicks, 0.25), rng.binomial(requests, 0.1)
    gmv, other = (sums(rng.lognormal(3, sigma, k.sum()), k) for k in (orders, organic))
    return counters(
        requests=requests, scored=20 * requests - rng.binomial(requests, 0.3), slots=3 * requests, impressions=impressions,
        clicks=clicks, long_clicks=rng.binomial(clicks, 0.5), hides=rng.binomial(impressions - clicks, 0.03),
        conversions=orders, click_conversions=orders, orders=orders, spend_usd=0.3 * clicks + 0.1 * gmv, value_usd=gmv,
        gmv_usd=gmv, expected_clicks=0.1 * impressions, expected_conversions=0.025 * impressions,
        cuisines=np.minimum(impressions, rng.integers(1, 9, n)), organic_orders=organic, all_gmv_usd=gmv + other,
    )  # fmt: skip


def treated(table, seed):
    """The same users under a treatment that raises some counters and thins others; the units that came are the same."""
    rng, out = np.random.default_rng(seed), table.copy()
    for name, factor in (("value_usd", 1.2), ("gmv_usd", 1.15), ("spend_usd", 0.9), ("expected_clicks", 1.1)):
        out[:, NAMES.index(name)] *= factor
    for name, kept in (("conversions", 0.9), ("clicks", 0.95), ("organic_orders", 0.95), ("hides", 0.9)):
        column = NAMES.index(name)
        out[:, column] = rng.binomial(table[:, column].astype(int), kept)
    return out


@pytest.fixture(scope="module")
def users():
    return crowd(1, 5_000)


@pytest.fixture(scope="module")
def splits(users):
    return resplit(users, RUNS, 11)


@pytest.fixture(scope="module")
def other(users):
    return treated(users, 2)


@pytest.fixture(scope="module")
def tests(splits, other):
    """Control is read as users are, treatment as they would be: tables of the same users are split alike."""
    return Splits(*(np.stack([c[0], t[1]]) for c, t in zip(splits, resplit(other, RUNS, 11), strict=True)))


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_all_splits_at_once_read_what_effect_reads_one_by_one_also_where_it_reads_nothing(metric):
    rare = crowd(3, 400)
    rare[:, [NAMES.index("conversions"), NAMES.index("hides")]] = np.arange(400)[:, None] < (3, 6)  # none in some arms
    splits = resplit(rare, 60, 5, share=0.3)
    found, expected = read_all(metric, splits), read_each(metric, splits)
    known = ~np.isnan(expected.p_value)

    assert metric.numerator not in ("conversions", "hides") or 0 < known.sum() < 60
    for ours, theirs in zip(found, expected, strict=True):
        assert np.isnan(ours[~known]).all()
        np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-9, atol=1e-12)


def test_a_study_reads_alike_at_once_and_one_by_one(users):
    few = resplit(users[:300], 100, 2)

    for name in ("CPA", "GMV", "fill_rate", "scored"):
        one, all_at_once = study_of(BY_NAME[name], few, read_each), study_of(BY_NAME[name], few)
        assert one[:5] == all_at_once[:5] and one[7:] == all_at_once[7:]
        assert one.distance == pytest.approx(all_at_once.distance, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_arms_of_unequal_users_are_told_apart_in_5_of_100_runs_by_every_metric(seed):
    for row in aa_study(crowd(seed, 5_000), STUDIED, RUNS, seed=seed):
        assert row.passed, row
        assert row.runs == RUNS and row.why == ""


def test_the_band_of_2_000_runs_is_69_to_133_and_the_critical_distance_0_0435():
    row = judge("uniform", (np.arange(RUNS) + 0.5) / RUNS)

    assert (row.least, row.most) == (69, 133)
    assert row.critical == pytest.approx(0.0435, abs=5e-5)
    assert row.rejected == 100
    assert row.distance == pytest.approx(0.5 / RUNS)
    assert row.passed


@pytest.mark.parametrize("runs", [100, 777, 2_000, 10_000])
def test_the_band_is_the_least_that_999_of_1_000_studies_are_inside(runs):
    row = judge("any", np.full(runs, 0.5))
    inside = stats.binom(runs, 0.05).cdf

    assert inside(row.least - 1) <= 0.0005 < inside(row.least)
    assert 1 - inside(row.most) <= 0.0005 < 1 - inside(row.most - 1)


@pytest.mark.parametrize("rejected, passed", [(68, False), (69, True), (133, True), (134, False)])
def test_rejections_pass_inside_the_band_and_no_further(rejected, passed):
    p = np.concatenate([np.linspace(0.0001, 0.0499, rejected), np.linspace(0.0501, 1, RUNS - rejected)])

    assert judge("rejections", p).passed is passed


def test_p_values_that_reject_as_often_as_they_should_and_are_not_uniform_fail():
    p = np.concatenate([np.linspace(0, 0.0499, 100), np.linspace(0.3, 1, RUNS - 100)])
    row = judge("gap", p)

    assert row.rejected == 100
    assert row.distance == pytest.approx(0.25, abs=0.001)  # just below 0.3 a share of 0.05 has come
    assert row.passed is False


def test_intervals_that_miss_too_often_fail_though_p_values_are_uniform():
    p, covered = (np.arange(RUNS) + 0.5) / RUNS, np.arange(RUNS) >= 134

    assert judge("intervals", p, covered).passed is False
    assert judge("intervals", p, covered).coverage == pytest.approx(1 - 134 / RUNS)
    assert judge("intervals", p, np.arange(RUNS) >= 133).passed is True


def test_the_test_of_clicks_over_impressions_that_knows_no_users_fails_the_same_study(splits):
    ctr = BY_NAME["CTR"]

    assert study_of(ctr, splits).passed
    assert not naive_study(ctr, splits).passed
    assert naive_study(ctr, splits).rejected > 2 * naive_study(ctr, splits).most


def test_the_naive_test_holds_where_impressions_are_independent():
    """Each user has one impression; then it is the delta method's equal."""
    n = 5_000
    ones, clicks = np.ones(n), np.random.default_rng(6).random(n) < 0.1
    splits = resplit(counters(requests=ones, impressions=ones, clicks=clicks), RUNS, 3)
    naive, ours = naive_study(BY_NAME["CTR"], splits), study_of(BY_NAME["CTR"], splits)

    assert naive.passed and ours.passed
    assert abs(naive.rejected - ours.rejected) <= 5


def test_the_naive_p_value_is_that_of_a_two_by_two_table_without_continuity_correction():
    clicks, impressions = np.array([[30.0, 10.0], [52.0, 10.0]]), np.array([[400.0, 100.0], [450.0, 90.0]])
    for i, p in enumerate(naive_ratio_p(clicks, impressions)):
        cells = np.array([clicks[:, i], impressions[:, i] - clicks[:, i]])
        assert p == pytest.approx(stats.chi2_contingency(cells, correction=False).pvalue, rel=1e-9)


def test_the_naive_test_of_nothing_has_no_p_value():
    assert np.isnan(naive_ratio_p(np.array([0.0, 5.0]), np.array([0.0, 50.0])))
    assert np.isnan(naive_ratio_p(np.array([0.0, 0.0]), np.array([40.0, 50.0])))


@pytest.mark.parametrize("metric", STUDIED, ids=lambda m: m.name)
def test_intervals_hold_a_planted_lift_in_95_of_100_tests(users, other, tests, metric):
    def whole(table):
        over, under = (
            table[:, NAMES.index(n)].sum() if n in NAMES else 1.0 for n in (metric.numerator, metric.denominator)
        )
        return over / under  # the users, and the budgets, of both worlds are equal

    lift = whole(other) / whole(users) - 1
    read = read_all(metric, tests)

    assert 0.935 <= ((read.low <= lift) & (lift <= read.high)).mean() <= 0.965


def test_one_order_that_outweighs_all_others_keeps_every_p_value_at_0_32_and_fails_the_study():
    """Its arm's mean is v / n with standard error v / n: z is 1 whichever arm it is in."""
    gmv = np.random.default_rng(1).random(5_000)
    gmv[70] = 1e7
    table = counters(requests=np.ones(5_000), gmv_usd=gmv)
    (row,) = aa_study(table, [BY_NAME["GMV"]], RUNS, seed=1)

    assert row.rejected == 0 and row.passed is False
    assert row.distance == pytest.approx(2 * stats.norm.cdf(1) - 1, abs=0.01)


def test_a_metric_of_very_rare_events_fails_for_its_p_values_are_few():
    """Six users hide an ad once: an arm has 1 to 5 of them, so there are few p-values, far from uniform."""
    table = counters(requests=np.ones(2_000), impressions=np.full(2_000, 5.0), hides=np.arange(2_000) < 6)
    (row,) = aa_study(table, [BY_NAME["hide_rate"]], RUNS, seed=1)

    assert row.passed is False
    assert row.distance > 2 * row.critical
    assert row.why.startswith("no hides in ")
    assert row.runs + int(row.why.split()[-4]) == RUNS


def test_few_blocks_of_many_users_are_studied_with_exactly_half_of_them_treated():
    """28 days of a switchback: 40 million ways to halve them."""
    rng = np.random.default_rng(4)
    users = rng.poisson(500, 28).astype(float)
    clicks, impressions = rng.poisson(users), rng.poisson(10 * users)
    table = counters(requests=users, clicks=clicks, impressions=impressions)
    (row,) = aa_study(table, [BY_NAME["CTR"]], RUNS, seed=3, complete=True, users=users)

    assert row.passed, row


def test_a_metric_without_p_values_says_why():
    impressions = np.random.default_rng(1).poisson(9, 100) + 1.0
    table = counters(requests=np.ones(100), impressions=impressions, slots=impressions, spend_usd=0.3 * impressions)
    rows = {row.metric: row for row in aa_study(table, runs=50, seed=1)}

    assert (rows["fill_rate"].runs, rows["fill_rate"].passed, rows["fill_rate"].why) == (0, None, "does not vary")
    assert rows["CPM"].why == "does not vary"  # beyond rounding
    assert rows["CTR"].why == "no clicks in control"
    assert rows["CPA"].why == "no conversions in an arm"
    assert rows["CTR"].distance is rows["CTR"].coverage is None
