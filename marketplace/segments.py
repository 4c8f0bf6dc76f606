"""Segments: a test's counters counted again from its log, for a part of its users, of its requests or of its impressions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from marketplace.counters import NAMES
from marketplace.errors import Refused, known, refusing
from models.errors import Unusable
from models.schema import Column, load_schema
from synth.campaigns import PRICINGS, Campaigns
from synth.types import CART, CHECKOUT, DAYPARTS, HOUR_MS, SIGN_UP, BoolArray, FloatArray

SIZES = ("small", "middle", "large")
TIMES_OF_DAY = ("night", "early morning", "morning", "afternoon", "evening", "late evening")  # from midnight, 4 h each


class Segmentation(NamedTuple):
    """How a test is taken apart: users, requests or impressions, each in one part."""

    of: Literal["users", "requests", "impressions"]
    names: tuple[str, ...]  # of its parts, in order; none where parts are the values of the log's column
    part: str = "part"  # position of a row's part, in SQL
    join: str = ""  # what `part` is a column of, where not of the tables themselves


class Part(NamedTuple):
    """What came of one part.

    Per-user metrics are over the `active` users: those of the part where users are taken apart, else all who came in the test,
    also those with nothing in this part, so that they add up over the parts. To read it:

        moments_by_arm(part.table, np.where(part.active, arm, -1), budget_usd, n_arms, users=np.ones(len(arm)))
    """

    active: BoolArray  # (U,)
    table: FloatArray  # (U, len(counters.NAMES)); what is not counted of such a part is NaN for all


SEGMENTS = {
    "familiarity": Segmentation("impressions", ("repurchase", "exploration"), "IF(known_orders > 0, 0, 1)"),
    "daypart": Segmentation("requests", TIMES_OF_DAY, f"time_ms // {4 * HOUR_MS} % {DAYPARTS}"),
    "platform": Segmentation(
        "users", (), join="JOIN (SELECT DISTINCT user, platform AS part FROM requests) USING (user)"
    ),
    "cohort": Segmentation("users", (), join="JOIN (SELECT DISTINCT user, cohort AS part FROM requests) USING (user)"),
    "surface": Segmentation(
        "requests", (), join="JOIN (SELECT request, surface AS part FROM requests) USING (request)"
    ),
    "pricing": Segmentation("impressions", PRICINGS, "pricing", "JOIN campaigns USING (campaign)"),
    "campaign_size": Segmentation("impressions", SIZES, "size", "JOIN campaigns USING (campaign)"),
}


_IMPRESSIONS = """
    SELECT user, {part} AS part, count(*) AS impressions, sum(clicked::INT) AS clicks, sum(long_clicked::INT) AS long_clicks,
           sum(hidden::INT) AS hides, sum(billed_micros) / 1e6 AS billed_usd,
           sum({effect}[slot + 1] * pctr) AS expected_clicks,
           sum({effect}[slot + 1] * pctr * pcvr) AS expected_conversions
    FROM impressions {join} GROUP BY ALL"""
_CONVERSIONS = f"""
    SELECT user, part, sum((event = {CHECKOUT})::INT) AS orders, sum((event = {CART})::INT) AS carts,
           sum((event = {SIGN_UP})::INT) AS sign_ups, sum(attributed::INT) AS conversions,
           sum((attributed AND click_ms >= 0)::INT) AS click_conversions,
           sum((attributed AND known_orders > 0)::INT) AS repeat_conversions, sum(billed_micros) / 1e6 AS charged_usd,
           sum(attributed::INT * value_micros) / 1e6 AS value_usd, sum(value_micros) / 1e6 AS gmv_usd
    FROM conversions JOIN (SELECT request, ad, known_orders, {{part}} AS part FROM impressions {{join}}) USING (request, ad)
    GROUP BY ALL"""
_REQUESTS = """
    SELECT user, {part} AS part, count(*) AS requests, {slots} * count(*) AS slots FROM requests {join} GROUP BY ALL"""
_ORGANIC = """
    SELECT user, {part} AS part, count(*) AS organic_orders, sum(value_micros) / 1e6 AS organic_usd
    FROM organic {join} GROUP BY ALL"""
_CUISINES = "SELECT user, {part} AS part, count(DISTINCT cuisine) AS cuisines FROM impressions {join} GROUP BY ALL"
_OF = {
    "impressions": (_IMPRESSIONS, _CONVERSIONS),
    "requests": (_IMPRESSIONS, _CONVERSIONS, _REQUESTS, _ORGANIC),
    "users": (_IMPRESSIONS, _CONVERSIONS, _REQUESTS, _ORGANIC, _CUISINES),
}
_Rows = dict[str, FloatArray]  # columns of a query's answer


def parts_of(simulation: Path, segmentation: str) -> tuple[str, ...]:
    """Names of a segmentation's parts in a simulation; of some there may be nothing in it.

    Raises:
        Refused: If there is no such segmentation, or the log's schema is missing or damaged.
    """
    names = SEGMENTS[known(segmentation, SEGMENTS, f"unknown segment {segmentation}")].names
    if names:
        return names
    column = _column(simulation, "requests", segmentation)
    return tuple(column.values or map(str, range(column.cardinality)))


def segment_table(
    simulation: Path, segmentation: str, part: str, campaigns: Campaigns, slot_effect: FloatArray
) -> Part:
    """The counters of every user in one part of a simulation; see `segment_tables`.

    Raises:
        Refused: As `segment_tables`, or if there is no such part.
    """
    known(part, parts_of(simulation, segmentation), f"unknown part of {segmentation} {part}")
    parts = segment_tables(simulation, segmentation, campaigns, slot_effect)
    return next(found for name, found in parts if name == part)


def segment_tables(
    simulation: Path, segmentation: str, campaigns: Campaigns, slot_effect: FloatArray
) -> Iterator[tuple[str, Part]]:
    """The counters of every user in each part of a simulation, by the part's name, one part after the other.

    Conversions belong to the part of their impression, and those whose ad was shown before the simulation began are not counted.
    Over all parts the tables add up to that of the whole in what they count:

    - of impressions: what follows from impressions;
    - of requests: that, requests, slots and orders without ads;
    - of users: that, and the cuisines that a user was shown, which are a set and do not add up over parts of a user's requests.

    Never counted: what the log does not hold for every request, such as the candidates scored.

    Args:
        simulation: Folder with the log.
        segmentation: One of `SEGMENTS`.
        campaigns: Of the world.
        slot_effect: (s,) by which clicks are expected.

    Raises:
        Refused: If there is no such segmentation, or the log is missing or damaged.
    """
    names, kind = parts_of(simulation, segmentation), SEGMENTS[segmentation]
    n_users = _column(simulation, "requests", "user").cardinality
    wanted = {"part": kind.part, "join": kind.join, "effect": _list(slot_effect), "slots": len(slot_effect)}
    with _log(simulation) as db:
        db.register("campaigns", _terms(campaigns))
        found = [db.execute(query.format(**wanted)).fetchnumpy() for query in _OF[kind.of]]
        came = db.execute("SELECT DISTINCT user FROM requests").fetchnumpy()["user"]
    return ((name, _part(found, place, came, n_users, kind.of)) for place, name in enumerate(names))


def _part(found: list[_Rows], place: int, came: FloatArray, n_users: int, of: str) -> Part:
    """The part at a place among those whose rows were found."""
    counted = {name: column for rows in found for name, column in _by_user(rows, place, n_users).items()}
    counted["spend_usd"] = counted["billed_usd"] + counted["charged_usd"]
    if of != "impressions":
        counted["all_gmv_usd"] = counted["gmv_usd"] + counted["organic_usd"]
    active = np.zeros(n_users, np.bool_)
    active[came] = True
    if of == "users":
        active = counted["requests"] > 0
    nowhere = np.full(n_users, np.nan)
    return Part(active, np.column_stack([counted.get(name, nowhere) for name in NAMES]))


def _by_user(rows: _Rows, place: int, n_users: int) -> _Rows:
    """Each column of the part at a place, (n_users,), 0 for users who are not in it."""
    own = rows["part"] == place
    user = rows["user"][own]
    columns = {name: np.zeros(n_users) for name in rows if name not in ("user", "part")}
    for name, column in columns.items():
        column[user] = rows[name][own]
    return columns


@contextmanager
def _log(simulation: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The log's tables as views; one thread, so that sums of fractions repeat to the bit."""
    with duckdb.connect(config={"threads": 1}) as db:
        try:
            for name in ("requests", "impressions", "conversions", "organic"):
                db.from_parquet(str(simulation / "log" / name / "*.parquet")).create_view(name)
            yield db
        except duckdb.Error as error:
            raise Refused(f"{simulation} is damaged or of another version: {str(error).splitlines()[0]}") from error


def _terms(campaigns: Campaigns) -> pa.Table:
    """Pricing and size of each campaign; those of equal budgets are of one size."""
    budget = campaigns.daily_budget_usd
    size = np.searchsorted(np.quantile(budget, [1 / 3, 2 / 3]), budget)
    return pa.table({"campaign": np.arange(len(budget)), "pricing": campaigns.pricing, "size": size})


def _column(simulation: Path, table: str, name: str) -> Column:
    with refusing(str(simulation), Unusable):
        columns = load_schema(simulation / "log").tables.get(table, ())
    found = [column for column in columns if column.name == name]
    if not found:
        raise Refused(f"{simulation} is damaged or of another version: its {table} have no column {name}")
    return found[0]


def _list(numbers: FloatArray) -> str:
    """A list in SQL, to the last bit."""
    return "[" + ", ".join(f"{x!r}::DOUBLE" for x in np.asarray(numbers).tolist()) + "]"
