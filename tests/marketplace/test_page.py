"""The page of a report: one file for mail, with the dashboard's charts."""

import json
import re

import pytest
from opened import numbers

from marketplace.page import render_html
from marketplace.runs import read_json

MOST_BYTES = 6_000_000


@pytest.fixture(scope="module")
def content(finished):
    return read_json(finished.folder / "report.json")


@pytest.fixture(scope="module")
def page(finished):
    return (finished.folder / "report.html").read_text()


def figures(page):
    """Titles of the axes of each chart, in order."""
    found = []
    for call in page.split("Plotly.newPlot(")[1:]:
        start = call.index("[")
        data, end = json.JSONDecoder().raw_decode(call[start:])
        layout, _ = json.JSONDecoder().raw_decode(call[start + end :].lstrip(", \n"))
        found.append((data, layout))
    return found


def test_a_page_can_be_mailed(page):
    assert len(page.encode()) < MOST_BYTES
    assert page.count("plotly.js v") == 1
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)


def test_every_chart_has_titles_of_axes_with_its_unit(page):
    titles = [layout["xaxis"]["title"]["text"] for _, layout in figures(page)]

    assert titles == [
        "lift over control", "true lift over control", "day of the test", "lift over control",
        "predicted probability of click", "predicted probability of conversion given click", "day since the start",
        "day since the start", "arm", "USD a year more than control", "arm",
        "arm, and how bidding and prediction follow one another", "candidates in a call",
    ]  # fmt: skip


def test_cpa_is_drawn_in_every_part_of_the_test(page, content):
    reading, true = figures(page)[3][0]

    rows = [row for row in content["segments"] if row["metric"] == "CPA"]
    own = {f"{row['segment'].replace('_', ' ')}: {row['part']}": row for row in rows}
    assert set(reading["y"]) == {place for place, row in own.items() if row["low"] is not None}
    assert numbers(reading["x"]) == [own[place]["lift"] for place in reading["y"]]
    assert numbers(true["x"]) == [own[place]["true_lift"] for place in true["y"]]


def test_two_arms_have_charts_of_their_own(content):
    both = json.loads(json.dumps(content))
    for key in ("readout", "by_day", "segments"):
        both[key] += [row | {"arm": "bold"} for row in both[key]]

    assert len(figures(render_html(both))) == len(figures(render_html(content))) + 4


def test_without_curves_and_without_serving_the_rest_is_drawn(content):
    whole, without = figures(render_html(content)), figures(render_html({**content, "serving": None, "worth": []}))

    assert len(whole) == 12  # no scoring curves
    assert len(without) == 8
