"""Users: orders from known stores, times of the day, delays, activity, and one user's history."""

from collections.abc import Callable

import streamlit as st

from dashboard.parts import Column, chart, plain, table, whole_number
from dashboard.sliced import Chosen, any_arm, kept, with_simulation
from marketplace import words
from marketplace.user_charts import (
    WEEKDAYS,
    activity_chart,
    day_chart,
    delay_chart,
    familiar_chart,
    history_chart,
    week_chart,
)
from marketplace.user_history import counted, frequent_users, history
from marketplace.user_slices import AGE_NAMES, FREQUENCY_NAMES, activity, by_hour, delays, familiarity, repurchases
from synth.types import DAY_MS

WHOLE = "{:.0f}".format
OFFERED = 50  # users to choose from; any other can be typed in
FAMILIAR = (
    Column("arm", "arm", text=True),
    Column("orders before", "orders_before", text=True),
    Column("days since the last", "days_since", text=True),
    Column("impressions", "impressions", "{:,}".format),
    Column("clicks", "clicks", "{:,}".format),
    Column("orders", "orders", "{:,}".format, "Checkouts that followed the ad by the end."),
    Column("CTR, clicks per impression", "ctr", "{:.2%}".format),
    Column("orders per click", "cvr", "{:.2%}".format),
)
HOURS = (
    Column("weekday", lambda row: WEEKDAYS[row["weekday"]], text=True),
    Column("hour", "hour", str),
    Column("days", "days", str, "That the simulation has of the weekday."),
    Column("requests, an hour", "requests"),
    Column("orders after ads, an hour", "ad_orders"),
    Column("orders without ads, an hour", "organic_orders"),
    Column("sessions expected, share of a week's", "share", "{:.3%}".format, "By the scenario."),
)
DELAYS = (
    Column("event", "event", text=True),
    Column("hours since the click", "hours"),
    Column("came by then, share", "share", "{:.2%}".format),
    Column("law, share", "law", "{:.2%}".format),
    Column("events", "events", "{:,}".format),
)
ACTIVITY = (
    Column("sessions", "sessions", str),
    Column("users", "users", "{:,}".format),
    Column("users expected", "expected_users"),
)
HISTORY = (
    Column("day", lambda row: row["time_ms"] / DAY_MS, "{:.4f}".format, "Since the start."),
    Column("what", lambda row: row["what"].replace("_", "-"), text=True),
    Column("session", "session", WHOLE, "Counted from 1; none of what follows a request of another time."),
    Column("slot", "slot", WHOLE, "0 on top."),
    Column("store", "store", WHOLE),
    Column("campaign", "campaign", WHOLE),
    Column(
        "known", lambda row: {True: "yes", False: "no", None: ""}[row["known"]], str, "Ordered from before.", text=True
    ),
    Column("pctr", "pctr", help="Predicted probability of a click given a look."),
    Column("basket, USD", "value_usd"),
    Column("billed, USD", "billed_usd"),
    Column("request", "request", str),
)


def familiar(chosen: Chosen) -> None:
    """How much of what users do is with stores they know, by how often and how lately they ordered there."""
    arm = any_arm(chosen)
    views = chosen.scenario.world.marginals.post_view_rate > 0
    rows = [
        row for row in kept(chosen, familiarity, views_lead_to_orders=views) if arm in (None, row["arm"])
    ]  # fmt: skip
    orders, repeat = repurchases(rows)
    if orders:
        asked = chosen.scenario.world.marginals.repurchase_positives
        st.markdown(
            f"{repeat / orders:.1%} of {orders:,} orders after ads are repurchases: the user was known to have ordered from the "
            f"store when the ad was shown. The scenario asks for {asked:.1%} under the first ranker."
        )
    st.caption("As models see it: what was known at the last publishing before the ad.")
    for place, (field, names, title) in zip(
        st.columns(2),
        (
            ("orders_before", FREQUENCY_NAMES, "orders of the user from the store before"),
            ("days_since", [*AGE_NAMES, "never"], "days since the last of them"),
        ),
        strict=True,
    ):
        with place:
            chart(familiar_chart(rows, field, names, title), f"{chosen.run}-{chosen.name}-{field.replace('_', '-')}")
    named = [
        row | {
            "arm": chosen.arms[row["arm"]], "ctr": row["clicks"] / row["impressions"] if row["impressions"] else None,
            "cvr": row["orders"] / row["clicks"] if row["clicks"] else None,
        }
        for row in rows
    ]  # fmt: skip
    table(named, FAMILIAR, f"{chosen.run}-{chosen.name}-familiarity", height=420)


