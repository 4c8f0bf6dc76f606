"""The readout: its filters, its guardrails, and each closer look, held against the report read another way."""

import json

import numpy as np
import pandas as pd
import pytest
from opened import copy_json, drawn, edit, layouts, numbers, said, written

from marketplace import words

LOOKS = "Day by day", "Segments", "Tails", "Exposed", "Sample ratio", "A/A"


@pytest.fixture
def report(runs):
    """The report as tables, a frame per key that holds rows."""
    content = json.loads((runs / "good" / "report.json").read_text())
    return {key: pd.DataFrame(rows) for key, rows in content.items() if isinstance(rows, list)}


def change(runs, key, metric, **fields):
    def own(report):
        for row in report[key]:
            if row["metric"] == metric:
                row.update(fields)

    edit(runs / "good" / "report.json", own)


def test_metrics_of_a_role_and_of_a_group_are_shown_alone(see, report):
    rows = report["readout"]
    at = see()
    at.segmented_control(key="role").set_value("guardrail").run()
    assert set(at.dataframe[0].value["metric"]) == set(rows[rows.role == "guardrail"].metric)
    at.segmented_control(key="group").set_value("user").run()

    assert set(at.dataframe[0].value["metric"]) == set(rows.query("role == 'guardrail' and group == 'user'").metric)
    assert set(drawn(at)[1]["y"]) <= set(at.dataframe[0].value["metric"])


def test_the_filters_are_in_the_address(see, report):
    rows = report["readout"]
    at = see(group="Advertiser", role="Goal", look="Segments", segment="daypart", metric="revenue")

    assert set(at.dataframe[0].value["metric"]) == set(rows.query("role == 'goal' and group == 'advertiser'").metric)
    assert at.segmented_control(key="look").value == "Segments"
    assert (at.selectbox(key="segment").value, at.selectbox(key="metric").value) == ("daypart", "revenue")


def test_an_unknown_filter_in_the_address_shows_everything(see, report):
    at = see(group="Nobody", look="Nowhere", role="Hero")

    assert len(at.dataframe[0].value) == len(report["readout"])
    assert at.segmented_control(key="look").value == "Day by day"


def test_a_group_without_a_goal_is_a_sentence(see):
    at = see(group="User", role="Goal")

    assert "No metric of this group is a goal" in said(at)


def test_guardrails_that_got_worse_are_called_out_with_their_lifts(see, runs):
    change(runs, "readout", "hide_rate", lift=0.25, low=0.1, high=0.4)
    change(runs, "readout", "return_rate", lift=-0.03, low=-0.04, high=-0.02)
    change(runs, "readout", "ad_diversity", lift=0.5, low=0.4, high=0.6)

    warned = said(see())
    assert "hide_rate (+25.00%)" in warned and "return_rate (-3.00%)" in warned
    assert "ad_diversity" not in warned
    assert "without an interval: " in warned and "infra_cost" in warned


def test_without_a_worse_guardrail_nothing_is_called_out(see, runs):
    edit(
        runs / "good" / "report.json",
        lambda report: [row.update(low=-0.1, high=0.1) for row in report["readout"] if row["role"] == "guardrail"],
    )
    at = see()

    assert not at.warning
    assert "No guardrail got worse." in written(at)


def test_days_are_drawn_with_the_interval_of_one_look_and_the_one_that_may_be_read(see, report):
    at = see(daily="revenue")

    days = report["by_day"].query("metric == 'revenue' and arm == 'treatment'").sort_values("day")
    low, high, reading, valid, truth = drawn(at, 1)
    assert numbers(low["y"]) == list(days.low) and numbers(high["y"]) == list(days.high)
    assert numbers(reading["y"]) == list(days.lift)
    assert numbers(valid["x"]) == list(days.day[days.valid_low.notna()])
    top = np.array(numbers(valid["y"])) + numbers(valid["error_y"]["array"])
    np.testing.assert_allclose(top, days.valid_high.dropna())
    known = report["readout"].query("metric == 'revenue'").true_lift.item()
    assert set(numbers(truth["y"])) == {known}


def test_all_goals_are_drawn_by_day_at_first(see, report):
    at = see()

    goals = report["readout"].query("role == 'goal'").metric
    titles = {note["text"] for note in layouts(at)[1]["annotations"]}
    assert titles == set(goals) & set(report["by_day"].dropna(subset="lift").metric)


