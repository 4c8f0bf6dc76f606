"""Cost: hosts, milliseconds and dollars of each arm, and what they bring."""

from typing import Any

import streamlit as st

from dashboard.load import Shown, find_run, json_of
from dashboard.parts import Column, chart, plain, table, view
from marketplace import words
from marketplace.cost_charts import (
    dollars_chart,
    hosts,
    hosts_chart,
    latency_chart,
    recall_chart,
    scoring_chart,
    worth_chart,
)
from marketplace.curves import CURVES
from marketplace.serving_words import PASSED_ON, capacity_command, reasons
from marketplace.shape import MeasuredCurve

Row = dict[str, Any]

DOLLARS = (
    Column("arm", "arm", text=True),
    Column("model", "model", text=True),
    Column("USD per million requests", "usd_per_million"),
    Column("USD a year", "usd_per_year"),
    Column("of it training, USD a year", "training_usd_per_year"),
    Column("candidates retrieved per request", "retrieved"),
    Column("taken from a cache", "reused", lambda share: words.percent(share, sign=False), "Share of the predictions."),
    Column(
        "late",
        "late_share",
        lambda share: words.percent(share, sign=False),
        "Share of requests that are set to be late.",
    ),
)
WORTH = (
    Column("arm", "arm", text=True),
    Column("extra USD a year", "extra_usd", help="Over control."),
    Column("extra conversions a year, as read", "extra_conversions"),
    Column("USD each, as read", "usd_per_extra_conversion"),
    Column("extra conversions a year, in truth", "true_extra_conversions"),
    Column("USD each, in truth", "true_usd_per_extra_conversion"),
)
HOSTS = (
    Column("arm", "arm", text=True),
    Column("stage", "stage", text=True),
    Column("host", "host", text=True),
    Column("needed", "needed", words.count),
    Column("to spare", "spare", words.count),
    Column("busy", "utilisation", "{:.1%}".format, "Share of the time in the busiest hour."),
    Column("USD a year", "usd_per_year"),
)
LATENCY = (
    Column("arm", "arm", text=True),
    Column("topology", "topology", help="How bidding and prediction follow one another.", text=True),
    *(Column(f"{name}, ms", field) for name, field in (
        ("p50", "p50_ms"), ("p90", "p90_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms")
    )),
    Column("late", "late", lambda share: words.percent(share, sign=False), "Requests that get a fallback score."),
    Column("scored", "predictions", help="Candidates per request."),
)  # fmt: skip
POINTS = (
    Column("model", "model", text=True),
    Column("device", "device", text=True),
    Column("candidates of a request", "candidates", words.count),
    Column("candidates in a call", "rows", words.count),
    Column("ms of a call", "ms"),
)
RECALL = (
    Column("arm", "arm", text=True),
    Column("passed on by", lambda row: PASSED_ON[row["stage"]], text=True),
    Column("recall", "recall", "{:.1%}".format, "Of the ads that are truly worth the most."),
    Column("±", lambda row: 1.96 * row["se"], "{:.1%}".format, "Half the 95% interval."),
    Column("requests", "requests", words.count),
)


def show(run: str, report: dict[str, Any]) -> None:
    """Dollars and what they bring, then hosts, milliseconds, scoring and recall, then a what-if to take along."""
    priced = report["serving"]
    peak, scale = words.figure(priced["peak_requests_per_s"]), words.figure(priced["scale"])
    st.subheader("Serving and cost")
    st.caption(
        f"Each arm as if it served the whole platform: {scale} times the market, {peak} requests/s in the busiest hour, p99 "
        f"within {words.figure(priced['target_p99_ms'])} ms, {words.figure(priced['requests_per_year'])} requests a year."
    )
    for reason in reasons(report):
        st.warning(plain(reason))
    _dollars(run, report, priced)
    _serving(run, priced)
    _scoring(run)
    _recall(run, priced["arms"])
    _what_if(priced)


