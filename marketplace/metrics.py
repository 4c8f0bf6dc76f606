"""Metrics: every figure that the reports show, as a ratio of two counters; docs/metrics.md lists them."""

from typing import Literal, NamedTuple

import numpy as np

from marketplace.counters import NAMES
from synth.types import FloatArray, IdArray, IntArray

USERS, BUDGET = "users", "budget_usd"
MOMENTS = (*NAMES, USERS, BUDGET)
_AT = {name: i for i, name in enumerate(MOMENTS)}
_BLOCK = 4096  # users whose rows are worked on at a time


class Metric(NamedTuple):
    """A ratio of sums over the units of an arm: scale x sum(numerator) / sum(denominator).

    A goal is what a change is made for; a guardrail is what must not get worse.
    """

    name: str
    group: Literal["advertiser", "platform", "user"]
    numerator: str
    denominator: str
    unit: str
    good: Literal["up", "down", ""]
    role: Literal["goal", "guardrail", ""] = ""
    scale: float = 1.0


METRICS = (
    Metric("CPA", "advertiser", "spend_usd", "conversions", "USD per conversion", "down", "goal"),
    Metric("conversions", "advertiser", "conversions", USERS, "per 1,000 active users", "up", "goal", 1e3),
    Metric("checkouts", "advertiser", "orders", USERS, "per 1,000 active users", "up", "", 1e3),
    Metric("carts", "advertiser", "carts", USERS, "per 1,000 active users", "up", "", 1e3),
    Metric("sign_ups", "advertiser", "sign_ups", USERS, "per 1,000 active users", "up", "", 1e3),
    Metric("merchant_trial_rate", "advertiser", "tried", USERS, "share of active users", "up", "goal"),
    Metric("CPC", "advertiser", "spend_usd", "clicks", "USD per click", "down"),
    Metric("CPM", "advertiser", "spend_usd", "impressions", "USD per 1,000 impressions", "", "", 1e3),
    Metric("ROAS", "advertiser", "value_usd", "spend_usd", "USD of attributed orders per USD", "up", "goal"),
    Metric("budget_use", "advertiser", "spend_usd", BUDGET, "share of budgets", "up", "guardrail"),
    Metric("tested_orders", "advertiser", "tested_orders", USERS, "per active user", "up", "goal"),
    Metric("tested_GMV", "advertiser", "tested_gmv_usd", USERS, "USD per active user", "up", "goal"),
    Metric("revenue", "platform", "spend_usd", USERS, "USD per 1,000 active users", "up", "goal", 1e3),
    Metric("iCVR", "platform", "conversions", "impressions", "conversions per impression", "up", "goal"),
    Metric("CVR", "platform", "click_conversions", "clicks", "conversions that follow a click, per click", "up"),
    Metric("CTR", "platform", "clicks", "impressions", "clicks per impression", "up"),
    Metric("fill_rate", "platform", "impressions", "slots", "impressions per slot", "up", "guardrail"),
    Metric("impressions", "platform", "impressions", USERS, "per active user", ""),
    Metric("repurchase_share", "platform", "repeat_conversions", "conversions", "share of conversions", ""),
    Metric("click_calibration", "platform", "expected_clicks", "clicks", "expected over real clicks", ""),
    Metric(
        "conversion_calibration", "platform", "expected_conversions", "click_conversions", "expected over real so far",
        "",
    ),
    Metric("scored", "platform", "scored", "requests", "candidates per request", ""),
    Metric("return_rate", "user", "returned", USERS, "share of active users", "up", "guardrail"),
    Metric("ad_diversity", "user", "cuisines", USERS, "cuisines seen per active user", "up", "guardrail"),
    Metric("GMV", "user", "gmv_usd", USERS, "USD of orders after ads, per active user", "up"),
    Metric("organic_orders", "user", "organic_orders", USERS, "orders that follow no ad, per active user", "up"),
    Metric(
        "total_GMV", "user", "all_gmv_usd", USERS, "USD of orders with and without ads, per active user", "up",
        "guardrail",
    ),
    Metric("long_click_rate", "user", "long_clicks", "impressions", "long clicks per impression", "up"),
    Metric("hide_rate", "user", "hides", "impressions", "hides per impression", "down", "guardrail"),
)  # fmt: skip


