"""A log becomes a dataset as known at the snapshot."""

import gc
import weakref
from dataclasses import fields, replace
from pathlib import Path
from time import sleep

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.config import NetworkConfig
from models.data import Batch, Dataset
from models.errors import Unusable
from models.log import LogWindow, read_log
from models.schema import Column, Kind, Schema, load_schema
from models.train import fit_network

EARLY, LATE = 500, 10_000
HOUR_MS, WEEK_MS = 3_600_000, 7 * 24 * 3_600_000
TASKS = ("long_click", "cart", "checkout", "sign_up", "organic")


def same(a: Batch, b: Batch) -> bool:
    return (
        a.ads is b.ads
        and all(np.array_equal(x.padded(9), y.padded(9)) for x, y in zip(a.lists, b.lists, strict=True))
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
    assert history.padded().tolist() == [[7, 8], [9, -1], [-1, -1]]
    assert visited.padded().tolist() == [[-1, -1, -1], [3, -1, -1], [2, 1, 2]]


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
    late = {"request": [50, 30], "time_ms": [150, 260], "ad": [4, 5], "attributed": [False, True]}

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

    with pytest.raises(ValueError, match=rf"the log in {log} holds no impression from 0 to before 100 ms"):
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
    assert [values.padded().tolist() for values in late.batch.lists] == [[[9], [-1]], [[3, -1, -1], [2, 1, 2]]]
    assert late.cross("known_orders")[late.shown].tolist() == [11.0, 12.0]
    assert len(data.between(150, 160).batch) == 0


def test_users_of_requests_are_known_where_the_schema_names_them_and_go_along(write_log):
    log = write_log()
    assert read_log(log, LATE).user is None
    schema, part = load_schema(log), log / "requests" / "day=0000.parquet"
    named = (Column(name="user", kind=Kind.ID, dtype="int32"), *schema.tables["requests"])
    Schema(tables=schema.tables | {"requests": named}).save(log)
    with pytest.raises(Unusable, match="is damaged"):  # user is a function of DuckDB's, too
        read_log(log, LATE)
    pq.write_table(pq.read_table(part).append_column("user", pa.array([3, 1, 7])), part)

    data = read_log(log, LATE)

    assert data.user.tolist() == [1, 7, 3]  # of requests 50, 20 and 30
    assert data.take(np.array([2, 0])).user.tolist() == [3, 1]
    assert data.between(200, 201).user.tolist() == [7, 3]


def test_stack_puts_back_what_rows_cut_and_take_picks_rows(test):
    batch = test.data.batch

    assert same(Batch.stack([batch.rows(0, 5), batch.rows(5, 4_000)]), batch)
    assert same(batch.take(np.arange(10, 20)), batch.rows(10, 20))
    assert same(Batch.stack([batch]), batch)
    assert len(batch.rows(10, 20)) == 10


def conversion(**changed: list) -> dict[str, list]:
    """One event after the click on ad 5 in slot 2 of request 30."""
    one = {"request": [30], "time_ms": [300], "ad": [5], "event": [0], "click_ms": [210], "attributed": [False]}
    return one | changed


@pytest.mark.parametrize("task", ["cart", "checkout", "sign_up"])
@pytest.mark.parametrize("event", [0, 1, 2])
def test_an_event_after_a_click_is_the_label_of_its_task_whether_attributed_or_not(write_log, task, event):
    data = read_log(write_log(conversions=conversion(event=[event])), LATE, tasks=(task,))

    assert data.label(task).any() == (("cart", "checkout", "sign_up").index(task) == event)
    assert not data.label(task)[:, :2].any() and not data.label(task)[:2].any()
    assert not data.conversion.any()


@pytest.mark.parametrize(
    ("changed", "snapshot", "label"),
    [
        ({}, LATE, True),
        ({"click_ms": [-1]}, LATE, False),
        ({}, 300, False),
        ({}, 301, True),
        ({"ad": [6]}, LATE, False),
    ],
)
def test_an_event_counts_after_a_click_on_the_ad_and_before_the_snapshot(write_log, changed, snapshot, label):
    data = read_log(write_log(conversions=conversion(**changed)), snapshot, tasks=("cart",))

    assert data.label("cart")[2, 2] == label


def test_two_events_of_one_ad_are_labels_of_two_tasks(write_log):
    both = {"request": [30] * 2, "time_ms": [300, 310], "ad": [5] * 2, "event": [0, 1], "click_ms": [210] * 2}
    log = write_log(conversions=both | {"attributed": [False, True]})

    data = read_log(log, LATE, tasks=("checkout", "cart"))

    assert [data.label(task)[2, 2] for task in ("cart", "checkout", "conversion")] == [True] * 3
    assert data.label("checkout").sum() == data.label("cart").sum() == 1


def test_long_clicks_are_those_of_the_log(write_log):
    assert read_log(write_log(), LATE, tasks=("long_click",)).label("long_click").tolist() == [
        [False, False, False], [False, False, False], [False, False, True]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "user", "store", "snapshot", "label"),
    [
        (201, 3, 51, LATE, True),
        (200, 3, 51, LATE, False),  # not after the impression
        (100, 3, 51, LATE, False),
        (200 + WEEK_MS, 3, 51, 2 * WEEK_MS, True),
        (201 + WEEK_MS, 3, 51, 2 * WEEK_MS, False),
        (400, 3, 51, 401, True),
        (400, 3, 51, 400, False),
        (400, 1, 51, LATE, False),
        (400, 3, 50, LATE, False),
    ],
)
def test_an_organic_order_is_the_users_of_the_store_within_a_week_after_the_ad(
    write_log, at, user, store, snapshot, label
):
    log = write_log(organic={"request": [9], "time_ms": [at], "user": [user], "store": [store]})

    data = read_log(log, snapshot, tasks=("organic",))

    assert data.label("organic")[2, 0] == label
    assert data.label("organic").sum() == label


