"""Run: start a command on a scenario or a run, watch it, stop it, open what it made."""

from pathlib import Path
from urllib.parse import quote

import streamlit as st

from dashboard.load import Places, sources
from dashboard.parts import Column, choice, plain, table
from marketplace.errors import Refused
from marketplace.jobs import COMMANDS, Job, command_line, find_job, job_ids, job_rows, start, stop

JOBS = (
    Column("job", "id", text=True),
    Column("state", "state", text=True),
    Column("command", "command", text=True),
    Column("of", lambda row: None if row["source"] is None else Path(row["source"]).name, text=True),
    Column("seed", "seed", "{:.0f}".format),
    Column("overrides", lambda row: " ".join(row["overrides"] or []), text=True),
    Column("started, UTC", lambda row: (row["started"] or "")[:19].replace("T", " "), text=True),
    Column("run", "run", text=True),
    Column("what it said", "said", text=True),
)
_DOES = {
    "compare": "log, models, A/B, A/A, the two worlds that give the truth, report",
    "simulate": "log and models where they are missing, then the A/B and its report",
    "generate": "solves the market and collects its log",
}
_EVERY_S = 1.0


def show(places: Places) -> None:
    """The form, the chosen job as it goes, and all jobs."""
    st.subheader("Run")
    ask(places)
    ids = job_ids(places.runs)
    if not ids:
        st.info("No job has been started yet.")
        return
    st.divider()
    id = choice("Job", ids, "job", ids[0])
    try:
        if id is not None:
            watch(places, id)
    except Refused as refused:  # a damaged job hides no other one
        st.error(plain(str(refused)))
    with st.expander("All jobs"):
        table(job_rows(places.runs), JOBS, "jobs")


def ask(places: Places) -> None:
    """What to run, and the button that starts it."""
    there = sources(places)
    if not there:
        st.info(plain(f"There is no scenario in {places.scenarios} and no run in {places.runs}."))
        return
    left, middle, right = st.columns([3, 2, 1])
    source = left.selectbox(
        "Scenario, or a run whose finished stages are taken over", there, key="of", bind="query-params"
    )
    command = middle.selectbox("Command", COMMANDS, key="command", bind="query-params")
    seed = right.number_input(
        "Seed", min_value=0, value=None, step=1, placeholder="the scenario's", key="seed", bind="query-params"
    )
    text = st.text_area(
        "Overrides, one key=value a line",
        key="set",
        bind="query-params",
        placeholder="experiment.arms.treatment.share=0.2",
    )
    overrides = [line.strip() for line in (text or "").splitlines() if line.strip()]
    most = "one job" if places.jobs == 1 else f"{places.jobs} jobs"
    st.caption(plain(f"{command}: {_DOES[command]}. At most {most} at a time; a job goes on when this page is closed."))
    if st.button("Start", type="primary", disabled=places.jobs == 0):
        try:
            st.session_state["job"] = start(
                places.runs, command, there[source], overrides, None if seed is None else int(seed), most=places.jobs
            )
        except Refused as refused:
            st.error(plain(str(refused)))


def watch(places: Places, id: str) -> None:
    """The job as it is, drawn again every second while it runs."""
    runs = find_job(places.runs, id).state == "running"

    def live() -> None:
        job = find_job(places.runs, id)
        draw(places, job)
        if runs and job.state != "running":
            st.rerun()  # the whole page, which lists the new run and watches no longer

    st.fragment(live, run_every=_EVERY_S if runs else None)()


def draw(places: Places, job: Job) -> None:
    """What was asked, a bar for each piece of work, and how it ended."""
    st.code(command_line(job.asked, places.runs), language=None, wrap_lines=True)
    for bar in job.bars:
        st.progress(bar["share"], plain(f"{bar['what']}, {bar['share']:.0%}, {bar['s'] - bar['began_s']:.0f} s"))
    if job.state == "running":
        if not job.bars:
            st.caption("Starting.")
        if st.button("Stop", key=f"stop {job.id}", help="Nothing is kept of the run that is under way."):
            stop(places.runs, job.id)
    elif job.state == "finished":
        st.success(plain(f"Run {job.run} is done."))
        st.link_button(plain(f"Open {job.run}"), f"./?run={quote(job.run, safe='')}", help="In a new tab.")
    elif job.state == "stopped":
        st.warning("Stopped; nothing is kept of the run that was under way.")
    else:
        st.error(plain(job.said or "The process ended without a word."))


show(st.session_state["places"])
