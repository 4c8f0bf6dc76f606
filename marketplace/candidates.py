"""Candidates of a log's requests, to time a model on: a log has the ads that were shown, a service scores all that compete."""

from pathlib import Path

import duckdb
import numpy as np

from marketplace.comparison import days_of
from models.data import AdTable, Batch, Dataset
from models.errors import Unusable
from models.inputs import features
from models.log import read_log
from models.schema import Schema, load_schema
from models.scoring import refuse_other_schema
from synth import draws
from synth.draws import Cause
from synth.types import DAY_MS


def candidates_of(log: Path, schema: Schema, k: int, n: int, *, seed: int = 0) -> Batch:
    """n requests of a log, its last ones, with k candidates each, as for `crowd`.

    Args:
        log: Folder of the log.
        schema: Of the model that is to score them.
        k: Candidates per request, at least 1.
        n: Requests, at least 1.
        seed: Of the draws.

    Raises:
        Unusable: If the log cannot be read, is of another schema, or has fewer requests.
    """
    refuse_other_schema("the model", features(schema), load_schema(log))
    return crowd(last_requests(log, n), k, n, seed=seed)


def last_requests(log: Path, n: int) -> Dataset:
    """The log's last day, or, where that has fewer than n requests, its end from the n-th last request on.

    Raises:
        Unusable: If the log cannot be read or has fewer than n requests.
    """
    there, since_ms = _nth_last(log, n)
    if there < n:
        raise Unusable(f"the log in {log} has {there:,} requests, {n:,} are needed")
    stop_ms = days_of(log) * DAY_MS
    return read_log(log, stop_ms, start_ms=min(since_ms, stop_ms - DAY_MS))


def crowd(data: Dataset, k: int, n: int, *, seed: int) -> Batch:
    """n requests of a log, evenly spread, with k candidates each for the top slot.

    A candidate is a drawn impression: its ad, as it was when it was last shown, and its features of user and ad together. Ads are
    told apart by their categories.

    Args:
        data: At least n requests and one impression.
        k: Candidates per request.
        n: Requests.
        seed: Of the draws.
    """
    batch = data.batch.take(np.linspace(0, len(data.batch) - 1, n).astype(np.int64))
    ads, cross = data.batch.ads, data.batch.cross[data.shown]
    backwards, of = np.unique(ads.categorical[::-1], axis=0, return_index=True, return_inverse=True)[1:]
    last, ad = len(ads.categorical) - 1 - backwards, of.ravel()[::-1]
    drawn = (draws.uniform(seed, Cause.TIMED_AD, np.arange(n)[:, None], np.arange(k)) * len(ad)).astype(np.int64)
    impression = data.batch.row[data.shown]
    return Batch(
        categorical=batch.categorical, dense=batch.dense, lists=batch.lists,
        ads=AdTable(categorical=ads.categorical[last], dense=ads.dense[last], vector=ads.vector[last]),
        row=ad[impression][drawn].astype(np.int32), cross=cross[drawn], slot=np.zeros(k, np.int32),
    )  # fmt: skip


def requests_in(log: Path) -> int:
    """How many requests a log has.

    Raises:
        Unusable: If it cannot be read.
    """
    return _nth_last(log, 1)[0]


def _nth_last(log: Path, n: int) -> tuple[int, int]:
    """How many requests a log has, and when the n-th last came, 0 if there are fewer."""
    try:
        with duckdb.connect() as db:
            ((there, since_ms),) = db.execute(
                """SELECT count(*), (SELECT time_ms FROM read_parquet($log) ORDER BY time_ms DESC LIMIT 1 OFFSET $before)
                FROM read_parquet($log)""",
                {"log": str(log / "requests" / "*.parquet"), "before": n - 1},
            ).fetchall()
    except duckdb.Error as error:
        raise Unusable(f"the log in {log} is damaged: {str(error).splitlines()[0]}") from None
    return int(there), int(since_ms or 0)