class QuantileMetric(NamedTuple):
    """A quantile of a counter over the active users of an arm: what a mean does not show of the heaviest users."""

    name: str
    group: Literal["advertiser", "platform", "user"]
    counter: str
    q: float  # share of users below
    unit: str
    good: Literal["up", "down", ""]
    role: Literal["goal", "guardrail", ""] = ""


QUANTILES = (
    QuantileMetric("GMV_p95", "user", "gmv_usd", 0.95, "USD of orders after ads of a user", "up"),
    QuantileMetric("total_GMV_p95", "user", "all_gmv_usd", 0.95, "USD of all orders of a user", "up", "guardrail"),
    QuantileMetric("impressions_p90", "user", "impressions", 0.9, "ads seen by a user", "down", "guardrail"),
)


class Moments(NamedTuple):
    """Means and covariances of the counters over the units of an arm: users, or blocks of time, regions, campaigns.

    m is len(MOMENTS), or twice that: then the same counters of the same units before the test follow those of the test.
    A counter that the design does not count is NaN.
    """

    units: int
    mean: FloatArray  # (m,)
    cov: FloatArray  # (m, m)


class Joint(NamedTuple):
    """Means and covariances of the counters over users who can be in several arms, in S stages of A arms each.

    M is len(MOMENTS); a row of `cov` is that of the flattened mean.
    """

    units: int  # users who came in any cell
    mean: FloatArray  # (S, A, M)
    cov: FloatArray  # (S * A * M, S * A * M)


def moments_by_arm(
    table: FloatArray,
    arm: IdArray,
    budget_usd: float,
    n_arms: int,
    *,
    users: FloatArray | None = None,
    before: FloatArray | None = None,
) -> list[Moments]:
    """Moments of each arm.

    Args:
        table: (n, len(counters.NAMES)); a column is NaN throughout where the design does not count it.
        arm: (n,) of each row; -1 is not read.
        budget_usd: All budgets of the period; a row has the part of them that its users are of all users read.
        n_arms: Arms, counted from 0.
        users: (n,) that each row stands for, >= 0: blocks of time, regions, campaigns. A row that stands for nobody is not read,
            such as a block still to come, which would pass for a unit that does not vary. None: each row is one user, read
            if that user came at least once; only fatigue lets the arm decide who those are.
        before: (n, len(counters.NAMES)) of the same units before the test, for CUPED.

    Returns:
        One per arm, over the rows read.
    """
    read = arm >= 0
    if users is None:
        users = (table[:, NAMES.index("requests")] > 0).astype(np.float64)
    read = read & (users > 0)
    total = float(users[read].sum())
    rate = budget_usd / total if total > 0 else 0.0
    rows = (np.flatnonzero(read & (arm == position)) for position in range(n_arms))
    return [_moments(unit_values(own, table, users, rate, before)) for own in rows]


def unit_values(
    units: IntArray, table: FloatArray, users: FloatArray, budget_per_user: float, before: FloatArray | None = None
) -> FloatArray:
    """Values of all moments of some units: their counters, the users and the USD of budgets that they stand for.

    Args:
        units: (r,) rows to take.
        table: (n, len(counters.NAMES)).
        users: (n,) that each unit stands for.
        budget_per_user: USD.
        before: (n, len(counters.NAMES)) of the same units before the test.

    Returns:
        (r, m) with m as in `Moments`.
    """
    own = users[units][:, None]
    halves = (table,) if before is None else (table, before)
    return np.concatenate([c for half in halves for c in (half[units], own, own * budget_per_user)], axis=1)


