"""Avazu: impressions of mobile ads of ten days, and whether they were clicked (Kaggle, Click-Through Rate Prediction, 2014).

hour                time_ms   YYMMDDHH: the hour's beginning, UTC; nothing is known of minutes
C14                 item      anonymous; nests in C17
C17                 campaign  anonymous
click               click
device_id           user      where it is that of unknown devices (a99f214a), device_ip and device_model together
banner_pos          (not used)  an anonymous code, and no order of places
"""

from pathlib import Path

import duckdb

from fitting.adapters.files import headed, make_view

_UNKNOWN = "a99f214a"


def opens(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...]) -> dict[str, str]:
    """Views of train.csv, plain or gzip."""
    select = f"""
        SELECT epoch_ms(strptime('20' || hour, '%Y%m%d%H')) AS time_ms, C14 AS item, C17 AS campaign,
            CASE WHEN device_id = '{_UNKNOWN}' THEN device_ip || ':' || device_model ELSE device_id END AS user,
            CAST(click AS INTEGER) = 1 AS click
        FROM {headed(con, paths, "avazu")}
    """
    return {"impressions": make_view(con, "avazu", "impressions", select)}
