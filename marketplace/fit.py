"""From a log to a scenario: `marketplace fit`."""

import json
import tomllib
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from fitting.adapters import FORMATS
from fitting.errors import Unfit
from fitting.estimates import estimates_of
from fitting.market import base_settings, fitted
from fitting.source import Log, connected, files, open_log, reading
from fitting.types import Estimate
from marketplace.as_log import is_log, standard_tables
from marketplace.errors import Refused, known, refusing
from marketplace.runs import write_whole
from marketplace.scenario import load_scenario

STANDARD = "standard"


class Question(NamedTuple):
    """What to fit, and to what."""

    logs: tuple[Path, ...]
    out: Path
    purchases: tuple[Path, ...] = ()
    traffic: tuple[Path, ...] = ()
    format: str = STANDARD
    columns: Mapping[str, str] = {}
    unit: str = "ms"
    base: Path | None = None
    users: int | None = None
    seed: int | None = None
    window_days: float | None = None
    memory: str = "2GiB"
    threads: int = 2


def fit(question: Question, progress: Callable[[str, float], None]) -> dict[str, Any]:
    """Fit a scenario to logs and write it beside all estimates: OUT and OUT's name with .fit.json.

    Both files appear whole or not at all.

    Raises:
        Refused: If an input cannot be worked with, or the market that was fitted is no market.
    """
    check_out(question.out)
    base = base_settings() if question.base is None else _base(question.base)
    limits = f"the log, with --memory {question.memory} and --threads {question.threads},"
    with refusing("fit", Unfit), reading(limits), connected(memory=question.memory, threads=question.threads) as con:
        log = opened(con, question, progress)
        window_h = None if question.window_days is None else 24 * question.window_days
        facts, found = estimates_of(log, progress, window_h=window_h)
        market = fitted(found, base, users=question.users)
    if question.seed is not None:
        market.tree["seed"] = question.seed
    text = market.text()
    _check(text, question.out)
    content = {
        "out": str(question.out), "logs": [str(path) for path in question.logs], "format": question.format,
        "base": None if question.base is None else str(question.base),
        "impressions": None if facts is None else facts._asdict(),
        "estimates": [_plain(estimate) for estimate in found],
    }  # fmt: skip
    write_whole(fit_file(question.out), json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_whole(question.out, text)
    return content


def fit_file(scenario: Path) -> Path:
    """Where the estimates of a fitted scenario lie."""
    return scenario.with_name(f"{scenario.stem}.fit.json")


def columns_named(text: str | None) -> dict[str, str]:
    """What `item=ad_id,click=clicked` says.

    Raises:
        Refused: If it is not of that form.
    """
    found: dict[str, str] = {}
    for pair in (text or "").split(","):
        if not pair.strip():
            continue
        name, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (name and equals and theirs):
            raise Refused(f"--columns {text}: write standard=yours, such as item=ad_id, with commas between")
        if name in found:
            raise Refused(f"--columns {text}: {name} is named twice")
        found[name] = theirs
    return found


def check_out(out: Path) -> None:
    """Raises `Refused` where the scenario could not be written."""
    if out.suffix != ".toml" or out.is_dir() or not out.absolute().parent.is_dir():
        raise Refused(f"--out {out}: give a .toml file in a folder that exists")


def opened(con: duckdb.DuckDBPyConnection, question: Question, progress: Callable[[str, float], None]) -> Log:
    """The tables of the log, as its format has them.

    Raises:
        Refused: If there is no such format, or it has no impressions.
        Unfit: If a file cannot be read, or a column is missing.
    """
    progress("open", 0.0)
    sources = _sources(con, question)
    log = open_log(con, sources, columns=question.columns, unit=question.unit)
    progress("open", 1.0)
    return log


def _sources(con: duckdb.DuckDBPyConnection, question: Question) -> dict[str, str]:
    """What SQL reads of each standard table."""
    if question.format != STANDARD:
        sources = _adapted(con, question.format, question.logs, "--format")
    elif len(question.logs) == 1 and is_log(question.logs[0]):
        sources = dict(standard_tables(question.logs[0], con))
    else:
        sources = {"impressions": files(con, question.logs)}
    for table, paths in (("purchases", question.purchases), ("traffic", question.traffic)):
        if paths:
            sources[table] = _table(con, table, paths)
    return sources


def _table(con: duckdb.DuckDBPyConnection, table: str, paths: tuple[Path, ...]) -> str:
    """What SQL reads of purchases or traffic: files in standard columns, or `FORMAT:FILE` in a public format."""
    name, colon, path = str(paths[0]).partition(":")
    if not colon or paths[0].exists():
        return files(con, paths)
    given = (Path(path), *paths[1:])
    sources = _adapted(con, name, given, f"--{table} {paths[0]}")
    if table not in sources:
        raise Refused(f"--{table} {paths[0]}: format {name} holds {', '.join(sources)} and no {table}")
    return sources[table]


def _adapted(con: duckdb.DuckDBPyConnection, name: str, paths: tuple[Path, ...], where: str) -> dict[str, str]:
    known(name, [STANDARD, *FORMATS], f"{where}: there is no format {name}")
    return {"impressions": files(con, paths)} if name == STANDARD else dict(FORMATS[name].opens(con, paths))


def _base(path: Path) -> dict[str, Any]:
    load_scenario(path)
    if path.suffix == ".json":
        return dict(json.loads(path.read_text()))
    return tomllib.loads(path.read_text())


def _check(text: str, out: Path) -> None:
    """Read the scenario as a user would, before it has its name."""
    trial = out.with_name(f".unfinished-{uuid.uuid4().hex[:8]}.toml")
    try:
        trial.write_text(text)
        load_scenario(trial)
    except Refused as refused:
        raise Refused(f"the fitted market is none: {str(refused).partition(': ')[2]}; give another --base") from refused
    except OSError as error:
        raise Refused(f"--out {out}: {error.strerror or error}") from error
    finally:
        trial.unlink(missing_ok=True)


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {
        name: float(f"{value:.8g}") if isinstance(value, float) else value for name, value in estimate._asdict().items()
    }


def estimates_read(rows: Sequence[Mapping[str, Any]]) -> list[Estimate]:
    """The estimates that a file holds."""
    return [Estimate(**row) for row in rows]
