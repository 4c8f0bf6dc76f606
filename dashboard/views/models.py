"""Models: how they score offline and in the test, how they learnt, and what features and architectures are worth to them."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard.load import Shown, json_of
from dashboard.model_parts import architectures, calibration, features, market, training
from dashboard.parts import Column, chart, plain, table
from marketplace import words
from marketplace.errors import Refused
from marketplace.model_charts import auc_chart, precision_chart, roc_chart
from marketplace.model_shapes import RocCurve
from marketplace.roc import ROC
from marketplace.runs import Run, open_run

SCORES = (
    Column("task", "task", text=True),
    Column("segment", "segment", text=True),
    Column("model", words.model, text=True),
    Column("rows", "rows", "{:,}".format, "Impressions, or clicks for a conversion given a click."),
    Column("positives", "positives", "{:,}".format),
    Column("AUC", "auc", help="1 is perfect, 0.5 is chance."),
    Column("GAUC", "gauc", help="Mean AUC within users."),
    Column("PR-AUC", "pr_auc", help="1 is perfect, positives / rows is chance."),
    Column("Norm-BCE", "norm_bce", help="Log loss over that of the mean rate; lower is better, 1 is no better."),
    Column("ECE", "ece", help="Expected calibration error; lower is better."),
    Column("ECE null", "ece_null", help="What a perfect model would show on as many rows."),
    Column("p", "calibration_p_value", words.p_value, "How often a perfect model would be as far off in ten bins."),
    Column("predicted / real", "calibration", help="Sum of the predictions over the positives."),
    Column(
        "predicted / true",
        "true_calibration",
        help="What is served, clicks in the top slot, over the true probabilities.",
    ),
    Column("log loss", "log_loss", help="Nats per row; lower is better."),
    Column("commonest score", "commonest", help="Share of the rows that have it."),
    Column("distinct scores", "effective_scores", help="As many equally common ones would pile up as much."),
)
CUTS = (
    Column("model", words.model, text=True),
    Column("least probability picked", "cut"),
    Column("false positive rate", "false_positive_rate", help="Share of the negatives that is picked."),
    Column("recall", "recall", help="Share of the positives that is picked."),
    Column("precision", "precision", help="Share of what is picked that is positive."),
)


def scores(run: Run, report: dict[str, Any]) -> None:
    """The offline table, all models of a task and part of the chosen cohort together; then a task's charts."""
    name = run.folder.name
    if not report.get("models"):
        st.info(plain(f"Run {name} has no offline table: no model was trained in it."))
        return
    st.subheader("Models, offline")
    st.caption("Scored on the log's last day with the labels known by its end.")
    names = list(dict.fromkeys(row["cohort"] for row in report["models"] if row["cohort"]))
    tasks = list(dict.fromkeys(row["task"] for row in report["models"]))
    left, right = st.columns(2)
    cohort = left.selectbox("Cohort", names, key="cohort", bind="query-params") if names else ""
    task = right.selectbox("Task of the charts", tasks, key="task", bind="query-params")
    shown = [row for row in report["models"] if row["cohort"] in ("", cohort)]
    places = list(dict.fromkeys((row["task"], row["segment"]) for row in shown))
    rows = sorted(shown, key=lambda row: places.index((row["task"], row["segment"])))
    table(rows, SCORES, f"{name}-models")
    for line in words.warnings(report["models"]):
        st.warning(plain(line))
    st.markdown(
        plain(f"##### AUC of {task} by {cohort}").replace("\\#", "#") if cohort else f"##### AUC of {plain(task)}"
    )
    if all(row.get("auc_low") is None for row in shown):
        st.caption("The run was made before intervals were kept.")
    chart(auc_chart(shown, task, cohort), f"{name}-auc-{cohort or 'all'}-{task}".replace(" ", "-"))
    _curves(run, task)


def _curves(run: Run, task: str) -> None:
    """ROC and precision against recall of a task, all impressions together."""
    if not (run.folder / "models" / ROC).exists():
        st.info(plain(f"Run {run.folder.name} was made before ROC curves were kept."))
        return
    curves = [row for row in json_of(run, f"models/{ROC}", list[RocCurve]) if row["task"] == task]
    if not curves:
        st.info(plain(f"There are no ROC curves of {task}: its rows on the log's last day are all of one class."))
        return
    file = f"{run.folder.name}-{task.replace(' ', '-')}"
    left, right = st.columns(2)
    with left:
        st.markdown("##### ROC")
        chart(roc_chart(curves, task), f"{file}-roc")
    with right:
        st.markdown("##### Precision and recall")
        chart(precision_chart(curves, task), f"{file}-precision")
    columns = [str(column.field) for column in CUTS[1:]]
    rows = [
        {name: curve[name] for name in ("model", "kind", "correct", "task")} | dict(zip(columns, cut, strict=True))
        for curve in curves
        for cut in zip(*(curve[name] for name in columns), strict=True)
    ]
    with st.expander("Points of the curves"):
        table(rows, CUTS, f"{file}-roc", height=420)


PARTS: dict[str, Callable[[Run, dict[str, Any]], None]] = {
    "Scores": scores, "Calibration": calibration, "Training": training, "Features": features,
    "Architectures": architectures, "Market": market,
}  # fmt: skip


def main() -> None:
    """The chosen part, of what the run has."""
    shown: Shown = st.session_state["shown"]
    if shown.lacks:
        st.info(plain(shown.lacks))
    part = st.segmented_control(
        "Part", list(PARTS), default="Scores", required=True, key="models", bind="query-params", label_visibility="collapsed"
    )  # fmt: skip
    try:
        PARTS[part](open_run(shown.folder), shown.report)
    except Refused as refused:
        st.error(plain(str(refused)))


main()
