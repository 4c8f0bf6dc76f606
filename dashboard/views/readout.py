"""Readout: did treatment lower CPA, was the test right about it, and what else moved."""

from typing import Any

import streamlit as st

from dashboard.parts import Column, chart, colour, plain, table, view
from marketplace import words
from marketplace.charts import lift_chart
from marketplace.experiment_charts import days_chart
from marketplace.readout_words import got_worse, guardrails, shares

Row = dict[str, Any]

UNIT = Column("unit", "unit", help="Of control and treatment.", text=True, width=130)
INTERVAL = Column(
    "95% interval", lambda row: row["why"] or words.interval(row["low"], row["high"]), str, "Of lift.", width=134
)
TRUE = Column("true lift", "true_lift", words.percent, "All in treatment against all in control, same draws.", width=66)
COVERED = Column(
    "covered", lambda row: words.covered(row["covered"]), str, "If the interval holds the true lift.", width=64
)
SIDES = (
    Column("control", "control", width=66),
    Column("treatment", "treatment", width=74),
    Column("lift", "lift", words.percent, "Of treatment over control, as the test reads it.", width=66),
)
READOUT = (
    Column("metric", "metric", text=True, width=142),
    Column("role", "role", help="Goals are to get better, guardrails not to get worse.", text=True, width=66),
    *SIDES[:2],
    UNIT,
    SIDES[2],
    INTERVAL,
    Column("p", "p_value", words.p_value, "Welch on units, two-sided; ratios by the delta method.", width=62),
    Column("Holm p", "p_holm", words.p_value, "p, adjusted for the number of metrics.", width=62),
    TRUE,
    COVERED,
    Column("reading", words.verdict, help="What the test says.", text=True, width=60),
)
PARTS = (
    Column("part", "part", text=True),
    *SIDES,
    INTERVAL,
    Column("p", "p_value", words.p_value),
    TRUE,
    COVERED,
)
LOOKS = (
    Column("metric", "metric", text=True),
    Column("day of the test", "day", str),
    Column("lift so far", "lift", words.percent),
    Column("95% interval of one look", lambda row: words.interval(row["low"], row["high"]), str),
    Column(
        "95% interval that may be read", lambda row: words.interval(row["valid_low"], row["valid_high"]), str,
        "As the experiment's monitoring allows for looking every day.",
    ),
)  # fmt: skip
TAILS = (Column("metric", "metric", text=True), *SIDES[:2], UNIT, SIDES[2], INTERVAL)
EXPOSED = (
    Column("metric", "metric", text=True),
    *SIDES[:2],
    UNIT,
    SIDES[2],
    INTERVAL,
    Column("p", "p_value", words.p_value),
    Column("exposed, control : treatment", lambda row: " : ".join(words.count(n) for n in row["units"]), str),
)
RATIO = (
    Column("segmentation", lambda row: row["segment"] or "all", text=True),
    Column("part", lambda row: row["part"] or "all", text=True),
    Column("unit", "unit", text=True),
    Column("units by arm", shares, str),
    Column("p", "p_value", words.p_value, "Chi-squared, of so uneven a split or more."),
    Column("alarm", lambda row: "ALARM" if row["alarm"] else "", text=True),
)
AA = (
    Column("metric", "metric", text=True),
    Column("lift", "lift", words.percent),
    Column("95% interval", lambda row: words.interval(row["low"], row["high"]), str),
    Column("p", "p_value", words.p_value),
)
GOALS = "goals"
_PILL = {"better": "green", "worse": "orange", "": "off"}


def show(run: str, report: dict[str, Any]) -> None:
    """The answer first, then the checks, then every metric, then one closer look."""
    days = f"{report['log_days']} days of log, {report['test_days']} days of test"
    st.caption(plain(f"{report['scenario']} · {report['description']} · seed {report['seed']} · {days}"))
    st.header(words.headline(report))
    arms = words.by_arm(report["readout"])
    arm = next(iter(arms))
    if len(arms) > 1:
        arm = st.segmented_control("Arm", list(arms), default=arm, required=True, key="arm", bind="query-params")
    for row in arms[arm]:
        if row["metric"] == "CPA":
            _answer(row)
    _checks(report)
    _guardrails(arms[arm])
    _metrics(run, arms[arm])
    looks = {
        "Day by day": _days, "Segments": _segments, "Tails": _tails, "Exposed": _exposed, "Sample ratio": _ratio,
        "A/A": _equal,
    }  # fmt: skip
    chosen = st.segmented_control(
        "A closer look", list(looks), default="Day by day", required=True, key="look", bind="query-params"
    )
    looks[chosen](run, report, arm)


def _answer(row: Row) -> None:
    """CPA in both arms, what the test reads and what is true."""
    control, treatment, read, true = st.columns(4)
    for place, name, side in ((control, "control", "control"), (treatment, row["arm"], "treatment")):
        _card(place, f"CPA in {name}", words.figure(row[side]), row["unit"], "off")
    verdict = words.verdict(row)
    says = row["why"] or f"{verdict or 'not significant'}, {words.interval(row['low'], row['high'])}"
    _card(read, "Lift that the test reads", words.percent(row["lift"]), says, _PILL[verdict])
    where = {True: "inside the test's interval", False: "outside the test's interval", None: "cannot be compared"}[
        row["covered"]
    ]
    pill = {True: "green", False: "orange", None: "off"}[row["covered"]]
    _card(true, "True lift", words.percent(row["true_lift"]), where, pill)


def _card(place: Any, label: str, value: str, note: str, pill: Any) -> None:
    place.metric(label, value, delta=note, delta_color=pill, delta_arrow="off", border=True)


