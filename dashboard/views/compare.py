"""Compare: any two runs side by side, what was set differently and what came of it."""

from typing import Any

import streamlit as st

from dashboard.load import Places, find_run, json_of, read_run, run_names
from dashboard.parts import Column, choice, plain, table
from marketplace import words
from marketplace.contrast import cost_rows, model_rows, readout_rows, setting_rows
from marketplace.runs import SCENARIO, Run

_ROWS = 12  # of settings, beyond which the table scrolls so that the readouts stay in sight
SETTINGS = (
    Column("setting", "setting", text=True, width=300),
    Column("first run", "first", text=True, width=300),
    Column("second run", "second", text=True, width=300),
)


def _reading(run: str) -> tuple[Column, ...]:
    """Lift, interval and truth of one of the runs."""
    return (
        Column(f"lift, {run}", f"{run}_lift", words.percent, "Of the arm over control, as the test reads it."),
        Column(
            f"95% interval, {run}",
            lambda row: words.interval(row[f"{run}_low"], row[f"{run}_high"]),
            str,
            "Of the lift.",
        ),
        Column(f"true lift, {run}", f"{run}_true_lift", words.percent),
    )


READOUT = (
    Column("arm", "arm", text=True),
    Column("metric", "metric", text=True),
    Column("role", "role", text=True),
    *_reading("first"),
    *_reading("second"),
    Column("change", "difference", words.percent, "Lift, second less first, in percentage points."),
    Column("true change", "true_difference", words.percent, "True lift, second less first, in percentage points."),
)
MODELS = (
    Column("model", "model", text=True),
    Column("task", "task", text=True),
    Column("segment", "segment", text=True),
    Column("kind, first", "first_kind", text=True),
    Column("AUC, first", "first_auc", help="1 is perfect, 0.5 is chance."),
    Column("kind, second", "second_kind", text=True),
    Column("AUC, second", "second_auc"),
    Column("second less first", "difference", words.signed),
)
COST = (
    Column("arm", "arm", text=True),
    Column("figure", "figure", text=True),
    Column("unit", "unit", text=True),
    Column("first run", "first"),
    Column("second run", "second"),
    Column("second / first", "ratio"),
)


def show(places: Places) -> None:
    """Two selectors, then a table for each thing that both have."""
    st.subheader("Compare")
    names = run_names(places.runs)
    if len(names) < 2:
        there = f"only run {names[0]}" if names else "no finished run yet"
        st.info(plain(f"There is {there} in {places.runs}; it takes two to compare."))
        return
    left, right = st.columns(2)
    with left:
        first = choice("First run", names, "first", names[1])
    with right:
        second = choice("Second run", names, "second", names[0])
    if first is None or second is None:
        st.info("Choose two runs.")
        return
    if first == second:
        st.info("Both are the same run; choose another one.")
        return
    runs = find_run(places.runs, first), find_run(places.runs, second)
    file = f"{first}-{second}"
    _settings(runs, file)
    reports = [read_run(run).report for run in runs]
    _readouts(runs, reports, file)
    _models(runs, reports, file)
    _costs(runs, reports, file)


def _settings(runs: tuple[Run, Run], file: str) -> None:
    st.markdown("##### Settings that differ")
    rows = setting_rows(*(json_of(run, SCENARIO, dict[str, Any]) for run in runs))
    if rows:
        table(rows, SETTINGS, f"{file}-settings", height="content" if len(rows) <= _ROWS else 420)
    else:
        st.info("All settings are the same.")


def _readouts(runs: tuple[Run, Run], reports: list[dict[str, Any]], file: str) -> None:
    st.markdown("##### Readouts")
    if not _both(runs, [bool(report.get("readout")) for report in reports], "A/B test that was read"):
        return
    st.caption(
        "Tests of the same scenario and seed share their luck, so that their lifts differ by less than the intervals say."
    )
    role = st.segmented_control(
        "Metrics", ("goals and guardrails", "all"), default="goals and guardrails", required=True, key="metrics",
        bind="query-params", label_visibility="collapsed",
    )  # fmt: skip
    rows = readout_rows(*(report["readout"] for report in reports))
    table([row for row in rows if role == "all" or row["role"]], READOUT, f"{file}-readouts")


def _models(runs: tuple[Run, Run], reports: list[dict[str, Any]], file: str) -> None:
    st.markdown("##### Models, offline")
    if not _both(runs, [bool(report.get("models")) for report in reports], "table of models"):
        return
    st.caption("AUC on the last day of each run's own log: the same rows only where the logs are the same.")
    rows = model_rows(*(report["models"] for report in reports))
    cohorts = list(dict.fromkeys(row["cohort"] or "all impressions" for row in rows))
    cohort = st.selectbox("Cohort", cohorts, key="cohort", bind="query-params")
    table([row for row in rows if (row["cohort"] or "all impressions") == cohort], MODELS, f"{file}-models")


def _costs(runs: tuple[Run, Run], reports: list[dict[str, Any]], file: str) -> None:
    st.markdown("##### Cost to serve")
    if _both(runs, [bool(report.get("serving")) for report in reports], "price"):
        table(cost_rows(*(report["serving"] for report in reports)), COST, f"{file}-cost")


def _both(runs: tuple[Run, Run], have: list[bool], what: str) -> bool:
    """Whether both have it; else say which do not."""
    lack = [run.folder.name for run, has in zip(runs, have, strict=True) if not has]
    if lack:
        st.info(plain(f"There is no {what} in {' and in '.join(lack)}."))
    return not lack


show(st.session_state["places"])
