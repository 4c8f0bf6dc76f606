"""Slices of what users did: orders from known stores, times of the day, delays, activity."""

import itertools
from pathlib import Path

import numpy as np
from scipy.stats import poisson

from marketplace.advertisers import Advertisers
from marketplace.scenario import Scenario
from marketplace.slices import Rows, rows_of
from synth.delay import by_campaign
from synth.traffic import PAGE_BITS, weekday_factor
from synth.types import CART, CHECKOUT, DAY_MS, EVENTS, HOUR_MS, FloatArray, IntArray

_AGES = (1, 2, 3, 5, 7, 10, 14, 21, 28)  # days, ends of the bins of the time since the last order
_FREQUENCIES = (1, 2, 3, 4, 6, 11)  # starts of the bins of the orders placed before
_POINTS = 49  # of a delay's distribution function
_NODES = 64  # of the quadrature over activity


def familiarity(simulation: Path, *, views_lead_to_orders: bool) -> Rows:
    """Impressions, clicks and orders by how well the user knew the store when the ad was shown, as models see it.

    Args:
        views_lead_to_orders: Whether ads that were not clicked can be followed by orders.

    Returns:
        A row per bin: arm (position), `orders_before` of the user from the store (label), `days_since` the last of them (label;
        "never"), known, impressions, clicks, orders (checkouts placed by the end of the simulation).

    Raises:
        Refused: If a file is missing or damaged.
    """
    orders, days = "round(exp(known_orders) - 1)", "exp(days_since_order) - 1"
    binned = f"{_bin(orders, _FREQUENCIES)} AS frequency, IF(known_orders > 0, {_bin(days, _AGES)}, -1) AS age"
    rows = rows_of(
        simulation,
        f"""
        WITH binned AS (
            SELECT arm, {binned}, count(*) AS impressions, count_if(clicked) AS clicks, 0 AS orders
            FROM read_parquet($impressions) GROUP BY ALL
            UNION ALL
            SELECT i.arm, {binned}, 0, 0, count(*)
            FROM read_parquet($conversions) c JOIN read_parquet($impressions) i USING (request, ad)
            WHERE event = {CHECKOUT} AND (clicked OR $views) GROUP BY ALL
        )
        SELECT arm, frequency, age, sum(impressions) AS impressions, sum(clicks) AS clicks, sum(orders) AS orders
        FROM binned GROUP BY ALL ORDER BY arm, frequency, age
        """,
        views=views_lead_to_orders,
    )
    return [
        {
            "arm": row["arm"], "orders_before": FREQUENCY_NAMES[row["frequency"]],
            "days_since": AGE_NAMES[row["age"]] if row["age"] >= 0 else "never", "known": row["frequency"] > 0,
            **{name: int(row[name]) for name in ("impressions", "clicks", "orders")},
        }
        for row in rows
    ]  # fmt: skip


def repurchases(rows: Rows) -> tuple[int, int]:
    """Orders in rows of `familiarity`, and how many of them were from known stores."""
    return sum(row["orders"] for row in rows), sum(row["orders"] for row in rows if row["known"])


def _bin(x: str, starts: tuple[int, ...]) -> str:
    """In SQL, how many of the starts a number has reached."""
    return " + ".join(f"CAST({x} >= {start} AS INTEGER)" for start in starts)


