"""Load: which finished runs there are, and what the chosen one has to show."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from marketplace import words
from marketplace.errors import Refused
from marketplace.runs import MANIFEST, Run, open_run, read_json
from marketplace.shape import Report, Score


class Shown(NamedTuple):
    """What the views show of a run."""

    run: str
    report: dict[str, Any]  # as much of it as the run has
    lacks: str  # why there is no A/B test to show; empty where there is one


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
    if folder.is_dir() and folder.resolve().parent != runs.resolve():
        raise Refused(f"run {name!r}: it is a link that leads out of the runs folder")
    return open_run(folder)


def read_run(run: Run) -> Shown:
    """Read what a run has to show.

    Raises:
        Refused: If a file of it is missing or damaged.
    """
    name, folder = run.folder.name, run.folder
    if run.has("report"):
        report = read_json(folder / "report.json", Report)
        return Shown(name, report, "" if "readout" in report else words.headline(report))
    stages = ", ".join(run.manifest["stages"]) or "nothing"
    lacks = f"Run {name} has no report yet: it holds {stages}. `marketplace compare {folder} --runs {folder.parent}` makes one."
    if not run.has("models"):
        return Shown(name, {}, lacks)
    return Shown(name, {"models": read_json(folder / "models.json", list[Score])}, lacks)
