"""Comparison of any models on one log: what each is worth, how sure that is, and what it costs."""

import shutil
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import duckdb
import numpy as np
from pydantic import TypeAdapter, ValidationError
from scipy.stats import t as student

from marketplace.errors import Refused
from marketplace.training import Split, tasks_of
from models.config import LINE_UP, ModelConfig
from models.data import Predictions
from models.errors import Unusable
from models.predictor import calibrated, load_model, save_model
from models.schema import SCHEMA_FILE
from models.scores import auc_error, score
from synth.types import DAY_MS, BoolArray

Progress = Callable[[str, float], None]
Interval = tuple[float, float, float]  # estimate, low, high
_MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


def models_named(names: list[str]) -> dict[str, ModelConfig]:
    """Settings of models by their names in the line-up, or in TOML files, whose names they then bear.

    Raises:
        Refused: If a name is unknown or a file cannot be read or breaks a rule.
    """
    found: dict[str, ModelConfig] = {}
    for name in names:
        if name.endswith(".toml"):
            key, config = Path(name).stem, _read_model(Path(name))
        elif name in LINE_UP:
            key, config = name, LINE_UP[name]
        else:
            raise Refused(f"--model {name!r}: there are {', '.join(LINE_UP)}, or a file whose name ends in .toml")
        if key in found:
            raise Refused(f"--model {name!r}: there is a model {key} already")
        found[key] = config
    return found


