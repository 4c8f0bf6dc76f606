"""Repurchase: how long after a purchase the next one comes, and whether customers buy at their own time of day."""

from typing import NamedTuple

import duckdb
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, ndtr
from scipy.stats import norm

from fitting.customers import DAY_MS, FloatArray
from fitting.errors import Unfit
from fitting.types import Estimate

_PARTS = 6  # of the day, four hours each
_LEAST = 20  # intervals, or customers with two purchases, that tell anything
_Z = float(norm.ppf(0.975))
_STEP = 1e-4
_SURE = 15.0  # logit beyond which all, or none, come again
_EVEN = -3.0  # log sigma below which days are too coarse to tell
_FIGURES = {
    "purchases.interval_days": "days, median",
    "purchases.interval_sigma": "sigma of a lognormal",
    "purchases.comes_again": "share of purchases that another follows, however late",
}
_HIDDEN = (
    "the time between orders also depends on how often the user comes and on what is offered then, and a log of orders does not "
    "tell them from appetite"
)


class Intervals(NamedTuple):
    """Whole days after a purchase, counted."""

    days: FloatArray  # (k,) >= 0; to the next purchase where there is one, else to the end of the log
    ended: FloatArray  # (k,) intervals that a purchase ended
    open: FloatArray  # (k,) that the log's end cut


def repurchase(con: duckdb.DuckDBPyConnection, view: str = "purchases") -> list[Estimate]:
    """Intervals between a customer's purchases, of one item where items are logged, and the usual part of the day.

    Purchases on one day are one. An interval is lognormal if it ends at all: the last is cut by the log's end, and may never
    end (a mixture cure model: Boag 1949; Farewell 1982). Its errors take customers as independent (sandwich).

    Args:
        con: That has the view.
        view: Of purchases.
    """
    columns = {str(row[0]) for row in con.execute(f"DESCRIBE {view}").fetchall()}
    hidden = [
        Estimate(f"world.habit.{name}", None, None, None, 0, unit, "", _HIDDEN)
        for name, unit in (
            ("period_days", "days, median"),
            ("period_sigma", "sigma of a lognormal"),
            ("daypart", "logits"),
        )
    ]
    return [*_intervals(con, view, "item" in columns), _usual_part(con, view), *hidden]


def fit_intervals(found: Intervals) -> FloatArray:
    """Maximum likelihood of logit(share that comes again), log median, log sigma: (3,).

    Raises:
        Unfit: If fewer than 20 intervals ended.
    """
    if found.ended.sum() < _LEAST:
        raise Unfit(f"{found.ended.sum():,.0f} intervals between purchases ended, {_LEAST} are needed")
    middle = np.log(np.average(found.days + 0.5, weights=found.ended))
    start = np.array([0.0, middle, 0.0])
    n = found.ended.sum() + found.open.sum()
    return np.asarray(
        minimize(
            lambda x: -(found.ended @ _terms(x, found.days)[0] + found.open @ _terms(x, found.days)[1]) / n, start,
            method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12, "maxiter": 4_000},
            bounds=[(-_SURE, _SURE), (None, None), (_EVEN, None)],
        ).x
    )  # fmt: skip


def _terms(x: FloatArray, days: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log-probabilities (k,) that an interval ends on a day, half a day either side, and that it has not ended by it."""
    again, median, sigma = expit(x[0]), x[1], np.exp(x[2])
    edge = np.log(np.stack([np.maximum(days - 0.5, 1e-9), days + 0.5]))
    low, high = ndtr((edge - median) / sigma)
    return np.log(np.maximum(again * (high - low), 1e-300)), np.log(np.maximum(1 - again * high, 1e-300))


def _intervals(con: duckdb.DuckDBPyConnection, view: str, by_item: bool) -> list[Estimate]:
    whose = '"user", item' if by_item else '"user"'
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE interval_of_purchase AS
        SELECT "user", CAST(coalesce(next, final) - day AS INTEGER) AS days, next IS NOT NULL AS ended FROM (
            SELECT {whose}, day, lead(day) OVER (PARTITION BY {whose} ORDER BY day) AS next, max(day) OVER () AS final
            FROM (SELECT DISTINCT {whose}, CAST(floor(time_ms / {DAY_MS}) AS BIGINT) AS day FROM {view} WHERE time_ms IS NOT NULL)
        )
    """)
    rows = con.execute(
        "SELECT days, count_if(ended) AS ended, count_if(NOT ended) AS open FROM interval_of_purchase GROUP BY days ORDER BY days"
    ).fetchnumpy()
    found = Intervals(*(np.asarray(rows[name], float) for name in ("days", "ended", "open")))
    events = int(found.ended.sum())
    try:
        x = fit_intervals(found)
    except Unfit as error:
        return [Estimate(name, None, None, None, events, unit, "", str(error)) for name, unit in _FIGURES.items()]
    margin = _Z * np.sqrt(np.diag(_sandwich(con, x, found)))
    low, high = x - margin, x + margin
    per = "of one user at one item" if by_item else "of one user"
    method = f"intervals {per}, lognormal with a share that never ends, right-censored; sandwich, users as clusters"
    back = np.exp, np.exp, expit
    return [
        Estimate(name, float(to(x[i])), float(to(low[i])), float(to(high[i])), events, unit, method)
        for (name, unit), to, i in zip(_FIGURES.items(), back, (1, 2, 0), strict=True)
    ]


