"""What the models view shows beside the offline table: calibration, training, features, architectures and the market."""

from typing import Any

import streamlit as st

from dashboard.load import json_of
from dashboard.parts import Column, chart, plain, table
from marketplace import words
from marketplace.charts import calibration_chart
from marketplace.kin import same_log
from marketplace.learning import learning
from marketplace.model_charts import (
    SHOWN_FEATURES,
    curse_chart,
    importance_chart,
    kept_chart,
    learning_chart,
    loss_name,
)
from marketplace.model_shapes import Importance, Search
from marketplace.pareto_chart import pareto_chart
from marketplace.runs import Run

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


def _auc(label: str, name: str, help: str = "") -> Column:
    """An AUC, or a difference of two, with its interval; empty where there is none."""
    return Column(label, lambda row: words.around(*(row[name] or (None,) * 3)), str, help)


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
KEPT = (
    Column("order", lambda row: row["order"].replace("_", " "), text=True),
    Column("features", "features"),
    _auc("AUC [95% interval]", "auc", "Of the model trained again, on the log's last day."),
)
TRAINED = (
    Column("model", "name", text=True),
    Column("front", lambda row: "yes" if row["front"] else "", text=True),
    _auc("AUC [95% interval]", "auc"),
    _auc("less the next faster [95% interval]", "auc_less_faster", "Of the front, on the same impressions."),
    Column("of noise", words.noise, text=True, help="Whether it is no better than the next faster, by the interval."),
    Column("candidates/s", "rows_per_s", "{:,.0f}".format, "Scored on one thread."),
    Column("parameters", "parameters", "{:,}".format),
    Column("candidates/s in training", "train_rows_per_s", "{:,.0f}".format),
)
PROMISES = (
    Column("model", "name", text=True),
    Column("front", words.kept_front, text=True),
    _auc("AUC predicted [95% interval]", "auc_predicted"),
    Column("AUC measured", "auc"),
    Column("AUC held", lambda row: words.covered(row["auc_held"]), str),
    Column("candidates/s predicted [95% interval]", lambda row: words.rates(row["rows_per_s_predicted"]), str),
    Column("candidates/s measured", "rows_per_s", "{:,.0f}".format),
    Column("speed held", lambda row: words.covered(row["rows_per_s_held"]), str),
)
MARGINALS = (
    Column("marginal", "name", text=True),
    Column("unit", lambda row: words.marginal_unit(row["name"]), text=True),
    Column("asked", "asked", help="By the scenario."),
    Column("solved", "obtained", help="In the pilot that the world was solved with."),
    Column("in the log", "logged", help="From the probabilities behind the log's impressions."),
)


def calibration(run: Run, report: dict[str, Any]) -> None:
    """A curve per task and its bins, and what auctions make of forecasts."""
    name = run.folder.name
    if not report.get("calibration"):
        st.info(plain(f"The report of run {name} has no calibration: it comes with an A/B test."))
        return
    st.subheader("Calibration of what each arm won")
    st.caption(
        "Equally full bins of the impressions shown in the A/B; a band holds 95% of what a perfect model with the arm's "
        "forecasts would show. Conversions still on their way make the real share low."
    )
    tasks = list(dict.fromkeys(row["task"] for row in report["calibration"]))
    for column, task in zip(st.columns(len(tasks)), tasks, strict=True):
        with column:
            st.markdown(f"##### {plain(task).capitalize()}")
            chart(calibration_chart(report["calibration"], task), f"{name}-calibration-{_slug(task)}")
            rows = [row for row in report["calibration"] if row["task"] == task]
            with st.expander("Bins"):
                table(rows, BINS, f"{name}-calibration-{_slug(task)}", height=420)
    if report.get("winners_curse"):
        _curse(name, report["winners_curse"])


def _curse(name: str, rows: list[dict[str, Any]]) -> None:
    st.subheader("Winner's curse")
    st.caption(
        "Predicted over true probabilities, over all candidates that competed in the auctions logged whole, and over their "
        "winners: forecasts that are right on average are too high where they win. Intervals are 95%, by users."
    )
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    for column, task in zip(st.columns(len(tasks)), tasks, strict=True):
        with column:
            chart(curse_chart(rows, task), f"{name}-winners-curse-{_slug(task)}")
    table(rows, CURSE, f"{name}-winners-curse")


