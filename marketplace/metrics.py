"""Metrics: every figure that the reports show, as a ratio of two counters; docs/metrics.md lists them."""

from typing import Literal, NamedTuple

import numpy as np

from marketplace.counters import NAMES
from synth.types import FloatArray, IdArray

USERS, BUDGET = "users", "budget_usd"
MOMENTS = (*NAMES, USERS, BUDGET)
_AT = {name: i for i, name in enumerate(MOMENTS)}


class Metric(NamedTuple):
    """A ratio of sums over the users of an arm: scale x sum(numerator) / sum(denominator)."""

    name: str
    group: Literal["advertiser", "platform", "user"]
    numerator: str
    denominator: str
    unit: str
    good: Literal["up", "down", ""]
    scale: float = 1.0


METRICS = (
    Metric("CPA", "advertiser", "spend_usd", "conversions", "USD per conversion", "down"),
    Metric("conversions", "advertiser", "conversions", USERS, "per 1,000 active users", "up", 1e3),
    Metric("CPC", "advertiser", "spend_usd", "clicks", "USD per click", "down"),
    Metric("CPM", "advertiser", "spend_usd", "impressions", "USD per 1,000 impressions", "", 1e3),
    Metric("ROAS", "advertiser", "value_usd", "spend_usd", "USD of attributed orders per USD", "up"),
    Metric("budget_use", "advertiser", "spend_usd", BUDGET, "share of budgets", "up"),
    Metric("revenue", "platform", "spend_usd", USERS, "USD per 1,000 active users", "up", 1e3),
    Metric("iCVR", "platform", "conversions", "impressions", "conversions per impression", "up"),
    Metric("CVR", "platform", "click_conversions", "clicks", "conversions that follow a click, per click", "up"),
    Metric("CTR", "platform", "clicks", "impressions", "clicks per impression", "up"),
    Metric("fill_rate", "platform", "impressions", "slots", "impressions per slot", "up"),
    Metric("impressions", "platform", "impressions", USERS, "per active user", ""),
    Metric("click_calibration", "platform", "expected_clicks", "clicks", "expected over real clicks", ""),
    Metric(
        "conversion_calibration",
        "platform",
        "expected_conversions",
        "click_conversions",
        "expected over real so far",
        "",
    ),
    Metric("scored", "platform", "scored", "requests", "candidates per request", ""),
    Metric("ad_diversity", "user", "cuisines", USERS, "cuisines seen per active user", "up"),
    Metric("GMV", "user", "gmv_usd", USERS, "USD of orders after ads, per active user", "up"),
    Metric("organic_orders", "user", "organic_orders", USERS, "orders that follow no ad, per active user", "up"),
    Metric("total_GMV", "user", "all_gmv_usd", USERS, "USD of orders with and without ads, per active user", "up"),
    Metric("long_click_rate", "user", "long_clicks", "impressions", "long clicks per impression", "up"),
    Metric("hide_rate", "user", "hides", "impressions", "hides per impression", "down"),
)


class Moments(NamedTuple):
    """Means and covariances of the counters over the active users of an arm."""

    users: int
    mean: FloatArray  # (len(MOMENTS),)
    cov: FloatArray  # (len(MOMENTS), len(MOMENTS))


def moments_by_arm(table: FloatArray, arm: IdArray, budget_usd: float, n_arms: int) -> list[Moments]:
    """Moments of each arm.

    Args:
        table: (U, len(counters.NAMES)).
        arm: (U,) of each user.
        budget_usd: All budgets of the period; each active user has an equal part, so an arm has the part of its users.
        n_arms: Arms, counted from 0.

    Returns:
        One per arm, over the users that came at least once; only fatigue lets the arm decide who those are.
    """
    came = table[:, NAMES.index("requests")] > 0
    part = budget_usd / max(int(came.sum()), 1)
    out = []
    for position in range(n_arms):
        rows = table[came & (arm == position)]
        n = len(rows)
        full = np.column_stack([rows, np.ones(n), np.full(n, part)])
        mean = full.mean(axis=0) if n else np.zeros(len(MOMENTS))
        cov = np.cov(full, rowvar=False) if n > 1 else np.zeros((len(MOMENTS), len(MOMENTS)))
        out.append(Moments(n, mean, cov))
    return out


def value(metric: Metric, moments: Moments) -> float | None:
    """The metric in one arm; None where its denominator is 0."""
    below = moments.mean[_AT[metric.denominator]]
    return float(metric.scale * moments.mean[_AT[metric.numerator]] / below) if below > 0 else None


def place(name: str) -> int:
    """Where a counter stands among the moments."""
    return _AT[name]
