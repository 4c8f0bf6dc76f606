"""The list of runs: every folder is in it, in the state in which it is."""

import json
import shutil

import pytest

from marketplace.held import is_held
from marketplace.listing import run_rows, select
from marketplace.runs import new_run
from marketplace.tags import write_tags


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished.folder, tmp_path / "good")


def only(tmp_path):
    (row,) = run_rows(tmp_path)
    return row


def test_a_whole_run_is_finished_and_its_row_is_what_its_manifest_says(finished, run, tmp_path):
    write_tags(run, ["a", "b"])
    row, manifest = only(tmp_path), finished.manifest

    assert (row["name"], row["state"], row["why"], row["tags"]) == ("good", "finished", "", ["a", "b"])
    assert {name: row[name] for name in ("scenario", "seed", "command", "started", "wall_s")} == {
        name: manifest[name] for name in ("scenario", "seed", "command", "started", "wall_s")
    }
    assert row["stages"] == list(manifest["stages"])
    size = sum(path.stat().st_size for path in finished.folder.rglob("*") if path.is_file())
    assert row["bytes"] == size - (finished.folder / "manifest.json").stat().st_size


def test_a_run_that_lost_a_file_is_damaged_and_the_file_is_named(run, tmp_path):
    (run / "simulations" / "ab" / "spending.parquet").unlink()
    row = only(tmp_path)

    assert (row["state"], row["scenario"]) == ("damaged", "tiny")
    assert row["why"] == "simulations/ab/spending.parquet: No such file or directory"


def test_so_is_one_of_whose_files_another_size_is_found(run, tmp_path):
    (run / "models.json").write_text("[]")

    assert only(tmp_path)["state"] == "damaged"
    assert only(tmp_path)["why"].startswith("models.json has 2 bytes")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"stages": 5}'])
def test_so_is_one_whose_manifest_cannot_be_read(run, tmp_path, content):
    (run / "manifest.json").write_bytes(content)
    row = only(tmp_path)

    assert row["state"] == "damaged" and "manifest.json is damaged" in row["why"]
    assert row["bytes"] > 0 and row["scenario"] is None


def test_so_is_a_link_to_a_run_elsewhere_which_is_not_read(run, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(run)
    row = only(tmp_path / "runs")

    assert (row["state"], row["scenario"]) == ("damaged", None) and "leads out of the runs folder" in row["why"]


def test_damaged_tags_are_told_and_leave_the_run_finished(run, tmp_path):
    (run / "tags.json").write_text("{")

    assert only(tmp_path)["state"] == "finished" and "tags.json is damaged" in only(tmp_path)["why"]


def test_a_run_is_running_while_it_is_worked_on_and_finished_after(tiny, tmp_path):
    with new_run(tiny, "generate", tmp_path) as draft:
        row = only(tmp_path)
        assert (row["state"], row["scenario"], row["seed"]) == ("running", "tiny", 11)
        assert row["started"] and is_held(draft.folder)

    assert only(tmp_path)["state"] == "finished"
    assert "lock" not in only(tmp_path)["stages"] and not (draft.folder / "lock").exists()
    assert "lock" not in json.loads((draft.folder / "manifest.json").read_text())["files"]


def test_a_folder_that_nobody_works_on_any_more_was_stopped(tiny, tmp_path):
    with new_run(tiny, "generate", tmp_path) as draft:
        shutil.copytree(draft.folder, tmp_path / ".unfinished-left")

    rows = {row["name"]: row for row in run_rows(tmp_path)}
    assert rows[".unfinished-left"]["state"] == "stopped"
    (tmp_path / ".unfinished-left" / "scenario.json").unlink()
    rows = {row["name"]: row for row in run_rows(tmp_path)}
    assert (rows[".unfinished-left"]["state"], rows[".unfinished-left"]["scenario"]) == ("stopped", None)


def test_the_newest_comes_first_and_other_files_and_folders_are_no_runs(run, tmp_path):
    older = shutil.copytree(run, tmp_path / "older")
    manifest = json.loads((older / "manifest.json").read_text())
    (older / "manifest.json").write_text(json.dumps(manifest | {"started": "2001-01-01T00:00:00+00:00"}))
    (tmp_path / "notes").mkdir()
    (tmp_path / ".jobs").mkdir()
    (tmp_path / "x.txt").touch()

    assert [row["name"] for row in run_rows(tmp_path)] == ["good", "older"]


ROWS = [
    {"name": "delivery-1", "scenario": "delivery", "state": "finished", "tags": ["Baseline"]},
    {"name": "tiny-1", "scenario": "tiny", "state": "running", "tags": []},
    {"name": "odd", "scenario": None, "state": "damaged", "tags": []},
]


@pytest.mark.parametrize(
    ("search", "scenarios", "states", "left"),
    [
        ("", [], [], ["delivery-1", "tiny-1", "odd"]),
        ("1", [], [], ["delivery-1", "tiny-1"]),
        ("base deliv", [], [], ["delivery-1"]),
        ("base tiny", [], [], []),
        ("", ["tiny", "delivery"], [], ["delivery-1", "tiny-1"]),
        ("", ["tiny"], ["finished"], []),
        ("", [], ["damaged", "running"], ["tiny-1", "odd"]),
    ],
)
def test_every_word_of_a_search_must_be_found_and_every_filter_kept(search, scenarios, states, left):
    assert [row["name"] for row in select(ROWS, search, scenarios, states)] == left
