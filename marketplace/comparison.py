"""Comparison of any models on one log: what each is worth, how sure that is, and what it costs."""

import difflib
import shutil
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
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
from marketplace.runs import SCENARIO
from marketplace.scenario import load_scenario
from marketplace.training import KINDS, Learned, Split, by_task, ratio, said, targets, within_window
from marketplace.truth import true_rates
from models.config import LINE_UP, CorrectConfig, ModelConfig
from models.errors import Unusable
from models.predictor import load_model, save_model
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


def corrected(configs: dict[str, ModelConfig], text: str) -> dict[str, ModelConfig]:
    """Each model as it is, with each of the corrections alone, and with all of them together.

    Args:
        configs: By name.
        text: Corrections and their settings, such as "delay=es_dfm,wait_hours=12,position=pal".

    Raises:
        Refused: If one is unknown, given twice, or breaks a rule.
    """
    given = corrections(text)
    kinds = [name for name in given if name in KINDS]
    settings = {name: value for name, value in given.items() if name not in KINDS}
    versions = [(kind,) for kind in kinds] + ([tuple(kinds)] if len(kinds) > 1 else [])
    found = {}
    for name, config in configs.items():
        found[name] = config
        for version in versions:
            own = settings | {kind: given[kind] for kind in version}
            try:
                correct = CorrectConfig.model_validate(config.correct.model_dump() | own)
                one: ModelConfig = _MODEL.validate_python(config.model_dump() | {"correct": correct.model_dump()})
            except ValidationError as error:
                raise Refused(f"--correct {text}: {_first(error)}") from None
            if one != config:
                found[f"{name}+{said(one.correct)}"] = one
    return found


def corrections(text: str) -> dict[str, str]:
    """Corrections and their settings by name.

    Raises:
        Refused: If one is unknown, given twice or has no value, or none of them corrects anything.
    """
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise Refused(f"--correct {text}: {part.strip()!r} must be name=value, such as delay=es_dfm")
        if name not in CorrectConfig.model_fields:
            near = difflib.get_close_matches(name, CorrectConfig.model_fields, n=1, cutoff=0.0)
            raise Refused(f"--correct {text}: there is no {name}, did you mean {near[0]}?")
        if name in given:
            raise Refused(f"--correct {text}: {name} is given twice")
        given[name] = value
    if not any(name in KINDS for name in given):
        raise Refused(f"--correct {text}: it must name one of {', '.join(KINDS)}")
    return given


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = str(first["loc"][-1]) if first["loc"] and first["loc"][-1] in CorrectConfig.model_fields else ""
    return f"{where}: {first['msg']}".removeprefix(": ").replace("Value error, ", "")


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
        `true_calibration`, what is served over the truth (None of a log without one), numbers learned, and rows per second in
        training (reading the log included) and in scoring.

    Raises:
        Unusable: If the log cannot be read or holds too little to learn from.
        Refused: If the truth behind a run's log is missing or damaged.
    """
    scenario = load_scenario(log.parent / SCENARIO) if (log.parent / SCENARIO).exists() else None
    if scenario is not None:
        configs = {name: within_window(config, scenario) for name, config in configs.items()}
    split = Split.of(log, days_of(log), list(configs.values()), last)
    truth = None if scenario is None else true_rates(scenario, log.parent, split.evaluation)
    real = None if truth is None else by_task(truth.click_on_top, truth.conversion)
    earlier = {name: None if start is None else load_model(start / name).predictor for name in configs}
    target = targets(split.evaluation)
    on_top = replace(split.evaluation.batch, slot=np.zeros_like(split.evaluation.batch.slot))
    p: dict[str, dict[str, list[np.ndarray]]] = {name: {task: [] for task in target} for name in configs}
    of_truth: dict[str, dict[str, list[float | None]]] = {name: {task: [] for task in target} for name in configs}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in configs}
    learned: dict[str, Learned] = {}
    for seed in range(seeds):
        for name, config in configs.items():
            progress(name, seed / seeds)
            kept = None if checkpoints is None else checkpoints / f"{name}-{seed}"
            try:
                learned[name] = one = split.learn(
                    config, seed=seed, threads=threads, start=earlier[name], checkpoint=kept,
                    progress=lambda share, name=name, seed=seed: progress(name, (seed + share) / seeds),  # type: ignore[misc]
                )  # fmt: skip
            except Unusable as error:
                raise Unusable(f"model {name}, seed {seed}: {error}") from None
            if kept is not None:
                shutil.rmtree(kept, ignore_errors=True)  # it is over
            if folder is not None and seed == seeds - 1:
                save_model(one.model, one.predictor, split.evaluation.schema, folder / name)
            started = perf_counter()
            predicted = one.model.predict(split.evaluation.batch)
            took[name].append((one.seconds, perf_counter() - started))
            served = predicted if real is None else one.model.predict(on_top)
            for task, (_, chosen) in target.items():
                p[name][task].append(by_task(*predicted)[task][chosen])
                of_truth[name][task].append(
                    None if real is None else ratio(by_task(*served)[task][chosen], real[task][chosen])
                )
            progress(name, (seed + 1) / seeds)
    first = next(iter(configs))
    return [
        {
            "model": name, "kind": config.kind, "correct": said(config.correct), "task": task,
            "parameters": learned[name].predictor.parameters,
            "train_rows_per_s": split.train(config).impressions / mean(t for t, _ in took[name]),
            "score_rows_per_s": split.evaluation.batch.row.size / mean(s for _, s in took[name]),
            "effective_share": learned[name].effective.get(task), "notes": learned[name].notes,
            "true_calibration": _mean(of_truth[name][task]),
            **scores_over_seeds(p[name][task], label[chosen]), "auc": auc_over_seeds(p[name][task], label[chosen]),
            "auc_less_first": None if name == first else auc_over_seeds(p[name][task], label[chosen], p[first][task]),
        }
        for name, config in configs.items() for task, (label, chosen) in target.items()
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


def scores_over_seeds(p: list[np.ndarray], label: BoolArray) -> dict[str, Any]:
    """The fields of `models.scores.Scores` as means over seeds, None where a seed has none.

    Of p-values it is twice the mean, if there are several, which is a p-value again however they depend (Rüschendorf 1982).
    """
    found = [asdict(score(own, label)) for own in p]
    means = {name: _mean([f[name] for f in found]) for name in found[0]}
    if len(found) > 1 and means["calibration_p_value"] is not None:
        means["calibration_p_value"] = min(1.0, 2 * means["calibration_p_value"])
    return means


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None
