"""The users view, against the log's own numbers."""

import pandas as pd
import pytest
from opened import drawn, numbers, opened, replace, said, untitled, whole, written

from synth.types import HOUR_MS

PARTS = "Repurchase", "Times", "Delays", "Activity", "One user"


@pytest.fixture
def runs(tmp_path, finished):
    whole(finished.folder, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def see(runs, monkeypatch):
    return lambda **address: opened(monkeypatch, "users", runs, **address)


@pytest.fixture
def log(finished):
    folder = finished.folder / "simulations" / "ab" / "log"
    return {path.name: pd.read_parquet(path) for path in folder.iterdir() if path.is_dir()}


@pytest.mark.parametrize("part", PARTS)
def test_every_axis_has_a_title_and_every_table_a_download(see, part):
    at = see(about=part)

    assert at.get("plotly_chart")
    assert not untitled(at)
    assert len(at.get("download_button")) >= len(at.dataframe) > 0


def test_the_share_of_repurchases_is_that_of_orders_from_known_stores(see, log):
    at = see()
    orders = (
        log["conversions"].query("event == 1").merge(log["impressions"], on=["request", "ad"], suffixes=("", "_ad"))
    )

    assert f"{(orders['known_orders'] > 0).mean():.1%} of {len(orders):,} orders after ads are repurchases" in written(
        at
    )
    assert at.dataframe[0].value["impressions"].sum() == len(log["impressions"])
    one = at.segmented_control(key="side").set_value("control").run().dataframe[0].value
    mine = orders[orders["arm_ad"] == 0]
    assert one["orders"].sum() == len(mine)
    assert f"{(mine['known_orders'] > 0).mean():.1%} of {len(mine):,}" in written(at)
    for series in drawn(at, 0):
        assert sum(numbers(series["y"])) == pytest.approx(1.0)


def test_times_show_what_came_in_each_hour_and_the_figure_that_is_chosen(see, log):
    at = see(about="Times")
    table = at.dataframe[0].value

    n = (log["requests"]["time_ms"] // HOUR_MS).value_counts().sort_index()
    assert list(table["requests, an hour"]) == list(n)
    assert list(table["weekday"].unique()) == ["Thursday", "Friday"]
    at.segmented_control(key="of_week").set_value("orders after ads").run()
    heat = drawn(at, 0)[0]
    cells = heat["z"] if not isinstance(heat["z"], dict) else [numbers(heat["z"])]
    assert sum(sum(row) for row in cells) == pytest.approx((log["conversions"]["event"] == 1).sum())


def test_delays_follow_clicks_for_the_time_that_is_chosen(see, log):
    at = see(about="Delays")
    table = at.dataframe[0].value

    assert at.selectbox(key="follow").options == ["1 d"]
    followed = log["conversions"].query("event == 1 and click_ms >= 72 * 3600000 and click_ms < 96 * 3600000")
    delay = followed["time_ms"] - followed["click_ms"]
    assert table[table["event"] == "checkout"]["events"].iloc[0] == (delay <= 24 * HOUR_MS).sum()
    assert {series["name"] for series in drawn(at)} == {"cart, log", "cart, law", "checkout, log", "checkout, law"}


def test_the_log_before_the_test_can_be_followed_for_longer(see):
    at = see(about="Delays", simulation="log, served by the first ranker")

    assert at.selectbox(key="follow").options == ["1 d", "2 d"]
    few = at.dataframe[0].value
    at.selectbox(key="follow").set_value("2 d").run()
    assert at.dataframe[0].value["hours since the click"].max() == 2 * few["hours since the click"].max() == 48


def test_activity_counts_users_by_their_sessions(see, log):
    table = see(about="Activity").dataframe[0].value.set_index("sessions")

    sessions = log["requests"].groupby("user")["session"].nunique()
    assert table.loc[0, "users"] == 2_000 - len(sessions)
    assert table.loc[2, "users"] == (sessions == 2).sum()


def test_a_user_in_the_address_is_shown_with_all_that_came_of_it(see, log):
    user = log["impressions"].query("hidden")["user"].iloc[0]
    at = see(about="One user", user=str(user))
    table = at.dataframe[0].value

    mine = {name: rows[rows["user"] == user] for name, rows in log.items() if "user" in rows}
    assert (table["what"] == "request").sum() == len(mine["requests"])
    assert (table["what"] == "shown").sum() == len(mine["impressions"])
    assert (table["what"] == "clicked").sum() == mine["impressions"]["clicked"].sum()
    assert (table["what"] == "hidden").sum() == mine["impressions"]["hidden"].sum() > 0
    assert table["what"].isin(["cart", "checkout"]).sum() == len(mine["conversions"])
    assert (
        f"User {user}: {len(mine['requests'])} requests in {mine['requests']['session'].nunique()} sessions"
        in written(at)
    )


@pytest.mark.parametrize("typed", ["2000", "-1", "x", "1e3", "../ab", "9" * 40, "9" * 5000])
def test_a_user_that_there_cannot_be_is_a_sentence(see, typed):
    at = see(about="One user", user=typed)

    assert "a user is a whole number below 2,000" in said(at)
    assert not at.dataframe


def test_a_user_who_never_came_is_a_sentence(see, log):
    absent = next(u for u in range(2_000) if all(u not in set(rows["user"]) for rows in log.values() if "user" in rows))

    assert f"User {absent} did not come" in said(see(about="One user", user=str(absent)))


@pytest.mark.parametrize("part", PARTS)
def test_damaged_files_are_a_sentence(see, runs, part):
    for file in (runs / "good" / "simulations" / "ab" / "log").glob("*/*.parquet"):
        replace(file, b"damaged")

    assert "simulations/ab is damaged or of another version" in said(see(about=part))


@pytest.mark.parametrize("part", PARTS)
def test_a_simulation_in_which_nothing_came_is_no_exception(see, runs, part):
    for file in (runs / "good" / "simulations" / "ab" / "log").glob("*/day=*.parquet"):
        empty = pd.read_parquet(file).iloc[:0]
        file.unlink()
        empty.to_parquet(file)

    see(about=part)
