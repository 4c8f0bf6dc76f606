"""Criteo Attribution Modeling for Bidding: 16 million impressions of 30 days, with clicks and conversions.

Tab-separated with a header (Diemert, Meynet, Galland & Lefortier 2017, Attribution modeling increases efficiency of bidding
in display advertising, AdKDD).

    timestamp             time_ms      seconds since the first impression
    uid                   user
    campaign              item, campaign   no creative is logged
    click                 click
    (timestamp)           click_ms     of a click: the impression's, as the time of the click is not logged
    conversion_timestamp  checkout_ms  of the last click before a conversion alone (click_pos = click_nb - 1), as a
                                       conversion is repeated on every impression of the 30 days before it
    conversion_id         purchases    one for each id
    cost, cpo             (not used)   they are scaled by a secret factor, and no dollars
"""

from pathlib import Path

import duckdb

from fitting.adapters.files import headed, make_view


def opens(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...]) -> dict[str, str]:
    """Views of criteo_attribution_dataset.tsv, plain or gzip."""
    source = headed(con, paths, "criteo_attribution", delim="\t")
    impressions = f"""
        SELECT CAST("timestamp" AS BIGINT) * 1000 AS time_ms, CAST(campaign AS BIGINT) AS item,
            CAST(campaign AS BIGINT) AS campaign, CAST(uid AS BIGINT) AS user, CAST(click AS INTEGER) = 1 AS click,
            CASE WHEN CAST(click AS INTEGER) = 1 THEN CAST("timestamp" AS BIGINT) * 1000 END AS click_ms,
            CASE WHEN CAST(click AS INTEGER) = 1 AND CAST(conversion AS INTEGER) = 1
                AND CAST(click_pos AS INTEGER) = CAST(click_nb AS INTEGER) - 1
                THEN CAST(conversion_timestamp AS BIGINT) * 1000 END AS checkout_ms
        FROM {source}
    """
    purchases = f"""
        SELECT CAST(uid AS BIGINT) AS user, CAST(conversion_timestamp AS BIGINT) * 1000 AS time_ms,
            CAST(campaign AS BIGINT) AS item
        FROM {source} WHERE CAST(conversion AS INTEGER) = 1 GROUP BY uid, conversion_timestamp, campaign, conversion_id
    """
    return {
        "impressions": make_view(con, "criteo_attribution", "impressions", impressions),
        "purchases": make_view(con, "criteo_attribution", "purchases", purchases),
    }
