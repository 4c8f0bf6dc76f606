"""Cohorts: the impressions of a log told apart, so that a model can be scored on each part."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from marketplace.errors import Refused
from models.data import Dataset, IdArray, IntArray, Source
from models.schema import Column, Kind, Side
from models.scores import score
from synth.types import DAY_MS, HOUR_MS, BoolArray, FloatArray

AGES = {"under 1 day": 0, "1 to 3 days": DAY_MS, "3 days and over": 3 * DAY_MS}  # parts, each from an age in ms on
AGES_OF_A_DAY = {"under 6 h": 0, "6 to 12 h": 6 * HOUR_MS, "12 h and over": 12 * HOUR_MS}
FAMILIARITY, AGE = "familiarity", "age of label"


class Parting(NamedTuple):
    """Impressions in named parts, none in two."""

    names: tuple[str, ...]
    part: IntArray  # (n, s) index into `names`; -1 is in none

    def masks(self) -> Iterator[tuple[str, BoolArray]]:
        """Each part's name, and (n, s) True for its impressions."""
        for i, name in enumerate(self.names):
            yield name, self.part == i


def by_familiarity(data: Dataset) -> Parting:
    """Repurchase, where the user is known to have ordered from the store, and exploration.

    Raises:
        Refused: If the log has no feature known_orders.
    """
    _check("known_orders", [c.name for c in data.schema.columns(Kind.DENSE, Side.CROSS)], "feature of user and ad")
    return _of_shown(data, ("repurchase", "exploration"), np.where(data.cross("known_orders") > 0, 0, 1))


def by_slot(data: Dataset) -> Parting:
    """By slot, 0 on top."""
    slots = data.batch.row.shape[1]
    return _of_shown(data, tuple(map(str, range(slots))), np.arange(slots))


def by_age(data: Dataset, snapshot_ms: int, ages: Mapping[str, int] = AGES) -> Parting:
    """Clicked impressions by the time from request to snapshot, in which their conversions had to come in.

    Args:
        data: Whose.
        snapshot_ms: When labels were read.
        ages: By a part's name, the age in ms that it begins at, rising from 0.
    """
    part = np.searchsorted(list(ages.values())[1:], snapshot_ms - data.time_ms, side="right")
    return _of_shown(data, tuple(ages), np.where(data.click, part[:, None], -1))


def by_novelty(data: Dataset, seen: IntArray, *, column: str = "store") -> Parting:
    """New or seen: whether the ad's category is among those `seen`, as `shown_in` finds them; a missing one is neither.

    Raises:
        Refused: If the log has no such categorical column.
    """
    value = category(data, column)
    return _of_shown(data, ("new", "seen"), np.where(value < 0, -1, np.isin(value, seen)))


def by_column(data: Dataset, column: str) -> Parting:
    """By the value of a categorical column of requests or ads, by name where the schema names values; those that occur.

    Raises:
        Refused: If the log has no such column.
    """
    value = category(data, column)
    names = _categorical(data, column).values
    found = np.unique(value[data.shown])
    named = tuple("missing" if v < 0 else names[v] if names else str(v) for v in found)
    return _of_shown(data, named, np.searchsorted(found, value))


def cohorts_of_a_day(data: Dataset, seen: IntArray, end_ms: int) -> dict[str, Parting]:
    """The cohorts that an offline table shows of a day of a marketplace's log, by name.

    Args:
        data: Requests of the day.
        seen: Stores shown in the days of training.
        end_ms: Of the day, when the log was read.

    Raises:
        Refused: If the log lacks a column that one is by.
    """
    return {
        FAMILIARITY: by_familiarity(data), "slot": by_slot(data), AGE: by_age(data, end_ms, AGES_OF_A_DAY),
        "novelty": by_novelty(data, seen), **{name: by_column(data, name) for name in ("goal", "platform", "surface")},
    }  # fmt: skip


def category(data: Dataset, column: str) -> IdArray:
    """(n, s) value of a categorical column of the request or of the shown ad; -1 is missing or no ad.

    Raises:
        Refused: If the log has no such column.
    """
    wanted = _categorical(data, column)
    place = data.schema.columns(Kind.CATEGORICAL, wanted.side).index(wanted)
    if wanted.side is Side.REQUEST:
        return np.where(data.shown, data.batch.categorical[:, place, None], np.int32(-1))
    return data.batch.ad_category(place)


def shown_in(source: Source, column: str = "store") -> IntArray:
    """The distinct values, rising, that a categorical column has over the impressions of a log, such as the training days'.

    Raises:
        Refused: If the log has no such column.
    """
    found = np.empty(0, np.int32)
    for block in source.blocks():
        found = np.union1d(found, category(block, column))
    return found[found >= 0]


def score_by(
    p: FloatArray, label: BoolArray, chosen: BoolArray, cohorts: Mapping[str, Parting]
) -> list[dict[str, Any]]:
    """Score forecasts on every part of every cohort that has impressions.

    Args:
        p: (n, s) forecasts.
        label: (n, s).
        chosen: (n, s) True for the impressions that count.
        cohorts: By name.

    Returns:
        Rows of the cohort's name, the part's as `value`, and the fields of `models.scores.Scores`.
    """
    return [
        {"cohort": cohort, "value": name} | asdict(score(p[members], label[members]))
        for cohort, parting in cohorts.items()
        for name, mask in parting.masks()
        if (members := chosen & mask).any()
    ]


def _of_shown(data: Dataset, names: tuple[str, ...], part: IntArray) -> Parting:
    return Parting(names, np.where(data.shown, part, -1))


def _categorical(data: Dataset, name: str) -> Column:
    columns = {c.name: c for side in (Side.REQUEST, Side.AD) for c in data.schema.columns(Kind.CATEGORICAL, side)}
    _check(name, columns, "categorical column of requests or ads")
    return columns[name]


def _check(name: str, names: Iterable[str], what: str) -> None:
    known = list(names)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
        raise Refused(f"cohort {name!r}: the log has no such {what}; the nearest are {', '.join(near) or 'none'}")