def _dollars(run: str, report: dict[str, Any], priced: Row) -> None:
    left, right = st.columns(2)
    with left:
        st.markdown("##### Dollars a year")
        chart(dollars_chart(priced), f"{run}-dollars")
    with right:
        st.markdown("##### Dollars against lift")
        _worth(run, report)
    table(priced["arms"], DOLLARS, f"{run}-dollars")
    if report.get("worth"):
        st.caption("What an arm brings more is its lift of conversions times the year's conversions.")
        table(report["worth"], WORTH, f"{run}-worth")


def _worth(run: str, report: dict[str, Any]) -> None:
    metrics = list(dict.fromkeys(row["metric"] for row in report.get("readout", []) if row["role"] == "goal"))
    if not metrics or not report.get("worth"):
        st.info("Without an A/B test there is no lift to hold the dollars against.")
        return
    first = metrics.index("conversions") if "conversions" in metrics else 0
    metric = st.selectbox("Lift of", metrics, index=first, key="goal", bind="query-params")
    chart(worth_chart(report["worth"], report["readout"], metric), f"{run}-worth-{metric}")


def _serving(run: str, priced: Row) -> None:
    left, right = st.columns(2)
    with left:
        st.markdown("##### Hosts by stage")
        if found := hosts(priced):
            chart(hosts_chart(priced), f"{run}-hosts")
            table(found, HOSTS, f"{run}-hosts")
        else:
            st.info("No arm could be given hosts.")
    with right:
        st.markdown("##### Milliseconds from request to answer")
        chart(latency_chart(priced), f"{run}-latency")
        rows = [{"arm": arm["arm"]} | fleet for arm in priced["arms"] for fleet in arm["fleets"]]
        table(rows, LATENCY, f"{run}-latency")


def _scoring(run: str) -> None:
    shown: Shown = st.session_state["shown"]
    st.markdown("##### Scoring, as measured")
    found = find_run(st.session_state["places"].runs, shown.folder.name)
    curves = json_of(found, CURVES, list[MeasuredCurve]) if found.has("curves") else []
    if not curves:
        st.info(plain(f"Run {run} has no measured scoring curves."))
        return
    st.caption("A call on one worker of the machine that the run was made on, by the candidates in it.")
    chart(scoring_chart(curves), f"{run}-scoring")
    points = [
        {"model": row["model"], "device": row["device"], "candidates": row["candidates"], "rows": n, "ms": ms}
        for row in curves
        for n, ms in zip(row["rows"], row["ms"], strict=True)
    ]
    with st.expander("Points"):
        table(points, POINTS, f"{run}-scoring")


def _recall(run: str, arms: list[Row]) -> None:
    st.markdown("##### Recall by stage")
    rows = [{"arm": arm["arm"]} | row for arm in arms for row in arm["recall"]]
    if not rows:
        st.info("No arm ranks in stages, so every candidate that is retrieved is scored and auctioned.")
        return
    st.caption(
        "Of the ads that are truly worth the most, as many as a request has slots, the share that each stage passed on, with its "
        "95% interval."
    )
    chart(recall_chart(arms), f"{run}-recall")
    table(rows, RECALL, f"{run}-recall")


def _what_if(priced: Row) -> None:
    st.markdown("##### What if")
    st.caption(
        "Prices this run's platform again, in seconds, from its finished stages. Its figures come as a run of their own."
    )
    scale, target, spare = st.columns(3)
    with scale:
        times = st.number_input(
            "Times the market",
            min_value=min(0.001, priced["scale"]),
            value=float(priced["scale"]),
            key="scale",
            bind="query-params",
        )
    with target:
        ms = st.number_input(
            "p99 target, ms",
            min_value=min(0.1, priced["target_p99_ms"]),
            value=float(priced["target_p99_ms"]),
            key="target",
            bind="query-params",
        )
    with spare:
        more = st.number_input(
            "Hosts to spare, of each ranker", min_value=0, value=max((row["spare"] for row in hosts(priced)), default=1),
            key="spare", bind="query-params",
        )  # fmt: skip
    shown: Shown = st.session_state["shown"]
    changes = {"scale": f"{times:.15g}", "target_p99_ms": f"{ms:.15g}", "spare_hosts": more}
    st.code(capacity_command(str(shown.folder), changes), language="bash", wrap_lines=True)


view(show, "serving")
