"""The report against the log, computed another way."""

import io
import json
import re

import duckdb
import pytest
from rich.console import Console

from marketplace import words
from marketplace.page import render_html
from marketplace.runs import read_json
from marketplace.terminal import print_models
from synth.types import DAY_MS


@pytest.fixture(scope="module")
def content(finished):
    return read_json(finished.folder / "report.json")


def query(finished, text, design="ab"):
    log = finished.folder / "simulations" / design / "log"
    for table in ("requests", "impressions", "conversions"):
        text = text.replace(f"{{{table}}}", f"read_parquet('{log}/{table}/*.parquet')")
    with duckdb.connect() as db:
        return db.execute(text).fetchone()


def metric(content, name):
    return next(row for row in content["readout"] if row["metric"] == name)


@pytest.mark.parametrize("arm, side", [(0, "control"), (1, "treatment")])
def test_the_readout_is_what_the_log_says(finished, content, arm, side):
    start = finished.manifest and content["log_days"] * DAY_MS
    impressions, clicks, long_clicks, billed, users = query(
        finished,
        f"""SELECT count(*), count(*) FILTER (clicked), count(*) FILTER (long_clicked), sum(billed_micros),
            (SELECT count(DISTINCT user) FROM {{requests}} WHERE arm = {arm}) FROM {{impressions}} WHERE arm = {arm}""",
    )
    conversions, charged, basket = query(
        finished,
        f"""SELECT count(*) FILTER (attributed), sum(billed_micros), sum(value_micros) FILTER (attributed)
            FROM {{conversions}} WHERE arm = {arm} AND click_ms >= {start}""",
    )
    spend = (billed + charged) / 1e6

    assert metric(content, "CTR")[side] == pytest.approx(clicks / impressions)
    assert metric(content, "iCVR")[side] == pytest.approx(conversions / impressions)
    assert metric(content, "CVR")[side] == pytest.approx(conversions / clicks)
    assert metric(content, "CPA")[side] == pytest.approx(spend / conversions)
    assert metric(content, "CPC")[side] == pytest.approx(spend / clicks)
    assert metric(content, "CPM")[side] == pytest.approx(1000 * spend / impressions)
    assert metric(content, "ROAS")[side] == pytest.approx(basket / 1e6 / spend)
    assert metric(content, "long_click_rate")[side] == pytest.approx(long_clicks / impressions)
    assert metric(content, "conversions")[side] == pytest.approx(1000 * conversions / users)
    assert content["srm"][0]["units"][arm] == users


def test_the_true_lift_is_that_of_the_twin_worlds(finished, content):
    def ctr(design):
        clicks, shown = query(finished, "SELECT count(*) FILTER (clicked), count(*) FROM {impressions}", design)
        return clicks / shown

    row = metric(content, "CTR")
    assert row["true_lift"] == pytest.approx(ctr("treatment") / ctr("control") - 1)
    assert row["covered"] == (row["low"] <= row["true_lift"] <= row["high"])


def test_all_metrics_that_were_asked_for_are_there(content):
    names = {row["metric"] for row in content["readout"]}

    assert names >= {
        "CPA", "conversions", "iCVR", "CVR", "CTR", "CPC", "CPM", "revenue", "ROAS", "fill_rate", "impressions",
        "budget_use", "click_calibration", "conversion_calibration", "ad_diversity", "GMV", "long_click_rate", "hide_rate",
        "scored", "infra_cost",
    }  # fmt: skip


def test_training_saw_only_what_had_been_attributed_by_then(finished, content):
    snapshot = content["log_days"] * DAY_MS
    with duckdb.connect() as db:
        folder = finished.folder
        late, seen = db.execute(
            f"""SELECT count(*) FILTER (c.time_ms >= {snapshot}),
                count(*) FILTER (c.time_ms < {snapshot} AND c.click_ms >= {snapshot - DAY_MS} AND attributed)
            FROM read_parquet(['{folder}/log/conversions/*.parquet', '{folder}/simulations/control/log/conversions/*.parquet']) c
            WHERE click_ms < {snapshot}"""
        ).fetchone()
    row = next(r for r in content["models"] if (r["task"], r["segment"]) == ("conversion", "overall"))

    assert late > 10  # orders of clicks in the log that came too late to be learnt from
    assert row["positives"] == seen


def test_the_market_is_reported_asked_solved_and_logged(content):
    rows = {row["name"]: row for row in content["marginals"]}

    assert rows["ctr"]["asked"] == 0.1
    for name in ("ctr", "cvr", "repurchase_negatives", "long_click_share"):
        assert rows[name]["logged"] == pytest.approx(rows[name]["asked"], rel=0.1)


def test_calibration_bins_hold_every_impression_once(finished, content):
    (shown,) = query(finished, "SELECT count(*) FROM {impressions}")

    assert sum(row["n"] for row in content["calibration"] if row["task"] == "click") == shown


def test_spend_by_hour_adds_up_over_the_days(content):
    pacing = content["pacing"]

    assert len(pacing["hour"]) == 24 * content["test_days"]
    assert pacing["hour"][0] == 24 * content["log_days"]
    assert 0 < sum(pacing["spent_usd"]) < 1.2 * sum(pacing["planned_usd"])


def test_the_page_shows_the_same_figures(finished, content):
    page = (finished.folder / "report.html").read_text()

    assert words.percent(metric(content, "CPA")["lift"]) in page
    assert words.headline(content) in page.replace("&#39;", "'")


def test_the_page_has_cohorts_folded_away_and_the_terminal_has_repurchase_and_exploration_alone(finished, content):
    page = (finished.folder / "report.html").read_text()
    console = Console(width=250, record=True, file=io.StringIO())
    print_models(console, content["models"])
    printed = console.export_text()

    folded = [part for part in re.findall(r"<details>.*?</details>", page, re.S) if ", by cohort" in part]
    assert [re.search(r"<summary>(\w+) ", part)[1] for part in folded] == ["control", "treatment"]
    for part in folded:
        for words_of in ("6 to 12 h", "age of label", "slot", "platform"):
            assert words_of in part and words_of not in printed
        assert "repurchase" not in part
    assert len(re.findall("overall|repurchase|exploration", printed)) == 2 * 3 * 3


def test_a_report_without_a_test_renders_what_there_is(content):
    part = {key: content[key] for key in content if key not in ("readout", "srm", "pacing", "calibration", "aa")}

    page = render_html(part)

    assert "No A/B test has been read in this run." in page


def test_the_report_is_plain_json(content):
    json.dumps(content, allow_nan=False)


def test_a_sentence_says_what_the_test_says_and_whether_it_is_right():
    row = {
        "arm": "treatment",
        "metric": "CPA",
        "lift": -0.05,
        "low": -0.08,
        "high": -0.02,
        "true_lift": -0.04,
        "covered": True,
    }

    assert words.headline({"readout": [row]}) == (
        "The test says that treatment lowered CPA by 5.00%; in truth CPA changes by -4.00%: its interval holds the truth."
    )
    assert "no significant change of CPA (-5.00%)" in words.headline({"readout": [row | {"high": 0.01}]})
    assert "misses the truth" in words.headline({"readout": [row | {"covered": False}]})


def test_better_and_worse_follow_the_good_direction():
    row = {"lift": -0.05, "low": -0.08, "high": -0.02, "good": "down"}

    assert words.verdict(row) == "better"
    assert words.verdict(row | {"good": "up"}) == "worse"
    assert words.verdict(row | {"good": ""}) == words.verdict(row | {"high": 0.01}) == ""
