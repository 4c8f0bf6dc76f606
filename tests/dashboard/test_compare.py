"""Two runs beside each other in the dashboard."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from opened import edit, opened, report_of, said

FILES = "manifest.json", "models.json", "report.json", "scenario.json"


@pytest.fixture
def runs(tmp_path, finished):
    """Runs called good and other, of which other has another seed, CPA and AUC, and costs twice as much."""
    for name in ("good", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        for file in FILES:
            shutil.copy(finished.folder / file, tmp_path / "runs" / name)
    edit(tmp_path / "runs" / "other" / "manifest.json", lambda m: m.update(started="2999-01-01T00:00:00+00:00"))
    edit(tmp_path / "runs" / "other" / "scenario.json", lambda s: s.update(seed=12))
    edit(tmp_path / "runs" / "other" / "report.json", changed)
    return tmp_path / "runs"


def changed(report):
    cpa(report).update(lift=0.5)
    for row in report["models"]:
        row["auc"] = row["auc"] and row["auc"] / 2
    for arm in report["serving"]["arms"]:
        arm["usd_per_million"] *= 2


def cpa(report):
    return next(row for row in report["readout"] if row["metric"] == "CPA")


@pytest.fixture
def see(runs, monkeypatch):
    def look(folder: Path = runs, **address: str):
        return opened(monkeypatch, "compare", folder, **address)

    return look


def test_the_newest_run_stands_beside_the_one_before_it_and_the_address_names_both(see):
    at = see()

    assert (at.selectbox(key="first").value, at.selectbox(key="second").value) == ("good", "other")
    assert [at.query_params[key] for key in ("first", "second")] in (["good", "other"], [["good"], ["other"]])


def test_settings_readouts_models_and_cost_are_those_of_the_two_runs(see, runs):
    at = see()
    settings, readouts, models, cost = (table.value for table in at.dataframe)
    first = report_of(runs, "good")

    assert settings.to_dict("records") == [{"setting": "seed", "first run": "11", "second run": "12"}]
    known = {row["metric"]: row for row in first["readout"] if row["role"]}
    assert set(readouts["metric"]) == set(known)
    own = readouts.set_index("metric").loc["CPA"]
    assert own["lift, first"] == cpa(first)["lift"] and own["lift, second"] == 0.5
    assert own["change"] == 0.5 - cpa(first)["lift"]
    assert own["true change"] == 0.0
    overall = [row for row in first["models"] if not row["cohort"]]
    np.testing.assert_array_equal(models["AUC, first"], [row["auc"] for row in overall])
    np.testing.assert_allclose(models["second less first"], [-row["auc"] / 2 for row in overall])
    assert set(cost["second / first"][cost["figure"] == "cost"]) == {2.0}
    assert list(cost["first run"][cost["figure"] == "cost"]) == [
        arm["usd_per_million"] for arm in first["serving"]["arms"]
    ]


def test_the_order_of_the_runs_turns_the_signs(see):
    turned = see(first="other", second="good").dataframe[1].value.set_index("metric")["change"]["CPA"]

    assert turned == -see(first="good", second="other").dataframe[1].value.set_index("metric")["change"]["CPA"]


def test_all_metrics_and_other_cohorts_can_be_chosen(see, runs):
    at = see()
    at.segmented_control(key="metrics").set_value("all").run()
    at.selectbox(key="cohort").set_value("slot").run()

    assert len(at.dataframe[1].value) == len(report_of(runs, "good")["readout"])
    assert set(at.dataframe[2].value["segment"]) == {"0", "1", "2"}


def test_the_same_run_twice_is_a_sentence(see):
    at = see(first="good", second="good")

    assert "Both are the same run" in said(at)
    assert not at.dataframe


@pytest.mark.parametrize("left", [[], ["good"]])
def test_fewer_than_two_runs_are_a_sentence(see, runs, left):
    for name in {"good", "other"} - set(left):
        shutil.rmtree(runs / name)

    assert "it takes two to compare" in said(see())


def test_runs_with_the_same_settings_say_so(see, runs):
    shutil.copy(runs / "good" / "scenario.json", runs / "other")

    assert "All settings are the same" in said(see())


def test_what_one_run_lacks_is_said_and_the_rest_is_shown(see, runs):
    edit(runs / "other" / "manifest.json", lambda m: m["stages"].pop("report"))
    at = see()

    assert "There is no A/B test that was read in other" in said(at)
    assert "There is no price in other" in said(at)
    assert len(at.dataframe) == 2


@pytest.mark.parametrize("file", ["scenario.json", "report.json", "manifest.json"])
@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_file_is_a_sentence(see, runs, file, content):
    (runs / "other" / file).write_text(content)

    assert "is damaged" in said(see(first="good", second="other"))


def test_a_file_that_is_gone_is_a_sentence(see, runs):
    (runs / "other" / "scenario.json").unlink()

    assert "scenario.json: No such file" in said(see())


def test_every_table_has_its_downloads(see):
    at = see()

    assert len(at.get("download_button")) == 2 * len(at.dataframe) == 8
