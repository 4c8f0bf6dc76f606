"""Opening a log: files of any size become DuckDB views of the standard tables, read in bounded memory."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from fitting.casts import UNITS, cast, quoted
from fitting.errors import Unfit
from fitting.types import IMPRESSIONS, PURCHASES, TRAFFIC, Field

TABLES: dict[str, dict[str, Field]] = {"impressions": IMPRESSIONS, "purchases": PURCHASES, "traffic": TRAFFIC}
PARQUET, CSV = (".parquet", ".pq"), (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log:
    """Opened tables: views of these names, with the standard columns that the files have."""

    con: duckdb.DuckDBPyConnection
    columns: dict[str, frozenset[str]]  # of each table that is there
    clicks_only: bool = False  # whether the impressions are those that were clicked, and no others are logged

    def has(self, *columns: str, table: str = "impressions") -> bool:
        """Whether the table has all of the columns."""
        return set(columns) <= self.columns.get(table, frozenset())


@contextmanager
def connected(
    *, memory: str = "2GiB", threads: int = 2, scratch: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB whose queries use so much memory at most and spill the rest into a folder that goes with it.

    Args:
        memory: What DuckDB may hold, such as "2GiB".
        threads: It works with.
        scratch: Parent of that folder; the system's temporary folder by default. Text files are kept there as Parquet.
    """
    with TemporaryDirectory(prefix="fit-", dir=scratch) as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory, "threads": threads, "temp_directory": folder, "preserve_insertion_order": False,
        }  # fmt: skip
        with duckdb.connect(config=config) as con:
            yield con