def test_clicks_and_organic_orders_are_taught_by_all_that_was_shown_and_the_rest_by_clicks(write_log):
    data = read_log(write_log(), LATE, tasks=TASKS)

    for task in ("click", "organic"):
        assert np.array_equal(data.taught_by(task), data.shown)
    for task in ("conversion", "long_click", "cart", "checkout", "sign_up"):
        assert np.array_equal(data.taught_by(task), data.click)


def test_a_task_that_the_log_says_nothing_of_is_refused(write_log, schema):
    log = write_log()

    with pytest.raises(Unusable, match=rf"^the log in {log} has no label for the task refund$"):
        read_log(log, LATE, tasks=("refund",))
    with pytest.raises(Unusable, match=r"^the log has no label for the task cart; there are click, conversion$"):
        read_log(log, LATE).label("cart")
    Schema(tables={name: columns for name, columns in schema.tables.items() if name != "organic"}).save(log)
    with pytest.raises(Unusable, match="no label for the task organic"):
        read_log(log, LATE, tasks=("organic",))


REQUESTS = {
    "request": [30, 50, 20], "time_ms": [200, 100, 200], "hour": [3, 1, -1], "region": [3, 1, 2],
    "user_clicks": [0.3, 0.1, 0.2], "history": [[], [7, 8], [9]], "visited": [[2, 1, 2], [], [3]],
}  # fmt: skip
IMPRESSIONS = {
    "request": [30, 50, 30], "time_ms": [200, 100, 200], "user": [3, 1, 3], "slot": [2, 0, 0], "ad": [5, 4, 6],
    "cuisine": [2, 0, 1], "store": [52, 50, 51], "ad_ctr": [0.2, 0.0, 0.1], "ad_cvr": [2.0, 0.5, 1.0],
    "known_orders": [12.0, 10.0, 11.0], "clicked": [True, True, False], "long_clicked": [True, False, False],
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "column", "values", "fault"),
    [
        ("impressions", "clicked", np.array([1, 2, 0]), "clicked is 2 in request 50, it must be 0 or 1"),
        ("impressions", "clicked", np.array([1, 0, -1]), "clicked is -1 in request 30, it must be 0 or 1"),
        ("impressions", "clicked", [True, None, False], "clicked is null in 1 rows"),
        ("requests", "user_clicks", [0.3, np.nan, 0.2], "user_clicks is nan in request 50, it must be a finite number"),
        ("requests", "user_clicks", [0.3, 0.1, np.inf], "user_clicks is inf in request 20, it must be a finite number"),
        (
            "requests",
            "user_clicks",
            np.array([0.3, 0.1, 1e300]),
            "user_clicks is 1e[+]300 in request 20, it must be a fin",
        ),
        ("requests", "user_clicks", [0.3, None, 0.2], "user_clicks is null in 1 rows"),
        ("impressions", "ad_cvr", [np.nan, 0.1, 0.2], "ad_cvr is nan in request 30, it must be a finite number"),
        (
            "impressions",
            "known_orders",
            [1, 2, -np.inf],
            "known_orders is -inf in request 30, it must be a finite number",
        ),
        ("requests", "hour", [3, 24, 1], "hour is 24 in request 50, it must be -1 to 23"),
        ("requests", "hour", [3, 1, -2], "hour is -2 in request 20, it must be -1 to 23"),
        ("requests", "hour", np.array([3, 2**32 + 1, 1]), "hour is 4294967297 in request 50, it must be -1 to 23"),
        ("requests", "region", [None, 1, 2], "region is null in 1 rows"),
        ("impressions", "cuisine", [5, 0, 1], "cuisine is 5 in request 30, it must be -1 to 4"),
        ("requests", "history", [[], [7, 100], [9]], "history holds 100, it must be 0 to 99"),
        ("requests", "history", [[], [7, -1], [9]], "history holds -1, it must be 0 to 99"),
        ("requests", "visited", [[2, 1, None], [], [3]], "visited is null, or holds a null"),
        ("requests", "visited", [[2, 1], None, [3]], "visited is null, or holds a null"),
    ],
)
def test_what_no_model_may_see_is_refused_in_one_line(write_log, table, column, values, fault):
    rows = {"requests": REQUESTS, "impressions": IMPRESSIONS}[table]
    log = write_log(**{table: rows | {column: values}})

    with pytest.raises(Unusable, match=rf"^{table} of the log in {log}: {fault}.*$"):
        read_log(log, LATE)


