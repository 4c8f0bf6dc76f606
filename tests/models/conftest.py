"""A small schema, data with a planted signal, and a way to write a log by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import expit

from models.data import AdTable, Batch, Dataset
from models.jagged import Jagged
from models.schema import Column, Kind, Schema, Side

ADS, STORES, CUISINES, REGIONS, SLOTS = 60, 100, 5, 4, 3
TEXT, VISUAL = 3, 2


def _schema() -> Schema:
    def column(name: str, kind: Kind, side: Side, dtype: str, cardinality: int = 0) -> Column:
        return Column(name=name, kind=kind, side=side, dtype=dtype, cardinality=cardinality)

    def plain(name: str, kind: Kind, dtype: str) -> Column:
        return Column(name=name, kind=kind, dtype=dtype)

    key = (plain("request", Kind.ID, "int64"), plain("time_ms", Kind.TIME, "int64"))
    return Schema(
        tables={
            "requests": (
                *key,
                column("hour", Kind.CATEGORICAL, Side.REQUEST, "int32", 24),
                column("region", Kind.CATEGORICAL, Side.REQUEST, "int32", REGIONS),
                column("user_clicks", Kind.DENSE, Side.REQUEST, "float32"),
                Column(
                    name="history", kind=Kind.LIST, dtype="list<int32>", side=Side.REQUEST, cardinality=STORES,
                    values_of="store",
                ),
                Column(
                    name="visited", kind=Kind.LIST, dtype="list<int32>", side=Side.REQUEST, cardinality=REGIONS,
                    values_of="region", ordered=True,
                ),
            ),
            "impressions": (
                *key,
                plain("user", Kind.ID, "int32"),
                plain("slot", Kind.ID, "int16"),
                plain("ad", Kind.ID, "int32"),
                column("cuisine", Kind.CATEGORICAL, Side.AD, "int32", CUISINES),
                column("store", Kind.CATEGORICAL, Side.AD, "int32", STORES),
                column("ad_ctr", Kind.DENSE, Side.AD, "float32"),
                column("ad_cvr", Kind.DENSE, Side.AD, "float32"),
                column("known_orders", Kind.DENSE, Side.CROSS, "float32"),
                plain("clicked", Kind.FLAG, "bool"),
                plain("long_clicked", Kind.FLAG, "bool"),
            ),
            "conversions": (
                *key,
                plain("ad", Kind.ID, "int32"),
                Column(name="event", kind=Kind.ID, dtype="int8", cardinality=3, values=("cart", "checkout", "sign_up")),
                plain("click_ms", Kind.TIME, "int64"),
                plain("attributed", Kind.FLAG, "bool"),
            ),
            "organic": (*key, plain("user", Kind.ID, "int32"), plain("store", Kind.ID, "int32")),
            "stores": (
                plain("store", Kind.ID, "int32"),
                Column(name="text", kind=Kind.VECTOR, dtype="list<float>", side=Side.AD, width=TEXT),
                Column(name="visual", kind=Kind.VECTOR, dtype="list<float>", side=Side.AD, width=VISUAL),
            ),
        }
    )  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def schema() -> Schema:
    return _schema()


class Planted(NamedTuple):
    """A dataset and the probabilities that its labels were drawn with."""

    data: Dataset
    click: np.ndarray  # (n, SLOTS)
    conversion: np.ndarray  # (n, SLOTS) given click


def _planted(n: int, seed: int) -> Planted:
    """n requests of three slots, one slot in twenty empty; signal in a dense of each side, a category and the slot."""
    ad_rng = np.random.default_rng(0)  # the same ads whatever the seed
    cuisine, store = ad_rng.integers(CUISINES, size=ADS), ad_rng.integers(STORES, size=ADS)
    dense_of_ads = ad_rng.normal(size=(ADS, 2)).astype(np.float32)
    items = ad_rng.normal(size=(STORES, TEXT + VISUAL)).astype(np.float32)
    ads = AdTable(
        categorical=np.stack([cuisine, store], axis=1).astype(np.int32), dense=dense_of_ads, vector=items[store]
    )
    rng = np.random.default_rng(seed)
    row = rng.integers(ADS, size=(n, SLOTS)).astype(np.int32)
    dense = rng.normal(2.0, 3.0, size=(n, 1)).astype(np.float32)
    cross = rng.normal(size=(n, SLOTS, 1)).astype(np.float32)
    slot = np.arange(SLOTS)
    click = expit(
        -0.5 + 0.2 * dense + 0.8 * ads.dense[row, 0] + 0.9 * cross[:, :, 0] - 0.6 * slot + 0.5 * (cuisine[row] - 2)
    )
    conversion = expit(-0.4 + 1.2 * ads.dense[row, 1] + 0.8 * cross[:, :, 0])
    row[rng.random(row.shape) < 0.05] = -1
    clicked = (rng.random(click.shape) < click) & (row >= 0)
    batch = Batch(
        categorical=rng.integers(-1, [24, 4], size=(n, 2)).astype(np.int32),
        dense=dense,
        lists=(
            Jagged.packed(rng.integers(-1, STORES, size=(n, 4))),
            Jagged.packed(rng.integers(-1, REGIONS, size=(n, 3))),
        ),
        ads=ads,
        row=row,
        cross=cross,
        slot=slot.astype(np.int32),
    )
    data = Dataset(
        schema=_schema(), batch=batch, time_ms=np.arange(n) * 10, click=clicked,
        conversion=clicked & (rng.random(click.shape) < conversion), items={"store": items},
        further={"cart": clicked & (rng.random(click.shape) < 0.5), "organic": (row >= 0) & (rng.random(row.shape) < 0.1)},
    )  # fmt: skip
    return Planted(data, click, conversion)


@pytest.fixture(scope="session")
def planted() -> Callable[[int, int], Planted]:
    return _planted


@pytest.fixture(scope="session")
def train() -> Planted:
    return _planted(6_000, 1)


@pytest.fixture(scope="session")
def test() -> Planted:
    return _planted(4_000, 2)


@pytest.fixture
def write_log(tmp_path: Path, schema: Schema) -> Callable[..., Path]:
    """Write a log of three requests, two of them with impressions; a keyword replaces a table."""
    tables = {
        "requests": {
            "request": [30, 50, 20], "time_ms": [200, 100, 200], "hour": [3, 1, -1], "region": [3, 1, 2],
            "user_clicks": [0.3, 0.1, 0.2], "history": [[], [7, 8], [9]],
            "visited": [[2, 1, 2], [], [3]],
        },
        "impressions": {
            "request": [30, 50, 30], "time_ms": [200, 100, 200], "user": [3, 1, 3], "slot": [2, 0, 0], "ad": [5, 4, 6],
            "cuisine": [2, 0, 1], "store": [52, 50, 51], "ad_ctr": [0.2, 0.0, 0.1], "ad_cvr": [2.0, 0.5, 1.0],
            "known_orders": [12.0, 10.0, 11.0], "clicked": [True, True, False], "long_clicked": [True, False, False],
        },
        "conversions": {
            "request": [50, 30], "time_ms": [150, 900], "ad": [4, 5], "event": [1, 1], "click_ms": [120, 210],
            "attributed": [True, True],
        },
        "organic": {"request": [20], "time_ms": [400], "user": [3], "store": [51]},
        "stores": {
            "store": [52, 49, 51, 50], "text": [[52.0, 1, 2], [49.0, 1, 2], [51.0, 1, 2], [50.0, 1, 2]],
            "visual": [[0.52, 0], [0.49, 0], [0.51, 0], [0.5, 0]],
        },
    }  # fmt: skip

    def write(folder: str = "log", vectors: str = "fixed", **replaced: dict[str, list | np.ndarray]) -> Path:
        path = tmp_path / folder
        path.mkdir()
        schema.save(path)
        for table, rows in (tables | replaced).items():
            (path / table).mkdir()
            # an array has a type of its own, which may be another than the schema's
            columns = {
                c.name: pa.array(rows[c.name], None if isinstance(rows[c.name], np.ndarray) else _arrow(c, vectors))
                for c in schema.tables[table]
                if c.name in rows
            }
            pq.write_table(pa.table(columns), path / table / "day=0000.parquet")
        return path

    return write


HOUR_MS = 3_600_000


@pytest.fixture
def long_log(write_log: Callable[..., Path]) -> Callable[..., Path]:
    """Write a log of so many hours with so many requests each, one or two ads to a request; an ad's CTR decides on clicks."""

    def write(hours: int, each: int, folder: str = "log") -> Path:
        rng = np.random.default_rng(hours)
        n = hours * each
        request = rng.permutation(n)
        time_ms = np.sort(rng.integers(hours * HOUR_MS, size=n))
        twice = np.sort(np.concatenate((np.arange(n), np.arange(0, n, 2))))  # requests in turn have two ads and one
        slot = np.concatenate(([0], (np.diff(twice) == 0).astype(int)))
        m = len(twice)
        ctr = rng.normal(size=m)
        clicked = rng.random(m) < expit(ctr)
        bought = np.flatnonzero(clicked & (rng.random(m) < 0.4))
        return write_log(
            folder=folder,
            requests={
                "request": request, "time_ms": time_ms, "hour": rng.integers(24, size=n), "region": rng.integers(4, size=n),
                "user_clicks": rng.normal(size=n), "history": rng.integers(50, 53, size=(n, 2)).tolist(),
                "visited": [[]] * n,
            },
            impressions={
                "request": request[twice], "time_ms": time_ms[twice], "user": rng.integers(9, size=m), "slot": slot,
                "ad": slot, "cuisine": rng.integers(5, size=m), "store": rng.integers(49, 53, size=m), "ad_ctr": ctr,
                "ad_cvr": rng.normal(size=m), "known_orders": rng.normal(size=m), "clicked": clicked,
                "long_clicked": clicked & (rng.random(m) < 0.5),
            },
            conversions={
                "request": request[twice][bought], "time_ms": time_ms[twice][bought] + rng.integers(HOUR_MS, size=len(bought)),
                "ad": slot[bought], "event": rng.integers(3, size=len(bought)), "click_ms": time_ms[twice][bought] + 1,
                "attributed": np.ones(len(bought), bool),
            },
        )  # fmt: skip

    return write


def _arrow(column: Column, vectors: str) -> pa.DataType:
    if column.kind is Kind.VECTOR:
        return pa.list_(pa.float32(), column.width if vectors == "fixed" else -1)
    return pa.list_(pa.int32()) if column.kind is Kind.LIST else pa.from_numpy_dtype(np.dtype(column.dtype))
