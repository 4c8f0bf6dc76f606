"""Statistics: from moments per arm to effects with intervals."""

import warnings
from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import tea_tasting as tt
from scipy.stats import DegenerateDataWarning, chisquare, norm
from tea_tasting.aggr import Aggregates
from tea_tasting.experiment import ExperimentResult

from marketplace.metrics import MOMENTS, Joint, Metric, Moments, counted, place, value
from synth.types import FloatArray, IdArray

SRM_ALARM = 0.0005
NOT_COUNTED = "not counted in this design"
_SOME = 1e-9  # of a variance: less is rounding
_CELLS = 10_000_000  # numbers that the bootstrap holds at a time


class Effect(NamedTuple):
    """A metric read in two arms. `why` says what is missing where a figure is None, or why it was read without CUPED."""

    control: float | None
    treatment: float | None
    lift: float | None  # relative
    low: float | None  # of the interval of the lift
    high: float | None
    p_value: float | None
    why: str = ""
    se: float | None = None  # standard error of the log of treatment over control
    variance_ratio: float | None = None  # with CUPED over without; None without


def effect(metric: Metric, control: Moments, treatment: Moments, *, cuped: bool = False, level: float = 0.95) -> Effect:
    """Relative difference, two-sided Welch test; a ratio by the delta method at the level of units.

    Args:
        metric: What is read.
        control: Moments of the arm that is compared with.
        treatment: Moments of the other arm.
        cuped: Take out what the same metric of the same units before the test explains. The arms' values are then the
            adjusted ones. Where nothing was counted before, or it does not vary, the plain reading stands and `why` says so.
        level: Of the interval.

    References:
        Deng, Xu, Kohavi & Walker (2013), Improving the sensitivity of online controlled experiments by utilizing
        pre-experiment data. Deng, Knoblich & Lu (2018), Applying the delta method in metric analytics.
    """
    before, after = value(metric, control), value(metric, treatment)

    def missing(why: str, lift: float | None = None) -> Effect:
        return Effect(before, after, lift, None, None, None, why)

    if not (counted(metric, control) and counted(metric, treatment)):
        return missing(NOT_COUNTED)
    if before is None or after is None:
        return missing(f"no {metric.denominator} in an arm")
    if before == 0:
        return missing(f"no {metric.numerator} in control")
    lift = after / before - 1
    if after == 0:
        return missing(f"no {metric.numerator} in treatment", lift)
    if min(control.units, treatment.units) < 2:
        return missing("too few units in an arm", lift)
    if not (varies(metric, control) or varies(metric, treatment)):
        return missing("does not vary", lift)
    if not cuped:
        return _analysed(metric, control, treatment, cuped=False, level=level)
    why = no_covariate(metric, (control, treatment))
    if not why:
        found = _analysed(metric, control, treatment, cuped=True, level=level)
        if min(found.control or 0.0, found.treatment or 0.0) > 0:
            return found
        why = "0 or below when adjusted"
    plain = _analysed(metric, control, treatment, cuped=False, level=level)
    return plain._replace(why=f"{why}: read without CUPED")


def _analysed(metric: Metric, control: Moments, treatment: Moments, *, cuped: bool, level: float) -> Effect:
    """By tea-tasting. A metric over users is a ratio too: units of one user each have a denominator that is 1 throughout."""
    arms = control, treatment
    past = ("x_before", "y_before") if cuped else ()
    test = tt.RatioOfMeans("x", "y", *past, confidence_level=level)
    found = test.analyze({i: _aggregates(metric, moments, cuped=cuped) for i, moments in enumerate(arms)}, 0, 1)
    plain, left = (
        np.array(variances(metric, arms, cuped=with_past)) / [control.units, treatment.units]
        for with_past in (False, cuped)
    )
    return Effect(
        metric.scale * found.control, metric.scale * found.treatment, float(found.rel_effect_size),
        float(found.rel_effect_size_ci_lower), float(found.rel_effect_size_ci_upper), float(found.pvalue),
        se=float(np.sqrt((left / np.square([found.control, found.treatment])).sum())),
        variance_ratio=float(left.sum() / plain.sum()) if cuped else None,
    )  # fmt: skip


