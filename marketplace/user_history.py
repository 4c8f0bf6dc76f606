"""One user's history in a simulation: sessions, what was shown, clicked and ordered, with ads and without."""

from collections import Counter
from pathlib import Path

from marketplace.slices import MOST_POINTS, Rows, rows_of
from synth.types import CHECKOUT, EVENTS

WHATS = ("request", "shown", "clicked", "hidden", *EVENTS, "organic order")  # what a row of a history can be


def frequent_users(simulation: Path, most: int) -> Rows:
    """Users by the orders that they placed after ads, most first: user, orders.

    Raises:
        Refused: If a file is missing or damaged.
    """
    return rows_of(
        simulation,
        f"""SELECT "user", count(*) AS orders FROM read_parquet($conversions) WHERE event = {CHECKOUT}
        GROUP BY "user" ORDER BY orders DESC, "user" LIMIT $most""",
        most=most,
    )


def history(simulation: Path, user: int) -> Rows:
    """What came of a user, by time; of more than `MOST_POINTS` rows the first.

    Returns:
        time_ms, what (of `WHATS`), request, session (counted from 1), arm (position), slot, store, campaign, ad, pctr, known (if
        the user was known to have ordered from the store), value_usd (of an order) and billed_usd; None where it does not apply.
        `there` is the number of all rows.

    Raises:
        Refused: If a file is missing or damaged.
    """
    names = ", ".join(f"'{name}'" for name in EVENTS)
    return rows_of(
        simulation,
        f"""
        WITH paged AS (
            SELECT time_ms, request, arm, session, min(time_ms) OVER (PARTITION BY session) AS began
            FROM read_parquet($requests) WHERE "user" = $user
        ), came AS (
            SELECT time_ms, request, arm, dense_rank() OVER (ORDER BY began, session) AS session FROM paged
        ), seen AS (
            SELECT time_ms, request, arm, slot, store, campaign, ad, pctr, known_orders > 0 AS known, billed_micros,
                   clicked, hidden
            FROM read_parquet($impressions) WHERE "user" = $user
        ), rows AS (
            SELECT time_ms, 0 AS step, 'request' AS what, request, arm, NULL AS slot, NULL AS store, NULL AS campaign, NULL AS ad,
                   NULL AS pctr, NULL AS known, NULL AS value_usd, NULL AS billed_usd FROM came
            UNION ALL
            SELECT time_ms, 1, 'shown', request, arm, slot, store, campaign, ad, pctr, known, NULL, billed_micros / 1e6 FROM seen
            UNION ALL
            SELECT time_ms, 2, 'clicked', request, arm, slot, store, campaign, ad, NULL, known, NULL, NULL FROM seen WHERE clicked
            UNION ALL
            SELECT time_ms, 2, 'hidden', request, arm, slot, store, campaign, ad, NULL, known, NULL, NULL FROM seen WHERE hidden
            UNION ALL
            SELECT c.time_ms, 3, [{names}][event + 1], request, c.arm, seen.slot, seen.store, c.campaign, ad, NULL, seen.known,
                   IF(event = {CHECKOUT}, value_micros / 1e6, NULL), c.billed_micros / 1e6
            FROM read_parquet($conversions) c LEFT JOIN seen USING (request, ad) WHERE c."user" = $user
            UNION ALL
            SELECT time_ms, 3, 'organic order', request, NULL, NULL, store, NULL, NULL, NULL, NULL, value_micros / 1e6, NULL
            FROM read_parquet($organic) WHERE "user" = $user
        )
        SELECT rows.time_ms, what, request, session, rows.arm, slot, store, campaign, ad, pctr, known, value_usd, billed_usd,
               count(*) OVER () AS there
        FROM rows LEFT JOIN (SELECT request, session FROM came) USING (request)
        ORDER BY rows.time_ms, step, request, slot, what LIMIT {MOST_POINTS}
        """,
        user=user,
    )


def counted(rows: Rows) -> dict[str, int]:
    """How many rows of each kind a history has, by `WHATS`; and `sessions`."""
    kinds = Counter(row["what"] for row in rows)
    return {what: kinds[what] for what in WHATS} | {"sessions": len({row["session"] for row in rows} - {None})}
