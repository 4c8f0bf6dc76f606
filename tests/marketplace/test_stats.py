"""Statistics: hand-worked numbers, scipy as an oracle, and the coverage that an interval promises."""

import numpy as np
import pytest
from counted import active, metric, rows
from scipy import stats

from marketplace.counters import NAMES
from marketplace.metrics import MOMENTS, USERS, Joint, joint_of, moments_by_arm, moments_by_stratum, place, value
from marketplace.stats import (
    SRM_ALARM,
    adjusted,
    effect,
    effect_crossed,
    post_stratified,
    quantile_effect,
    sample_ratio_p,
    strata_of,
    true_lift,
)

CONVERSIONS, CPA, CTR, FILL_RATE = metric("conversions"), metric("CPA"), metric("CTR"), metric("fill_rate")
TESTS = 600  # simulated per promise of coverage
SLACK = 4 * np.sqrt(0.95 * 0.05 / TESTS)  # 4 standard errors of a coverage


def arms(table, arm, **settings):
    return moments_by_arm(table, arm, 1000.0, 2, **settings)


def halves(rng, n):
    return rng.permutation(np.arange(n) % 2)


def covers(read, lift):
    return read.low <= lift <= read.high


def test_a_mean_is_read_by_welchs_test():
    rng = np.random.default_rng(1)
    table, arm = active(rng, 3000), rng.integers(0, 2, 3000)
    x = table[:, NAMES.index("conversions")]
    a, b = x[arm == 0], x[arm == 1]

    read = effect(CONVERSIONS, *arms(table, arm))

    assert read.p_value == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue, rel=1e-9)
    assert read.lift == pytest.approx(b.mean() / a.mean() - 1)
    error = np.sqrt(a.var(ddof=1) / len(a) / a.mean() ** 2 + b.var(ddof=1) / len(b) / b.mean() ** 2)
    assert read.se == pytest.approx(error)
    assert np.log1p([read.low, read.high]) == pytest.approx(
        np.log1p(read.lift) + stats.norm.ppf([0.025, 0.975]) * error, rel=2e-3
    )
    assert read.variance_ratio is None


def test_a_ratio_is_read_by_the_delta_method():
    rng = np.random.default_rng(2)
    table, arm = active(rng, 3000), rng.integers(0, 2, 3000)
    y, x = table[:, NAMES.index("spend_usd")], table[:, NAMES.index("conversions")]

    def ratio(these):
        r = y[these].sum() / x[these].sum()
        return r, np.var(y[these] - r * x[these], ddof=1) / these.sum() / x[these].mean() ** 2

    (a, va), (b, vb) = ratio(arm == 0), ratio(arm == 1)
    read = effect(CPA, *arms(table, arm))

    assert read.p_value == pytest.approx(2 * stats.t.sf(abs(b - a) / np.sqrt(va + vb), 2900), rel=1e-2)
    assert read.se == pytest.approx(np.sqrt(va / a**2 + vb / b**2))


def test_a_metric_over_users_of_blocks_is_a_ratio_of_their_sums():
    rng = np.random.default_rng(3)
    users = rng.integers(50, 150, 60).astype(float)
    arm, x = np.arange(60) % 2, rng.poisson(0.3 * users)
    read = effect(CONVERSIONS, *arms(rows(60, conversions=x), arm, users=users))

    def log_variance(a):
        r = x[arm == a].sum() / users[arm == a].sum()
        return np.var(x[arm == a] - r * users[arm == a], ddof=1) / 30 / x[arm == a].mean() ** 2

    assert read.control == pytest.approx(1000 * x[arm == 0].sum() / users[arm == 0].sum())
    assert read.se == pytest.approx(np.sqrt(log_variance(0) + log_variance(1)))


def test_a_wider_level_gives_a_wider_interval_and_the_same_p_value():
    rng = np.random.default_rng(4)
    both = arms(active(rng, 500), halves(rng, 500))
    at95, at99 = effect(CPA, *both), effect(CPA, *both, level=0.99)

    assert at99.low < at95.low < at95.lift < at95.high < at99.high
    assert at99.p_value == at95.p_value


