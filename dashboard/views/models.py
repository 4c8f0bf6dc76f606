"""Models: the offline table, and the market that the models learnt from."""

from typing import Any

import streamlit as st

from dashboard.parts import Column, table, view
from marketplace import words

SCORES = (
    Column("task", "task", text=True),
    Column("segment", "segment", text=True),
    Column("model", words.model, text=True),
    Column("rows", "rows", "{:,}".format, "Impressions, or clicks for a conversion given a click."),
    Column("positives", "positives", "{:,}".format),
    Column("AUC", "auc", help="1 is perfect, 0.5 is chance."),
    Column("GAUC", "gauc", help="Mean AUC within users."),
    Column("PR-AUC", "pr_auc", help="1 is perfect, positives / rows is chance."),
    Column("log loss", "log_loss", help="Nats per row; lower is better."),
    Column("Norm-BCE", "norm_bce", help="Log loss over that of the mean rate; lower is better, 1 is no better."),
    Column("predicted / real", "calibration", help="Sum of the predictions over the positives."),
    Column(
        "predicted / true",
        "true_calibration",
        help="What is served, clicks in the top slot, over the true probabilities.",
    ),
    Column("ECE", "ece", help="Expected calibration error; lower is better."),
    Column("ECE null", "ece_null", help="What a perfect model would show on as many rows."),
    Column("p", "calibration_p_value", words.p_value, "How often a perfect model would be as far off in ten bins."),
    Column("commonest score", "commonest", help="Share of the rows that have it."),
    Column("distinct scores", "effective_scores", help="As many equally common ones would pile up as much."),
)
MARGINALS = (
    Column("marginal", "name", text=True),
    Column("unit", lambda row: words.marginal_unit(row["name"]), text=True),
    Column("asked", "asked", help="By the scenario."),
    Column("solved", "obtained", help="In the pilot that the world was solved with."),
    Column("in the log", "logged", help="From the probabilities behind the log's impressions."),
)


def show(run: str, report: dict[str, Any]) -> None:
    """The offline table, all models of a task and part of the chosen cohort together; then the marginals."""
    st.subheader("Models, offline")
    st.caption("Scored on the log's last day with the labels known by its end.")
    names = list(dict.fromkeys(row["cohort"] for row in report["models"] if row["cohort"]))
    cohort = st.selectbox("Cohort", names, key="cohort", bind="query-params") if names else ""
    shown = [row for row in report["models"] if row["cohort"] in ("", cohort)]
    places = list(dict.fromkeys((row["task"], row["segment"]) for row in shown))
    rows = sorted(shown, key=lambda row: places.index((row["task"], row["segment"])))
    table(rows, SCORES, f"{run}-models")
    for line in words.warnings(report["models"]):
        st.warning(line)
    if report.get("marginals"):
        st.subheader("The market: asked and obtained")
        table(report["marginals"], MARGINALS, f"{run}-market")


view(show, "models")
