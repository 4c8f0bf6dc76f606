"""Criteo's conversion logs: clicks of 60 days, and when a conversion followed (Chapelle 2014, Modeling delayed feedback in
display advertising, KDD).

Tab-separated, no header: seconds of the click and of the conversion (empty where there is none), 8 integer features and
9 hashed ones.

    click       time_ms, click_ms   every row is a click: nothing is known of impressions
    conversion  checkout_ms         at most 30 days after the click
    (none)      item                no column is said to be the ad: all rows are of ad 0
"""

from pathlib import Path

import duckdb

from fitting.adapters.files import bare, make_view

_COLUMNS = "click", "conversion", *(f"i{n}" for n in range(1, 9)), *(f"c{n}" for n in range(1, 10))


def opens(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...]) -> dict[str, str]:
    """Views of data.txt, plain or gzip."""
    select = f"""
        SELECT CAST(click AS BIGINT) * 1000 AS time_ms, 0 AS item, true AS click, CAST(click AS BIGINT) * 1000 AS click_ms,
            CAST(nullif(conversion, '') AS BIGINT) * 1000 AS checkout_ms
        FROM {bare(con, paths, "criteo_delayed", _COLUMNS)}
    """
    return {"clicks": make_view(con, "criteo_delayed", "clicks", select)}
