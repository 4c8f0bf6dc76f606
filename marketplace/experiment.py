"""Experiments: the stages from a scenario to a report, each done once and kept in the run folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from marketplace.assignment import Assignment, everyone, split_users
from marketplace.errors import Refused, refusing
from marketplace.log import COMING, save_coming
from marketplace.market import first_ranker, load_world, model_arm, open_market, save_world
from marketplace.metrics import MOMENTS, moments_by_arm
from marketplace.page import render_html
from marketplace.record import LogRecorder
from marketplace.report import build_report
from marketplace.runs import SCENARIO, Draft, Run, write_json
from marketplace.scenario import Scenario, load_scenario
from marketplace.schema import log_schema
from marketplace.serve import Arm
from marketplace.simulate import Result, Spending, simulate
from marketplace.state import load_state, new_state, save_state
from marketplace.training import ARMS, train
from models.errors import Unusable
from models.predictor import load_model
from synth.errors import Impossible
from synth.world import World

DESIGNS = ("ab", "aa", "control", "treatment")
Progress = Callable[[str, float], None]  # what is being done, and the share of it that is done


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What changes how fast a run goes, and nothing else."""

    threads: int = 2
    tick_requests: int = 2048


_FILES = {
    "log": ("log", "truth", "state"),
    "models": ("models", "models.json"),
    "simulations": ("simulations",),
}  # what a stage leaves in a run folder


def complete(
    draft: Draft, source: Run | None, upto: str, designs: Sequence[str], pace: Pace, progress: Progress
) -> None:
    """Do every stage up to `upto` ("log", "models" or "report"), or take it over from `source`.

    A stage is taken over where `source` did it under the settings that its result depends on.

    Raises:
        Refused: If the scenario cannot be had, or a file that was taken over is damaged: named where it came from.
    """
    try:
        _stages(draft, source, upto, designs, pace, progress)
    except Refused as error:
        place = source.folder if source else draft.folder  # the draft is about to be removed
        raise Refused(str(error).replace(str(draft.folder), str(place))) from error


def _stages(
    draft: Draft, source: Run | None, upto: str, designs: Sequence[str], pace: Pace, progress: Progress
) -> None:
    old = load_scenario(source.folder / SCENARIO) if source else None

    def taken_over(stage: str) -> bool:
        if source is None or old is None or not source.has(stage):
            return False
        if old.settings_of(stage) != draft.scenario.settings_of(stage):
            return False
        with refusing(f"run folder {source.folder}", OSError):
            draft.adopt(stage, source, _FILES[stage])
        return True

    if not taken_over("log"):
        collect_log(draft, pace, progress)
    if upto == "log":
        return
    if not taken_over("models"):
        train_models(draft, pace, progress)
    if upto == "models":
        return
    taken_over("simulations")
    done = draft.stages.get("simulations", {})
    run_simulations(draft, [design for design in designs if design not in done], pace, progress)
    report(draft, progress)


def collect_log(draft: Draft, pace: Pace, progress: Progress) -> None:
    """Solve the market and collect its log under the first ranker."""
    scenario = draft.scenario
    progress("market", 0.0)
    started = perf_counter()
    with refusing(f"scenario {scenario.name}", Impossible, Unusable):
        world = open_market(scenario)
        ranker = first_ranker(scenario)
    market_s = perf_counter() - started
    progress("market", 1.0)
    save_world(world, draft.folder / "truth")
    state = new_state(scenario, world)
    with _recorder(scenario, world, draft.folder) as recorder:
        result = simulate(
            scenario, world, (ranker,), everyone(scenario.world.population.users), state, recorder,
            first_day=0, days=scenario.calendar.log_days, tick_requests=pace.tick_requests, threads=pace.threads,
            progress=lambda share: progress("log", share),
        )  # fmt: skip
        digest = recorder.digest()
    save_state(state, draft.folder / "state")
    save_coming(state.orders, draft.folder / COMING)
    draft.stages["log"] = {"digest": digest, "market_s": round(market_s, 2)} | _speed(result)


def _recorder(scenario: Scenario, world: World, folder: Path) -> LogRecorder:
    content = world.population.content
    return LogRecorder(folder, log_schema(scenario.world), content, scenario.log.candidate_share, scenario.seed)


def train_models(draft: Draft, pace: Pace, progress: Progress) -> None:
    """Train and calibrate both arms' models on the log."""
    folder = draft.folder / "models"
    folder.mkdir()
    with refusing("training", Unusable):
        table = train(
            draft.scenario, draft.folder / "log", folder, threads=pace.threads,
            progress=lambda name, share: progress(f"train {name}", share),
        )  # fmt: skip
    write_json(draft.folder / "models.json", table)
    draft.stages["models"] = {"train_s": {row["model"]: round(row["train_s"], 2) for row in table}}