def variances(metric: Metric, arms: Sequence[Moments], *, cuped: bool) -> list[float]:
    """Variance of one unit's part in each arm's metric, before its scale, by the delta method.

    With CUPED it is what is left after taking out the metric before the test, with one slope for all arms.
    """
    found = [_aggregates(metric, moments, cuped=cuped) for moments in arms]
    if not cuped:
        return [float(arm.ratio_var("x", "y")) for arm in found]
    all_units = reduce(Aggregates.__add__, found)
    slope = all_units.ratio_cov("x", "y", "x_before", "y_before") / all_units.ratio_var("x_before", "y_before")
    return [
        float(
            arm.ratio_var("x", "y")
            + slope**2 * arm.ratio_var("x_before", "y_before")
            - 2 * slope * arm.ratio_cov("x", "y", "x_before", "y_before")
        )
        for arm in found
    ]


def _aggregates(metric: Metric, moments: Moments, *, cuped: bool) -> Aggregates:
    """What tea-tasting reads: x over y, with CUPED x_before over y_before beside it."""
    at = {"x": place(metric.numerator), "y": place(metric.denominator)}
    if cuped:
        at |= {f"{name}_before": position + len(MOMENTS) for name, position in at.items()}
    return Aggregates(
        count_=moments.units,
        mean_={name: float(moments.mean[i]) for name, i in at.items()},
        var_={name: float(moments.cov[i, i]) for name, i in at.items()},
        cov_={(a, b): float(moments.cov[at[a], at[b]]) for a, b in combinations(at, 2)},
    )


def no_covariate(metric: Metric, arms: Sequence[Moments]) -> str:
    """Why CUPED cannot be had; empty where it can."""
    if any(len(moments.mean) == len(MOMENTS) for moments in arms):
        return "nothing counted before the test"
    old = [Moments(m.units, m.mean[len(MOMENTS) :], m.cov[len(MOMENTS) :, len(MOMENTS) :]) for m in arms]
    if not all(counted(metric, moments) for moments in old):
        return "nothing counted before the test"
    if any(value(metric, moments) is None for moments in old):
        return f"no {metric.denominator} before the test"
    if not any(varies(metric, moments) for moments in old):
        return "does not vary before the test"
    if not sum(variances(metric, arms, cuped=True)) > _SOME * sum(variances(metric, arms, cuped=False)):
        return "the same before the test as in it"
    return ""


def varies(metric: Metric, moments: Moments) -> bool:
    """Whether the numerator is more than a constant times the denominator, beyond rounding."""
    x, y = place(metric.numerator), place(metric.denominator)
    ratio = moments.mean[x] / moments.mean[y]
    own, other = moments.cov[x, x], ratio**2 * moments.cov[y, y]
    return bool(own + other - 2 * ratio * moments.cov[x, y] > _SOME * (own + other))


