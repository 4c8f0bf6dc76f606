"""Intervals between purchases and the usual part of the day: against what was drawn, and against counts by hand."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import lognorm

from fitting.errors import Unfit
from fitting.repurchase import Intervals, _terms, fit_intervals, repurchase

DAY = 86_400_000


def estimates(con: duckdb.DuckDBPyConnection, **columns: np.ndarray) -> dict[str, object]:
    con.register("purchases", pa.table(columns))
    return {estimate.name: estimate for estimate in repurchase(con)}


def drawn(n: int, seed: int, *, again: float, median: float, sigma: float, usual: float = 0.0) -> dict[str, np.ndarray]:
    """Purchases of users who come in over 100 days and are seen until day 400; a share buys in the own part of the day."""
    rng = np.random.default_rng(seed)
    user, time = [], []
    for who in range(n):
        now, own = rng.uniform(0, 100), rng.integers(6)
        while now < 400:
            hour = (own if rng.random() < usual else rng.integers(6)) * 4 + rng.uniform(0, 4)
            user.append(who)
            time.append(int(int(now) * DAY + hour * 3_600_000))
            now += median * np.exp(sigma * rng.normal()) if rng.random() < again else np.inf
    return {"user": np.array(user), "time_ms": np.array(time)}


def test_a_probability_is_that_of_a_lognormal_with_a_share_that_never_ends():
    x = np.array([np.log(3.0), np.log(30.0), np.log(0.8)])  # three in four come again

    ends, lasts = _terms(x, np.array([20.0]))

    law = lognorm(0.8, scale=30.0)
    assert np.exp(ends[0]) == pytest.approx(0.75 * (law.cdf(20.5) - law.cdf(19.5)))
    assert np.exp(lasts[0]) == pytest.approx(1 - 0.75 * law.cdf(20.5))


def test_intervals_hold_the_law_that_purchases_were_drawn_by():
    held = np.zeros(3)
    for seed in range(40):
        with duckdb.connect() as con:
            found = estimates(con, **drawn(150, seed, again=0.8, median=30.0, sigma=0.6))
        truth = {"purchases.interval_days": 30.0, "purchases.interval_sigma": 0.6, "purchases.comes_again": 0.8}
        held += [found[name].low <= value <= found[name].high for name, value in truth.items()]

    assert (held / 40 >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 40)).all()


def test_the_excess_of_pairs_is_the_square_of_the_share_in_the_usual_part_and_0_where_there_is_none():
    for usual in (0.0, 0.7):
        with duckdb.connect() as con:
            found = estimates(con, **drawn(1_500, 3, again=0.8, median=30.0, sigma=0.6, usual=usual))[
                "purchases.same_daypart"
            ]
        error = (found.high - found.low) / 3.92
        assert abs(found.value - usual**2) < 4 * error
        assert error < 0.05


def test_pairs_are_counted_by_hand():
    """20 users buy twice at night and once at noon: a third of their pairs are alike, and 5 in 9 of all."""
    with duckdb.connect() as con:
        user = np.repeat(np.arange(20), 3)
        time = np.tile([0, 3 * DAY, 9 * DAY + DAY // 2], 20)
        found = estimates(con, user=user, time_ms=time)["purchases.same_daypart"]

    assert found.value == pytest.approx((1 / 3 - 5 / 9) / (1 - 5 / 9))
    assert found.events == 60


def test_dates_without_a_time_tell_no_part_of_the_day_and_orders_tell_no_appetite():
    with duckdb.connect() as con:
        found = estimates(con, user=np.repeat(np.arange(30), 2), time_ms=np.tile([0, 5 * DAY], 30))

    assert found["purchases.same_daypart"].value is None
    assert found["purchases.same_daypart"].why == "purchases have dates and no time of day"
    for name in ("period_days", "period_sigma", "daypart"):
        assert found[f"world.habit.{name}"].value is None
        assert found[f"world.habit.{name}"].why


def test_intervals_are_those_at_one_item_where_items_are_logged():
    """All users buy item 1 every 10 days and item 2 in between."""
    day = np.arange(0, 200, 5)
    user, item = np.repeat(np.arange(30), len(day)), np.tile(day // 5 % 2, 30)
    with duckdb.connect() as con:
        by_item = estimates(con, user=user, item=item, time_ms=np.tile(day, 30) * DAY)
        by_user = estimates(con, user=user, time_ms=np.tile(day, 30) * DAY)

    assert by_item["purchases.interval_days"].value == pytest.approx(10, abs=0.5)
    assert by_user["purchases.interval_days"].value == pytest.approx(5, abs=0.5)


def test_few_intervals_tell_nothing():
    with pytest.raises(Unfit, match="19 intervals between purchases ended, 20 are needed"):
        fit_intervals(Intervals(np.array([5.0]), np.array([19.0]), np.array([7.0])))
