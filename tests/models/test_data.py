"""A log becomes a dataset as known at the snapshot."""

from dataclasses import fields, replace

import numpy as np
import pytest

from models.data import Batch, read_log
from models.schema import Kind, Schema

EARLY, LATE = 500, 10_000


def same(a: Batch, b: Batch) -> bool:
    return (
        a.ads is b.ads
        and all(np.array_equal(x, y) for x, y in zip(a.lists, b.lists, strict=True))
        and all(
            np.array_equal(getattr(a, f.name), getattr(b, f.name))
            for f in fields(Batch)
            if f.name not in ("ads", "lists")
        )
    )


def test_requests_come_in_order_of_time_and_id_with_their_features(write_log):
    data = read_log(write_log(), LATE)

    assert data.time_ms.tolist() == [100, 200, 200]
    assert data.batch.categorical.tolist() == [[1, 1], [-1, 2], [3, 3]]
    assert data.batch.dense[:, 0] == pytest.approx([0.1, 0.2, 0.3])
    history, visited = data.batch.lists
    assert history.tolist() == [[7, 8], [9, -1], [-1, -1]]
    assert visited.tolist() == [[-1, -1, -1], [3, -1, -1], [2, 1, 2]]


def test_impressions_stand_in_their_slots_and_a_request_without_any_has_none(write_log):
    data = read_log(write_log(), LATE)

    assert data.shown.tolist() == [[True, False, False], [False, False, False], [True, False, True]]
    assert data.batch.slot.tolist() == [0, 1, 2]
    assert data.click.tolist() == [[True, False, False], [False, False, False], [False, False, True]]


def test_features_of_ads_and_pairs_align_with_the_slots(write_log):
    data = read_log(write_log(), LATE)

    shown = data.shown
    ads = data.batch.row[shown]
    assert data.batch.ads.categorical[ads].tolist() == [[0, 50], [1, 51], [2, 52]]
    assert data.batch.ads.dense[ads] == pytest.approx(np.array([[0.0, 0.5], [0.1, 1.0], [0.2, 2.0]]))
    assert data.cross("known_orders")[shown].tolist() == [10.0, 11.0, 12.0]
    assert not data.batch.cross[~shown].any()


@pytest.mark.parametrize("vectors", ["fixed", "variable"])
def test_content_vectors_are_those_of_the_ads_store_beside_one_another(write_log, vectors):
    batch = read_log(write_log(vectors=vectors), LATE).batch

    got = batch.ads.vector[batch.row[batch.row >= 0]]

    assert got.dtype == np.float32
    assert got == pytest.approx(np.array([[store, 1, 2, store / 100, 0] for store in (50, 51, 52)]))


def stores(**changed: list) -> dict[str, list]:
    return {"store": [52, 51, 50], "text": [[1.0, 2, 3]] * 3, "visual": [[1.0, 2]] * 3} | changed


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (stores(store=[52, 53, 50]), "has no store 51"),
        (stores(store=[], text=[], visual=[]), "has no store 50"),
        ({name: [*rows, rows[0]] for name, rows in stores().items()}, "has store 52 twice"),
        (stores(visual=[[1.0, 2], [1.0], [1.0, 2]]), "has a visual that is not 2 finite numbers"),
        (stores(visual=[[1.0, 2], None, [1.0, 2]]), "has a visual that is not 2 finite numbers"),
        (stores(text=[[1.0, 2, np.nan]] * 3), "has a text that is not 3 finite numbers"),
        (stores(text=[[1.0, 2, None]] * 3), "has a text that is not 3 finite numbers"),
    ],
)
def test_content_vectors_that_cannot_be_joined_are_refused_with_table_and_reason_in_one_line(write_log, table, fault):
    log = write_log(vectors="variable", stores=table)

    with pytest.raises(ValueError, match=rf"^stores of the log in {log} {fault}$"):
        read_log(log, LATE)


def test_content_vectors_of_an_id_that_no_impression_has_are_refused(write_log, schema):
    log = write_log()
    (key, *vectors) = schema.tables["stores"]
    Schema(tables=schema.tables | {"stores": (replace(key, name="shop"), *vectors)}).save(log)

    with pytest.raises(ValueError, match=rf"the log in {log} joins stores by shop, which is no column"):
        read_log(log, LATE)


def test_a_log_may_have_no_list_and_no_content_vector(write_log, schema):
    log = write_log()
    tables = {
        name: tuple(c for c in columns if c.kind is not Kind.LIST)
        for name, columns in schema.tables.items()
        if name != "stores"
    }
    Schema(tables=tables).save(log)

    batch = read_log(log, LATE).batch

    assert batch.lists == ()
    assert batch.ads.vector.shape == (3, 0)
    assert same(Batch.stack([batch.rows(0, 1), batch.rows(1, 3)]), batch)


