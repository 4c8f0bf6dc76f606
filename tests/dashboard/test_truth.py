"""The truth: readings beside it, and what studies, equal arms and power say, held against their files."""

import json

import numpy as np
import pandas as pd
import pytest
from opened import copy_json, drawn, edit, layouts, numbers, said

ROW = {"metric": "CPA", "group": "advertiser", "unit": "USD per conversion", "good": "down", "role": "goal"}
REVENUE = ROW | {"metric": "revenue", "group": "platform", "unit": "USD", "good": "up"}
READ = {
    "arm": "treatment", "fortnights": 3, "equal": 3, "rejected": 0, "why": "", "lift": 0.1, "true_lift": 0.02,
    "true_low": 0.01, "true_high": 0.03, "bias": 0.078, "bias_low": 0.05, "bias_high": 0.1, "se": 0.02, "spread": 0.01,
    "covered": 1, "days_needed": 9,
}  # fmt: skip
UNBIASED = {"bias": 0.001, "bias_low": -0.02, "bias_high": 0.02, "covered": 3, "days_needed": None}


def fortnight(luck, design, metric, lift, low, high, true):
    return {
        "luck": luck, "design": design, "arm": "treatment", "metric": metric, "lift": lift, "low": low, "high": high,
        "p_value": 0.5, "se": 0.02, "true_lift": true,
    }  # fmt: skip


STUDY = {
    "scenario": "tiny", "seed": 11, "seeds": 3, "users": 500, "test_days": 2, "designs": ["users", "budgets"],
    "rows": [
        {"design": design} | about | READ | more
        for about in (REVENUE, ROW) for design, more in (("users", {}), ("budgets", UNBIASED))
    ],
    "replications": [
        fortnight(luck, design, metric, lift, lift - 0.03, lift + 0.03, true)
        for metric in ("CPA", "revenue") for design, off in (("users", 0.08), ("budgets", 0.0))
        for luck, true in ((12, 0.03), (13, 0.01), (14, 0.02)) for lift in [true + off * (luck > 12)]
    ],
}  # fmt: skip
KEPT = {
    "runs": 2000, "rejected": 104, "least": 69, "most": 133, "distance": 0.01, "critical": 0.0435, "coverage": 0.948,
    "passed": True, "why": "",
}  # fmt: skip
EQUAL = {
    "scenario": "tiny", "seed": 11, "runs": 2000,
    "rows": [
        {"design": "users", "metric": "CPA"} | KEPT,
        {"design": "users", "metric": "CTR, naively"} | KEPT | {"rejected": 366, "passed": False, "coverage": 0.8},
        {"design": "users", "metric": "sign_ups"} | KEPT | {"runs": 0, "rejected": 0, "passed": None, "why": "none came"},
        {"design": "clusters", "metric": "CPA"} | KEPT | {"rejected": 70},
    ],
}  # fmt: skip
FORESEEN = {
    "arm": "treatment",
    "value": 2.0,
    "why": "",
    "minimum_effect": 0.05,
    "beyond_log": False,
    "days_beyond_log": True,
}
POWER = {
    "scenario": "tiny", "seed": 11, "design": "users", "log_days": 3, "test_days": 2, "lift": 0.02, "power": 0.8,
    "shares": {"control": 0.5, "treatment": 0.5},
    "rows": [ROW | FORESEEN | {"days_needed": 12}, REVENUE | FORESEEN | {"minimum_effect": 0.09, "days_needed": 40}],
}  # fmt: skip
FILES = {"study": ("study.json", STUDY), "aa": ("aa.json", EQUAL), "power": ("power.json", POWER)}


@pytest.fixture
def studied(runs, finished):
    """A run beside the first, with what design, aa and power leave."""
    folder = copy_json(finished.folder, runs / "studied")
    (folder / "report.json").unlink()

    def keep(manifest):
        manifest["stages"] = {name: manifest["stages"][name] for name in ("log", "models")} | {
            stage: {} for stage in FILES
        }
        manifest["started"] = "2020-01-01T00:00:00+00:00"

    edit(folder / "manifest.json", keep)
    for file, content in FILES.values():
        (folder / file).write_text(json.dumps(content))
    return folder


