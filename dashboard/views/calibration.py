"""Calibration: predicted against real, on the impressions that each arm won."""

from typing import Any

import streamlit as st

from dashboard.parts import Column, chart, plain, table, view
from marketplace import words
from marketplace.charts import calibration_chart

BINS = (
    Column("arm", "arm", text=True),
    Column("bin", "bin"),
    Column("predicted probability", "predicted", words.figure, "Mean of the bin."),
    Column("share that happened", "real"),
    Column("events", "n", "{:,}".format, "Impressions, or clicks for a conversion given a click."),
)


def _ratio(label: str, name: str, help: str = "") -> Column:
    """A ratio with its interval."""
    return Column(label, lambda row: words.around(row[name], row[f"{name}_low"], row[f"{name}_high"]), str, help)


CURSE = (
    Column("arm", "arm", text=True),
    Column("task", "task", text=True),
    Column("auctions", "auctions", "{:,}".format),
    Column("competed", "competed", "{:,}".format, "Candidates with a bid."),
    Column("won", "won", "{:,}".format),
    _ratio("all that competed", "candidates"),
    _ratio("winners", "winners"),
    _ratio("winners over all", "curse", "1 where auctions do not pick what is over-predicted."),
    Column("auctions pick", words.picked, text=True),
)


def show(run: str, report: dict[str, Any]) -> None:
    """A curve per task, and its bins."""
    st.subheader("Calibration of what each arm won")
    st.caption(
        "Equally full bins of the impressions shown in the A/B; bars are the 95% range of a calibrated model. "
        "Conversions still on their way make the real share low."
    )
    tasks = list(dict.fromkeys(row["task"] for row in report["calibration"]))
    for column, task in zip(st.columns(len(tasks)), tasks, strict=True):
        with column:
            st.markdown(f"##### {plain(task).capitalize()}")
            chart(calibration_chart(report["calibration"], task))
            rows = [row for row in report["calibration"] if row["task"] == task]
            with st.expander("Bins"):
                table(rows, BINS, f"{run}-calibration-{task.replace(' ', '-')}", height=420)
    if report.get("winners_curse"):
        st.subheader("Winner's curse")
        st.caption(
            "Predicted over true probabilities, over all candidates that competed in the auctions logged whole, and over their "
            "winners: forecasts that are right on average are too high where they win. Intervals are 95%, by users."
        )
        table(report["winners_curse"], CURSE, f"{run}-winners-curse")


view(show, "calibration")