def run_simulations(draft: Draft, designs: Sequence[str], pace: Pace, progress: Progress) -> None:
    """Run the test's days under each design, all from the same state and with the same luck."""
    draft.stages.setdefault("simulations", {})
    if not designs:
        return
    scenario = draft.scenario
    world = load_world(scenario, draft.folder / "truth")
    with refusing("simulation", Unusable):
        models = {name: load_model(draft.folder / "models" / name) for name in ARMS}
    served = {
        name: model_arm(scenario, name, model, getattr(scenario.models, name).correct) for name, model in models.items()
    }
    (draft.folder / "simulations").mkdir(exist_ok=True)
    for design in designs:
        arms, assignment = design_of(design, served, scenario)
        folder = draft.folder / "simulations" / design
        state = load_state(scenario, world, draft.folder / "state")
        with _recorder(scenario, world, folder) as recorder:
            result = simulate(
                scenario, world, arms, assignment, state, recorder,
                first_day=scenario.calendar.log_days, days=scenario.calendar.test_days,
                tick_requests=pace.tick_requests, threads=pace.threads,
                progress=partial(progress, f"simulate {design}"),
            )  # fmt: skip
            digest = recorder.digest()
        _keep(result, world, scenario, assignment, {arm.name: arm.device for arm in arms}, folder)
        draft.stages["simulations"][design] = {"digest": digest} | _speed(result)


def _keep(
    result: Result, world: World, scenario: Scenario, assignment: Assignment, device: dict[str, str], folder: Path
) -> None:
    """Write what a simulation came to, beside its log."""
    first, days = scenario.calendar.log_days, scenario.calendar.test_days
    runs = np.stack([world.population.on_air(day).any(axis=0) for day in range(first, first + days)])
    budget = float((runs * world.population.campaigns.daily_budget_usd).sum())
    moments = moments_by_arm(result.counters.table(), assignment.of_user, budget, len(assignment.shares))
    content = {
        "arms": [
            {
                "name": name, "share": share, "device": device[name], "requests": result.requests_by_arm[name],
                "predict_s": result.cpu_s.get(f"predict {name}", 0.0), "users": own.users, "mean": own.mean.tolist(),
                "cov": own.cov.tolist(),
            }
            for name, share, own in zip(device, assignment.shares, moments, strict=True)
        ],
        "moments": MOMENTS, "revenue_micros": result.revenue_micros, "unbilled_micros": result.unbilled_micros,
    }  # fmt: skip
    write_json(folder / "result.json", content)
    _write_spending(result.spending, folder / "spending.parquet")


def _write_spending(spending: Spending, path: Path) -> None:
    """One row per pacing interval and campaign."""
    n, c = spending.spent_usd.shape
    table = pa.table(
        {
            "start_ms": np.repeat(spending.start_ms, c),
            "campaign": np.tile(np.arange(c, dtype=np.int32), n),
            "spent_usd": spending.spent_usd.ravel(),
            "planned_usd": spending.planned_usd.ravel(),
            "multiplier": spending.multiplier.ravel(),
        }
    )
    pq.write_table(table, path, compression="zstd")


def _speed(result: Result) -> dict[str, Any]:
    return {
        "requests": result.n_requests, "wall_s": round(result.wall_s, 3),
        "requests_per_s": round(result.n_requests / result.wall_s), "revenue_micros": result.revenue_micros,
        "cpu_s": {stage: round(seconds, 3) for stage, seconds in result.cpu_s.items()},
    }  # fmt: skip


def report(draft: Draft, progress: Progress) -> None:
    """Read the simulations and write the report."""
    progress("report", 0.0)
    content = build_report(draft.folder, draft.scenario, draft.stages)
    write_json(draft.folder / "report.json", content)
    (draft.folder / "report.html").write_text(render_html(content))
    draft.stages["report"] = {}
    progress("report", 1.0)


def design_of(design: str, served: dict[str, Arm], scenario: Scenario) -> tuple[tuple[Arm, ...], Assignment]:
    """Arms and assignment of one of the four simulations."""
    n_users = scenario.world.population.users
    share = scenario.experiment.treatment_share
    split = split_users(n_users, (1 - share, share), scenario.seed)
    control, treatment = served["control"], served["treatment"]
    return {
        "ab": ((control, treatment), split),
        "aa": ((control, control._replace(name="control_again")), split),
        "control": ((control,), everyone(n_users)),
        "treatment": ((treatment,), everyone(n_users)),
    }[design]
