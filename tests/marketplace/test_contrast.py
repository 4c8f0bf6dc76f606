"""Two runs side by side: every difference is shown, and nothing else."""

import copy

import pytest

from marketplace.contrast import cost_rows, model_rows, readout_rows, setting_rows
from marketplace.runs import read_json


def test_settings_that_differ_are_named_by_their_dotted_key_and_equal_ones_are_left_out():
    first = {"seed": 1, "world": {"users": 5, "deep": {"x": True}}, "same": [1, 2], "gone": None}
    second = {"seed": 1, "world": {"users": 6, "deep": {"x": 1}}, "same": [1, 2], "new": {"y": [{"a": 1}]}}

    assert setting_rows(first, second) == [
        {"setting": "world.users", "first": "5", "second": "6"},
        {"setting": "world.deep.x", "first": "true", "second": "1"},
        {"setting": "gone", "first": "null", "second": None},
        {"setting": "new.y", "first": None, "second": '[{"a": 1}]'},
    ]


def test_a_scenario_differs_from_itself_in_nothing(finished):
    scenario = read_json(finished.folder / "scenario.json")

    assert setting_rows(scenario, copy.deepcopy(scenario)) == []


def reading(metric: str, lift: float | None, true: float | None = None, arm: str = "treatment") -> dict:
    return {
        "arm": arm,
        "metric": metric,
        "unit": "u",
        "role": "goal",
        "lift": lift,
        "low": -1.0,
        "high": 1.0,
        "true_lift": true,
    }


def test_readings_of_the_same_arm_and_metric_stand_in_one_row_with_the_second_less_the_first():
    first = [reading("CPA", 0.1, 0.05), reading("CTR", 0.2), reading("CPA", 0.5, arm="other")]
    second = [reading("CTR", None), reading("CPA", 0.4, 0.06)]
    cpa, ctr, other = readout_rows(first, second)

    assert (cpa["first_lift"], cpa["second_lift"]) == (0.1, 0.4)
    assert cpa["difference"] == pytest.approx(0.3)
    assert cpa["true_difference"] == pytest.approx(0.01)
    assert ctr["difference"] is None and ctr["second_low"] == -1.0
    assert (other["arm"], other["second_lift"], other["second_low"]) == ("other", None, None)


def test_a_metric_of_the_second_run_alone_has_its_unit_from_there():
    (row,) = readout_rows([], [reading("CPA", 0.4)])

    assert (row["unit"], row["first_lift"], row["second_lift"]) == ("u", None, 0.4)


def test_models_are_matched_by_name_task_and_segment(finished):
    first = read_json(finished.folder / "models.json")
    second = [row | {"auc": row["auc"] and row["auc"] + 0.01, "kind": "network"} for row in reversed(first)]
    rows = model_rows(first, second)

    assert [(row["model"], row["task"], row["segment"]) for row in rows] == [
        (row["model"], row["task"], row["segment"]) for row in first
    ]
    assert [row["first_auc"] for row in rows] == [row["auc"] for row in first]
    for row in rows:
        assert row["difference"] == (None if row["first_auc"] is None else pytest.approx(0.01))
        assert row["second_kind"] == "network"


def test_cost_is_that_of_the_topology_that_the_arm_is_priced_with(finished):
    priced = read_json(finished.folder / "serving.json")
    arm = priced["arms"][0]
    other = copy.deepcopy(priced)
    other["arms"][0]["usd_per_million"] = 2 * arm["usd_per_million"]
    rows = {row["figure"]: row for row in cost_rows(priced, other) if row["arm"] == arm["arm"]}

    (fleet,) = (fleet for fleet in arm["fleets"] if fleet["topology"] == arm["topology"])
    assert rows["p99"]["first"] == fleet["p99_ms"]
    assert rows["hosts"]["first"] == sum(stage["needed"] + stage["spare"] for stage in fleet["hosts"])
    assert rows["cost"]["ratio"] == 2.0
    assert rows["cost a year"]["ratio"] == 1.0


def test_an_arm_of_one_run_alone_has_figures_on_its_own_side_only(finished):
    priced = read_json(finished.folder / "serving.json")
    rows = cost_rows(priced, priced | {"arms": priced["arms"][:1]})

    alone = [row for row in rows if row["arm"] == priced["arms"][1]["arm"]]
    assert alone and all(row["second"] is None and row["ratio"] is None for row in alone)
    assert any(row["first"] is not None for row in alone)
