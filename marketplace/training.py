"""Training: from a log to calibrated models and a table that compares them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from marketplace.cohorts import AGE, Parting, cohorts_of_a_day, shown_in
from marketplace.log import COMING
from marketplace.roc import ROC, roc_rows
from marketplace.runs import write_json
from marketplace.scenario import Scenario
from marketplace.truth import Rates, true_rates
from models.config import CorrectConfig, ModelConfig
from models.corrections import streams
from models.data import Dataset, IntArray
from models.errors import Unusable
from models.log import LogWindow, read_log
from models.predictor import Model, Predictor, Saved, calibrated, fit, lessons_for, save_model
from models.scores import auc_interval, concentration, gauc, score
from synth.types import DAY_MS, HOUR_MS, BoolArray, FloatArray

OFFLINE = ("delay", "position", "selection", "calibrate")  # corrections that change what is trained
KINDS = (*OFFLINE, "online")  # of corrections; the last changes what an arm serves, and nothing of the offline table
_WEEK_MS = 7 * DAY_MS
Progress = Callable[[str, float], None]
_TARGET = {"click": "click", "conversion": "conversion given click"}  # what a model's tasks are called in tables


class Learned(NamedTuple):
    """What came of a training."""

    predictor: Saved
    model: Model
    seconds: float  # reading the log included
    effective: dict[str, float]  # of those of `targets` with a lesson, see `models.predictor.calibrated`
    notes: tuple[str, ...]  # what its corrections leave


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A log as it stands when its days are over: the last day evaluates, the one before calibrates, the days before train."""

    log: Path
    days: int
    last: int | None  # days to train on, all where None
    tasks: tuple[str, ...]  # whose labels are wanted beside click and conversion
    patient: bool  # a day between validates
    evaluation: Dataset
    windows: dict[tuple[int, int, int, int, Path | None], LogWindow] = field(default_factory=dict)

    @staticmethod
    def of(log: Path, days: int, configs: Sequence[ModelConfig], last: int | None = None) -> "Split":
        """Split a log of so many days; of those to train on, only the `last` ones if that is given.

        All labels are those that had come in by the end of the log, so the youngest clicks still lack conversions, as they would
        for a team that deploys that night; but see `CorrectConfig.delay`.

        Raises:
            Unusable: If the log cannot be read or has too few days.
        """
        patient = any(getattr(config, "patience", None) is not None for config in configs)
        least = 4 if patient else 3
        if days < least:
            raise Unusable(
                f"the log in {log} has {days} days, training needs {least}: to train, calibrate and evaluate"
            )
        wanted = [task for config in configs for task in getattr(config, "tasks", ())]
        tasks = tuple(dict.fromkeys(t for t in wanted if t not in ("click", "conversion")))
        end = days * DAY_MS
        evaluation = read_log(log, end, start_ms=end - DAY_MS, stop_ms=end, tasks=tasks)
        return Split(log=log, days=days, last=last, tasks=tasks, patient=patient, evaluation=evaluation)

    def learn(
        self, config: ModelConfig, *, seed: int, threads: int, progress: Callable[[float], None],
        start: Predictor | None = None, checkpoint: Path | None = None,
    ) -> Learned:  # fmt: skip
        """Train one predictor and calibrate it; see `models.predictor.fit`."""
        started = perf_counter()
        source = self.train(config)
        lessons = lessons_for(source, config, seed=seed, threads=threads)
        predictor = fit(
            source, config, seed=seed, threads=threads, progress=progress, validation=self.validation(config), start=start,
            checkpoint=checkpoint, lessons=lessons,
        )  # fmt: skip
        seconds = perf_counter() - started
        model, effective = calibrated(predictor, config, self.calibration(config), lessons)
        effective = {_TARGET[task]: share for task, share in effective.items()}
        return Learned(predictor, model, seconds, effective, lessons.notes)

    def train(self, config: ModelConfig) -> LogWindow:
        """The days to train on, as a config's correction of delays reads them."""
        stop = (self.days - (3 if self.patient else 2)) * DAY_MS
        start = 0 if self.last is None else max(0, stop - self.last * DAY_MS)
        if streams(config.correct) and self.last is None:
            start = stop - _stream_ms(stop - start, _window_ms(config))
        return self._window(start, stop, config)

    def calibration(self, config: ModelConfig) -> Dataset:
        """The day before the last, read in the same way."""
        return self._day(1, config)

    def validation(self, config: ModelConfig) -> Dataset | None:
        """The day before that, where a model's patience asks for one."""
        return self._day(2, config) if self.patient else None

    def _day(self, days: int, config: ModelConfig) -> Dataset:
        """The day that ends so many days before the last one does."""
        stop = (self.days - days) * DAY_MS
        return self._window(stop - DAY_MS, stop, config).whole()

    def _window(self, start_ms: int, stop_ms: int, config: ModelConfig) -> LogWindow:
        """Kept, so that models which read the same days in the same way share them."""
        end = self.days * DAY_MS
        coming = self.log.parent / COMING if config.correct.delay == "oracle" else None
        if coming is not None and not coming.exists():
            raise Unusable(f"delay oracle needs final labels: {coming} is not there, give the folder of a run")
        since_ms = 0
        if streams(config.correct):
            end, since_ms, start_ms = stop_ms, start_ms, max(0, start_ms - _window_ms(config))
        window = LogWindow(
            folder=self.log, snapshot_ms=end, start_ms=start_ms, stop_ms=stop_ms, since_ms=since_ms, tasks=self.tasks,
            coming=coming,
        )  # fmt: skip
        return self.windows.setdefault((end, start_ms, stop_ms, since_ms, coming), window)


