"""The list of runs in the dashboard: search, filters, tags."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from opened import opened, said

from marketplace.runs import new_run
from marketplace.tags import read_tags, write_tags


@pytest.fixture
def runs(tmp_path, finished):
    """A whole run called good, and one called bad of which the report alone is left."""
    shutil.copytree(finished.folder, tmp_path / "runs" / "good")
    (tmp_path / "runs" / "bad").mkdir()
    for name in ("manifest.json", "report.json"):
        shutil.copy(finished.folder / name, tmp_path / "runs" / "bad")
    return tmp_path / "runs"


@pytest.fixture
def see(runs, monkeypatch):
    def look(folder: Path = runs, **address: str):
        return opened(monkeypatch, "runs", folder, **address)

    return look


def test_every_run_is_listed_as_its_manifest_has_it_and_the_finished_ones_can_be_opened(see, runs):
    shown = see().dataframe[0].value.set_index("run")

    manifest = json.loads((runs / "good" / "manifest.json").read_text())
    good = shown.loc["good"]
    assert list(shown["state"][["good", "bad"]]) == ["finished", "damaged"]
    assert (good["scenario"], good["seed"], good["command"]) == ("tiny", manifest["seed"], "compare")
    assert good["seconds"] == manifest["wall_s"]
    assert good["stages"] == " ".join(manifest["stages"])
    assert good["MB"] == sum(manifest["files"].values()) / 1e6
    assert good["readout"] == "./?run=good" and pd.isna(shown["readout"]["bad"])
    assert "No such file" in shown["what is amiss"]["bad"]


def test_the_link_of_a_run_with_an_odd_name_leads_to_that_run(see, runs):
    (runs / "good").rename(runs / "a b&c=d#e")

    assert "./?run=a%20b%26c%3Dd%23e" in list(see().dataframe[0].value["readout"])


def test_search_and_filters_leave_what_they_say(see, runs):
    write_tags(runs / "good", ["baseline"])
    at = see()
    at.text_input(key="search").set_value("BASE").run()
    assert list(at.dataframe[0].value["run"]) == ["good"]
    at.text_input(key="search").set_value("").run()
    at.multiselect(key="state").set_value(["damaged"]).run()
    assert list(at.dataframe[0].value["run"]) == ["bad"]
    at.multiselect(key="scenario").set_value(["tiny"]).run()
    at.text_input(key="search").set_value("nothing").run()
    assert not at.dataframe and "No run is like this" in said(at)


def test_a_link_opens_the_search_that_it_names(see):
    assert list(see(search="goo").dataframe[0].value["run"]) == ["good"]
    assert list(see(state="damaged").dataframe[0].value["run"]) == ["bad"]


def test_a_run_under_way_is_listed_as_running(see, runs, tiny):
    with new_run(tiny, "generate", runs) as draft:
        shown = see().dataframe[0].value.set_index("run")
        assert shown["state"][draft.folder.name] == "running"
        assert pd.isna(shown["readout"][draft.folder.name])


def test_tags_that_are_saved_are_kept_with_the_run_and_shown(see, runs):
    at = see(tagged="good")
    at.text_input(key="tags of good").set_value("new, baseline")
    at.button[0].click().run()

    assert not at.exception
    assert read_tags(runs / "good") == ["baseline", "new"]
    assert at.dataframe[0].value.set_index("run")["tags"]["good"] == "baseline, new"
    assert see(tagged="good").text_input(key="tags of good").value == "baseline, new"


def test_a_tag_that_is_too_long_is_a_sentence_and_changes_nothing(see, runs):
    at = see(tagged="good")
    at.text_input(key="tags of good").set_value("x" * 50)
    at.button[0].click().run()

    assert "a tag is one line of 40 characters at most" in said(at)
    assert read_tags(runs / "good") == []


def test_damaged_tags_are_a_sentence(see, runs):
    (runs / "good" / "tags.json").write_text("5")
    at = see(tagged="good")

    assert "tags.json is damaged" in at.dataframe[0].value.set_index("run")["what is amiss"]["good"]
    assert "tags.json is damaged" in said(at)


def test_an_empty_folder_is_a_sentence(see, tmp_path):
    (tmp_path / "empty").mkdir()

    assert "There is no run in" in said(see(tmp_path / "empty"))


def test_the_downloads_hold_every_row(see):
    at = see()

    assert [button.proto.label for button in at.get("download_button")] == ["Download CSV", "Download Parquet"]
