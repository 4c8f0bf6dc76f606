"""Sliced: the simulation that a reader chooses, and slices of its files, kept for as long as the files stay as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import streamlit as st

from dashboard.load import Shown, version
from dashboard.parts import plain
from marketplace.advertisers import Advertisers, advertisers_of
from marketplace.errors import Refused
from marketplace.replay import arms_of
from marketplace.runs import SCENARIO, inside
from marketplace.scenario import Scenario, load_scenario
from marketplace.slices import FILES, LOG, simulation_of, simulations_in

_Answer = TypeVar("_Answer")
_KEPT = 256  # answers
_KINDS = {"ab": "A/B test", "aa": "A/A test", LOG: "log, served by the first ranker"}


class Chosen(NamedTuple):
    """A simulation of the chosen run."""

    run: str
    name: str
    folder: Path  # of the simulation
    scenario: Scenario
    own: Advertisers
    arms: list[str]  # by position
    settings: Path  # the scenario's file

    @property
    def first_day(self) -> int:
        """Day on which it begins."""
        return 0 if self.name == LOG else self.scenario.calendar.log_days

    @property
    def days(self) -> int:
        """That it lasts."""
        return self.scenario.calendar.log_days if self.name == LOG else self.scenario.calendar.test_days


def with_simulation(show: Callable[[Chosen], None], title: str, *, log: bool) -> None:
    """Let the reader choose a simulation of the run and show it, or say why it cannot be shown.

    Args:
        show: Draws.
        title: Of the view.
        log: Whether the log before the test can be chosen, too.
    """
    st.subheader(title)
    shown: Shown = st.session_state["shown"]
    names = [name for name in simulations_in(shown.folder) if log or name != LOG]
    if not names:
        st.info(
            plain(shown.lacks or f"Run {shown.run} has no simulation in its folder, so there is nothing to show here.")
        )
        return
    try:
        settings = inside(shown.folder, shown.folder / SCENARIO)
        scenario, own = _market(settings, version(settings))
        name = st.selectbox("Simulation", names, format_func=_called, key="simulation", bind="query-params")
        folder = simulation_of(shown.folder, name)
        show(Chosen(shown.run, name, folder, scenario, own, arms_of(scenario, name), settings))
    except Refused as refused:
        st.error(plain(str(refused)))


def one_arm(chosen: Chosen, label: str = "Arm") -> int:
    """Position of the arm that the reader chooses; the only one where there is one."""
    return _arm(chosen, label, list(range(len(chosen.arms)))) or 0


def any_arm(chosen: Chosen, label: str = "Arm") -> int | None:
    """Position of the arm that the reader chooses, None for all together."""
    return _arm(chosen, label, [None, *range(len(chosen.arms))])


def _arm(chosen: Chosen, label: str, options: list[int | None]) -> int | None:
    if len(chosen.arms) == 1:
        return options[0]
    names = ["all" if arm is None else chosen.arms[arm] for arm in options]
    name = st.segmented_control(label, names, default=names[0], required=True, key="side", bind="query-params")
    return options[names.index(str(name))]


def kept(chosen: Chosen, slice_of: Callable[..., _Answer], *args: Any, **choices: Any) -> _Answer:
    """What a function of `marketplace` gives of the simulation; it is asked again where a file or a choice has changed.

    Args:
        chosen: Gives the function its first argument, the simulation's folder.
        slice_of: Further arguments of it that are no plain values follow from the chosen run and the plain ones.
    """
    plain_args = tuple(arg for arg in args if arg is None or isinstance(arg, str | int | float))
    about = f"{slice_of.__module__}.{slice_of.__qualname__}", plain_args, tuple(sorted(choices.items()))
    files = [path for pattern in FILES.values() for path in sorted(chosen.folder.glob(pattern))]
    changed = tuple(version(path) for path in (chosen.settings, *files))
    return _kept(str(chosen.folder), about, changed, lambda: slice_of(chosen.folder, *args, **choices))


@st.cache_data(max_entries=_KEPT, show_spinner=False)
def _kept(folder: str, about: Any, changed: Any, _make: Callable[[], Any]) -> Any:
    return _make()


@st.cache_resource(max_entries=8, show_spinner=False)
def _market(path: Path, changed: tuple[int, int]) -> tuple[Scenario, Advertisers]:
    scenario = load_scenario(path)
    return scenario, advertisers_of(scenario)


def _called(name: str) -> str:
    return _KINDS.get(name, f"world of {name}")
