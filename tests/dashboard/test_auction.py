"""The auction view, against the log's own numbers."""

import duckdb
import pandas as pd
import pytest
from opened import drawn, numbers, opened, replace, said, untitled, whole, written

from marketplace.advertisers import advertisers_of
from marketplace.scenario import load_scenario
from synth.campaigns import PRICINGS
from synth.types import DAY_MS


@pytest.fixture
def runs(tmp_path, finished):
    whole(finished.folder, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def see(runs, monkeypatch):
    return lambda **address: opened(monkeypatch, "auction", runs, **address)


@pytest.fixture
def ask(finished):
    """Rows of a query on the run's own files."""
    simulations = finished.folder / "simulations"
    return lambda query, name="ab": duckdb.sql(query.replace("LOG", f"{simulations}/{name}/log")).df()


def choose(at, key, value):
    at.segmented_control(key=key).set_value(value).run()
    assert not at.exception
    return at


PARTS = "Bids and prices", "Slots", "Campaigns", "Bid landscape", "One request"


@pytest.mark.parametrize("part", PARTS)
def test_every_axis_has_a_title_and_every_table_a_download(see, part):
    at = see(part=part)

    assert at.get("plotly_chart")
    assert not untitled(at)
    assert len(at.get("download_button")) >= len(at.dataframe) > 0


def test_bids_and_prices_of_all_impressions_stand_by_pricing_and_slot(see, ask):
    at = see()
    shown = at.dataframe[0].value

    expected = ask("SELECT arm, slot, count(*) AS n FROM 'LOG/impressions/*.parquet' GROUP BY ALL")
    assert shown["impressions"].sum() == expected["n"].sum()
    assert shown[shown["arm"] == "treatment"]["impressions"].sum() == expected.query("arm == 1")["n"].sum()
    assert len(at.get("plotly_chart")) == 2
    for series in drawn(at, 1):
        assert sum(numbers(series["y"])) == pytest.approx(1.0)


def test_a_figure_and_an_arm_change_what_is_shown(see, ask):
    at = choose(choose(see(), "figure", "price"), "side", "treatment")
    shown = at.dataframe[0].value

    (micros, n) = ask("SELECT sum(price_micros), count(*) FROM 'LOG/impressions/*.parquet' WHERE arm = 1").iloc[0]
    assert set(shown["arm"]) == {"treatment"}
    assert (shown["mean, USD"] * shown["impressions"]).sum() == pytest.approx(micros / 1e6)
    assert shown["impressions"].sum() == n


def test_slots_are_sold_as_often_as_the_log_has_it_in_the_simulation_that_is_chosen(see, ask):
    at = see(part="Slots", simulation="world of control")

    expected = ask(
        "SELECT count(*) / (SELECT count(*) FROM 'LOG/requests/*.parquet') AS filled FROM 'LOG/impressions/*.parquet' "
        "GROUP BY slot ORDER BY slot", "control",
    )  # fmt: skip
    shown = at.dataframe[0].value
    assert list(shown["sold, share of requests"]) == pytest.approx(list(expected["filled"]))
    assert set(shown["arm"]) == {"control"}
    assert at.segmented_control(key="part").value == "Slots"


def test_campaigns_stand_by_what_they_spend_and_as_many_as_are_asked_for(see, finished, ask):
    at = choose(see(part="Campaigns"), "most", "all")
    shown = at.dataframe[0].value

    revenue = finished.manifest["stages"]["simulations"]["ab"]["revenue_micros"]
    earlier = ask(f"SELECT sum(billed_micros) AS due FROM 'LOG/conversions/*.parquet' WHERE shown_ms < {3 * DAY_MS}")
    assert shown["spend, USD"].sum() == pytest.approx((revenue - earlier["due"][0]) / 1e6)
    few = choose(at, "most", "10").dataframe[0].value
    assert few["campaign"].nunique() == 10
    assert few["campaign"].iloc[0] == shown["campaign"].iloc[0]
    one = choose(at, "side", "control").dataframe[0].value
    spent = ask(
        "SELECT campaign, sum(billed_micros) / 1e6 AS usd FROM (FROM (SELECT campaign, arm, billed_micros "
        "FROM 'LOG/impressions/*.parquet') UNION ALL SELECT campaign, arm, billed_micros FROM 'LOG/conversions/*.parquet' "
        f"WHERE shown_ms >= {3 * DAY_MS}) WHERE arm = 0 GROUP BY campaign"
    ).set_index("campaign")["usd"]
    for row in one.itertuples():
        assert row[5] == pytest.approx(spent[row.campaign])


def test_a_bid_landscape_is_that_of_the_campaign_in_the_address(see, finished):
    own = advertisers_of(load_scenario(finished.folder / "scenario.json"))
    log = finished.folder / "simulations" / "ab" / "log"
    candidates = pd.read_parquet(log / "candidates").merge(
        pd.read_parquet(log / "requests")[["request", "arm"]], on="request"
    )
    candidates["campaign"] = own.ad_campaign[candidates["ad"]]
    mine = candidates.query("arm == 1 and bid_usd > 0")
    campaign = mine.query("slot >= 0")["campaign"].mode()[0]
    held = mine[mine["campaign"] == campaign].groupby("request")["slot"].max()

    at = see(part="Bid landscape", side="treatment", campaign=str(campaign))
    rows = at.dataframe[0].value.set_index("bids times")

    assert rows.loc[1.0, "won, share of auctions"] == pytest.approx((held >= 0).mean())
    assert f"{len(held):,} of the {len(held):,} auctions" in written(at)
    assert f"Campaign {campaign} pays by {PRICINGS[own.campaigns.pricing[campaign]]}" in written(at)
    assert numbers(drawn(at)[0]["y"]) == list(rows["won, share of auctions"])


def test_a_request_is_replayed_to_the_logged_prices_beside_every_mechanism(see, finished):
    log = finished.folder / "simulations" / "ab" / "log"
    candidates = pd.read_parquet(log / "candidates").merge(
        pd.read_parquet(log / "requests")[["request", "arm"]], on="request"
    )
    request = candidates.query("arm == 0 and slot >= 0").groupby("request").size().idxmax()

    at = see(part="One request", request=str(request))
    shown = at.dataframe[0].value.set_index("ad")

    paid = pd.read_parquet(log / "impressions").query(f"request == {request}").set_index("ad")["price_micros"] / 1e6
    assert "the auction has the logged winners and prices, to the micro" in written(at)
    assert set(shown.index) == set(candidates[candidates["request"] == request]["ad"])
    assert shown["price, USD per event"].dropna().to_dict() == pytest.approx(paid.to_dict())
    totals = at.dataframe[1].value
    assert list(totals["mechanism"]) == ["gsp", "first_price", "vcg", "second_price"]
    assert list(totals["ads shown"]) == [len(paid)] * 3 + [1]


def test_any_request_can_be_typed_in_and_one_that_was_not_logged_whole_is_a_sentence(see):
    for typed, answer in (
        ("1", "request 1: there is none in simulation ab"), ("-5", "request '-5': a request is a whole number"),
        ("9" * 30, "a request is a whole number"), ("9" * 5000, "a request is a whole number"),
        ("../../secret", "a request is a whole number"),
    ):  # fmt: skip
        at = see(part="One request", request=typed)
        assert answer in said(at)
        assert not at.dataframe


def test_a_log_without_whole_auctions_is_a_sentence(see, runs):
    for file in (runs / "good" / "simulations" / "ab" / "log" / "candidates").iterdir():
        empty = pd.read_parquet(file).iloc[:0]
        file.unlink()
        empty.to_parquet(file)

    for part in ("One request", "Bid landscape"):
        at = see(part=part)
        assert "was logged whole. The scenario's log.candidate_share is 0.01; a larger share logs more." in said(at)
        assert not at.dataframe


@pytest.mark.parametrize("part", PARTS)
def test_damaged_files_are_a_sentence_and_leave_the_choice_of_another_simulation(see, runs, part):
    for file in (runs / "good" / "simulations" / "ab" / "log").glob("*/*.parquet"):
        replace(file, b"damaged")

    at = see(part=part)
    assert "simulations/ab is damaged or of another version" in said(at)
    at.selectbox(key="simulation").set_value("control").run()
    assert not at.exception
    assert not at.error
    assert at.dataframe


@pytest.mark.parametrize("part", PARTS)
def test_a_simulation_in_which_nothing_came_is_no_exception(see, runs, part):
    for file in (runs / "good" / "simulations" / "ab" / "log").glob("*/day=*.parquet"):
        empty = pd.read_parquet(file).iloc[:0]
        file.unlink()
        empty.to_parquet(file)

    see(part=part)


def test_a_file_that_changes_is_read_again(see, runs):
    at = see(part="Slots")
    before = at.dataframe[0].value["impressions"].sum()
    (file, *_) = sorted((runs / "good" / "simulations" / "ab" / "log" / "impressions").iterdir())
    half = pd.read_parquet(file)
    file.unlink()
    half.iloc[: len(half) // 2].to_parquet(file)

    assert at.run().dataframe[0].value["impressions"].sum() == before - (len(half) - len(half) // 2)


def test_a_run_without_simulations_shows_its_log_alone(see, runs, finished):
    (runs / "good" / "simulations").rename(runs / "elsewhere")

    at = see(part="Slots")
    assert at.selectbox(key="simulation").options == ["log, served by the first ranker"]
    n = duckdb.sql(f"SELECT count(*) AS n FROM '{finished.folder}/log/impressions/*.parquet'").df()["n"][0]
    assert at.dataframe[0].value["impressions"].sum() == n
    (runs / "good" / "log").rename(runs / "log")
    assert "Run good has no simulation in its folder" in said(at.run())


def test_a_damaged_scenario_is_a_sentence(see, runs):
    (runs / "good" / "scenario.json").write_text("{")

    assert "scenario.json" in said(see())