def _names(starts: tuple[int, ...]) -> list[str]:
    """Of the bins of whole numbers that begin at 0 and at each start."""
    ends = [*(start - 1 for start in starts[1:]), None]
    later = [f"{a}+" if b is None else str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return ["0", *later]


FREQUENCY_NAMES = _names(_FREQUENCIES)
AGE_NAMES = [
    f"under {_AGES[0]}",
    *(f"{a} to {b}" for a, b in itertools.pairwise(_AGES)),
    f"{_AGES[-1]} and over",
]


def by_hour(simulation: Path, scenario: Scenario) -> Rows:
    """Requests, orders after ads and orders without ads by weekday (0 is Monday) and hour, a mean day.

    Returns:
        weekday, hour, days (that the simulation has of the weekday), requests, ad_orders and organic_orders an hour, and `share`,
        the scenario's expected share of a week's sessions that begin in the hour.

    Raises:
        Refused: If a file is missing or damaged.
    """
    traffic = scenario.world.traffic
    week = np.outer(traffic.weekday_weight, traffic.hour_weight)
    week = week / week.sum()
    rows = rows_of(
        simulation,
        f"""
        WITH came AS (
            SELECT time_ms // {HOUR_MS} AS since, count(*) AS requests, 0 AS ad_orders, 0 AS organic_orders
            FROM read_parquet($requests) GROUP BY ALL
            UNION ALL
            SELECT time_ms // {HOUR_MS}, 0, count(*), 0 FROM read_parquet($conversions) WHERE event = {CHECKOUT} GROUP BY ALL
            UNION ALL
            SELECT time_ms // {HOUR_MS}, 0, 0, count(*) FROM read_parquet($organic) GROUP BY ALL
        ), days AS (
            SELECT since // 24 % 7 AS weekday, count(DISTINCT since // 24) AS days FROM came GROUP BY ALL
        )
        SELECT weekday, since % 24 AS hour, any_value(days) AS days, sum(requests) / any_value(days) AS requests,
               sum(ad_orders) / any_value(days) AS ad_orders, sum(organic_orders) / any_value(days) AS organic_orders
        FROM came JOIN days ON weekday = since // 24 % 7 GROUP BY ALL ORDER BY weekday, hour
        """,
    )
    return [row | {"share": float(week[row["weekday"], row["hour"]])} for row in rows]


def delays(
    simulation: Path, scenario: Scenario, own: Advertisers, *, first_day: int, days: int, follow_days: float
) -> Rows:
    """How long after the click each event comes, beside the scenario's law.

    Only clicks that are followed long enough count, so that late events are not missed: those at least `follow_days` before the
    end. Both shares are of the events that come within that time. The law is the mean over the campaigns of the events.

    Args:
        first_day: Of the simulation.
        days: That it lasted.
        follow_days: How long each click is followed, below `days`.

    Returns:
        event, hours since the click, `share` of the events that came by then, the `law`'s, and `events`, their number. An event
        that never came has no rows.

    Raises:
        Refused: If a file is missing or damaged.
    """
    hours = np.geomspace(1 / 60, 24 * follow_days, _POINTS)
    rows = rows_of(
        simulation,
        """
        SELECT campaign, event, count(*) AS n,
               CAST(ceil((ln(greatest(time_ms - click_ms, 1)) - ln($shortest)) / $step) AS INTEGER) AS place
        FROM read_parquet($conversions)
        WHERE click_ms >= $start AND click_ms < $stop AND time_ms - click_ms <= $longest
        GROUP BY ALL ORDER BY event, campaign, place
        """,
        shortest=hours[0] * HOUR_MS, step=float(np.log(hours[1] / hours[0])), longest=hours[-1] * HOUR_MS,
        start=first_day * DAY_MS, stop=int((first_day + days - follow_days) * DAY_MS),
    )  # fmt: skip
    found: Rows = []
    for event, name in enumerate(EVENTS):
        mine = [row for row in rows if row["event"] == event]
        if not mine:
            continue
        n, seen = np.zeros(len(own.daily_micros), np.int64), np.zeros(_POINTS, np.int64)
        np.add.at(n, [row["campaign"] for row in mine], [row["n"] for row in mine])
        np.add.at(seen, np.clip([row["place"] for row in mine], 0, _POINTS - 1), [row["n"] for row in mine])
        law = _law(event, scenario, own, hours, n)
        for hour, share, expected in zip(hours, np.cumsum(seen) / seen.sum(), law, strict=True):
            found.append(
                {"event": name, "hours": float(hour), "share": float(share), "law": float(expected), "events": int(seen.sum())}
            )  # fmt: skip
    return found


def _law(event: int, scenario: Scenario, own: Advertisers, hours: FloatArray, events: IntArray) -> FloatArray:
    """(h,) share of events by each of the hours, of those by the last; the mean over campaigns with so many events (C,).

    A cart is filled by the time of its checkout, if one follows.
    """
    chosen = np.flatnonzero(events)
    factor = own.campaigns.delay[chosen]
    if event == CART:
        marginals = scenario.world.marginals
        checkout = marginals.cvr / marginals.carts * by_campaign(own.delays[CHECKOUT], hours, factor)
        by_then = 1 - (1 - by_campaign(own.delays[CART], hours, np.ones_like(factor))) * (1 - checkout)
    else:
        by_then = by_campaign(own.delays[event], hours, factor)
    return np.average(by_then / by_then[-1], axis=1, weights=events[chosen])


def activity(simulation: Path, scenario: Scenario, *, first_day: int, days: int) -> Rows:
    """How many sessions users have in the simulation, beside the scenario's law: rows sessions, users, expected_users.

    The law is a Poisson number of sessions whose mean is lognormal over users; it leaves out that tired users come less, and that
    more sessions than fit into a day do not come.

    Raises:
        Refused: If a file is missing or damaged.
    """
    rows = rows_of(
        simulation,
        f"""
        WITH sessions AS (
            SELECT "user", count(*) AS sessions FROM read_parquet($requests)
            WHERE request = session << {PAGE_BITS} GROUP BY "user"
        )
        SELECT sessions, count(*) AS users FROM sessions GROUP BY sessions ORDER BY sessions
        """,
    )
    there = scenario.world.population.users
    came = {0: there - sum(row["users"] for row in rows)} | {row["sessions"]: row["users"] for row in rows}
    n = np.arange(max(came) + 1)
    node, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    sigma = scenario.world.population.activity_sigma
    mean = scenario.world.marginals.sessions_per_day * np.exp(sigma * node - sigma**2 / 2)
    mean = mean * weekday_factor(scenario.world.traffic)[(first_day + np.arange(days)) % 7].sum()
    expected = there * (poisson.pmf(n[:, None], mean) @ (weight / weight.sum()))
    return [
        {"sessions": int(k), "users": came.get(int(k), 0), "expected_users": float(e)}
        for k, e in zip(n, expected, strict=True)
    ]
