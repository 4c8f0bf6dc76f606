"""Open Bandit Dataset: recommendations of a fashion shop, three places, under two policies.

Columns of its files (Saito, Aihara, Matsutani & Narita 2021, Open Bandit Dataset and Pipeline, NeurIPS datasets track):

    timestamp          time_ms     UTC in the file, moved to Japan's time (9 h), so that hours are the users'
    item_id            item
    position           slot        1, 2, 3 are left, centre and right: 0, 1, 2
    click              click
    propensity_score   propensity  that the policy shows the item at the position
    (constant)         randomised  a file of one propensity is of the uniform policy

Users are hashed features only, so nothing is known of sessions, of users or of what they bought.
"""

from pathlib import Path

import duckdb

from fitting.adapters.files import headed, listed, make_view

_JAPAN_MS = 9 * 3_600_000


def opens(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...]) -> dict[str, str]:
    """Views of the files `random` or `bts`, as shipped with obp or of the full data, CSV or Parquet."""
    source = headed(con, paths, "open_bandit")
    uniform = [path for path in paths if _uniform(con, headed(con, (path,), "open_bandit"))]
    randomised = f"filename IN (SELECT unnest({listed(tuple(uniform))}))" if uniform else "false"
    select = f"""
        SELECT epoch_ms(CAST("timestamp" AS TIMESTAMPTZ)) + {_JAPAN_MS} AS time_ms, CAST(item_id AS INTEGER) AS item,
            CAST("position" AS INTEGER) - 1 AS slot, CAST(click AS INTEGER) = 1 AS click,
            CAST(propensity_score AS DOUBLE) AS propensity, {randomised} AS randomised
        FROM {source}
    """
    return {"impressions": make_view(con, "open_bandit", "impressions", select)}


def _uniform(con: duckdb.DuckDBPyConnection, source: str) -> bool:
    """Whether all propensities are one number, up to how it was written."""
    ((lowest, highest),) = con.execute(
        f"SELECT min(CAST(propensity_score AS DOUBLE)), max(CAST(propensity_score AS DOUBLE)) FROM {source}"
    ).fetchall()
    return lowest is not None and highest - lowest <= 1e-9
