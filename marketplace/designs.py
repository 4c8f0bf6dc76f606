"""Designs: from the experiment's settings to an assignment, and from counters to what is read of them."""

from typing import Any, NamedTuple

import numpy as np

from marketplace.assignment import (
    Assignment,
    ramp,
    split_campaigns,
    split_clusters,
    split_users,
    split_visits,
    switchback,
)
from marketplace.counters import NAMES, Counters
from marketplace.errors import Refused
from marketplace.metrics import QUANTILES, Joint, Metric, Moments, joint_of, moments_by_arm, moments_by_stratum
from marketplace.scenario import Scenario
from marketplace.simulate import Result
from marketplace.stats import Effect, effect, effect_crossed, post_stratified, quantile_effect, strata_of
from synth.types import BoolArray, FloatArray, IdArray
from synth.users import Users
from synth.world import World

STRATA = 4  # of users, about equally many, by their requests in the log
RESAMPLES = 200  # of quantiles
_REQUESTS = NAMES.index("requests")


class Reading(NamedTuple):
    """What a test is read from."""

    arms: list[Moments] | Joint  # Joint where a unit can be in several arms
    weight: FloatArray  # (stages, arms) of a stage in the reading of an arm
    strata: list[Moments] | None = None  # of each arm, post-stratified
    exposed: list[Moments] | None = None  # of users who saw an ad of a campaign under test, or would have
    cuped: bool = False

    def effect(self, metric: Metric, arm: int, level: float = 0.95) -> Effect:
        """The metric in `arm` against control, as the experiment adjusts it."""
        if isinstance(self.arms, Joint):
            if not self.weight.any():
                return Effect(None, None, None, None, None, None, "no requests")
            return effect_crossed(metric, self.arms, arm, self.weight[:, arm], level=level)
        plain = effect(metric, self.arms[0], self.arms[arm], cuped=self.cuped, level=level)
        if self.strata is None:
            return plain
        read = effect(metric, self.strata[0], self.strata[arm], level=level)
        if read.se is None or plain.se is None:
            return read
        return read._replace(variance_ratio=read.se**2 / plain.se**2)


def assignment_of(scenario: Scenario, world: World, first_day: int) -> Assignment:
    """Who is in which arm, for a test that begins on `first_day`.

    Raises:
        Refused: If an arm would have too few units to be read.
    """
    own, users, seed = scenario.experiment, world.population.users, scenario.seed
    n_users, shares = len(users.region), tuple(float(arm.share or 0.0) for arm in scenario.arms.values())
    stages = [(stage.days, stage.share) for stage in own.ramp]
    makers = {
        "users": lambda: (
            ramp(n_users, shares, stages, first_day, seed) if stages else split_users(n_users, shares, seed)
        ),
        "budgets": lambda: split_users(n_users, shares, seed, budgets=True),
        "sessions": lambda: split_visits(n_users, shares, seed, sessions=True),
        "requests": lambda: split_visits(n_users, shares, seed, sessions=False),
        "switchback": lambda: switchback(
            n_users, shares, first_day, scenario.calendar.test_days, own.block_minutes, own.burn_in_minutes, seed
        ),
        "clusters": lambda: split_clusters(getattr(users, own.cluster), shares, seed),
        "advertisers": lambda: split_campaigns(scenario.world.campaigns.count, shares, seed),
    }
    try:
        found = makers[own.design]()
    except ValueError as error:
        raise Refused(f"scenario {scenario.name}: experiment.design is {own.design}: {error}") from error
    if own.design in ("users", "budgets") and not stages and found.of_unit is not None:
        sizes = np.bincount(found.of_unit, minlength=len(shares))
        if sizes.min() < 2:
            name = list(scenario.arms)[int(sizes.argmin())]
            raise Refused(
                f"scenario {scenario.name}: experiment.arms.{name} has {sizes.min()} of {n_users:,} users, an arm must have "
                "2 at least"
            )
    return found


def read(
    counters: Counters,
    assignment: Assignment,
    budget_usd: float,
    before: FloatArray | None = None,
    adjust: str = "none",
) -> Reading:
    """Moments of what was counted, in the units of the design.

    Args:
        budget_usd: All budgets of the test.
        before: (U, len(NAMES)) what users did before the test.
        adjust: How the past is used, see `ExperimentConfig`.
    """
    shares = np.asarray(assignment.shares)
    if assignment.of_unit is None:
        cells = counters.table().reshape(*shares.shape, len(counters.came), len(NAMES))
        requests, users = cells[..., _REQUESTS], None
        if counters.rows.unit == "visit":  # as many users as there are visits: a larger arm sees more of each user
            users = _by_traffic(requests, counters)
        return Reading(joint_of(cells, budget_usd, users), requests.sum(axis=(1, 2))[:, None] * _weight(shares))
    past = before if adjust != "none" else None
    own, users, past = units_of(counters, assignment, past)
    arm, n_arms = assignment.of_unit, shares.shape[1]
    found = moments_by_arm(own, arm, budget_usd, n_arms, users=users, before=past if adjust == "cuped" else None)
    exposed = None
    # where budgets are split, withheld campaigns never spend their part of the arm's, so that they win there more and more
    if users is None and counters.tested.any() and assignment.of_account is None:
        saw = own[:, NAMES.index("exposures")] > 0
        part = budget_usd * saw.sum() / max(counters.came.sum(), 1)
        exposed = moments_by_arm(own, np.where(saw, arm, -1), part, n_arms)
    if adjust != "strata" or past is None:
        return Reading(found, _weight(shares), exposed=exposed, cuped=adjust == "cuped")
    parts = moments_by_stratum(own, arm, strata_of(past[:, _REQUESTS], STRATA), budget_usd, n_arms)
    return Reading(found, _weight(shares), strata=post_stratified(parts), exposed=exposed)