def _window_ms(config: ModelConfig) -> int:
    """For how long after its click a conversion counts."""
    return int(config.correct.window_hours * HOUR_MS)


def _stream_ms(span_ms: int, window_ms: int) -> int:
    """How much of the days to train on a stream takes in: it begins when most conversions of earlier clicks have come.

    Whole weeks, if there is one: on a weekday that it lacks, it would see the late conversions of earlier clicks alone, and a
    model that knows the weekday would learn that all clicks of that day convert.
    """
    rest = span_ms - min(window_ms, span_ms // 2)
    return rest if span_ms < _WEEK_MS else max(rest // _WEEK_MS, 1) * _WEEK_MS


def train(scenario: Scenario, log: Path, folder: Path, *, threads: int, progress: Progress) -> list[dict[str, Any]]:
    """Train the models that arms serve on a log, and write them to `folder`; one with corrections is trained without them, too.

    Beside them go the curves of how they rank the last day (`marketplace.roc`).

    Returns:
        The offline table: one row per model, task and part of a cohort.

    Raises:
        Unusable: If the log cannot be read or holds too little to learn from.
        Refused: If the truth behind the log is missing or damaged.
    """
    configs = {name: within_window(scenario.models[name], scenario) for name in scenario.trained}
    split = Split.of(log, scenario.calendar.log_days, list(configs.values()))
    truth = true_rates(scenario, log.parent, split.evaluation)
    seen = shown_in(split.train(uncorrected(next(iter(configs.values())))))
    cohorts = cohorts_of_a_day(split.evaluation, seen, scenario.calendar.log_days * DAY_MS)
    rows, curves = [], []
    for name, config in configs.items():
        trained_otherwise = said(config.correct, OFFLINE) != ""
        for version in (config, *([uncorrected(config)] if trained_otherwise else [])):
            what = name if version == config else f"{name}, uncorrected"
            progress(what, 0.0)
            learned = split.learn(
                version, seed=scenario.seed % 2**31, threads=threads, progress=partial(progress, what)
            )
            if version == config:
                save_model(learned.model, learned.predictor, split.evaluation.schema, folder / name)
            predicted = by_task(*learned.model.predict(split.evaluation.batch))
            correct = said(version.correct)
            rows += offline_table(what, correct, learned, predicted, split.evaluation, truth, cohorts)
            curves += roc_rows(what, learned.model.kind, correct, predicted, targets(split.evaluation))
            progress(what, 1.0)
    write_json(folder / ROC, curves)
    return rows


def within_window(config: ModelConfig, scenario: Scenario) -> ModelConfig:
    """A config whose conversions count as long as the scenario attributes them."""
    correct = config.correct.model_copy(update={"window_hours": 24 * scenario.auction.attribution_days})
    return config.model_copy(update={"correct": correct})


def uncorrected(config: ModelConfig) -> ModelConfig:
    """The same model without its corrections."""
    return config.model_copy(update={"correct": CorrectConfig(window_hours=config.correct.window_hours)})


def said(correct: CorrectConfig, kinds: tuple[str, ...] = KINDS) -> str:
    """What is corrected, as it is given on the command line."""
    plain = CorrectConfig()
    names = [name for name in kinds if getattr(correct, name) != getattr(plain, name)]
    return ",".join(f"{name}={getattr(correct, name)}" for name in names)


def offline_table(
    name: str, correct: str, learned: Learned, predicted: Mapping[str, np.ndarray], data: Dataset, truth: Rates | None,
    cohorts: Mapping[str, Parting],
) -> list[dict[str, Any]]:  # fmt: skip
    """Score a model on held-out impressions, by task and part of a cohort.

    Args:
        name: Of the model.
        correct: What is corrected.
        learned: The model.
        predicted: By task, its probabilities (n, s) of the impressions.
        data: The impressions.
        truth: Of them, where it is known.
        cohorts: By name. One whose impressions of a task are all in one part is left out, as is the age of labels for tasks
            that need no click.

    Returns:
        Per task the row `overall`, of cohort "", and one for each part that has impressions, as `segment`. What needs users or
        many rows, GAUC and the concentration of scores, is of `overall` only.
    """
    model = learned.model
    served = by_task(*model.predict(replace(data.batch, slot=np.zeros_like(data.batch.slot))))
    real = None if truth is None else by_task(truth.click_on_top, truth.conversion)
    rows = []
    for task, (label, chosen) in targets(data).items():
        for cohort, segment, members in parts_of(task, chosen, cohorts):
            p = predicted[task][members].astype(np.float64)
            rows.append(
                {
                    "model": name, "kind": model.kind, "correct": correct, "task": task, "cohort": cohort, "segment": segment,
                    "train_s": learned.seconds, "effective_share": learned.effective.get(task), "notes": learned.notes,
                    "true_calibration": None if real is None else ratio(served[task][members], real[task][members]),
                } | asdict(score(p, label[members])) | _auc_ends(p, label[members])
                | _of_all(p, label, members, data.user, cohort)
            )  # fmt: skip
    return rows


def parts_of(
    task: str, chosen: BoolArray, cohorts: Mapping[str, Parting]
) -> Iterator[tuple[str, str, BoolArray]]:  # fmt: skip
    """Cohort, part and impressions (n, s) of what a task is scored on: all `chosen` ones, then the parts that have some."""
    yield "", "overall", chosen
    for cohort, parting in cohorts.items():
        parts = [(name, chosen & mask) for name, mask in parting.masks() if (chosen & mask).any()]
        if len(parts) > 1 and (cohort != AGE or task == "conversion given click"):
            yield from ((cohort, name, members) for name, members in parts)


def _auc_ends(p: FloatArray, label: BoolArray) -> dict[str, float | None]:
    """Ends of the AUC's 95% interval, by DeLong; None where a class has fewer than two rows."""
    if min(label.sum(), (~label).sum()) < 2:
        return {"auc_low": None, "auc_high": None}
    _, low, high = auc_interval(p, label)
    return {"auc_low": max(low, 0.0), "auc_high": min(high, 1.0)}


def _of_all(
    p: FloatArray, label: BoolArray, members: BoolArray, user: IntArray | None, cohort: str
) -> dict[str, float | None]:
    """GAUC by user, and how far scores pile up, of a task's impressions as a whole; None of a part of them."""
    if cohort or not p.size:
        return dict.fromkeys(("gauc", "commonest", "effective_scores"))
    of = None if user is None else np.broadcast_to(user[:, None], members.shape)[members]
    piled = concentration(p)
    return {
        "gauc": None if of is None else gauc(p, label[members], of).gauc, "commonest": piled.commonest,
        "effective_scores": piled.effective,
    }  # fmt: skip


def targets(data: Dataset) -> dict[str, tuple[BoolArray, BoolArray]]:
    """What models are scored by: by task the label, and which impressions count, (n, s) each."""
    return {
        "click": (data.click, data.shown),
        "conversion given click": (data.conversion, data.shown & data.click),
        "conversion": (data.conversion & data.click, data.shown),
    }


def by_task(click: np.ndarray, conversion: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities of the tasks of `targets`, from those of a click and of a conversion given a click."""
    return {"click": click, "conversion given click": conversion, "conversion": click * conversion}


def ratio(p: np.ndarray, real: np.ndarray) -> float | None:
    """Sum of predictions over that of the truth; None of nothing."""
    total = float(real.sum(dtype=np.float64))
    return float(p.sum(dtype=np.float64)) / total if total > 0 else None
