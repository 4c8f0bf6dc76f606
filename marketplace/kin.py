"""Kin: runs of one folder that belong together, so that what one has found out can be shown with the others.

Runs that cannot be opened are left out, as are links, which may lead elsewhere.
"""

from collections.abc import Callable

from marketplace.runs import Run, list_runs


def same_log(run: Run, stage: str) -> list[Run]:
    """Runs beside a run, itself among them, that have a stage and the run's log: the run first, then the newest."""
    log = _log(run)
    return _kin(run, stage, lambda other: _same(other, run) if log is None else _log(other) == log)


def same_scenario(run: Run, stage: str) -> list[Run]:
    """Runs beside a run, itself among them, that did a stage on the run's scenario: the run first, then the newest."""
    return _kin(run, stage, lambda other: other.manifest["scenario"] == run.manifest["scenario"])


def _kin(run: Run, stage: str, alike: Callable[[Run], bool]) -> list[Run]:
    found, _ = list_runs(run.folder.parent)
    own = [other for other in found if other.has(stage) and alike(other) and not other.folder.is_symlink()]
    return sorted(own, key=lambda other: not _same(other, run))


def _log(run: Run) -> str | None:
    return run.manifest["stages"].get("log", {}).get("digest")


def _same(one: Run, other: Run) -> bool:
    return one.folder.name == other.folder.name
