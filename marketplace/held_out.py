"""Held-out statistics: figures of a log that nothing is fitted to, as sums over parts of its users.

Each is a query that adds amounts up by part and cell, and a function from the cells' sums to the figures. The parts are random
groups of users, so that a figure's error is that of leaving one group out in turn.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from synth.types import DAY_MS, HOUR_MS, FloatArray

PARTS = 64  # random groups of users
SLOTS = 6  # whose click rates are compared
TOPS = 1, 3, 10, 30, 100
_MINUTE_MS = 60_000
_GAPS = {
    "1 min": _MINUTE_MS, "10 min": 10 * _MINUTE_MS, "1 h": HOUR_MS, "6 h": 6 * HOUR_MS, "1 day": DAY_MS, "3 days": 3 * DAY_MS,
    "7 days": 7 * DAY_MS,
}  # fmt: skip
# numbers, and the first that is too large
_CLICKS = {"0": 1, "1": 2, "2": 3, "3 to 5": 6, "6 to 10": 11, "11 or more": None}
_AGAIN = {"0": 1, "1": 2, "2": 3, "3 to 5": 6, "6 or more": None}


class Statistic(NamedTuple):
    """A vector of figures of a log.

    The query reads the views `looks` (part, day, hour, slot, item, user, click, time_ms) and `orders` (part, user, first_half).
    """

    name: str
    title: str
    unit: str  # of what the figures are shares, or what they are
    needs: tuple[str, ...]  # standard columns, as table.column
    query: str  # gives part, cell and amount
    cells: int
    labels: tuple[str, ...]  # of the figures
    figures: Callable[[FloatArray], FloatArray]  # (cells,) -> (figures,); NaN where there is nothing to tell


def statistics(days: int) -> tuple[Statistic, ...]:
    """All of them, for logs of so many days."""
    return (
        _click_gaps(), _ranks("impressions", "count(*)"), _ranks("clicks", "sum(click)"), _clicks_per_user(), _purchases(),
        _click_rates(), _daily(days),
    )  # fmt: skip


def _click_gaps() -> Statistic:
    query = f"""WITH gaps AS (
        SELECT part, time_ms - lag(time_ms) OVER (PARTITION BY user ORDER BY time_ms) AS gap FROM looks WHERE click = 1
    ) SELECT part, {_bucket("gap - 1", dict(_GAPS, beyond=None))} AS cell, count(*) AS amount FROM gaps
    WHERE gap IS NOT NULL GROUP BY ALL"""
    return Statistic(
        "click_gaps", "Time from a user's click to the next", "share of the gaps up to", ("impressions.user",), query,
        len(_GAPS) + 1, tuple(_GAPS), lambda cells: np.cumsum(cells)[:-1] / _total(cells),
    )  # fmt: skip


def _ranks(what: str, amount: str) -> Statistic:
    """Ranks are those of the log at hand: leaving a group out would change a top share by as little as leaving the rank."""
    query = f"""WITH totals AS (SELECT item, {amount} AS n FROM looks GROUP BY item),
    ranked AS (SELECT item, row_number() OVER (ORDER BY n DESC, item) - 1 AS rank FROM totals)
    SELECT part, least(rank, {TOPS[-1]}) AS cell, {amount} AS amount FROM looks JOIN ranked USING (item) GROUP BY ALL"""
    at = [top - 1 for top in TOPS]
    return Statistic(
        f"rank_frequency_{what}", f"Items by rank: {what}", f"share of {what} of the first", ("impressions.item",), query,
        TOPS[-1] + 1, tuple(f"{top} item{'s' * (top > 1)}" for top in TOPS),
        lambda cells: np.cumsum(cells)[at] / _total(cells),
    )  # fmt: skip


def _clicks_per_user() -> Statistic:
    query = f"""WITH users AS (SELECT part, user, sum(click) AS n FROM looks GROUP BY ALL)
    SELECT part, {_bucket("n", _CLICKS)} AS cell, count(*) AS amount FROM users GROUP BY ALL"""
    return Statistic(
        "clicks_per_user", "Clicks of a user", "share of the users seen with clicks", ("impressions.user",), query,
        len(_CLICKS), tuple(_CLICKS), lambda cells: cells / _total(cells),
    )  # fmt: skip


def _purchases() -> Statistic:
    query = f"""WITH customers AS (
        SELECT part, user, count_if(NOT first_half) AS n FROM orders GROUP BY ALL HAVING count_if(first_half) > 0
    ) SELECT part, {_bucket("n", _AGAIN)} AS cell, count(*) AS amount FROM customers GROUP BY ALL"""
    return Statistic(
        "purchases_again", "Purchases in the second half of the time", "share of the customers of the first half with purchases",
        ("purchases.user",), query, len(_AGAIN), tuple(_AGAIN), lambda cells: cells / _total(cells),
    )  # fmt: skip


def _click_rates() -> Statistic:
    query = f"""SELECT part, (hour * {SLOTS} + slot) * 2 + click AS cell, count(*) AS amount FROM looks
    WHERE slot < {SLOTS} GROUP BY ALL"""

    def rates(cells: FloatArray) -> FloatArray:
        n = cells.reshape(24 * SLOTS, 2)
        return _ratio(n[:, 1], n.sum(axis=1))

    labels = tuple(f"{hour:02d} h, slot {slot}" for hour in range(24) for slot in range(SLOTS))
    return Statistic(
        "click_rates", "Click rate by hour and slot", "clicks per impression", ("impressions.slot",), query, 24 * SLOTS * 2,
        labels, rates,
    )  # fmt: skip


def _daily(days: int) -> Statistic:
    """Of traffic, what a week's pattern does not explain: a day against the same weekday a week before."""

    def variation(cells: FloatArray) -> FloatArray:
        n = cells.reshape(days, 2)
        shown, rate = n.sum(axis=1), _ratio(n[:, 1], n.sum(axis=1))
        weekly = np.log(_ratio(shown[7:], shown[:-7])) if days >= 14 else np.array([np.nan])
        steps = np.diff(rate) / np.nanmean(rate)
        return np.array([np.sqrt(np.mean(weekly**2) / 2), np.sqrt(np.mean(steps**2) / 2)])

    return Statistic(
        "daily", "Variation from day to day", "standard deviation of a day, relative", ("impressions.click",),
        "SELECT part, day * 2 + click AS cell, count(*) AS amount FROM looks GROUP BY ALL", days * 2,
        ("impressions, beside the week's pattern", "click rate"), variation,
    )  # fmt: skip


def _bucket(value: str, ends: dict[str, int | None]) -> str:
    """SQL of the position among buckets, of which each ends before its number."""
    cuts = [end for end in ends.values() if end is not None]
    assert all(a < b for a, b in pairwise(cuts))
    whens = " ".join(f"WHEN {value} < {end} THEN {place}" for place, end in enumerate(cuts))
    return f"CASE {whens} ELSE {len(cuts)} END"


def _total(cells: FloatArray) -> float:
    return float(cells.sum()) or np.nan


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
