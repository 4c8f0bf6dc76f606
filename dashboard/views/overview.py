"""Overview: did treatment lower CPA, was the test right about it, and what else moved."""

from typing import Any

import streamlit as st

from dashboard.parts import Column, chart, colour, plain, table, view
from marketplace import words
from marketplace.charts import lift_chart

READOUT = (
    Column("metric", "metric", text=True, width=142),
    Column("control", "control", width=66),
    Column("treatment", "treatment", width=74),
    Column("unit", "unit", help="Of control and treatment.", text=True, width=196),
    Column("lift", "lift", words.percent, "Of treatment over control, as the test reads it.", width=66),
    Column(
        "95% interval", lambda row: row["why"] or words.interval(row["low"], row["high"]), str, "Of lift.", width=134
    ),
    Column("p", "p_value", words.p_value, "Welch on units, two-sided; ratios by the delta method.", width=62),
    Column("Holm p", "p_holm", words.p_value, "p, adjusted for the number of metrics.", width=62),
    Column("true lift", "true_lift", words.percent, "All in treatment against all in control, same draws.", width=66),
    Column("covered", lambda row: words.covered(row["covered"]), str, "If the interval holds the true lift.", width=64),
    Column("reading", words.verdict, help="What the test says.", text=True, width=60),
)
AA = (
    Column("metric", "metric", text=True),
    Column("lift", "lift", words.percent),
    Column("95% interval", lambda row: words.interval(row["low"], row["high"]), str),
    Column("p", "p_value", words.p_value),
)
_PILL = {"better": "green", "worse": "orange", "": "off"}


def show(run: str, report: dict[str, Any]) -> None:
    """The answer first, then the checks, then every metric."""
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
    st.markdown("##### Readout: what the test says, beside the truth")
    groups = ["all", *dict.fromkeys(row["group"] for row in arms[arm])]
    group = st.segmented_control(
        "Whose metrics", groups, default="all", required=True, key="group", bind="query-params",
        label_visibility="collapsed", format_func=lambda name: "All metrics" if name == "all" else name.capitalize(),
    )  # fmt: skip
    rows = [row for row in arms[arm] if group in ("all", row["group"])]
    table(rows, READOUT, f"{run}-readout", _readout_style)
    chart(lift_chart(rows))
    if report.get("aa"):
        with st.expander("A/A: control against itself, metric by metric"):
            table(report["aa"], AA, f"{run}-aa")


def _answer(row: dict[str, Any]) -> None:
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


def _readout_style(row: dict[str, Any]) -> dict[str, str]:
    verdict = words.verdict(row)
    style = {name: f"color: {colour(verdict)}" for name in ("lift", "reading") if verdict}
    return style | ({"covered": f"background-color: {colour('miss')}"} if row["covered"] is False else {})


view(show, "readout")
