"""Predictors: one interface, a way to train each kind, and the calibrated model that is deployed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.special import expit

from models.calibration import FITS
from models.calibrators import Calibrator, FakeNegative, calibrator_of
from models.config import GbdtConfig, ModelConfig, NetworkConfig, TwoTowerConfig
from models.corrections import NO_LESSONS, Lesson, Lessons, lessons_of, looked
from models.data import Batch, Dataset, Float32Array, IdArray, Predictions, Source
from models.errors import Unusable
from models.gbdt import fit_gbdt, load_gbdt
from models.position import SlotCurve
from models.propensity import explosion
from models.schema import Kind, Schema, Side, load_schema
from models.scoring import Network, load_network
from models.segments import fit_segments
from models.train import fit_network
from models.weights import Weights, plain

_CARD = "model.json"
_ROUNDS, _SETTLED = 200, 1e-6  # of weights and calibration in turn; change of the mean prediction at which they stay


class Predictor(Protocol):
    """Anything that scores batches."""

    @property
    def device(self) -> str:
        """What it runs on, "cpu" or "cuda"."""
        ...

    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click given examination and of conversion given click."""
        ...


class Saved(Predictor, Protocol):
    """A predictor that can be written to a folder."""

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        ...

    @property
    def slots(self) -> SlotCurve | None:
        """What a slot does to a click, where the logits are those of the top one."""
        ...

    def save(self, folder: Path) -> None:
        """Write it to an existing folder."""
        ...


_FIT: dict[type, Callable[..., Saved]] = {
    GbdtConfig: fit_gbdt, NetworkConfig: fit_network, TwoTowerConfig: fit_network
}  # fmt: skip
_LOAD: dict[str, Callable[[Path, Schema], Saved]] = {
    "lightgbm": load_gbdt, "network": load_network, "two_tower": load_network
}  # fmt: skip


def fit(
    data: Source, config: ModelConfig, *, seed: int, threads: int,
    progress: Callable[[float], None] = lambda share: None, validation: Dataset | None = None,
    start: Predictor | None = None, checkpoint: Path | None = None, lessons: Lessons = NO_LESSONS,
) -> Saved:  # fmt: skip
    """Train the kind of predictor that `config` names.

    Args:
        data: The log to learn from.
        config: Of the predictor.
        seed: Of all that is drawn.
        threads: CPU threads.
        progress: Called with the share of the work done.
        validation: Later days, for a config with a `patience`.
        start: A network of the same config to go on from.
        checkpoint: Folder that a network's training keeps its state in, and goes on from.
        lessons: Of the config's corrections, by `lessons_for`.

    Raises:
        Unusable: If the log holds too little to learn from, or there is nothing to go on from.
    """
    more: dict[str, Any] = {"validation": validation, "start": start, "checkpoint": checkpoint}
    if isinstance(config, GbdtConfig):
        if start is not None:
            raise Unusable("lightgbm cannot go on from an earlier model: train it on all days")
        more = {}
    elif start is not None and not isinstance(start, Network):
        raise Unusable("a network cannot go on from lightgbm")
    return _FIT[type(config)](data, config, seed=seed, threads=threads, progress=progress, lessons=lessons, **more)


def lessons_for(source: Source, config: ModelConfig, *, seed: int, threads: int) -> Lessons:
    """What a log teaches under a config's corrections; for one of a selection, a model without it is trained first.

    Raises:
        Unusable: If the log lacks what a correction needs, or does not identify it.
    """
    correct, pilot = config.correct, None
    if correct.selection != "none":
        first = config.model_copy(update={"correct": correct.model_copy(update={"selection": "none"})})
        lessons = lessons_of(source, first.correct)
        predictor = fit(source, first, seed=seed, threads=threads, lessons=lessons)

        def pilot(batch: Batch) -> tuple[Float32Array, Float32Array]:
            click, conversion = predictor.logits(batch)
            slots = predictor.slots
            there = click if slots is None else slots.at(click, batch.slot)
            return expit(there), expit(conversion)

    return lessons_of(source, correct, pilot)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A predictor with the calibration of its two tasks: what is deployed.

    Raises:
        Unusable: If a calibrator needs a column that ads do not have.
    """

    predictor: Predictor
    kind: str
    click: Calibrator
    conversion: Calibrator
    columns: tuple[str, ...] = ()  # names of the ads' categorical columns
    slots: SlotCurve | None = None

    def __post_init__(self) -> None:
        for calibrator in (self.click, self.conversion):
            _refuse_no_column(calibrator.column, self.columns)

    def predict(self, batch: Batch) -> Predictions:
        """Calibrated probabilities, (n, k) each."""
        click, conversion = self.predictor.logits(batch)
        there = at_slot(self.slots, "additive", click, batch)
        p = self.click(there, _segment(batch, self.columns, self.click.column))
        if self.slots is not None and self.slots.kind == "product":
            p = (p * self.slots.values[np.minimum(batch.slot, len(self.slots.values) - 1)]).astype(np.float32)
        return Predictions(
            click=p, conversion=self.conversion(conversion, _segment(batch, self.columns, self.conversion.column))
        )


def ad_columns(schema: Schema) -> tuple[str, ...]:
    """Names of the ads' categorical columns, in the order of `AdTable.categorical`."""
    return tuple(column.name for column in schema.columns(Kind.CATEGORICAL, Side.AD))


