"""Slices of a simulation's pacing: spend against plan, bid multipliers, and budgets that ran out."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from auction.types import MICROS
from marketplace.advertisers import Advertisers, pricings_of
from marketplace.assignment import MINUTE_MS, split_users
from marketplace.ledger import open_ledger
from marketplace.scenario import DESIGNS, Scenario
from marketplace.slices import Rows, columns_of, rows_of
from synth.types import DAY_MS, HOUR_MS, IdArray, IntArray

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_FILTER = (
    "account // $count = coalesce($arm, account // $count) AND account % $count = coalesce($campaign, account % $count)"
)


class Accounts(NamedTuple):
    """Who pays: a campaign, or an arm's part of its budget, arm by arm."""

    daily: IntArray  # (accounts,) micros a day
    of_user: IdArray | None  # (U,) arm whose part pays for what a user orders; None where budgets are not split


def accounts_of(scenario: Scenario, own: Advertisers, simulation: str) -> Accounts:
    """The accounts of a simulation of that name."""
    if simulation not in DESIGNS or scenario.experiment.design != "budgets":
        return Accounts(own.daily_micros, None)
    shares = [float(arm.share or 0.0) for arm in scenario.arms.values()]
    split = split_users(scenario.world.population.users, shares, scenario.seed, budgets=True)
    return Accounts(open_ledger(own.daily_micros).split(shares).daily, split.of_account)


