"""Jobs: a command in a process of its own, whose state is what its files say, whoever looks and whenever."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from opened import whole

from marketplace.errors import Refused
from marketplace.held import held, is_held
from marketplace.jobs import JOBS, command_line, find_job, job_ids, job_rows, start, stop
from marketplace.runs import open_run

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
SMALL = ["world.population.users=500"]
ASKED = {
    "command": "generate",
    "source": "x.toml",
    "overrides": [],
    "seed": None,
    "started": "2026-01-01T00:00:00+00:00",
}


def until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "runs").mkdir()
    yield tmp_path / "runs"
    for id in job_ids(tmp_path / "runs"):
        stop(tmp_path / "runs", id)


def kept(runs: Path, id: str = "20260101-000000-abcdef", asked=ASKED, **files: str) -> Path:
    """A job's folder as a process that has ended left it."""
    folder = runs / JOBS / id
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "job.json").write_text(json.dumps(asked))
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def test_a_job_that_is_let_be_makes_a_run_and_tells_how_far_it_is(runs):
    id = start(runs, "generate", TINY, SMALL, 3)
    assert find_job(runs, id).state == "running"
    until(lambda: find_job(runs, id).state != "running")
    job = find_job(runs, id)

    assert (job.state, job.said) == ("finished", "")
    manifest = open_run(runs / job.run).manifest
    assert (manifest["command"], manifest["seed"], list(manifest["stages"])) == ("generate", 3, ["log"])
    assert [(bar["what"], bar["share"]) for bar in job.bars] == [("market", 1.0), ("log", 1.0)]
    assert job.asked | {"started": ""} == {
        "command": "generate", "source": str(TINY), "overrides": SMALL, "seed": 3, "started": "",
    }  # fmt: skip


def test_a_stopped_job_says_so_and_leaves_no_run(runs):
    id = start(runs, "generate", TINY, [], None)
    until(lambda: find_job(runs, id).bars)
    assert list(runs.glob(".unfinished-*"))
    with pytest.raises(Refused, match="1 under way, no more than 1 at a time"):
        start(runs, "generate", TINY, [], None)
    stop(runs, id)
    until(lambda: find_job(runs, id).state != "running")

    assert find_job(runs, id).state == "stopped"
    assert find_job(runs, id).said == "marketplace: interrupted; nothing is kept of the run that was under way"
    assert [path.name for path in runs.iterdir()] == [JOBS]
    stop(runs, id)  # again, which changes nothing


def test_a_job_outlives_the_process_that_started_it_and_is_seen_by_another(runs):
    code = f"from pathlib import Path; from marketplace.jobs import start; print(start(Path({str(runs)!r}), 'generate', Path({str(TINY)!r}), [], None))"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    id = done.stdout.strip()

    assert find_job(runs, id).state == "running"
    stop(runs, id)
    until(lambda: find_job(runs, id).state == "stopped")


