"""Training: from a log to calibrated models and a table that compares them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from marketplace.scenario import Scenario
from models.config import ModelConfig
from models.data import Dataset, Predictions
from models.errors import Unusable
from models.log import LogWindow, read_log
from models.predictor import Model, Predictor, Saved, calibrated, fit, save_model
from models.scores import score
from synth.types import DAY_MS, BoolArray

ARMS = ("control", "treatment")
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A log as it stands when its days are over: the last day evaluates, the one before calibrates, the days before train."""

    train: LogWindow
    validation: Dataset | None  # the last of the days before, where a model's patience asks for one
    calibration: Dataset
    evaluation: Dataset

    @staticmethod
    def of(log: Path, days: int, configs: Sequence[ModelConfig], last: int | None = None) -> "Split":
        """Split a log of so many days; of those to train on, only the `last` ones if that is given.

        All labels are those that had come in by the end of the log, so the youngest clicks still lack conversions, as they would
        for a team that deploys that night.

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

        def day(back: int) -> Dataset:
            return read_log(log, end, start_ms=end - (back + 1) * DAY_MS, stop_ms=end - back * DAY_MS, tasks=tasks)

        stop = end - (3 if patient else 2) * DAY_MS
        start = 0 if last is None else max(0, stop - last * DAY_MS)
        train = LogWindow(folder=log, snapshot_ms=end, start_ms=start, stop_ms=stop, tasks=tasks)
        return Split(train=train, validation=day(2) if patient else None, calibration=day(1), evaluation=day(0))

    def fit(
        self, config: ModelConfig, *, seed: int, threads: int, progress: Callable[[float], None],
        start: Predictor | None = None, checkpoint: Path | None = None,
    ) -> Saved:  # fmt: skip
        """Train one predictor; see `models.predictor.fit`."""
        return fit(
            self.train, config, seed=seed, threads=threads, progress=progress, validation=self.validation, start=start,
            checkpoint=checkpoint,
        )  # fmt: skip


def train(scenario: Scenario, log: Path, folder: Path, *, threads: int, progress: Progress) -> list[dict[str, Any]]:
    """Train both arms' models on a log, and write them to `folder`.

    Returns:
        The offline table: one row per model, task and segment.

    Raises:
        Unusable: If the log cannot be read or holds too little to learn from.
    """
    configs = {name: getattr(scenario.models, name) for name in ARMS}
    split = Split.of(log, scenario.calendar.log_days, list(configs.values()))
    rows = []
    for name, config in configs.items():
        progress(name, 0.0)
        started = perf_counter()
        predictor = split.fit(config, seed=scenario.seed % 2**31, threads=threads, progress=partial(progress, name))
        seconds = perf_counter() - started
        model = calibrated(predictor, config.kind, split.calibration)
        save_model(model, predictor, split.train.schema, folder / name)
        rows += offline_table(name, model, split.evaluation, seconds)
        progress(name, 1.0)
    return rows


def offline_table(name: str, model: Model, data: Dataset, seconds: float) -> list[dict[str, Any]]:
    """Score a model on held-out impressions, by task and by whether the user knew the store."""
    predicted = model.predict(data.batch)
    known = data.cross("known_orders") > 0
    rows = []
    for task, p, label, chosen in tasks_of(predicted, data):
        for segment, members in (("overall", chosen), ("repurchase", chosen & known), ("exploration", chosen & ~known)):
            scores = asdict(score(p[members], label[members]))
            rows.append(
                {"model": name, "kind": model.kind, "task": task, "segment": segment, "train_s": seconds} | scores
            )
    return rows


def tasks_of(p: Predictions, data: Dataset) -> list[tuple[str, np.ndarray, BoolArray, BoolArray]]:
    """What models are scored by: name, probability, label and which impressions count, (n, s) each."""
    clicked = data.shown & data.click
    return [
        ("click", p.click, data.click, data.shown),
        ("conversion given click", p.conversion, data.conversion, clicked),
        ("conversion", p.click * p.conversion, data.conversion & data.click, data.shown),
    ]
