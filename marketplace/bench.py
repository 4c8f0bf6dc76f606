"""The bench that architectures are trained and measured on: one log, the same impressions, the same timed calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marketplace.candidates import crowd
from marketplace.comparison import Progress, days_of
from marketplace.scenario import Scenario
from marketplace.space import Choice, Sampled, Space
from marketplace.training import Split, by_task, targets, within_window
from marketplace.truth import true_rates
from models.config import ModelConfig
from models.errors import Unusable
from models.predictor import Model
from models.profiling import curves_of
from models.scores import expected_auc
from synth.types import BoolArray, FloatArray

_AT_ONCE = 6400  # candidates in a timed call, which a network scores as one block


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """What is to be searched, and how far."""

    space: Space
    task: str  # as in `models.importance.TASKS`
    sample: Sampled  # trials first, then what is proposed
    trials: int
    verify: int
    seeds: int
    seed: int


class Failed(NamedTuple):
    """An architecture that could not be trained on the log, or run on the machine."""

    name: str
    choice: Choice
    why: str


class Trained(NamedTuple):
    """An architecture after its trainings."""

    at: int  # place in the sample
    choice: Choice
    name: str  # base, trial or verified, and its number
    p: list[FloatArray]  # by seed, (m,) probabilities of the evaluated impressions
    expected: float | None  # AUC under the truth, mean over the seeds
    model: Model  # of the last seed
    parameters: int
    train_rows_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """The log, what it is evaluated by, and how one architecture is trained on it.

    Attributes:
        split: The days of the log.
        search: What is searched.
        configs: Of the sample, conversions counting as long as the scenario attributes them.
        chosen: (n, s) impressions that are evaluated.
        label: (m,) of them.
        truth: Of predictions by task, their AUC under the true probabilities.
        k: Candidates per request in timed calls.
        threads: CPU threads of trainings.
    """

    split: Split
    search: Search
    configs: Sequence[ModelConfig]
    chosen: BoolArray
    label: BoolArray
    truth: Callable[[dict[str, np.ndarray]], float]
    k: int
    threads: int

    @staticmethod
    def of(run: Path, scenario: Scenario, search: Search, threads: int) -> "Bench":
        """The bench of a run's log.

        Raises:
            Unusable: If the log cannot be read, or its last day has fewer than two rows of a class.
            Refused: If the truth behind it is missing or damaged.
        """
        configs = [within_window(config, scenario) for config in search.sample.configs]
        split = Split.of(run / "log", days_of(run / "log"), configs)
        target = _target(search.task)
        label, chosen = targets(split.evaluation)[target]
        positives = int(label[chosen].sum())
        if min(positives, int(chosen.sum()) - positives) < 2:
            raise Unusable(f"an AUC's error needs two rows of each class: {positives} of {chosen.sum()} are positive")
        rates, shown = true_rates(scenario, run, split.evaluation), split.evaluation.shown
        p, weight = by_task(rates.click, rates.conversion)[target][shown], np.ones(shown.sum())
        if target == _target("conversion"):
            weight = rates.click[shown]
        return Bench(
            split=split, search=search, configs=configs, chosen=chosen, label=label[chosen], k=scenario.world.feed.candidates,
            truth=lambda predicted: expected_auc(predicted[target][shown].astype(np.float64), p, weight), threads=threads,
        )  # fmt: skip

    def train_all(self, places: dict[str, int], progress: Progress) -> tuple[list[Trained], list[Failed]]:
        """Those at places of the sample, by name; one that cannot be had ends its own training, not the search."""
        trained, failed = [], []
        for name, at in places.items():
            try:
                trained.append(self.train(at, name, progress))
            except Unusable as error:
                failed.append(Failed(name, self.search.sample.choices[at], str(error)))
        return trained, failed

    def train(self, at: int, name: str, progress: Progress) -> Trained:
        """The architecture at a place of the sample, once per seed.

        Raises:
            Unusable: If the log holds too little to learn from, or the machine cannot run it.
        """
        search, config = self.search, self.configs[at]
        p, expected, seconds = [], [], 0.0
        for turn in range(search.seeds):
            learned = self.split.learn(
                config, seed=search.seed + turn, threads=self.threads,
                progress=lambda share, turn=turn: progress(name, (turn + share) / search.seeds),  # type: ignore[misc]
            )  # fmt: skip
            predicted = by_task(*learned.model.predict(self.split.evaluation.batch))
            p.append(predicted[_target(search.task)][self.chosen])
            expected.append(self.truth(predicted))
            seconds += learned.seconds
        progress(name, 1.0)
        return Trained(
            at=at, choice=search.sample.choices[at], name=name, p=p, expected=float(np.mean(expected)), model=learned.model,
            parameters=learned.predictor.parameters,
            train_rows_per_s=search.seeds * self.split.train(config).impressions / seconds,
        )  # fmt: skip

    def speeds(self, trained: Sequence[Trained], progress: Progress) -> list[float]:
        """Candidates per second on one thread, of all that are trained, timed in turn."""
        progress("speed", 0.0)
        data = self.split.evaluation
        n = min(max(1, _AT_ONCE // self.k), len(data.batch))
        timed = curves_of(
            [one.model for one in trained], crowd(data, self.k, n, seed=0), [n], least_calls=9,
            progress=lambda share: progress("speed", share),
        )  # fmt: skip
        return [point.rows / point.seconds for (point,) in timed]


def _target(task: str) -> str:
    """The task's name among the targets."""
    return "conversion given click" if task == "conversion" else task