def test_a_conversion_at_or_after_the_snapshot_is_not_seen(write_log):
    log = write_log()

    assert [read_log(log, t).conversion.sum() for t in (150, 151, 900, 901)] == [0, 1, 1, 2]
    assert read_log(log, 901).conversion.tolist() == [[True, False, False], [False] * 3, [False, False, True]]


def test_a_conversion_that_was_not_attributed_is_not_seen(write_log):
    late = {"request": [50, 30], "time_ms": [150, 160], "ad": [4, 5], "attributed": [False, True]}

    assert read_log(write_log(conversions=late), LATE).conversion.sum(axis=1).tolist() == [0, 0, 1]


def test_a_conversion_of_another_ad_or_request_is_no_label(write_log):
    other = {"request": [50, 30, 20], "time_ms": [150] * 3, "ad": [5, 4, 4], "attributed": [True] * 3}

    assert not read_log(write_log(conversions=other), LATE).conversion.any()


def test_a_log_without_conversions_has_no_positive_label(write_log):
    none = {"request": [], "time_ms": [], "ad": [], "attributed": []}

    assert not read_log(write_log(conversions=none), LATE).conversion.any()


def test_requests_at_or_after_the_snapshot_are_not_seen(write_log):
    log = write_log()

    assert [len(read_log(log, t).batch) for t in (101, 200, 201)] == [1, 1, 3]
    assert read_log(log, 200).batch.row.shape == (1, 1)


def test_a_log_is_read_from_all_its_parts(write_log):
    log = write_log()
    later = {
        "request": [40],
        "time_ms": [300],
        "hour": [5],
        "region": [0],
        "user_clicks": [0.4],
        "history": [[6]],
        "visited": [[]],
    }
    more = write_log(folder="more", requests=later)
    (more / "requests" / "day=0000.parquet").rename(log / "requests" / "day=0001.parquet")

    data = read_log(log, LATE)

    assert data.time_ms.tolist() == [100, 200, 200, 300]
    assert data.shown.sum(axis=1).tolist() == [1, 0, 2, 0]


def test_a_snapshot_before_the_first_impression_is_refused(write_log):
    log = write_log()

    with pytest.raises(ValueError, match=rf"the log in {log} holds no impression before 100 ms"):
        read_log(log, 100)


def test_a_folder_that_is_no_log_is_refused(tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path} is not a log folder"):
        read_log(tmp_path, LATE)


@pytest.mark.parametrize("table", ["requests", "impressions", "conversions", "stores"])
@pytest.mark.parametrize("damage", ["empty", "cut", "overwritten", "gone"])
def test_a_damaged_table_is_refused_with_the_folder(write_log, table, damage):
    log = write_log()
    part = log / table / "day=0000.parquet"
    whole = part.read_bytes()
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "overwritten": b"x" * len(whole)}[damage])

    with pytest.raises(ValueError, match=f"the log in {log} is damaged"):
        read_log(log, LATE)


def test_a_log_whose_pages_are_overwritten_is_refused_with_the_folder(write_log):
    log = write_log()
    part = log / "impressions" / "day=0000.parquet"
    whole = bytearray(part.read_bytes())
    whole[4:200] = b"\xff" * 196
    part.write_bytes(whole)

    with pytest.raises(ValueError, match=f"the log in {log} is damaged"):
        read_log(log, LATE)


def test_a_log_without_a_column_of_its_schema_is_refused_with_the_folder(write_log):
    rows = {"request": [50], "time_ms": [100], "hour": [1], "user_clicks": [0.1], "history": [[1]], "visited": [[1]]}
    log = write_log(requests=rows)

    with pytest.raises(ValueError, match=rf"the log in {log} is damaged.*region"):
        read_log(log, LATE)


def test_between_keeps_the_requests_from_start_to_before_stop(write_log):
    data = read_log(write_log(), LATE)

    assert data.between(0, 200).time_ms.tolist() == [100]
    late = data.between(200, 201)
    assert late.time_ms.tolist() == [200, 200]
    assert late.click.tolist() == data.click[1:].tolist()
    assert late.conversion.tolist() == data.conversion[1:].tolist()
    assert late.shown.tolist() == data.shown[1:].tolist()
    assert late.batch.ads.categorical[late.batch.row[late.shown]].tolist() == [[1, 51], [2, 52]]
    assert late.batch.ads.vector[late.batch.row[late.shown], 0].tolist() == [51.0, 52.0]
    assert [values.tolist() for values in late.batch.lists] == [[[9, -1], [-1, -1]], [[3, -1, -1], [2, 1, 2]]]
    assert late.cross("known_orders")[late.shown].tolist() == [11.0, 12.0]
    assert len(data.between(150, 160).batch) == 0


def test_stack_puts_back_what_rows_cut_and_take_picks_rows(test):
    batch = test.data.batch

    assert same(Batch.stack([batch.rows(0, 5), batch.rows(5, 4_000)]), batch)
    assert same(batch.take(np.arange(10, 20)), batch.rows(10, 20))
    assert same(Batch.stack([batch]), batch)
    assert len(batch.rows(10, 20)) == 10
