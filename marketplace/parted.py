"""A test in parts: its metrics by part of its users, requests or impressions, each beside what is true of that part."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from marketplace.designs import assignment_of, sums_by
from marketplace.metrics import Metric, Moments, counted, moments_by_arm, unit_values
from marketplace.readout import holds, metrics_of
from marketplace.scenario import Scenario
from marketplace.segments import SEGMENTS, Part, segment_tables
from marketplace.stats import effect, true_lift
from synth.types import IdArray
from synth.world import World

_AT_ONCE = 2  # simulations whose logs are read
_NO_BUDGET = float("nan")  # budgets are of campaigns and days: no part of a test has one of its own
Row = dict[str, Any]


def parted(simulations: Path, done: Sequence[str], scenario: Scenario, world: World) -> list[Row]:
    """The A/B by every part of every segmentation, as plain readings over the whole test.

    Neither CUPED nor strata nor looks before the end are applied, and p-values are not adjusted: of so many parts, one in twenty
    is below 5% where nothing differs.

    Args:
        simulations: Folder with the A/B and the worlds with one arm for everyone.
        done: Names of those that were run.
        scenario: Of the run.
        world: Of the run.

    Returns:
        A row per part, arm and metric that a part counts; parts in which nothing came are left out. None at all where users
        are not in one arm throughout (sessions, requests, a ramp) or not what is split (switchback, advertisers).

    Raises:
        Refused: If a log is missing or damaged.
    """
    assignment = assignment_of(scenario, world, scenario.calendar.log_days)
    if assignment.of_unit is None or assignment.rows.unit != "user":
        return []
    arms = list(scenario.arms)
    worlds = [arm for arm in arms if arm in done]
    rows = []
    for segmentation in SEGMENTS:
        for part, (test, *twins) in _in_step(simulations, ("ab", *worlds), segmentation, world):
            if not np.nansum(test.table):
                continue
            read = _by_arm(test, assignment.of_unit, assignment.group, len(arms))
            truth = {arm: _together(twin) for arm, twin in zip(worlds, twins, strict=True)}
            for position, arm in enumerate(arms[1:], start=1):
                pair = truth.get(arms[0]), truth.get(arm)
                rows += [
                    {"segment": segmentation, "part": part, "arm": arm, "metric": metric.name}
                    | _beside_truth(metric, read[0], read[position], *pair)
                    for metric in metrics_of(scenario)
                    if counted(metric, read[0])
                ]
    return rows


def _in_step(
    simulations: Path, names: Sequence[str], segmentation: str, world: World
) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """A part's name and its counters in each simulation, one part after the other."""
    terms = world.population.campaigns, world.population.slot_effect
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tables = list(pool.map(lambda name: segment_tables(simulations / name, segmentation, *terms), names))
    for found in zip(*tables, strict=True):
        yield found[0][0], tuple(part for _, part in found)


def _by_arm(part: Part, of_unit: IdArray, cluster: IdArray | None, n_arms: int) -> list[Moments]:
    """Moments of each arm of the test, in the units of its design: the users of the part, or clusters of them."""
    read = partial(moments_by_arm, budget_usd=_NO_BUDGET, n_arms=n_arms)
    if cluster is None:
        return read(part.table, np.where(part.active, of_unit, -1), users=np.ones(len(of_unit)))
    users = sums_by(part.active[:, None].astype(np.float64), cluster)[:, 0]
    return read(sums_by(part.table, cluster), of_unit, users=users)


def _together(part: Part) -> Moments:
    """Means over all users of a world, of which nothing is estimated."""
    values = unit_values(np.flatnonzero(part.active), part.table, np.ones(len(part.active)), _NO_BUDGET)
    width = values.shape[1]
    mean = values.mean(axis=0) if len(values) else np.zeros(width)
    return Moments(len(values), mean, np.zeros((width, width)))


def _beside_truth(
    metric: Metric, control: Moments, treatment: Moments, everyone: Moments | None, treated: Moments | None
) -> Row:
    found = effect(metric, control, treatment)
    truth = None if everyone is None or treated is None else true_lift(metric, everyone, treated)
    return found._asdict() | {"true_lift": truth, "covered": holds(found.low, found.high, truth)}
