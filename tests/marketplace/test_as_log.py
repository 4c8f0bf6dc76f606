"""A run's log as standard tables: a log written by hand, and one of a run."""

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fitting.types import IMPRESSIONS, PURCHASES
from marketplace.as_log import is_log, standard_tables
from marketplace.errors import Refused

LOG = {
    "requests": {"request": [10, 20], "session": [1, 2], "randomised": [False, True]},
    "impressions": {
        "request": [10, 10, 20], "time_ms": [1_000, 1_000, 5_000], "user": [7, 7, 8], "slot": [0, 1, 0], "ad": [3, 4, 3],
        "store": [30, 40, 30], "campaign": [1, 2, 1], "bid_usd": [2.0, 3.0, 2.0], "billed_micros": [500_000, 0, 250_000],
        "known_orders": [0.0, 0.7, 0.0], "clicked": [True, False, True],
    },
    "conversions": {
        "request": [10, 10, 10], "time_ms": [1_500, 2_000, 3_000], "user": [7, 7, 7], "ad": [3, 3, 4], "event": [0, 1, 1],
        "value_micros": [12_000_000, 12_000_000, 9_000_000], "billed_micros": [0, 2_000_000, 1_000_000],
    },
    "organic": {"request": [20], "time_ms": [5_000], "user": [8], "store": [50], "value_micros": [4_000_000]},
}  # fmt: skip


@pytest.fixture
def by_hand(tmp_path):
    folder = tmp_path / "it's" / "log"  # a quote in a path is no end of it
    for table, columns in LOG.items():
        (folder / table).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / table / "day=0000.parquet")
    return folder


@pytest.fixture
def con():
    with duckdb.connect() as db:
        yield db


def test_every_figure_of_a_log_written_by_hand_is_where_it_belongs(by_hand, con):
    views = standard_tables(by_hand, con)

    shown = con.execute(f"SELECT * FROM {views['impressions']} ORDER BY time_ms, slot").to_arrow_table().to_pydict()
    assert shown["item"] == [30, 40, 30] and shown["click"] == [True, False, True]
    assert shown["session"] == [1, 1, 2] and shown["randomised"] == [False, False, True]
    assert shown["known"] == [False, True, False]
    assert shown["click_ms"] == [1_000, None, 5_000]
    assert shown["cart_ms"] == [1_500, None, None]
    assert shown["checkout_ms"] == [2_000, 3_000, None]  # the second was seen and not clicked
    assert shown["sign_up_ms"] == [None, None, None]
    assert shown["basket_usd"] == [12.0, 9.0, None]
    assert shown["price_usd"] == [2.5, 1.0, 0.25]
    bought = con.execute(
        f"SELECT user, time_ms, basket_usd, item FROM {views['purchases']} ORDER BY time_ms"
    ).fetchall()
    assert bought == [(7, 2_000, 12.0, 30), (7, 3_000, 9.0, 40), (8, 5_000, 4.0, 50)]


def test_columns_are_standard_ones_and_all_that_a_run_can_tell(by_hand, con):
    views = standard_tables(by_hand, con)

    for table, fields, lacking in (("impressions", IMPRESSIONS, {"propensity"}), ("purchases", PURCHASES, set())):
        there = {row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {views[table]}").fetchall()}
        assert there == set(fields) - lacking


def test_prices_add_up_to_the_revenue_of_the_run(logged, con):
    views = standard_tables(logged.folder, con)

    ((usd,),) = con.execute(f"SELECT sum(price_usd) FROM {views['impressions']}").fetchall()
    assert usd * 1e6 == pytest.approx(logged.manifest["stages"]["log"]["revenue_micros"], abs=0.5)


def test_as_many_rows_as_the_log_has_and_every_order_once(logged, con):
    views = standard_tables(logged.folder / "log", con)

    def count(query):
        return con.execute(f"SELECT count(*) FROM {query}").fetchall()[0][0]

    files = {table: f"read_parquet('{logged.folder}/log/{table}/*.parquet')" for table in LOG}
    assert count(views["impressions"]) == count(files["impressions"])
    orders = count(f"{files['conversions']} WHERE event = 1")
    assert count(views["purchases"]) == orders + count(files["organic"])
    assert count(f"{views['impressions']} WHERE checkout_ms IS NOT NULL") == orders


def test_a_log_is_known_by_its_schema_and_another_folder_is_refused(logged, tmp_path, con):
    assert is_log(logged.folder) and is_log(logged.folder / "log") and not is_log(tmp_path)
    with pytest.raises(Refused, match="no table impressions"):
        standard_tables(tmp_path, con)


def test_a_damaged_part_is_refused_in_one_line(by_hand, con):
    (by_hand / "organic" / "day=0000.parquet").write_bytes(np.random.default_rng(0).bytes(100))

    with pytest.raises(Refused, match="damaged") as refused:
        standard_tables(by_hand, con)
    assert "\n" not in str(refused.value)
