"""Slices of a simulation's auctions: bids and prices by pricing and slot, slots filled, campaigns by spend."""

from pathlib import Path

from marketplace.advertisers import Advertisers, campaign_table
from marketplace.slices import Rows, rows_of
from synth.campaigns import PRICINGS

FIGURES = {
    "bid": "bid_usd",
    "price": "price_micros / 1e6",
    "bid eCPM": "1e3 * bid_usd * quality",
    "price eCPM": "price_micros / 1e3 * quality",
}  # USD per billable event; eCPM: USD per thousand looks
STEP = 0.25  # width of a bin, in natural logarithms


def distribution(simulation: Path, own: Advertisers, figure: str) -> Rows:
    """How a figure is spread over impressions, in bins of equal width of its logarithm.

    Args:
        figure: One of `FIGURES`.

    Returns:
        A row per arm (its position), pricing, slot and bin that is not empty: `low` and `high` ends of the bin in USD, 0 and 0
        where the figure is 0; `n` impressions and the `total` of the figure.

    Raises:
        Refused: If a file is missing or damaged.
    """
    rows = rows_of(
        simulation,
        f"""
        WITH shown AS (
            SELECT arm, pricing, slot, {FIGURES[figure]} AS x
            FROM read_parquet($impressions) JOIN campaigns USING (campaign)
        ), binned AS (
            SELECT arm, pricing, slot, CAST(floor(ln(CASE WHEN x > 0 THEN x END) / {STEP}) AS INTEGER) AS bin,
                   count(*) AS n, sum(x) AS total
            FROM shown GROUP BY ALL
        )
        SELECT arm, pricing, slot, coalesce(exp(bin * {STEP}), 0.0) AS low, coalesce(exp((bin + 1) * {STEP}), 0.0) AS high,
               n, total
        FROM binned ORDER BY arm, pricing, slot, bin NULLS FIRST
        """,
        {"campaigns": campaign_table(own)},
    )
    return [row | {"pricing": PRICINGS[row["pricing"]]} for row in rows]


def summed(rows: Rows) -> Rows:
    """A row per arm, pricing and slot of a distribution: n, mean, and the q10, q50 and q90 that its bins give, in USD."""
    groups: dict[tuple[int, str, int], Rows] = {}
    for row in rows:
        groups.setdefault((row["arm"], row["pricing"], row["slot"]), []).append(row)
    return [
        {
            "arm": arm, "pricing": pricing, "slot": slot, "n": sum(row["n"] for row in own),
            "mean": sum(row["total"] for row in own) / sum(row["n"] for row in own),
        }
        | {f"q{round(100 * q)}": _quantile(own, q) for q in (0.1, 0.5, 0.9)}
        for (arm, pricing, slot), own in groups.items()
    ]  # fmt: skip


def _quantile(bins: Rows, q: float) -> float:
    """The middle, in logarithms, of the first bin by which a share q is reached; `bins` rise."""
    reached, whole = 0, sum(row["n"] for row in bins)
    for row in bins:
        reached += row["n"]
        if reached >= q * whole:
            break
    return float((row["low"] * row["high"]) ** 0.5)


def slots_filled(simulation: Path, slots: int, *, apart: bool = True) -> Rows:
    """How often each slot is sold, by arm (its position).

    Args:
        slots: Of a request.
        apart: Whether arms hold auctions of their own; where they meet in one, as where advertisers are split, all is arm 0.

    Returns:
        arm, slot, requests, impressions, filled (share of the requests), ctr, and billed_usd for impressions and clicks.
    """
    return rows_of(
        simulation,
        """
        WITH served AS (SELECT arm, count(*) AS requests FROM read_parquet($requests) GROUP BY arm),
        sold AS (
            SELECT IF($apart, arm, 0) AS arm, slot, count(*) AS impressions, count_if(clicked) AS clicks,
                   sum(billed_micros) / 1e6 AS billed_usd
            FROM read_parquet($impressions) GROUP BY ALL
        )
        SELECT served.arm, slots.slot, requests, coalesce(impressions, 0) AS impressions,
               coalesce(impressions, 0) / requests AS filled, clicks / impressions AS ctr,
               coalesce(billed_usd, 0) AS billed_usd
        FROM served CROSS JOIN (SELECT unnest(range($slots)) AS slot) slots
        LEFT JOIN sold ON sold.arm = served.arm AND sold.slot = slots.slot ORDER BY served.arm, slots.slot
        """,
        slots=slots, apart=apart,
    )  # fmt: skip


def campaigns_by_spend(simulation: Path, own: Advertisers, since_ms: int) -> Rows:
    """What each campaign won and paid, by arm (its position), the largest spend first.

    Orders count as in the report: those of ads that no arm of the simulation has shown are left out.

    Args:
        since_ms: Start of the simulation; earlier ads were shown before it.

    Returns:
        arm, campaign, pricing, goal, impressions, clicks, ctr, conversions (attributed), spend_usd, cpa_usd, price_ecpm_usd (mean
        price in USD per thousand looks) and `of_bid`, price over bid, by the sums of their eCPM.
    """
    rows = rows_of(
        simulation,
        """
        WITH won AS (
            SELECT arm, campaign, count(*) AS impressions, count_if(clicked) AS clicks, sum(billed_micros) AS billed,
                   sum(price_micros * quality) / 1e3 AS price_ecpm, sum(bid_usd * quality) * 1e3 AS bid_ecpm
            FROM read_parquet($impressions) GROUP BY ALL
        ), ordered AS (
            SELECT arm, campaign, count_if(attributed) AS conversions, sum(billed_micros) AS charged
            FROM read_parquet($conversions) WHERE shown_ms >= $since GROUP BY ALL
        )
        SELECT arm, campaign, pricing, goal, coalesce(impressions, 0) AS impressions, coalesce(clicks, 0) AS clicks,
               clicks / impressions AS ctr, coalesce(conversions, 0) AS conversions,
               (coalesce(billed, 0) + coalesce(charged, 0)) / 1e6 AS spend_usd,
               (coalesce(billed, 0) + coalesce(charged, 0)) / 1e6 / nullif(conversions, 0) AS cpa_usd,
               price_ecpm / impressions AS price_ecpm_usd, price_ecpm / nullif(bid_ecpm, 0) AS of_bid
        FROM won FULL JOIN ordered USING (arm, campaign) JOIN campaigns USING (campaign)
        ORDER BY spend_usd DESC, campaign, arm
        """,
        {"campaigns": campaign_table(own)}, since=since_ms,
    )  # fmt: skip
    return [row | {"pricing": PRICINGS[row["pricing"]]} for row in rows]
