"""What a log may look like, and the one line that it gets where it may not."""

import gzip

import pandas as pd
import pytest
from fitlogs import Law, drawn

from fitting.checks import check_impressions, check_traffic, check_unit, weekday0
from fitting.errors import Unfit
from fitting.source import connected, files, open_log

DAY_MS = 86_400_000


def small(**columns):
    """A log of 8 impressions over two days, half of them clicked."""
    n = 8
    log = {"time_ms": [k * DAY_MS // 4 for k in range(n)], "item": list("abcdabcd"), "click": [k % 2 for k in range(n)]}
    return pd.DataFrame(log | columns)


def clicked(**columns):
    log = small(**columns)
    log["click_ms"] = (log["time_ms"] + 500).where(log["click"] == 1).astype("Int64")
    return log


def checked(folder, log, *, columns=None, unit="ms"):
    file = folder / "log.parquet"
    log.to_parquet(file)
    with connected(threads=1) as con:
        return check_impressions(open_log(con, {"impressions": files(con, [file])}, columns=columns, unit=unit))


def refusal(folder, log, **settings):
    with pytest.raises(Unfit) as refused:
        checked(folder, log, **settings)
    line = str(refused.value)
    assert "\n" not in line
    return line


def rows(paths, **settings):
    with connected(threads=1) as con:
        log = open_log(con, {"impressions": files(con, paths)}, **settings)
        return sorted(log.con.execute("SELECT time_ms, CAST(item AS VARCHAR), click, slot FROM impressions").fetchall())


def test_csv_gzip_parquet_and_parts_hold_the_same_log(tmp_path):
    log = small(slot=[0, 1] * 4)
    log.to_parquet(tmp_path / "whole.parquet")
    log.to_csv(tmp_path / "whole.csv", index=False)
    log.to_csv(tmp_path / "whole.csv.gz", index=False)
    parts = tmp_path / "parts"
    parts.mkdir()
    log[:3].to_parquet(parts / "a.parquet")
    log[3:].to_parquet(parts / "b.parquet")

    whole = rows([tmp_path / "whole.parquet"])

    assert len(whole) == 8
    for other in (tmp_path / "whole.csv", tmp_path / "whole.csv.gz", parts):
        assert rows([other]) == whole


def test_columns_may_have_other_names_and_times_other_forms(tmp_path):
    log = small(slot=[0] * 8)
    log.to_parquet(tmp_path / "log.parquet")
    there = rows([tmp_path / "log.parquet"])
    other = log.rename(columns={"item": "ad_id", "click": "was clicked"})
    other["click"] = ["true" if click else "False" for click in other.pop("was clicked")]
    other["at"] = pd.to_datetime(other.pop("time_ms"), unit="ms")
    other.to_csv(tmp_path / "other.csv", index=False)

    assert rows([tmp_path / "other.csv"], columns={"item": "ad_id", "time_ms": "at"}) == there
    for unit, factor in (("s", 1e-3), ("us", 1e3), ("ns", 1e6)):
        log.assign(time_ms=log["time_ms"] * factor).to_parquet(tmp_path / "unit.parquet")
        assert rows([tmp_path / "unit.parquet"], unit=unit) == there


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    assert "column click is missing, the nearest is clicked" in refusal(
        tmp_path, small().rename(columns={"click": "clicked"})
    )
    line = refusal(tmp_path, small(), columns={"item": "itm"})
    assert "column itm (for item) is missing, the nearest is item" in line
    assert "no standard column itemm, did you mean item" in refusal(tmp_path, small(), columns={"itemm": "item"})


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (small()[:0], "the log is empty"),
        (small(click=[0] * 8), "column click has one class, none of 8"),
        (small(click=[1] * 8), "column click has one class, all of 8"),
        (small(click=[0, 1, 2, 0, 1, 0, 1, 0]), "column click must hold flags (0 or 1, true or false), 1 of 8 do not, such as 2"),
        (small(click=["yes"] * 4 + ["no"] * 4), "such as"),
        (small(item=[None, *"bcdabcd"]), "column item must not be empty, it is in 1 of 8 rows"),
        (small(slot=[0, -1] * 4), "column slot must hold whole numbers of 0 or more"),
        (small(slot=[0.5, 1] * 4), "column slot must hold whole numbers of 0 or more"),
        (small(slot=[1, 2] * 4), "slot must begin at 0, the top; the lowest is 1"),
        (small(slot=[0, 300] * 4), "slot must be at most 254, 4 of 8"),
        (small(propensity=[0.5, 1.5] * 4), "propensity must be within (0, 1], 4 of 8"),
        (small(price_usd=[0.1, -0.1] * 4), "column price_usd must hold amounts of 0 or more"),
        (clicked().assign(click=[1, 1, 0, 1, 0, 1, 0, 1]), "a click needs its click_ms, 1 of 8"),
        (clicked().assign(click=[0, 0, 0, 1, 0, 1, 0, 1]), "click_ms needs a click, 1 of 8"),
        (clicked().assign(click_ms=lambda log: log["click_ms"] - 501), "click_ms must not come before time_ms"),
        (clicked().assign(checkout_ms=lambda log: log["click_ms"] - 1), "checkout_ms must not come before click_ms, its click"),
        (clicked().assign(checkout_ms=lambda log: log["time_ms"] - 1), "checkout_ms must not come before"),
        (clicked().assign(cart_ms=lambda log: log["time_ms"] + 900), "cart_ms needs a click (orders alone may follow a view), 4"),
        (clicked().assign(sign_up_ms=lambda log: log["time_ms"] + 900), "sign_up_ms needs a click"),
    ],
)  # fmt: skip
def test_what_no_log_can_hold_is_refused_in_one_line(tmp_path, log, says):
    assert says in refusal(tmp_path, log)


