"""CDNOW: what 23,570 people who first bought CDs in early 1997 bought until the middle of 1998.

Lines of customer, date, number of CDs and dollars between spaces (Fader & Hardie 2001, Forecasting repeat sales at CDNOW,
Interfaces 31(3)); a line that does not begin with a number is a heading.

    customer_id     user
    date            time_ms     YYYYMMDD: midnight, so nothing is known of the time of day
    dollar_value    basket_usd  empty where 0.00 was paid
"""

from pathlib import Path

import duckdb

from fitting.adapters.files import first_line, lines, make_view
from fitting.errors import Unfit


def opens(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...]) -> dict[str, str]:
    """Views of the master file or of the 1/10 sample, whose second column is a number of its own; plain or gzip."""
    numbered = r"regexp_matches(trim(line), '^[0-9]')"
    parts = rf"SELECT regexp_split_to_array(trim(line), '\s+') AS part FROM {lines(paths)} WHERE {numbered}"
    try:
        rows = con.execute(f"{parts} LIMIT 1").fetchall()
    except duckdb.Error as error:
        raise Unfit(f"{paths[0]}: cannot be read: {first_line(error)}") from error
    if not rows or len(rows[0][0]) not in (4, 5):
        raise Unfit(
            f"{paths[0]}: not cdnow: lines must hold a customer, a date (YYYYMMDD), a number of CDs and dollars"
        )
    last = len(rows[0][0])
    select = f"""
        SELECT CAST(part[1] AS INTEGER) AS user, epoch_ms(strptime(part[{last - 2}], '%Y%m%d')) AS time_ms,
            nullif(CAST(part[{last}] AS DOUBLE), 0) AS basket_usd
        FROM ({parts})
    """
    return {"purchases": make_view(con, "cdnow", "purchases", select)}
