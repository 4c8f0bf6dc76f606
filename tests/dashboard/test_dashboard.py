"""The dashboard, opened on a finished tiny run, on no run, and on damaged ones."""

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.load import run_names
from marketplace import words

ROOT = Path(dashboard.__file__).parent
VIEWS = "overview", "calibration", "pacing", "models"
FILES = "manifest.json", "models.json", "report.json"


@pytest.fixture
def runs(tmp_path, finished):
    """A runs folder with one finished run, called good: the files that the dashboard reads."""
    copy(finished.folder, tmp_path / "runs" / "good")
    return tmp_path / "runs"


@pytest.fixture
def see(runs, monkeypatch):
    """Open the dashboard on the runs folder, or on another one."""

    def look(view: str = "overview", run: str | None = None, folder: Path = runs) -> AppTest:
        monkeypatch.setattr("sys.argv", ["app.py", str(folder)])
        at = AppTest.from_file(ROOT / "app.py", default_timeout=60)
        if run is not None:
            at.query_params["run"] = run
        at.run()
        if view != "overview":
            at.switch_page(f"views/{view}.py").run()
        assert not at.exception
        return at

    return look


def copy(source: Path, target: Path) -> Path:
    target.mkdir(parents=True)
    for name in FILES:
        shutil.copy(source / name, target)
    return target


def edit(run: Path, file: str, change: Any) -> None:
    content = json.loads((run / file).read_text())
    change(content)
    (run / file).write_text(json.dumps(content))


def report_of(runs: Path, run: str = "good") -> dict[str, Any]:
    return json.loads((runs / run / "report.json").read_text())


def said(at: AppTest) -> str:
    """What the page says instead of showing a run."""
    return " ".join(message.value for message in (*at.error, *at.info)).replace("\\", "")


def drawn(at: AppTest, chart: int = 0) -> list[dict[str, Any]]:
    return json.loads(at.get("plotly_chart")[chart].proto.spec)["data"]


