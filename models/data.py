"""Batches: what a model sees, the same in training and in serving; and how a log becomes one."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from models.errors import Unusable
from models.schema import Column, Kind, Schema, Side, load_schema

Float32Array = NDArray[np.float32]
IdArray = NDArray[np.int32]
IntArray = NDArray[np.integer[Any]]  # int64 unless said otherwise
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class AdTable:
    """Features of ads alone, one row per ad; a new object whenever they change, so that a model may cache by identity."""

    categorical: IdArray  # (A, Ac) -1 is missing
    dense: Float32Array  # (A, Ad)
    vector: Float32Array  # (A, V) the content vectors beside one another; V is 0 where there are none

    def rows(self, start: int, stop: int) -> "AdTable":
        """Ads start to stop - 1, as views."""
        return AdTable(
            categorical=self.categorical[start:stop], dense=self.dense[start:stop], vector=self.vector[start:stop]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """n requests with k candidates each; in a log, the candidates are the s shown ads."""

    categorical: IdArray  # (n, Rc) of the request; -1 is missing
    dense: Float32Array  # (n, Rd) of the request
    lists: tuple[IdArray, ...]  # (n, H) each: categories, -1 where a place is free; most recent first if ordered
    ads: AdTable
    row: IdArray  # (n, k) row of each candidate in `ads`, -1 where there is none
    cross: Float32Array  # (n, k, X) of user and ad together
    slot: IdArray  # (k,) slot that each candidate is predicted for; 0 is the top

    def __len__(self) -> int:
        return len(self.categorical)

    def rows(self, start: int, stop: int) -> "Batch":
        """Requests start to stop - 1, as views."""
        return Batch(
            categorical=self.categorical[start:stop], dense=self.dense[start:stop],
            lists=tuple(values[start:stop] for values in self.lists), ads=self.ads, row=self.row[start:stop],
            cross=self.cross[start:stop], slot=self.slot,
        )  # fmt: skip

    def take(self, rows: IntArray) -> "Batch":
        """The requests at `rows`."""
        return Batch(
            categorical=self.categorical[rows], dense=self.dense[rows],
            lists=tuple(values[rows] for values in self.lists), ads=self.ads, row=self.row[rows], cross=self.cross[rows],
            slot=self.slot,
        )  # fmt: skip

    @staticmethod
    def stack(batches: list["Batch"]) -> "Batch":
        """Batches over one table of ads, one after the other."""
        if len(batches) == 1:
            return batches[0]
        return Batch(
            categorical=np.concatenate([b.categorical for b in batches]),
            dense=np.concatenate([b.dense for b in batches]),
            lists=tuple(np.concatenate(parts) for parts in zip(*(b.lists for b in batches), strict=True)),
            ads=batches[0].ads,
            row=np.concatenate([b.row for b in batches]),
            cross=np.concatenate([b.cross for b in batches]),
            slot=batches[0].slot,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """Estimated probabilities."""

    click: Float32Array  # (n, k) given examination
    conversion: Float32Array  # (n, k) given click


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A log as known at a snapshot time: features as they were served, labels as they had come in."""

    schema: Schema
    batch: Batch  # k = slots, `slot` = 0 .. s - 1
    time_ms: IntArray  # (n,)
    click: BoolArray  # (n, s)
    conversion: BoolArray  # (n, s) attributed by the snapshot

    @cached_property
    def shown(self) -> BoolArray:
        """(n, s) True where an ad was shown."""
        return self.batch.row >= 0

    def between(self, start_ms: int, stop_ms: int) -> "Dataset":
        """Requests with start_ms <= time < stop_ms, with their own rows of the table of ads."""
        a, b = np.searchsorted(self.time_ms, [start_ms, stop_ms])
        batch = self.batch.rows(a, b)
        used = batch.row[batch.row >= 0]
        first, last = (used.min(), used.max() + 1) if used.size else (0, 0)
        return Dataset(
            schema=self.schema,
            batch=replace(
                batch,
                ads=batch.ads.rows(first, last),
                row=np.where(batch.row >= 0, batch.row - first, np.int32(-1)).astype(np.int32),
            ),
            time_ms=self.time_ms[a:b],
            click=self.click[a:b],
            conversion=self.conversion[a:b],
        )

    def cross(self, name: str) -> Float32Array:
        """(n, s) the cross feature `name`."""
        names = [c.name for c in self.schema.columns(Kind.DENSE, Side.CROSS)]
        return self.batch.cross[:, :, names.index(name)]