def training(run: Run, report: dict[str, Any]) -> None:
    """How the losses of the run's networks fell."""
    found = learning(run.folder)
    if not found.rows:
        st.info(plain(f"Run {run.folder.name} holds no network: LightGBM's models keep no course of their training."))
        return
    st.subheader("Training")
    st.caption(
        "Mean loss while a network learns from a block of the log; in the first epoch it has not seen these ads before. A task's "
        "loss is spread over all ads shown, and weighs as its task does. Models with patience look at held-out days after each."
    )
    chart(learning_chart(found), f"{run.folder.name}-training")
    columns = (
        Column("model", "model", text=True),
        Column("epoch", "epoch"),
        Column("block", "block"),
        Column("requests", "requests", "{:,}".format),
        Column("seconds", "seconds", "{:,.1f}".format),
        *(Column(f"loss: {loss_name(name)}", name, help="Nats per ad shown.") for name in found.losses),
    )
    table(found.rows, columns, f"{run.folder.name}-training")


def features(run: Run, report: dict[str, Any]) -> None:
    """What the log's features are worth to a model, by a run that asked about the same log."""
    source = _source(
        run, "importance", f"`marketplace importance {run.folder} --model lightgbm --runs {run.folder.parent}`"
    )
    if source is None:
        return
    content = json_of(source, "importance.json", Importance)
    st.subheader(plain(f"Features by what they are worth to {content['model']}, {words.task(content['task'])}"))
    st.caption(
        plain(
            f"Measured on the day before the log's last: {content['rows']:,} rows, {content['positives']:,} positive, AUC "
            f"{words.around(*content['auc'])}. The {SHOWN_FEATURES} first of {len(content['features'])} are drawn."
        )
    )
    methods = content["methods"]
    method = st.segmented_control(
        "Method", methods, default=methods[0], required=True, key="method", bind="query-params",
        format_func=lambda name: name.replace("_", " "),
    )  # fmt: skip
    method = method if method in methods else methods[0]  # of a link to another search
    chart(importance_chart(content, method), f"{source.folder.name}-importance-{method}")
    if content["kept"]:
        st.markdown("##### Trained again on the first features of each order")
        chart(kept_chart(content), f"{source.folder.name}-kept")
        with st.expander("AUCs"):
            table(content["kept"], KEPT, f"{source.folder.name}-kept")
    st.markdown("##### All features")
    columns = (
        Column("feature", "feature", text=True),
        Column("side", "side", text=True, help="The request, the ad, or both."),
        Column("kind", "kind", text=True),
        *(cell for name in methods for cell in _ranked(name)),
    )
    rows = sorted(content["features"], key=lambda row: row["rank"][method])
    flat = [
        {key: row[key] for key in ("feature", "side", "kind")}
        | {name: row["importance"][name] for name in methods}
        | {f"{name} rank": row["rank"][name] for name in methods}
        for row in rows
    ]
    table(flat, columns, f"{source.folder.name}-importance", height=420)


def _ranked(method: str) -> tuple[Column, Column]:
    unit = "attribution to the logit" if method == "integrated_gradients" else "loss of AUC"
    name = method.replace("_", " ")
    return Column(f"{name}, {unit}", method, "{:.5f}".format), Column(f"rank by {name}", f"{method} rank")


def architectures(run: Run, report: dict[str, Any]) -> None:
    """The trade of AUC for speed that a search over architectures found on the same log."""
    source = _source(run, "pareto", f"`marketplace pareto {run.folder} --runs {run.folder.parent}`")
    if source is None:
        return
    content = json_of(source, "pareto.json", Search)
    name = source.folder.name
    st.subheader("Architectures: AUC for speed")
    chart(pareto_chart(content), f"{name}-pareto")
    st.markdown("\n".join(f"- {plain(line)}" for line in words.pareto(content)))
    st.markdown("##### Trained, the front first")
    other = Column(
        "differs from the base in", lambda row: words.architecture(row["settings"], content["space"]), text=True
    )
    table(content["rows"], (*TRAINED, other), f"{name}-pareto")
    if content["promises"]:
        st.markdown("##### Promised and measured, of those verified")
        table(content["promises"], PROMISES, f"{name}-pareto-promises")


def market(run: Run, report: dict[str, Any]) -> None:
    """The market that the models learnt from."""
    if not report.get("marginals"):
        st.info(
            plain(
                f"Run {run.folder.name} has no report yet, which compares the market asked for with the one obtained."
            )
        )
        return
    st.subheader("The market: asked and obtained")
    table(report["marginals"], MARGINALS, f"{run.folder.name}-market")


def _source(run: Run, stage: str, command: str) -> Run | None:
    """The run that a stage on this log is shown of: this one, or a chosen one beside it; a sentence where there is none."""
    found = {other.folder.name: other for other in same_log(run, stage)}
    if not found:
        st.info(f"No run beside this one has it for the log of run {plain(run.folder.name)}. {command} makes one.")
        return None
    names = list(found)
    chosen = st.selectbox("Found by run", names, key=stage, bind="query-params") if len(names) > 1 else names[0]
    if chosen != run.folder.name:
        st.caption(plain(f"Found by run {chosen} on the same log."))
    return found[chosen]


def _slug(task: str) -> str:
    return task.replace(" ", "-")