@pytest.mark.parametrize(("name", "lift"), [("conversions", 0.0), ("conversions", 0.3), ("iCVR", 0.3), ("CPA", 0.0)])
def test_an_interval_covers_a_planted_lift_19_times_in_20(name, lift):
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(TESTS):
        arm = halves(rng, 800)
        covered += covers(effect(metric(name), *arms(active(rng, 800, lift=lift * arm), arm)), lift)

    assert abs(covered / TESTS - 0.95) < SLACK


@pytest.mark.parametrize("name", ["conversions", "iCVR"])
def test_with_cuped_an_interval_covers_a_planted_lift_19_times_in_20(name):
    rng = np.random.default_rng(6)
    covered, spared = 0, []
    for _ in range(TESTS):
        arm, activity = halves(rng, 800), rng.gamma(0.5, 2, 800)
        before, table = (active(rng, 800, lift=lift, activity=activity) for lift in (0.0, 0.3 * arm))
        read = effect(metric(name), *arms(table, arm, before=before), cuped=True)
        covered += covers(read, 0.3)
        spared.append(read.variance_ratio)

    assert abs(covered / TESTS - 0.95) < SLACK
    assert np.mean(spared) < (0.7 if name == "conversions" else 1)


def correlated(rng, n, rho):
    """Conversions before and in the test, of standard deviation 1 around 10."""
    before = rng.normal(size=n)
    return rows(n, conversions=10 + before), rows(
        n, conversions=10 + rho * before + np.sqrt(1 - rho**2) * rng.normal(size=n)
    )


@pytest.mark.parametrize("rho", [0.9, 0.6, -0.6, 0.2])
def test_cuped_leaves_1_minus_rho_squared_of_the_variance(rho):
    n = 20_000
    rng = np.random.default_rng(7)
    before, table = correlated(rng, n, rho)

    read = effect(CONVERSIONS, *arms(table, halves(rng, n), before=before), cuped=True)

    assert read.variance_ratio == pytest.approx(1 - rho**2, abs=4 * 2 * abs(rho) * (1 - rho**2) / np.sqrt(n))


def test_cuped_does_nothing_where_the_past_tells_nothing():
    n = 20_000
    rng = np.random.default_rng(8)
    before, table = correlated(rng, n, 0.0)
    both = arms(table, halves(rng, n), before=before)
    plain, read = effect(CONVERSIONS, *both), effect(CONVERSIONS, *both, cuped=True)

    assert read.variance_ratio == pytest.approx(1, abs=16 / n)  # n (1 - ratio) is a chi-square of 1 degree of freedom
    assert read.lift == pytest.approx(plain.lift, abs=4 * 4 / np.sqrt(n) * plain.se)


def test_cuped_is_welchs_test_of_what_the_past_does_not_explain():
    rng = np.random.default_rng(9)
    before, table = correlated(rng, 400, 0.7)
    arm = halves(rng, 400)
    x, y = (t[:, NAMES.index("conversions")] for t in (before, table))
    left = y - np.cov(x, y)[0, 1] / np.var(x, ddof=1) * (x - x.mean())

    read = effect(CONVERSIONS, *arms(table, arm, before=before), cuped=True)

    assert read.p_value == pytest.approx(
        stats.ttest_ind(left[arm == 1], left[arm == 0], equal_var=False).pvalue, rel=1e-7
    )
    assert (read.control, read.treatment) == pytest.approx((1000 * left[arm == 0].mean(), 1000 * left[arm == 1].mean()))
    assert read.lift == pytest.approx(read.treatment / read.control - 1)


def test_cuped_of_a_ratio_takes_out_the_ratio_before():
    rng = np.random.default_rng(10)
    arm, activity = halves(rng, 2000), rng.gamma(0.5, 2, 2000)
    before, table = active(rng, 2000, activity=activity), active(rng, 2000, activity=activity)

    def linear(t):
        """Each user's part in the ratio's error."""
        y, x = t[:, NAMES.index("clicks")], t[:, NAMES.index("impressions")]
        return np.concatenate(
            [(y - y[arm == a].sum() / x[arm == a].sum() * x)[arm == a] / x[arm == a].mean() for a in (0, 1)]
        )

    old, new = linear(before), linear(table)
    read = effect(CTR, *arms(table, arm, before=before), cuped=True)

    assert read.variance_ratio == pytest.approx(1 - np.corrcoef(old, new)[0, 1] ** 2, rel=0.02)
    assert read.se < effect(CTR, *arms(table, arm)).se


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (None, "nothing counted before the test"),
        (np.nan, "nothing counted before the test"),
        (0.0, "no impressions before the test"),
        (2.0, "does not vary before the test"),
    ],
)
def test_without_a_past_cuped_is_the_plain_reading_and_says_so(column, why):
    rng = np.random.default_rng(11)
    table, arm = active(rng, 200), halves(rng, 200)
    before = None if column is None else rows(200, clicks=column, impressions=column)
    both = arms(table, arm, before=before)

    assert effect(CTR, *both, cuped=True) == effect(CTR, *both)._replace(why=f"{why}: read without CUPED")


