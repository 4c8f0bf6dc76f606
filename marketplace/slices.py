"""Slices: what a view shows of a simulation's Parquet files, queried column by column by DuckDB in memory."""

import glob
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from marketplace.errors import Refused
from marketplace.runs import inside
from marketplace.scenario import DESIGNS

Rows = list[dict[str, Any]]
FILES = {
    "requests": "log/requests/*.parquet",
    "impressions": "log/impressions/*.parquet",
    "conversions": "log/conversions/*.parquet",
    "organic": "log/organic/*.parquet",
    "candidates": "log/candidates/*.parquet",
    "true_candidates": "truth/candidates/*.parquet",
    "spending": "spending.parquet",
}  # what a query may read as `read_parquet($name)`
LOG = "log"  # the name under which the log before the test is a simulation, too
MOST_POINTS = 2_000  # that are sent to a browser at once


def simulations_in(folder: Path) -> list[str]:
    """Names of a run's simulations: the tests, then the worlds of arms; `LOG` is what came before the test, if it was logged.

    A link that leads out of the run is none of them.
    """
    parent = folder / "simulations"
    own = [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    there = sorted(path.name for path in own if path.resolve().is_relative_to(folder.resolve()))
    names = [*(name for name in DESIGNS if name in there), *(name for name in there if name not in DESIGNS)]
    return [*names, LOG] if (folder / "log" / "requests").is_dir() and LOG not in names else names


def simulation_of(folder: Path, name: str) -> Path:
    """Folder with the log and the truth of one of a run's simulations.

    Raises:
        Refused: If there is none of that name.
    """
    there = simulations_in(folder)
    if name not in there:
        raise Refused(f"run folder {folder}: there is no simulation {name}, it has {', '.join(there) or 'none'}")
    own = folder / "simulations" / name
    return own if own.is_dir() else folder


def rows_of(simulation: Path, query: str, tables: Mapping[str, pa.Table] | None = None, **values: Any) -> Rows:
    """Rows that a query gives, by the names of its columns.

    Args:
        simulation: Folder with `log/` and `truth/`.
        query: SQL; `read_parquet($name)` reads one of `FILES`.
        tables: Further tables, by name.
        values: Parameters of the query.

    Raises:
        Refused: If a file is missing or damaged, lacks a column, or is a link that leads out of the simulation.
    """
    with _answer(simulation, query, tables or {}, values) as found:
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def columns_of(
    simulation: Path, query: str, tables: Mapping[str, pa.Table] | None = None, **values: Any
) -> dict[str, NDArray[Any]]:
    """Columns (m,) that a query gives; arguments and errors as for `rows_of`."""
    with _answer(simulation, query, tables or {}, values) as found:
        return {name: np.asarray(column) for name, column in found.fetchnumpy().items()}


@contextmanager
def _answer(
    simulation: Path, query: str, tables: Mapping[str, pa.Table], values: dict[str, Any]
) -> Iterator[duckdb.DuckDBPyConnection]:
    named = re.findall(r"\$(\w+)", query)
    files = {name: _files(simulation, name) for name in named if name in FILES}
    query = re.sub(r"read_parquet\((\$\w+)\)", r"read_parquet(\1, hive_partitioning = false)", query)
    with duckdb.connect() as db:
        try:
            for name, table in tables.items():
                db.register(name, table)
            yield db.execute(query, files | values)
        except duckdb.Error as error:
            raise Refused(f"{simulation} is damaged or of another version: {str(error).splitlines()[0]}") from error


def _files(simulation: Path, name: str) -> list[str]:
    """Paths of a table's files, for DuckDB, which would take a star or a bracket in a folder's name for a pattern."""
    found = sorted(simulation.glob(FILES[name]))
    if not found:
        raise Refused(f"{simulation} is damaged or of another version: there is no {FILES[name]}")
    return [glob.escape(str(inside(simulation, path))) for path in found]
