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

from marketplace.arm import Arm, tested_campaigns
from marketplace.assignment import Assignment, everyone
from marketplace.before import load_before, save_before
from marketplace.curves import CURVES, measure_curves, rankers_of
from marketplace.designs import Reading, quantile_rows, read, splits
from marketplace.errors import Refused, refusing
from marketplace.log import COMING, save_coming
from marketplace.market import first_ranker, load_world, open_market, save_world, served_arms
from marketplace.page import render_html
from marketplace.readings import READINGS, save_readings
from marketplace.record import LogRecorder
from marketplace.report import build_report
from marketplace.runs import SCENARIO, Draft, Run, read_json, write_json
from marketplace.scenario import CONTROL, Scenario, load_scenario
from marketplace.schema import log_schema
from marketplace.serving import SERVING, Trained, price, traffic_of
from marketplace.shape import MeasuredCurve, SimulationResult
from marketplace.simulate import Result, Spending, simulate
from marketplace.state import load_state, new_state, save_state
from marketplace.training import train
from marketplace.trial import budget_by_day, setting, trial
from models.errors import Unusable
from models.predictor import load_model
from synth.errors import Impossible
from synth.world import World

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
    "curves": (CURVES,),
}  # what a stage leaves in a run folder


def complete(
    draft: Draft, source: Run | None, upto: str, designs: Sequence[str] | None, pace: Pace, progress: Progress
) -> None:
    """Do every stage up to `upto` ("log", "models" or "report"), or take it over from `source`.

    A stage is taken over where `source` did it under the settings that its result depends on.

    Args:
        designs: Of `Scenario.simulations`, all where None.

    Raises:
        Refused: If the scenario cannot be had, or a file that was taken over is damaged: named where it came from.
    """
    there = draft.scenario.simulations
    for name in designs or ():
        if name not in there:
            raise Refused(f"--design {name!r}: there are {', '.join(there)}")
    try:
        _stages(draft, source, upto, there if designs is None else designs, pace, progress)
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
        if stage == "models" and not set(draft.scenario.trained) <= set(source.manifest["stages"]["models"]["train_s"]):
            return False  # an arm now serves a model that no arm served then
        if stage == "curves" and not _all_timed(draft.scenario, source):
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
    if not taken_over("curves"):
        progress("scoring curves", 0.0)
        curves = measure_curves(draft.scenario, draft.folder, partial(progress, "scoring curves"))
        write_json(draft.folder / CURVES, curves)
        draft.stages["curves"] = {}
    report(draft, progress)


def _all_timed(scenario: Scenario, source: Run) -> bool:
    timed = {(curve["model"], curve["candidates"]) for curve in read_json(source.folder / CURVES, list[MeasuredCurve])}
    return set(rankers_of(scenario)) <= timed


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
    state, assignment = new_state(scenario, world), everyone(scenario.world.population.users)
    budget = budget_by_day(world, 0, scenario.calendar.log_days)
    days: list[Reading] = []
    with _recorder(scenario, world, draft.folder) as recorder:
        result = simulate(
            scenario, world, (ranker,), assignment, state, recorder, first_day=0, days=scenario.calendar.log_days,
            tick_requests=pace.tick_requests, threads=pace.threads,
            end_day=lambda counters: days.append(read(counters, assignment, float(budget[: len(days) + 1].sum()))),
            progress=lambda share: progress("log", share),
        )  # fmt: skip
        digest = recorder.digest()
    save_state(state, draft.folder / "state")
    save_readings(days, draft.folder / "state" / READINGS)
    save_before(result.counters.table(), draft.folder)
    save_coming(state.orders, draft.folder / COMING)
    draft.stages["log"] = {"digest": digest, "market_s": round(market_s, 2)} | _speed(result)


def _recorder(scenario: Scenario, world: World, folder: Path) -> LogRecorder:
    content = world.population.content
    return LogRecorder(folder, log_schema(scenario.world), content, scenario.log.candidate_share, scenario.seed)


def train_models(draft: Draft, pace: Pace, progress: Progress) -> None:
    """Train and calibrate the arms' models on the log."""
    folder = draft.folder / "models"
    folder.mkdir()
    with refusing("training", Unusable):
        table = [] if not draft.scenario.trained else train(
            draft.scenario, draft.folder / "log", folder, threads=pace.threads,
            progress=lambda name, share: progress(f"train {name}", share),
        )  # fmt: skip
    write_json(draft.folder / "models.json", table)
    seconds = {row["model"]: round(row["train_s"], 2) for row in table}
    draft.stages["models"] = {"train_s": seconds, "threads": pace.threads}


