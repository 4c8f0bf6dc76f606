"""The dashboard, opened on a finished tiny run, on no run, and on damaged ones."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from opened import copy_json, drawn, edit, numbers, report_of, said, untitled, whole
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.load import run_names
from marketplace import words

ROOT = Path(dashboard.__file__).parent
VIEWS = "readout", "truth", "models", "cost"  # that read JSON files alone
FILES = "manifest.json", "models.json", "report.json"


def styles(at: AppTest, table: int = 0) -> str:
    return at.dataframe[table].proto.arrow_data.styler.styles


def cpa(report: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in report["readout"] if row["metric"] == "CPA")


def test_the_first_thing_said_is_whether_treatment_lowered_cpa_and_whether_the_test_was_right(see, runs):
    at = see()

    report = report_of(runs)
    assert [h.value for h in at.header] == [words.headline(report)]
    row = cpa(report)
    assert [m.value for m in at.metric] == [
        words.figure(row["control"]), words.figure(row["treatment"]),
        words.percent(row["lift"]), words.percent(row["true_lift"]),
    ]  # fmt: skip
    assert at.metric[0].delta == "USD per conversion"
    checks = " ".join(m.value for m in at.markdown)
    for name, text in words.summary(report).items():
        assert f"**{name}**: {text}" in checks


@pytest.mark.parametrize(
    ("covered", "note"),
    [(True, "inside the test's interval"), (False, "outside the test's interval"), (None, "cannot be compared")],
)
def test_the_card_of_the_true_lift_says_where_it_lies(see, runs, covered, note):
    edit(runs / "good" / "report.json", lambda report: cpa(report).update(covered=covered))

    assert see().metric[3].delta == note


@pytest.mark.parametrize(
    ("lift", "colour", "other"), [(-0.1, "#00734f", "#b34700"), (0.1, "#b34700", "#00734f"), (0.0, "", "#00734f")]
)
def test_lower_cpa_is_coloured_as_better_and_higher_as_worse(see, runs, lift, colour, other):
    def only_cpa(report):
        row = cpa(report) | {"lift": lift, "low": lift - 0.05, "high": lift + 0.05, "covered": True}
        report["readout"] = [row]

    edit(runs / "good" / "report.json", only_cpa)
    found = styles(see())

    assert colour in found
    assert other not in found
    assert "background-color" not in found


def test_an_interval_that_misses_the_truth_is_marked(see, runs):
    edit(runs / "good" / "report.json", lambda report: cpa(report).update(covered=False))
    at = see()

    assert at.dataframe[0].value["covered"][0] == "NO"
    assert "background-color: #fbe5d6" in styles(at)


def test_the_readout_shows_every_metric_with_its_unit_as_the_report_has_it(see, runs):
    shown = see().dataframe[0].value

    rows = report_of(runs)["readout"]
    assert list(shown["metric"]) == [row["metric"] for row in rows]
    assert list(shown["unit"]) == [row["unit"] for row in rows]
    assert all(shown["unit"])
    for column, field in (("control", "control"), ("lift", "lift"), ("p", "p_value"), ("true lift", "true_lift")):
        expected = [np.nan if row[field] is None else row[field] for row in rows]
        np.testing.assert_array_equal(shown[column].to_numpy(float), expected)


def test_a_group_of_metrics_is_shown_alone_in_the_table_and_in_the_chart(see, runs):
    at = see()
    at.segmented_control(key="group").set_value("user").run()

    own = [row["metric"] for row in report_of(runs)["readout"] if row["group"] == "user"]
    assert list(at.dataframe[0].value["metric"]) == own
    assert set(drawn(at)[0]["y"]) <= set(own)


def test_the_lift_chart_draws_the_reading_and_the_truth_of_each_metric(see, runs):
    reading, true = drawn(see())

    rows = {row["metric"]: row for row in report_of(runs)["readout"]}
    for series, field in ((reading, "lift"), (true, "true_lift")):
        assert numbers(series["x"]) == [rows[metric][field] for metric in series["y"]]
    high = np.array(numbers(reading["x"])) + numbers(reading["error_x"]["array"])
    np.testing.assert_allclose(high, [rows[metric]["high"] for metric in reading["y"]])


def test_the_download_holds_the_shown_rows_in_full_precision(see, runs, monkeypatch):
    given = {}
    monkeypatch.setattr("streamlit.download_button", lambda label, made, file, *_, **__: given.update({file: made}))
    see()

    rows = report_of(runs)["readout"]
    csv, parquet = (
        read(io.BytesIO(given[f"good-readout.{kind}"]()))
        for kind, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet))
    )
    for read in (csv, parquet):
        assert list(read["metric"]) == [row["metric"] for row in rows]
        assert list(read["unit"]) == [row["unit"] for row in rows]
        for field in ("control", "lift", "low", "high"):
            np.testing.assert_array_equal(read[field], [np.nan if row[field] is None else row[field] for row in rows])


def test_a_chart_is_downloaded_as_one_page_with_its_data_and_without_addresses_to_fetch(see, runs, monkeypatch):
    given = {}
    monkeypatch.setattr("streamlit.download_button", lambda label, made, file, *_, **__: given.update({file: made}))
    see("models", models="Calibration")

    page = next(made for file, made in given.items() if file.endswith(".html"))().decode()
    assert "predicted" in page and "plotly" in page
    assert not re.search(r'<(script|link)[^>]*(src|href)="', page)


@pytest.mark.parametrize("view", VIEWS)
def test_every_axis_has_a_title_and_every_table_and_chart_its_downloads(see, view):
    at = see(view)

    assert not untitled(at)
    assert len(at.get("download_button")) == 2 * len(at.dataframe) + len(at.get("plotly_chart")) > 0


def test_the_newest_run_is_shown_first_and_the_link_names_it(see, runs, finished):
    newer = copy_json(finished.folder, runs / "newer")
    edit(newer / "manifest.json", lambda manifest: manifest.update(started="2999-01-01T00:00:00+00:00"))
    at = see()

    assert at.selectbox(key="run").options == ["newer", "good"]
    assert at.selectbox(key="run").value == "newer"
    assert at.query_params["run"] in ("newer", ["newer"])


def test_a_link_opens_its_run_in_every_view_and_the_selector_another(see, runs, finished):
    other = copy_json(finished.folder, runs / "other")
    edit(other / "report.json", lambda report: report.update(description="another market"))
    at = see(run="other")

    assert any("another market" in caption.value for caption in at.caption)
    at.switch_page("views/pacing.py").run()
    assert at.selectbox(key="run").value == "other"
    at.selectbox(key="run").set_value("good")
    at.switch_page("views/readout.py").run()
    assert not any("another market" in caption.value for caption in at.caption)


@pytest.mark.parametrize("name", ["..", ".", "../outside", "good/../../outside", "/", "a/b", "..\\outside", "a\0b"])
def test_a_link_cannot_lead_out_of_the_runs_folder(see, runs, finished, name):
    copy_json(finished.folder, runs.parent / "outside")
    at = see(run=name)

    assert "a run's name has no slash" in said(at)
    assert not at.dataframe


def test_neither_can_a_symbolic_link(see, runs, finished):
    (runs / "linked").symlink_to(copy_json(finished.folder, runs.parent / "outside"))
    at = see(run="linked")

    assert "leads out of the runs folder" in said(at)
    assert not at.dataframe


def test_neither_can_a_file_of_a_run(see, runs, finished):
    outside = copy_json(finished.folder, runs.parent / "outside")
    (runs / "good" / "report.json").unlink()
    (runs / "good" / "report.json").symlink_to(outside / "report.json")
    at = see()

    assert "leads out of the run" in said(at)
    assert not at.dataframe


@pytest.mark.parametrize(
    ("view", "file"),
    [
        ("readout", "manifest.json"),
        ("auction", "scenario.json"),
        ("compare", "scenario.json"),
        ("runs", "manifest.json"),
    ],
)
def test_neither_can_a_manifest_or_a_scenario(see, runs, finished, view, file):
    whole(finished.folder, runs, "whole")
    for run in ("good", "whole"):
        (runs / run / file).rename(runs.parent / f"{run} {file}")
        (runs / run / file).symlink_to(runs.parent / f"{run} {file}")
    at = see(view, run="whole")

    shown = said(at) if view != "runs" else " ".join(at.dataframe[0].value["what is amiss"])
    assert "leads out of the run" in shown


def test_a_link_in_a_circle_is_a_sentence(see, runs):
    (runs / "good" / "report.json").unlink()
    (runs / "good" / "report.json").symlink_to(runs / "good" / "report.json")

    assert "report.json" in said(see())


def test_a_name_that_no_folder_can_have_is_a_sentence(see):
    assert "File name too long" in said(see(run="x" * 300))


def test_a_file_that_changes_is_read_again(see, runs):
    assert not any("another market" in caption.value for caption in see().caption)
    edit(runs / "good" / "report.json", lambda report: report.update(description="another market"))

    assert any("another market" in caption.value for caption in see().caption)


def test_an_unknown_run_is_a_sentence_and_the_others_can_still_be_chosen(see):
    at = see(run="none_such")
    assert "none_such: there is none" in said(at)

    at.selectbox(key="run").set_value("good").run()
    assert not at.exception
    assert at.header


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_runs_folder_is_a_sentence(see, tmp_path, view):
    (tmp_path / "empty").mkdir()

    assert "There is no finished run" in said(see(view, folder=tmp_path / "empty"))


def test_a_missing_runs_folder_is_a_sentence(see, tmp_path):
    assert "there is none" in said(see(folder=tmp_path / "missing"))


BROKEN = [
    b"", b"{", b"[]", b"5", b"\xff\xfe", b"{}", b'{"stages": 5}', b'{"stages": ["no such stage"]}', b'{"stages": "log"}',
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN)
def test_a_damaged_manifest_is_a_sentence_and_leaves_the_other_runs_alone(see, runs, finished, content):
    bad = copy_json(finished.folder, runs / "bad")
    (bad / "manifest.json").write_bytes(content)

    assert "manifest.json is damaged" in said(see(run="bad"))
    assert run_names(runs) == ["good", "bad"]
    assert see().header


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{}", b"[]", b"null"])
def test_a_damaged_report_is_a_sentence_in_every_view(see, runs, view, content):
    (runs / "good" / "report.json").write_bytes(content)
    at = see(view)

    assert "damaged" in said(at)
    assert not at.dataframe


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda r: r["readout"][0].pop("lift"), "readout.0.lift"),
        (lambda r: r["readout"][0].update(lift="0.1"), "readout.0.lift"),
        (lambda r: r["readout"][1].update(good="sideways"), "readout.1.good"),
        (lambda r: r["calibration"][2].update(predicted=1.5), "calibration.2.predicted"),
        (lambda r: r["pacing"]["hour"].pop(), "pacing"),
        (lambda r: r["models"][0].update(rows=None), "models.0.rows"),
        (lambda r: r.update(marginals={}), "marginals"),
        (lambda r: r.update(readout=None), "readout"),
    ],
)
def test_a_report_of_another_shape_is_refused_at_the_place_where_it_differs(see, runs, change, place):
    edit(runs / "good" / "report.json", change)

    assert f"report.json is damaged or of another version: {place}: " in said(see())


def test_a_report_that_its_manifest_names_but_that_is_gone_is_a_sentence(see, runs):
    (runs / "good" / "report.json").unlink()

    assert "report.json: No such file" in said(see())


def test_a_run_that_was_only_trained_says_so_and_shows_its_offline_table(see, runs):
    edit(runs / "good" / "manifest.json", lambda m: [m["stages"].pop(name) for name in ("simulations", "report")])
    (runs / "good" / "report.json").unlink()

    for view in VIEWS:
        at = see(view)
        assert "Run good has no report yet: it holds log, models" in said(at)
        assert len(at.dataframe) == (view == "models")


def test_a_run_with_a_log_alone_says_so(see, runs):
    edit(runs / "good" / "manifest.json", lambda m: m.update(stages={"log": m["stages"]["log"]}))

    for view in VIEWS:
        at = see(view)
        assert "Run good has no report yet: it holds log." in said(at)
        assert not at.dataframe


def test_a_report_without_an_ab_test_says_so(see, runs):
    edit(runs / "good" / "report.json", lambda r: [r.pop(k) for k in ("readout", "srm", "pacing", "calibration")])

    assert said(see()) == words.headline({})
    assert len(see("models").dataframe) == 1


def test_an_alarm_of_the_sample_ratio_is_an_error_on_the_page(see, runs):
    assert not see().error
    edit(runs / "good" / "report.json", lambda report: report["srm"][0].update(alarm=True))

    assert "sample ratio" in said(see())


def test_a_name_with_markdown_in_it_is_shown_as_it_is(see, runs, finished):
    copy_json(finished.folder, runs / "*bold* $x$ `y`")
    at = see(run="*bold* $x$ `y`")

    assert at.header
    (runs / "*bold* $x$ `y`" / "report.json").write_text("{}")
    assert "\\*bold\\* \\$x\\$ \\`y\\`" in see(run="*bold* $x$ `y`").error[0].value