def test_a_past_that_is_the_test_itself_gives_no_interval_of_width_0():
    rng = np.random.default_rng(12)
    table, arm = active(rng, 200), halves(rng, 200)
    read = effect(CTR, *arms(table, arm, before=table), cuped=True)

    assert read.low < read.lift < read.high
    assert read.why == "the same before the test as in it: read without CUPED"


def test_an_arm_that_cuped_would_move_below_0_is_read_without_it():
    rng = np.random.default_rng(27)
    past = np.append(rng.normal(10, 1, 200), [15, 15.1])
    now = np.append(
        10 + 3 * (past[:200] - 10) + rng.normal(size=200), [6, 7]
    )  # the two are 15 below what their past says
    both = arms(rows(202, conversions=now), np.repeat([0, 1], [200, 2]), before=rows(202, conversions=past))

    read = effect(CONVERSIONS, *both, cuped=True)

    assert read == effect(CONVERSIONS, *both)._replace(why="0 or below when adjusted: read without CUPED")


def test_a_metric_that_cannot_be_computed_says_why_and_is_neither_0_nor_p_1():
    rng = np.random.default_rng(13)
    read = effect(CPA, *arms(active(rng, 100, lift=-1), halves(rng, 100)))

    assert (read.control, read.lift, read.p_value, read.se) == (None, None, None, None)
    assert read.why == "no conversions in an arm"


def test_a_metric_of_what_a_design_does_not_count_says_so():
    rng = np.random.default_rng(14)
    table = active(rng, 100)
    table[:, NAMES.index("slots")] = np.nan
    both = arms(table, halves(rng, 100))

    assert effect(FILL_RATE, *both)[:7] == (*(None,) * 6, "not counted in this design")
    assert effect(CTR, *both).p_value is not None
    assert (
        effect_crossed(FILL_RATE, joint_of(table[None, None].repeat(2, 1), 1.0), 1, [1.0]).why
        == "not counted in this design"
    )


def test_a_metric_that_is_0_in_treatment_has_a_lift_and_no_interval():
    rng = np.random.default_rng(15)
    table, arm = active(rng, 100), halves(rng, 100)
    table[arm == 1, NAMES.index("conversions")] = 0

    read = effect(CONVERSIONS, *arms(table, arm))

    assert (read.lift, read.low, read.high, read.p_value) == (-1.0, None, None, None)
    assert read.why == "no conversions in treatment"


def test_a_metric_that_does_not_vary_has_no_p_value():
    read = effect(FILL_RATE, *arms(rows(10, slots=4, impressions=4), np.arange(10) % 2))

    assert (read.lift, read.p_value, read.why) == (0.0, None, "does not vary")


# Crook, Frasca, Kohavi & Longbotham (2009): on Friday 1% of the visitors see the treatment, on Saturday half do.
RAMP = np.array(
    [[[990_000, 20_000], [10_000, 230]], [[500_000, 5_000], [500_000, 6_000]]]
)  # (stage, arm, visitors and conversions)


def visitors(cells):
    """Joint moments of visitors who each come in one cell (S, A, 2) alone and convert or not."""
    n = int(cells[..., 0].sum())
    mean = np.zeros((*cells.shape[:2], len(MOMENTS)))
    mean[..., place(USERS)], mean[..., place("conversions")] = cells[..., 0] / n, cells[..., 1] / n
    second = np.zeros((*mean.shape, *mean.shape))
    for s, a in np.ndindex(*cells.shape[:2]):
        for one in ("conversions", USERS):
            for other in ("conversions", USERS):
                both = USERS if one == other == USERS else "conversions"
                second[s, a, place(one), s, a, place(other)] = mean[s, a, place(both)]
    flat = mean.ravel()
    return Joint(n, mean, (second.reshape(len(flat), -1) - np.outer(flat, flat)) * n / (n - 1))