def _refuse_no_column(column: str, columns: tuple[str, ...]) -> None:
    if column and column not in columns:
        known = ", ".join(columns) or "none"
        raise Unusable(f"cannot calibrate by {column}: it is no categorical column of ads; there are {known}")


def _segment(batch: Batch, columns: tuple[str, ...], column: str) -> IdArray | None:
    """(n, k) the candidates' values of a column, -1 where there is none; None for no column."""
    if not column:
        return None
    return batch.ad_category(columns.index(column))


def save_model(model: Model, predictor: Saved, schema: Schema, folder: Path) -> None:
    """Write a trained model to a new folder."""
    folder.mkdir(parents=True)
    predictor.save(folder)
    schema.save(folder)
    card = {
        "kind": model.kind,
        "click": model.click.card(),
        "conversion": model.conversion.card(),
        "sha256": {path.name: _digest(path) for path in sorted(folder.iterdir())},
    }
    (folder / _CARD).write_text(json.dumps(card, indent=1) + "\n")


def calibrated(
    predictor: Saved, config: ModelConfig, data: Dataset, lessons: Lessons = NO_LESSONS
) -> tuple[Model, dict[str, float]]:
    """Calibrate on `data`, which the predictor has not been trained on, by the same lessons.

    Weights that depend on the prediction and the calibration that depends on the weights are worked out in turn until they stay.
    Where a slot is a factor, clicks are calibrated as those in the top slot.

    Returns:
        The model; and of the tasks that have a lesson, the share of the rows of `data` that as many rows of equal weight would
        be (Kish 1965): a small one says that few rows decide.

    Raises:
        Unusable: If there is no such column, or the labels do not allow the fit.
    """
    correct, columns, slots = config.correct, ad_columns(data.schema), predictor.slots
    by = correct.calibrate_by if correct.calibrate == "segment" else ""
    _refuse_no_column(by, columns)
    segment = _segment(data.batch, columns, by)

    def fitted(task: str, logit: Float32Array, lesson: Lesson | None) -> Calibrator:
        rows = data.taught_by(task) if lesson is None else lesson.rows(data)
        own, part = logit[rows], None if segment is None else segment[rows]

        def once(weights: Weights) -> Calibrator:
            return FITS[correct.calibrate](own, weights) if part is None else fit_segments(own, weights, part, by)

        if lesson is None:
            return once(plain(data.label(task)[rows]))
        facts, p = lesson.facts(data)[rows].astype(np.float64), expit(own.astype(np.float64))
        for _ in range(_ROUNDS):
            found = once(lesson.weights(p, facts))
            before, p = float(p.mean()), found(own, part).astype(np.float64)
            if abs(float(p.mean()) - before) <= _SETTLED * before:
                break
        return found

    click, conversion = predictor.logits(data.batch)
    of_clicks = looked(slots) if slots is not None and slots.kind == "product" else None
    of_conversions = lessons.get("conversion")
    of_conversions = of_conversions and (of_conversions.bounded or of_conversions)
    converts = fitted("conversion", conversion, of_conversions)
    model = Model(
        predictor=predictor, kind=config.kind, click=fitted("click", at_slot(slots, "additive", click, data.batch), of_clicks),
        conversion=FakeNegative(converts) if correct.delay == "fnc" else converts, columns=columns, slots=slots,
    )  # fmt: skip
    p = dict(
        zip(
            ("click", "conversion"),
            model.predict(replace(data.batch, slot=np.zeros_like(data.batch.slot))),
            strict=True,
        )
    )
    return model, {task: _effective_share(lesson, data, p[task]) for task, lesson in lessons.of.items()}


def _effective_share(lesson: Lesson, data: Dataset, p: Float32Array) -> float:
    rows = lesson.rows(data)
    weights = lesson.weights(p[rows].astype(np.float64), lesson.facts(data)[rows].astype(np.float64))
    counts = (weights.positive != 0) | (weights.negative != 0)
    return explosion(Weights(weights.positive[counts], weights.negative[counts])).share if counts.any() else 0.0


def at_slot(slots: SlotCurve | None, kind: str, logit: Float32Array, batch: Batch) -> Float32Array:
    """Logits (n, k) of clicks in their slots, where the slots' curve is of a kind; else as they are."""
    return logit if slots is None or slots.kind != kind else slots.at(logit, batch.slot)


def load_model(folder: Path) -> Model:
    """Read a model that `Model.save` wrote.

    Raises:
        Unusable: If the folder holds no readable model.
    """
    try:
        card = json.loads((folder / _CARD).read_text())
        for name, digest in card["sha256"].items():
            if _digest(folder / name) != digest:
                raise Unusable(f"{folder / name} is damaged: it is not the file that was saved")
        schema = load_schema(folder)
        predictor = _LOAD[card["kind"]](folder, schema)
        return Model(
            predictor=predictor, kind=card["kind"], click=_read(folder, card, "click"),
            conversion=_read(folder, card, "conversion"), columns=ad_columns(schema), slots=predictor.slots,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Unusable(f"{folder} holds no whole model: {Path(error.filename).name} is missing") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise Unusable(f"{folder / _CARD} is damaged: {error}") from None


def _read(folder: Path, card: dict[str, Any], task: str) -> Calibrator:
    try:
        return calibrator_of(card[task])
    except Unusable as error:
        raise Unusable(f"{folder / _CARD} is damaged: calibration of {task}: {error}") from None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
