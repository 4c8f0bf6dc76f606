"""Training: from a log to calibrated models and a table that compares them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from marketplace.scenario import Scenario
from models.data import Dataset, Predictions, read_log
from models.predictor import Model, calibrated, fit, save_model
from models.scores import score
from synth.types import DAY_MS, BoolArray

ARMS = ("control", "treatment")


def train(
    scenario: Scenario, log: Path, folder: Path, *, threads: int, progress: Callable[[str, float], None]
) -> list[dict[str, Any]]:
    """Train both arms' models on a log as it stands when its days are over, and write them to `folder`.

    The last day evaluates, the one before calibrates, the days before those train; all labels are those attributed by
    the end of the log, so the youngest clicks still lack conversions, as they would for a team that deploys that night.

    Returns:
        The offline table: one row per model, task and segment.

    Raises:
        Unusable: If the log cannot be read or holds too little to learn from.
    """
    snapshot = scenario.calendar.log_days * DAY_MS
    data = read_log(log, snapshot)
    train_days = data.between(0, snapshot - 2 * DAY_MS)
    calibration_day = data.between(snapshot - 2 * DAY_MS, snapshot - DAY_MS)
    evaluation_day = data.between(snapshot - DAY_MS, snapshot)
    rows = []
    for name in ARMS:
        config = getattr(scenario.models, name)
        progress(name, 0.0)
        started = perf_counter()
        predictor = fit(train_days, config, seed=scenario.seed % 2**31, threads=threads)
        seconds = perf_counter() - started
        model = calibrated(predictor, config.kind, calibration_day)
        save_model(model, predictor, data.schema, folder / name)
        rows += offline_table(name, model, evaluation_day, seconds)
        progress(name, 1.0)
    return rows


def offline_table(name: str, model: Model, data: Dataset, seconds: float) -> list[dict[str, Any]]:
    """Score a model on held-out impressions, by task and by whether the user knew the store."""
    predicted = model.predict(data.batch)
    known = data.cross("known_orders") > 0
    rows = []
    for task, p, label, chosen in _tasks(predicted, data):
        for segment, members in (("overall", chosen), ("repurchase", chosen & known), ("exploration", chosen & ~known)):
            scores = asdict(score(p[members], label[members]))
            rows.append(
                {"model": name, "kind": model.kind, "task": task, "segment": segment, "train_s": seconds} | scores
            )
    return rows


def _tasks(p: Predictions, data: Dataset) -> list[tuple[str, np.ndarray, BoolArray, BoolArray]]:
    clicked = data.shown & data.click
    return [
        ("click", p.click, data.click, data.shown),
        ("conversion given click", p.conversion, data.conversion, clicked),
        ("conversion", p.click * p.conversion, data.conversion & data.click, data.shown),
    ]
