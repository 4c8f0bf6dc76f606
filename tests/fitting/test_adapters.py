"""Adapters: what small files of each public format become, the real ones where they are at hand, and what is refused."""

import bz2
import gzip
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from real import real

from fitting.adapters import FORMATS
from fitting.adapters.files import SIGNATURES
from fitting.errors import Unfit
from fitting.estimates import estimates_of
from fitting.source import connected, open_log
from fitting.types import IMPRESSIONS, PURCHASES, TRAFFIC

TABLES = {"impressions": IMPRESSIONS, "clicks": IMPRESSIONS, "purchases": PURCHASES, "traffic": TRAFFIC}

BANDIT = """,timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0
0,2019-11-24 00:00:34.762830+00:00,14,3,0,{},81ce,0.0
1,2019-11-24 15:00:00.001000+00:00,27,1,1,{},81ce,0.0
"""
CDNOW = """ customer_id  date number_of_cds  dollar_value
 00001 19970101  1   11.77
 00002 19970112  5   77.00
 00002 19970112  1    0.00
"""
TRAFFIC_SHARE = "region_id,dow,hour,traffic_share\n645530,1,0,0.25\n645530,7,23,0.75\n"
_ATTRIBUTION = (
    "timestamp\tuid\tcampaign\tconversion\tconversion_timestamp\tconversion_id\tattribution\tclick\tclick_pos\tclick_nb\t"
    "cost\tcpo\ttime_since_last_click\tcat1\n"
)
ATTRIBUTION = _ATTRIBUTION + (
    "0\t7\t70\t1\t500\t9\t1\t1\t0\t2\t1e-5\t0.1\t-1\t1\n"  # first of two clicks before conversion 9
    "100\t7\t70\t1\t500\t9\t1\t1\t1\t2\t1e-5\t0.1\t100\t1\n"  # the last
    "200\t7\t70\t1\t500\t9\t1\t0\t-1\t-1\t1e-5\t0.1\t200\t1\n"  # seen, not clicked
    "300\t8\t71\t0\t-1\t-1\t0\t0\t-1\t-1\t1e-5\t0.1\t-1\t1\n"
)
DELAYED = "10\t3610\t1\t2\t3\t4\t5\t6\t7\t8" + "\tab" * 9 + "\n20\t\t1\t\t3\t4\t5\t6\t7\t8" + "\tab" * 9 + "\n"
AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,device_id,device_ip,device_model,device_type,C14,C15,C16,C17\n"
    "1,0,14102100,1005,0,1fbe,a99f214a,ddd2,44956a24,1,15706,320,50,1722\n"
    "2,1,14102123,1005,1,1fbe,96809ac8,ddd2,44956a24,1,15704,320,50,1722\n"
)


def win(bid: str, stamp: str, kind: int) -> str:
    middle = ["agent", "1.2.3.*", "216", "217", "1", "dom", "url", "null", "place", "300", "250", "1", "1", "0"]
    return "\t".join([bid, stamp, str(kind), "user1", *middle, "creative", "300", "123", "null", "1458", "tags"]) + "\n"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def small(name: str, folder: Path) -> tuple[Path, ...]:
    """Files of a format."""
    if name == "ipinyou":
        paths = tuple(folder / f"{kind}.20130606.txt.bz2" for kind in ("imp", "clk", "conv"))
        paths[0].write_bytes(
            bz2.compress((win("a", "20130606000104008", 1) + win("b", "20130606235959999", 1)).encode())
        )
        paths[1].write_bytes(bz2.compress(win("b", "20130607000001000", 2).encode()))
        paths[2].write_bytes(bz2.compress(win("b", "20130607000002000", 3).encode()))
        return paths
    text = {
        "open_bandit": BANDIT.format(0.5, 0.5), "cdnow": CDNOW, "traffic_share": TRAFFIC_SHARE,
        "criteo_attribution": ATTRIBUTION, "criteo_delayed": DELAYED, "avazu": AVAZU,
    }[name]  # fmt: skip
    path = folder / f"{name}.csv"
    path.write_text(text)
    return (path,)


