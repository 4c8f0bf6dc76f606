"""Equal arms: one simulated test in which control serves all, split at random again and again."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from marketplace.aa import Study, naive_study, study_of
from marketplace.arm import tested_campaigns
from marketplace.assignment import Assignment
from marketplace.before import load_before
from marketplace.counters import Counters
from marketplace.designs import assignment_of, units_of
from marketplace.errors import Refused
from marketplace.experiment import Pace, arms_of
from marketplace.market import load_world
from marketplace.metrics import METRICS
from marketplace.readout import metrics_of
from marketplace.record import NoRecord
from marketplace.replications import under
from marketplace.resplit import resplit
from marketplace.runs import Draft
from marketplace.scenario import Scenario
from marketplace.state import load_state
from marketplace.trial import setting, trial
from synth.types import FloatArray

SPLIT_AGAIN = ("users", "clusters", "switchback", "advertisers")  # whose arms can be drawn again after the event
_NAIVE = "CTR"
Row = dict[str, Any]


def run_equal(
    draft: Draft, designs: Sequence[str], runs: int, pace: Pace, progress: Callable[[str, float], None]
) -> dict[str, Any]:
    """Study designs on the market of a run that has its log and models: control serves all, and units are split again.

    Where arms are equal a split decides nothing of what happens, so one simulation serves all splits. Sessions, requests and
    budgets are not among them: a user's sessions, and an arm's part of the budgets, are not kept apart in the counters.

    Raises:
        Refused: If a design is unknown or cannot be split again, or the experiment cannot be had by it.
    """
    scenario, control = draft.scenario, next(iter(draft.scenario.arms))
    for name in designs:
        if name not in SPLIT_AGAIN:
            raise Refused(f"--design {name!r}: there are {', '.join(SPLIT_AGAIN)}")
    world = load_world(scenario, draft.folder / "truth")
    before = load_before(draft.folder, tested_campaigns(scenario), world.population)
    first, whole = scenario.calendar.log_days, _without_ramp(scenario)
    also = [assignment_of(under(whole, name, scenario.seed), world, first) for name in designs]
    arms, everyone = setting(control, arms_of(scenario, draft.folder), scenario, world)
    state = load_state(scenario, world, draft.folder / "state")
    result, _ = trial(
        scenario, world, arms, everyone, state, NoRecord(), before, also=also, threads=pace.threads,
        tick_requests=pace.tick_requests, progress=lambda share: progress("simulate control", share),
    )  # fmt: skip
    rows: list[Row] = []
    for name, assignment, counters in zip(designs, also, result.others, strict=True):
        progress(f"split {name}", 0.0)
        rows += [{"design": name} | row for row in _studied(name, assignment, counters, scenario, runs, before)]
        progress(f"split {name}", 1.0)
    return {"scenario": scenario.name, "seed": scenario.seed, "runs": runs, "rows": rows}


def _without_ramp(scenario: Scenario) -> Scenario:
    """Where shares change from stage to stage, a user has a row in every stage and arm: no unit to split again."""
    return scenario.model_copy(update={"experiment": scenario.experiment.model_copy(update={"ramp": []})})


def _studied(
    design: str, assignment: Assignment, counters: Counters, scenario: Scenario, runs: int, before: FloatArray
) -> list[Row]:
    """A row per metric; of users also for the naive test of clicks over impressions, which breaks its promise."""
    table, users, _ = units_of(counters, assignment, before)
    splits = resplit(table, runs, scenario.seed, complete=design != "users", users=users)
    found = [study_of(metric, splits) for metric in metrics_of(scenario)]
    if design == "users":
        ctr = next(metric for metric in METRICS if metric.name == _NAIVE)
        found.append(naive_study(ctr, splits)._replace(metric=f"{_NAIVE}, naively"))
    return [_plain(study) for study in found]


def _plain(study: Study) -> Row:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in study._asdict().items()}
