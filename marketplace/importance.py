"""Importance of a log's features to a model, and how the rankings do when models are trained again on their first features."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from marketplace.comparison import Progress, days_of
from marketplace.errors import Refused
from marketplace.training import Split
from models.attribution import integrated_gradients, obstacle
from models.config import ModelConfig
from models.importance import TASKS, Evaluated, Loss, ablation, evaluated, features_of, permutation, ranked
from models.predictor import Predictor
from models.schema import Schema
from models.scores import Interval, auc_interval
from models.subset import kept_auc

GRADIENTS = "integrated_gradients"
METHODS = ("permutation", "ablation", GRADIENTS)
RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be found out."""

    task: str
    methods: tuple[str, ...]
    keep: tuple[int, ...]  # features to train again on, rising


def asked(
    schema: Schema, config: ModelConfig, *, task: str, methods: Sequence[str] | None, keep: Sequence[int]
) -> Question:
    """A question that a log of that schema and a model can answer; by all methods that the model has, where none is named.

    Raises:
        Refused: If the task or a method is unknown, the model has no such method, or there are not as many features.
    """
    if task not in TASKS:
        raise Refused(f"--task {task!r}: there are {', '.join(TASKS)}")
    why = obstacle(config)
    for name in methods or ():
        if name not in METHODS:
            raise Refused(f"--method {name!r}: there are {', '.join(METHODS)}")
        if name == GRADIENTS and why:
            raise Refused(f"--method {name}: {why}")
    n = len(features_of(schema))
    for count in keep:
        if not 1 <= count <= n:
            raise Refused(f"--keep {count}: it must be 1 to {n}, the features of the log")
    chosen = methods or (name for name in METHODS if not why or name != GRADIENTS)
    return Question(task=task, methods=tuple(dict.fromkeys(chosen)), keep=tuple(sorted(set(keep))))


def importance_of(
    log: Path, model: str, config: ModelConfig, question: Question, *, repeats: int, seed: int, threads: int,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Train a model, rank the features, and train it again on the first of each ranking and on random ones.

    Importance is measured on the day before the log's last, the models trained again are evaluated on the last, so that no
    ranking has seen the impressions that it is judged by. Orders with the same first features share a training.

    Args:
        log: Folder of the log.
        model: Its name.
        config: Its settings.
        question: What is to be found out.
        repeats: Shuffles of each feature.
        seed: Of trainings, shuffles and the random order.
        threads: CPU threads.
        progress: Called with the name of a piece of work and the share of it that is done.

    Returns:
        `auc` of the model with its interval, `features`: rows as `models.importance.Ranked`; `kept`: one row per order and count
        with the AUC of the model trained again, and its interval.

    Raises:
        Unusable: If the log cannot be read, holds too little to learn from, or has no evaluated impressions of both classes.
    """
    split = Split.of(log, days_of(log), [config])
    data, features = evaluated(split.calibration(config), question.task), features_of(split.evaluation.schema)
    predictor = split.learn(
        config, seed=seed, threads=threads, progress=lambda share: progress("training", share)
    ).predictor
    ways: dict[str, Callable[..., dict[str, Loss] | dict[str, float]]] = {
        "permutation": partial(permutation, seed=seed, repeats=repeats), "ablation": ablation, GRADIENTS: _gradients
    }  # fmt: skip
    found = {name: ways[name](predictor, data, progress=partial(progress, name)) for name in question.methods}
    importance = {
        name: {f: of.auc if isinstance(of, Loss) else of for f, of in own.items()} for name, own in found.items()
    }
    log_loss = {
        name: {f: of.log_loss for f, of in own.items() if isinstance(of, Loss)}
        for name, own in found.items() if name != GRADIENTS
    }  # fmt: skip
    rows = ranked(features, importance, log_loss)
    order = {method: [r.feature for r in sorted(rows, key=lambda r: r.rank[method])] for method in question.methods}
    order[RANDOM] = [features[i].name for i in np.random.default_rng(seed).permutation(len(features))]
    return {
        "model": model, "task": question.task, "methods": list(question.methods), "rows": len(data.label),
        "positives": int(data.label.sum()),
        "auc": auc_interval(data.logits(predictor).astype(np.float64), data.label),
        "features": [asdict(row) for row in rows],
        "kept": _kept(split, config, question, order, seed, threads, progress) if question.keep else [],
    }  # fmt: skip


def _gradients(predictor: Predictor, data: Evaluated, *, progress: Callable[[float], None]) -> dict[str, float]:
    return integrated_gradients(predictor, data, progress=progress).importance()


def _kept(
    split: Split, config: ModelConfig, question: Question, order: dict[str, list[str]], seed: int, threads: int,
    progress: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per order and count; the trainings that they need are done once each."""
    wanted = {(name, n): frozenset(first[:n]) for name, first in order.items() for n in question.keep}
    auc: dict[frozenset[str], Interval] = {}
    for keep in dict.fromkeys(wanted.values()):
        progress("training again", len(auc) / len(set(wanted.values())))
        auc[keep] = kept_auc(
            split.train(config), split.evaluation, config, keep, task=question.task, seed=seed, threads=threads,
            validation=split.validation(config),
        )  # fmt: skip
    progress("training again", 1.0)
    return [{"order": name, "features": n, "auc": auc[keep]} for (name, n), keep in wanted.items()]