@pytest.fixture
def readout(runs):
    return pd.DataFrame(json.loads((runs / "good" / "report.json").read_text())["readout"])


def test_readings_are_drawn_against_the_truth_and_those_that_miss_it_apart(see, runs, readout):
    line, held, missed = drawn(see("truth"))

    for series, covered in ((held, True), (missed, False)):
        own = readout[readout.covered.eq(covered)]
        assert list(series["text"]) == list(own.metric)
        assert numbers(series["x"]) == list(own.true_lift)
        assert numbers(series["y"]) == list(own.lift)
        np.testing.assert_allclose(np.add(numbers(series["y"]), numbers(series["error_y"]["array"])), own.high)
    assert numbers(line["x"]) == numbers(line["y"])


def test_coverage_by_group_and_by_segmentation_counts_the_reports_own_answers(see, runs, readout):
    groups, parts = (table.value for table in see("truth").dataframe[:2])

    known = readout.dropna(subset="covered")
    by = known.assign(covered=known.covered.astype(bool)).groupby("group", sort=False)
    assert dict(zip(groups["metrics"], groups["hold it"], strict=True)) == by.covered.sum().to_dict()
    assert dict(zip(groups["metrics"], groups["read"], strict=True)) == by.size().to_dict()
    assert dict(zip(groups["metrics"], groups["bias"], strict=True)) == pytest.approx(
        by.bias.apply(lambda bias: bias.abs().median()).to_dict()
    )
    assert (groups["hold it"] + groups["above"] + groups["below"] == groups["read"]).all()
    segments = pd.DataFrame(json.loads((runs / "good" / "report.json").read_text())["segments"]).dropna(
        subset="covered"
    )
    assert dict(zip(parts["segmentation"], parts["read"], strict=True)) == segments.groupby("segment").size().to_dict()


def test_a_group_is_shown_alone(see, readout):
    at = see("truth", group="User")

    own = readout[(readout.group == "user") & readout.covered.notna()]
    assert set(at.dataframe[2].value["metric"]) == set(own.metric)
    assert list(at.dataframe[0].value["metrics"]) == ["user"]


def test_without_true_worlds_there_is_a_sentence(see, runs):
    edit(
        runs / "good" / "report.json",
        lambda report: [row.update(true_lift=None, covered=None, bias=None) for row in report["readout"]],
    )

    assert "Run good has no true worlds to hold its readings against." in said(see("truth"))


def test_what_no_run_of_the_scenario_has_is_a_sentence_with_the_command_that_makes_it(see, runs):
    heard = said(see("truth"))

    for command in ("design", "aa", "power"):
        assert f"`marketplace {command} {runs / 'good'}` makes one" in heard


def test_a_study_of_another_run_of_the_scenario_is_shown(see, studied):
    at = see("truth", run="good")

    assert at.selectbox(key="study").value == "studied"
    designs = next(t.value for t in at.dataframe if "days needed" in t.value and "design" in t.value)
    assert list(designs["design"]) == ["users", "budgets"]
    assert list(designs["covered"]) == ["1 of 3 [1%, 91%]", "3 of 3 [29%, 100%]"]  # Clopper & Pearson's tables
    assert list(designs["bias"]) == [0.078, 0.001]


def test_a_study_of_another_scenario_is_not(see, studied):
    edit(studied / "manifest.json", lambda manifest: manifest.update(scenario="delivery"))

    assert "`marketplace design" in said(see("truth", run="good"))


def test_a_run_of_another_scenario_does_not_keep_the_study_that_was_chosen(see, studied, runs, finished):
    other = copy_json(finished.folder, runs / "other")
    edit(other / "manifest.json", lambda manifest: manifest.update(scenario="delivery"))
    at = see("truth", run="good", study="studied")
    at.selectbox(key="run").set_value("other").run()

    assert not at.exception
    assert f"`marketplace design {other}`" in said(at)
    again = copy_json(studied, runs / "again")
    edit(again / "manifest.json", lambda manifest: manifest.update(scenario="delivery"))
    at.run()
    assert not at.exception
    assert at.selectbox(key="study").value == "again"