def numbers(values: Any) -> list[float]:
    """Of a Plotly array, which may travel as base64."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
    return list(values)


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
    edit(runs / "good", "report.json", lambda report: cpa(report).update(covered=covered))

    assert see().metric[3].delta == note


@pytest.mark.parametrize(
    ("lift", "colour", "other"), [(-0.1, "#00734f", "#b34700"), (0.1, "#b34700", "#00734f"), (0.0, "", "#00734f")]
)
def test_lower_cpa_is_coloured_as_better_and_higher_as_worse(see, runs, lift, colour, other):
    def only_cpa(report):
        row = cpa(report) | {"lift": lift, "low": lift - 0.05, "high": lift + 0.05, "covered": True}
        report["readout"] = [row]

    edit(runs / "good", "report.json", only_cpa)
    found = styles(see())

    assert colour in found
    assert other not in found
    assert "background-color" not in found


def test_an_interval_that_misses_the_truth_is_marked(see, runs):
    edit(runs / "good", "report.json", lambda report: cpa(report).update(covered=False))
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


def test_calibration_draws_each_task_and_lists_its_bins(see, runs):
    at = see("calibration")

    rows = report_of(runs)["calibration"]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    assert len(at.get("plotly_chart")) == len(at.dataframe) - 1 == len(tasks)
    for i, task in enumerate(tasks):
        own = [row for row in rows if row["task"] == task]
        points = [x for series in drawn(at, i)[1:] for x in numbers(series["x"])]
        assert points == [row["predicted"] for row in own]
        assert list(at.dataframe[i].value["share that happened"]) == [row["real"] for row in own]
    curse, known = at.dataframe[len(tasks)].value, report_of(runs)["winners_curse"]
    assert list(curse["won"]) == [row["won"] for row in known]
    assert list(curse["winners"]) == [
        words.around(row["winners"], row["winners_low"], row["winners_high"]) for row in known
    ]


def test_pacing_draws_spend_plan_and_multiplier_by_hour(see, runs):
    at = see("pacing")

    pacing = report_of(runs)["pacing"]
    plan, spend = drawn(at, 0)
    assert numbers(plan["y"]) == pacing["planned_usd"]
    assert numbers(spend["y"]) == pacing["spent_usd"]
    assert numbers(drawn(at, 1)[0]["y"]) == pacing["multiplier"]
    assert list(at.dataframe[0].value["spend, USD"]) == pacing["spent_usd"]


def test_models_stand_in_pairs_and_every_marginal_has_a_unit(see, runs):
    at = see("models")

    report = report_of(runs)
    scores, market = (table.value for table in at.dataframe)
    first = [row for row in report["models"] if row["cohort"] in ("", "familiarity")]
    auc = {(f"{r['model']} ({r['kind']})", r["task"], r["segment"]): r["auc"] for r in first}
    assert len(scores) == len(auc)
    for row in scores.itertuples():
        assert auc[row.model, row.task, row.segment] == row.AUC
    assert list(scores["segment"][::2]) == list(scores["segment"][1::2])
    assert list(market["asked"]) == [row["asked"] for row in report["marginals"]]
    assert words.DASH not in set(market["unit"])


def test_the_cohort_of_the_models_is_chosen_and_all_impressions_stay_beside_it(see, runs):
    at = see("models")
    known = list(dict.fromkeys(row["cohort"] for row in report_of(runs)["models"] if row["cohort"]))

    assert at.selectbox(key="cohort").options == known
    assert at.selectbox(key="cohort").value == "familiarity"
    at.selectbox(key="cohort").set_value("slot").run()
    shown = at.dataframe[0].value
    assert set(shown["segment"]) == {"overall", "0", "1", "2"}
    assert shown["GAUC"].notna().sum() == (shown["segment"] == "overall").sum() == 6


def test_the_download_holds_the_shown_rows_in_full_precision(see, runs, monkeypatch):
    given = []
    monkeypatch.setattr("streamlit.download_button", lambda label, data, file, *_, **__: given.append((file, data)))
    see()

    rows = report_of(runs)["readout"]
    file, data = given[0]
    read = pd.read_csv(io.StringIO(data))
    assert file == "good-readout.csv"
    assert list(read["metric"]) == [row["metric"] for row in rows]
    assert list(read["unit"]) == [row["unit"] for row in rows]
    for field in ("control", "lift", "low", "high"):
        np.testing.assert_array_equal(read[field], [np.nan if row[field] is None else row[field] for row in rows])


@pytest.mark.parametrize("view", VIEWS)
def test_every_axis_has_a_title_and_every_table_a_download(see, view):
    at = see(view)

    for chart in at.get("plotly_chart"):
        layout = json.loads(chart.proto.spec)["layout"]
        assert layout["xaxis"]["title"]["text"]
        assert "title" in layout["yaxis"] or "categoryarray" in layout["yaxis"]
    assert len(at.get("download_button")) == len(at.dataframe) > 0


def test_the_newest_run_is_shown_first_and_the_link_names_it(see, runs, finished):
    newer = copy(finished.folder, runs / "newer")
    edit(newer, "manifest.json", lambda manifest: manifest.update(started="2999-01-01T00:00:00+00:00"))
    at = see()

    assert at.selectbox(key="run").options == ["newer", "good"]
    assert at.selectbox(key="run").value == "newer"
    assert at.query_params["run"] in ("newer", ["newer"])


def test_a_link_opens_its_run_in_every_view_and_the_selector_another(see, runs, finished):
    other = copy(finished.folder, runs / "other")
    edit(other, "report.json", lambda report: report.update(description="another market"))
    at = see(run="other")

    assert any("another market" in caption.value for caption in at.caption)
    at.switch_page("views/pacing.py").run()
    assert at.selectbox(key="run").value == "other"
    at.selectbox(key="run").set_value("good")
    at.switch_page("views/overview.py").run()
    assert not any("another market" in caption.value for caption in at.caption)


@pytest.mark.parametrize("name", ["..", ".", "../outside", "good/../../outside", "/", "a/b", "..\\outside", "a\0b"])
def test_a_link_cannot_lead_out_of_the_runs_folder(see, runs, finished, name):
    copy(finished.folder, runs.parent / "outside")
    at = see(run=name)

    assert "a run's name has no slash" in said(at)
    assert not at.dataframe


def test_neither_can_a_symbolic_link(see, runs, finished):
    (runs / "linked").symlink_to(copy(finished.folder, runs.parent / "outside"))
    at = see(run="linked")

    assert "leads out of the runs folder" in said(at)
    assert not at.dataframe


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
    bad = copy(finished.folder, runs / "bad")
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
    edit(runs / "good", "report.json", change)

    assert f"report.json is damaged or of another version: {place}: " in said(see())


def test_a_report_that_its_manifest_names_but_that_is_gone_is_a_sentence(see, runs):
    (runs / "good" / "report.json").unlink()

    assert "report.json: No such file" in said(see())


def test_a_run_that_was_only_trained_says_so_and_shows_its_offline_table(see, runs):
    edit(runs / "good", "manifest.json", lambda m: [m["stages"].pop(name) for name in ("simulations", "report")])
    (runs / "good" / "report.json").unlink()

    for view in VIEWS:
        at = see(view)
        assert "Run good has no report yet: it holds log, models" in said(at)
        assert len(at.dataframe) == (view == "models")


def test_a_run_with_a_log_alone_says_so(see, runs):
    edit(runs / "good", "manifest.json", lambda m: m.update(stages={"log": m["stages"]["log"]}))

    for view in VIEWS:
        at = see(view)
        assert "Run good has no report yet: it holds log." in said(at)
        assert not at.dataframe


def test_a_report_without_an_ab_test_says_so(see, runs):
    edit(runs / "good", "report.json", lambda r: [r.pop(k) for k in ("readout", "srm", "pacing", "calibration")])

    assert said(see()) == words.headline({})
    assert len(see("models").dataframe) == 2


@pytest.mark.parametrize("view", ["calibration", "pacing"])
@pytest.mark.parametrize(
    "change", [lambda r, key: r.pop(key), lambda r, key: r.update({key: [] if key[0] == "c" else None})]
)
def test_a_view_whose_part_of_the_report_is_missing_or_empty_says_so(see, runs, view, change):
    edit(runs / "good", "report.json", lambda report: change(report, view))

    assert f"The report of run good has no {view}" in said(see(view))


def test_an_alarm_of_the_sample_ratio_is_an_error_on_the_page(see, runs):
    assert not see().error
    edit(runs / "good", "report.json", lambda report: report["srm"][0].update(alarm=True))

    assert "sample ratio" in said(see())


def test_a_name_with_markdown_in_it_is_shown_as_it_is(see, runs, finished):
    copy(finished.folder, runs / "*bold* $x$ `y`")
    at = see(run="*bold* $x$ `y`")

    assert at.header
    (runs / "*bold* $x$ `y`" / "report.json").write_text("{}")
    assert "\\*bold\\* \\$x\\$ \\`y\\`" in see(run="*bold* $x$ `y`").error[0].value
