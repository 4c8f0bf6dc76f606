"""The curves that a training leaves beside its models, and the intervals in its table."""

import json

import numpy as np
import pytest

from marketplace.model_shapes import RocCurve
from marketplace.roc import ROC, roc_rows
from marketplace.runs import read_json
from marketplace.training import _auc_ends
from models.scores import auc_interval

TASKS = {"click", "conversion given click", "conversion"}


@pytest.fixture(scope="module")
def table(finished):
    return json.loads((finished.folder / "models.json").read_text())


def test_a_run_keeps_a_curve_per_model_and_task_whose_area_is_the_auc_of_the_table(finished, table):
    curves = read_json(finished.folder / "models" / ROC, list[RocCurve])

    assert {(curve["model"], curve["task"]) for curve in curves} == {
        (model, task) for model in ("control", "treatment") for task in TASKS
    }
    known = {(row["model"], row["task"]): row for row in table if not row["cohort"]}
    for curve in curves:
        row = known[curve["model"], curve["task"]]
        x, y = (np.array([0, *curve[name]]) for name in ("false_positive_rate", "recall"))
        assert abs(np.trapezoid(y, x) - row["auc"]) <= (np.diff(x) * np.diff(y)).sum() / 2 + 1e-9
        assert curve["positive_share"] == pytest.approx(row["positives"] / row["rows"])
        assert curve["precision"][-1] == pytest.approx(curve["positive_share"])
        assert len(curve["cut"]) <= 50


def test_a_task_of_one_class_has_no_curve():
    p, every = np.array([[0.2, 0.4, 0.9]]), np.ones((1, 3), bool)
    label = np.array([[False, True, True]])
    targets = {"click": (label, every), "conversion": (label & False, every), "late": (label, label)}

    found = roc_rows("net", "network", "", dict.fromkeys(targets, p), targets)

    assert [row["task"] for row in found] == ["click"]
    assert found[0]["cut"] == [0.9, 0.4, 0.2] and found[0]["recall"] == [0.5, 1, 1]


def test_the_table_has_the_ends_of_delongs_interval_within_0_and_1(table):
    for row in table:
        if min(row["positives"], row["rows"] - row["positives"]) < 2:
            assert row["auc_low"] is row["auc_high"] is None
        else:
            assert 0 <= row["auc_low"] <= row["auc"] <= row["auc_high"] <= 1
    whole = next(row for row in table if (row["task"], row["cohort"]) == ("click", ""))
    part = next(row for row in table if (row["task"], row["cohort"]) == ("click", "slot"))
    assert part["auc_high"] - part["auc_low"] > whole["auc_high"] - whole["auc_low"]


def test_a_single_positive_has_no_interval():
    p, label = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, False])
    _, low, high = auc_interval(p, label)
    assert _auc_ends(p, label) == {"auc_low": max(low, 0), "auc_high": min(high, 1)}
    assert _auc_ends(p, np.array([True, False, False, False])) == {"auc_low": None, "auc_high": None}
