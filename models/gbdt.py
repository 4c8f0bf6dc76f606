"""Gradient-boosted trees (LightGBM), one booster per task; lists and content vectors do not enter."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numba import njit
from scipy.special import expit, logit

from models.config import GbdtConfig
from models.corrections import NO_LESSONS, Lesson, Lessons
from models.data import Batch, BoolArray, Dataset, Float32Array, IdArray, IntArray, Source
from models.errors import Unusable
from models.position import FloatArray, SlotCurve, additive_step, curve_of, examination_step, examined_weights
from models.schema import Kind, Schema, Side
from models.weights import Weights

_MANY = 64  # a category with more values than this is left to its aggregates
_CARD = "gbdt.json"
_MOST = 1 - 1e-9  # of a probability that is divided by what is left
_ROUNDS, _CLOSE, _LEAST_RATE = 50, 1e-3, 1e-6  # of the search for the rate that trees start from


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gbdt:
    """Two boosters over one matrix of features."""

    click: lightgbm.Booster
    conversion: lightgbm.Booster
    ad_categories: IdArray  # columns of the ad's categories with few enough values
    start: tuple[float, float] = (0.0, 0.0)  # logits that the boosters add to
    sees_slot: bool = True
    slots: SlotCurve | None = None
    threads: int = 1  # of a call

    @property
    def device(self) -> str:
        """It runs on the processor."""
        return "cpu"

    @property
    def parameters(self) -> int:
        """Splits and leaves of all trees."""
        trees = [b.trees_to_dataframe() for b in (self.click, self.conversion)]
        return sum(len(table) for table in trees)

    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click and of conversion given click."""
        x = matrix(batch, self.ad_categories, sees_slot=self.sees_slot)
        return self._raw(self.click, x, batch) + self.start[0], self._raw(self.conversion, x, batch) + self.start[1]

    def _raw(self, booster: lightgbm.Booster, x: Float32Array, batch: Batch) -> Float32Array:
        raw: Any = booster.predict(x, raw_score=True, num_threads=self.threads)
        return raw.astype(np.float32).reshape(batch.row.shape)

    def save(self, folder: Path) -> None:
        """Write both boosters as LightGBM's text, and what stands beside them as JSON."""
        self.click.save_model(folder / "click.txt")
        self.conversion.save_model(folder / "conversion.txt")
        card = {"start": self.start, "sees_slot": self.sees_slot, "slots": self.slots and self.slots.card()}
        (folder / _CARD).write_text(json.dumps(card, indent=1) + "\n")


