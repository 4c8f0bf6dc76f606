"""One small market, and one finished run of it, for all tests of the trunk; how many examples hypothesis tries."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from marketplace.arm import Arm
from marketplace.experiment import Pace, collect_log, complete
from marketplace.market import first_ranker, open_market
from marketplace.runs import Run, new_run, open_run
from marketplace.scenario import Scenario, load_scenario
from synth.world import World

settings.register_profile("default", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("deep", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

TINY = Path(__file__).parents[1] / "scenarios" / "tiny.toml"


@pytest.fixture(scope="session")
def tiny() -> Scenario:
    return load_scenario(TINY)


@pytest.fixture(scope="session")
def world(tiny: Scenario) -> World:
    return open_market(tiny)


@pytest.fixture(scope="session")
def ranker(tiny: Scenario) -> Arm:
    return first_ranker(tiny)


@pytest.fixture(scope="session")
def logged(tiny: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with its log alone."""
    parent = tmp_path_factory.mktemp("logs")
    with new_run(tiny, "generate", parent) as draft:
        collect_log(draft, Pace(), lambda what, share: None)
    return open_run(draft.folder)


@pytest.fixture(scope="session")
def finished(tiny: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of every stage and design."""
    parent = tmp_path_factory.mktemp("runs")
    with new_run(tiny, "compare", parent) as draft:
        complete(draft, None, "report", None, Pace(), lambda what, share: None)
    return open_run(draft.folder)
