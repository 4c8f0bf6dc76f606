"""Load: which runs there are, and what the chosen one has to show; files are read again only when they change."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from marketplace import words
from marketplace.errors import Refused
from marketplace.runs import MANIFEST, Run, inside, open_run, read_json
from marketplace.shape import Report, Score

_KEPT = 200  # files and manifests, beyond which those read longest ago are dropped


class Places(NamedTuple):
    """Folders that the dashboard may look into, and how many jobs it may have at a time."""

    runs: Path
    scenarios: Path
    jobs: int


class Shown(NamedTuple):
    """What the views show of a run."""

    run: str
    report: dict[str, Any]  # as much of it as the run has
    lacks: str  # why there is no A/B test to show; empty where there is one
    folder: Path


def run_names(runs: Path) -> list[str]:
    """Names of the run folders, newest first; damaged ones come last, so that they can be chosen and explained.

    Raises:
        Refused: If there is no such folder.
    """
    if not runs.is_dir():
        raise Refused(f"runs folder {runs}: there is none")
    started = {path.parent.name: "" for path in runs.glob(f"[!.]*/{MANIFEST}")}
    for name in started:
        with suppress(Refused):
            started[name] = str(find_run(runs, name).manifest.get("started", ""))
    return sorted(started, key=lambda name: (started[name], name), reverse=True)


def find_run(runs: Path, name: str) -> Run:
    """Open the run of that name.

    Raises:
        Refused: If the name leads out of the runs folder, or there is no sound run of that name.
    """
    if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
        raise Refused(f"run {name!r}: a run's name has no slash and is not '..'")
    folder = runs / name
    try:
        leads_out = folder.is_dir() and folder.resolve().parent != runs.resolve()
    except OSError as error:  # such as a name that is too long
        raise Refused(f"run {name!r}: {error.strerror}") from error
    if leads_out:
        raise Refused(f"run {name!r}: it is a link that leads out of the runs folder")
    return _opened(folder, *version(inside(folder, folder / MANIFEST)))


def sources(places: Places) -> dict[str, Path]:
    """What can be run, by its name: scenario files of the one folder and sound runs of the other, and nothing outside them.

    Raises:
        Refused: If there is no runs folder.
    """
    inside = places.scenarios.resolve()
    found = {path.name: path for path in sorted(places.scenarios.glob("*.toml")) if path.resolve().parent == inside}
    for name in run_names(places.runs):
        with suppress(Refused):
            found[f"run {name}"] = find_run(places.runs, name).folder
    return found


def json_of(run: Run, file: str, shape: Any = Any) -> Any:
    """The content of a JSON file of a run, such as `serving.json`.

    Raises:
        Refused: If it is missing, damaged or not of the shape, or a link that leads out of the run.
    """
    path = inside(run.folder, run.folder / file)
    return _read(path, *version(path), shape)


def read_run(run: Run) -> Shown:
    """Read what a run has to show.

    Raises:
        Refused: If a file of it is missing or damaged.
    """
    name, folder = run.folder.name, run.folder
    if run.has("report"):
        report = json_of(run, "report.json", Report)
        return Shown(name, report, "" if "readout" in report else words.headline(report), folder)
    stages = ", ".join(run.manifest["stages"]) or "nothing"
    lacks = f"Run {name} has no report yet: it holds {stages}. `marketplace compare {folder} --runs {folder.parent}` makes one."
    report = {"models": json_of(run, "models.json", list[Score])} if run.has("models") else {}
    return Shown(name, report, lacks, folder)


def version(path: Path) -> tuple[int, int]:
    """What changes when a file does; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def _opened(folder: Path, changed_ns: int, size: int) -> Run:
    return open_run(folder)


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def _read(path: Path, changed_ns: int, size: int, _shape: Any) -> Any:
    return read_json(path, _shape)