def fit_gbdt(
    data: Source, config: GbdtConfig, *, seed: int, threads: int,
    progress: Callable[[float], None] = lambda share: None, lessons: Lessons = NO_LESSONS,
) -> Gbdt:  # fmt: skip
    """Train on the shown ads for clicks, on the clicked ones for conversions, or on what the lessons say.

    Raises:
        Unusable: If there is no click, or no conversion, to learn from.
    """
    few, position = _few(data.schema), config.correct.position
    # the one predictor that holds its whole log, though of the shown ads' features only: LightGBM bins them together
    parts = [_rows(block, few, position == "feature", lessons) for block in data.blocks()]
    click, conversion = (_Task.stack([part[i] for part in parts]) for i in (0, 1))
    settings = {
        "num_leaves": config.leaves, "learning_rate": config.learning_rate, "min_data_in_leaf": config.min_rows_per_leaf,
        "num_threads": threads, "seed": seed, "deterministic": True, "force_row_wise": True,
        "verbose": -1,
    }  # fmt: skip
    curve = _Curve(position, click) if position in ("tower", "pal") else None

    def booster(
        task: _Task,
        name: str,
        done: float,
        weigh: Callable[[FloatArray], Weights] | None,
        of_slots: _Curve | None = None,
    ) -> Any:
        task.refuse_one_class(name)

        def report(env: Any) -> None:
            progress(done + (env.iteration + 1) / config.trees / 2)

        label = task.label.astype(np.float32)
        if weigh is None:
            held = lightgbm.Dataset(task.x, label)
            own = settings | {"objective": "binary", "use_quantized_grad": True}
            return lightgbm.train(own, held, config.trees, callbacks=[report]), 0.0
        start = float(logit(_settled(task.label, weigh) if of_slots is None else of_slots.rate[0]))

        def gradient(raw: FloatArray, _: lightgbm.Dataset) -> tuple[FloatArray, FloatArray]:
            p = expit(raw)
            weights = weigh(p)
            # a row that counts for less than nothing, as unbiased weights may, is no reason for a negative curvature
            curvature = np.abs(weights.total) * p * (1 - p) if of_slots is None else of_slots.curvature(p)
            return weights.total * p - weights.positive, np.maximum(curvature, 1e-12)

        held = lightgbm.Dataset(task.x, label, init_score=np.full(len(label), start))
        return lightgbm.train(settings | {"objective": gradient}, held, config.trees, callbacks=[report]), start

    clicks, click_start = booster(
        click, "clicks", 0.0, curve.weights if curve else click.weigh(lessons.get("click")), curve
    )
    conversions, start = booster(conversion, "conversions", 0.5, conversion.weigh(lessons.get("conversion")))
    slots = curve.found() if curve else None
    if lessons.propensity is not None:
        slots = SlotCurve("product", lessons.propensity.astype(np.float64))
    return Gbdt(
        click=clicks, conversion=conversions, ad_categories=few, start=(click_start, start), sees_slot=position == "feature",
        slots=slots,
    )  # fmt: skip


def _settled(label: BoolArray, weigh: Callable[[FloatArray], Weights]) -> float:
    """The rate at which one prediction for all rows agrees with the weights that it brings about, from that of the labels."""
    p = float(label.mean())
    for _ in range(_ROUNDS):
        weights, before = weigh(np.full(len(label), p)), p
        p = float(np.clip(weights.positive.sum() / weights.total.sum(), _LEAST_RATE, 1 - _LEAST_RATE))
        if abs(p - before) <= _CLOSE * p:
            break
    return p


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Task:
    """Rows (m,) that teach a task."""

    x: Float32Array  # (m, F)
    label: BoolArray
    slot: IntArray
    facts: Float32Array  # (m, f) of a lesson

    @staticmethod
    def stack(parts: list["_Task"]) -> "_Task":
        return _Task(
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "label", "slot", "facts")}
        )

    def weigh(self, lesson: Lesson | None) -> Callable[[FloatArray], Weights] | None:
        return None if lesson is None else lambda p: lesson.weights(p, self.facts)

    def refuse_one_class(self, name: str) -> None:
        if self.label.all() or not self.label.any():
            raise Unusable(f"cannot learn {name}: {int(self.label.sum())} of {len(self.label)} rows are positive")


def _rows(block: Dataset, few: IdArray, sees_slot: bool, lessons: Lessons) -> tuple[_Task, _Task]:
    """The rows of a block that teach clicks, and those that teach conversions."""
    x = matrix(block.batch, few, sees_slot=sees_slot)

    def task(name: str) -> _Task:
        lesson = lessons.get(name)
        rows = block.taught_by(name) if lesson is None else lesson.rows(block)
        facts = np.zeros((0, 0), np.float32) if lesson is None else lesson.facts(block)[rows]
        return _Task(x=x[rows.ravel()], label=block.label(name)[rows], slot=np.nonzero(rows)[1], facts=facts)

    return task("click"), task("conversion")


