"""Pacing: spend against plan, the bid multiplier that steers it, and budgets that ran out."""

import streamlit as st

from dashboard.parts import Column, chart, table
from dashboard.sliced import Chosen, any_arm, kept, with_simulation
from marketplace import words
from marketplace.charts import pacing_chart
from marketplace.pacing_charts import band_chart, exhausted_chart
from marketplace.pacing_slices import (
    accounts_of,
    chosen_of,
    exhausted,
    exhausted_by_account,
    multiplier_band,
    share_exhausted,
    spend_by_step,
    step_of,
)
from synth.types import HOUR_MS

ALL = "all"
STEPS = (
    Column("hour since the start", "hour", "{:g}".format),
    Column("spend, USD an hour", "spent_usd"),
    Column("plan, USD an hour", "planned_usd"),
    Column("multiplier, share of the full bid", "multiplier", help="Mean of the campaigns."),
)
ACCOUNTS = (
    Column("campaign", "campaign", str),
    Column("arm", "arm", text=True),
    Column("pricing", "pricing", text=True),
    Column("daily budget, USD", "daily_usd"),
    Column("days without money left", "days_out", str),
    Column("of days", "days", str),
    Column("mean hour when it was gone", "mean_hour", "{:.1f}".format, "0 is midnight; of the days on which it was."),
    Column("billed, USD", "billed_usd"),
    Column("billed / budgets", "use", "{:.1%}".format),
    Column("multiplier, share of the full bid", "multiplier", help="Mean of the test."),
)


def show(chosen: Chosen) -> None:
    """Spend, multipliers, and budgets that are gone."""
    accounts = accounts_of(chosen.scenario, chosen.own, chosen.name)
    split = accounts.of_user is not None
    places = st.columns(2)
    with places[0]:
        names = [ALL, *(str(campaign) for campaign in range(len(chosen.own.daily_micros)))]
        asked = st.selectbox("Campaign", names, key="campaign", bind="query-params")
    with places[1]:
        arm = any_arm(chosen, "Part of the budgets") if split else None
    campaign = None if asked == ALL else int(str(asked))
    file = f"{chosen.run}-{chosen.name}" + ("" if campaign is None else f"-campaign-{campaign}")

    rows = kept(chosen, spend_by_step, chosen.scenario, arm=arm, campaign=campaign)
    steps = [row | {"hour": row["start_ms"] / HOUR_MS} for row in rows]
    st.markdown("##### Spend against plan")
    hours = step_of(chosen.scenario) / HOUR_MS
    st.caption(
        "The plan is the budget by expected traffic; a click on a CPA ad counts with its expected charge."
        + (f" A point stands for {hours:g} hours." if hours != 1 else "")
    )
    chart(
        pacing_chart({name: [row[name] for row in steps] for name in ("hour", "planned_usd", "spent_usd")}),
        f"{file}-spend",
    )

    st.markdown("##### Bid multiplier")
    throttles = chosen.scenario.pacing.pacer == "throttling"
    what = (
        "Share of the auctions taken part in, with whole bids." if throttles else "What pacing leaves of the full bid."
    )
    st.caption(what)
    band = kept(chosen, multiplier_band, chosen.scenario, arm=arm)
    chart(band_chart(band, steps if campaign is not None else None, name=f"campaign {campaign}"), f"{file}-multipliers")
    with st.expander("Hours"):
        table(steps, STEPS, f"{file}-hours", height=420)

    st.markdown("##### Budgets that ran out")
    found = kept(chosen, exhausted, chosen.scenario, chosen.own, accounts)
    count = len(chosen.own.daily_micros)
    mine = chosen_of(accounts, count, arm=arm, campaign=campaign)
    out = [
        row
        for row in exhausted_by_account(chosen.folder, chosen.scenario, chosen.own, accounts, found)
        if row["days_out"]
    ]
    own = [row for row in out if campaign in (None, row["campaign"]) and arm in (None, row["arm"])]
    st.caption(
        f"{len(own):,} of {len(mine):,} budgets were spent to the last micro on some day. From then on a campaign does not bid "
        "until midnight, and what is due to it is not billed."
    )
    chart(exhausted_chart(share_exhausted(found, mine)), f"{file}-exhausted-chart")
    if own:
        arms = chosen.arms if split else [words.DASH]
        table(
            [row | {"arm": arms[row["arm"]]} for row in own],
            ACCOUNTS,
            f"{file}-exhausted",
            height=420 if len(own) > 11 else "content",
        )


with_simulation(show, "Pacing", log=False)
