"""Foresight: before a test, what it would find and how long it would take, from the moments of the market's own log by day."""

from collections.abc import Sequence
from math import ceil, isfinite, sqrt
from typing import Any

from marketplace.errors import Refused
from marketplace.metrics import Metric, Moments, counted, value
from marketplace.power import minimum_effect
from marketplace.readings import READINGS, load_readings
from marketplace.readout import described, metrics_of
from marketplace.runs import Draft
from marketplace.scenario import Scenario
from marketplace.stats import varies

_ALPHA = 0.05  # at which a test is read
_LEAST_LIFT = 0.0001  # that days are asked for: less takes longer than any test
Row = dict[str, Any]


def check_foresight(scenario: Scenario, lift: float | None, power: float) -> None:
    """Raises `Refused` where the log cannot tell what the test would find, or it is asked what no test does."""
    own = scenario.experiment
    if own.design not in ("users", "budgets"):
        raise Refused(
            f"experiment.design is {own.design}, it must be users or budgets: the log's moments are of users, they do not hold "
            "how the units of other designs vary"
        )
    if own.ramp:
        raise Refused(
            "experiment.ramp has stages, it must be empty: a user can be in several arms there, and the log's moments do "
            "not hold what its stages have in common"
        )
    if lift is not None and not (lift > -1 and abs(lift) >= _LEAST_LIFT and isfinite(lift)):
        raise Refused(f"--lift is {lift:g}, it must be a number above -1 and at least {_LEAST_LIFT} away from 0")
    if not _ALPHA < power < 1:
        raise Refused(
            f"--power is {power:g}, it must be below 1 and above {_ALPHA}, the share of tests that find what is not there"
        )


def foresight(draft: Draft, lift: float | None, power: float) -> dict[str, Any]:
    """What the experiment of a run with a log would find, metric by metric; see `foreseen`.

    Raises:
        Refused: If the log's moments are missing or damaged.
    """
    scenario = draft.scenario
    shares = {name: float(arm.share or 0.0) for name, arm in scenario.arms.items()}
    control, *others = shares
    path = draft.folder / "state" / READINGS
    days: list[Moments] = []
    for day in load_readings(path):
        if not isinstance(day.arms, list):
            raise Refused(f"{path} is of another version: its moments are not of one arm")
        days.append(day.arms[0])
    rows = [
        {"arm": arm} | foreseen(metric, days, (shares[control], shares[arm]), scenario.calendar.test_days, lift, power)
        for arm in others
        for metric in metrics_of(scenario)
    ]
    return {
        "scenario": scenario.name, "seed": scenario.seed, "design": scenario.experiment.design, "log_days": len(days),
        "test_days": scenario.calendar.test_days, "shares": shares, "lift": lift, "power": power, "rows": rows,
    }  # fmt: skip


def foreseen(
    metric: Metric, days: Sequence[Moments], shares: tuple[float, float], test_days: int, lift: float | None, power: float
) -> Row:  # fmt: skip
    """What a test of a metric would find, and the days that it would need.

    Behind the log's last day L the variance is taken to fall as 1 / days: the least lift after t days is that after L times
    sqrt(L / t). The same users come back, so this is not exact: from three days of the delivery market to seven it is 13% too
    low for revenue and 8% too high for trials.

    Args:
        metric: To be read, without CUPED: what it will take out is not known before the test.
        days: Moments of the log's users as they stood at the end of each of its days.
        shares: Of the users in control and in the arm.
        test_days: Of the test.
        lift: Relative, which is to be found; None if none is asked for.
        power: Share of tests that find the lift.

    Returns:
        The metric's value at the end of the log; the least lift found after the test's days, and whether that is beyond the log;
        the first day after which the lift asked for is found, and whether that is. Where a figure is None, `why` says so.
    """
    last = len(days)
    least = [minimum_effect(metric, moments, shares, power=power, alpha=_ALPHA) for moments in days]
    row = described(metric.name) | {"value": value(metric, days[-1]), "why": _why(metric, days[-1], least[-1])}
    minimum = least[min(test_days, last) - 1]
    if minimum is not None and test_days > last:
        minimum *= sqrt(last / test_days)
    needed = None if lift is None else _days_needed(least, abs(lift))
    if minimum is None and not row["why"]:
        row["why"] = f"cannot be read after {test_days} {'day' if test_days == 1 else 'days'} of the log"
    return row | {
        "minimum_effect": minimum, "beyond_log": minimum is not None and test_days > last,
        "days_needed": needed, "days_beyond_log": needed is not None and needed > last,
    }  # fmt: skip


def _days_needed(least: Sequence[float | None], lift: float) -> int | None:
    """The first day whose least effect is at most the lift; behind the last by its square."""
    for day, effect in enumerate(least, start=1):
        if effect is not None and effect <= lift:
            return day
    return None if least[-1] is None else ceil(len(least) * (least[-1] / lift) ** 2)


def _why(metric: Metric, log: Moments, least: float | None) -> str:
    """What is missing of the log's moments where they give no least effect."""
    if least is not None:
        return ""
    if not counted(metric, log):
        return "not counted in the log"
    found = value(metric, log)
    if found is None:
        return f"no {metric.denominator} in the log"
    if found == 0:
        return f"no {metric.numerator} in the log"
    return "too few users in an arm" if varies(metric, log) else "does not vary in the log"
