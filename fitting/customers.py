"""Customers: the days on which each bought, brought to what models of repeat purchase need."""

from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fitting.errors import Unfit

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DAY_MS = 86_400_000
MOST = 100_000  # customers, beyond which a sample tells enough
_LONGEST = 3_660  # days between purchases that are told apart


class Customers(NamedTuple):
    """Customers seen from their first purchase to one day; purchases of one customer on one day are one.

    Customers without a repeat differ by their age alone, and those of one age are one row.
    """

    gaps: "sparse.csr_array[np.float64]"  # (g, 2 d) days between purchases: how often each, then those since the last, a 1
    weight: FloatArray  # (g,) customers of the row
    repeats: IntArray  # (g,) x, purchases after the first
    last: FloatArray  # (g,) t_x, days from the first purchase to the last
    age: FloatArray  # (g,) T, days from the first purchase to the end

    @property
    def days(self) -> int:
        """d: gaps are 0 to d - 1 days."""
        return self.gaps.shape[1] // 2


def purchase_days(
    con: duckdb.DuckDBPyConnection, view: str = "purchases", most: int = MOST
) -> tuple[IntArray, IntArray]:
    """Who bought on which days: customers (m,) from 0 and days (m,) since the epoch, in order of both.

    Args:
        con: That has the view.
        view: With the columns user and time_ms.
        most: Customers at most; of more, those with the smallest hashes are taken, all their purchases with them.

    Raises:
        Unfit: If there are no purchases.
    """
    some = f"""
        SELECT "user", row_number() OVER (ORDER BY h, "user") - 1 AS customer
        FROM (SELECT "user", hash("user") AS h FROM {view} GROUP BY "user") QUALIFY customer < {int(most)}
    """
    rows = con.execute(f"""
        SELECT DISTINCT customer, CAST(floor(time_ms / {DAY_MS}) AS BIGINT) AS day FROM {view} JOIN ({some}) USING ("user")
        WHERE time_ms IS NOT NULL ORDER BY customer, day
    """).fetchnumpy()
    if not len(rows["day"]):
        raise Unfit(f"{view}: there are no purchases")
    return np.asarray(rows["customer"], np.int64), np.asarray(rows["day"], np.int64)


def seen_until(customer: IntArray, day: IntArray, end: int, joined: int | None = None) -> Customers:
    """The customers who first bought up to the day `end`, by their purchases up to then.

    Args:
        customer: (m,) in rising order.
        day: (m,) rising within a customer, no day twice.
        end: Last day.
        joined: Last day of the first purchase, where only those are meant who had bought by then.

    Raises:
        Unfit: If nobody had bought by then, nobody had bought twice, or purchases lie more than ten years apart.
    """
    customer, day = customer[day <= end], day[day <= end]
    if not len(day):
        raise Unfit(f"nobody had bought by day {end}")
    opens = np.r_[True, customer[1:] != customer[:-1]]
    row = np.cumsum(opens) - 1
    first, final = day[opens], day[np.r_[opens[1:], True]]
    if joined is not None and (late := first > joined).any():
        return seen_until(customer[~late[row]], day[~late[row]], end)
    repeats = np.bincount(row) - 1
    if not repeats.any():
        raise Unfit(f"none of {len(first)} customers bought on two days: nothing tells how often they come back")
    n, d = len(first), int(end - first.min()) + 1
    if d > _LONGEST:
        raise Unfit(f"purchases span {d} days, more than {_LONGEST}")
    again = ~opens
    gap = (day[1:] - day[:-1])[again[1:]]
    at = np.r_[row[again], np.arange(n)], np.r_[gap, d + end - final]
    gaps = sparse.coo_array((np.ones(len(gap) + n), at), shape=(n, 2 * d)).tocsr()
    return _grouped(gaps, repeats, (final - first).astype(float), (end - first).astype(float))


def _grouped(gaps: Any, repeats: IntArray, last: FloatArray, age: FloatArray) -> Customers:
    once = np.flatnonzero(repeats == 0)
    _, at, count = np.unique(age[once], return_index=True, return_counts=True)
    keep = np.r_[once[at], np.flatnonzero(repeats)]
    weight = np.r_[count, np.ones(len(keep) - len(at))].astype(float)
    return Customers(gaps[keep], weight, repeats[keep], last[keep], age[keep])
