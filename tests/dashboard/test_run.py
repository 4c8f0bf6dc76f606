"""The form of the dashboard that starts a run, and the job as it goes."""

import json
import shutil
import time
from pathlib import Path

import pytest
from opened import opened, said

from dashboard.load import Places, sources
from marketplace.held import held
from marketplace.jobs import JOBS, find_job, job_ids, stop

SCENARIOS = Path(__file__).parents[2] / "scenarios"
ASKED = {
    "command": "compare", "source": "s/tiny.toml", "overrides": ["a.b=1"], "seed": 5, "started": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


@pytest.fixture
def runs(tmp_path, finished):
    (tmp_path / "runs" / "good").mkdir(parents=True)
    for name in ("manifest.json", "report.json", "models.json", "scenario.json"):
        shutil.copy(finished.folder / name, tmp_path / "runs" / "good")
    yield tmp_path / "runs"
    for id in job_ids(tmp_path / "runs"):
        stop(tmp_path / "runs", id)


@pytest.fixture
def see(runs, monkeypatch):
    def look(scenarios: Path = SCENARIOS, jobs: int = 1, **address: str):
        return opened(monkeypatch, "run", runs, scenarios, jobs, **address)

    return look


def kept(runs: Path, id: str = "20260101-000000-abcdef", **files: str) -> Path:
    folder = runs / JOBS / id
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "job.json").write_text(json.dumps(ASKED))
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def texts(at) -> str:
    return " ".join([said(at), *(code.value for code in at.code), *(caption.value for caption in at.caption)])


def test_a_job_that_is_started_is_shown_as_it_goes_and_can_be_stopped(see, runs):
    at = see(of="tiny.toml", command="generate")
    at.button[0].click().run()
    assert not at.exception
    (id,) = job_ids(runs)
    assert at.selectbox(key="job").value == id
    assert find_job(runs, id).asked["source"] == str(SCENARIOS / "tiny.toml")
    deadline = time.monotonic() + 60
    while not find_job(runs, id).bars and time.monotonic() < deadline:
        time.sleep(0.1)
    at.run()
    assert at.get("progress")
    at.button(key=f"stop {id}").click().run()
    while find_job(runs, id).state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    at.run()

    assert not at.exception
    assert "nothing is kept" in said(at)
    assert [path.name for path in runs.iterdir() if path.name != "good"] == [JOBS]


def test_bad_settings_are_one_line_and_nothing_is_started(see, runs):
    at = see(of="tiny.toml", command="generate")
    at.text_area(key="set").set_value("world.population.usres=5")
    at.button[0].click().run()

    assert "unknown key world.population.usres, did you mean users?" in said(at)
    assert not job_ids(runs)


def test_a_second_job_is_refused_while_one_is_under_way(see, runs):
    with held(kept(runs)):
        at = see(of="tiny.toml", command="generate")
        at.button[0].click().run()

        assert "1 under way, no more than 1 at a time" in said(at)
    assert len(job_ids(runs)) == 1


def test_the_page_says_how_many_jobs_there_may_be_and_none_is_none(see):
    assert "At most one job at a time" in texts(see()).replace("\\", "")
    assert "At most 3 jobs at a time" in texts(see(jobs=3)).replace("\\", "")
    assert see(jobs=0).button[0].disabled


def test_the_form_is_as_the_address_has_it(see):
    at = see(of="run good", command="simulate", seed="4", set="auction.squash=0.5")

    assert at.selectbox(key="of").value == "run good"
    assert at.selectbox(key="command").value == "simulate"
    assert at.number_input(key="seed").value == 4
    assert at.text_area(key="set").value == "auction.squash=0.5"


def test_only_scenarios_and_sound_runs_of_the_two_folders_can_be_run(runs, tmp_path):
    scenarios = tmp_path / "scenarios"
    scenarios.mkdir()
    for name in ("one.toml", "notes.txt"):
        (scenarios / name).touch()
    (tmp_path / "secret.toml").touch()
    (scenarios / "link.toml").symlink_to(tmp_path / "secret.toml")
    shutil.copytree(runs / "good", tmp_path / "outside")
    (runs / "linked").symlink_to(tmp_path / "outside")
    shutil.copytree(runs / "good", runs / "bad")
    (runs / "bad" / "manifest.json").write_text("{")

    assert sources(Places(runs, scenarios, 1)) == {
        "one.toml": scenarios / "one.toml", "run good": runs / "good",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["../secret.toml", "/etc/passwd", "run ../outside", "secret.toml"])
def test_an_address_cannot_name_another_file(see, runs, name):
    (runs.parent / "secret.toml").touch()

    assert see(of=name).selectbox(key="of").value in sources(Places(runs, SCENARIOS, 1))


def test_a_job_under_way_shows_its_command_and_a_bar_for_each_piece_of_work(see, runs):
    steps = '{"what": "log", "share": 1.0, "s": 3.0}\n{"what": "train control", "share": 0.25, "s": 5.0}\n'
    with held(kept(runs, progress_jsonl=steps)):
        at = see()

    assert [bar.proto.value for bar in at.get("progress")] == [100, 25]
    assert at.code[0].value.startswith("marketplace compare s/tiny.toml --set a.b=1 --seed 5 --runs ")
    assert at.button(key="stop 20260101-000000-abcdef")


def test_a_finished_job_links_to_the_readout_of_the_run_that_it_made(see, runs):
    kept(runs, output_json='{"folder": "x/good & new"}')
    at = see()

    assert "Run good & new is done" in said(at)
    (link,) = at.get("link_button")
    assert link.proto.url == "./?run=good%20%26%20new"


@pytest.mark.parametrize(
    ("files", "end"),
    [
        ({"errors_txt": "marketplace: scenario x cannot be had"}, "marketplace: scenario x cannot be had"),
        ({"stopped": ""}, "Stopped; nothing is kept"),
        ({}, "The process ended without a word"),
    ],
)
def test_how_a_job_ended_is_a_sentence(see, runs, files, end):
    kept(runs, **files)

    assert end in said(see())


def test_a_damaged_job_is_a_sentence_and_the_others_can_be_chosen(see, runs):
    kept(runs, stopped="")
    (kept(runs, "20260102-000000-abcdef") / "job.json").write_text("{")
    at = see()

    assert "job.json is damaged" in said(at)
    at.selectbox(key="job").set_value("20260101-000000-abcdef").run()
    assert not at.exception and "Stopped" in said(at)
    assert list(at.dataframe[0].value["state"]) == ["damaged", "stopped"]


def test_no_job_yet_is_a_sentence(see):
    assert "No job has been started yet" in said(see())


def test_nothing_to_run_is_a_sentence(see, runs, tmp_path):
    shutil.rmtree(runs / "good")

    assert "There is no scenario in" in said(see(tmp_path / "none"))