def test_a_ramp_read_within_its_days_is_not_turned_round_by_their_mix():
    pooled = RAMP.sum(axis=0)
    assert pooled[1, 1] / pooled[1, 0] < pooled[0, 1] / pooled[0, 0]  # 1.22% against 1.68%

    read = effect_crossed(CONVERSIONS, visitors(RAMP), 1, [1.0, 1.0])

    friday, saturday = (230 / 10_000) / (20_000 / 990_000), 6_000 / 5_000  # +13.9% and +20%
    assert read.lift == pytest.approx(np.sqrt(friday * saturday) - 1)
    assert read.control == pytest.approx(1000 * np.sqrt(20_000 / 990_000 * 0.01))
    rates = RAMP[..., 1] / RAMP[..., 0]
    assert read.se == pytest.approx(np.sqrt(((1 - rates) / RAMP[..., 1] / 4).sum()), rel=1e-5)
    assert read.p_value == pytest.approx(2 * stats.norm.sf(np.log1p(read.lift) / read.se), rel=1e-9)


def test_a_stage_of_weight_0_is_not_read():
    empty = visitors(np.concatenate([RAMP, [[[10, 3], [0, 0]]]]))

    assert effect_crossed(CONVERSIONS, empty, 1, [0, 2, 0]).lift == pytest.approx(0.2)
    assert effect_crossed(CONVERSIONS, empty, 1, [0, 1, 1]).why == "no users in an arm"


def test_one_stage_of_users_in_one_arm_each_is_read_as_the_plain_test_reads_it():
    rng = np.random.default_rng(16)
    table, arm = active(rng, 4000), halves(rng, 4000)
    plain = effect(CPA, *arms(table, arm))
    crossed = effect_crossed(
        CPA, joint_of(np.where((arm == [[0], [1]])[None, ..., None], table, 0.0), 1000.0), 1, [1.0]
    )

    assert crossed[:3] == pytest.approx(plain[:3])
    assert crossed.se == pytest.approx(plain.se, rel=2e-3)  # n against n - 1 of 2,000
    assert (crossed.low, crossed.high) == pytest.approx((plain.low, plain.high), abs=5e-3 * plain.se)


@pytest.mark.parametrize("weight", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan]])
def test_weights_that_are_not_one_per_stage_are_refused(weight):
    with pytest.raises(ValueError, match="weight must be 2 numbers"):
        effect_crossed(CONVERSIONS, visitors(RAMP), 1, weight)


@pytest.mark.parametrize("arm", [0, 2, -1])
def test_an_arm_that_is_not_there_is_refused(arm):
    with pytest.raises(ValueError, match="arm must be 1 to 1"):
        effect_crossed(CONVERSIONS, visitors(RAMP), arm, [1.0, 1.0])


def ramp(rng, n):
    """Tables (2, 2, n): on the first day a tenth of the users are in treatment and all convert thrice as often."""
    activity = rng.gamma(1, 1, n)
    tables = np.zeros((2, 2, n, len(NAMES)))
    for stage, (share, level) in enumerate([(0.1, 3.0), (0.5, 1.0)]):
        treated = rng.random(n) < share
        came = rng.random(n) < 0.8
        rate = level * activity * np.where(treated, 1.2, 1.0)
        day = rows(n, conversions=rng.poisson(rate)) * came[:, None]
        tables[stage, 0], tables[stage, 1] = day * ~treated[:, None], day * treated[:, None]
    return tables


def test_a_ramp_is_covered_where_its_pooled_reading_is_biased():
    rng = np.random.default_rng(17)
    covered, pooled = 0, []
    for _ in range(TESTS):
        tables = ramp(rng, 1500)
        covered += covers(effect_crossed(CONVERSIONS, joint_of(tables, 1.0), 1, [1.0, 1.0]), 0.2)
        rate = tables[..., NAMES.index("conversions")].sum(axis=(0, 2)) / tables[..., 0].sum(axis=(0, 2))
        pooled.append(np.log(rate[1] / rate[0]))

    assert abs(covered / TESTS - 0.95) < SLACK
    mixed = 1.2 * (0.1 * 3 + 0.5) / 0.6 / ((0.9 * 3 + 0.5) / 1.4)  # what pooling tends to: -30% for a lift of 20%
    assert np.mean(pooled) == pytest.approx(np.log(mixed), abs=4 * np.std(pooled) / np.sqrt(TESTS) + 1 / 900)


