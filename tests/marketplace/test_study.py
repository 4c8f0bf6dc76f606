"""Studies of designs: the same rows however they are run, truth from twin worlds, equal arms, and the arithmetic by hand."""

from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from marketplace.assignment import everyone
from marketplace.counters import NAMES
from marketplace.errors import Refused
from marketplace.experiment import arms_of
from marketplace.market import load_world
from marketplace.readout import metrics_of
from marketplace.record import NoRecord
from marketplace.replications import AGAIN, Task, run_task, tasks_of, under
from marketplace.runs import Draft
from marketplace.scenario import DESIGN_NAMES, load_scenario
from marketplace.shape import check
from marketplace.simulate import simulate
from marketplace.state import load_state
from marketplace.study import _days_needed, _summary, _truths, compared, replications, run_study, users_for
from marketplace.study_shape import StudyFile

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
BIDS_MORE = [
    "experiment.arms.control.model=first_ranker", "experiment.arms.treatment.model=first_ranker",
    "experiment.arms.treatment.bid_factor=1.1",
]  # fmt: skip
DESIGNS = ("users", "budgets")
FIXED = ("scored", "fill_rate")  # there are ads enough for every slot, whoever comes
Z = 1.959963985 + 0.841621234  # of 5% in two tails, and of a power of 80%


@pytest.fixture(scope="module")
def scenario():
    return load_scenario(TINY, BIDS_MORE)


def study(finished, scenario, designs=DESIGNS, *, workers=1, requests=None):
    return run_study(
        Draft(finished.folder, scenario, "design"), designs, 2, requests, workers, lambda what, share: None
    )


@pytest.fixture(scope="module")
def studied(finished, scenario):
    return study(finished, scenario)


@pytest.fixture(scope="module")
def control(finished, scenario):
    """The first fortnight where control serves all, in a study of every design but that of budgets."""
    designs = [name for name in DESIGN_NAMES if name != "budgets"]
    return tasks_of(finished.folder, scenario, designs, None, 1)[0]


@pytest.fixture(scope="module")
def in_control(control):
    return run_task(control)


def test_two_workers_give_the_rows_of_one(finished, scenario):
    one, two = (study(finished, scenario, ("users",), workers=workers, requests=2_000) for workers in (1, 2))

    assert one == two


def test_a_study_has_a_row_for_each_design_and_metric_and_one_more_for_each_fortnight(scenario, studied):
    names = [metric.name for metric in metrics_of(scenario)]

    assert [(r["design"], r["metric"]) for r in studied["rows"]] == [(d, name) for d in DESIGNS for name in names]
    assert len({(r["luck"], r["design"], r["metric"]) for r in studied["replications"]}) == 2 * 2 * len(names)
    assert {row["equal"] for row in studied["rows"] if row["metric"] == "revenue"} == {2}


def test_the_truth_of_a_fortnight_is_that_of_the_twin_worlds(finished, scenario, studied):
    """Spend over active users, counted here from two simulations with that fortnight's luck."""
    found = [r for r in studied["replications"] if (r["design"], r["metric"]) == ("users", "revenue")]
    world = load_world(scenario, finished.folder / "truth")
    for row in found:
        revenue = []
        for arm in arms_of(scenario, finished.folder):
            own, state = world.with_luck(row["luck"]), load_state(scenario, world, finished.folder / "state")
            luck = scenario.model_copy(update={"seed": row["luck"]})
            counters = simulate(
                luck, own, (arm,), everyone(2_000), state, NoRecord(), first_day=3, days=2, threads=1
            ).counters
            table = counters.table()
            revenue.append(table[:, NAMES.index("spend_usd")].sum() / (table[:, NAMES.index("requests")] > 0).sum())
        assert row["true_lift"] == pytest.approx(revenue[1] / revenue[0] - 1, rel=1e-9)
        assert row["true_lift"] != 0


def test_a_fortnight_repeats_with_its_luck_and_differs_with_another(control, in_control):
    assert run_task(control) == in_control

    other = run_task(control._replace(luck=control.luck + 1))
    assert [row["metric"] for row in other] == [row["metric"] for row in in_control]
    value = {row["metric"]: row["value"] for row in in_control if "value" in row}
    assert not any(
        row["value"] == value[row["metric"]] for row in other if row.get("value") and row["metric"] not in FIXED
    )


