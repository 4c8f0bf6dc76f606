"""The pacing view, against the run's own numbers."""

import pandas as pd
import pytest
from opened import drawn, numbers, opened, replace, said, untitled, whole, written

from marketplace.runs import read_json
from synth.types import HOUR_MS


@pytest.fixture
def runs(tmp_path, finished):
    whole(finished.folder, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def see(runs, monkeypatch):
    return lambda **address: opened(monkeypatch, "pacing", runs, **address)


@pytest.fixture
def spending(finished):
    table = pd.read_parquet(finished.folder / "simulations" / "ab" / "spending.parquet")
    return table.assign(hour=table["start_ms"] // HOUR_MS)


def test_spend_and_plan_of_all_campaigns_are_those_of_the_report(see, finished):
    at = see()
    plan, spend = drawn(at, 0)

    pacing = read_json(finished.folder / "report.json")["pacing"]
    assert numbers(plan["y"]) == pytest.approx(pacing["planned_usd"])
    assert numbers(spend["y"]) == pytest.approx(pacing["spent_usd"])
    assert list(at.dataframe[0].value["multiplier, share of the full bid"]) == pytest.approx(pacing["multiplier"])


def test_every_axis_has_a_title_and_every_table_a_download(see):
    at = see()

    assert not untitled(at)
    assert len(at.get("download_button")) >= len(at.dataframe) == 2


def test_one_campaign_is_shown_alone_and_beside_the_band_of_all(see, spending):
    at = see()
    band = [numbers(series["y"]) for series in drawn(at, 1)]
    at.selectbox(key="campaign").set_value("7").run()

    mine = spending[spending["account"] == 7].groupby("hour")
    _, spend = drawn(at, 0)
    assert numbers(spend["y"]) == pytest.approx(list(mine["spent_usd"].sum()))
    series = drawn(at, 1)
    assert [numbers(s["y"]) for s in series[: len(band)]] == band
    assert series[-1]["name"] == "campaign 7"
    assert numbers(series[-1]["y"]) == pytest.approx(list(mine["multiplier"].mean()))


def test_the_band_is_of_the_campaigns_quantiles(see, spending):
    series = {s.get("name"): numbers(s["y"]) for s in drawn(see(), 1) if s.get("name")}

    by_hour = spending.groupby("hour")["multiplier"]
    assert series["median"] == pytest.approx(list(by_hour.median()))
    assert series["10% to 90%"] == pytest.approx(list(by_hour.quantile(0.9)))
    assert series["25% to 75%"] == pytest.approx(list(by_hour.quantile(0.75)))


def test_campaigns_that_ran_out_are_those_that_were_not_billed_in_full(see, finished):
    at = see()
    log = finished.folder / "simulations" / "ab" / "log"
    charges = pd.concat([pd.read_parquet(log / name) for name in ("impressions", "conversions")])
    clipped = charges.query("unbilled_micros > 0")
    days = clipped.groupby("campaign")["time_ms"].apply(lambda t: (t // (24 * HOUR_MS)).nunique())

    out = at.dataframe[1].value
    assert dict(zip(out["campaign"], out["days without money left"], strict=True)) == days.to_dict()
    assert f"{len(days)} of 40 budgets were spent to the last micro" in written(at)
    billed = charges.groupby("campaign")["billed_micros"].sum() / 1e6
    assert list(out["billed, USD"]) == pytest.approx([billed[campaign] for campaign in out["campaign"]])
    share = numbers(drawn(at, 2)[0]["y"])
    assert share[23] * 40 == pytest.approx((clipped[clipped["time_ms"] < 96 * HOUR_MS])["campaign"].nunique())


def test_a_simulation_in_the_address_is_taken_over(see, finished):
    spending = pd.read_parquet(finished.folder / "simulations" / "treatment" / "spending.parquet")
    at = see(simulation="world of treatment", campaign="3")

    assert at.selectbox(key="simulation").value == "treatment"
    assert sum(numbers(drawn(at, 0)[1]["y"])) == pytest.approx(spending.query("account == 3")["spent_usd"].sum())


@pytest.mark.parametrize(
    "file", ["spending.parquet", "log/impressions/day=0003.parquet", "log/conversions/day=0004.parquet"]
)
def test_a_damaged_file_is_a_sentence(see, runs, file):
    replace(runs / "good" / "simulations" / "ab" / file, b"damaged")

    assert "simulations/ab is damaged or of another version" in said(see())


def test_a_run_without_simulations_says_so(see, runs):
    (runs / "good" / "simulations").rename(runs / "elsewhere")

    at = see()
    assert "Run good has no simulation in its folder" in said(at)
    assert not at.dataframe
