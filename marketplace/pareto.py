"""Pareto search over architectures: which trade of AUC for speed a space of models offers.

As published with the conversion DHEN (Zhuang et al. 2025): train a random sample of the space, learn AUC and throughput from the
choices, predict many more, keep those that no other is predicted to dominate. Here some of them are then trained, so that the
front is of measured models only, and what was promised stands beside what came.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor

from marketplace.bench import Bench, Search, Trained
from marketplace.comparison import Interval, Progress, auc_over_seeds
from marketplace.errors import Refused
from marketplace.front import area, expected_gain, undominated
from marketplace.scenario import Scenario
from marketplace.space import Choice, Space, sampled
from marketplace.surrogate import fitted, one_hot, trust
from models.errors import Unusable
from models.importance import TASKS
from synth.types import BoolArray, FloatArray

LEAST_TRIALS = 4
_MARGIN = 0.1  # of the range of trials, that the worst counted point lies below the least of them
_95 = 1.959963984540054  # standard deviations


class Foreseen(NamedTuple):
    """Predictions of proposals: means and standard deviations (m, 2) of a measurement of AUC and log rows/s."""

    mean: FloatArray
    sd: FloatArray


def asked(space: Space, *, task: str, trials: int, propose: int, verify: int, seeds: int, seed: int) -> Search:
    """A search that the space allows.

    Raises:
        Refused: If the task is unknown, a number is too small, or the space has fewer architectures than trials.
    """
    if task not in TASKS:
        raise Refused(f"--task {task!r}: there are {', '.join(TASKS)}")
    for name, number, least in (
        ("trials", trials, LEAST_TRIALS), ("propose", propose, 1), ("verify", verify, 1), ("seeds", seeds, 1),
    ):  # fmt: skip
        if number < least:
            raise Refused(f"--{name} {number}: it must be at least {least}")
    sample = sampled(space, trials + propose, seed)
    if len(sample.choices) < trials:
        raise Refused(f"--trials {trials}: {space.where} holds {len(sample.choices)} architectures")
    return Search(space=space, task=task, sample=sample, trials=trials, verify=verify, seeds=seeds, seed=seed)


def pareto_of(run: Path, scenario: Scenario, search: Search, *, threads: int, progress: Progress) -> dict[str, Any]:
    """Search on a run's log: trained on its days but two, calibrated on the next, evaluated on the last.

    Args:
        run: Its folder.
        scenario: The run's.
        search: What is asked.
        threads: CPU threads of trainings; speed is measured on one.
        progress: Called with the name of a piece of work and the share of it that is done.

    Returns:
        `rows`: every trained architecture, the front first, its fastest on top; `proposals` with what is predicted of them;
        `promises`: of those verified; `trust` in the predictions; `failed`: what could not be trained, and why; what was asked.

    Raises:
        Unusable: If the log cannot be read, or too few trials can be trained on it on this machine.
        Refused: If the truth behind the log is missing or damaged.
    """
    sample, bench = search.sample, Bench.of(run, scenario, search, threads)
    trials, failed = bench.train_all({f"trial {at}" if at else "base": at for at in range(search.trials)}, progress)
    if len(trials) < LEAST_TRIALS:
        raise Unusable(
            f"{len(trials)} of {search.trials} trials could be trained, {LEAST_TRIALS} are needed: {failed[0].why}"
        )
    measured = _goals(trials, bench.speeds(trials, progress), bench.label)
    x = one_hot(np.array(sample.choices), [len(values) for values in search.space.levels.values()])
    tried, cut = x[[one.at for one in trials]], search.trials
    progress("predictions", 0.0)
    trusted = [trust(tried, goal) for goal in measured.T]
    foreseen = _foreseen([fitted(tried, goal) for goal in measured.T], x[cut:])
    promised = undominated(np.concatenate([measured, foreseen.mean]))[len(trials) :]
    chosen = to_verify(foreseen, promised, measured, search.verify)
    progress("predictions", 1.0)
    verified, more = bench.train_all({f"verified {n}": cut + at for n, at in enumerate(chosen, start=1)}, progress)
    trained = trials + verified
    speed = bench.speeds(trained, progress)
    final = _goals(trained, speed, bench.label)
    rows = _rows(search, trained, speed, final, bench.label)
    return {
        "task": search.task, "seeds": search.seeds, "seed": search.seed, "rows_evaluated": len(bench.label),
        "positives": int(bench.label.sum()), "candidates": bench.k,
        "space": {name: list(values) for name, values in search.space.levels.items()},
        "combinations": search.space.size, "do_not_fit": sample.refused, "trials": len(trials),
        "trust": {"auc": trusted[0]._asdict(), "log_rows_per_s": trusted[1]._asdict()},
        "speed_repeats": float(np.median(np.abs(final[: len(trials), 1] - measured[:, 1]))),
        "gain": _gain(final, len(trials)),
        "rows": sorted(rows, key=lambda row: (not row["front"], -row["rows_per_s"])),
        "failed": [
            {"name": one.name, "settings": search.space.settings(one.choice), "why": one.why} for one in failed + more
        ],
        "proposals": [_proposal(sample.choices[cut + at], foreseen, at, bool(promised[at])) for at in range(len(promised))],
        "promises": [
            _promise(foreseen, one.at - cut, bool(promised[one.at - cut]), came, row)
            for one, came, row in zip(verified, final[len(trials) :], rows[len(trials) :], strict=True)
        ],
    }  # fmt: skip


def to_verify(foreseen: Foreseen, promised: BoolArray, measured: FloatArray, n: int) -> list[int]:
    """Proposals to train: one by one, that which is expected to add the most to the area that is dominated.

    Each is counted as there, at its predicted means, when the next is chosen, which spreads them along the front. Proposals that
    are predicted to lie on the front come before all others.

    Args:
        foreseen: Of m proposals.
        promised: (m,) which of them are predicted to lie on the front.
        measured: (t, 2) AUC and log rows/s of the trials.
        n: How many, all if there are fewer.

    Returns:
        Their places.
    """
    low, high = measured.min(axis=0), measured.max(axis=0)
    worst, there = low - _MARGIN * (high - low), measured
    chosen: list[int] = []
    for _ in range(min(n, len(promised))):
        gain = expected_gain(foreseen.mean, foreseen.sd, there, worst)
        gain[chosen] = -np.inf
        if any(at not in chosen for at in np.flatnonzero(promised)):
            gain[~promised] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        there = np.concatenate([there, foreseen.mean[best : best + 1]])
    return chosen


def _auc(p: list[FloatArray], label: BoolArray, other: list[FloatArray] | None = None) -> Interval:
    found = auc_over_seeds(p, label, other)
    assert found is not None  # both classes have two rows
    return found


def _goals(trained: Sequence[Trained], speed: Sequence[float], label: BoolArray) -> FloatArray:
    """(m, 2) AUC and log of rows/s."""
    return np.array([[_auc(one.p, label)[0], np.log(s)] for one, s in zip(trained, speed, strict=True)])


def _foreseen(processes: Sequence[GaussianProcessRegressor], x: FloatArray) -> Foreseen:
    if not len(x):
        return Foreseen(np.empty((0, 2)), np.empty((0, 2)))
    mean, sd = zip(*(process.predict(x, return_std=True) for process in processes), strict=True)
    return Foreseen(np.stack(mean, axis=1), np.stack(sd, axis=1))


def _gain(goals: FloatArray, cut: int) -> float | None:
    """What the verified add to the area that the trials dominate, relative; None where that area is empty."""
    low, high = goals.min(axis=0), goals.max(axis=0)
    worst = low - _MARGIN * (high - low)
    before = area(goals[:cut], worst)
    return area(goals, worst) / before - 1 if before > 0 else None


def _rows(
    search: Search, trained: Sequence[Trained], speed: Sequence[float], goals: FloatArray, label: BoolArray
) -> list[dict[str, Any]]:
    """One per trained architecture, in the order of training."""
    kept = undominated(goals)
    on_front = sorted((int(at) for at in np.flatnonzero(kept)), key=lambda at: -goals[at, 1])
    faster = dict(zip(on_front[1:], on_front, strict=False))
    base = next((one for one in trained if one.at == 0), None)
    rows = []
    for at, (one, own) in enumerate(zip(trained, speed, strict=True)):
        rows.append(
            {
                "name": one.name, "origin": one.name.split()[0], "choice": list(one.choice),
                "settings": search.space.settings(one.choice), "front": bool(kept[at]), "auc": _auc(one.p, label),
                "expected_auc": one.expected,
                "auc_less_base": None if one.at == 0 or base is None else _auc(one.p, label, base.p),
                "auc_less_faster": _auc(one.p, label, trained[faster[at]].p) if at in faster else None,
                "rows_per_s": own,
                "parameters": one.parameters, "train_rows_per_s": one.train_rows_per_s,
            }
        )  # fmt: skip
    return rows


def _proposal(choice: Choice, foreseen: Foreseen, at: int, promised: bool) -> dict[str, Any]:
    (auc, log_rate), (auc_sd, log_sd) = foreseen.mean[at], foreseen.sd[at]
    return {
        "choice": list(choice), "auc": float(auc), "auc_sd": float(auc_sd), "rows_per_s": float(np.exp(log_rate)),
        "log_rows_per_s_sd": float(log_sd), "front": promised,
    }  # fmt: skip


def _promise(foreseen: Foreseen, at: int, promised: bool, came: FloatArray, row: dict[str, Any]) -> dict[str, Any]:
    """What was predicted of a verified architecture, with 95% intervals, and what was measured."""
    low, high = foreseen.mean[at] - _95 * foreseen.sd[at], foreseen.mean[at] + _95 * foreseen.sd[at]
    rates = (float(np.exp(end[1])) for end in (foreseen.mean[at], low, high))
    return {
        "name": row["name"], "promised_front": promised, "front": row["front"],
        "auc_predicted": [float(end[0]) for end in (foreseen.mean[at], low, high)], "auc": float(came[0]),
        "auc_held": bool(low[0] <= came[0] <= high[0]),
        "rows_per_s_predicted": list(rates), "rows_per_s": float(np.exp(came[1])),
        "rows_per_s_held": bool(low[1] <= came[1] <= high[1]),
    }  # fmt: skip