class _Curve:
    """What slots do to clicks, found while the relevance is: after every tree, one step towards it."""

    def __init__(self, position: str, task: _Task) -> None:
        self.label, self.slot, self.product = task.label.astype(np.float64), task.slot, position == "pal"
        self.n_slots = int(task.slot.max()) + 1
        rows, clicks = (np.bincount(task.slot, of, self.n_slots) for of in (None, self.label))
        self.rate = (clicks + 0.5) / (rows + 1)
        self.values = (
            np.minimum(self.rate / self.rate[0], 1.0) if self.product else logit(self.rate) - logit(self.rate[0])
        )

    def weights(self, relevance: FloatArray) -> Weights:
        """Of the rows, given the probability of a click in the top slot."""
        if self.product:
            self.values = examination_step(self.label, self.values[self.slot], relevance, self.slot, self.n_slots)
            return examined_weights(self.label, self.values[self.slot], relevance)
        self.values = additive_step(self.label, logit(relevance), self.values, self.slot)
        p = expit(logit(relevance) + self.values[self.slot])
        # as weights at the relevance's own probability: total x relevance - positive is p - label, as the slope must be
        return Weights(relevance - (p - self.label), 1 - relevance + (p - self.label))

    def curvature(self, relevance: FloatArray) -> FloatArray:
        """Of the loss by the relevance's logit, expected: what looks hide tells little, and weights alone would slow it."""
        if self.product:
            examination = self.values[self.slot]
            return examination * relevance * (1 - relevance) ** 2 / (1 - np.minimum(examination * relevance, _MOST))
        p = expit(logit(relevance) + self.values[self.slot])
        return p * (1 - p)

    def found(self) -> SlotCurve:
        """The curve as it is now."""
        return SlotCurve("product" if self.product else "additive", self.values)


def load_gbdt(folder: Path, schema: Schema) -> Gbdt:
    """Read what `Gbdt.save` wrote."""
    card = json.loads((folder / _CARD).read_text())
    return Gbdt(
        click=lightgbm.Booster(model_file=folder / "click.txt"),
        conversion=lightgbm.Booster(model_file=folder / "conversion.txt"),
        ad_categories=_few(schema), start=(card["start"][0], card["start"][1]), sees_slot=card["sees_slot"],
        slots=card["slots"] and curve_of(card["slots"]),
    )  # fmt: skip


def _few(schema: Schema) -> IdArray:
    columns = schema.columns(Kind.CATEGORICAL, Side.AD)
    return np.array([i for i, c in enumerate(columns) if c.cardinality <= _MANY], np.int32)


def matrix(batch: Batch, ad_categories: IdArray, *, sees_slot: bool = True) -> Float32Array:
    """Features of all candidates but lists and vectors, (n k, F): request, ad, cross, slot (or 0 for it)."""
    n, k = batch.row.shape
    widths = (
        batch.categorical.shape[1], batch.dense.shape[1], len(ad_categories), batch.ads.dense.shape[1],
        batch.cross.shape[2], 1,
    )  # fmt: skip
    out = np.zeros((n * k, sum(widths)), np.float32)
    _expand(
        batch.categorical, batch.dense, batch.row, batch.ads.categorical, ad_categories, batch.ads.dense, batch.cross,
        batch.slot if sees_slot else np.zeros_like(batch.slot), out,
    )  # fmt: skip
    return out


@njit(cache=True, nogil=True)
def _expand(
    request_cat: IdArray,
    request_dense: Float32Array,
    row: IdArray,
    ad_cat: IdArray,
    chosen: IdArray,
    ad_dense: Float32Array,
    cross: Float32Array,
    slot: IdArray,
    out: Float32Array,
) -> None:
    k = row.shape[1]
    for i in range(row.shape[0]):
        for j in range(k):
            ad = row[i, j]
            if ad < 0:
                continue
            to = out[i * k + j]
            f = 0
            for c in range(request_cat.shape[1]):
                to[f] = request_cat[i, c]
                f += 1
            for c in range(request_dense.shape[1]):
                to[f] = request_dense[i, c]
                f += 1
            for c in range(chosen.size):
                to[f] = ad_cat[ad, chosen[c]]
                f += 1
            for c in range(ad_dense.shape[1]):
                to[f] = ad_dense[ad, c]
                f += 1
            for c in range(cross.shape[2]):
                to[f] = cross[i, j, c]
                f += 1
            to[f] = slot[j]