def _checks(report: dict[str, Any]) -> None:
    st.markdown("\n".join(f"- **{name}**: {text}" for name, text in words.summary(report).items()))
    if alarms := words.srm_alarms(report):
        st.error(f"The sample ratio is off, so no reading of this test counts. {plain('; '.join(alarms))}")


def _guardrails(rows: list[Row]) -> None:
    sentence = guardrails(rows)
    if got_worse(rows):
        st.warning(plain(sentence))
    elif sentence:
        st.markdown(f"- **guardrails**: {plain(sentence)}")


def _metrics(run: str, own: list[Row]) -> None:
    """The metrics of an arm, those of a group or a role alone if the reader wants."""
    st.markdown("##### Readout: what the test says, beside the truth")
    with st.container(horizontal=True):
        group = _filter("Whose metrics", "group", own, "All metrics")
        role = _filter("Role", "role", own, "Any role")
    rows = [row for row in own if group in ("all", row["group"]) and role in ("all", row["role"])]
    if not rows:
        st.info(f"No metric of this group is a {role}.")
        return
    table(rows, READOUT, f"{run}-readout", _style)
    chart(lift_chart(rows), f"{run}-lifts")


def _filter(label: str, field: str, rows: list[Row], everything: str) -> str:
    names = ["all", *dict.fromkeys(row[field] for row in rows if row[field])]
    return st.segmented_control(
        label, names, default="all", required=True, key=field, bind="query-params", label_visibility="collapsed",
        format_func=lambda name: everything if name == "all" else name.capitalize(),
    )  # fmt: skip


def _days(run: str, report: dict[str, Any], arm: str) -> None:
    looks = [look for look in report.get("by_day", []) if look["arm"] == arm and look["lift"] is not None]
    names = list(dict.fromkeys(look["metric"] for look in looks))
    if not names:
        st.info(plain(f"Run {run} has no readings by day."))
        return
    st.caption(
        "Lift of all that came by the end of each day. The band is the interval as if that were the only look; bars are what "
        f"may be read of it: {plain(words.design(report['experiment']))}."
    )
    chosen = st.selectbox(
        "Metric", [GOALS, *names], key="daily", bind="query-params", format_func=lambda x: f"all {x}" if x == GOALS else x
    )  # fmt: skip
    rows = [row for row in report["readout"] if row["arm"] == arm and row["metric"] in names]
    rows = [row for row in rows if (row["role"] == "goal" if chosen == GOALS else row["metric"] == chosen)]
    shown = {row["metric"] for row in rows}
    chart(days_chart(rows, looks), f"{run}-days")
    with st.expander("Days"):
        table([look for look in looks if look["metric"] in shown], LOOKS, f"{run}-days", height=420)


def _segments(run: str, report: dict[str, Any], arm: str) -> None:
    own = words.by_segment(report)
    if not own:
        st.info(plain(f"Run {run} was not read in parts."))
        return
    left, right = st.columns(2)
    with left:
        segment = st.selectbox(
            "Segmentation", list(own), key="segment", bind="query-params", format_func=lambda name: name.replace("_", " ")
        )  # fmt: skip
    parts = [row for row in own[segment] if row["arm"] == arm]
    with right:
        metric = st.selectbox(
            "Metric", list(dict.fromkeys(row["metric"] for row in parts)), key="metric", bind="query-params"
        )
    rows = [row for row in parts if row["metric"] == metric]
    st.caption(
        "A part's truth is that of the same part where all are in an arm; p-values are not adjusted for the number of parts."
    )
    table(rows, PARTS, f"{run}-{segment}-{metric}", _style)
    chart(lift_chart(rows, by="part"), f"{run}-{segment}-{metric}")


def _tails(run: str, report: dict[str, Any], arm: str) -> None:
    rows = [row for row in report.get("quantiles", []) if row["arm"] == arm]
    if not rows:
        st.info(plain(f"Run {run} has no quantiles."))
        return
    st.caption("Quantiles over users; intervals by resampling them.")
    table(rows, TAILS, f"{run}-quantiles", _style)


def _exposed(run: str, report: dict[str, Any], arm: str) -> None:
    rows = [row for row in report.get("exposed", []) if row["arm"] == arm]
    if not rows:
        st.info(
            "No arm withholds ads, so nobody would have seen one and did not. With `experiment.arms.control.withhold = "
            '"all"` the test reads what ads add.'
        )
        return
    st.caption("Users who saw an ad under test, or would have: what the ads added, in orders with and without ads.")
    table(rows, EXPOSED, f"{run}-exposed", _style)


def _ratio(run: str, report: dict[str, Any], arm: str) -> None:
    if report.get("srm"):
        table(report["srm"], RATIO, f"{run}-sample-ratio", _alarm)
    else:
        st.info(plain(f"Run {run} has no sample ratio."))


def _equal(run: str, report: dict[str, Any], arm: str) -> None:
    rows = [row for row in report.get("aa", []) if row["arm"] == arm]
    if not rows:
        st.info(plain(f"Run {run} has no A/A."))
        return
    st.caption("The same split with control in every arm: nothing to find, so p-values should be uniform.")
    table(rows, AA, f"{run}-aa")


def _style(row: Row) -> dict[str, str]:
    verdict = words.verdict(row)
    style = {name: f"color: {colour(verdict)}" for name in ("lift", "reading") if verdict}
    return style | ({"covered": f"background-color: {colour('miss')}"} if row.get("covered") is False else {})


def _alarm(row: Row) -> dict[str, str]:
    return {"alarm": f"background-color: {colour('miss')}"} if row["alarm"] else {}


view(show, "readout")
