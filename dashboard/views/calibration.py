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


view(show, "calibration")
