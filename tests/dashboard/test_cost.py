"""The cost: what is drawn and listed of the platform under each arm, held against the run's files."""

import json
import shlex

import numpy as np
import pytest
from opened import drawn, edit, layouts, numbers, said

from marketplace.shape import Priced, check


@pytest.fixture
def report(runs):
    return json.loads((runs / "good" / "report.json").read_text())


@pytest.fixture
def staged(runs):
    """Both arms with a light ranker before their model."""

    def add(report):
        for arm in report["serving"]["arms"]:
            for fleet in arm["fleets"]:
                fleet["hosts"].insert(0, fleet["hosts"][0] | {"stage": "light", "needed": 3, "usd_per_year": 1000.0})
                if fleet["topology"] != arm["topology"]:
                    fleet["hosts"][0]["needed"] = 99  # the report has the same hosts under both
            arm["recall"] = [
                {"stage": stage, "requests": 400, "recall": share, "se": 0.01}
                for stage, share in (("retrieved", 0.9), ("ranked", 0.8), ("auctioned", 0.7), ("shown", 0.5))
            ]

    edit(runs / "good" / "report.json", add)
    report = json.loads((runs / "good" / "report.json").read_text())
    check(Priced, report["serving"], "serving")
    return report


def by_name(at, chart):
    return {series["name"]: series for series in drawn(at, chart)}


def test_dollars_of_hosts_and_training_add_up_to_those_of_the_arm(see, staged):
    parts = by_name(see("cost"), 0)

    assert list(parts) == ["hosts, light", "hosts, model", "training"]
    for place, arm in enumerate(staged["serving"]["arms"]):
        total = sum(numbers(series["y"])[place] for series in parts.values())
        assert total == pytest.approx(arm["usd_per_year"] + 1000)  # of the light hosts, which the test added


def test_dollars_stand_against_the_lift_of_the_goal_that_is_chosen(see, report):
    at = see("cost")
    assert at.selectbox(key="goal").value == "conversions"
    at.selectbox(key="goal").set_value("revenue").run()

    read, true = drawn(at, 1)
    (row,) = (row for row in report["readout"] if row["metric"] == "revenue")
    assert numbers(read["x"]) == numbers(true["x"]) == [report["worth"][0]["extra_usd"]]
    assert numbers(read["y"]) == [row["lift"]] and numbers(true["y"]) == [row["true_lift"]]
    assert numbers(read["error_y"]["array"]) == pytest.approx([row["high"] - row["lift"]])
    assert numbers(read["error_y"]["arrayminus"]) == pytest.approx([row["lift"] - row["low"]])


def test_the_chosen_goal_is_in_the_address(see):
    assert see("cost", goal="ROAS").selectbox(key="goal").value == "ROAS"


def test_hosts_are_those_of_the_arms_own_topology_needed_and_to_spare(see, staged):
    parts = by_name(see("cost"), 2)

    assert list(parts) == ["light, needed", "light, spare", "model, needed", "model, spare"]
    for place, arm in enumerate(staged["serving"]["arms"]):
        (fleet,) = (fleet for fleet in arm["fleets"] if fleet["topology"] == arm["topology"])
        for host in fleet["hosts"]:
            for part in ("needed", "spare"):
                assert numbers(parts[f"{host['stage']}, {part}"]["y"])[place] == host[part]


def test_percentiles_of_every_arm_and_topology_are_drawn_beside_the_target(see, report):
    at = see("cost")

    fleets = [fleet for arm in report["serving"]["arms"] for fleet in arm["fleets"]]
    for name, field in (("p50", "p50_ms"), ("p90", "p90_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms")):
        assert numbers(by_name(at, 3)[name]["y"]) == [fleet[field] for fleet in fleets]
    (line,) = layouts(at)[3]["shapes"]
    assert line["y0"] == line["y1"] == report["serving"]["target_p99_ms"]


