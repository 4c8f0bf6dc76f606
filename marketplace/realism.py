"""Realism: a real log beside a simulated one, by statistics that were not fitted, each with what sampling alone would do."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import duckdb
import numpy as np
from scipy import stats

from marketplace.errors import Refused
from marketplace.held_out import PARTS, Statistic, statistics
from synth.types import DAY_MS, HOUR_MS, FloatArray

_THIN = 1_000_000  # fineness of the share of users that is kept
_MEAN_ABSOLUTE = (2 / np.pi) ** 0.5  # of a standard normal number
Row = dict[str, Any]


class Opened(NamedTuple):
    """A log as views of the standard tables."""

    con: duckdb.DuckDBPyConnection
    views: Mapping[str, str]  # by the name of the standard table

    def columns(self) -> set[str]:
        """All columns that are there, as table.column."""
        return {
            f"{table}.{row[0]}"
            for table, view in self.views.items()
            for row in self.con.execute(f"DESCRIBE SELECT * FROM {view}").fetchall()
        }


class Reading(NamedTuple):
    """A statistic of one log."""

    figures: FloatArray  # (f,)
    error: FloatArray  # (f,) standard errors, users being independent
    events: int


class Extent(NamedTuple):
    """How much of a log there is."""

    first_day: int  # since 1970, or since a Monday
    days: int
    rows: int


def extent(log: Opened, table: str = "impressions") -> Extent:
    """Of a table of a log.

    Raises:
        Refused: If it is empty.
    """
    first, last, rows = _row(log, f"SELECT min(time_ms), max(time_ms), count(*) FROM {log.views[table]}")
    if not rows:
        raise Refused(f"{table}: the log is empty, there is nothing to compare")
    return Extent(first // DAY_MS, last // DAY_MS - first // DAY_MS + 1, rows)


def lay_views(log: Opened, days: int, share: float, purchase_days: int | None) -> None:
    """Make the views that statistics read: the first days, of a share of the users, in random parts.

    Where a log names no users, its requests are taken for them, or else its impressions.

    Args:
        log: Opened.
        days: Of impressions; 0 if there are none.
        share: Of the users whose impressions are kept.
        purchase_days: Of purchases; None if there are none.
    """
    if days:
        _lay_looks(log, days, share)
    if purchase_days is not None:
        start = extent(log, "purchases").first_day * DAY_MS
        log.con.execute(
            f"""CREATE OR REPLACE TEMP VIEW orders AS
            SELECT user, hash(user) % {PARTS} AS part, time_ms < {start + purchase_days * DAY_MS // 2} AS first_half
            FROM {log.views["purchases"]} WHERE time_ms < {start + purchase_days * DAY_MS}"""
        )


def _lay_looks(log: Opened, days: int, share: float) -> None:
    columns, own = log.columns(), extent(log)
    unit = next((name for name in ("user", "request") if f"impressions.{name}" in columns), None)
    unit = unit or "row(time_ms, item)"
    optional = ", ".join(name for name in ("user", "slot") if f"impressions.{name}" in columns)
    log.con.execute(
        f"""CREATE OR REPLACE TEMP VIEW looks AS
        SELECT time_ms, time_ms // {DAY_MS} - {own.first_day} AS day, time_ms // {HOUR_MS} % 24 AS hour, item,
            CAST(click AS INTEGER) AS click, {unit} AS unit, hash({unit}) % {PARTS} AS part{", " * bool(optional) + optional}
        FROM {log.views["impressions"]}
        WHERE time_ms < {(own.first_day + days) * DAY_MS} AND hash({unit}, 'thin') % {_THIN} < {round(share * _THIN)}"""
    )


def read(log: Opened, statistic: Statistic) -> Reading:
    """A statistic and its errors, by the jackknife that leaves out one group of users at a time."""
    part, cell, amount = (np.asarray(c) for c in log.con.execute(statistic.query).fetchnumpy().values())
    sums = np.zeros((PARTS, statistic.cells))
    np.add.at(sums, (part.astype(np.int64), cell.astype(np.int64)), amount.astype(np.float64))
    total, there = sums.sum(axis=0), sums[sums.any(axis=1)]
    figures, n = statistic.figures(total), len(there)
    if n < 2:
        return Reading(figures, np.full(len(figures), np.nan), int(total.sum()))
    without = np.array([statistic.figures(total - own) for own in there])
    error = np.sqrt((n - 1) / n * np.square(without - without.mean(axis=0)).sum(axis=0))
    return Reading(figures, error, int(total.sum()))


def compare(real: Opened, simulated: Sequence[Opened]) -> dict[str, Any]:
    """The logs beside one another, cut to as many days and thinned to as many impressions as the smaller has.

    A difference is inside where it is no larger than 95% of the differences that sampling brings about: the errors of both logs,
    or, of three simulated logs or more, their spread, which has the chance of stores and campaigns in it, too.

    Args:
        real: The log that a scenario was fitted to.
        simulated: Logs of that scenario, each of another seed.

    A log of purchases alone is compared by purchases alone.

    Returns:
        `days`, `share` of the users of each log that is used, `statistics`: one row each with its distance (sum of absolute
        differences over the sum of real values) and the distance that sampling alone would show, and `rows` with the figures.

    Raises:
        Refused: If a log is empty or cannot be read.
    """
    logs = [real, *simulated]
    try:
        days, rows, share = _cut(logs)
        customers = all("purchases" in log.views for log in logs)
        bought = min(extent(log, "purchases").days for log in logs) if customers else None
        for log, own in zip(logs, share, strict=True):
            lay_views(log, days, own, bought)
        compared = [_compared(statistic, logs) for statistic in statistics(days or 1)]
    except duckdb.Error as error:
        raise Refused(f"realism: a log cannot be read: {str(error).splitlines()[0]}") from error
    return {
        "days": days, "purchase_days": bought, "seeds": len(simulated), "impressions": rows, "share": share,
        "statistics": [head for head, _ in compared], "rows": [row for _, own in compared for row in own],
    }  # fmt: skip


def _cut(logs: Sequence[Opened]) -> tuple[int, list[int], list[float]]:
    """Days that all logs of impressions have, impressions of each within them, and the share of its users to keep."""
    if not all("impressions" in log.views for log in logs):
        return 0, [0] * len(logs), [1.0] * len(logs)
    sizes = [extent(log) for log in logs]
    days = min(size.days for size in sizes)
    rows = [_row(log, _within(log, size, days))[0] for log, size in zip(logs, sizes, strict=True)]
    return days, rows, [min(rows) / n for n in rows]


def _compared(statistic: Statistic, logs: Sequence[Opened]) -> tuple[Row, list[Row]]:
    head = {"name": statistic.name, "title": statistic.title, "unit": statistic.unit}
    lacking = [need for need in statistic.needs for log in logs if need not in log.columns()]
    if lacking:
        return head | _nothing(f"a log has no {lacking[0]}"), []
    real, *simulated = (read(log, statistic) for log in logs)
    figure = np.mean([own.figures for own in simulated], axis=0)
    error, freedom = _sampling(real, simulated)
    half = stats.t.ppf(0.975, freedom) * error
    difference = figure - real.figures
    told = np.isfinite(difference) & (half > 0)  # no error at all: a share that must be 0 or 1
    rows = []
    for i, label in enumerate(statistic.labels):
        if not told[i]:
            continue
        rows.append(
            {
                "statistic": statistic.name, "figure": label, "real": float(real.figures[i]), "simulated": float(figure[i]),
                "low": float(figure[i] - half[i]), "high": float(figure[i] + half[i]),
                "inside": bool(abs(difference[i]) <= half[i]),
            }
        )  # fmt: skip
    if not rows:
        return head | _nothing("there is too little of it in a log"), []
    whole = float(np.abs(real.figures[told]).sum())
    if not whole:
        return head | _nothing("the real log has none of it"), []
    return head | {
        "distance": float(np.abs(difference[told]).sum()) / whole,
        "by_sampling": _MEAN_ABSOLUTE * float(error[told].sum()) / whole,
        "outside": sum(not row["inside"] for row in rows), "figures": len(rows), "events": [real.events, simulated[0].events],
        "why": "",
    }, rows  # fmt: skip


def _sampling(real: Reading, simulated: Sequence[Reading]) -> tuple[FloatArray, int]:
    """Standard error of simulated less real, were they of one market, and its degrees of freedom."""
    n = len(simulated)
    if n >= 3:
        return np.std([own.figures for own in simulated], axis=0, ddof=1) * np.sqrt(1 + 1 / n), n - 1
    return np.sqrt(real.error**2 + np.mean([own.error**2 for own in simulated], axis=0) / n), PARTS - 1


def _nothing(why: str) -> Row:
    return {"distance": None, "by_sampling": None, "outside": 0, "figures": 0, "events": [0, 0], "why": why}


def _within(log: Opened, size: Extent, days: int) -> str:
    return f"SELECT count(*) FROM {log.views['impressions']} WHERE time_ms < {(size.first_day + days) * DAY_MS}"


def _row(log: Opened, query: str) -> tuple[Any, ...]:
    (row,) = log.con.execute(query).fetchall()
    return tuple(row)
