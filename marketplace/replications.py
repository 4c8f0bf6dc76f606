"""Replications: the simulations of a study, each its own task, in this process or in several; the same numbers either way."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from marketplace.arm import Arm, tested_campaigns
from marketplace.before import load_before
from marketplace.designs import Reading, assignment_of, read
from marketplace.errors import Refused
from marketplace.experiment import arms_of
from marketplace.market import load_world
from marketplace.metrics import Metric, value
from marketplace.readout import metrics_of
from marketplace.record import NoRecord
from marketplace.scenario import Scenario
from marketplace.state import load_state
from marketplace.stats import Effect
from marketplace.trial import budget_by_day, setting, trial
from synth.types import FloatArray
from synth.world import World

AGAIN = "again"  # of a design with equal arms, where they cannot be had from the world of control

Row = dict[str, Any]


class Task(NamedTuple):
    """A simulation of one fortnight."""

    folder: str  # of a run with a log and models
    scenario: str  # as JSON
    designs: tuple[str, ...]  # of the study
    users: int | None  # that come; all where None
    luck: int  # of the fortnight
    simulation: str  # an arm's name, a design, or a design with AGAIN behind it


def tasks_of(
    folder: Path, scenario: Scenario, designs: Sequence[str], users: int | None, seeds: int
) -> list[Task]:  # fmt: skip
    """All simulations of a study: in each fortnight a world for each arm, a test by each design, and equal arms.

    What equal arms would read is had from the world where control serves all, but for designs that split the budgets.
    """
    simulations = [*scenario.arms, *designs, *(f"{name} {AGAIN}" for name in designs if name == "budgets")]
    written = scenario.model_dump_json()
    return [
        Task(str(folder), written, tuple(designs), users, scenario.seed + 1 + seed, simulation)
        for seed in range(seeds)
        for simulation in simulations
    ]


def under(scenario: Scenario, design: str, luck: int) -> Scenario:
    """The same experiment by another design, in another fortnight.

    Raises:
        Refused: If the experiment cannot be had by that design.
    """
    tree = scenario.model_dump(mode="json") | {"seed": luck}
    own = tree["experiment"]
    own["design"] = design
    if design != "users":
        own["ramp"] = []
    if design not in ("users", "budgets") and not (design == "clusters" and own["adjust"] == "cuped"):
        own["adjust"] = "none"
    try:
        return Scenario.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise Refused(f"--design {design!r}: {first}") from error


def run_all(tasks: Sequence[Task], workers: int, done: Callable[[Task], None]) -> dict[Task, list[Row]]:
    """Run the tasks, `workers` at a time in processes of their own; `done` is told of each that ends.

    Raises:
        Refused: If a process is killed.
    """
    if workers == 1:
        return {task: _told(task, run_task(task), done) for task in tasks}
    found: dict[Task, list[Row]] = {}
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            waiting = {pool.submit(run_task, task): task for task in tasks}
            for future in as_completed(waiting):
                task = waiting[future]
                found[task] = _told(task, future.result(), done)
        except BrokenProcessPool as error:
            raise Refused(f"--workers {workers}: one was killed, perhaps for want of memory; ask for fewer") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return {task: found[task] for task in tasks}


def run_task(task: Task) -> list[Row]:
    """Run one simulation.

    Returns:
        For the world of an arm a row per metric with its `value`, and for control, too, what equal arms would have read; for a
        test, a row per arm and metric: the `Effect` at its end, with `se_by_day`.
    """
    market = _market(task.folder, task.scenario)
    name, _, again = task.simulation.partition(" ")
    if name in market.scenario.arms:
        return _world_of(name, market, task)
    scenario = under(market.scenario, name, task.luck)
    days = _trial(scenario, "aa" if again else "ab", market, task)
    return _effects(days, scenario, name, equal=bool(again))


class _Market(NamedTuple):
    scenario: Scenario
    world: World
    arms: tuple[Arm, ...]
    before: FloatArray


@lru_cache(maxsize=1)
def _market(folder: str, scenario: str) -> _Market:
    """Loaded once in a process."""
    own, place = Scenario.model_validate_json(scenario), Path(folder)
    world = load_world(own, place / "truth")
    before = load_before(place, tested_campaigns(own), world.population)
    return _Market(own, world, arms_of(own, place), before)


def _trial(scenario: Scenario, simulation: str, market: _Market, task: Task) -> list[Reading]:
    world = market.world.with_luck(task.luck)
    arms, assignment = setting(simulation, market.arms, scenario, world)
    state = load_state(market.scenario, market.world, Path(task.folder) / "state")
    _, days = trial(scenario, world, arms, assignment, state, NoRecord(), market.before, users=task.users, threads=1)
    return days


def _world_of(arm: str, market: _Market, task: Task) -> list[Row]:
    """The world where the arm serves all; where that is control, also the designs' readings of equal arms."""
    world, control = market.world.with_luck(task.luck), next(iter(market.scenario.arms))
    scenario = market.scenario.model_copy(update={"seed": task.luck})
    arms, assignment = setting(arm, market.arms, scenario, world)
    state = load_state(market.scenario, market.world, Path(task.folder) / "state")
    variants = [
        under(market.scenario, design, task.luck) for design in task.designs if arm == control and design != "budgets"
    ]
    first = scenario.calendar.log_days
    also = [assignment_of(variant, world, first) for variant in variants]
    result, days = trial(
        scenario, world, arms, assignment, state, NoRecord(), market.before, users=task.users, also=also, threads=1
    )  # fmt: skip
    rows = [{"metric": metric.name, "value": _value(metric, days[-1])} for metric in metrics_of(scenario)]
    budget = float(budget_by_day(world, first, scenario.calendar.test_days).sum())
    budget *= (task.users or len(market.before)) / len(market.before)
    for variant, other, counters in zip(variants, also, result.others, strict=True):
        reading = read(counters, other, budget, market.before, variant.experiment.adjust)
        rows += _effects([reading], variant, variant.experiment.design, equal=True)
    return rows


def _value(metric: Metric, reading: Reading) -> float | None:
    return value(metric, reading.arms[0]) if isinstance(reading.arms, list) else None


def _effects(days: list[Reading], scenario: Scenario, design: str, *, equal: bool) -> list[Row]:
    rows = []
    for position, arm in enumerate(scenario.arms):
        if position == 0:
            continue
        for metric in metrics_of(scenario):
            effects: list[Effect] = [day.effect(metric, position) for day in days]
            rows.append(
                {"design": design, "arm": arm, "metric": metric.name, "equal": equal}
                | effects[-1]._asdict()
                | {"se_by_day": [effect.se for effect in effects]}
            )
    return rows


def _told(task: Task, rows: list[Row], done: Callable[[Task], None]) -> list[Row]:
    done(task)
    return rows