def effect_crossed(metric: Metric, joint: Joint, arm: int, weight: FloatArray, *, level: float = 0.95) -> Effect:
    """Relative difference of an arm and arm 0 where users can be in both: read within stages, then averaged over them.

    Lift = exp(sum over s of w_s (log m_s,arm - log m_s,0)) - 1, its variance by the delta method on the joint covariance, so
    that a user who was in both arms or in several stages counts as one unit. Pooling the stages instead would compare arms
    that had different shares of good and bad days.

    Args:
        metric: What is read.
        joint: Moments of users in S stages and A arms.
        arm: Which is compared with arm 0.
        weight: (S,) of the stages, >= 0, of any sum; a stage of weight 0 is not read.
        level: Of the interval.

    Returns:
        Control and treatment are exp of the weighted means of the logs, so that their ratio is 1 + lift; with one stage they
        are the arms' values. Interval and p-value are normal.

    Raises:
        ValueError: If the arm is 0 or none of the A, or the weights are not one per stage, at least 0 and some above 0.

    References:
        Crook, Frasca, Kohavi & Longbotham (2009), Seven pitfalls to avoid when running controlled experiments on the web.
    """
    if not 0 < arm < joint.mean.shape[1]:
        raise ValueError(f"arm must be 1 to {joint.mean.shape[1] - 1}: {arm}")
    weight = _shares("weight", weight, len(joint.mean))
    at = [place(metric.numerator), place(metric.denominator)]
    own = joint.mean[:, [0, arm]][:, :, at]  # (S, 2, 2): stage; control and treatment; numerator and denominator
    read = own[weight > 0]

    def missing(why: str) -> Effect:
        return Effect(None, None, None, None, None, None, why)

    if np.isnan(read).any():
        return missing(NOT_COUNTED)
    if not (read[..., 1] > 0).all():
        return missing(f"no {metric.denominator} in an arm")
    if not (read[..., 0] > 0).all():
        return missing(f"no {metric.numerator} in an arm")
    if joint.units < 2:
        return missing("too few units")
    control, treatment = np.exp(weight[weight > 0] @ np.log(read[..., 0] / read[..., 1]))
    gradient = np.zeros_like(joint.mean)
    for position, sign in ((0, -1.0), (arm, 1.0)):
        for counter, side in zip(at, (1.0, -1.0), strict=True):
            gradient[weight > 0, position, counter] = sign * side * weight[weight > 0]
    used = np.flatnonzero(gradient)
    slope = gradient.ravel()[used] / joint.mean.ravel()[used]
    cov = joint.cov[np.ix_(used, used)]
    variance = slope @ cov @ slope
    lift = float(treatment / control - 1)
    control, treatment = float(metric.scale * control), float(metric.scale * treatment)
    if not variance > _SOME * (slope**2 @ np.diag(cov)):
        return Effect(control, treatment, lift, None, None, None, "does not vary")
    se = float(np.sqrt(variance / joint.units))
    half = float(norm.ppf((1 + level) / 2)) * se
    z = np.log1p(lift) / se
    return Effect(
        control, treatment, lift, float((1 + lift) * np.exp(-half) - 1), float((1 + lift) * np.exp(half) - 1),
        float(2 * norm.sf(abs(z))), se=se,
    )  # fmt: skip


def strata_of(activity: FloatArray, n_strata: int) -> IdArray:
    """Strata of users by a counter before the test: equally full, but equal users stay together.

    Args:
        activity: (n,) such as each user's requests before the test.
        n_strata: Strata asked for; fewer where many users are equal.

    Returns:
        (n,) stratum, 0 for the least active.
    """
    edges = np.unique(np.quantile(activity, np.arange(1, n_strata) / n_strata))
    found = np.searchsorted(edges, activity, side="left")
    return np.unique(found, return_inverse=True)[1].astype(np.int32)


def post_stratified(parts: Sequence[Sequence[Moments]]) -> list[Moments]:
    """Moments per arm in which every arm has the strata that all units have.

    The mean is sum over h of W_h mean_h and the variance of it sum over h of W_h^2 cov_h / n_h, where W_h is the stratum's
    share of the units of all arms; the covariance is scaled so that `effect` reads it unchanged. The variance is that given
    who came.

    Args:
        parts: Of each stratum, in order, the moments of each arm. A stratum with fewer than two units in an arm is merged with
            the one before it, the first with the one after it.

    References:
        Miratrix, Sekhon & Yu (2013), Adjusting treatment effect estimates by post-stratification in randomized experiments.
    """
    strata = _merged(parts)
    units = np.array([[moments.units for moments in stratum] for stratum in strata])  # (H, A)
    share = units.sum(axis=1) / max(units.sum(), 1)
    return [_weighted([stratum[a] for stratum in strata], share) for a in range(units.shape[1])]


def _merged(parts: Sequence[Sequence[Moments]]) -> list[list[Moments]]:
    out: list[list[Moments]] = []
    for stratum in parts:
        if out and min(moments.units for moments in (*out[-1], *stratum)) < 2:
            out[-1] = [_together(a, b) for a, b in zip(out[-1], stratum, strict=True)]
        else:
            out.append(list(stratum))
    return out


def _together(a: Moments, b: Moments) -> Moments:
    """Moments of the units of both."""
    if min(a.units, b.units) == 0:
        return a if b.units == 0 else b
    n, off = a.units + b.units, b.mean - a.mean
    between = a.units * b.units / n * np.outer(off, off)
    return Moments(
        n, a.mean + b.units / n * off, ((a.units - 1) * a.cov + (b.units - 1) * b.cov + between) / (n - 1)
    )  # fmt: skip


