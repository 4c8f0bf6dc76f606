"""From what a file holds to a standard column, in SQL; what is not of the kind becomes NULL."""

from fitting.types import Kind

UNITS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}  # milliseconds
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "UTINYINT", "USMALLINT",
            "UINTEGER", "UBIGINT")  # fmt: skip


def quoted(name: str) -> str:
    """A column's name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def cast(column: str, dtype: str, kind: Kind, unit: str) -> str:
    """SQL of the standard value.

    Args:
        column: Quoted name.
        dtype: DuckDB's type of it.
        kind: Of the standard column.
        unit: Of times that are numbers, one of UNITS.
    """
    return {"id": _id, "time": _time, "flag": _flag, "money": _amount, "share": _amount, "count": _count}[kind](
        column, dtype, unit
    )


def _id(column: str, dtype: str, unit: str) -> str:
    return column


def _number(column: str) -> str:
    return f"TRY_CAST({column} AS DOUBLE)"


def _time(column: str, dtype: str, unit: str) -> str:
    if dtype.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_ms({column})"
    factor = "" if unit == "ms" else f" * {UNITS[unit]!r}"
    number = f"TRY_CAST(round({_number(column)}{factor}) AS BIGINT)"
    if dtype.startswith(_NUMBERS):
        return number
    return f"coalesce({number}, epoch_ms(TRY_CAST({column} AS TIMESTAMP)))"


def _flag(column: str, dtype: str, unit: str) -> str:
    if dtype == "BOOLEAN":
        return column
    if dtype.startswith(_NUMBERS):
        return f"CASE {column} WHEN 1 THEN true WHEN 0 THEN false END"
    return f"CASE lower(trim({column})) WHEN '1' THEN true WHEN 'true' THEN true WHEN '0' THEN false WHEN 'false' THEN false END"


def _amount(column: str, dtype: str, unit: str) -> str:
    number = _number(column)
    return f"CASE WHEN {number} >= 0 AND isfinite({number}) THEN {number} END"


def _count(column: str, dtype: str, unit: str) -> str:
    number = _number(column)
    return f"CASE WHEN {number} >= 0 AND {number} = floor({number}) THEN TRY_CAST({number} AS INTEGER) END"
