"""A trial: the test's days under one assignment, and what would be read of them at the end of each."""

from collections.abc import Callable, Sequence

import numpy as np

from marketplace.arm import Arm
from marketplace.assignment import Assignment, everyone
from marketplace.counters import Counters
from marketplace.designs import Reading, assignment_of, read
from marketplace.record import Recorder
from marketplace.scenario import Scenario
from marketplace.simulate import Result, simulate
from marketplace.state import State
from synth.types import FloatArray
from synth.world import World


def setting(design: str, arms: tuple[Arm, ...], scenario: Scenario, world: World) -> tuple[tuple[Arm, ...], Assignment]:
    """Arms and assignment of one of `Scenario.simulations`.

    Raises:
        Refused: If an arm would have too few units to be read.
    """
    for arm in arms:
        if arm.name == design:
            return (arm,), everyone(len(world.population.users.region))
    assignment = assignment_of(scenario, world, scenario.calendar.log_days)
    if design == "aa":
        arms = (arms[0], *(arms[0]._replace(name=f"{arms[0].name}_{n}") for n in range(1, len(arms))))
    return arms, assignment


def trial(
    scenario: Scenario,
    world: World,
    arms: tuple[Arm, ...],
    assignment: Assignment,
    state: State,
    recorder: Recorder,
    before: FloatArray,
    *,
    users: int | None = None,
    also: Sequence[Assignment] = (),
    tick_requests: int = 2048,
    threads: int = 2,
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[Result, list[Reading]]:
    """Run the test's days from `state`, which moves on.

    Args:
        before: (U, len(NAMES)) what users did in the log.
        users: Only users with a lower id come, to their part of the budgets; all where None.
        also: Further assignments to count by, see `simulate`.

    Returns:
        What came of it, and the reading as it stood at the end of each day.
    """
    first, days = scenario.calendar.log_days, scenario.calendar.test_days
    n_users = len(world.population.users.region)
    if users is not None:
        state = state.of_first(users)
    budget = budget_by_day(world, first, days) * ((users or n_users) / n_users)
    readings: list[Reading] = []

    def end_day(counters: Counters) -> None:
        so_far = float(budget[: len(readings) + 1].sum())
        readings.append(read(counters, assignment, so_far, before, scenario.experiment.adjust))

    result = simulate(
        scenario, world, arms, assignment, state, recorder, first_day=first, days=days, tick_requests=tick_requests,
        threads=threads, users=users, also=also, end_day=end_day, progress=progress,
    )  # fmt: skip
    return result, readings


def budget_by_day(world: World, first_day: int, days: int) -> FloatArray:
    """(days,) USD of the daily budgets of campaigns that their schedules let run."""
    population = world.population
    runs = np.stack([population.on_air(day).any(axis=0) for day in range(first_day, first_day + days)])
    return np.asarray((runs * population.campaigns.daily_budget_usd).sum(axis=1), dtype=np.float64)