def test_scoring_curves_are_those_measured_on_log_axes(see, runs):
    at = see("cost")

    curves = json.loads((runs / "good" / "curves.json").read_text())
    for series, curve in zip(drawn(at, 4), curves, strict=True):
        assert numbers(series["x"]) == curve["rows"] and numbers(series["y"]) == curve["ms"]
        assert curve["model"] in series["name"]
    assert layouts(at)[4]["xaxis"]["type"] == layouts(at)[4]["yaxis"]["type"] == "log"
    points = next(table.value for table in at.dataframe if "ms of a call" in table.value)
    assert list(points["ms of a call"]) == [ms for curve in curves for ms in curve["ms"]]


def test_recall_is_drawn_by_stage_with_its_interval_and_without_stages_a_sentence_says_so(see, staged, runs):
    recall = drawn(see("cost"), 5)
    assert [series["name"] for series in recall] == ["control", "treatment"]
    assert numbers(recall[0]["y"]) == [0.9, 0.8, 0.7, 0.5]
    assert np.allclose(numbers(recall[0]["error_y"]["array"]), 0.0196)

    edit(runs / "good" / "report.json", lambda r: [arm.update(recall=[]) for arm in r["serving"]["arms"]])
    assert "No arm ranks in stages" in said(see("cost"))


def test_the_command_line_prices_this_run_under_what_was_typed_in(see, runs, report):
    at = see("cost")
    assert at.number_input(key="target").value == report["serving"]["target_p99_ms"]
    at.number_input(key="scale").set_value(20000.0)
    at.number_input(key="target").set_value(42.5).run()

    assert shlex.split(at.code[0].value) == [
        "marketplace", "capacity", str(runs / "good"), "--set", "serving.scale=20000", "--set", "serving.target_p99_ms=42.5",
        "--set", "serving.spare_hosts=1",
    ]  # fmt: skip


def test_the_command_line_has_every_digit_of_a_platform_however_small_or_large(see, runs):
    for scale, target, said_of_them in ((0.0004, 0.05, ("0.0004", "0.05")), (1234567.0, 50.0, ("1234567", "50"))):
        edit(runs / "good" / "report.json", lambda r, s=scale, t=target: r["serving"].update(scale=s, target_p99_ms=t))
        line = shlex.split(see("cost").code[0].value)

        assert [part.partition("=")[2] for part in (line[4], line[6])] == list(said_of_them)


def test_an_arm_that_cannot_be_priced_says_why_and_the_rest_is_shown(see, runs):
    def change(report):
        arm = report["serving"]["arms"][1]
        arm.update(why="it cannot be met", usd_per_year=None, usd_per_million=None, training_usd_per_year=None)
        for fleet in arm["fleets"]:
            fleet["hosts"] = []
        report["worth"][0].update(
            dict.fromkeys(("extra_usd", "usd_per_extra_conversion", "true_usd_per_extra_conversion"))
        )

    edit(runs / "good" / "report.json", change)
    at = see("cost")

    assert "treatment: it cannot be met" in said(at)
    assert list(by_name(at, 2)["model, needed"]["x"]) == ["control"]
    assert numbers(drawn(at, 1)[0]["x"]) == []


@pytest.mark.parametrize(
    "file, content", [("curves.json", "{"), ("curves.json", '[{"model": 3}]'), ("report.json", "{}")]
)
def test_a_damaged_file_is_a_sentence(see, runs, file, content):
    (runs / "good" / file).write_text(content)

    assert f"{file} is damaged" in said(see("cost"))


def test_a_run_without_curves_or_without_a_test_still_shows_its_dollars(see, runs):
    edit(runs / "good" / "manifest.json", lambda manifest: manifest["stages"].pop("curves"))
    edit(runs / "good" / "report.json", lambda report: [report.pop(key) for key in ("worth",)])
    at = see("cost")

    assert "no measured scoring curves" in said(at)
    assert "no lift to hold the dollars against" in said(at)
    assert at.dataframe


def test_a_report_without_serving_is_a_sentence(see, runs):
    edit(runs / "good" / "report.json", lambda report: report.pop("serving"))

    assert "has no serving" in said(see("cost"))


def test_every_table_and_chart_has_its_downloads_and_every_axis_a_title(see, staged):
    at = see("cost")

    assert len(at.get("download_button")) == 2 * len(at.dataframe) + len(at.get("plotly_chart"))
    for layout in layouts(at):
        assert layout["xaxis"]["title"]["text"] and layout["yaxis"]["title"]["text"]
