"""Statistics: from moments per arm to effects with intervals."""

from typing import NamedTuple

import tea_tasting as tt
from tea_tasting.aggr import Aggregates

from marketplace.metrics import USERS, Metric, Moments, place, value

SRM_ALARM = 0.0005


class Effect(NamedTuple):
    """A metric read in two arms. `why` says what is missing where a figure is None."""

    control: float | None
    treatment: float | None
    lift: float | None  # relative
    low: float | None  # of the 95% interval of the lift
    high: float | None
    p_value: float | None
    why: str = ""


def effect(metric: Metric, control: Moments, treatment: Moments) -> Effect:
    """Relative difference, two-sided Welch test; a ratio by the delta method at the level of users."""
    before, after = value(metric, control), value(metric, treatment)
    if before is None or after is None:
        return Effect(before, after, None, None, None, None, f"no {metric.denominator} in an arm")
    if before == 0:
        return Effect(before, after, None, None, None, None, f"no {metric.numerator} in control")
    numerator, denominator = place(metric.numerator), place(metric.denominator)
    if metric.denominator == USERS:
        test: tt.Mean | tt.RatioOfMeans = tt.Mean("x")
    else:
        test = tt.RatioOfMeans("x", "y")

    def aggregates(moments: Moments) -> Aggregates:
        return Aggregates(
            count_=moments.users,
            mean_={"x": moments.mean[numerator], "y": moments.mean[denominator]},
            var_={"x": moments.cov[numerator, numerator], "y": moments.cov[denominator, denominator]},
            cov_={("x", "y"): moments.cov[numerator, denominator]},
        )

    lift = after / before - 1
    if after == 0:
        return Effect(before, after, lift, None, None, None, f"no {metric.numerator} in treatment")
    if min(control.users, treatment.users) < 2:
        return Effect(before, after, lift, None, None, None, "too few users in an arm")
    if not (_varies(metric, control) or _varies(metric, treatment)):
        return Effect(before, after, lift, None, None, None, "does not vary")
    found = test.analyze({0: aggregates(control), 1: aggregates(treatment)}, 0, 1)
    return Effect(
        before, after, lift, float(found.rel_effect_size_ci_lower), float(found.rel_effect_size_ci_upper),
        float(found.pvalue),
    )  # fmt: skip


def _varies(metric: Metric, moments: Moments) -> bool:
    """Whether the numerator is more than a constant times the denominator, beyond rounding."""
    x, y = place(metric.numerator), place(metric.denominator)
    ratio = moments.mean[x] / moments.mean[y]
    own, other = moments.cov[x, x], ratio**2 * moments.cov[y, y]
    return bool(own + other - 2 * ratio * moments.cov[x, y] > 1e-9 * (own + other))


def sample_ratio_p(control: Moments, treatment: Moments, shares: tuple[float, float]) -> float:
    """p-value of the split of active users against the shares asked for (sample ratio mismatch)."""
    test = tt.SampleRatio(shares[1] / shares[0])
    return float(
        test.analyze({0: Aggregates(count_=control.users), 1: Aggregates(count_=treatment.users)}, 0, 1).pvalue
    )


def true_lift(metric: Metric, control: Moments, treatment: Moments) -> float | None:
    """Relative difference between the twin worlds, everyone in control and everyone in treatment."""
    before, after = value(metric, control), value(metric, treatment)
    return None if before is None or after is None or before == 0 else after / before - 1