def _sandwich(con: duckdb.DuckDBPyConnection, x: FloatArray, found: Intervals) -> FloatArray:
    """Covariance (3, 3) of the estimates, users as clusters: scores are summed by user in the database."""

    def scores(at: FloatArray) -> FloatArray:  # (2, k, 3)
        steps = np.eye(3) * _STEP
        return np.stack([
            (np.stack(_terms(at + step, found.days)) - np.stack(_terms(at - step, found.days))) / (2 * _STEP) for step in steps
        ], axis=-1)  # fmt: skip

    def total(at: FloatArray) -> FloatArray:
        ended, cut = scores(at)
        return found.ended @ ended + found.open @ cut

    bread = -np.array([(total(x + step) - total(x - step)) / (2 * _STEP) for step in np.eye(3) * _STEP])
    ended, cut = scores(x)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE score_of_interval (days INTEGER, ended BOOLEAN, a DOUBLE, b DOUBLE, c DOUBLE)"
    )
    days = found.days.astype(int).tolist()
    rows = [[day, True, *row] for day, row in zip(days, ended.tolist(), strict=True)]
    rows += [[day, False, *row] for day, row in zip(days, cut.tolist(), strict=True)]
    con.executemany("INSERT INTO score_of_interval VALUES (?, ?, ?, ?, ?)", rows)
    pairs = ", ".join(f"sum({p} * {q})" for p in "abc" for q in "abc")
    (meat,) = con.execute(f"""
        SELECT {pairs} FROM (
            SELECT sum(a) AS a, sum(b) AS b, sum(c) AS c FROM interval_of_purchase JOIN score_of_interval USING (days, ended)
            GROUP BY "user")
    """).fetchall()
    inverse = np.linalg.pinv((bread + bread.T) / 2, hermitian=True)
    return np.asarray(inverse @ np.reshape(np.asarray(meat, float), (3, 3)) @ inverse)


def _usual_part(con: duckdb.DuckDBPyConnection, view: str) -> Estimate:
    """Of two purchases of one user: how much likelier they share a part of the day than two of anybody, 1 being always.

    Unlike the share of the most used part, pairs do not make a habit out of chance where a user has few purchases. If a
    purchase falls into the user's usual part with probability q and else anywhere, the excess is q squared.
    """
    name, unit = "purchases.same_daypart", "excess over chance, of all that is possible"
    method = (
        f"pairs of purchases of one user in the same of {_PARTS} parts of the day, over pairs of all; users as clusters"
    )
    part = f"CAST(floor((time_ms % {DAY_MS}) * {_PARTS} / {DAY_MS}) AS INTEGER)"
    ((clocked,),) = con.execute(f"SELECT count(DISTINCT time_ms % {DAY_MS}) FROM {view}").fetchall()
    if clocked <= 1:
        return Estimate(name, None, None, None, 0, unit, "", "purchases have dates and no time of day")
    shares = con.execute(f"SELECT count(*) FROM {view} WHERE time_ms IS NOT NULL GROUP BY {part}").fetchnumpy()
    count = np.asarray(next(iter(shares.values())), float)
    chance = float(np.square(count / count.sum()).sum())
    if chance > 1 - 1e-9:
        return Estimate(
            name, None, None, None, int(count.sum()), unit, method, "all purchases fall into one part of the day"
        )
    ((users, mean, spread),) = con.execute(f"""
        SELECT count(*), avg(same), coalesce(stddev_samp(same), 0) FROM (
            SELECT sum(n * (n - 1)) / (sum(n) * (sum(n) - 1)) AS same FROM (
                SELECT "user", {part}, count(*) AS n FROM {view} WHERE time_ms IS NOT NULL GROUP BY ALL)
            GROUP BY "user" HAVING sum(n) > 1)
    """).fetchall()
    if users < _LEAST:
        return Estimate(
            name, None, None, None, users, unit, method, f"{users} customers bought twice, {_LEAST} are needed"
        )
    value, error = (mean - chance) / (1 - chance), spread / np.sqrt(users) / (1 - chance)
    return Estimate(name, value, value - _Z * error, value + _Z * error, int(count.sum()), unit, method)
