"""Which runs share a log."""

import json

import pytest

from marketplace.kin import same_log
from marketplace.runs import open_run


@pytest.fixture
def beside(tmp_path):
    """Make a run of so many stages with a log of that digest; none where it is None."""

    def make(name, digest, started, *stages):
        log = {"digest": digest, "requests": 1, "wall_s": 1.0, "requests_per_s": 1, "cpu_s": {}, "market_s": 1.0}
        manifest = {
            "scenario": "tiny", "seed": 1, "command": "compare", "started": started, "wall_s": 1.0, "files": {},
            "stages": ({"log": log} if digest else {}) | {stage: {} for stage in stages},
        }  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
        return open_run(tmp_path / name)

    return make


def names(run):
    return [other.folder.name for other in same_log(run, "importance")]


def test_runs_of_the_same_log_that_have_the_stage_come_the_run_first_then_the_newest(beside):
    own = beside("own", "x", "2026-01-01", "importance")
    beside("older", "x", "2026-01-02", "importance")
    beside("newer", "x", "2026-01-03", "importance")
    beside("other_log", "y", "2026-01-04", "importance")
    beside("other_stage", "x", "2026-01-05", "pareto")

    assert names(own) == ["own", "newer", "older"]


def test_links_and_damaged_runs_are_left_out(beside, tmp_path):
    own = beside("own", "x", "2026-01-01")
    (tmp_path / "linked").symlink_to(beside("there", "x", "2026-01-02", "importance").folder)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text("{")

    assert names(own) == ["there"]


def test_runs_without_a_log_are_not_kin_to_each_other(beside):
    own = beside("own", None, "2026-01-01", "importance")
    beside("other", None, "2026-01-02", "importance")

    assert names(own) == ["own"]
