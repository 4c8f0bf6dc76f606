"""Study: designs of an experiment compared on one market, in many fortnights of it, each held against its own truth."""

import difflib
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
from scipy import stats

from marketplace.errors import Refused
from marketplace.readout import described
from marketplace.replications import Task, run_all, tasks_of, under
from marketplace.runs import Draft
from marketplace.scenario import DESIGN_NAMES, Scenario

STUDIED = ("users", "budgets", "switchback", "clusters", "advertisers")  # by default
POWER = 0.8
Row = dict[str, Any]


def run_study(
    draft: Draft, designs: Sequence[str], seeds: int, requests: int | None, workers: int,
    progress: Callable[[str, float], None],
) -> dict[str, Any]:  # fmt: skip
    """Compare designs on the market of a run that has its log and models.

    Args:
        designs: Names of `DESIGN_NAMES`.
        seeds: Fortnights: the same market, with another luck and other splits.
        requests: Expected in a fortnight: as many of the users come, to their part of the budgets; all where None.
        workers: Processes.
        progress: Told of each kind of simulation and the share of it that is done.

    Raises:
        Refused: If a design is unknown or the experiment cannot be had by it, or an arm has a design's name.
    """
    scenario = draft.scenario
    for arm in scenario.arms:
        if arm in DESIGN_NAMES:  # its world and the test of that design would be one simulation
            raise Refused(f"experiment.arms.{arm}: where designs are compared an arm must not be named as one of them")
    for name in designs:
        if name not in DESIGN_NAMES:
            near = difflib.get_close_matches(name, DESIGN_NAMES, n=1, cutoff=0.0)
            raise Refused(f"--design {name!r}: there are {', '.join(DESIGN_NAMES)}; did you mean {near[0]}?")
        under(scenario, name, scenario.seed)
    users = users_for(scenario, requests)
    tasks = tasks_of(draft.folder, scenario, designs, users, seeds)
    done: dict[str, int] = {}

    def tell(task: Task) -> None:
        done[task.simulation] = done.get(task.simulation, 0) + 1
        progress(task.simulation, done[task.simulation] / seeds)

    for task in tasks[: len(tasks) // seeds]:
        progress(task.simulation, 0.0)
    found = run_all(tasks, workers, tell)
    return {
        "scenario": scenario.name, "seed": scenario.seed, "seeds": seeds, "users": users,
        "test_days": scenario.calendar.test_days, "designs": list(designs), "rows": compared(found, scenario, designs),
        "replications": replications(found),
    }  # fmt: skip


def users_for(scenario: Scenario, requests: int | None) -> int | None:
    """How many users bring so many requests in the test's days; None for all of them.

    Raises:
        Refused: If there are not so many users.
    """
    if requests is None:
        return None
    world, days = scenario.world, scenario.calendar.test_days
    each = world.marginals.sessions_per_day * world.traffic.requests_per_session * days
    users = ceil(requests / each)
    if users > world.population.users:
        most = int(each * world.population.users)
        raise Refused(
            f"--requests {requests}: the {world.population.users:,} users bring about {most:,} in {days} days, ask for fewer"
        )
    return users


def replications(found: dict[Task, list[Row]]) -> list[Row]:
    """A row per fortnight, design, arm and metric: what was read beside the truth of that fortnight."""
    truth = _truths(found)
    rows = []
    for task, own in found.items():
        for row in own:
            if "design" in row and not row["equal"]:
                shown = {
                    name: row[name] for name in ("design", "arm", "metric", "lift", "low", "high", "p_value", "se")
                }
                rows.append(
                    {"luck": task.luck} | shown | {"true_lift": truth.get((task.luck, row["arm"], row["metric"]))}
                )
    return rows


def compared(found: dict[Task, list[Row]], scenario: Scenario, designs: Sequence[str]) -> list[Row]:
    """A row per design, arm and metric: bias, standard error, coverage, days needed, and rejections of equal arms."""
    truth, days = _truths(found), scenario.calendar.test_days
    groups: dict[tuple[str, str, str], tuple[list[Row], list[Row]]] = {}
    for task, own in found.items():
        for row in own:
            if "design" in row:
                place = groups.setdefault((row["design"], row["arm"], row["metric"]), ([], []))
                place[row["equal"]].append(
                    row | {"true_lift": truth.get((task.luck, row["arm"], row["metric"]))}
                )  # fmt: skip
    order = {name: i for i, name in enumerate(designs)}
    keys = sorted(groups, key=lambda key: order[key[0]])
    return [
        {"design": key[0], "arm": key[1]} | described(key[2]) | _summary(*groups[key], days) for key in keys
    ]  # fmt: skip


def _truths(found: dict[Task, list[Row]]) -> dict[tuple[int, str, str], float]:
    """True lift by fortnight, arm and metric."""
    values = {
        (task.luck, task.simulation, row["metric"]): row["value"]
        for task, rows in found.items()
        for row in rows
        if "value" in row
    }
    control = next(iter(found)).simulation
    out = {}
    for (luck, arm, metric), after in values.items():
        before = values.get((luck, control, metric))
        if arm != control and before and after is not None:
            out[luck, arm, metric] = after / before - 1
    return out


def _summary(tests: list[Row], equal: list[Row], days: int) -> Row:
    """Of one metric in all fortnights. Logs are averaged, so that a gain and the loss that undoes it are as far from 0."""
    read = [r for r in tests if r["se"] is not None and r["true_lift"] is not None and r["true_lift"] > -1]
    ps = [r["p_value"] for r in equal if r["p_value"] is not None]
    out: Row = {
        "fortnights": len(read), "equal": len(ps), "rejected": sum(p < 0.05 for p in ps), "why": "",
    } | dict.fromkeys(
        ("lift", "true_lift", "true_low", "true_high", "bias", "bias_low", "bias_high", "se", "spread", "covered",
         "days_needed")
    )  # fmt: skip
    if not read:
        return out | {"why": next((r["why"] for r in tests if r["why"]), "no truth")}
    lift, truth = np.log1p([r["lift"] for r in read]), np.log1p([r["true_lift"] for r in read])
    se = float(np.sqrt(np.mean([r["se"] ** 2 for r in read])))
    true, off = _mean(truth), _mean(lift - truth)
    return out | {
        "lift": float(np.expm1(lift.mean())), **dict(zip(("true_lift", "true_low", "true_high"), true, strict=True)),
        **dict(zip(("bias", "bias_low", "bias_high"), off, strict=True)), "se": se,
        "spread": float(np.std(lift - truth, ddof=1)) if len(read) > 1 else None,
        "covered": sum(r["low"] <= r["true_lift"] <= r["high"] for r in read),
        "days_needed": _days_needed([r["se_by_day"] for r in read], true, days),
    }  # fmt: skip


def _mean(logs: np.ndarray) -> tuple[float, float | None, float | None]:
    """A mean of logs as a relative difference, with its 95% interval over fortnights."""
    n, mean = len(logs), float(logs.mean())
    if n < 2:
        return float(np.expm1(mean)), None, None
    half = float(stats.t.isf(0.025, n - 1) * logs.std(ddof=1) / np.sqrt(n))
    return float(np.expm1(mean)), float(np.expm1(mean - half)), float(np.expm1(mean + half))


def _days_needed(
    se_by_day: Sequence[Sequence[float | None]], true: tuple[float, float | None, float | None], days: int
) -> int | None:
    """First day on which the true lift would be found with probability POWER at 5%; None where there is no lift to be found.

    Beyond the test the variance is taken to go on falling with time as 1 / days, from the last day on.
    """
    lift, low, high = true
    if low is None or high is None or low <= 0 <= high:
        return None
    wanted = abs(np.log1p(lift)) / (stats.norm.isf(0.025) + stats.norm.ppf(POWER))
    for day in range(days):
        own = [by_day[day] for by_day in se_by_day if len(by_day) == days]
        known = [se for se in own if se is not None]
        if known and len(known) == len(own) and np.sqrt(np.mean(np.square(known))) <= wanted:
            return day + 1
    last = [by_day[-1] for by_day in se_by_day if by_day[-1] is not None]
    return ceil(days * float(np.mean(np.square(last))) / wanted**2) if last else None