def chosen_of(accounts: Accounts, count: int, *, arm: int | None = None, campaign: int | None = None) -> IntArray:
    """Accounts of an arm's part, of a campaign (one of `count`), or of all where None."""
    every = np.arange(len(accounts.daily))
    fits = (every // count == arm) | (arm is None)
    return every[fits & ((every % count == campaign) | (campaign is None))]


def step_of(scenario: Scenario) -> int:
    """Milliseconds that a row of spend stands for: whole pacing intervals, an hour at least."""
    interval = scenario.pacing.interval_minutes
    return -(-60 // interval) * interval * MINUTE_MS


def spend_by_step(simulation: Path, scenario: Scenario, *, arm: int | None = None, campaign: int | None = None) -> Rows:
    """Spend against plan, and the bid multiplier: rows by time.

    Args:
        arm: Only the accounts of this arm, by position, where budgets are split; all where None.
        campaign: Only those of this campaign; all where None.

    Returns:
        start_ms, spent_usd and planned_usd in USD an hour, and multiplier, the mean of the accounts.

    Raises:
        Refused: If the file is missing or damaged.
    """
    return rows_of(
        simulation,
        f"""
        SELECT start_ms // $step * $step AS start_ms, sum(spent_usd) / $hours AS spent_usd,
               sum(planned_usd) / $hours AS planned_usd, avg(multiplier) AS multiplier
        FROM read_parquet($spending) WHERE {_FILTER} GROUP BY ALL ORDER BY start_ms
        """,
        **_asked(scenario, arm, campaign), hours=step_of(scenario) / HOUR_MS,
    )  # fmt: skip


def multiplier_band(simulation: Path, scenario: Scenario, *, arm: int | None = None) -> Rows:
    """Quantiles of the bid multiplier over accounts: rows by time with start_ms and q10, q25, q50, q75 and q90."""
    named = ", ".join(f"q[{place}] AS q{round(100 * q)}" for place, q in enumerate(QUANTILES, start=1))
    return rows_of(
        simulation,
        f"""
        WITH steps AS (
            SELECT start_ms // $step * $step AS start_ms, quantile_cont(multiplier, {list(QUANTILES)}) AS q
            FROM read_parquet($spending) WHERE {_FILTER} GROUP BY ALL
        )
        SELECT start_ms, {named} FROM steps ORDER BY start_ms
        """,
        **_asked(scenario, arm, None),
    )


def _asked(scenario: Scenario, arm: int | None, campaign: int | None) -> dict[str, Any]:
    return {"step": step_of(scenario), "count": scenario.world.campaigns.count, "arm": arm, "campaign": campaign}


class Exhausted(NamedTuple):
    """What accounts were charged, and when budgets ran out: m of them, on the days on which they did."""

    billed: IntArray  # (accounts,) micros
    account: IntArray  # (m,)
    hour: IntArray  # (m,) since the scenario's start, in which the day's charges reached the budget
    first_hour: int  # of the simulation
    hours: int  # that it lasted


def exhausted(simulation: Path, scenario: Scenario, own: Advertisers, accounts: Accounts) -> Exhausted:
    """Find when each account's charges of a day reached its budget: to the micro, for the last charge is clipped to what is
    left.

    Where budgets are split, an impression is charged to the arm that bid, and an order to the arm of its user.

    Raises:
        Refused: If a file is missing or damaged.
    """
    count, n = len(own.daily_micros), len(accounts.daily)
    users = accounts.of_user if accounts.of_user is not None else np.empty(0, np.int32)
    split, payer = "0", "0"
    if accounts.of_user is not None:
        split, payer = "arm", "(SELECT side FROM users u WHERE u.user = c.user)"
    found = columns_of(
        simulation,
        f"""
        WITH charges AS (
            SELECT {split} * $count + campaign AS account, time_ms // {HOUR_MS} AS hour, sum(billed_micros) AS micros
            FROM read_parquet($impressions) WHERE billed_micros > 0 GROUP BY ALL
            UNION ALL
            SELECT {payer} * $count + campaign, time_ms // {HOUR_MS}, sum(billed_micros)
            FROM read_parquet($conversions) c WHERE billed_micros > 0 GROUP BY ALL
        ), hourly AS (
            SELECT account, hour, sum(micros) AS micros FROM charges GROUP BY ALL
        ), so_far AS (
            SELECT account, hour, sum(micros) OVER (PARTITION BY account, hour // 24 ORDER BY hour) AS micros FROM hourly
        )
        SELECT account, coalesce(min(hour) FILTER (micros >= daily), -1) AS hour, CAST(max(micros) AS BIGINT) AS micros
        FROM so_far JOIN accounts USING (account) GROUP BY account, so_far.hour // 24 ORDER BY account, hour
        """,
        {
            "accounts": pa.table({"account": np.arange(n), "daily": accounts.daily}),
            "users": pa.table({"user": np.arange(len(users), dtype=np.int32), "side": users}),
        },
        count=count,
    )
    (day,) = rows_of(
        simulation,
        f"SELECT min(start_ms) // {DAY_MS} AS first, max(start_ms) // {DAY_MS} + 1 AS stop FROM read_parquet($spending)",
    )
    billed = np.zeros(n, np.int64)
    np.add.at(billed, found["account"], found["micros"])
    out = found["hour"] >= 0
    return Exhausted(
        billed, found["account"][out], found["hour"][out], 24 * day["first"], 24 * (day["stop"] - day["first"])
    )  # fmt: skip


def share_exhausted(found: Exhausted, chosen: IntArray) -> Rows:
    """Share of the `chosen` accounts whose budget is gone by the end of each hour: hour since the start, accounts, share."""
    out = found.hour[np.isin(found.account, chosen)] - found.first_hour
    by_day = np.bincount(out, minlength=found.hours)[: found.hours].reshape(-1, 24).cumsum(axis=1)
    return [
        {"hour": found.first_hour + hour, "accounts": n, "share": n / max(len(chosen), 1)}
        for hour, n in enumerate(by_day.ravel().tolist())
    ]


def exhausted_by_account(
    simulation: Path, scenario: Scenario, own: Advertisers, accounts: Accounts, found: Exhausted
) -> Rows:
    """A row per account, those most often out of budget first.

    Returns:
        arm (position), campaign, pricing, daily_usd, days_out, of `days`, mean_hour of the day in which it ran out, billed_usd,
        use (billed over all days' budgets) and multiplier, the mean.
    """
    count = len(own.daily_micros)
    paced = rows_of(
        simulation,
        "SELECT account, avg(multiplier) AS multiplier FROM read_parquet($spending) GROUP BY account ORDER BY account",
    )
    days, names = found.hours // 24, pricings_of(own)
    n_out = np.bincount(found.account, minlength=len(accounts.daily)).tolist()
    hours = np.bincount(found.account, found.hour % 24, minlength=len(accounts.daily)).tolist()
    rows = []
    for row in paced:
        account = row["account"]
        daily, billed = int(accounts.daily[account]), int(found.billed[account])
        rows.append(
            {
                "arm": account // count, "campaign": account % count, "pricing": names[account % count],
                "daily_usd": daily / MICROS,
                "days_out": n_out[account], "days": days,
                "mean_hour": hours[account] / n_out[account] if n_out[account] else None,
                "billed_usd": billed / MICROS, "use": billed / (daily * days) if daily > 0 else None,
                "multiplier": row["multiplier"],
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: (-row["days_out"], row["campaign"], row["arm"]))
