"""The discriminator: what would give a simulated log away, by a classifier that sees impressions and their users' past."""

from typing import Any, NamedTuple

import duckdb
import numpy as np

from marketplace.errors import Refused, refusing
from marketplace.realism import Opened
from models.discriminator import tell_apart
from models.errors import Unusable
from synth.types import BoolArray, Float32Array, IntArray

_MOST = 150_000  # impressions of each log
_TEST = 3  # one user in so many tests
_NEEDS = ("impressions.user",)
_BINS, _FEW = 10, 24
_ALIKE = 0.01  # largest difference of shares that is not worth a word
_TELLING = 0.002  # loss of AUC from which a feature is said to give the simulation away
_PAST_RATE = "(coalesce(sum(click) OVER past, 0) / rate + 50) / (count(*) OVER past + 50)"  # over the mean
# by what a reader calls it, from `looks` and `ranked`; those of items are coarse, or they would name the items
_FEATURES = {
    "hour": "hour",
    "weekday": "day % 7",
    "slot": "slot",
    "click": "click",
    "user's impressions so far": "count(*) OVER before",
    "user's clicks so far": "coalesce(sum(click) OVER before, 0)",
    "minutes since the user's last impression": "(time_ms - max(time_ms) OVER before) / 6e4",
    "hours since the user's last click": "(time_ms - max(CASE WHEN click = 1 THEN time_ms END) OVER before) / 3.6e6",
    "impressions of the request": "count(*) OVER (PARTITION BY user, time_ms)",
    "item's rank, in doublings": "floor(log2(rank))",
    "item's click rate so far, over the mean": f"round(2 * {_PAST_RATE}) / 2",
}


def discriminate(real: Opened, simulated: Opened, days: int, *, seed: int, threads: int) -> dict[str, Any]:
    """Ask a classifier which of two logs an impression is from. Both have the views of `marketplace.realism.lay_views`.

    Two thirds of the users train it, the others test it. Figures of items are those that the same part of the users makes: with
    figures of the whole log the classifier would learn the log's own chance. The weekday is left out where a log does not have
    each as often.

    Returns:
        `auc` with its interval, `features`: rows with the loss of AUC when shuffled, and `words`; or `why` there is none.

    Raises:
        Refused: If a log cannot be read.
    """
    lacking = [need for need in _NEEDS for log in (real, simulated) if need not in log.columns()]
    if lacking:
        return {"auc": None, "features": [], "words": [], "why": f"a log has no {lacking[0]}"}
    there = set(_FEATURES)
    if days % 7:
        there.discard("weekday")
    if not all("impressions.slot" in log.columns() for log in (real, simulated)):
        there.discard("slot")
    names = [name for name in _FEATURES if name in there]
    try:
        parts = [_rows(log, names) for log in (real, simulated)]
    except duckdb.Error as error:
        raise Refused(f"realism: a log cannot be read: {str(error).splitlines()[0]}") from error
    second = np.repeat([False, True], [len(own.x) for own in parts])
    both, user, test = (np.concatenate([getattr(own, name) for own in parts]) for name in _Rows._fields)
    with refusing("realism", Unusable):
        found = tell_apart(both, names, second, user, test, seed=seed, threads=threads)
    rows = [{"feature": name, "loss": list(loss)} for name, loss in found.loss.items()]
    told = found.auc.low > 0.5  # else nothing gives the simulation away, whatever chance gives a feature
    telling = [name for name, loss in found.loss.items() if loss.estimate > _TELLING and loss.low > 0]
    return {
        "auc": list(found.auc), "rows": found.rows, "users": found.users, "features": rows, "why": "",
        "words": [_said(name, both[:, names.index(name)], second) for name in telling if told],
    }  # fmt: skip


class _Rows(NamedTuple):
    """Impressions of so many users that there are not too many."""

    x: Float32Array  # (m, F)
    user: IntArray  # (m,) by number
    test: BoolArray  # (m,)


def _rows(log: Opened, names: list[str]) -> _Rows:
    ((rows,),) = log.con.execute("SELECT count(*) FROM looks").fetchall()
    share = min(1.0, _MOST / rows)
    select = ", ".join(f'CAST({_FEATURES[name]} AS FLOAT) AS "{place}"' for place, name in enumerate(names))
    found = log.con.execute(
        f"""WITH split AS (SELECT *, hash(user, 'test') % {_TEST} = 0 AS test FROM looks),
        rates AS (SELECT test, avg(click) AS rate FROM split GROUP BY test),
        ranked AS (
            SELECT test, item, row_number() OVER (PARTITION BY test ORDER BY count(*) DESC, item) AS rank
            FROM split GROUP BY test, item
        ), asked AS (
            SELECT dense_rank() OVER (ORDER BY user) AS number, hash(user, 'asked') % 1000000 < {round(share * 1e6)} AS taken,
            test, {select} FROM split JOIN ranked USING (test, item) JOIN rates USING (test)
            WINDOW before AS (PARTITION BY user ORDER BY time_ms RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
                past AS (PARTITION BY test, item ORDER BY time_ms RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ) SELECT * EXCLUDE (taken) FROM asked WHERE taken ORDER BY ALL"""
    ).fetchnumpy()
    columns = [np.ma.filled(np.ma.asarray(found[str(place)], np.float32), np.nan) for place in range(len(names))]
    return _Rows(np.stack(columns, axis=1), np.asarray(found["number"], np.int64), np.asarray(found["test"], np.bool_))


def _said(name: str, values: np.ndarray, second: np.ndarray) -> str:
    """Where a feature's distribution differs most between the two logs."""
    seen = np.isfinite(values)
    there = np.unique(values[seen])
    ends = there if len(there) <= _FEW else np.unique(np.quantile(values[seen], np.linspace(0, 1, _BINS + 1)[1:]))
    bin_ = np.where(seen, np.searchsorted(ends, values), len(ends))
    count = np.stack([np.bincount(bin_[second == of], minlength=len(ends) + 1) for of in (False, True)])
    share = count / count.sum(axis=1, keepdims=True)
    at = int(np.abs(share[1] - share[0]).argmax())
    if abs(share[1, at] - share[0, at]) < _ALIKE:
        return f"{name}: alike in both logs by itself, it tells together with other features"
    if at == len(ends):
        where = "none"
    elif len(there) <= _FEW:
        where = f"{ends[at]:g}"
    else:
        where = f"at most {ends[at]:.3g}" + (f", above {ends[at - 1]:.3g}" if at else "")
    return f"{name}: {where} in {share[0, at]:.1%} of the real impressions, {share[1, at]:.1%} of the simulated"
