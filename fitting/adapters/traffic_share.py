"""Traffic shares of a classifieds site by region, weekday and hour (the bidding benchmark of arXiv 2505.08485).

region_id      region
dow            weekday  1 to 7, Monday to Sunday: 0 to 6
hour           hour
traffic_share  share    of the region's week
"""

from pathlib import Path

import duckdb

from fitting.adapters.files import headed, make_view


def opens(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...]) -> dict[str, str]:
    """Views of the file traffic_share.csv, plain or gzip."""
    select = f"""
        SELECT CAST(dow AS INTEGER) - 1 AS weekday, CAST(hour AS INTEGER) AS hour, CAST(traffic_share AS DOUBLE) AS share,
            CAST(region_id AS BIGINT) AS region
        FROM {headed(con, paths, "traffic_share")}
    """
    return {"traffic": make_view(con, "traffic_share", "traffic", select)}
