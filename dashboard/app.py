"""The dashboard: a window on runs, which computes nothing; what it starts runs in processes of their own.

`marketplace dashboard RUNS` opens it; so does `streamlit run dashboard/app.py -- RUNS SCENARIOS JOBS`.
"""

import sys
from pathlib import Path

import streamlit as st

from dashboard.load import Places, find_run, read_run, run_names
from dashboard.parts import choice, plain
from marketplace.errors import Refused
from marketplace.runs import Run

VIEWS = Path(__file__).parent / "views"
PAGES = (
    "readout", "truth", "models", "auction", "pacing", "users", "cost", "compare", "runs", "run",
)  # fmt: skip
OF_ALL_RUNS = "compare", "runs", "run"  # shown whatever run is chosen, and where there is none


def main(places: Places) -> None:
    """Show the chosen view of the chosen run, or a sentence that says why not."""
    st.set_page_config(page_title="Ad marketplace", page_icon="📈", layout="wide")
    view = st.navigation(
        [st.Page(VIEWS / f"{n}.py", title=n.capitalize(), url_path=n, default=n == PAGES[0]) for n in PAGES]
    )
    st.session_state["places"] = places
    try:
        name = choose(places.runs)
        if view.url_path not in OF_ALL_RUNS:
            if name is None:
                st.info(
                    f"There is no finished run in {plain(str(places.runs))} yet. `marketplace compare SCENARIO` makes one."
                )
                return
            run = find_run(places.runs, name)
            st.session_state["shown"] = read_run(run)
            describe(run)
        view.run()
    except Refused as refused:
        st.error(plain(str(refused)))


def choose(runs: Path) -> str | None:
    """Name of the run that the reader or the link asks for, the newest by default; None where there is none yet.

    Raises:
        Refused: If there is no runs folder.
    """
    names = run_names(runs)
    if not names:
        return None
    asked = st.query_params.get("run")  # before the selector, which takes an unknown name out of the link
    with st.sidebar:
        chosen = choice("Run", names, "run", names[0])
    return chosen or asked or names[0]


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


def places_of(runs: str = "runs", scenarios: str = "scenarios", jobs: str = "1") -> Places:
    """Places named by arguments."""
    return Places(Path(runs), Path(scenarios), int(jobs))


main(places_of(*sys.argv[1:]))