@pytest.mark.parametrize("segment, metric", [("familiarity", "CPA"), ("daypart", "revenue"), ("platform", "CTR")])
def test_a_segmentation_shows_lift_interval_and_truth_of_every_part(see, report, segment, metric):
    at = see(look="Segments", segment=segment, metric=metric)

    own = report["segments"].query("segment == @segment and metric == @metric").set_index("part")
    table = at.dataframe[1].value.set_index("part")
    assert list(table.index) == list(own.index)
    np.testing.assert_array_equal(table["lift"].astype(float), own.lift)
    np.testing.assert_array_equal(table["true lift"].astype(float), own.true_lift)
    assert list(table["95% interval"]) == [
        row.why or words.interval(row.low, row.high) for row in own.astype(object).where(own.notna(), None).itertuples()
    ]
    reading, true = drawn(at, 1)
    assert numbers(reading["x"]) == [own.lift[part] for part in reading["y"]]
    assert numbers(true["x"]) == [own.true_lift[part] for part in true["y"]]


def test_parts_called_by_numbers_are_names_on_their_axis(see):
    at = see(look="Segments", segment="platform", metric="CTR")

    assert layouts(at)[1]["yaxis"]["type"] == "category"


@pytest.mark.parametrize("look, key, column", [("Tails", "quantiles", "lift"), ("A/A", "aa", "lift")])
def test_tails_and_the_aa_are_those_of_the_report(see, report, look, key, column):
    table = see(look=look).dataframe[1].value

    assert list(table["metric"]) == list(report[key].metric)
    np.testing.assert_array_equal(table[column].astype(float), report[key][column].astype(float))


def test_the_sample_ratio_is_shown_of_all_and_of_every_part_and_alarms_are_marked(see, runs, report):
    edit(runs / "good" / "report.json", lambda content: content["srm"][1].update(alarm=True))
    table = see(look="Sample ratio").dataframe[1].value

    assert len(table) == len(report["srm"]) > 1
    assert table["segmentation"][0] == "all"
    assert table["alarm"][1] == "ALARM" and not any(table["alarm"].drop(1))
    for shown, units in zip(table["units by arm"], report["srm"].units, strict=True):
        assert shown.startswith(" : ".join(f"{n:,}" for n in units))


def test_the_exposed_are_shown_where_ads_were_withheld(see, runs):
    assert "No arm withholds ads" in said(see(look="Exposed"))

    def add(report):
        first = next(row for row in report["readout"] if row["metric"] == "revenue")
        report["exposed"] = [first | {"units": [1200, 1300]}]

    edit(runs / "good" / "report.json", add)
    table = see(look="Exposed").dataframe[1].value
    assert list(table["exposed, control : treatment"]) == ["1,200 : 1,300"]


@pytest.mark.parametrize(
    "look, key", list(zip(LOOKS, ("by_day", "segments", "quantiles", "exposed", "srm", "aa"), strict=True))
)
def test_a_look_whose_part_of_the_report_is_missing_is_a_sentence(see, runs, look, key):
    edit(runs / "good" / "report.json", lambda report: report.pop(key, None))
    at = see(look=look)

    assert len(at.dataframe) == 1
    assert at.info


@pytest.mark.parametrize("look", LOOKS)
def test_every_table_and_chart_of_a_look_has_its_downloads_and_every_axis_a_title(see, look):
    at = see(look=look)

    assert len(at.get("download_button")) == 2 * len(at.dataframe) + len(at.get("plotly_chart"))
    for layout in layouts(at):
        assert layout["xaxis"]["title"]["text"]
        assert "title" in layout["yaxis"] or "categoryarray" in layout["yaxis"]


def test_another_arm_has_rows_of_its_own(see, runs):
    def add(report):
        for key in ("readout", "by_day", "segments", "quantiles", "aa"):
            report[key] += [row | {"arm": "bold", "lift": 0.5} for row in report[key] if row["arm"] == "treatment"]

    edit(runs / "good" / "report.json", add)
    at = see(arm="bold", look="Tails")
    assert set(at.dataframe[0].value["lift"]) == set(at.dataframe[1].value["lift"]) == {0.5}
    at.segmented_control(key="arm").set_value("treatment").run()
    assert 0.5 not in set(at.dataframe[0].value["lift"])


def test_a_run_beside_it_without_a_readout_is_a_sentence(see, runs, finished):
    other = copy_json(finished.folder, runs / "trained")
    edit(other / "manifest.json", lambda manifest: [manifest["stages"].pop(name) for name in ("simulations", "report")])

    assert "Run trained has no report yet" in said(see(run="trained"))
