"""Jobs: commands started from elsewhere than a terminal, each a process of its own that outlives who started it.

A job is a folder, RUNS/.jobs/ID: `job.json` (what was asked), `pid`, `progress.jsonl`, `output.json` (what the command
printed), `errors.txt`, and a lock that its process holds. Its state is read from these files alone.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from pydantic import BaseModel

from marketplace.errors import Refused, refusing
from marketplace.held import LOCK, held, is_held
from marketplace.progress import PROGRESS, bars_of
from marketplace.runs import inside, read_json, scenario_of, write_json

JOBS = ".jobs"
COMMANDS = "compare", "simulate", "generate"
_INTERRUPTED = "marketplace: interrupted"


class Asked(BaseModel):
    """What a job was asked to do."""

    command: str
    source: str
    overrides: list[str]
    seed: int | None
    started: str


class Job(NamedTuple):
    """A job as its files tell it now."""

    id: str
    asked: dict[str, Any]
    state: Literal["running", "finished", "refused", "stopped", "died"]
    said: str  # the line that the command ended with, where it did not finish
    run: str  # name of the run folder that it made; empty where there is none
    bars: list[dict[str, Any]]  # see `bars_of`


def start(
    runs: Path, command: str, source: Path, overrides: list[str], seed: int | None, *, most: int = 1, threads: int = 2
) -> str:
    """Start a command on a scenario file or run folder in a process of its own.

    Args:
        runs: Where the run folder shall be, and the job's own below it.
        command: One of `COMMANDS`.
        source: A scenario file or a run folder.
        overrides: Settings, `key=value` each.
        seed: The scenario's where None.
        most: Jobs that may run at a time.
        threads: Of the command.

    Returns:
        The job's id.

    Raises:
        Refused: If there are jobs enough, the settings are bad, or a file of the run is a link that leads out of it.
    """
    if command not in COMMANDS:
        raise Refused(f"command {command!r}: a job is one of {', '.join(COMMANDS)}")
    _, run = scenario_of(source, overrides, seed)
    for name in run.manifest["files"] if run else ():
        inside(source, source / name)
    with refusing(f"runs folder {runs}", OSError):
        (runs / JOBS).mkdir(exist_ok=True)
        with held(runs / JOBS):  # two who start at once are counted one after the other
            busy = [id for id in job_ids(runs) if is_held(runs / JOBS / id)]
            if len(busy) >= most:
                raise Refused(
                    f"jobs: {len(busy)} under way, no more than {most} at a time; stop one or wait until it is done"
                )
            return _begin(runs, command, source, overrides, seed, threads)


def _begin(runs: Path, command: str, source: Path, overrides: list[str], seed: int | None, threads: int) -> str:
    now = datetime.now(UTC)
    id = f"{now:%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"
    folder = (runs / JOBS / id).resolve()
    folder.mkdir()
    asked = Asked(
        command=command, source=str(source), overrides=overrides, seed=seed, started=now.isoformat(timespec="seconds")
    )
    write_json(folder / "job.json", asked.model_dump())
    line = [sys.executable, "-P", "-m", "marketplace.cli", command, str(source.resolve()), f"--runs={runs.resolve()}"]
    line += [f"--set={override}" for override in overrides] + ([] if seed is None else [f"--seed={seed}"])
    with (
        held(folder) as lock, (folder / "output.json").open("wb") as output, (folder / "errors.txt").open("wb") as errors,
    ):  # fmt: skip
        process = subprocess.Popen(
            [*line, f"--threads={threads}", "--json"], stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            env=os.environ | {PROGRESS: str(folder / "progress.jsonl")}, pass_fds=[lock], start_new_session=True,
        )  # fmt: skip
    Thread(target=process.wait, daemon=True).start()  # or its entry in the process table would stay
    (folder / "pid").write_text(str(process.pid))
    return id


def job_ids(runs: Path) -> list[str]:
    """Ids of the jobs below a runs folder, newest first."""
    folders = (path.parent for path in (runs / JOBS).glob(f"*/{LOCK}"))
    return sorted((folder.name for folder in folders if not folder.is_symlink()), reverse=True)


def find_job(runs: Path, id: str) -> Job:
    """The job of that id as it is now.

    Raises:
        Refused: If there is none, or its folder is damaged.
    """
    folder = _folder(runs, id)
    running = is_held(folder)  # before its files are read, which are whole once it is not
    asked = read_json(folder / "job.json", Asked)
    bars = bars_of(folder / "progress.jsonl")
    if running:
        return Job(id, asked, "running", "", "", bars)
    if run := _made(folder):
        return Job(id, asked, "finished", "", run, bars)
    said = _last_line(folder / "errors.txt")
    if said.startswith(_INTERRUPTED) or (folder / "stopped").exists():
        return Job(id, asked, "stopped", said, "", bars)
    return Job(id, asked, "refused" if said.startswith("marketplace: ") else "died", said, "", bars)


def job_rows(runs: Path) -> list[dict[str, Any]]:
    """Every job in one row, newest first, with what was asked, its `state` and what it `said`."""
    rows = []
    for id in job_ids(runs):
        try:
            job = find_job(runs, id)
        except Refused as refused:
            rows.append(
                dict.fromkeys(Asked.model_fields) | {"id": id, "state": "damaged", "said": str(refused), "run": ""}
            )
        else:
            rows.append(job.asked | {"id": id, "state": job.state, "said": job.said, "run": job.run})
    return rows


def command_line(asked: dict[str, Any], runs: Path) -> str:
    """The command that a terminal would take for the same."""
    line = ["marketplace", asked["command"], asked["source"]]
    line += [part for override in asked["overrides"] for part in ("--set", override)]
    line += [] if asked["seed"] is None else ["--seed", str(asked["seed"])]
    return shlex.join([*line, "--runs", str(runs)])


def stop(runs: Path, id: str) -> None:
    """Ask a job's process to end, which then leaves no run folder; nothing happens where it has ended.

    Raises:
        Refused: If there is no such job, or it is not known which process it is.
    """
    folder = _folder(runs, id)
    if not is_held(folder):
        return
    with refusing(f"job {id}", OSError, ValueError):
        pid = int((folder / "pid").read_text())
        (folder / "stopped").touch()
        os.kill(pid, signal.SIGTERM)


def _folder(runs: Path, id: str) -> Path:
    folder = runs / JOBS / id
    if not re.fullmatch(r"[0-9a-f-]{1,40}", id) or folder.is_symlink() or not (folder / LOCK).is_file():
        raise Refused(f"job {id!r}: there is none in {runs}")
    return folder


def _made(folder: Path) -> str:
    """Name of the run folder that the command says it has made."""
    try:
        return Path(json.loads((folder / "output.json").read_text())["folder"]).name
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