def test_the_address_names_the_study_even_when_newer_ones_come(see, studied):
    at = see("truth", run="good")

    assert at.query_params["study"] in ("studied", ["studied"])


def test_a_biased_design_is_drawn_apart_from_one_that_may_have_none(see, studied):
    at = see("truth", run="good", study_metric="CPA")

    unbiased, biased = drawn(at, 1)
    assert list(biased["y"]) == ["users"] and list(unbiased["y"]) == ["budgets"]
    assert numbers(biased["x"]) == [0.078]
    assert np.allclose(numbers(biased["error_x"]["arrayminus"]), 0.028)


def test_fortnights_stand_in_the_order_of_their_truth_and_those_missed_are_drawn_apart(see, studied):
    at = see("truth", run="good")

    held, missed, truth, *other = drawn(at, 2)
    assert numbers(truth["y"]) == [0.01, 0.02, 0.03]
    assert numbers(missed["x"]) == [1, 2] and np.allclose(numbers(missed["y"]), [0.09, 0.10])
    assert numbers(held["x"]) == [3] and np.allclose(numbers(held["y"]), [0.03])
    assert numbers(other[1]["x"]) == []  # a budget split misses none


def test_another_metric_of_a_study_is_shown(see, studied):
    at = see("truth", run="good")
    at.selectbox(key="study_metric").set_value("CPA").run()

    fortnights = next(t.value for t in at.dataframe if "seed" in t.value)
    assert len(fortnights) == 6


def test_equal_arms_are_drawn_with_the_range_of_a_kept_promise(see, studied):
    at = see("truth", run="good")

    band, kept, broken = drawn(at, 3)
    assert numbers(band["base"]) == [69 / 2000] * 2
    assert np.allclose(np.add(numbers(band["base"]), numbers(band["x"])), 133 / 2000)
    assert list(kept["y"]) == ["CPA"] and numbers(kept["x"]) == [0.052]
    assert list(broken["y"]) == ["CTR, naively"] and numbers(broken["x"]) == [0.183]
    table = next(t.value for t in at.dataframe if "promise" in t.value)
    assert list(table["promise"]) == ["kept", "BROKEN", "none came"]
    at.segmented_control(key="split").set_value("clusters").run()
    assert numbers(drawn(at, 3)[1]["x"]) == [0.035]


def test_power_shows_the_least_lift_and_marks_days_beyond_the_log(see, studied):
    at = see("truth", run="good")

    table = next(t.value for t in at.dataframe if "least lift found" in t.value)
    assert list(table["least lift found"]) == ["5.00%", "9.00%"]
    assert list(table["days needed"]) == ["12*", "40*"]
    assert numbers(drawn(at, 4)[0]["x"]) == [0.09, 0.05]


def test_a_run_with_a_study_alone_shows_it_beside_the_sentence_that_there_is_no_test(see, studied):
    at = see("truth", run="studied")

    assert "Run studied has no report yet" in said(at)
    assert at.selectbox(key="study").value == "studied"
    assert len(at.get("plotly_chart")) == 4


@pytest.mark.parametrize("stage", FILES)
@pytest.mark.parametrize("content", ["", "{}", "[]", '{"rows": [{"design": 5}]}'])
def test_a_damaged_file_is_a_sentence_and_leaves_the_rest(see, studied, stage, content):
    (studied / FILES[stage][0]).write_text(content)
    at = see("truth", run="good")

    assert f"{FILES[stage][0]} is damaged" in said(at)
    assert len(at.dataframe) > 3


def test_every_table_and_chart_has_its_downloads_and_every_axis_a_title(see, studied):
    at = see("truth", run="good")

    assert len(at.get("download_button")) == 2 * len(at.dataframe) + len(at.get("plotly_chart"))
    for layout in layouts(at):
        assert layout["xaxis"]["title"]["text"]
        assert "title" in layout["yaxis"] or "categoryarray" in layout["yaxis"]