def test_a_list_beyond_what_an_int32_holds_is_refused(write_log):
    log = write_log()
    part = log / "requests" / "day=0000.parquet"
    table = pq.read_table(part)
    wide = pa.array([[], [2**32 + 1], []], pa.list_(pa.int64()))
    pq.write_table(table.set_column(table.column_names.index("history"), "history", wide), part)

    with pytest.raises(Unusable, match="history holds 4294967297, it must be 0 to 99"):
        read_log(log, LATE)


def test_an_attribution_that_is_neither_0_nor_1_is_refused(write_log):
    log = write_log(conversions=conversion(attributed=np.array([2])))

    with pytest.raises(Unusable, match=f"the log in {log}"):
        read_log(log, LATE)


@pytest.mark.parametrize(
    "changed",
    [
        {"request": [30, 50, 31]},  # no such request
        {"time_ms": [200, 250, 200]},  # another time than its request
        {"time_ms": [200, 100, 90]},
    ],
)
def test_impressions_that_follow_no_request_are_refused(write_log, changed):
    log = write_log(impressions=IMPRESSIONS | changed)

    with pytest.raises(Unusable, match=f"^impressions of the log in {log}: some are of no request"):
        read_log(log, LATE)


def test_a_request_twice_in_the_log_is_refused(write_log):
    twice = {name: [*values, values[0]] for name, values in REQUESTS.items()}

    with pytest.raises(Unusable, match="of one that is twice there"):
        read_log(write_log(requests=twice), LATE)


@pytest.mark.parametrize("slot", [[0, 0, 0], [-1, 0, 0]])
def test_two_ads_in_one_slot_and_slots_below_the_top_are_refused(write_log, slot):
    with pytest.raises(Unusable, match="two of a request are in one slot, or a slot is below 0"):
        read_log(write_log(impressions=IMPRESSIONS | {"slot": slot}), LATE)


