"""Run folders: what a command leaves behind. A folder appears complete or not at all."""

import errno
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from marketplace.errors import Refused
from marketplace.held import LOCK, held
from marketplace.scenario import Scenario, load_scenario
from marketplace.shape import Manifest, check

MANIFEST, SCENARIO = "manifest.json", "scenario.json"
STAGING = ".unfinished-"
_PACKAGES = ("duckdb", "lightgbm", "numba", "numpy", "pyarrow", "scikit-learn", "simpy", "tea-tasting", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run folder."""

    folder: Path
    manifest: dict[str, Any]

    def has(self, stage: str) -> bool:
        """Whether the stage was done."""
        return stage in self.manifest["stages"]


@contextmanager
def new_run(scenario: Scenario, command: str, parent: Path) -> Iterator["Draft"]:
    """A folder to fill. It gets its name when the block ends well, and is removed when it does not; until then it is held.

    Raises:
        Refused: If `parent` cannot be written to.
    """
    staging = parent / f"{STAGING}{uuid.uuid4().hex[:8]}"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise Refused(f"runs folder {parent}: {error.strerror}") from error
    draft = Draft(staging, scenario, command)
    try:
        with held(staging):
            (staging / SCENARIO).write_text(scenario.model_dump_json(indent=1) + "\n")
            yield draft
            (staging / LOCK).unlink()
            write_json(staging / MANIFEST, draft.manifest())
            draft.folder = _publish(staging, parent, scenario.name)
    except OSError as error:
        raise Refused(f"run folder {staging}: {error.strerror or error}; nothing is kept") from error
    finally:
        if staging.exists():
            shutil.rmtree(staging)


class Draft:
    """A run folder in the making; `folder` is its final place once finished."""

    def __init__(self, folder: Path, scenario: Scenario, command: str) -> None:
        self.folder, self.scenario, self.command = folder, scenario, command
        self.stages: dict[str, Any] = {}
        self.started = datetime.now(UTC)

    def manifest(self) -> dict[str, Any]:
        """What the run is, how it was made and what each stage came to."""
        return {
            "format": 1,
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "command": self.command,
            "started": self.started.isoformat(timespec="seconds"),
            "wall_s": round((datetime.now(UTC) - self.started).total_seconds(), 2),
            "python": sys.version.split()[0],
            "versions": {name: version(name) for name in _PACKAGES},
            "stages": self.stages,
            "files": {
                str(path.relative_to(self.folder)): path.stat().st_size
                for path in sorted(self.folder.rglob("*")) if path.is_file()
            },
        }  # fmt: skip

    def adopt(self, stage: str, run: Run, names: tuple[str, ...]) -> None:
        """Take over a finished stage of another run: its files are linked (copied across file systems), never changed.

        Raises:
            Refused: If a file of the stage is missing or not as large as it was.
        """
        for path, size in run.manifest["files"].items():
            if Path(path).parts[0] not in names:
                continue
            if not (run.folder / path).is_file():
                raise Refused(f"run folder {run.folder} is not whole: {path} is missing")
            if (run.folder / path).stat().st_size != size:
                raise Refused(f"run folder {run.folder} is damaged: {path} is not as large as it was")
        for name in names:
            source = run.folder / name
            if source.is_dir():
                shutil.copytree(source, self.folder / name, copy_function=_link)
            else:
                _link(str(source), str(self.folder / name))
        self.stages[stage] = run.manifest["stages"][stage]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _publish(staging: Path, parent: Path, name: str) -> Path:
    """Rename to the first free name; a rename is atomic."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for attempt in range(1, 1000):
        final = parent / (stem if attempt == 1 else f"{stem}-{attempt}")
        if final.exists():
            continue
        try:
            return staging.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another run took the name just now
                raise
    raise Refused(f"runs folder {parent}: no free name for {stem}")


def open_run(folder: Path) -> Run:
    """Read a run folder's manifest.

    Raises:
        Refused: If there is no such folder, it is no run folder, or its manifest is damaged.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise Refused(f"run folder {folder}: there is none")
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise Refused(
            f"run folder {folder}: {MANIFEST} is missing, the run was interrupted or this is no run"
        ) from None
    except (OSError, ValueError) as error:
        raise Refused(f"run folder {folder}: {MANIFEST} is damaged: {error}") from None
    check(Manifest, manifest, f"run folder {folder}: {MANIFEST}")
    return Run(folder=folder, manifest=manifest)


def list_runs(parent: Path) -> tuple[list[Run], list[Refused]]:
    """All finished runs below `parent`, newest first, and what is wrong with those that cannot be opened."""
    runs, damaged = [], []
    for path in sorted(parent.glob(f"[!.]*/{MANIFEST}")):
        try:
            runs.append(open_run(path.parent))
        except Refused as refused:
            damaged.append(refused)
    return sorted(runs, key=lambda run: str(run.manifest.get("started", "")), reverse=True), damaged


def inside(folder: Path, path: Path) -> Path:
    """The path of a file of a folder.

    Raises:
        Refused: If a link on the way leads out of the folder, or in a circle.
    """
    try:
        if path.resolve().is_relative_to(folder.resolve()):
            return path
    except (OSError, RuntimeError) as error:  # of a circle
        raise Refused(f"{path}: {error}") from error
    raise Refused(f"{path}: it is a link that leads out of the run")


def scenario_of(source: Path, overrides: list[str], seed: int | None) -> tuple[Scenario, Run | None]:
    """The scenario of a file or of a run folder, and the run where it is one."""
    if source.is_dir():
        run = open_run(source)
        return load_scenario(source / SCENARIO, overrides, seed), run
    return load_scenario(source, overrides, seed), None


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        Refused: If it cannot be written.
    """
    staging = path.with_name(f"{STAGING}{uuid.uuid4().hex[:8]}")
    try:
        staging.write_text(text)
        staging.replace(path)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from error
    finally:
        staging.unlink(missing_ok=True)


def read_json(path: Path, shape: Any = Any) -> Any:
    """Raises `Refused` where the file is missing, damaged or not of the shape."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"{path} is damaged: {error}") from error
    check(shape, content, str(path))
    return content