@pytest.mark.parametrize("design", [name for name in DESIGN_NAMES if name != "budgets"])
def test_equal_arms_read_from_the_world_of_control_are_those_of_an_a_a_test(control, in_control, design):
    """By every design whose arms share budgets; but for the looks of each day, which the world of control has not."""
    read = [row for row in in_control if row.get("design") == design]
    simulated = run_task(control._replace(simulation=f"{design} {AGAIN}"))

    assert any(row["p_value"] is not None for row in read)
    assert [row | {"se_by_day": []} for row in read] == [row | {"se_by_day": []} for row in simulated]


def reading(lift, true, *, low=None, high=None, se=0.1, days=(None, 0.1)):
    return {
        "lift": lift, "true_lift": true, "low": low, "high": high, "se": se, "p_value": 0.5, "why": "", "se_by_day": list(days)
    }  # fmt: skip


def test_a_summary_averages_logs_and_counts_what_was_covered_and_rejected():
    """Lifts of +10% and 0% on a truth of +5% twice: logs are off by log 1.1 - log 1.05 and -log 1.05."""
    tests = [reading(0.1, 0.05, low=0.02, high=0.2, se=0.04), reading(0.0, 0.05, low=-0.05, high=0.04, se=0.03)]
    equal = [{"p_value": p} for p in (0.01, 0.05, 0.2, None)]

    found = _summary(tests, equal, 2)

    assert found["fortnights"] == 2 and found["covered"] == 1
    assert found["equal"] == 3 and found["rejected"] == 1
    assert found["lift"] == pytest.approx(sqrt(1.1) - 1)
    assert found["bias"] == pytest.approx(sqrt(1.1) / 1.05 - 1)
    assert found["true_lift"] == found["true_low"] == found["true_high"] == pytest.approx(0.05)
    assert found["se"] == pytest.approx(sqrt((0.04**2 + 0.03**2) / 2))
    assert found["spread"] == pytest.approx(log(1.1) / sqrt(2))
    half = 12.7062047 * log(1.1) / 2  # Student's t with one degree of freedom, x spread / sqrt 2
    assert found["bias_low"] == pytest.approx(sqrt(1.1) / 1.05 * exp(-half) - 1)
    assert found["bias_high"] == pytest.approx(sqrt(1.1) / 1.05 * exp(half) - 1)


def test_a_gain_and_the_loss_that_undoes_it_are_no_bias():
    assert _summary([reading(0.25, 0.0, low=0, high=1), reading(-0.2, 0.0, low=-1, high=0)], [], 2)[
        "bias"
    ] == pytest.approx(0)


def test_fortnights_without_a_reading_or_a_truth_are_left_out_and_none_at_all_says_why():
    unread = reading(None, 0.1, se=None) | {"why": "no clicks in control"}
    some = _summary([reading(0.1, 0.1, low=0, high=1), unread, reading(0.3, None), reading(-0.5, -1.0)], [], 2)

    assert some["fortnights"] == 1 and some["bias"] == pytest.approx(0) and some["bias_low"] is some["spread"] is None
    assert _summary([unread], [], 2)["why"] == "no clicks in control"
    assert _summary([reading(0.1, None)], [], 2)["why"] == "no truth"


def needed(se_by_day, days, *, se_wanted=0.04, lift=None):
    """Days for a true lift that a standard error of `se_wanted` finds."""
    true = exp(Z * se_wanted) - 1 if lift is None else lift
    return _days_needed(se_by_day, (true, true - 0.01, true + 0.01), days)


def test_days_needed_are_those_after_which_the_error_is_small_enough():
    """Of two fortnights the squares are averaged: sqrt((0.05^2 + 0.03^2) / 2) = 0.0412 is not, sqrt(0.03^2) is."""
    assert needed([[0.09, 0.05, 0.0399]], 3) == 3
    assert needed([[0.05, 0.03], [0.03, 0.03]], 2) == 2
    assert needed([[None, 0.03]], 2) == 2
    assert needed([[0.03, 0.03], [None, 0.03]], 2) == 2
    assert needed([[0.039, 0.03]], 2, lift=exp(-Z * 0.04) - 1) == 1


def test_beyond_the_test_the_variance_falls_as_one_over_days():
    """2 days x (0.08 / 0.041)^2 = 7.6."""
    assert needed([[0.12, 0.08]], 2, se_wanted=0.041) == 8
    assert needed([[0.12, 0.08], [0.12, 0.04]], 2, se_wanted=0.041) == 5  # 2 x (0.0064 + 0.0016) / 2 / 0.041^2 = 4.8


def test_no_number_of_days_finds_a_lift_that_may_be_none():
    assert _days_needed([[0.1, 0.1]], (0.01, -0.01, 0.03), 2) is None
    assert _days_needed([[0.1, 0.1]], (0.01, None, None), 2) is None


