"""Repurchase and exploration, in the demo's log: the published pattern emerges."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from marketplace.experiment import Pace, complete
from marketplace.runs import new_run
from marketplace.scenario import load_scenario

ROOT = Path(__file__).parents[2]


@pytest.mark.deep
def test_cohorts_are_harder_than_the_whole_and_hard_negatives_are_repurchases(tmp_path):
    scenario = load_scenario(ROOT / "scenarios" / "delivery.toml")
    with new_run(scenario, "train", tmp_path) as draft:
        complete(draft, None, "models", (), Pace(), lambda what, share: None)
    script, out = ROOT / "benchmarks" / "cohorts.py", tmp_path / "cohorts.json"
    subprocess.run([sys.executable, str(script), str(draft.folder), "--json", str(out)], check=True)
    found = json.loads(out.read_text())

    assert found["AUC, repurchase"] < found["AUC, overall"] and found["AUC, exploration"] < found["AUC, overall"]
    assert found["repurchase share of positives"] == pytest.approx(0.676, abs=0.02)
    assert found["repurchase share of negatives"] == pytest.approx(0.343, abs=0.02)
    assert found["repurchase share of hard negatives"] > 0.5
    assert found["of them, out of the user's usual part of the day"] > 1 / 3
