"""Files: what every adapter needs to read text and Parquet as views, and to say that a file is of another format."""

import difflib
from pathlib import Path

import duckdb

from fitting.errors import Unfit

# columns by which a format is known; a number where the files have no header
SIGNATURES: dict[str, tuple[str, ...] | int] = {
    "open_bandit": ("timestamp", "item_id", "position", "click", "propensity_score"),
    "traffic_share": ("region_id", "dow", "hour", "traffic_share"),
    "criteo_attribution": (
        "timestamp", "uid", "campaign", "conversion", "conversion_timestamp", "conversion_id", "click", "click_pos", "click_nb",
    ),
    "avazu": ("id", "click", "hour", "device_id", "device_ip", "device_model", "C14", "C17"),
    "cdnow": 4,
    "criteo_delayed": 19,
    "ipinyou": 24,
}  # fmt: skip


def listed(paths: tuple[Path, ...]) -> str:
    """Files as a list of SQL.

    Raises:
        Unfit: If there is none, or one is missing.
    """
    if not paths:
        raise Unfit("there is no file to read")
    for path in paths:
        if not path.is_file():
            raise Unfit(f"{path}: there is no such file")
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"


def headed(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...], name: str, *, delim: str = ",") -> str:
    """What SQL reads of files with column names, Parquet or text, plain or gzip; columns of text are text.

    Raises:
        Unfit: If a file cannot be read, or lacks a column of the format.
    """
    files = listed(paths)
    if all(path.suffix == ".parquet" for path in paths):
        source = f"read_parquet({files}, filename = true)"
    else:
        source = f"read_csv({files}, delim = '{delim}', header = true, all_varchar = true, filename = true)"
    found = [str(row[0]) for row in _read(con, f"DESCRIBE SELECT * EXCLUDE (filename) FROM {source}", paths[0])]
    wanted = SIGNATURES[name]
    missing = [column for column in wanted if column not in found] if isinstance(wanted, tuple) else []
    if missing:
        near = difflib.get_close_matches(missing[0], found, n=1, cutoff=0.0)
        beside = f", the nearest is {near[0]}" if near else ""
        raise Unfit(f"{paths[0]}: not {name}: there is no column {missing[0]}{beside}{_other(found, name)}")
    return source


def bare(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...], name: str, columns: tuple[str, ...]) -> str:
    """What SQL reads of tab-separated files without column names; empty fields are NULL, columns are text.

    Raises:
        Unfit: If a file cannot be read, or its rows have another number of fields.
    """
    files = listed(paths)
    first = f"SELECT line FROM {lines(paths)} LIMIT 1"
    rows = _read(con, first, paths[0])
    if not rows:
        raise Unfit(f"{paths[0]}: it is empty")
    fields = rows[0][0].split("\t")
    if len(fields) != len(columns):
        found = fields if len(fields) > 1 else rows[0][0].split(",")
        raise Unfit(
            f"{paths[0]}: not {name}: its rows have {len(fields)} fields, not {len(columns)}{_other(found, name)}"
        )
    named = ", ".join(f"'{column}': 'VARCHAR'" for column in columns)
    return f"read_csv({files}, delim = '\t', header = false, quote = '', escape = '', columns = {{{named}}})"


def lines(paths: tuple[Path, ...]) -> str:
    """What SQL reads of text, one row a line.

    Raises:
        Unfit: If there is no file, one is missing, or is Parquet.
    """
    for path in paths:
        if path.suffix == ".parquet":
            raise Unfit(f"{path}: it is Parquet, the format is text")
    return f"read_csv({listed(paths)}, delim = '\x01', header = false, quote = '', escape = '', columns = {{'line': 'VARCHAR'}})"


def make_view(con: duckdb.DuckDBPyConnection, format_name: str, table: str, select: str) -> str:
    """Create the view of a standard table; its name."""
    view = f"{format_name}_{table}"
    try:
        con.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {select}")
    except duckdb.Error as error:
        raise Unfit(f"{format_name}: {first_line(error)}") from error
    return view


def first_line(error: Exception) -> str:
    """Of an error's message."""
    return str(error).strip().splitlines()[0]


def _read(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> list[tuple[str, ...]]:
    try:
        return con.execute(query).fetchall()
    except duckdb.Error as error:
        raise Unfit(f"{path}: cannot be read: {first_line(error)}") from error


def _other(found: list[str], name: str) -> str:
    """What other format the columns are of, as the end of a sentence."""
    share = {
        other: len(set(wanted) & set(found)) / len(wanted) if isinstance(wanted, tuple) else float(wanted == len(found))
        for other, wanted in SIGNATURES.items() if other != name
    }  # fmt: skip
    best = max(share, key=lambda other: share[other])
    return f"; it looks like {best}" if share[best] > 0.5 else ""