def moments_by_stratum(
    table: FloatArray,
    arm: IdArray,
    stratum: IdArray,
    budget_usd: float,
    n_arms: int,
    *,
    users: FloatArray | None = None,
    before: FloatArray | None = None,
) -> list[list[Moments]]:
    """Moments of each stratum's arms, for `stats.post_stratified`; arguments as those of `moments_by_arm`.

    Args:
        table: (n, len(counters.NAMES)).
        arm: (n,) of each row; -1 is not read.
        stratum: (n,) of each row, from 0.
        budget_usd: All budgets of the period, of all strata.
        n_arms: Arms, counted from 0.
        users: (n,) that each row stands for, or None.
        before: (n, len(counters.NAMES)) of the same units before the test, or None.
    """
    n_strata = int(stratum.max(initial=0)) + 1
    cell = np.where(arm >= 0, stratum * n_arms + arm, -1)
    cells = moments_by_arm(table, cell, budget_usd, n_strata * n_arms, users=users, before=before)
    return [cells[h * n_arms : (h + 1) * n_arms] for h in range(n_strata)]


def _moments(full: FloatArray) -> Moments:
    """Of rows (n, m); all 0 where there are too few of them."""
    n, m = full.shape
    mean = full.mean(axis=0) if n else np.zeros(m)
    return Moments(n, mean, np.cov(full, rowvar=False) if n > 1 else np.zeros((m, m)))


def joint_of(tables: FloatArray, budget_usd: float, users: FloatArray | None = None) -> Joint:
    """Moments of users who can be in several arms: sessions or requests are split, or shares change from stage to stage.

    Args:
        tables: (S, A, U, len(counters.NAMES)) of each stage, arm and user.
        budget_usd: All budgets of the period; a user in a cell has the part of them that its requests are of all.
        users: (S, A, U) that each cell stands for, where a user can be in several arms of a stage; who came in a cell would
            then be the more users, and each would have done the more, the larger the arm's share. None: 1 where the user
            came in it.

    Returns:
        Over the users who came in any cell.
    """
    n_stages, n_arms = tables.shape[:2]
    requests = tables[..., NAMES.index("requests")]
    came = np.flatnonzero((requests > 0).any(axis=(0, 1))).astype(np.int32)
    n, total, width = len(came), float(requests.sum()), n_stages * n_arms * len(MOMENTS)
    rate = budget_usd / total if total > 0 else 0.0
    stands_for = requests > 0 if users is None else users

    def flat(some: IdArray) -> FloatArray:
        own = requests[:, :, some, None]
        cells = np.concatenate([tables[:, :, some], stands_for[:, :, some, None], own * rate], axis=3)
        return cells.transpose(2, 0, 1, 3).reshape(len(some), width)

    blocks = np.array_split(came, max(1, n // _BLOCK))
    mean = sum((flat(block).sum(axis=0) for block in blocks), np.zeros(width)) / max(n, 1)
    cov = np.zeros((width, width))
    for block in blocks:
        off = flat(block) - mean
        cov += off.T @ off
    return Joint(n, mean.reshape(n_stages, n_arms, len(MOMENTS)), cov / max(n - 1, 1))


def counted(metric: Metric, moments: Moments) -> bool:
    """Whether the design counts what the metric is made of."""
    return not np.isnan(moments.mean[[_AT[metric.numerator], _AT[metric.denominator]]]).any()


def value(metric: Metric, moments: Moments) -> float | None:
    """The metric in one arm; None where its denominator is 0 or a counter is not counted."""
    above, below = moments.mean[_AT[metric.numerator]], moments.mean[_AT[metric.denominator]]
    return float(metric.scale * above / below) if below > 0 and not np.isnan(above) else None


def place(name: str) -> int:
    """Where a counter stands among the moments; the same before the test stands len(MOMENTS) further."""
    return _AT[name]