def files(con: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> str:
    """What SQL reads of files or folders of them: Parquet or CSV, plain or gzip, several parts as one.

    Raises:
        Unfit: If there is no such file, it is of another kind, kinds are mixed, or it cannot be read.
    """
    parts = [part for path in paths for part in _parts(path)]
    kinds = {part.name.lower().endswith(PARQUET) for part in parts}
    if len(kinds) > 1:
        raise Unfit(f"{parts[0]} and {parts[-1]}: parts of one table must be all Parquet or all CSV")
    listed = "[" + ", ".join("'" + str(part).replace("'", "''") + "'" for part in parts) + "]"
    options = "union_by_name = true" if kinds == {True} else "union_by_name = true, header = true, all_varchar = true"
    found = f"{'read_parquet' if kinds == {True} else 'read_csv'}({listed}, {options})"
    with reading(", ".join(map(str, paths))):
        con.execute(f"SELECT * FROM {found} LIMIT 0")
    return found


def open_log(
    con: duckdb.DuckDBPyConnection,
    sources: Mapping[str, str],
    *,
    columns: Mapping[str, str] | None = None,
    unit: str = "ms",
) -> Log:
    """Bring tables to their standard columns.

    Text is read once and kept as Parquet in the connection's temporary folder; Parquet is read where it is.

    Args:
        con: Of `connected`.
        sources: What SQL reads (of `files`, or the name of a view) by the name of a standard table; impressions or purchases
            or traffic must be among them, or clicks: impressions of which none but the clicked ones are logged.
        columns: The file's name of a standard column, where it has another.
        unit: Of times that are numbers: ns, us, ms or s.

    Raises:
        Unfit: If a column is missing, a value is not of the column's kind, or a file is damaged.
    """
    renamed = dict(columns or {})
    if unit not in UNITS:
        raise Unfit(f"unit is {unit}, it must be one of {', '.join(UNITS)}")
    clicks_only = "clicks" in sources
    sources = {"impressions" if table == "clicks" else table: source for table, source in sources.items()}
    every = sorted({name for table in sources for name in TABLES[table]})
    for name in renamed:
        if name not in every:
            raise Unfit(f"columns: there is no standard column {name}, did you mean {_nearest(name, every)}?")
    found = {table: _open(con, table, source, renamed, unit) for table, source in sources.items()}
    return Log(con=con, columns=found, clicks_only=clicks_only)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what DuckDB says of a file into one line.

    Raises:
        Unfit: If the block cannot read it.
    """
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise Unfit(f"{what}: the memory allowed is not enough to read it; allow more") from None
    except duckdb.Error as error:
        raise Unfit(f"{what} cannot be read: {str(error).splitlines()[0]}") from error


def _open(
    con: duckdb.DuckDBPyConnection, table: str, source: str, renamed: Mapping[str, str], unit: str
) -> frozenset[str]:
    with reading(table):
        described = con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    types = {str(row[0]): str(row[1]) for row in described}
    taken = {}
    for name, field in TABLES[table].items():
        theirs = renamed.get(name, name)
        if theirs in types:
            taken[name] = theirs
        elif field.required or name in renamed:
            called = f" (for {name})" if theirs != name else ""
            near = _nearest(theirs, types)
            raise Unfit(f"{table}: column {theirs}{called} is missing, the nearest is {near}; {field.about}")
    casts = {
        name: cast(quoted(theirs), types[theirs], TABLES[table][name].kind, unit) for name, theirs in taken.items()
    }
    _check_kinds(con, table, source, taken, casts)
    select = ", ".join(f"{sql} AS {name}" for name, sql in casts.items())
    if not source.startswith("read_parquet("):
        (folder,) = con.execute("SELECT current_setting('temp_directory')").fetchall()[0]
        kept = f"{folder}/{table}.parquet".replace("'", "''")
        with reading(table):
            con.execute(f"COPY (SELECT {select} FROM {source}) TO '{kept}' (FORMAT parquet)")
        source, select = f"read_parquet('{kept}')", "*"
    con.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS SELECT {select} FROM {source}")
    return frozenset(taken)


def _check_kinds(
    con: duckdb.DuckDBPyConnection, table: str, source: str, taken: Mapping[str, str], casts: Mapping[str, str]
) -> None:
    """Refuse a value that is not of its column's kind, and a required one that is not there."""
    wrong = {name: f"{quoted(taken[name])} IS NOT NULL AND ({sql}) IS NULL" for name, sql in casts.items()}
    counts = ", ".join(
        f"count_if({test}), any_value(CASE WHEN {test} THEN CAST({quoted(taken[name])} AS VARCHAR) END), "
        f"count_if({quoted(taken[name])} IS NULL)"
        for name, test in wrong.items()
    )
    with reading(table):
        row = con.execute(f"SELECT count(*), {counts} FROM {source}").fetchall()[0]
    if not row[0]:
        raise Unfit(f"{table}: the log is empty, it has no rows")
    for place, name in enumerate(casts):
        n, example, empty = row[1 + 3 * place : 4 + 3 * place]
        field = TABLES[table][name]
        if n:
            raise Unfit(
                f"{table}: column {taken[name]} must hold {_MUST[field.kind]}, {n} of {row[0]} do not, such as {example}"
            )
        if empty and field.required:
            raise Unfit(f"{table}: column {taken[name]} must not be empty, it is in {empty} of {row[0]} rows")


_MUST = {
    "id": "ids", "time": "times (numbers or timestamps)", "flag": "flags (0 or 1, true or false)",
    "money": "amounts of 0 or more", "share": "shares of 0 or more", "count": "whole numbers of 0 or more",
}  # fmt: skip


def _nearest(name: str, names: object) -> str:
    there = [str(one) for one in names] if isinstance(names, (list, dict)) else []
    return difflib.get_close_matches(name, there, n=1, cutoff=0.0)[0] if there else "none"


def _parts(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(part for part in path.iterdir() if part.name.lower().endswith(PARQUET + CSV))
        if not found:
            raise Unfit(f"{path}: the folder holds no Parquet or CSV")
        return found
    if not path.is_file():
        raise Unfit(f"{path}: there is no such file")
    if not path.name.lower().endswith(PARQUET + CSV):
        raise Unfit(f"{path}: its name must end in one of {', '.join(PARQUET + CSV)}; name its format if it is another")
    return [path]
