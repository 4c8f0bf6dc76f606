"""Tables of counters for tests of metrics and statistics."""

import numpy as np

from marketplace.counters import NAMES
from marketplace.metrics import METRICS, Metric


def metric(name: str) -> Metric:
    return next(m for m in METRICS if m.name == name)


def rows(n: int, **columns) -> np.ndarray:
    """(n, len(NAMES)) of units with one request each, and the columns given."""
    table = np.zeros((n, len(NAMES)))
    for name, column in ({"requests": 1} | columns).items():
        table[:, NAMES.index(name)] = column
    return table


def active(rng, n: int, *, lift=0.0, activity=None) -> np.ndarray:
    """Users with impressions, clicks and conversions that go with their activity, and spend.

    Args:
        rng: Source.
        n: Users.
        lift: (n,) or one, of conversions per click; that of CTR and impressions is none.
        activity: (n,) mean 1; drawn where None.
    """
    activity = rng.gamma(2, 0.5, n) if activity is None else activity
    impressions = rng.poisson(4 * activity) + 1
    clicks = rng.binomial(impressions, 0.5 * activity / (1 + activity))
    conversions = rng.binomial(clicks, 0.4 * (1 + np.asarray(lift)))
    spend = conversions * rng.gamma(4, 0.5, n)
    return rows(
        n, requests=1 + rng.poisson(activity), slots=2 * impressions, impressions=impressions, clicks=clicks,
        conversions=conversions, spend_usd=spend, value_usd=8 * conversions,
    )  # fmt: skip