def rows(con: duckdb.DuckDBPyConnection, view: str) -> list[dict[str, object]]:
    found = con.execute(f"SELECT * FROM {view} ORDER BY ALL")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_the_tables_that_it_says_with_their_required_columns_and_no_others(name, con, tmp_path):
    views = FORMATS[name].opens(con, small(name, tmp_path))

    assert tuple(views) == FORMATS[name].tables
    for table, view in views.items():
        found = {row[0] for row in con.execute(f"DESCRIBE {view}").fetchall()}
        assert found <= set(TABLES[table])
        assert {column for column, field in TABLES[table].items() if field.required} <= found
        assert rows(con, view)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_described_and_says_where_to_get_it(name):
    adapter = FORMATS[name]
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()

    assert adapter.about and "http" in adapter.source and name in SIGNATURES
    assert f"`{name}`" in page


def test_open_bandit_counts_places_from_0_in_the_time_of_japan_and_knows_the_uniform_policy_by_its_propensities(
    con, tmp_path
):
    random, bts = tmp_path / "all.csv", tmp_path / "bts.csv"
    random.write_text(BANDIT.format(0.0125, 0.0125))
    bts.write_text(BANDIT.format(0.3, 0.1))

    found = rows(con, FORMATS["open_bandit"].opens(con, (random, bts))["impressions"])

    first, last = found[0], found[-1]
    assert first["time_ms"] == 1_574_553_634_763 + 9 * 3_600_000  # 2019-11-24 00:00:34.76283 UTC
    assert (first["item"], first["slot"], first["click"]) == (14, 2, False)
    assert (last["item"], last["slot"], last["click"]) == (27, 0, True)
    assert {(row["propensity"], row["randomised"]) for row in found} == {(0.0125, True), (0.3, False), (0.1, False)}