def run_simulations(draft: Draft, designs: Sequence[str], pace: Pace, progress: Progress) -> None:
    """Run the test's days under each design, all from the same state and with the same luck."""
    draft.stages.setdefault("simulations", {})
    if not designs:
        return
    scenario = draft.scenario
    world = load_world(scenario, draft.folder / "truth")
    arms = arms_of(scenario, draft.folder)
    before = load_before(draft.folder, tested_campaigns(scenario), world.population)
    (draft.folder / "simulations").mkdir(exist_ok=True)
    for design in designs:
        own, assignment = setting(design, arms, scenario, world)
        folder = draft.folder / "simulations" / design
        state = load_state(scenario, world, draft.folder / "state")
        with _recorder(scenario, world, folder) as recorder:
            result, days = trial(
                scenario, world, own, assignment, state, recorder, before, tick_requests=pace.tick_requests,
                threads=pace.threads, progress=partial(progress, f"simulate {design}"),
            )  # fmt: skip
            digest = recorder.digest()
        _keep(result, days, assignment, own, scenario, world, folder)
        draft.stages["simulations"][design] = {"digest": digest} | _speed(result)


def arms_of(scenario: Scenario, folder: Path) -> tuple[Arm, ...]:
    """The experiment's arms with the models that a run has trained.

    Raises:
        Refused: If a model is missing or damaged.
    """
    with refusing("simulation", Unusable):
        models = {name: load_model(folder / "models" / name) for name in scenario.trained}
    return served_arms(scenario, models)


def _keep(
    result: Result, days: list[Reading], assignment: Assignment, arms: tuple[Arm, ...], scenario: Scenario, world: World,
    folder: Path,
) -> None:  # fmt: skip
    """Write what a simulation came to, beside its log."""
    content = {
        "arms": [
            {
                "name": arm.name, "device": arm.device, "requests": result.requests_by_arm[arm.name],
                "predict_s": result.cpu_s.get(f"predict {arm.name}", 0.0),
                "load": result.load.of(position), "recall": result.recall.of(position),
            }
            for position, arm in enumerate(arms)
        ],
        "splits": [
            split._asdict() for split in splits(result, assignment, scenario.experiment.design, world.population.users)
        ],
        "quantiles": quantile_rows(result.counters, assignment, [arm.name for arm in arms], scenario.seed),
        "revenue_micros": result.revenue_micros, "unbilled_micros": result.unbilled_micros,
    }  # fmt: skip
    write_json(folder / "result.json", content)
    save_readings(days, folder / READINGS)
    _write_spending(result.spending, folder / "spending.parquet")


def _write_spending(spending: Spending, path: Path) -> None:
    """One row per pacing interval and account."""
    n, c = spending.spent_usd.shape
    table = pa.table(
        {
            "start_ms": np.repeat(spending.start_ms, c),
            "account": np.tile(np.arange(c, dtype=np.int32), n),
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
    """Price the arms, read the simulations and write the report."""
    write_json(draft.folder / SERVING, priced(draft, progress))
    progress("report", 0.0)
    content = build_report(draft.folder, draft.scenario, draft.stages)
    write_json(draft.folder / "report.json", content)
    curves = read_json(draft.folder / CURVES, list[MeasuredCurve])
    (draft.folder / "report.html").write_text(render_html(content, curves))
    draft.stages["report"] = {}
    progress("report", 1.0)


def priced(draft: Draft, progress: Progress) -> dict[str, Any]:
    """The platform under every arm whose load some simulation has told."""
    scenario, models, folder = draft.scenario, draft.stages["models"], draft.folder / "simulations"
    names = list(draft.stages["simulations"])
    results = {name: read_json(folder / name / "result.json", SimulationResult) for name in names}
    curves = read_json(draft.folder / CURVES, list[MeasuredCurve])
    whole = next((name for name in (CONTROL, "aa", "ab") if name in names), names[0])
    return price(
        scenario, results, curves, traffic_of(folder / whole), Trained(models["train_s"], models["threads"]),
        partial(progress, "serving"),
    )  # fmt: skip