def _read_model(path: Path) -> ModelConfig:
    try:
        return _MODEL.validate_python(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"model {path}: {getattr(error, 'strerror', None) or error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("lightgbm", "network", "two_tower"))
        message = first["msg"].removeprefix("Value error, ")
        raise Refused(f"model {path}: {f'{where}: ' if where else ''}{message}") from None


def log_of(source: Path) -> Path:
    """The log of a run folder, or the folder itself if it is a log.

    Raises:
        Refused: If it is neither.
    """
    for folder in (source, source / "log"):
        if (folder / SCHEMA_FILE).is_file():
            return folder
    raise Refused(f"{source}: it is neither a log folder nor a run folder with a log, run `marketplace generate` first")


@contextmanager
def write_comparison(out: Path | None) -> Iterator[Path | None]:
    """A folder that appears as `out` when the work is done, and not at all if it fails; None for None.

    Raises:
        Refused: If there is something already, or it cannot be written.
    """
    if out is None:
        yield None
        return
    if out.exists():
        raise Refused(f"--out {out}: there is such a file or folder already")
    staging = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        staging.mkdir(parents=True)
        yield staging
        staging.rename(out)
    except OSError as error:
        raise Refused(f"--out {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def compare_models(
    log: Path, configs: dict[str, ModelConfig], *, seeds: int, threads: int, folder: Path | None, progress: Progress,
    last: int | None = None, start: Path | None = None, checkpoints: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train several models on the same days of a log, and evaluate them on the same impressions.

    An interval adds the error of the evaluated impressions (DeLong et al. 1988; of a difference, on the same rows) and, with more
    than one seed, that of the seeds (t).

    Args:
        log: Folder of the log.
        configs: By name; the others are compared with the first.
        seeds: Trainings of each model, with seeds 0, 1, ...
        threads: CPU threads.
        folder: The models of the last seed are written there; nothing is where it is None.
        progress: Called with a model's name and the share of its trainings that is done.
        last: Days to train on, the last before those that calibrate and evaluate; all by default.
        start: Folder of models of the same names and configs, which the networks go on from.
        checkpoints: Folder that trainings keep their state in while they run; one that was interrupted goes on there.

    Returns:
        One row per model and task: scores as means over the seeds, `auc` and `auc_less_first` with the ends of their intervals,
        numbers learned, and rows per second in training (reading the log included) and in scoring.

    Raises:
        Unusable: If the log cannot be read or holds too little to learn from.
    """
    split = Split.of(log, days_of(log), list(configs.values()), last)
    earlier = {name: None if start is None else load_model(start / name).predictor for name in configs}
    nothing = Predictions(click=np.empty(0, np.float32), conversion=np.empty(0, np.float32))
    label = {task: label[chosen] for task, _, label, chosen in tasks_of(nothing, split.evaluation)}
    p: dict[str, dict[str, list[np.ndarray]]] = {name: {task: [] for task in label} for name in configs}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in configs}
    size: dict[str, int] = {}
    for seed in range(seeds):
        for name, config in configs.items():
            progress(name, seed / seeds)
            started = perf_counter()
            kept = None if checkpoints is None else checkpoints / f"{name}-{seed}"
            try:
                predictor = split.fit(
                    config, seed=seed, threads=threads, start=earlier[name], checkpoint=kept,
                    progress=lambda share, name=name, seed=seed: progress(name, (seed + share) / seeds),  # type: ignore[misc]
                )  # fmt: skip
                train_s = perf_counter() - started
                model = calibrated(predictor, config.kind, split.calibration)
            except Unusable as error:
                raise Unusable(f"model {name}, seed {seed}: {error}") from None
            if kept is not None:
                shutil.rmtree(kept, ignore_errors=True)  # it is over
            if folder is not None and seed == seeds - 1:
                save_model(model, predictor, split.train.schema, folder / name)
            started = perf_counter()
            predicted = model.predict(split.evaluation.batch)
            took[name].append((train_s, perf_counter() - started))
            for task, own, _, chosen in tasks_of(predicted, split.evaluation):
                p[name][task].append(own[chosen])
            size[name] = predictor.parameters
            progress(name, (seed + 1) / seeds)
    first = next(iter(configs))
    return [
        {
            "model": name, "kind": config.kind, "task": task, "parameters": size[name],
            "train_rows_per_s": split.train.impressions / mean(t for t, _ in took[name]),
            "score_rows_per_s": split.evaluation.batch.row.size / mean(s for _, s in took[name]),
            **_mean_scores(p[name][task], own), "auc": auc_over_seeds(p[name][task], own),
            "auc_less_first": None if name == first else auc_over_seeds(p[name][task], own, p[first][task]),
        }
        for name, config in configs.items() for task, own in label.items()
    ]  # fmt: skip


def days_of(log: Path) -> int:
    """Days that a log spans, the last one counted as whole.

    Raises:
        Unusable: If it cannot be read.
    """
    try:
        with duckdb.connect() as db:
            parts = str(log / "impressions" / "*.parquet")
            ((last,),) = db.execute("SELECT max(time_ms) FROM read_parquet(?)", [parts]).fetchall()
    except duckdb.Error as error:
        raise Unusable(f"the log in {log} is damaged: {str(error).splitlines()[0]}") from None
    return 0 if last is None else int(last) // DAY_MS + 1


def auc_over_seeds(p: list[np.ndarray], label: BoolArray, other: list[np.ndarray] | None = None) -> Interval | None:
    """AUC, or its difference from another model's, as the mean over seeds with its 95% interval.

    The variance of the mean is that of the rows, which all seeds share, and that between seeds over their number, with degrees of
    freedom by Satterthwaite. None where a class has fewer than two rows.
    """
    try:
        found = [auc_error(own, label, None if other is None else other[i]) for i, own in enumerate(p)]
    except Unusable:
        return None
    estimates = [estimate for estimate, _ in found]
    n, estimate = len(found), mean(estimates)
    between = stdev(estimates) ** 2 / n if n > 1 else 0.0
    total = mean(variance for _, variance in found) + between
    freedom = (n - 1) * (total / between) ** 2 if between else np.inf
    half = float(student.ppf(0.975, freedom)) * sqrt(total)
    return estimate, estimate - half, estimate + half


def _mean_scores(p: list[np.ndarray], label: BoolArray) -> dict[str, Any]:
    found = [asdict(score(own, label)) for own in p]
    return {name: None if any(f[name] is None for f in found) else mean(f[name] for f in found) for name in found[0]}
