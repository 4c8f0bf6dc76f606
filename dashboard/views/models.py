"""Models: the offline table, and the market that the models learnt from."""

from typing import Any

import streamlit as st

from dashboard.parts import Column, table, view
from marketplace import words

SCORES = (
    Column("task", "task", text=True),
    Column("segment", "segment", text=True),
    Column("model", lambda row: f"{row['model']} ({row['kind']})", text=True),
    Column("rows", "rows", "{:,}".format, "Impressions, or clicks for a conversion given a click."),
    Column("positives", "positives", "{:,}".format),
    Column("AUC", "auc", help="1 is perfect, 0.5 is chance."),
    Column("PR-AUC", "pr_auc", help="1 is perfect, positives / rows is chance."),
    Column("Norm-BCE", "norm_bce", help="Log loss over that of the mean rate; lower is better, 1 is no better."),
    Column("predicted / real", "calibration", help="Sum of the predictions over the positives."),
    Column("ECE", "ece", help="Expected calibration error; lower is better."),
    Column("ECE null", "ece_null", help="What a perfect model would show on as many rows."),
)
MARGINALS = (
    Column("marginal", "name", text=True),
    Column("unit", lambda row: words.marginal_unit(row["name"]), text=True),
    Column("asked", "asked", help="By the scenario."),
    Column("solved", "obtained", help="In the pilot that the world was solved with."),
    Column("in the log", "logged", help="From the probabilities behind the log's impressions."),
)


def show(run: str, report: dict[str, Any]) -> None:
    """The offline table, both models of a task and segment together; then the marginals."""
    st.subheader("Models, offline")
    st.caption("Scored on the log's last day with the labels known by its end.")
    places = list(dict.fromkeys((row["task"], row["segment"]) for row in report["models"]))
    rows = sorted(report["models"], key=lambda row: places.index((row["task"], row["segment"])))
    table(rows, SCORES, f"{run}-models")
    if report.get("marginals"):
        st.subheader("The market: asked and obtained")
        table(report["marginals"], MARGINALS, f"{run}-market")


view(show, "models")