def test_a_killed_job_died_and_the_number_of_its_process_is_not_believed(runs):
    id = start(runs, "generate", TINY, [], None)
    pid = int((runs / JOBS / id / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: find_job(runs, id).state != "running")

    assert (find_job(runs, id).state, find_job(runs, id).said) == ("died", "")
    (runs / JOBS / id / "pid").write_text(str(os.getpid()))  # as if it had been given to another
    stop(runs, id)
    assert find_job(runs, id).state == "died"


@pytest.mark.parametrize(
    ("command", "source", "overrides", "said"),
    [
        ("generate", TINY, ["world.population.usres=5"], "unknown key world.population.usres, did you mean users?"),
        ("generate", TINY, ["nonsense"], "write key=value"),
        ("generate", TINY.with_name("none.toml"), [], "No such file"),
        ("dashboard", TINY, [], "a job is one of compare, simulate, generate"),
    ],
)
def test_what_cannot_be_run_is_refused_before_a_process_is_started(runs, command, source, overrides, said):
    with pytest.raises(Refused, match=said.replace("?", r"\?")):
        start(runs, command, source, overrides, None)
    assert not list(runs.iterdir())


def test_a_run_with_a_file_that_is_a_link_out_of_it_is_not_taken_over(runs, finished, tmp_path):
    run = whole(finished.folder, runs)
    (run / "models.json").rename(tmp_path / "models.json")
    (run / "models.json").symlink_to(tmp_path / "models.json")

    with pytest.raises(Refused, match="leads out of the run"):
        start(runs, "compare", run, [], None)
    assert job_ids(runs) == []


def test_an_override_cannot_become_another_argument(runs):
    with pytest.raises(Refused, match=r"write key=value|unknown key"):
        start(runs, "generate", TINY, ["--runs=elsewhere"], None)


@pytest.mark.parametrize(
    ("files", "state", "said", "run"),
    [
        ({"output_json": '{"folder": "a/b/tiny-1"}', "errors_txt": "a warning\n"}, "finished", "", "tiny-1"),
        ({"errors_txt": "x\nmarketplace: scenario x: no\n"}, "refused", "marketplace: scenario x: no", ""),
        ({"errors_txt": "marketplace: interrupted; nothing"}, "stopped", "marketplace: interrupted; nothing", ""),
        ({"errors_txt": "", "stopped": ""}, "stopped", "", ""),
        ({"errors_txt": "Traceback\nKeyError: 'x'\n"}, "died", "KeyError: 'x'", ""),
        ({}, "died", "", ""),
        ({"output_json": '{"folder": "a', "errors_txt": ""}, "died", "", ""),
        ({"output_json": "[]"}, "died", "", ""),
        ({"output_json": '{"folder": 5}'}, "died", "", ""),
    ],
)
def test_how_a_job_ended_is_read_from_what_it_left(runs, files, state, said, run):
    folder = kept(runs, **files)
    job = find_job(runs, folder.name)

    assert (job.state, job.said, job.run, job.bars) == (state, said, run, [])


def test_a_job_whose_folder_is_held_runs_whatever_its_files_say(runs):
    folder = kept(runs, output_json='{"folder": "a/tiny-1"}')
    with held(folder):
        assert find_job(runs, folder.name).state == "running"
    assert find_job(runs, folder.name).state == "finished"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"command": "generate"}', "\xff"])
def test_a_damaged_job_is_refused_by_name_and_listed_as_damaged(runs, content):
    folder = kept(runs)
    (folder / "job.json").write_text(content, encoding="latin-1")
    sound = kept(runs, "20260102-000000-abcdef")

    with pytest.raises(Refused, match=r"job\.json is damaged"):
        find_job(runs, folder.name)
    assert [(row["id"], row["state"]) for row in job_rows(runs)] == [(sound.name, "died"), (folder.name, "damaged")]


@pytest.mark.parametrize("id", ["", "..", "../..", "x/y", ".", "20260101-000000-none", "a" * 300, "\0"])
def test_an_id_leads_nowhere_but_to_a_job(runs, id):
    with pytest.raises(Refused, match="there is none"):
        find_job(runs, id)
    with pytest.raises(Refused, match="there is none"):
        stop(runs, id)


def test_neither_does_a_link(runs):
    folder = kept(runs)
    (runs.parent / "outside").mkdir()
    (runs / JOBS / "20260103-000000-abcdef").symlink_to(folder.rename(runs.parent / "outside" / "job"))

    with pytest.raises(Refused, match="there is none"):
        find_job(runs, "20260103-000000-abcdef")


def test_jobs_are_counted_while_they_are_held(runs):
    busy = [kept(runs, f"2026010{i}-000000-abcdef") for i in (1, 2)]
    with ExitStack() as stack:
        for folder in busy:
            stack.enter_context(held(folder))
        with pytest.raises(Refused, match="2 under way, no more than 2 at a time"):
            start(runs, "generate", TINY, [], None, most=2)


def test_the_command_line_is_what_a_terminal_would_take(runs):
    asked = ASKED | {"overrides": ["a.b=[1, 2]"], "seed": 3, "source": "my market.toml"}

    assert command_line(asked, Path("runs")) == (
        "marketplace generate 'my market.toml' --set 'a.b=[1, 2]' --seed 3 --runs runs"
    )


def test_who_looks_does_not_disturb_who_holds(tmp_path):
    assert not is_held(tmp_path)
    with held(tmp_path):
        assert is_held(tmp_path) and is_held(tmp_path)
    assert not is_held(tmp_path) and not is_held(tmp_path / "gone")
