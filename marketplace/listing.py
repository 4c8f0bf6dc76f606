"""Listing: every run folder of a folder in one row, finished or not."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from marketplace.errors import Refused
from marketplace.held import is_held
from marketplace.runs import MANIFEST, SCENARIO, STAGING, Run, inside, open_run
from marketplace.tags import read_tags

STATES = "finished", "running", "stopped", "damaged"
_UNKNOWN: dict[str, Any] = {
    "scenario": None, "seed": None, "command": None, "started": "", "wall_s": None, "stages": [], "bytes": None, "tags": [],
    "why": "",
}  # fmt: skip


def run_rows(parent: Path) -> list[dict[str, Any]]:
    """All runs below a folder, newest first.

    Returns:
        Rows with `name`, `state` (one of `STATES`), `scenario`, `seed`, `command`, `started` (ISO 8601, UTC), `wall_s`
        (seconds), `stages` (names), `bytes` (of its files), `tags`, and `why` it is not sound; None or empty where that is
        not known. A finished run lacks a file or has one of another size where it is damaged; a run that is no longer worked
        on, and did not get its name, was stopped.
    """
    rows = [_finished(path.parent) for path in parent.glob(f"[!.]*/{MANIFEST}")]
    rows += [_unfinished(path) for path in parent.glob(f"{STAGING}*") if path.is_dir()]
    return sorted(rows, key=lambda row: (row["started"], row["name"]), reverse=True)


def select(
    rows: list[dict[str, Any]], search: str, scenarios: Collection[str], states: Collection[str]
) -> list[dict[str, Any]]:
    """Rows with every word of the search in their name, scenario or tags; of these scenarios and states, all where empty."""
    words = search.lower().split()

    def wanted(row: dict[str, Any]) -> bool:
        text = " ".join([row["name"], row["scenario"] or "", *row["tags"]]).lower()
        known = (not scenarios or row["scenario"] in scenarios) and (not states or row["state"] in states)
        return known and all(word in text for word in words)

    return [row for row in rows if wanted(row)]


def _finished(folder: Path) -> dict[str, Any]:
    if folder.resolve().parent != folder.parent.resolve():
        why = f"run folder {folder}: it is a link that leads out of the runs folder"
        return _UNKNOWN | {"name": folder.name, "state": "damaged", "why": why}
    try:
        inside(folder, folder / MANIFEST)
        run = open_run(folder)
    except Refused as refused:
        return _UNKNOWN | {"name": folder.name, "state": "damaged", "why": str(refused), "bytes": _bytes(folder)}
    manifest, why = run.manifest, _amiss(run)
    row: dict[str, Any] = {"name": folder.name, "state": "damaged" if why else "finished", "why": why, "tags": []}
    row |= {name: manifest[name] for name in ("scenario", "seed", "command", "started", "wall_s")}
    row |= {"stages": list(manifest["stages"]), "bytes": sum(manifest["files"].values())}
    try:
        row["tags"] = read_tags(folder)
    except Refused as refused:
        row["why"] = row["why"] or str(refused)
    return row


def _amiss(run: Run) -> str:
    """What became of the first file that is not as the run left it; empty where all are."""
    for name, size in run.manifest["files"].items():
        try:
            found = (run.folder / name).stat().st_size
        except OSError as error:
            return f"{name}: {error.strerror}"
        if found != size:
            return f"{name} has {found:,} bytes, not the {size:,} that it had"
    return ""


def _unfinished(folder: Path) -> dict[str, Any]:
    row = _UNKNOWN | {
        "name": folder.name,
        "state": "running" if is_held(folder) else "stopped",
        "bytes": _bytes(folder),
    }
    try:
        scenario = json.loads(inside(folder, folder / SCENARIO).read_text())
        changed = datetime.fromtimestamp((folder / SCENARIO).stat().st_mtime, UTC)
        return row | {
            "scenario": str(scenario["name"]), "seed": int(scenario["seed"]),
            "started": changed.isoformat(timespec="seconds"),
        }  # fmt: skip
    except (Refused, OSError, ValueError, TypeError, KeyError):  # it ended before it had written this
        return row


def _bytes(folder: Path) -> int:
    """Of all files that are there now."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # removed just now
            continue
    return total