def units_of(
    counters: Counters, assignment: Assignment, before: FloatArray | None
) -> tuple[FloatArray, FloatArray | None, FloatArray | None]:
    """The table that a design with a unit in one arm each is read on.

    Returns:
        (units, len(NAMES)); how many users each unit stands for, None where units are users; and `before` by unit.
    """
    table, came = counters.table(), float(counters.came.sum())
    if assignment.group is not None:
        users = sums_by(counters.came.astype(np.float64)[:, None], assignment.group)[:, 0]
        past = None if before is None else sums_by(before, assignment.group)
        return sums_by(table, assignment.group), users, past
    if counters.rows.unit == "block":  # as many users as it has traffic
        return table, _by_traffic(table[:, _REQUESTS], counters), None
    if counters.rows.unit == "campaign":  # every campaign is before all users
        return table, np.full(len(table), came / len(table)), None
    return table, None, before


def quantile_rows(counters: Counters, assignment: Assignment, arms: list[str], seed: int) -> list[dict[str, Any]]:
    """Quantile metrics of every arm but control over active users; none where arms are not of users."""
    if assignment.of_unit is None or assignment.group is not None or counters.rows.unit != "user":
        return []
    table = counters.table()[counters.came]
    arm = assignment.of_unit[counters.came]
    return [
        {"arm": name, "metric": metric.name}
        | quantile_effect(
            table[:, NAMES.index(metric.counter)], arm, position, metric.q, resamples=RESAMPLES, seed=seed
        )._asdict()
        for position, name in enumerate(arms)
        if position > 0
        for metric in QUANTILES
    ]


class Split(NamedTuple):
    """How many units came to each arm, of all or of those of a part."""

    segment: str  # "" of all
    part: str
    unit: str
    units: list[int]
    shares: list[float]
    by_chance: bool  # each unit was split by a draw of its own, so that a sample ratio can be tested


def splits(result: Result, assignment: Assignment, design: str, users: Users) -> list[Split]:
    """How the units were split that came, over all, and by stage, platform and cohort of users."""
    came, shares, arms = result.counters.came, [list(own) for own in assignment.shares], assignment.arms
    if design in ("requests", "sessions"):
        by_arm = result.requests_by_arm if design == "requests" else result.sessions_by_arm
        return [Split("", "", design, list(by_arm.values()), shares[0], True)]
    if assignment.of_unit is None:
        cells = result.counters.sums[:, _REQUESTS].reshape(len(shares), arms, -1)
        return [
            Split("stage", str(s + 1), "users", (cells[s] > 0).sum(axis=1).tolist(), own, True)
            for s, own in enumerate(shares)
        ]

    of_unit = assignment.of_unit

    def of(units: BoolArray) -> list[int]:
        return np.bincount(of_unit[units], minlength=arms).tolist()

    if assignment.group is not None or result.counters.rows.unit != "user":
        what = "clusters" if assignment.group is not None else f"{result.counters.rows.unit}s"
        return [Split("", "", what, of(np.ones(len(of_unit), np.bool_)), shares[0], False)]
    rows = [Split("", "", "users", of(came), shares[0], True)]
    for segment in ("platform", "cohort"):
        part = getattr(users, segment)
        rows += [
            Split(segment, str(value), "users", of(came & (part == value)), shares[0], True)
            for value in np.unique(part[came])
        ]
    return rows


def _by_traffic(requests: FloatArray, counters: Counters) -> FloatArray:
    """All users who came, spread over rows or cells as their requests are."""
    return counters.came.sum() * requests / max(requests.sum(), 1.0)


def _weight(shares: FloatArray) -> FloatArray:
    """(stages, arms) of a stage in an arm's reading: what a comparison of two groups of these sizes tells."""
    control = shares[:, :1]
    return control * shares / (control + shares)


def sums_by(table: FloatArray, group: IdArray) -> FloatArray:
    """(groups, m) sums of rows (n, m)."""
    out = np.zeros((int(group.max()) + 1, table.shape[1]))
    np.add.at(out, group, table)
    return out
