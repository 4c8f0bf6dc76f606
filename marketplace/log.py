"""The log and the truth file: Parquet parts by day, digested as they are written."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from marketplace.orders import Orders, in_time
from models.jagged import Jagged
from models.schema import Column, Kind, Schema, Side

Columns = dict[str, Any]  # an array or, of a list column, jagged lists

COMING = Path("truth") / "coming.parquet"  # in a run folder: conversions still to come when its log ends

TRUTH = Schema(
    tables={
        "impressions": (
            Column(name="request", kind=Kind.ID, dtype="int64"),
            Column(name="slot", kind=Kind.ID, dtype="int16"),
            Column(name="ad", kind=Kind.ID, dtype="int32"),
            Column(name="examination", kind=Kind.DENSE, dtype="float32", side=Side.NONE, unit="probability"),
            Column(name="click", kind=Kind.DENSE, dtype="float32", unit="probability given examination"),
            Column(name="long_click", kind=Kind.DENSE, dtype="float32", unit="probability given click and no cart"),
            Column(name="hide", kind=Kind.DENSE, dtype="float32", unit="probability given examination and no click"),
            Column(name="cart", kind=Kind.DENSE, dtype="float32", unit="probability given click, however late"),
            Column(name="checkout", kind=Kind.DENSE, dtype="float32", unit="probability given cart, however late"),
            Column(name="sign_up", kind=Kind.DENSE, dtype="float32", unit="probability given click, however late"),
            Column(
                name="post_view",
                kind=Kind.DENSE,
                dtype="float32",
                unit="probability of a checkout, given examination and no click",
            ),
            Column(name="known", kind=Kind.FLAG, dtype="bool"),
            Column(name="examined", kind=Kind.FLAG, dtype="bool"),
        ),
        "candidates": (
            Column(name="request", kind=Kind.ID, dtype="int64"),
            Column(name="rank", kind=Kind.ID, dtype="int16"),
            Column(name="click", kind=Kind.DENSE, dtype="float32", unit="probability given examination"),
            Column(name="cart", kind=Kind.DENSE, dtype="float32", unit="probability given click, however late"),
            Column(name="checkout", kind=Kind.DENSE, dtype="float32", unit="probability given cart, however late"),
            Column(name="sign_up", kind=Kind.DENSE, dtype="float32", unit="probability given click, however late"),
        ),
        "requests": (
            Column(name="request", kind=Kind.ID, dtype="int64"),
            Column(name="need", kind=Kind.ID, dtype="int32"),
            Column(name="organic", kind=Kind.DENSE, dtype="float32", unit="probability of an order with no ad at all"),
            Column(name="organic_store", kind=Kind.ID, dtype="int32"),
            Column(name="displaced", kind=Kind.FLAG, dtype="bool"),
        ),
    }
)


class Writer:
    """Collects rows of each table and writes a part per day, in the background; tables of vectors are written once.

    The digest is over the values of each column in order, so it depends neither on how rows were handed over nor on how
    they are compressed.
    """

    def __init__(self, folder: Path, schema: Schema) -> None:
        self.folder, self.schema = folder, schema
        self._rows = self._no_rows()
        self._hashes = {(t, c.name): hashlib.sha256() for t, columns in schema.tables.items() for c in columns}
        self._background = ThreadPoolExecutor(1)
        self._pending: list[Future[None]] = []
        for table in schema.tables:
            (folder / table).mkdir(parents=True)
        schema.save(folder)

    def close(self, *, wait: bool) -> None:
        """Finish what is being written; with `wait` False, drop what has not begun."""
        self._background.shutdown(wait=True, cancel_futures=not wait)

    def add(self, table: str, columns: Columns) -> None:
        """Append rows; a list column is given as jagged lists."""
        self._rows[table].append(columns)

    def write_once(self, table: str, columns: Columns) -> None:
        """Write a table that does not grow: a vector column is given as (rows, width)."""
        self._write("all", {table: [columns]})

    def end_day(self, day: int) -> None:
        """Hand the day's rows to the background; waits for the day before, so memory holds two days at most."""
        for done in self._pending:
            done.result()
        rows, self._rows = self._rows, self._no_rows()
        self._pending = [self._background.submit(self._write, f"day={day:04d}", rows)]

    def digest(self) -> str:
        """Of all rows of all finished days."""
        for done in self._pending:
            done.result()
        whole = hashlib.sha256()
        for name, part in sorted(self._hashes.items()):
            whole.update(f"{name}={part.hexdigest()}\n".encode())
        return whole.hexdigest()

    def _no_rows(self) -> dict[str, list[Columns]]:
        tables = self.schema.tables.items()
        return {name: [] for name, columns in tables if all(c.kind is not Kind.VECTOR for c in columns)}

    def _write(self, part: str, rows: dict[str, list[Columns]]) -> None:
        for table, parts in rows.items():
            columns = self.schema.tables[table]
            arrays = [self._array(table, column, parts) for column in columns]
            fields = [pa.field(c.name, _arrow(c)) for c in columns]
            floats = [c.name for c in columns if c.dtype.startswith("float")]
            pq.write_table(
                pa.Table.from_arrays(arrays, schema=pa.schema(fields)),
                self.folder / table / f"{part}.parquet",
                compression="zstd",
                compression_level=1,
                use_dictionary=[c.name for c in columns if c.name not in floats and c.kind is not Kind.MONEY],
                use_byte_stream_split=floats,
            )

    def _array(self, table: str, column: Column, parts: list[Columns]) -> Any:
        values = [part[column.name] for part in parts]
        digest = self._hashes[table, column.name]
        if column.kind is Kind.LIST:
            lists = Jagged.stack(values or [Jagged.packed(np.empty((0, 1), np.int32))])
            digest.update(np.diff(lists.offsets).astype(np.int32).tobytes())
            digest.update(lists.values.tobytes())
            return pa.ListArray.from_arrays(lists.offsets.astype(np.int32), lists.values)
        if column.kind is Kind.VECTOR:
            numbers = np.concatenate(values).astype(np.float32).ravel()
            digest.update(numbers.tobytes())
            return pa.FixedSizeListArray.from_arrays(numbers, column.width)
        whole = np.concatenate(values) if values else np.empty(0)
        whole = np.ascontiguousarray(whole.astype(column.dtype, copy=False))
        digest.update(whole.tobytes())
        return pa.array(whole)


def save_coming(orders: Orders, path: Path) -> None:
    """Write the conversions that come after the end of a log, which make its labels final."""
    orders = in_time([orders])
    same = "request", "time_ms", "ad", "event", "click_ms", "attributed"
    pq.write_table(pa.table({name: orders[name] for name in same}), path, compression="zstd")


def _arrow(column: Column) -> pa.DataType:
    if column.kind is Kind.LIST:
        return pa.list_(pa.int32())
    if column.kind is Kind.VECTOR:
        return pa.list_(pa.float32(), column.width)
    return pa.from_numpy_dtype(np.dtype(column.dtype))
