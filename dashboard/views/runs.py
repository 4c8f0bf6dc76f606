"""Runs: all runs of the folder, finished or not, and the tags that people put on them."""

from typing import Any
from urllib.parse import quote

import streamlit as st

from dashboard.load import Places, find_run
from dashboard.parts import Column, choice, plain, table
from marketplace import words
from marketplace.listing import STATES, run_rows, select
from marketplace.tags import read_tags, tags_in, write_tags


def readout_of(row: dict[str, Any]) -> str | None:
    """Address of the run's readout, where it can be opened."""
    return f"./?run={quote(row['name'], safe='')}" if row["state"] == "finished" else None


RUNS = (
    Column("run", "name", text=True),
    Column("readout", readout_of, text=True, link="open", help="Opens in a new tab.", width=70),
    Column("state", "state", text=True, width=74),
    Column("scenario", "scenario", text=True),
    Column("seed", "seed", "{:.0f}".format, width=50),
    Column("command", "command", text=True, width=78),
    Column("started, UTC", lambda row: row["started"][:19].replace("T", " "), text=True),
    Column("seconds", "wall_s", words.seconds),
    Column("stages", lambda row: " ".join(row["stages"]), text=True),
    Column(
        "MB", lambda row: None if row["bytes"] is None else row["bytes"] / 1e6, words.figure,
        "Of its files; those taken over from another run are links, and count in both.",
    ),
    Column("tags", lambda row: ", ".join(row["tags"]), text=True, width=110),
    Column("what is amiss", "why", text=True),
)  # fmt: skip


def show(places: Places) -> None:
    """A search, the table, and a run's tags."""
    st.subheader("Runs")
    rows = run_rows(places.runs)
    if not rows:
        st.info(f"There is no run in {plain(str(places.runs))} yet. `marketplace compare SCENARIO` makes one.")
        return
    words_place, scenario_place, state_place = st.columns(3)
    search = words_place.text_input("Search names, scenarios and tags", key="search", bind="query-params")
    names = sorted({row["scenario"] for row in rows if row["scenario"]})
    scenarios = scenario_place.multiselect("Scenario", names, key="scenario", bind="query-params")
    states = state_place.multiselect("State", STATES, key="state", bind="query-params")
    found = select(rows, search or "", scenarios, states)
    st.caption(f"{len(found):,} of {len(rows):,} runs")
    if found:
        table(found, RUNS, "runs")
    else:
        st.info("No run is like this.")
    edit_tags(places, [row["name"] for row in rows if row["state"] == "finished"])


def edit_tags(places: Places, names: list[str]) -> None:
    """Choose a finished run and write its tags."""
    if not names:
        return
    st.markdown("##### Tags")
    name = choice("Of run", names, "tagged", names[0])
    if name is None:
        return
    folder = find_run(places.runs, name).folder
    with st.form("tags", border=False):
        text = st.text_input("Tags, with commas between them", ", ".join(read_tags(folder)), key=f"tags of {name}")
        if st.form_submit_button("Save tags"):
            write_tags(folder, tags_in(text))
            st.rerun()


show(st.session_state["places"])