def test_sessions_split_within_users_are_covered_and_read_sharper_than_if_users_were_two():
    rng = np.random.default_rng(18)
    covered, sharper = 0, 0
    for _ in range(TESTS):
        activity = rng.gamma(0.5, 2, 600)
        requests = rng.poisson(2 * activity, (2, 600))
        clicks = rng.poisson(requests * activity * np.array([[1.0], [1.2]]))
        tables = np.stack([rows(600, requests=requests[a], impressions=requests[a], clicks=clicks[a]) for a in (0, 1)])
        read = effect_crossed(CTR, joint_of(tables[None], 1.0), 1, [1.0])
        twice = effect(CTR, *arms(tables.reshape(1200, -1), np.repeat([0, 1], 600)))
        covered += covers(read, 0.2)
        sharper += read.se < twice.se

    assert abs(covered / TESTS - 0.95) < SLACK
    assert sharper == TESTS


def test_strata_are_equally_full_where_users_differ_and_keep_equal_users_together():
    activity = np.random.default_rng(19).permutation(np.arange(100.0))

    assert np.bincount(strata_of(activity, 4)).tolist() == [25, 25, 25, 25]
    assert strata_of(np.array([0, 0, 0, 0, 0, 0, 1, 2]), 4).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert strata_of(np.zeros(5), 3).tolist() == [0] * 5


def test_post_stratification_weighs_strata_as_worked_by_hand():
    x = np.array([1, 3, 10, 20, 2, 6, 30, 40, 40, 50], dtype=float)
    arm = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    stratum = np.array([0, 0, 1, 1, 0, 0, 1, 1, 1, 1])
    control, treatment = post_stratified(moments_by_stratum(rows(10, conversions=x), arm, stratum, 1000.0, 2))
    at = place("conversions")

    assert control.mean[at] == pytest.approx(0.4 * 2 + 0.6 * 15)
    assert treatment.mean[at] == pytest.approx(0.4 * 4 + 0.6 * 40)
    assert control.cov[at, at] / control.units == pytest.approx(0.16 * 2 / 2 + 0.36 * 50 / 2)
    assert treatment.cov[at, at] / treatment.units == pytest.approx(0.16 * 8 / 2 + 0.36 * (200 / 3) / 4)


def test_a_stratum_too_small_in_an_arm_is_merged_with_its_neighbour():
    rng = np.random.default_rng(20)
    table, arm, stratum = active(rng, 60), halves(rng, 60), np.repeat([0, 1, 2], 20)
    for lonely, together in ((0, [0, 0, 1]), (1, [0, 0, 1]), (2, [0, 1, 1])):
        rare = np.where(
            (stratum == lonely) & (arm == 1) & (np.arange(60) % 20 != np.argmax(arm[stratum == lonely])), -1, arm
        )
        parts, merged = (
            moments_by_stratum(table, rare, s.astype(np.int32), 1.0, 2) for s in (stratum, np.take(together, stratum))
        )
        assert parts[lonely][1].units < 2
        for a, b in zip(post_stratified(parts), post_stratified(merged), strict=True):
            assert a.units == b.units
            np.testing.assert_allclose(a.mean, b.mean)
            np.testing.assert_allclose(a.cov, b.cov, atol=1e-9)


def test_post_stratified_a_planted_lift_is_covered_19_times_in_20_and_read_sharper():
    rng = np.random.default_rng(21)
    covered, plain, sharper = 0, [], []
    for _ in range(TESTS):
        arm, activity = halves(rng, 800), rng.gamma(0.5, 2, 800)
        table = active(rng, 800, lift=0.3 * arm, activity=activity)
        stratum = strata_of(rng.poisson(5 * activity).astype(float), 8)
        read = effect(CONVERSIONS, *post_stratified(moments_by_stratum(table, arm, stratum, 1000.0, 2)))
        covered += covers(read, 0.3)
        sharper.append(read.se)
        plain.append(effect(CONVERSIONS, *arms(table, arm)).se)

    assert abs(covered / TESTS - 0.95) < SLACK
    assert np.mean(sharper) < 0.9 * np.mean(plain)