def times(chosen: Chosen) -> None:
    """When users come and order."""
    rows = kept(chosen, by_hour, chosen.scenario)
    figures = {"requests": "requests", "orders after ads": "ad_orders", "orders without ads": "organic_orders"}
    figure = st.segmented_control(
        "Figure", list(figures), default="requests", required=True, key="of_week", bind="query-params"
    )
    chart(week_chart(rows, figures[str(figure)], f"{figure} an hour"), f"{chosen.run}-{chosen.name}-week")
    chart(day_chart(rows), f"{chosen.run}-{chosen.name}-day")
    st.caption(
        "Orders stand at the time when they are placed, which is after the click. Sessions expected are the scenario's."
    )
    table(rows, HOURS, f"{chosen.run}-{chosen.name}-times", height=420)


def late(chosen: Chosen) -> None:
    """How long after a click events come."""
    longest = chosen.days - 1
    options = [f"{days} d" for days in range(1, longest + 1)] or ["0.5 d"]
    follow = st.selectbox(
        "Follow each click for", options, index=(len(options) - 1) // 2, key="follow", bind="query-params",
        help="Clicks nearer to the end than that are left out, so that late events are not missed.",
    )  # fmt: skip
    rows = kept(
        chosen, delays, chosen.scenario, chosen.own, first_day=chosen.first_day, days=chosen.days,
        follow_days=float(str(follow).removesuffix(" d")),
    )  # fmt: skip
    if not rows:
        st.info("No click that is followed so long was followed by an event.")
        return
    chart(delay_chart(rows), f"{chosen.run}-{chosen.name}-delays-chart")
    st.caption(
        "Of the events that come within that time. The law is the world's, the mean over the campaigns of the events; a cart is "
        "filled by the time of its checkout."
    )
    table(rows, DELAYS, f"{chosen.run}-{chosen.name}-delays", height=420)


def active(chosen: Chosen) -> None:
    """How often users come."""
    rows = kept(chosen, activity, chosen.scenario, first_day=chosen.first_day, days=chosen.days)
    chart(activity_chart(rows), f"{chosen.run}-{chosen.name}-activity-chart")
    sigma = chosen.scenario.world.population.activity_sigma
    st.caption(
        f"Expected: Poisson with a mean that is lognormal over users (sigma {sigma:g}), by the scenario, if ads tired nobody."
    )
    table(rows, ACTIVITY, f"{chosen.run}-{chosen.name}-activity", height=420)


def one_user(chosen: Chosen) -> None:
    """What a user saw and did."""
    offered = kept(chosen, frequent_users, OFFERED)
    asked = st.selectbox(
        "User", [str(row["user"]) for row in offered] or ["0"], key="user", bind="query-params", accept_new_options=True,
        help=f"The {len(offered)} with most orders after ads; type in any other.",
    )  # fmt: skip
    user = whole_number("user", asked, chosen.scenario.world.population.users)
    rows = kept(chosen, history, user)
    if not rows:
        st.info(f"User {user} did not come, and nothing came of earlier ads.")
        return
    n, there = counted(rows), rows[0]["there"]
    more = f" Only the first {len(rows):,} of {there:,} rows are shown." if there > len(rows) else ""
    st.markdown(
        f"User {user}: {n['request']:,} requests in {n['sessions']:,} sessions, {n['shown']:,} ads shown, {n['clicked']:,} "
        f"clicked, {n['checkout']:,} orders after ads, {n['organic order']:,} without.{more}"
    )
    chart(history_chart(rows), f"{chosen.run}-{chosen.name}-user-{user}-chart")
    served = {chosen.arms[row["arm"]] for row in rows if row["what"] == "request"}
    st.caption(plain(f"Served by {', '.join(sorted(served)) or words.DASH}."))
    table(rows, HISTORY, f"{chosen.run}-{chosen.name}-user-{user}", height=520)


PARTS: dict[str, Callable[[Chosen], None]] = {
    "Repurchase": familiar, "Times": times, "Delays": late, "Activity": active, "One user": one_user,
}  # fmt: skip


def show(chosen: Chosen) -> None:
    """The part that the reader chooses."""
    part = st.segmented_control(
        "Part", list(PARTS), default=next(iter(PARTS)), required=True, key="about", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    PARTS[str(part)](chosen)


with_simulation(show, "Users", log=True)
