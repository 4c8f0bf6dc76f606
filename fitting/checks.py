"""What a log must be before anything is fitted to it; the first rule that it breaks is named with its value."""

from typing import NamedTuple

from fitting.errors import Unfit
from fitting.source import Log, reading

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
EPOCH_MS = 400_000_000_000  # smaller times are counted from a Monday, not from 1970
EVENTS = {"cart_ms": "add-to-cart", "checkout_ms": "order", "sign_up_ms": "sign-up"}
_YEAR_MS = 366 * DAY_MS


class Facts(NamedTuple):
    """Of a log of impressions that passed."""

    rows: int
    clicks: int
    first_ms: int  # of the impressions
    last_ms: int
    end_ms: int  # of all that was logged: what comes later is unknown


def check_impressions(log: Log) -> Facts:
    """Check a log of impressions.

    An order without a click is one after a view, and allowed; add-to-carts and sign-ups need their click, unless an
    order after a view came with the cart.

    Raises:
        Unfit: If times are not milliseconds, all or no impressions are clicked, or an event precedes what it follows.
    """
    events = [name for name in EVENTS if log.has(name)]
    clicked = "click_ms" if log.has("click_ms") else "time_ms"
    tests = dict(_orders(log, events, clicked))
    if log.has("propensity"):
        tests["propensity must be within (0, 1]"] = "propensity <= 0 OR propensity > 1"
    lowest = "min(slot)" if log.has("slot") else "0"
    if log.has("slot"):
        tests["slot must be at most 254"] = "slot > 254"
    latest = "greatest(" + ", ".join(["time_ms", *(["click_ms"] if log.has("click_ms") else []), *events]) + ")"
    asked = ["count(*)", "count_if(click)", "min(time_ms)", "max(time_ms)", f"max({latest})", lowest]
    asked += [f"count_if({test})" for test in tests.values()]
    with reading("impressions"):
        row = log.con.execute(f"SELECT {', '.join(asked)} FROM impressions").fetchall()[0]
    facts = Facts(*map(int, row[:5]))
    check_unit("impressions", facts.first_ms, facts.last_ms)
    for rule, broken in zip(tests, row[6:], strict=True):
        if broken:
            raise Unfit(f"impressions: {rule}, {broken} of {facts.rows} rows break it")
    if row[5]:
        raise Unfit(f"impressions: slot must begin at 0, the top; the lowest is {row[5]}")
    if facts.clicks in ((0,) if log.clicks_only else (0, facts.rows)):
        which = "none" if not facts.clicks else "all"
        raise Unfit(
            f"impressions: column click has one class, {which} of {facts.rows} are clicked: no rate can be fitted"
        )
    return facts


def check_purchases(log: Log) -> None:
    """Raises `Unfit` where the times of a log of purchases are not milliseconds."""
    row = log.con.execute("SELECT min(time_ms), max(time_ms) FROM purchases").fetchall()[0]
    check_unit("purchases", *row)


def check_traffic(log: Log) -> None:
    """Raises `Unfit` where a weekday or an hour is out of range, or no share is above 0."""
    row = log.con.execute("SELECT max(weekday), max(hour), sum(share) FROM traffic").fetchall()[0]
    for name, most, value in (("weekday", 6, row[0]), ("hour", 23, row[1])):
        if value > most:
            raise Unfit(f"traffic: {name} must be within 0 and {most}, {value} is not")
    if not row[2] > 0:
        raise Unfit("traffic: share must be above 0 somewhere, all are 0")


def check_unit(table: str, first: int, last: int) -> None:
    """Refuse times that are of another unit, by their size and span.

    Raises:
        Unfit: If times since 1970 lie outside 1985 to 2100 but would not as ns, us or s; or if times since a start span less
            than an hour (a month of seconds is less) or more than ten years.
    """
    for unit, low in (("ns", 4e17), ("us", 4e14)):
        if first > low:
            raise Unfit(_unit(table, first, last, unit))
    if first >= 5e8 and last <= 4.2e9 and last - first < 400 * DAY_MS // 1000:
        raise Unfit(_unit(table, first, last, "s"))
    if first < EPOCH_MS and last - first > 10 * _YEAR_MS:
        raise Unfit(_unit(table, first, last, "us"))
    if 1_000 < last - first < HOUR_MS:
        raise Unfit(_unit(table, first, last, "s"))


def weekday0(first_ms: int) -> int:
    """Weekday of day 0 of the clock that a time is from: Thursday for 1970, else Monday."""
    return 3 if first_ms >= EPOCH_MS else 0


def _unit(table: str, first: int, last: int, unit: str) -> str:
    span = f"they span {(last - first) / DAY_MS:.3g} days as ms"
    return f"{table}: times must be in ms, those from {first} to {last} look like {unit} ({span}); give --unit {unit}"


def _orders(log: Log, events: list[str], clicked: str) -> list[tuple[str, str]]:
    """Rules of what follows what, and the rows that break each."""
    rules = []
    if log.has("click_ms"):
        rules += [
            ("click_ms needs a click", "click_ms IS NOT NULL AND NOT click"),
            ("a click needs its click_ms", "click AND click_ms IS NULL"),
            ("click_ms must not come before time_ms, its impression", "click_ms < time_ms"),
        ]
    for event in events:
        rules.append((f"{event} must not come before {clicked}, its click", f"click AND {event} < {clicked}"))
        rules.append((f"{event} must not come before time_ms, its impression", f"{event} < time_ms"))
        if event != "checkout_ms":
            viewed = " AND checkout_ms IS NULL" if event == "cart_ms" and log.has("checkout_ms") else ""
            rules.append(
                (
                    f"{event} needs a click (orders alone may follow a view)",
                    f"{event} IS NOT NULL AND NOT click{viewed}",
                )
            )
    return rules