def test_a_quantile_is_read_from_its_two_arms_alone():
    rng = np.random.default_rng(22)
    arm, values = np.repeat([0, 1, 2], 2000), rng.lognormal(size=6000)
    values[arm == 2] *= 1.5
    read = quantile_effect(values, arm, 2, 0.9, resamples=200, seed=1)

    a, b = (np.quantile(values[arm == a], 0.9) for a in (0, 2))
    assert (read.control, read.treatment, read.lift) == pytest.approx((a, b, b / a - 1))
    assert 0 < read.low < read.lift < read.high
    assert (read.p_value, read.se) == (None, None)
    assert read == quantile_effect(values, arm, 2, 0.9, resamples=200, seed=1)


def test_the_interval_of_a_quantile_covers_a_planted_lift_19_times_in_20():
    rng = np.random.default_rng(23)
    arm = np.repeat([0, 1], 300)
    covered = sum(
        covers(quantile_effect(rng.lognormal(size=600) * (1 + 0.3 * arm), arm, 1, 0.9, resamples=200, seed=i), 0.3)
        for i in range(TESTS // 2)
    )

    assert abs(covered / (TESTS // 2) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / (TESTS // 2))


def test_a_quantile_of_0_has_no_lift():
    arm = np.repeat([0, 1], 20)
    rare = np.zeros(40)
    rare[17:20] = 5.0

    assert quantile_effect(rare, arm, 1, 0.5, resamples=50, seed=1).why == "the quantile is 0 in control"
    assert quantile_effect(rare, arm, 1, 0.9, resamples=50, seed=1).why == "the quantile is 0 in resamples of control"
    assert quantile_effect(rare[:21], arm[:21], 1, 0.9, resamples=50, seed=1).why == "too few units in an arm"


def test_the_published_sample_ratio_mismatch_raises_the_alarm():
    p = sample_ratio_p([821_588, 815_482], [0.5, 0.5])

    assert p == pytest.approx(1.82e-6, rel=0.01)
    assert p < SRM_ALARM


def test_three_arms_are_held_against_the_shares_asked_for():
    # (40 - 50)^2 / 50 + (30 - 25)^2 / 25 + (30 - 25)^2 / 25 = 4 with 2 degrees of freedom: exp(-4 / 2)
    assert sample_ratio_p([40, 30, 30], [0.5, 0.25, 0.25]) == pytest.approx(np.exp(-2))
    assert sample_ratio_p([400, 300], [4, 3]) == pytest.approx(1)


@pytest.mark.parametrize(("units", "shares"), [([0, 0], [0.5, 0.5]), ([5, 5], [1.0, 0.0]), ([5, 5], [1.0])])
def test_a_split_that_cannot_be_checked_is_refused(units, shares):
    with pytest.raises(ValueError, match="shares"):
        sample_ratio_p(units, shares)


def test_p_values_are_adjusted_as_worked_by_hand():
    given = [0.01, None, 0.04, 0.03, 0.005]

    assert adjusted(given, "holm") == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert adjusted(given, "benjamini_hochberg") == pytest.approx([0.02, None, 0.04, 0.04, 0.02])
    assert adjusted([None, None], "holm") == [None, None]
    assert adjusted([0.6, 0.7], "holm") == [1.0, 1.0]


def test_benjamini_hochberg_is_that_of_scipy():
    p = np.random.default_rng(24).random(40) ** 3

    np.testing.assert_allclose(adjusted(p.tolist(), "benjamini_hochberg"), stats.false_discovery_control(p))


def test_holm_finds_something_in_at_most_one_family_without_effects_in_20():
    p = np.random.default_rng(25).random((1000, 12))
    found = np.mean([min(adjusted(family.tolist(), "holm")) <= 0.05 for family in p])

    assert found == pytest.approx(1 - (1 - 0.05 / 12) ** 12, abs=4 * np.sqrt(0.05 * 0.95 / 1000))


def test_the_true_lift_compares_two_worlds():
    rng = np.random.default_rng(26)
    control, treatment = (arms(active(rng, 500, lift=lift), np.zeros(500, int))[0] for lift in (0.0, 0.2))

    assert true_lift(CONVERSIONS, control, treatment) == pytest.approx(
        value(CONVERSIONS, treatment) / value(CONVERSIONS, control) - 1
    )