def read_log(folder: Path, snapshot_ms: int) -> Dataset:
    """Read a log as it stood at `snapshot_ms`: requests before it, and of their conversions those attributed before it.

    Raises:
        Unusable: If the folder holds no readable log, nothing was logged by then, or an ad's content vector is missing.
    """
    schema = load_schema(folder)
    request_cat = [c.name for c in schema.columns(Kind.CATEGORICAL, Side.REQUEST)]
    request_dense = [c.name for c in schema.columns(Kind.DENSE, Side.REQUEST)]
    ad_cat = [c.name for c in schema.columns(Kind.CATEGORICAL, Side.AD)]
    ad_dense = [c.name for c in schema.columns(Kind.DENSE, Side.AD)]
    cross = [c.name for c in schema.columns(Kind.DENSE, Side.CROSS)]
    lists = [c.name for c in schema.columns(Kind.LIST, Side.REQUEST)]
    requests = _query(
        folder,
        f"""SELECT request, time_ms, {_names(request_cat + request_dense + lists)}
        FROM read_parquet(?) WHERE time_ms < ? ORDER BY time_ms, request""",
        [_parts(folder, "requests"), snapshot_ms],
    )
    impressions = _query(
        folder,
        f"""SELECT i.request, i.slot, i.clicked, c.request IS NOT NULL AS converted,
        {_names(ad_cat + ad_dense + cross, "i")}
        FROM read_parquet(?) i LEFT JOIN (
            SELECT request, ad FROM read_parquet(?) WHERE attributed AND time_ms < ?
        ) c ON c.request = i.request AND c.ad = i.ad
        WHERE i.time_ms < ? ORDER BY i.time_ms, i.request, i.slot""",
        [_parts(folder, "impressions"), _parts(folder, "conversions"), snapshot_ms, snapshot_ms],
    )
    if not impressions.num_rows:
        raise Unusable(f"the log in {folder} holds no impression before {snapshot_ms} ms")

    def block(table, names: list[str], dtype: type) -> np.ndarray:  # type: ignore[no-untyped-def]
        return np.stack([table[name].to_numpy().astype(dtype) for name in names], axis=1)

    # both tables are ordered by time and request, so the row of a request is its rank
    request = requests["request"].to_numpy()
    n, m = len(request), impressions.num_rows
    changes = np.diff(impressions["request"].to_numpy(), prepend=-1) != 0
    served = np.flatnonzero(np.isin(request, impressions["request"].to_numpy()[changes]))
    at = served[np.cumsum(changes) - 1], impressions["slot"].to_numpy()
    n_slots = int(at[1].max()) + 1
    row = np.full((n, n_slots), -1, np.int32)
    row[at] = np.arange(m)
    crossed = np.zeros((n, n_slots, len(cross)), np.float32)
    crossed[at] = block(impressions, cross, np.float32)

    def label(name: str) -> BoolArray:
        out = np.zeros((n, n_slots), np.bool_)
        out[at] = impressions[name].to_numpy()
        return out

    batch = Batch(
        categorical=block(requests, request_cat, np.int32),
        dense=block(requests, request_dense, np.float32),
        lists=tuple(_padded(requests[name].combine_chunks()) for name in lists),
        ads=AdTable(
            categorical=block(impressions, ad_cat, np.int32),
            dense=block(impressions, ad_dense, np.float32),
            vector=_vectors(folder, schema, impressions),
        ),
        row=row,
        cross=crossed,
        slot=np.arange(n_slots, dtype=np.int32),
    )
    return Dataset(
        schema=schema, batch=batch, time_ms=requests["time_ms"].to_numpy(), click=label("clicked"),
        conversion=label("converted"),
    )  # fmt: skip


def _query(folder: Path, sql: str, params: list[Any]):  # type: ignore[no-untyped-def]
    """An Arrow table read from the log in `folder`."""
    with duckdb.connect() as db:
        try:
            return db.sql(sql, params=params).to_arrow_table()
        except duckdb.Error as error:
            raise Unusable(f"the log in {folder} is damaged: {str(error).splitlines()[0]}") from None


def _parts(folder: Path, table: str) -> str:
    return str(folder / table / "*.parquet")


def _names(columns: list[str], table: str = "") -> str:
    prefix = f"{table}." if table else ""
    return ", ".join(f'{prefix}"{name}"' for name in columns)


def _padded(lists) -> IdArray:  # type: ignore[no-untyped-def]
    """An Arrow list column as (n, longest) with -1 in the free places."""
    offsets = lists.offsets.to_numpy()
    length = np.diff(offsets)
    out = np.full((len(lists), max(1, int(length.max(initial=0)))), -1, np.int32)
    rows = np.repeat(np.arange(len(lists)), length)
    out[rows, np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], length)] = lists.values.to_numpy()[
        offsets[0] : offsets[-1]
    ]
    return out


def _vectors(folder: Path, schema: Schema, impressions) -> Float32Array:  # type: ignore[no-untyped-def]
    """Content vectors (m, V) of the items behind the impressions, from the tables that hold one row per item.

    Raises:
        Unusable: If an item is missing or twice there, or a vector is not as wide as the schema says.
    """
    blocks = [np.empty((impressions.num_rows, 0), np.float32)]
    for table, (key, *others) in schema.tables.items():
        columns = [c for c in others if c.kind is Kind.VECTOR and c.side is Side.AD]
        if not columns:
            continue
        if key.name not in impressions.column_names:
            raise Unusable(f"the log in {folder} joins {table} by {key.name}, which is no column of its impressions")
        names = _names([key.name, *(c.name for c in columns)])
        sql = f'SELECT {names} FROM read_parquet(?) ORDER BY "{key.name}"'
        stored = _query(folder, sql, [_parts(folder, table)])
        where = f"{table} of the log in {folder}"
        row = _rows(where, key.name, stored[key.name].to_numpy(), impressions[key.name].to_numpy())
        blocks += [_fixed(where, c, stored[c.name].combine_chunks())[row] for c in columns]
    return np.concatenate(blocks, axis=1)


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
