"""From a log folder to what models are trained on: the log as it stood at a time, whole or in blocks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from models.data import AdTable, Batch, BoolArray, Dataset, Float32Array, IdArray, IntArray
from models.errors import Unusable
from models.jagged import Jagged
from models.schema import Column, Kind, Schema, Side, load_schema

_HOUR_MS = 3_600_000
_NEVER = 2**62  # ms: what has come by then is all that ever comes
_ORGANIC_MS = 7 * 24 * _HOUR_MS  # an organic order counts for an ad of the store that was shown so long before it


@dataclass(frozen=True, kw_only=True, eq=False)
class LogWindow:
    """The requests of a log folder with start_ms <= time < stop_ms, read in blocks: memory holds two at most."""

    folder: Path
    snapshot_ms: int
    start_ms: int
    stop_ms: int
    tasks: tuple[str, ...] = ()  # whose labels are wanted beside click and conversion
    since_ms: int = 0  # of the requests before it, only clicked impressions are read
    coming: Path | None = None  # conversions after the log's end: labels are final then
    block_impressions: int = 1_000_000  # about; a block is whole hours, at least one

    @cached_property
    def schema(self) -> Schema:
        """Of the log."""
        return load_schema(self.folder)

    def blocks(self) -> Iterator[Dataset]:
        """The blocks; while one is worked on, the next is read."""
        if len(self._edges) == 2:
            yield self._only
            return
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._read, *self._edges[:2])
            for edges in zip(self._edges[1:], self._edges[2:], strict=False):
                block, coming = coming.result(), reader.submit(self._read, *edges)
                yield block
            yield coming.result()

    @cached_property
    def _only(self) -> Dataset:
        return self._read(self.start_ms, self.stop_ms)

    def whole(self) -> Dataset:
        """All requests at once."""
        return self._only

    @property
    def impressions(self) -> int:
        """How many there are."""
        return sum(n for _, n in self._by_hour)

    @cached_property
    def _by_hour(self) -> list[tuple[int, int]]:
        """Hours with impressions, and how many each has."""
        counts = _query(
            self.folder,
            """SELECT time_ms // ? AS hour, count(*) AS n FROM read_parquet(?)
            WHERE time_ms >= ? AND time_ms < ? AND (time_ms >= ? OR clicked) GROUP BY hour ORDER BY hour""",
            [
                _HOUR_MS, _parts(self.folder, "impressions"), self.start_ms, min(self.stop_ms, self.snapshot_ms),
                self.since_ms,
            ],
        )  # fmt: skip
        return list(zip(counts["hour"].to_pylist(), counts["n"].to_pylist(), strict=True))

    @cached_property
    def _edges(self) -> list[int]:
        """Times at which blocks begin, and the end of the last."""
        edges, rows = [self.start_ms], 0
        for hour, n in self._by_hour:
            if rows and rows + n > self.block_impressions:
                edges.append(int(hour) * _HOUR_MS)
                rows = 0
            rows += n
        return [*edges, self.stop_ms]

    def _read(self, start_ms: int, stop_ms: int) -> Dataset:
        return read_log(
            self.folder, self.snapshot_ms, start_ms=start_ms, stop_ms=stop_ms, tasks=self.tasks, since_ms=self.since_ms,
            coming=self.coming,
        )  # fmt: skip


def read_log(
    folder: Path, snapshot_ms: int, *, start_ms: int = 0, stop_ms: int | None = None, tasks: tuple[str, ...] = (),
    since_ms: int = 0, coming: Path | None = None,
) -> Dataset:  # fmt: skip
    """Read a log as it stood at `snapshot_ms`: requests before it, and of their conversions those that had come by then.

    Args:
        folder: Of the log.
        snapshot_ms: What came later is not seen.
        start_ms: Of the first request.
        stop_ms: Requests at or after it are left out; the snapshot by default.
        tasks: Whose labels are wanted beside click and conversion: "long_click", "organic" (an order of the store by the user
            that followed no ad, within seven days), or what the log's events are called.
        since_ms: Of the requests before it, only clicked impressions are read: for a stream, which takes in conversions when
            they come.
        coming: Parquet file of conversions that came after the log ended. With it labels are final: all conversions count,
            whenever they came.

    Raises:
        Unusable: If the folder holds no readable log, nothing was logged in that time, a number is not finite, a label is not
            0 or 1, a category is beyond its cardinality, an ad's content vector is missing, a conversion comes before its
            impression or a task is unknown.
    """
    schema = load_schema(folder)
    stop_ms = snapshot_ms if stop_ms is None else min(stop_ms, snapshot_ms)
    request_cat = schema.columns(Kind.CATEGORICAL, Side.REQUEST)
    request_dense = schema.columns(Kind.DENSE, Side.REQUEST)
    ad_cat = schema.columns(Kind.CATEGORICAL, Side.AD)
    ad_dense = schema.columns(Kind.DENSE, Side.AD)
    cross = schema.columns(Kind.DENSE, Side.CROSS)
    lists = schema.columns(Kind.LIST, Side.REQUEST)
    flags = tuple(c for c in schema.tables["requests"] if c.name == "randomised")
    users = tuple(c for c in schema.tables["requests"] if c.name == "user" and c.kind is Kind.ID)
    requests = _query(
        folder,
        f"""SELECT request, time_ms, {_names((*request_cat, *request_dense, *lists, *flags, *users), "r")}
        FROM read_parquet($requests) r WHERE time_ms >= $start AND time_ms < $stop AND (time_ms >= $since OR request IN (
            SELECT request FROM read_parquet($impressions) WHERE time_ms >= $start AND time_ms < $since AND clicked
        )) ORDER BY time_ms, request""",
        {
            "requests": _parts(folder, "requests"), "impressions": _parts(folder, "impressions"), "start": start_ms,
            "stop": stop_ms, "since": since_ms,
        },
    )  # fmt: skip
    impressions = _impressions(
        folder, schema, (*ad_cat, *ad_dense, *cross), tasks, snapshot_ms, start_ms, stop_ms, since_ms, coming
    )
    if not impressions.num_rows:
        raise Unusable(f"the log in {folder} holds no impression from {start_ms} to before {stop_ms} ms")
    read = _Reader(folder)

    # both tables are ordered by time and request, so the row of a request is its rank
    request = requests["request"].to_numpy()
    n, m = len(request), impressions.num_rows
    at = _served(folder, request, impressions["request"].to_numpy()), impressions["slot"].to_numpy()
    n_slots = int(at[1].max()) + 1
    row = np.full((n, n_slots), -1, np.int32)
    row[at] = np.arange(m)
    if at[1].min() < 0 or np.count_nonzero(row >= 0) < m:
        raise Unusable(f"impressions of the log in {folder}: two of a request are in one slot, or a slot is below 0")
    crossed = np.zeros((n, n_slots, len(cross)), np.float32)
    crossed[at] = read.dense("impressions", impressions, cross)

    def label(name: str) -> BoolArray:
        out = np.zeros((n, n_slots), np.bool_)
        out[at] = read.flag("impressions", impressions, name)
        return out

    delay_ms = np.full((n, n_slots), -1, np.int64)
    delay_ms[at] = impressions["delay_ms"].to_numpy()
    early = np.flatnonzero(delay_ms[at] < -1)
    if len(early):
        raise Unusable(
            f"conversions of the log in {folder}: that of request {request[at[0][early[0]]]} comes before its impression"
        )
    items, vector = _content(folder, schema, impressions)
    batch = Batch(
        categorical=read.categorical("requests", requests, request_cat),
        dense=read.dense("requests", requests, request_dense),
        lists=tuple(read.jagged(requests, c) for c in lists),
        ads=AdTable(
            categorical=read.categorical("impressions", impressions, ad_cat),
            dense=read.dense("impressions", impressions, ad_dense),
            vector=vector,
        ),
        row=row,
        cross=crossed,
        slot=np.arange(n_slots, dtype=np.int32),
    )
    return Dataset(
        schema=schema, batch=batch, time_ms=requests["time_ms"].to_numpy(), click=label("clicked"),
        conversion=label("conversion"), delay_ms=delay_ms, snapshot_ms=snapshot_ms if coming is None else _NEVER,
        since_ms=since_ms, randomised=read.flag("requests", requests, "randomised") if flags else None,
        user=read.identity("requests", requests, "user") if users else None,
        further={task: label(task) for task in tasks}, items=items,
    )  # fmt: skip


def _impressions(  # type: ignore[no-untyped-def]
    folder: Path, schema: Schema, features: tuple[Column, ...], tasks: tuple[str, ...], snapshot_ms: int, start_ms: int,
    stop_ms: int, since_ms: int, coming: Path | None,
):  # fmt: skip
    """Impressions with their labels, as an Arrow table."""
    events = {name: i for c in schema.tables["conversions"] if c.name == "event" for i, name in enumerate(c.values)}
    columns = {c.name for c in schema.tables["impressions"]}
    seen, followed = [], []
    for task in tasks:
        if task in events:
            followed.append(f"coalesce(c.{task}, false) AS {task}")
        elif task == "long_click" and "long_clicked" in columns:
            seen.append("i.long_clicked AS long_click")
        elif task == "organic" and "organic" in schema.tables and {"user", "store"} <= columns:
            seen.append(
                f"""EXISTS (SELECT 1 FROM read_parquet($organic) o WHERE o.user = i.user AND o.store = i.store
                AND o.time_ms > i.time_ms AND o.time_ms <= i.time_ms + {_ORGANIC_MS} AND o.time_ms < $snapshot
                ) AS organic"""
            )
        else:
            raise Unusable(f"the log in {folder} has no label for the task {task}")
    by_event = "".join(f", bool_or(event = {events[t]} AND click_ms >= 0) AS {t}" for t in tasks if t in events)
    wanted = ", ".join([*seen, *followed, _names(features, "i")])
    parameters = {
        "impressions": _parts(folder, "impressions"), "conversions": _parts(folder, "conversions"),
        "snapshot": snapshot_ms if coming is None else _NEVER, "start": start_ms, "stop": stop_ms, "since": since_ms,
    }  # fmt: skip
    conversions = "read_parquet($conversions)"
    if coming is not None:
        parameters["coming"] = str(coming)
        same = "request, ad, time_ms, click_ms, event, attributed"
        conversions = f"(SELECT {same} FROM {conversions} UNION ALL SELECT {same} FROM read_parquet($coming))"
    if "organic" in tasks:
        parameters["organic"] = _parts(folder, "organic")
    return _query(
        folder,
        f"""SELECT i.request, i.slot, i.clicked, coalesce(c.conversion, false) AS conversion,
            CASE WHEN c.conversion THEN CASE WHEN c.came_ms < i.time_ms THEN -2 ELSE c.came_ms - i.time_ms END ELSE -1 END
                AS delay_ms, {wanted}
        FROM read_parquet($impressions) i LEFT JOIN (
            SELECT request, ad, bool_or(attributed) AS conversion, min(time_ms) FILTER (attributed) AS came_ms{by_event}
            FROM {conversions} WHERE time_ms >= $start AND time_ms < $snapshot GROUP BY request, ad
        ) c ON c.request = i.request AND c.ad = i.ad
        WHERE i.time_ms >= $start AND i.time_ms < $stop AND (i.time_ms >= $since OR i.clicked)
        ORDER BY i.time_ms, i.request, i.slot""",
        parameters,
    )


def _served(folder: Path, request: IntArray, of: IntArray) -> IntArray:
    """Rows of the requests that impressions are `of`, both in the order of the log."""
    changes = np.diff(of, prepend=-1) != 0
    served, rank = np.flatnonzero(np.isin(request, of)), np.cumsum(changes) - 1
    if len(served) != rank[-1] + 1 or (request[served][rank] != of).any():
        raise Unusable(
            f"impressions of the log in {folder}: some are of no request, of one that is twice there, or of another time"
        )
    return served[rank]


def _query(folder: Path, sql: str, params: list[Any] | dict[str, Any]):  # type: ignore[no-untyped-def]
    """An Arrow table read from the log in `folder`."""
    with duckdb.connect() as db:
        try:
            return db.sql(sql, params=params).to_arrow_table()
        except duckdb.Error as error:
            raise Unusable(f"the log in {folder} is damaged: {str(error).splitlines()[0]}") from None


def _parts(folder: Path, table: str) -> str:
    return str(folder / table / "*.parquet")


def _names(columns: tuple[Column, ...], table: str = "") -> str:
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{c.name}"' for c in columns)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes columns out of a log's tables, and refuses what no model may see."""

    folder: Path

    def categorical(self, name: str, table, columns: tuple[Column, ...]) -> IdArray:  # type: ignore[no-untyped-def]
        """(rows, columns)"""
        out = np.empty((table.num_rows, len(columns)), np.int32)
        for i, c in enumerate(columns):
            values = self._numbers(name, table, c.name)  # checked as they are: as int32, others would become categories
            wrong = ~((values >= -1) & (values < c.cardinality))
            self._refuse(name, table, c.name, wrong, f"-1 to {c.cardinality - 1}")
            out[:, i] = values
        return out

    def dense(self, name: str, table, columns: tuple[Column, ...]) -> Float32Array:  # type: ignore[no-untyped-def]
        """(rows, columns)"""
        out = np.empty((table.num_rows, len(columns)), np.float32)
        for i, c in enumerate(columns):
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
                out[:, i] = self._numbers(name, table, c.name)
            self._refuse(name, table, c.name, ~np.isfinite(out[:, i]), "a finite number")
        return out

    def flag(self, name: str, table, column: str) -> BoolArray:  # type: ignore[no-untyped-def]
        """(rows,)"""
        values = self._numbers(name, table, column)
        self._refuse(name, table, column, (values != 0) & (values != 1), "0 or 1")
        return values.astype(np.bool_)

    def identity(self, name: str, table, column: str) -> IntArray:  # type: ignore[no-untyped-def]
        """(rows,)"""
        return self._numbers(name, table, column).astype(np.int64)

    def jagged(self, table, column: Column) -> Jagged:  # type: ignore[no-untyped-def]
        """A list column."""
        lists = table[column.name].combine_chunks()
        if lists.null_count or lists.flatten().null_count:
            raise Unusable(f"requests of the log in {self.folder}: {column.name} is null, or holds a null")
        offsets = lists.offsets.to_numpy().astype(np.int64)
        values = lists.values[offsets[0] : offsets[-1]].to_numpy()
        wrong = (values < 0) | (values >= column.cardinality)
        if wrong.any():
            raise Unusable(
                f"requests of the log in {self.folder}: {column.name} holds {values[wrong][0]}, it must be 0 to "
                f"{column.cardinality - 1}"
            )
        return Jagged(values=values.astype(np.int32), offsets=offsets - offsets[0])

    def _numbers(self, name: str, table, column: str) -> np.ndarray:  # type: ignore[no-untyped-def]
        found = table[column]
        if found.null_count:
            raise Unusable(f"{name} of the log in {self.folder}: {column} is null in {found.null_count} rows")
        return found.to_numpy()

    def _refuse(self, name: str, table, column: str, wrong: BoolArray, rule: str) -> None:  # type: ignore[no-untyped-def]
        if wrong.any():
            i = int(wrong.argmax())
            raise Unusable(
                f"{name} of the log in {self.folder}: {column} is {table[column][i].as_py()} in request "
                f"{table['request'][i].as_py()}, it must be {rule}"
            )