def window(log: Path, impressions: int, **changed) -> LogWindow:
    times = {"snapshot_ms": 100 * HOUR_MS, "start_ms": 0, "stop_ms": 100 * HOUR_MS} | changed
    return LogWindow(folder=log, block_impressions=impressions, tasks=("cart", "long_click"), **times)


def contents(data: Dataset) -> list[tuple]:
    """Request by request, all that a model sees of it."""
    out = []
    for i in range(len(data.batch)):
        shown = np.flatnonzero(data.shown[i])
        row = data.batch.row[i, shown]
        arrays = (
            data.batch.categorical[i], data.batch.dense[i], data.batch.cross[i, shown], shown,
            data.batch.ads.categorical[row], data.batch.ads.dense[row], data.batch.ads.vector[row],
            *(values.rows(i, i + 1).values for values in data.batch.lists),
            *(data.label(task)[i, shown] for task in ("click", "conversion", "cart", "long_click")),
        )  # fmt: skip
        out.append((int(data.time_ms[i]), *(array.tolist() for array in arrays)))
    return out


@pytest.mark.parametrize("impressions", [1, 40, 100, 10_000])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 100 * HOUR_MS), (HOUR_MS // 2, 5 * HOUR_MS), (3 * HOUR_MS, 3 * HOUR_MS + 9_000_000)]
)
def test_blocks_together_are_the_window_in_the_order_of_time(long_log, impressions, start, stop):
    log = long_log(8, 20)
    whole = read_log(log, 100 * HOUR_MS, start_ms=start, stop_ms=stop, tasks=("cart", "long_click"))

    blocks = list(window(log, impressions, start_ms=start, stop_ms=stop).blocks())

    assert [row for block in blocks for row in contents(block)] == contents(whole)
    assert (len(blocks) > 2) == (impressions <= 40 or (impressions == 100 and stop == 100 * HOUR_MS))
    for label in ("click", "conversion", "cart", "long_click"):
        assert whole.label(label).any()


