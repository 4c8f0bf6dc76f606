"""The log's schema: what each column is, so that a log describes itself and a model finds its inputs by kind and side."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from models.errors import Unusable

SCHEMA_FILE = "schema.json"


class Kind(StrEnum):
    """What a column's values are."""

    ID = "id"  # names a thing; -1 is none
    TIME = "time"  # int64 ms since the scenario's start; -1 is never
    CATEGORICAL = "categorical"  # 0 to cardinality - 1, -1 is missing
    DENSE = "dense"
    LIST = "list"  # variable-length list of categories
    VECTOR = "vector"  # fixed-size list of float32, in a table of its own whose first column is the id it is joined by
    FLAG = "flag"
    MONEY = "money"
    DECISION = "decision"  # what the platform computed: predictions, bids, multipliers


class Side(StrEnum):
    """What a feature depends on: the first layer of a network is split along it."""

    REQUEST = "request"  # user and context
    AD = "ad"  # the ad alone
    CROSS = "cross"  # user and ad together
    NONE = ""  # not a feature


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of one table of the log."""

    name: str
    kind: Kind
    dtype: str
    unit: str = ""
    side: Side = Side.NONE
    cardinality: int = 0  # of a categorical or a list's values
    values_of: str = ""  # a list's values are categories of this column
    ordered: bool = False  # a list whose order matters, most recent first
    width: int = 0  # of a vector
    values: tuple[str, ...] = ()  # what the categories are called, where that matters


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The tables of a log; `features` are spread over `requests` and `impressions`."""

    tables: dict[str, tuple[Column, ...]]

    def columns(self, kind: Kind, side: Side) -> tuple[Column, ...]:
        """Feature columns of one kind and side, in the order of the schema."""
        return tuple(c for table in self.tables.values() for c in table if c.kind is kind and c.side is side)

    def save(self, folder: Path) -> None:
        """Write the schema file of a log folder."""
        tables = {name: [asdict(c) for c in columns] for name, columns in self.tables.items()}
        (folder / SCHEMA_FILE).write_text(json.dumps({"version": 1, "tables": tables}, indent=1) + "\n")


def load_schema(folder: Path) -> Schema:
    """Read the schema of a log folder.

    Raises:
        Unusable: If there is none or it cannot be read.
    """
    path = folder / SCHEMA_FILE
    try:
        tables = json.loads(path.read_text())["tables"]
        return Schema(tables={name: tuple(_columns(rows)) for name, rows in tables.items()})
    except FileNotFoundError:
        raise Unusable(f"{path} is missing: {folder} is not a log folder") from None
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unusable(f"{path} is damaged: {error}") from None


def _columns(rows: Iterable[dict[str, str]]) -> Iterable[Column]:
    for row in rows:
        known = {"kind": Kind(row["kind"]), "side": Side(row["side"]), "values": tuple(row.get("values", ()))}
        yield Column(**(row | known))  # type: ignore[arg-type]