def _weighted(arm: Sequence[Moments], share: FloatArray) -> Moments:
    units = sum(moments.units for moments in arm)
    mean = sum((w * moments.mean for w, moments in zip(share, arm, strict=True)), np.zeros_like(arm[0].mean))
    cov = sum(
        (units * w**2 / max(moments.units, 1) * moments.cov for w, moments in zip(share, arm, strict=True)),
        np.zeros_like(arm[0].cov),
    )
    return Moments(units, mean, cov)


def quantile_effect(
    values: FloatArray, arm: IdArray, treated: int, q: float, *, resamples: int, seed: int, level: float = 0.95
) -> Effect:
    """Relative difference of a quantile of a quantity per user, its interval by the bootstrap over users.

    Args:
        values: (n,) of each active user.
        arm: (n,) of each; only 0, the control, and `treated` are read.
        treated: The other arm.
        q: Share of users below the quantile, 0 to 1.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        level: Of the interval, which is that of the resampled lifts (percentiles); no p-value comes of it.
    """
    rows = (arm == 0) | (arm == treated)
    sizes = int((arm == 0).sum()), int((arm == treated).sum())
    if min(sizes) < 2:
        return Effect(None, None, None, None, None, None, "too few units in an arm")
    before, after = (float(np.quantile(values[arm == a], q)) for a in (0, treated))
    if not before > 0:
        return Effect(before, after, None, None, None, None, "the quantile is 0 in control")
    test = tt.Quantile(
        "value", float(q), confidence_level=level, n_resamples=resamples, method="percentile", rng=seed,
        batch=max(1, _CELLS // int(sum(sizes))),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of resamples without a lift, which are answered below
        found = test.analyze(pa.table({"value": values[rows], "arm": arm[rows]}), 0, treated, "arm")
    lift, low, high = found.rel_effect_size, found.rel_effect_size_ci_lower, found.rel_effect_size_ci_upper
    if not np.isfinite([low, high]).all():
        return Effect(before, after, lift, None, None, None, "the quantile is 0 in resamples of control")
    return Effect(before, after, lift, low, high, None)


def adjusted(p_values: Sequence[float | None], method: Literal["holm", "benjamini_hochberg"]) -> list[float | None]:
    """p-values of one family, adjusted for their number: Holm for any error, Benjamini-Hochberg for the share of false finds.

    Returns:
        One per p-value; what is None stays None and counts for nothing.

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure. Benjamini & Hochberg (1995), Controlling the
        false discovery rate.
    """
    family = {str(i): {"pvalue": p} for i, p in enumerate(p_values) if p is not None}
    if not family:
        return [None] * len(p_values)
    results = {"family": ExperimentResult(family)}
    if method == "holm":
        found = tt.adjust_fwer(results, arbitrary_dependence=True, method="bonferroni")
    else:
        found = tt.adjust_fdr(results)
    return [None if p is None else float(found["family"][str(i)]["pvalue_adj"]) for i, p in enumerate(p_values)]


def sample_ratio_p(units: Sequence[int], shares: Sequence[float]) -> float:
    """p-value of the split of active units against the shares asked for (sample ratio mismatch), by chi-square.

    Args:
        units: Of each arm.
        shares: Asked for, above 0, of any sum.

    Raises:
        ValueError: If there is not one share above 0 per arm, or no unit at all.
    """
    share = _shares("shares", shares, len(units))
    total = sum(units)
    if total == 0 or not (share > 0).all():
        raise ValueError(f"units {list(units)} and shares {list(shares)}: some units and shares above 0 are needed")
    return float(chisquare(units, total * share).pvalue)


def true_lift(metric: Metric, control: Moments, treatment: Moments) -> float | None:
    """Relative difference between the twin worlds, everyone in control and everyone in treatment."""
    before, after = value(metric, control), value(metric, treatment)
    return None if before is None or after is None or before == 0 else after / before - 1


def _shares(name: str, weight: Sequence[float] | FloatArray, n: int) -> FloatArray:
    """Weights that sum to 1."""
    given = np.asarray(weight, dtype=np.float64)
    if given.shape != (n,) or not (given >= 0).all() or not given.sum() > 0:
        raise ValueError(f"{name} must be {n} numbers of at least 0, not all 0: {given.tolist()}")
    return given / given.sum()