def test_truth_and_readings_meet_by_fortnight_and_arm(scenario):
    """Two fortnights, worlds of 10 and 11, 20 and 18 revenue; the second fortnight's control has no clicks."""

    def task(luck, simulation):
        return Task("", "", ("users",), None, luck, simulation)

    def world_of(revenue, ctr):
        return [{"metric": "revenue", "value": revenue}, {"metric": "CTR", "value": ctr}]

    def read(lift, metric, equal=False):
        effect = reading(lift, None, low=lift - 0.06, high=lift + 0.06)
        return {"design": "users", "arm": "treatment", "metric": metric, "equal": equal} | effect

    found = {
        task(8, "control"): [*world_of(10.0, 0.1), read(0.0, "revenue", equal=True)], task(8, "treatment"): world_of(11.0, 0.2),
        task(8, "users"): [read(0.12, "revenue"), read(1.0, "CTR")],
        task(9, "control"): [*world_of(20.0, 0.0), read(0.0, "revenue", equal=True)], task(9, "treatment"): world_of(18.0, 0.2),
        task(9, "users"): [read(0.0, "revenue"), read(1.0, "CTR")],
    }  # fmt: skip

    truth = _truths(found)
    assert truth == pytest.approx(
        {(8, "treatment", "revenue"): 0.1, (9, "treatment", "revenue"): -0.1, (8, "treatment", "CTR"): 1.0}
    )
    by_metric = {r["metric"]: r for r in compared(found, scenario, ("users",))}
    assert by_metric["revenue"]["covered"] == 1 and by_metric["revenue"]["equal"] == 2
    assert by_metric["revenue"]["bias"] == pytest.approx(sqrt(1.12 / (1.1 * 0.9)) - 1)
    assert by_metric["CTR"]["fortnights"] == 1
    assert [r["true_lift"] for r in replications(found)] == pytest.approx([0.1, 1.0, -0.1, None], nan_ok=True)


def test_so_many_users_come_as_bring_the_requests(scenario):
    """A session a day, 2 requests in it, 2 days: 4 a user."""
    assert users_for(scenario, None) is None
    assert users_for(scenario, 4_000) == 1_000
    assert users_for(scenario, 4_001) == 1_001
    assert users_for(scenario, 8_000) == 2_000
    with pytest.raises(Refused, match=r"--requests 8001: the 2,000 users bring about 8,000 in 2 days, ask for fewer"):
        users_for(scenario, 8_001)


def test_a_study_of_so_few_users_that_nothing_is_read_says_why(finished, scenario):
    found = study(finished, scenario, requests=5)

    assert found["users"] == 2
    assert all(row["fortnights"] == 0 and row["why"] for row in found["rows"] if row["metric"] == "CPA")


def test_what_cannot_be_studied_is_refused(finished, scenario):
    with pytest.raises(Refused, match=r"--design 'user': there are users, .*; did you mean users\?"):
        study(finished, scenario, ("users", "user"))
    uneven = load_scenario(TINY, [*BIDS_MORE, "experiment.block_minutes=1080"])
    with pytest.raises(
        Refused, match=r"--design 'switchback': experiment\.block_minutes is 1080, it must divide the 2 days"
    ):
        study(finished, uneven, ("switchback",))
    named = load_scenario(TINY, [*BIDS_MORE, "experiment.arms.users.model=first_ranker"])
    with pytest.raises(Refused, match=r"experiment\.arms\.users: where designs are compared an arm must not be named"):
        study(finished, named)


def test_under_another_design_a_scenario_keeps_only_what_that_design_can_read(scenario):
    own = {"ramp": [{"days": 1, "share": 0.2}, {"days": 1, "share": 0.5}]}
    ramped = type(scenario).model_validate(
        scenario.model_dump() | {"experiment": scenario.experiment.model_dump() | own}
    )
    strata = scenario.model_copy(update={"experiment": scenario.experiment.model_copy(update={"adjust": "strata"})})

    assert len(under(ramped, "users", 5).experiment.ramp) == 2
    assert under(ramped, "budgets", 5).experiment.ramp == []
    assert under(strata, "budgets", 5).experiment.adjust == "strata"
    assert under(strata, "clusters", 5).experiment.adjust == under(strata, "sessions", 5).experiment.adjust == "none"
    assert under(scenario, "clusters", 5).seed == 5 and np.isclose(
        under(scenario, "clusters", 5).arms["treatment"].share, 0.5
    )


def test_a_study_is_of_the_shape_that_is_read_again(studied):
    check(StudyFile, studied, "study.json")