def test_cdnow_lines_are_orders_at_midnight_and_those_of_nothing_have_no_basket(con, tmp_path):
    path = tmp_path / "CDNOW_master.txt.gz"
    path.write_bytes(gzip.compress(CDNOW.encode()))

    found = rows(con, FORMATS["cdnow"].opens(con, (path,))["purchases"])

    assert [(row["user"], row["time_ms"] // 86_400_000 - 9_862, row["basket_usd"]) for row in found] == [
        (1, 0, 11.77), (2, 11, 77.0), (2, 11, None),
    ]  # fmt: skip


def test_an_order_follows_the_last_click_before_it_alone(con, tmp_path):
    views = FORMATS["criteo_attribution"].opens(con, small("criteo_attribution", tmp_path))

    assert [(r["time_ms"], r["click_ms"], r["checkout_ms"]) for r in rows(con, views["impressions"])] == [
        (0, 0, None), (100_000, 100_000, 500_000), (200_000, None, None), (300_000, None, None),
    ]  # fmt: skip
    assert rows(con, views["purchases"]) == [{"user": 7, "time_ms": 500_000, "item": 70}]


def test_seconds_become_milliseconds_and_no_conversion_is_empty(con, tmp_path):
    views = FORMATS["criteo_delayed"].opens(con, small("criteo_delayed", tmp_path))

    assert [(r["click_ms"], r["checkout_ms"]) for r in rows(con, views["clicks"])] == [
        (10_000, 3_610_000), (20_000, None),
    ]  # fmt: skip


def test_a_device_without_an_id_is_its_address_and_model(con, tmp_path):
    found = rows(con, FORMATS["avazu"].opens(con, small("avazu", tmp_path))["impressions"])

    assert [row["user"] for row in found] == ["ddd2:44956a24", "96809ac8"]
    assert [row["time_ms"] for row in found] == [1_413_849_600_000, 1_413_849_600_000 + 23 * 3_600_000]  # 2014-10-21


@pytest.mark.parametrize("packed", [True, False])
def test_clicks_and_conversions_of_ipinyou_join_by_bid_and_fen_per_thousand_become_dollars(con, tmp_path, packed):
    paths = small("ipinyou", tmp_path)
    if not packed:
        for path in paths:
            path.with_suffix("").write_bytes(bz2.decompress(path.read_bytes()))
        paths = tuple(path.with_suffix("") for path in paths)

    found = rows(con, FORMATS["ipinyou"].opens(con, paths)["impressions"])

    assert [row["click"] for row in found] == [False, True]
    assert found[0]["time_ms"] == 1_370_476_864_008  # 2013-06-06 00:01:04.008
    assert found[1]["click_ms"] - found[1]["time_ms"] == 1_001
    assert found[1]["checkout_ms"] - found[1]["click_ms"] == 1_000
    assert found[0]["price_usd"] == pytest.approx(123 / 100 / 1000 / 6.15)


def test_the_traffic_week_starts_on_monday_as_0(con, tmp_path):
    found = rows(con, FORMATS["traffic_share"].opens(con, small("traffic_share", tmp_path))["traffic"])

    assert [(row["weekday"], row["hour"], row["share"]) for row in found] == [(0, 0, 0.25), (6, 23, 0.75)]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
def test_a_file_of_another_format_is_refused_in_one_line(name, other, con, tmp_path):
    if name == other:
        return
    with pytest.raises(Unfit) as refusal:
        FORMATS[name].opens(con, small(other, tmp_path))

    assert "\n" not in str(refusal.value) and str(tmp_path) in str(refusal.value)


def test_the_refusal_names_the_column_the_nearest_and_the_format_that_it_looks_like(con, tmp_path):
    with pytest.raises(Unfit, match=r"no column region_id, the nearest is .*; it looks like avazu"):
        FORMATS["traffic_share"].opens(con, small("avazu", tmp_path))
    with pytest.raises(Unfit, match="there is no such file"):
        FORMATS["cdnow"].opens(con, (tmp_path / "none.txt",))


def test_damaged_files_are_refused_in_one_line(con, tmp_path):
    whole = gzip.compress((CDNOW * 1_000).encode())
    (broken := tmp_path / "broken.txt.gz").write_bytes(whole[:40])
    (torn := tmp_path / "imp.1.txt.bz2").write_bytes(bz2.compress(win("a", "20130606000104008", 1).encode())[:-20])

    for name, path in (("cdnow", broken), ("ipinyou", torn)):
        with pytest.raises(Unfit) as refusal:
            FORMATS[name].opens(con, (path,))
        assert "\n" not in str(refusal.value)


def test_the_real_files_are_whole(con):
    bandit = FORMATS["open_bandit"].opens(
        con, (real("open_bandit/random_men.parquet"), real("open_bandit/bts_men.parquet"))
    )
    counts = "randomised, count(*), count_if(click), min(slot), max(slot)"
    assert con.execute(f"SELECT {counts} FROM {bandit['impressions']} GROUP BY 1 ORDER BY 1").fetchall() == [
        (False, 10_000, 69, 0, 2),
        (True, 10_000, 46, 0, 2),
    ]

    orders = FORMATS["cdnow"].opens(con, (real("cdnow/CDNOW_master.txt.gz"),))["purchases"]
    assert con.execute(f'SELECT count(*), count(DISTINCT "user") FROM {orders}').fetchall() == [(69_659, 23_570)]

    shares = FORMATS["traffic_share"].opens(con, (real("traffic/traffic_share.csv.gz"),))["traffic"]
    ((total, cells),) = con.execute(f"SELECT sum(share) / count(DISTINCT region), count(*) FROM {shares}").fetchall()
    assert cells == 114 * 168
    assert total == pytest.approx(1, abs=1e-3)


def test_a_log_of_clicks_alone_tells_orders_and_their_delays_and_no_click_rate(tmp_path):
    rng = np.random.default_rng(3)
    click = np.sort(rng.integers(0, 60 * 86_400, 6_000))
    order = click + rng.exponential(6 * 3_600, 6_000).astype(int)
    ordered = (rng.random(6_000) < 0.3) & (order <= click[-1])
    path = tmp_path / "data.txt"
    blank = "\t" * 17
    lines = [f"{a}\t{b if hit else ''}{blank}" for a, b, hit in zip(click, order, ordered, strict=True)]
    path.write_text("\n".join(lines) + "\n")

    with connected() as con:
        log = open_log(con, FORMATS["criteo_delayed"].opens(con, (path,)))
        _, found = estimates_of(log, lambda what, share: None)
    by_name = {one.name: one for one in found}
    assert "clicks alone" in by_name["world.marginals.ctr"].why
    cvr = by_name["world.marginals.cvr"]
    assert cvr.value == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 6_000) ** 0.5)
    assert cvr.low < cvr.value < cvr.high
