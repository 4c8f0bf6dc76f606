"""Corrections: what the rows of a log teach a task, where that is not their label as it stands.

A lesson turns a dataset into facts of its rows, once, and facts and present predictions into weights, at every step. Predictors
and calibrations learn from the same lessons, for a calibration on labels that are wrong would undo what a corrected training did.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.config import CorrectConfig
from models.data import Batch, BoolArray, Dataset, Float32Array, IntArray, Source
from models.delayed import METHODS, Law, Method, Seen, fit_dfm, fit_empirical
from models.errors import Unusable
from models.position import SlotCurve, examined_weights, identified
from models.propensity import ipw_weights, propensities_randomised
from models.schema import Kind, Schema, Side
from models.selection import doubly_robust_weights, ipw_cvr_weights
from models.weights import Weights

_HOUR_MS = 3_600_000
_LEAST_CONVERSIONS = 200  # for a law of delays of its own
_NOISE = 2.0  # standard errors by which a propensity may lie above 1
_LEAST, _MOST = 1e-6, 1 - 1e-6  # of a probability that weights are worked out from


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What rows teach a task."""

    facts: Callable[[Dataset], Float32Array]  # (n, s, F)
    weigh: Callable[..., Weights]  # present p and the F facts, each of one shape, arrays of numpy or torch
    rows: Callable[[Dataset], BoolArray]  # (n, s) which may have weight
    bounded: "Lesson | None" = None  # what teaches a calibration, where weights may be below 0: it takes none that are

    @staticmethod
    def of_labels(task: str) -> "Lesson":
        """Labels as they are."""

        def facts(data: Dataset) -> Float32Array:
            rows, label = data.taught_by(task), data.label(task)
            return np.stack((rows & label, rows & ~label), axis=2).astype(np.float32)

        return Lesson(facts=facts, weigh=_as_given, rows=lambda data: data.taught_by(task))

    def weights(self, p: Any, facts: Any) -> Weights:
        """Of rows with present predictions p (m,) and facts (m, F)."""
        return self.weigh(p.clip(_LEAST, _MOST), *(facts[..., i] for i in range(facts.shape[-1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Of the tasks that have one, and what they were made with."""

    of: dict[str, Lesson] = field(default_factory=dict)
    propensity: Float32Array | None = None  # (s,) of the slots, where they were measured
    notes: tuple[str, ...] = ()  # what they leave uncorrected, a line each

    def get(self, task: str) -> Lesson | None:
        """None where labels are taken as they are."""
        return self.of.get(task)


NO_LESSONS = Lessons()
# probabilities of click and of conversion given click, (n, k) each
Scores = Callable[[Batch], tuple[Float32Array, Float32Array]]


def lessons_of(source: Source, correct: CorrectConfig, pilot: Scores | None = None) -> Lessons:
    """What a log teaches under a config.

    Args:
        source: The log that is trained on.
        correct: Of the predictor.
        pilot: An uncorrected model of that log, for a `selection`.

    Raises:
        Unusable: If the log lacks what a correction needs, or does not identify it.
    """
    of, propensity = {}, None
    notes: tuple[str, ...] = ()
    method = METHODS[correct.delay]
    if correct.delay not in ("none", "oracle"):
        of["conversion"], notes = _delayed(source, method, correct)
    if correct.selection != "none":
        assert pilot is not None
        of["conversion"] = _selected(of.get("conversion"), correct, pilot)
    if correct.position in ("tower", "pal"):
        _refuse_unidentified(source)
    if correct.position == "ipw":
        propensity = _measured(source)
        of["click"] = _examined(propensity, correct.least_propensity)
    return Lessons(of=of, propensity=propensity, notes=notes)


def streams(correct: CorrectConfig) -> bool:
    """Whether the delays' method reads conversions when they come."""
    return METHODS[correct.delay].streams


def _delayed(source: Source, method: Method, correct: CorrectConfig) -> tuple[Lesson, tuple[str, ...]]:
    column, window_h = _ad_column(source.schema, "delay_by", correct.delay_by), correct.window_hours
    laws, oldest_h = _laws(source, method, column, window_h)
    notes: tuple[str, ...] = ()
    if method.law == "empirical" and oldest_h < window_h:
        notes = (
            f"the oldest click is {oldest_h:.0f} h old and conversions count for {window_h:g} h: those that come later than any "
            "seen are not corrected for",
        )  # fmt: skip

    def facts(data: Dataset) -> Float32Array:
        rows = data.shown & data.click
        seen, value = _seen(data, rows), _values(data, column)[rows]

        def by(hours: np.ndarray) -> np.ndarray:
            share = laws[-1].by(hours)
            for own, law in laws.items():
                share = np.where(value == own, law.by(hours), share) if own >= 0 else share
            return share

        out = np.zeros((*rows.shape, 3), np.float32)
        out[..., 2] = 1.0
        out[rows] = np.stack(method.facts(seen, by, correct.wait_hours, correct.window_hours), axis=1)
        out[..., 2] = np.maximum(out[..., 2], _LEAST)
        return out

    return Lesson(facts=facts, weigh=method.weigh, rows=lambda data: data.shown & data.click), notes


def _laws(source: Source, method: Method, column: int | None, window_h: float) -> tuple[dict[int, Law], float]:
    """Law of the delays of each value of a category that has conversions enough, of all others at -1; and the oldest click."""
    parts = []
    for data in source.blocks():
        rows = data.shown & data.click
        seen = _seen(data, rows)
        # what a stream takes in since some time is not all that came of its clicks: laws are read from whole labels
        parts.append((seen.delay_h, seen.age_h, _values(data, column)[rows]))
    delay, age, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    came = delay <= window_h

    def law(rows: BoolArray) -> Law:
        if method.law == "empirical":
            return fit_empirical(delay[rows & came], age[rows & came], window_h)
        return fit_dfm(delay[rows], age[rows], window_h=window_h, law=method.law)[1]

    counts = np.bincount(value[came & (value >= 0)])
    own = {int(v): law(value == v) for v in np.flatnonzero(counts >= _LEAST_CONVERSIONS)}
    return {-1: law(np.ones_like(came))} | own, float(age.max(initial=0.0))


def _seen(data: Dataset, rows: BoolArray) -> Seen:
    if data.delay_ms is None or data.snapshot_ms is None:
        raise Unusable("a correction of delays needs the times of conversions, which this log does not give")
    delay = data.delay_ms[rows].astype(np.float64) / _HOUR_MS
    age = np.broadcast_to(data.snapshot_ms - data.time_ms[:, None], rows.shape)[rows] / _HOUR_MS
    since = (data.snapshot_ms - data.since_ms) / _HOUR_MS if data.since_ms else np.inf
    return Seen(age, np.where(delay < 0, np.nan, delay), since)


def _values(data: Dataset, column: int | None) -> IntArray:
    """(n, s) of a category of ads, -1 where there is none."""
    if column is None:
        return np.full(data.batch.row.shape, -1)
    return data.batch.ad_category(column)


def _ad_column(schema: Schema, setting: str, name: str) -> int | None:
    names = [c.name for c in schema.columns(Kind.CATEGORICAL, Side.AD)]
    if name and name not in names:
        raise Unusable(f'correct.{setting} is {name}, which is no category of ads; there are {", ".join(names)}, or ""')
    return names.index(name) if name else None


def _selected(lesson: Lesson | None, correct: CorrectConfig, pilot: Scores) -> Lesson:
    """Clicked rows by the inverse of their probability of a click; or all rows, by what they are expected to convert, too."""
    least = correct.least_propensity
    rows = Lesson.of_labels("conversion").rows if lesson is None else lesson.rows

    def by_propensity(data: Dataset) -> Float32Array:
        own = (lesson or Lesson.of_labels("conversion")).facts(data)
        clicked, inverse = rows(data), np.zeros(data.shown.shape, np.float32)
        p = pilot(data.batch)[0][clicked]
        inverse[clicked] = ipw_cvr_weights(Weights(np.ones_like(p), np.zeros_like(p)), p, least=least).positive
        return np.concatenate((own, inverse[..., None]), axis=2)

    def weigh(p: Any, *facts: Any) -> Weights:
        *own, inverse = facts
        weights = Weights(*own) if lesson is None else lesson.weigh(p, *own)
        return Weights(weights.positive * inverse, weights.negative * inverse)

    def doubly_robust(data: Dataset) -> Float32Array:
        shown, (click, conversion) = data.taught_by("click"), pilot(data.batch)
        out = np.zeros((*shown.shape, 2), np.float32)
        weights = doubly_robust_weights(
            data.click[shown], data.conversion[shown], click[shown], conversion[shown], least=least
        )
        out[shown] = np.stack(weights, axis=1)
        return out

    by_clicks = Lesson(facts=by_propensity, weigh=weigh, rows=rows)
    if correct.selection == "ipw":
        return by_clicks
    return Lesson(facts=doubly_robust, weigh=_as_given, rows=lambda data: data.taught_by("click"), bounded=by_clicks)


def _examined(propensity: Float32Array, least: float) -> Lesson:
    """Clicks by the inverse of the probability that their slot is looked at."""

    def facts(data: Dataset) -> Float32Array:
        rows = data.taught_by("click")
        out = np.zeros((*rows.shape, 2), np.float32)
        slot = np.minimum(np.nonzero(rows)[1], len(propensity) - 1)  # a later day may have more
        out[rows] = np.stack(ipw_weights(data.click[rows], propensity.astype(np.float64), slot, least=least), axis=1)
        return out

    return Lesson(facts=facts, weigh=_as_given, rows=lambda data: data.taught_by("click"))


def looked(slots: SlotCurve) -> Lesson:
    """Clicks that need a look, of which the slot decides: what they teach of the click in the top slot."""

    def facts(data: Dataset) -> Float32Array:
        slot = np.minimum(data.batch.slot, len(slots.values) - 1)  # a later day may have more
        own = np.broadcast_to(slots.values[slot], data.shown.shape)
        return np.stack((data.click, own), axis=2).astype(np.float32)

    def weigh(p: Any, label: Any, examination: Any) -> Weights:
        return examined_weights(label, examination, p)

    return Lesson(facts=facts, weigh=weigh, rows=lambda data: data.taught_by("click"))


def _as_given(p: Any, positive: Any, negative: Any) -> Weights:
    return Weights(positive, negative)


def _measured(source: Source) -> Float32Array:
    """Propensities of the slots, from the requests whose winners were shuffled."""
    slots, clicks, n_slots = [], [], 0
    for data in source.blocks():
        if data.randomised is None:
            raise Unusable(
                "position ipw needs randomised slots, and this log does not say which are (log.randomised_share)"
            )
        rows = data.taught_by("click") & data.randomised[:, None]
        slots.append(np.nonzero(rows)[1])
        n_slots = max(n_slots, data.shown.shape[1])
        clicks.append(data.click[rows])
    slot, click = np.concatenate(slots), np.concatenate(clicks)
    if not len(slot):
        raise Unusable(
            "position ipw needs randomised slots, and no request of these days has them (log.randomised_share)"
        )
    found = propensities_randomised(slot, click, n_slots)
    noisy = (found.value > 1) & (found.value - 1 <= _NOISE * found.error)
    return np.where(noisy, 1.0, found.value).astype(np.float32)


def _refuse_unidentified(source: Source) -> None:
    """Ads and slots must hang together; ads are told apart by the category of most values."""
    columns = source.schema.columns(Kind.CATEGORICAL, Side.AD)
    finest = int(np.argmax([c.cardinality for c in columns]))
    pairs: list[np.ndarray] = []
    for data in source.blocks():
        rows = data.taught_by("click")
        slot = np.nonzero(rows)[1]
        pairs = [np.unique(np.concatenate((*pairs, np.stack((_values(data, finest)[rows], slot), axis=1))), axis=0)]
    identified(pairs[0][:, 0], pairs[0][:, 1], int(pairs[0][:, 1].max()) + 1)