def test_an_order_without_a_click_follows_a_view(tmp_path):
    log = clicked().assign(checkout_ms=lambda log: log["time_ms"] + 900)

    assert checked(tmp_path, log).clicks == 4


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "s"), (1e3, "us"), (1e6, "ns")])
@pytest.mark.parametrize("start", [1_574_553_600_000, 0])
def test_times_in_another_unit_are_refused_and_named(tmp_path, factor, unit, start):
    log = small(time_ms=[int((start + k * 3 * DAY_MS) * factor) for k in range(8)])
    if (start, unit) == (0, "ns"):
        assert "times must be in ms" in refusal(tmp_path, log)
    else:
        assert f"give --unit {unit}" in refusal(tmp_path, log)
    assert checked(tmp_path, small(time_ms=[start + k * 3 * DAY_MS for k in range(8)])).rows == 8


def test_milliseconds_since_a_monday_pass_whatever_their_size():
    for first, days in ((0, 1), (0, 3_600), (12 * DAY_MS, 8), (23 * DAY_MS, 400)):
        check_unit("impressions", first, first + days * DAY_MS)


def test_days_since_1970_begin_on_a_thursday_and_others_on_a_monday():
    monday = 1_574_640_000_000  # 2019-11-25

    assert (monday // DAY_MS + weekday0(monday)) % 7 == 0
    assert weekday0(3 * DAY_MS) == 0


def test_damaged_files_are_refused_in_one_line(tmp_path):
    text = small().to_csv(index=False).encode() * 2_000
    packed = gzip.compress(text)
    (tmp_path / "half.csv.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "none.csv.gz").write_bytes(b"not gzip at all" * 20)
    small().to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "half.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-40])
    for name in ("half.csv.gz", "none.csv.gz", "half.parquet", "absent.csv", "log.txt"):
        (tmp_path / "log.txt").touch()
        with pytest.raises(Unfit) as refused, connected(threads=1) as con:
            open_log(con, {"impressions": files(con, [tmp_path / name])})
        assert "\n" not in str(refused.value)


def test_a_traffic_table_has_hours_and_weekdays(tmp_path):
    for column, value, says in (
        ("hour", 24, "hour must be within 0 and 23"),
        ("weekday", 7, "weekday must be within 0 and 6"),
    ):
        table = pd.DataFrame({"weekday": [0, 1], "hour": [0, 1], "share": [0.5, 0.5]})
        table.loc[1, column] = value
        table.to_parquet(tmp_path / "traffic.parquet")
        with connected(threads=1) as con, pytest.raises(Unfit, match=says):
            check_traffic(open_log(con, {"traffic": files(con, [tmp_path / "traffic.parquet"])}))


def test_a_drawn_log_passes_and_is_counted(tmp_path):
    log = drawn(Law(users=100, days=7), 1)
    facts = checked(tmp_path, log)

    assert (facts.rows, facts.clicks) == (len(log), log["click"].sum())
    assert facts.end_ms == int(pd.concat([log[name] for name in log if name.endswith("_ms")]).max())
