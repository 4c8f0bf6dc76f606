"""Truth: how far this test's readings, and those of other designs, are from what is true."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.load import Shown, find_run, json_of
from dashboard.parts import Column, chart, choice, colour, plain, table
from marketplace import words
from marketplace.coverage import coverage
from marketplace.errors import Refused
from marketplace.experiment_charts import (
    bias_chart,
    equal_chart,
    is_biased,
    power_chart,
    replications_chart,
    truth_chart,
)
from marketplace.kin import same_scenario
from marketplace.readout_words import trials
from marketplace.study_shape import EQUAL, POWER, STUDY, EqualFile, PowerFile, StudyFile

Row = dict[str, Any]

BIAS = (
    Column("metric", "metric", text=True),
    Column("group", "group", text=True),
    Column("lift as read", "lift", words.percent),
    Column("95% interval", lambda row: words.interval(row["low"], row["high"]), str),
    Column("true lift", "true_lift", words.percent),
    Column("bias", "bias", words.percent, "(1 + lift) / (1 + true lift) - 1."),
    Column("covered", lambda row: words.covered(row["covered"]), str, "If the interval holds the true lift."),
)
_COVERAGE = (
    Column("read", "read", words.count, "Intervals that have a truth.", width=50),
    Column("hold it", "held", words.count, "Intervals that hold their truth.", width=56),
    Column("share", "share", "{:.1%}".format, "Promised are 95%.", width=60),
    Column("above", "above", words.count, "Intervals that lie above their truth.", width=54),
    Column("below", "below", words.count, "Intervals that lie below their truth.", width=54),
    Column("bias", "bias", "{:.2%}".format, "Median of its size.", width=60),
)
GROUPS = (Column("metrics", "group", text=True), *_COVERAGE)
SEGMENTS = (Column("segmentation", "segment", text=True), *_COVERAGE)
DESIGNS = (
    Column("design", "design", text=True),
    Column("reading", "lift", words.percent, "Mean over fortnights, of logs."),
    Column("truth", "true_lift", words.percent, "The same of the true lifts."),
    Column("bias", "bias", words.percent),
    Column(
        "95% interval of the bias", lambda row: row["why"] or words.interval(row["bias_low"], row["bias_high"]), str
    ),
    Column("s.e.", "se", lambda se: words.percent(se, sign=False), "That the readings claim, of the log."),
    Column("spread", "spread", lambda s: words.percent(s, sign=False), "Of reading over truth between fortnights."),
    Column("covered", lambda row: trials(row["covered"], row["fortnights"]), str, "Promised are 95%."),
    Column("A/A p < 5%", lambda row: trials(row["rejected"], row["equal"]), str, "Of equal arms; promised are 5%."),
    Column("days needed", "days_needed", words.count, "Until the true lift is found with a power of 80%."),
)
FORTNIGHTS = (
    Column("seed", "luck", str),
    Column("design", "design", text=True),
    Column("lift as read", "lift", words.percent),
    Column("95% interval", lambda row: words.interval(row["low"], row["high"]), str),
    Column("true lift", "true_lift", words.percent),
    Column("p", "p_value", words.p_value),
)
EQUALS = (
    Column("metric", "metric", text=True),
    Column("splits", "runs", words.count),
    Column("p < 5%", "rejected", words.count),
    Column(
        "range of a kept promise", lambda row: f"{row['least']:,} to {row['most']:,}", str, "Once in 1,000 outside."
    ),
    Column("KS distance", "distance", help="Of the p-values from uniform ones (Kolmogorov-Smirnov)."),
    Column("KS at most", "critical"),
    Column("intervals that hold 0", "coverage", lambda share: words.percent(share, sign=False)),
    Column("promise", words.promise, text=True),
)
FORESEEN = (
    Column("metric", "metric", text=True),
    Column("role", "role", text=True),
    Column("in the log", "value"),
    Column("unit", "unit", text=True),
    Column("least lift found", lambda row: row["why"] or words.foreseen_effect(row), str),
    Column("days needed", words.foreseen_days, str, "For the lift that was asked for."),
)


def show(shown: Shown, runs: Path) -> None:
    """This run first; then what studies of the same scenario say of designs, of equal arms and of power."""
    st.subheader("This test, held against the truth")
    if shown.report.get("readout"):
        _this_run(shown.run, shown.report)
    else:
        st.info(plain(shown.lacks or f"The report of run {shown.run} has no readout."))
    for title, stage, file, shape, draw in (
        ("Designs, over many fortnights", "study", STUDY, StudyFile, _designs),
        ("Equal arms, split again and again", "aa", EQUAL, EqualFile, _equal),
        ("Power: what a test would find", "power", POWER, PowerFile, _power),
    ):
        st.subheader(title)
        _of_a_run(shown, runs, stage, file, shape, draw)


def _this_run(run: str, report: dict[str, Any]) -> None:
    arms = words.by_arm(report["readout"])
    arm = next(iter(arms))
    if len(arms) > 1:
        arm = st.segmented_control("Arm", list(arms), default=arm, required=True, key="arm", bind="query-params")
    known = [row for row in arms[arm] if row["covered"] is not None]
    if not known:
        st.info(plain(f"Run {run} has no true worlds to hold its readings against."))
        return
    groups = ["all", *dict.fromkeys(row["group"] for row in known)]
    group = st.segmented_control(
        "Whose metrics", groups, default="all", required=True, key="group", bind="query-params",
        label_visibility="collapsed", format_func=lambda name: "All metrics" if name == "all" else name.capitalize(),
    )  # fmt: skip
    rows = [row for row in known if group in ("all", row["group"])]
    left, right = st.columns(2)
    with left:
        chart(truth_chart(rows), f"{run}-truth")
    with right:
        st.caption("How many intervals hold the truth. Metrics of one test share its users, so they miss together.")
        table(coverage(rows, "group"), GROUPS, f"{run}-coverage")
        parts = [row for row in report.get("segments", []) if row["arm"] == arm]
        if parts:
            st.caption("The same of the parts of the test, all metrics.")
            table(coverage(parts, "segment"), SEGMENTS, f"{run}-coverage-of-parts")
    with st.expander("Metrics"):
        table(rows, BIAS, f"{run}-bias", _missed)


def _of_a_run(
    shown: Shown, runs: Path, stage: str, file: str, shape: type, draw: Callable[[str, dict[str, Any]], None]
) -> None:
    """What a stage left in this run, or in another one of its scenario."""
    names = [run.folder.name for run in same_scenario(find_run(runs, shown.folder.name), stage)]
    if not names:
        command = {"study": "design"}.get(stage, stage)
        st.info(plain(f"No run of this scenario has it. `marketplace {command} {shown.folder}` makes one."))
        return
    _forget(stage, names)
    name = choice("From the run", names, stage, names[0]) or names[0]
    try:
        content = json_of(find_run(runs, name), file, shape)
    except Refused as refused:
        st.error(plain(str(refused)))
        return
    draw(name, content)


def _forget(key: str, names: list[str]) -> None:
    """Drop a choice that is not among the names, as after a change to a run of another scenario."""
    if st.query_params.get(key, names[0]) not in names:
        del st.query_params[key]
    if st.session_state.get(key, names[0]) not in names:
        del st.session_state[key]


def _designs(run: str, study: dict[str, Any]) -> None:
    came = f"{study['users']:,} users" if study["users"] else "all users"
    days = f"{study['seeds']} fortnights of {study['test_days']} days, {came}, seed {study['seed']}"
    st.caption(plain(f"{study['scenario']} · {days}. Each fortnight has its own luck, split and truth."))
    arm, metric = _arm_and_metric(study["rows"], "study")
    rows = [row for row in study["rows"] if (row["arm"], row["metric"]) == (arm, metric)]
    table(rows, DESIGNS, f"{run}-designs-{metric}", _biased)
    chart(bias_chart(rows), f"{run}-designs-{metric}")
    st.markdown("##### Fortnights, one by one")
    lucks = [row for row in study["replications"] if (row["arm"], row["metric"]) == (arm, metric)]
    chart(replications_chart(lucks, study["designs"]), f"{run}-fortnights-{metric}")
    with st.expander("Fortnights"):
        table(lucks, FORTNIGHTS, f"{run}-fortnights-{metric}", height=420)


def _equal(run: str, found: dict[str, Any]) -> None:
    designs = list(dict.fromkeys(row["design"] for row in found["rows"]))
    design = st.segmented_control(
        "Split by", designs, default=designs[0], required=True, key="split", bind="query-params"
    )
    st.caption(f"{found['runs']:,} splits of one test in which control serves all, so there is nothing to find.")
    rows = [row for row in found["rows"] if row["design"] == design]
    chart(equal_chart(rows), f"{run}-equal-{design}")
    table(rows, EQUALS, f"{run}-equal-{design}", height=420)


def _power(run: str, found: dict[str, Any]) -> None:
    arms = list(dict.fromkeys(row["arm"] for row in found["rows"]))
    arm = arms[0]
    if len(arms) > 1:
        arm = st.segmented_control("Arm", arms, default=arm, required=True, key="power_arm", bind="query-params")
    asked = "" if found["lift"] is None else f"; days are for a lift of {words.percent(found['lift'])}"
    beyond = f" {words.BEYOND_LOG} marks what is longer than the log." if found["log_days"] < found["test_days"] else ""
    st.caption(
        f"Found by {found['power']:.4g} of tests of {found['test_days']} days at 5%, from {found['log_days']} days of log{asked}."
        + plain(beyond)
    )
    rows = [row for row in found["rows"] if row["arm"] == arm]
    chart(power_chart(rows), f"{run}-power")
    table(rows, FORESEEN, f"{run}-power", height=420)


def _arm_and_metric(rows: list[Row], key: str) -> tuple[str, str]:
    """The reader's choice; goals come first."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    names = list(dict.fromkeys(row["metric"] for row in sorted(rows, key=lambda row: row["role"] != "goal")))
    left, right = st.columns(2)
    with left:
        metric = st.selectbox("Metric", names, key=f"{key}_metric", bind="query-params")
    with right:
        arm = st.selectbox("Arm", arms, key=f"{key}_arm", bind="query-params") if len(arms) > 1 else arms[0]
    return arm, metric


def _missed(row: Row) -> dict[str, str]:
    return {"covered": f"background-color: {colour('miss')}"} if row["covered"] is False else {}


def _biased(row: Row) -> dict[str, str]:
    return {"bias": f"color: {colour('worse')}"} if is_biased(row) else {}


show(st.session_state["shown"], st.session_state["places"].runs)
