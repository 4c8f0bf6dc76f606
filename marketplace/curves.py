"""Curves: how long the arms' rankers take, measured on one worker of this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from marketplace.candidates import candidates_of, requests_in
from marketplace.errors import refusing
from marketplace.market import first_model
from marketplace.scenario import FIRST_RANKER, ArmConfig, Scenario
from models.errors import Unusable
from models.predictor import load_model
from models.profiling import curve_of
from models.schema import load_schema

CURVES = "curves.json"
_SIZES = (1, 2, 4, 8, 16, 32, 64)  # requests at once that are timed
_TIMED = 256  # requests that they are taken from


def measure_curves(scenario: Scenario, folder: Path, progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Time every ranker of the arms, with as many candidates as it scores.

    Args:
        scenario: Of the run.
        folder: Of the run, with its log and models.
        progress: Called with the share of the rankers that are done.

    Raises:
        Refused: If a model is missing or damaged, or the log is empty.
    """
    log, found = folder / "log", []
    with refusing("scoring curves", Unusable):
        schema, n = load_schema(log), min(requests_in(log), _TIMED)
        if n < _SIZES[1]:
            raise Unusable(f"the log in {log} has {n} requests, a curve takes {_SIZES[1]}")
        needed = rankers_of(scenario)
        for done, (name, k) in enumerate(needed, start=1):
            model = first_model(scenario) if name == FIRST_RANKER else load_model(folder / "models" / name)
            points = curve_of(model, candidates_of(log, schema, k, n), [size for size in _SIZES if size <= n])
            found.append(
                {
                    "model": name, "candidates": k, "device": model.predictor.device,
                    "rows": [point.rows for point in points], "ms": [1e3 * point.seconds for point in points],
                }
            )  # fmt: skip
            progress(done / len(needed))
    return found


def rankers_of(scenario: Scenario) -> list[tuple[str, int]]:
    """Models that arms rank with, each with the candidates that it scores."""
    return list(dict.fromkeys(own for arm in scenario.arms.values() for own in stages_of(arm, scenario).values()))


def stages_of(arm: ArmConfig, scenario: Scenario) -> dict[str, tuple[str, int]]:
    """Model and candidates of each stage that an arm ranks in: "light", if it has one, and "model"."""
    if arm.cascade is None:
        return {"model": (str(arm.model), scenario.world.feed.candidates)}
    return {"light": (arm.cascade.light, arm.cascade.retrieved), "model": (str(arm.model), arm.cascade.ranked)}
