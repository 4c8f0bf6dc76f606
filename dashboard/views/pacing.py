"""Pacing: spend against plan, and the bid multiplier that steers it."""

from typing import Any

import streamlit as st

from dashboard.parts import Column, chart, table, view
from marketplace.charts import multiplier_chart, pacing_chart

HOURS = (
    Column("hour since the start", "hour", str),
    Column("spend, USD", "spent_usd"),
    Column("plan, USD", "planned_usd"),
    Column("multiplier, share of the full bid", "multiplier"),
)


def show(run: str, report: dict[str, Any]) -> None:
    """Both charts, and the hours behind them."""
    st.subheader("Pacing")
    pacing = report["pacing"]
    st.markdown("##### Spend of all campaigns against plan")
    st.caption("The plan is the budget by expected traffic; a click on a CPA ad counts with its expected charge.")
    chart(pacing_chart(pacing))
    st.markdown("##### Bid multiplier, mean of the campaigns")
    st.caption("What pacing leaves of the full bid.")
    chart(multiplier_chart(pacing))
    fields = [str(column.field) for column in HOURS]
    hours = zip(*(pacing[field] for field in fields), strict=True)
    rows = [dict(zip(fields, hour, strict=True)) for hour in hours]
    with st.expander("Hours"):
        table(rows, HOURS, f"{run}-pacing", height=420)


view(show, "pacing")
