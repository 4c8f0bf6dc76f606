"""The dashboard: a window on finished runs, which computes nothing.

`marketplace dashboard RUNS` opens it; so does `streamlit run dashboard/app.py -- RUNS`.
"""

import sys
from pathlib import Path

import streamlit as st

from dashboard.load import find_run, read_run, run_names
from dashboard.parts import plain
from marketplace.errors import Refused
from marketplace.runs import Run

VIEWS = Path(__file__).parent / "views"
PAGES = {"overview": "Overview", "calibration": "Calibration", "pacing": "Pacing", "models": "Models and market"}


def main(runs: Path) -> None:
    """Show the chosen view of the chosen run, or a sentence that says why not."""
    st.set_page_config(page_title="Ad marketplace", page_icon="📈", layout="wide")
    view = st.navigation(
        [st.Page(VIEWS / f"{n}.py", title=t, url_path=n, default=n == "overview") for n, t in PAGES.items()]
    )
    try:
        run = choose(runs)
        if run is None:
            return
        st.session_state["shown"] = read_run(run)
    except Refused as refused:
        st.error(plain(str(refused)))
        return
    describe(run)
    view.run()


def choose(runs: Path) -> Run | None:
    """The run that the reader or the link asks for, the newest by default; None where there is none yet.

    Raises:
        Refused: If the one asked for cannot be opened.
    """
    names = run_names(runs)
    if not names:
        st.info(f"There is no finished run in {plain(str(runs))} yet. `marketplace compare SCENARIO` makes one.")
        return None
    asked = st.query_params.get("run")  # before the selector, which takes an unknown name out of the link
    if asked is None and "run" not in st.session_state:
        st.session_state["run"] = st.query_params["run"] = names[
            0
        ]  # so that the link names the run even when newer ones come
    chosen = st.sidebar.selectbox("Run", names, index=None, placeholder="Choose a run", key="run", bind="query-params")
    return find_run(runs, chosen or asked or names[0])


def describe(run: Run) -> None:
    """Where the run comes from, below the selector."""
    scenario, seed, command, started, wall_s = (
        run.manifest.get(name, "unknown") for name in ("scenario", "seed", "command", "started", "wall_s")
    )
    lines = (
        f"{command}, scenario {scenario}, seed {seed}",
        f"started {str(started)[:16].replace('T', ' ')} UTC",
        f"took {wall_s} s",
    )
    st.sidebar.caption("  \n".join(plain(line) for line in lines))


main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
