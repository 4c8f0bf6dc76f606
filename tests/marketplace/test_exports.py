"""Rows and figures as files: what is read back is what was there."""

import io
import json
import re

import pandas as pd
import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest

from marketplace.exports import csv_of, html_of, parquet_of

ROWS = [
    {"name": "a,b", "x": 0.1 + 0.2, "n": 3, "yes": True, "none": None},
    {"name": 'q"', "x": None, "n": 4, "more": "z"},
]


def test_csv_keeps_every_digit_and_quotes_what_must_be():
    read = pd.read_csv(io.BytesIO(csv_of(ROWS)))

    assert list(read["name"]) == ["a,b", 'q"']
    assert read["x"][0] == 0.1 + 0.2 and pd.isna(read["x"][1])


def test_parquet_gives_back_the_rows_with_their_types_and_the_names_of_all_of_them():
    read = pq.read_table(io.BytesIO(parquet_of(ROWS))).to_pylist()

    names = {name for row in ROWS for name in row}
    assert read == [{name: row.get(name) for name in read[0]} for row in ROWS]
    assert set(read[0]) == names
    assert isinstance(read[0]["n"], int) and isinstance(read[0]["x"], float)


def test_parquet_holds_lists_as_lists_and_values_of_several_kinds_as_json():
    rows = [{"tags": ["a", "b"], "value": 1}, {"tags": [], "value": "two"}, {"tags": ["c"], "value": [3]}]
    read = pq.read_table(io.BytesIO(parquet_of(rows))).to_pylist()

    assert [row["tags"] for row in read] == [["a", "b"], [], ["c"]]
    assert [json.loads(row["value"]) for row in read] == [1, "two", [3]]


@pytest.mark.parametrize("made", [csv_of, parquet_of])
def test_no_rows_are_a_file_all_the_same(made):
    assert made([])


def test_a_figure_is_a_whole_page_that_fetches_nothing():
    page = html_of(go.Figure(go.Scatter(x=[1, 2], y=[3.25, 4.5], name="the series"))).decode()

    assert "the series" in page and page.strip().endswith("</html>")
    assert not re.search(r'<(script|link)[^>]*(src|href)="', page)