def _content(  # type: ignore[no-untyped-def]
    folder: Path, schema: Schema, impressions
) -> tuple[dict[str, Float32Array], Float32Array]:
    """Content vectors from the tables that hold one row per item.

    Returns:
        By the category that a table is joined by, vectors (cardinality, V) of all its values, 0 where there are none; and those
        (m, V) of the items behind the impressions, of all tables beside one another.

    Raises:
        Unusable: If an item is missing or twice there, or a vector is not as wide as the schema says.
    """
    items: dict[str, Float32Array] = {}
    blocks = [np.empty((impressions.num_rows, 0), np.float32)]
    cardinality = {c.name: c.cardinality for c in schema.tables["impressions"]}
    for table, (key, *others) in schema.tables.items():
        columns = tuple(c for c in others if c.kind is Kind.VECTOR and c.side is Side.AD)
        if not columns:
            continue
        if key.name not in impressions.column_names:
            raise Unusable(f"the log in {folder} joins {table} by {key.name}, which is no column of its impressions")
        names = _names((key, *columns))
        sql = f'SELECT {names} FROM read_parquet(?) ORDER BY "{key.name}"'
        stored = _query(folder, sql, [_parts(folder, table)])
        where = f"{table} of the log in {folder}"
        known = stored[key.name].to_numpy()
        row = _rows(where, key.name, known, impressions[key.name].to_numpy())
        vectors = np.concatenate([_fixed(where, c, stored[c.name].combine_chunks()) for c in columns], axis=1)
        blocks.append(vectors[row])
        items[key.name] = np.zeros((cardinality[key.name], vectors.shape[1]), np.float32)
        items[key.name][known] = vectors
    return items, np.concatenate(blocks, axis=1)


def _rows(where: str, key: str, known: IntArray, wanted: IntArray) -> IntArray:
    """Rows of the ids `wanted` among the sorted ids `known`."""
    twice, missing = known[1:][np.diff(known) == 0], wanted[~np.isin(wanted, known)]
    if twice.size:
        raise Unusable(f"{where} has {key} {twice[0]} twice")
    if missing.size:
        raise Unusable(f"{where} has no {key} {missing[0]}")
    return np.searchsorted(known, wanted)


def _fixed(where: str, column: Column, vectors) -> Float32Array:  # type: ignore[no-untyped-def]
    """An Arrow list column whose lists are all as long, as (rows, width)."""
    length = vectors.value_lengths().to_numpy(zero_copy_only=False)
    values = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if (length != column.width).any() or not np.isfinite(values).all():
        raise Unusable(f"{where} has a {column.name} that is not {column.width} finite numbers")
    return values.reshape(-1, column.width)