def test_a_block_is_whole_hours_and_no_larger_than_asked_if_an_hour_is_not(long_log):
    log = long_log(8, 20)

    for impressions, hours in ((1, 1), (29, 1), (30, 1), (65, 2), (70, 2)):
        blocks = list(window(log, impressions).blocks())
        spans = [np.unique(block.time_ms // HOUR_MS) for block in blocks]
        assert len(np.concatenate(spans)) == len(np.unique(np.concatenate(spans))) == 8
        for block, span in zip(blocks, spans, strict=True):
            assert block.shown.sum() <= impressions or len(span) == 1
        assert max(map(len, spans)) >= hours


def test_blocks_can_be_read_again(long_log):
    source = window(long_log(4, 10), 1)

    assert [contents(b) for b in source.blocks()] == [contents(b) for b in source.blocks()]


def test_a_log_of_one_block_is_read_once(long_log, monkeypatch):
    source, reads = window(long_log(4, 10), 10_000), []
    monkeypatch.setattr("models.log.read_log", lambda *a, **k: reads.append(a) or read_log(*a, **k))

    blocks = [next(source.blocks()) for _ in range(3)]

    assert len(reads) == 1
    assert blocks[0] is blocks[1] is blocks[2]


@pytest.mark.parametrize("impressions", [1, 10_000])
def test_blocks_hold_nothing_at_or_after_the_snapshot(long_log, impressions):
    log, snapshot = long_log(6, 20), 3 * HOUR_MS + 1_000_000
    now, later = (
        [row for b in window(log, impressions, snapshot_ms=at).blocks() for row in contents(b)]
        for at in (snapshot, 10 * HOUR_MS)
    )

    assert now == contents(read_log(log, snapshot, tasks=("cart", "long_click")))
    assert max(row[0] for row in now) < snapshot
    assert [row[:10] for row in now] == [row[:10] for row in later[: len(now)]]
    assert [row[11] for row in now] != [row[11] for row in later[: len(now)]]  # conversions that came later


def test_a_read_that_fails_in_the_background_reaches_the_caller_with_the_folder(long_log):
    log = long_log(6, 20)
    blocks = window(log, 1).blocks()
    next(blocks)
    (log / "stores" / "day=0000.parquet").write_bytes(b"gone")

    with pytest.raises(Unusable, match=f"the log in {log} is damaged"):
        list(blocks)


def test_a_window_without_impressions_is_refused(long_log):
    log = long_log(2, 5)

    with pytest.raises(Unusable, match=rf"the log in {log} holds no impression from {5 * HOUR_MS}"):
        list(window(log, 1, start_ms=5 * HOUR_MS).blocks())


@pytest.mark.parametrize("hours", [4, pytest.param(12, marks=pytest.mark.deep)])
def test_training_on_many_blocks_never_holds_more_than_two(long_log, monkeypatch, hours):
    """The one worked on and the one that is read meanwhile."""
    arrays, most = [], []

    def reading(*args, **settings) -> Dataset:
        sleep(0.05)  # the worker lets go of a block when it is given the next, just after this read began
        gc.collect()
        most.append(
            1 + max(sum(array() is not None for array in kept) for kept in zip(*arrays, strict=True)) if arrays else 1
        )
        data = read_log(*args, **settings)
        # arrays, not the dataset: a view of one would hold the memory of all
        held = (data.batch.dense, data.batch.cross, data.batch.ads.dense, data.batch.lists[0].values, data.click)
        arrays.append([weakref.ref(array) for array in held])
        return data

    monkeypatch.setattr("models.log.read_log", reading)
    source = window(long_log(hours, 20), 1)
    fit_network(source, NetworkConfig(kind="network", hidden=(16,), epochs=2), seed=1, threads=1)

    assert len(most) == 3 * hours
    assert max(most) <= 2


HISTORY = {
    "requests": REQUESTS | {"request": [1, 2, 3], "time_ms": [100, 200, 300]},
    "impressions": {name: [*values, values[0]] for name, values in IMPRESSIONS.items()}
    | {
        "request": [1, 1, 2, 3], "time_ms": [100, 100, 200, 300], "slot": [0, 1, 0, 0], "ad": [4, 5, 6, 7],
        "clicked": [False, True, False, False],
    },
    "conversions": {
        "request": [1, 3], "time_ms": [360, 390], "ad": [5, 7], "event": [1, 1], "click_ms": [100, 300], "attributed": [True] * 2,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        (0, [[True, True], [True, False], [True, False]]),
        (100, [[True, True], [True, False], [True, False]]),
        (101, [[False, True], [True, False], [True, False]]),
        (201, [[False, True], [True, False]]),  # of the second request nothing was clicked
        (301, [[False, True]]),
    ],
)
def test_of_the_requests_before_a_stream_begins_only_clicks_are_read(write_log, since, shown):
    log = write_log(**HISTORY)

    data = read_log(log, LATE, since_ms=since)

    assert data.shown.tolist() == shown
    assert data.click.sum() == 1
    assert data.conversion.sum() == (2 if since <= 300 else 1)
    assert data.taught_by("click").tolist() == [
        row if at >= since else [False, False] for row, at in zip(shown, data.time_ms, strict=True)
    ]
    window = LogWindow(folder=log, snapshot_ms=LATE, start_ms=0, stop_ms=LATE, since_ms=since)
    assert [row for block in window.blocks() for row in block.shown.tolist()] == shown
    assert window.impressions == data.shown.sum()


def test_a_stream_counts_conversions_that_came_since_of_clicks_made_before(write_log):
    log = write_log(**HISTORY)

    data = read_log(log, 380, since_ms=201)

    assert data.time_ms.tolist() == [100, 300]
    assert data.delay_ms.tolist() == [[-1, 260], [-1, -1]]
    assert (data.since_ms, data.snapshot_ms) == (201, 380)


@pytest.mark.parametrize(
    ("snapshot", "delays"), [(150, [-1, -1]), (151, [50, -1]), (900, [50, -1]), (901, [50, 700]), (LATE, [50, 700])]
)
def test_delays_are_from_the_impression_to_the_conversion_that_had_come_by_then(write_log, snapshot, delays):
    data = read_log(write_log(), snapshot)

    found = [data.delay_ms[i, s] for i, s in zip(*np.nonzero(data.click), strict=True)]
    assert found == delays[: len(found)]
    assert (data.delay_ms >= 0).tolist() == data.conversion.tolist()
    assert (data.delay_ms[~data.click] == -1).all()


def test_the_delay_is_that_of_the_first_conversion_that_counts(write_log):
    events = {
        "request": [30] * 4, "time_ms": [210, 400, 350, 220], "ad": [5] * 4, "event": [0, 1, 1, 2], "click_ms": [200] * 4,
        "attributed": [False, True, True, False],
    }  # fmt: skip

    data = read_log(write_log(conversions=events), LATE)

    assert data.delay_ms[2].tolist() == [-1, -1, 150]


def test_a_conversion_at_the_moment_of_its_impression_has_no_delay(write_log):
    data = read_log(write_log(conversions=conversion(time_ms=[200], attributed=[True])), LATE)

    assert data.delay_ms[2].tolist() == [-1, -1, 0]


def test_a_conversion_before_its_impression_is_refused_with_the_request(write_log):
    log = write_log(conversions=conversion(time_ms=[199], attributed=[True]))

    with pytest.raises(
        Unusable, match=rf"^conversions of the log in {log}: that of request 30 comes before its impression$"
    ):
        read_log(log, LATE)


def coming(folder: Path, **columns) -> Path:
    rows = conversion(**columns)
    types = {"request": pa.int64(), "time_ms": pa.int64(), "ad": pa.int32(), "event": pa.int8(), "click_ms": pa.int64()}
    pq.write_table(
        pa.table({name: pa.array(values, types.get(name)) for name, values in rows.items()}), folder / "coming.parquet"
    )
    return folder / "coming.parquet"


def test_what_is_still_to_come_makes_labels_final(write_log, tmp_path):
    """The click of request 30 at 200 ms, whose conversion comes long after the snapshot and the end of the log."""
    log = write_log(conversions=conversion(request=[50], ad=[4], time_ms=[150], attributed=[True]))
    later = coming(tmp_path, time_ms=[10**9], attributed=[True])

    now, final = read_log(log, 201), read_log(log, 201, coming=later)

    assert now.conversion.tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert final.conversion.tolist() == [[True, False, False], [False] * 3, [False, False, True]]
    assert final.delay_ms.max() == 10**9 - 200
    assert final.snapshot_ms > 10**9  # all delays are below their clicks' ages
    assert np.array_equal(final.click, now.click) and np.array_equal(final.time_ms, now.time_ms)
    in_blocks = LogWindow(folder=log, snapshot_ms=201, start_ms=0, stop_ms=201, coming=later, block_impressions=1)
    assert np.concatenate([block.conversion.any(axis=1) for block in in_blocks.blocks()]).tolist() == [
        True,
        False,
        True,
    ]


def test_final_labels_count_conversions_of_the_log_after_the_snapshot_too(write_log, tmp_path):
    log, nothing = write_log(), coming(tmp_path, attributed=[False])

    assert read_log(log, 201).conversion.sum() == 1
    assert read_log(log, 201, coming=nothing).conversion.sum() == 2
    assert read_log(log, 201, coming=nothing).delay_ms.max() == 700
    assert len(read_log(log, 200, coming=nothing).batch) == 1  # of no later request


def test_which_requests_have_randomised_slots_is_read_where_the_log_says_it(write_log, schema):
    bare = read_log(write_log(), LATE)
    flag = replace(schema.tables["requests"][1], name="randomised", kind=Kind.FLAG, dtype="bool")
    log = write_log(folder="said")
    (log / "requests" / "day=0000.parquet").unlink()
    rows = pa.table(REQUESTS | {"randomised": pa.array([True, False, True])})
    pq.write_table(rows, log / "requests" / "day=0000.parquet")
    Schema(tables=schema.tables | {"requests": (*schema.tables["requests"], flag)}).save(log)

    data = read_log(log, LATE)

    assert bare.randomised is None
    assert data.randomised.tolist() == [False, True, True]  # of requests 50, 20 and 30
    assert data.take(np.array([2, 0])).randomised.tolist() == [True, False]
    assert data.between(200, LATE).randomised.tolist() == [True, True]
