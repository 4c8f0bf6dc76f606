"""A run's own log as the standard tables of `fitting`: what a platform would hand over, and nothing of the truth."""

from pathlib import Path

import duckdb

from marketplace.errors import Refused
from synth.types import CART, CHECKOUT, SIGN_UP

_TABLES = ("impressions", "requests", "conversions", "organic")


def standard_tables(log: Path, con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Lay views of the standard tables over a log folder. Nothing is read yet, and no view sorts.

    An item is a store: an ad is one store of one campaign, so that the two name each other. Times are as logged, 0 is
    midnight on a Monday. A click comes with its impression. The price of an impression is all that was billed for it, its
    click and the conversions that have come. Purchases are all orders, those that follow an ad and those that follow none.

    Args:
        log: Folder of a log, such as RUN/log, or a run folder.
        con: Where the views are made; its memory limit and threads hold.

    Returns:
        By the name of the standard table, the name of its view.

    Raises:
        Refused: If there is no such log, or a table of it is damaged.
    """
    folder = log if (log / "impressions").is_dir() else log / "log"
    for table in _TABLES:
        if not any((folder / table).glob("*.parquet")):
            raise Refused(f"log {log}: it has no table {table}, so it is no log of this tool")
    parts = {table: _quoted(folder / table / "*.parquet") for table in _TABLES}
    try:
        con.execute(_IMPRESSIONS.format(**parts))
        con.execute(_PURCHASES.format(**parts))
    except duckdb.Error as error:
        raise Refused(f"log {log} is damaged: {str(error).splitlines()[0]}") from error
    return {"impressions": "run_impressions", "purchases": "run_purchases"}


def is_log(path: Path) -> bool:
    """Whether a path is a run folder or a log folder of this tool."""
    return any((path / inside / "schema.json").is_file() for inside in ("", "log"))


def _quoted(path: Path) -> str:
    """A path as SQL text: a view takes no parameters."""
    return "'" + str(path).replace("'", "''") + "'"


_OF_EVENT = ", ".join(
    f"max(CASE WHEN event = {event} THEN time_ms END) AS {name}_ms"
    for event, name in ((CART, "cart"), (CHECKOUT, "checkout"), (SIGN_UP, "sign_up"))
)
_IMPRESSIONS = f"""
CREATE OR REPLACE VIEW run_impressions AS
SELECT i.time_ms, i.store AS item, i.clicked AS click, i.user, r.session, i.request, i.slot, r.randomised, i.campaign, i.bid_usd,
    (i.billed_micros + coalesce(c.billed_micros, 0)) / 1e6 AS price_usd, i.known_orders > 0 AS known,
    CASE WHEN i.clicked THEN i.time_ms END AS click_ms, c.cart_ms, c.checkout_ms, c.sign_up_ms, c.basket_usd
FROM read_parquet({{impressions}}) i
JOIN read_parquet({{requests}}) r ON r.request = i.request
LEFT JOIN (
    SELECT request, ad, {_OF_EVENT}, sum(billed_micros) AS billed_micros,
        max(CASE WHEN event = {CHECKOUT} THEN value_micros END) / 1e6 AS basket_usd
    FROM read_parquet({{conversions}}) GROUP BY request, ad
) c ON c.request = i.request AND c.ad = i.ad"""
_PURCHASES = f"""
CREATE OR REPLACE VIEW run_purchases AS
SELECT c.user, c.time_ms, c.value_micros / 1e6 AS basket_usd, s.store AS item
FROM read_parquet({{conversions}}) c
LEFT JOIN (SELECT ad, min(store) AS store FROM read_parquet({{impressions}}) GROUP BY ad) s ON s.ad = c.ad
WHERE c.event = {CHECKOUT}
UNION ALL
SELECT user, time_ms, value_micros / 1e6, store FROM read_parquet({{organic}})"""
