"""A/A studies: does a metric's reading, over many random splits of users who were all treated alike, keep what it promises?

A p-value must be uniform, so one in twenty is below 5%, and a 95% interval must hold 0 in 19 runs of 20.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from marketplace.metrics import METRICS, Metric, Moments, place
from marketplace.resplit import Splits, resplit
from marketplace.stats import Effect, effect
from synth.types import BoolArray, FloatArray

ALPHA = 0.05
LEVEL = 0.999  # of the bands around what is promised: of 1,000 metrics that keep their promise one is outside


class Readings(NamedTuple):
    """A metric read in R splits, (R,) each; NaN where the split gives no reading."""

    lift: FloatArray  # relative
    low: FloatArray  # of the 95% interval of the lift
    high: FloatArray
    p_value: FloatArray


Read = Callable[[Metric, Splits], Readings]


class Study(NamedTuple):
    """What R splits say of a metric. `why` says what is missing where runs have no p-value."""

    metric: str
    runs: int  # that have a p-value
    rejected: int  # with p < 5%
    least: int  # both ends of the band that `rejected` must be in, and the intervals that miss 0
    most: int
    distance: float | None  # Kolmogorov-Smirnov, of the p-values from uniform
    critical: float | None  # that it must not exceed
    coverage: float | None  # share of the 95% intervals that hold 0
    passed: bool | None
    why: str = ""


def read_all(metric: Metric, splits: Splits) -> Readings:
    """All splits at once, the figures of `stats.effect`: two-sided Welch test, ratios by the delta method.

    The p-value is of the difference; the interval is that of the log of treatment over control.
    """
    x, y = place(metric.numerator), place(metric.denominator)
    over, under = splits.mean[:, :, x], splits.mean[:, :, y]
    own, other, shared = splits.cov[:, :, x, x], splits.cov[:, :, y, y], splits.cov[:, :, x, y]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = over / under
        spread = own + ratio**2 * other - 2 * ratio * shared
        varies = (spread > 1e-9 * (own + ratio**2 * other)).any(axis=0)
        read = varies & (under > 0).all(axis=0) & (over != 0).all(axis=0) & (splits.units > 1).all(axis=0)
        error = np.where(read, spread / under**2 / splits.units, np.nan)  # (2, R) squared standard errors
        times = np.where(read, ratio[1] / ratio[0], np.nan)
        _, p_value = _welch(ratio[1] - ratio[0], error, splits)
        half, _ = _welch(np.log(times), error / ratio**2, splits)
    return Readings(times - 1, times / np.exp(half) - 1, times * np.exp(half) - 1, p_value)


def _welch(difference: FloatArray, error: FloatArray, splits: Splits) -> tuple[FloatArray, FloatArray]:
    """Half the 95% interval and the p-value of differences (R,), from squared standard errors by arm (Welch 1947)."""
    whole = error.sum(axis=0)
    freedom = whole**2 / (error**2 / (splits.units - 1)).sum(axis=0)
    scale = np.sqrt(whole)
    return stats.t.isf(ALPHA / 2, freedom) * scale, 2 * stats.t.sf(np.abs(difference) / scale, freedom)


def read_each(
    metric: Metric, splits: Splits, effect: Callable[[Metric, Moments, Moments], Effect] = effect
) -> Readings:
    """Split by split, by any function that reads one, such as `effect` with CUPED; 2,000 splits take seconds."""
    found = [effect(metric, *splits.moments(run)) for run in range(splits.units.shape[1])]
    names = Readings._fields
    return Readings(*np.array([[getattr(e, name) for e in found] for name in names], np.float64))


def aa_study(
    table: FloatArray, metrics: Sequence[Metric] = METRICS, runs: int = 2_000, *, seed: int, share: float = 0.5,
    complete: bool = False, users: FloatArray | None = None, before: FloatArray | None = None, read: Read = read_all,
) -> list[Study]:  # fmt: skip
    """Study every metric over random splits of units that were all treated alike.

    Args:
        table: (n, len(counters.NAMES)) counters of each unit.
        metrics: To study.
        runs: Splits.
        seed: Of the splits.
        share: Of the units in treatment.
        complete: Treat exactly the share of the units; see `resplit`, also for `users` and `before`.
        users: (n,) that a unit stands for.
        before: (n, len(counters.NAMES)) the same counters before the test.
        read: How a metric is read in all splits.

    Returns:
        One per metric.

    Raises:
        ValueError: As `resplit`.
    """
    splits = resplit(table, runs, seed, share=share, complete=complete, users=users, before=before)
    return [study_of(metric, splits, read) for metric in metrics]


def study_of(metric: Metric, splits: Splits, read: Read = read_all) -> Study:
    """What splits say of one metric."""
    found = read(metric, splits)
    missing = np.flatnonzero(np.isnan(found.p_value))
    why = ""
    if len(missing):
        why = effect(metric, *splits.moments(int(missing[0]))).why
        why += f" in {len(missing)} of {len(found.p_value)} runs" if len(missing) < len(found.p_value) else ""
    there = ~np.isnan(found.p_value)
    return judge(metric.name, found.p_value[there], ((found.low <= 0) & (found.high >= 0))[there], why)


def judge(name: str, p_value: FloatArray, covered: BoolArray | None = None, why: str = "") -> Study:
    """Hold p-values, and intervals where there are some, against what they promise where nothing differs.

    The band is the central part, of `LEVEL`, of the binomial distribution: 69 to 133 of 2,000 runs. The critical distance is that
    of Kolmogorov (1933) and Smirnov (1948) at the same level, exact for any number of runs: 0.0435 of 2,000.

    Args:
        name: Of what is studied.
        p_value: (R,) without NaN.
        covered: (R,) the interval holds 0.
        why: What kept other runs from having a p-value.

    Returns:
        `passed` where the rejections and the intervals that miss are in the band and the distance is below the critical one; None
        where there is no p-value.
    """
    runs = len(p_value)
    if runs == 0:
        return Study(name, 0, 0, 0, 0, None, None, None, None, why)
    least, most = (int(end) for end in stats.binom.interval(LEVEL, runs, ALPHA))
    rejected = int((p_value < ALPHA).sum())
    distance = float(stats.kstest(p_value, "uniform").statistic)
    critical = float(stats.kstwo.isf(1 - LEVEL, runs))
    passed = least <= rejected <= most and distance <= critical
    if covered is None:
        return Study(name, runs, rejected, least, most, distance, critical, None, passed, why)
    passed = passed and least <= int((~covered).sum()) <= most
    return Study(name, runs, rejected, least, most, distance, critical, float(covered.mean()), passed, why)


def naive_ratio_p(successes: FloatArray, trials: FloatArray) -> FloatArray:
    """p-value of the two-proportion z-test, which takes every trial for independent of all others.

    It is here to be refuted: of clicks over impressions it rejects far too often, for the impressions of a user are alike.

    Args:
        successes: (2, ...) by arm, such as clicks.
        trials: (2, ...) by arm, such as impressions.

    Returns:
        (...), two-sided, variance pooled; NaN where an arm has no trial, or all trials of both end alike.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, pooled = successes / trials, successes.sum(axis=0) / trials.sum(axis=0)
        z = (rate[1] - rate[0]) / np.sqrt(pooled * (1 - pooled) * (1 / trials).sum(axis=0))
    return 2 * stats.norm.sf(np.abs(z))


def naive_study(metric: Metric, splits: Splits) -> Study:
    """The same study of the same splits, read as if every unit of the denominator were independent."""
    sums = splits.units[:, :, None] * splits.mean
    p_value = naive_ratio_p(sums[:, :, place(metric.numerator)], sums[:, :, place(metric.denominator)])
    there = ~np.isnan(p_value)
    return judge(
        metric.name, p_value[there], why="" if there.all() else f"no {metric.numerator} or no {metric.denominator}"
    )
