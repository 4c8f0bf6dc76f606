"""The pacers one by one: limits, what they start with, steps worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auction.pacing import dual_descent, hard_stop, pace, pending_charge, pid, target_spend, throttling, unpaced

PACERS = {
    "unpaced": unpaced(),
    "hard_stop": hard_stop(),
    "dual": dual_descent(step=2.0),
    "pid": pid(kp=0.5, ki=0.2, kd=0.1),
    "pace": pace(),
    "throttling": throttling(step=2.0),
}
every_pacer = pytest.mark.parametrize("pacer", PACERS.values(), ids=PACERS)
shares = st.just(0.0) | st.floats(1e-6, 5.0)


def run(pacer, spend, target):
    state = pacer.init(len(spend[0]) if spend else 1)
    for s, t in zip(spend, target, strict=True):
        state = pacer.update(state, np.array(s), np.array(t))
    return state


@every_pacer
@given(spend=st.lists(st.tuples(shares, shares), max_size=12), target=st.just(0.0) | st.floats(1e-6, 1.0))
def test_multipliers_stay_between_zero_and_one_and_campaigns_do_not_meet(pacer, spend, target):
    state = run(pacer, spend, [(target, target)] * len(spend)) if spend else pacer.init(2)
    multiplier = pacer.multiplier(state)

    assert multiplier.shape == (2,) and ((multiplier >= 0) & (multiplier <= 1)).all()
    for c in range(2):
        alone = run(pacer, [(s[c],) for s in spend], [(target,)] * len(spend)) if spend else pacer.init(1)
        assert pacer.multiplier(alone)[0] == multiplier[c]


@every_pacer
def test_everyone_starts_with_the_whole_bid_and_updates_write_to_nothing(pacer):
    state = pacer.init(3)
    before = state.copy()
    pacer.update(state, np.full(3, 0.3), np.full(3, 0.1))

    assert pacer.multiplier(state).tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(state, before)


@pytest.mark.parametrize("name", ["dual", "pid", "pace", "throttling"])
def test_spending_ahead_of_target_lowers_and_behind_it_raises_the_multiplier(name):
    pacer = PACERS[name]
    start = run(pacer, [(0.2, 0.2)], [(0.1, 0.1)])
    after = pacer.multiplier(pacer.update(start, np.array([0.2, 0.02]), np.full(2, 0.1)))
    before = pacer.multiplier(start)

    assert after[0] < before[0] < 1.0
    assert after[1] > before[1]


def test_pid_in_velocity_form_by_hand():
    """Errors -1, -0.5: log m = -(0.5 + 0.2 + 0.1), then + 0.5 x 0.5 - 0.2 x 0.5 + 0.1 x (-0.5 + 2)."""
    pacer = PACERS["pid"]
    first = run(pacer, [(0.2,)], [(0.1,)])
    second = pacer.update(first, np.array([0.15]), np.array([0.1]))

    assert np.log(pacer.multiplier(first)) == pytest.approx([-0.8])
    assert np.log(pacer.multiplier(second)) == pytest.approx([-0.8 + 0.25 - 0.1 + 0.15])


def test_pace_divides_budget_by_value_won():
    """Spend 0.4 at m = 1 against targets of 0.1 and 0.1: m = 1/4; then 0.1 at m = 1/4 is 0.4 of value: m = 0.2 / 0.8."""
    pacer = PACERS["pace"]
    first = run(pacer, [(0.4,)], [(0.1,)])

    assert pacer.multiplier(first) == pytest.approx([0.25])
    assert pacer.multiplier(pacer.update(first, np.array([0.1]), np.array([0.1]))) == pytest.approx([0.25])


def test_a_hard_stop_ends_the_day_at_the_budget_and_begins_the_next():
    pacer = hard_stop()
    spend = [0.4, 0.4, 0.3, 0.0, 0.1]  # pending charges included
    state, seen = pacer.init(1), []
    for s in spend:
        state = pacer.update(state, np.array([s]), np.array([0.25]))
        seen.append(pacer.multiplier(state)[0])

    assert seen == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_stopping_on_what_was_billed_alone_overshoots_and_counting_pending_charges_does_not():
    """200 clicks a day, CVR 5%, CPA 20, budget 1000, delays exponential with mean 3 days.

    200 t is due after t days, of which 200 (t - 3 (1 - e^(-t / 3))) is billed: that reaches 1000 at t = 7.777, 1555 due.
    """
    step, mean, cvr, cpa, clicks = 0.001, 3.0, 0.05, 20.0, 200.0
    age = np.arange(0.0, 12.0, step)
    arrived = 1.0 - np.exp(-age / mean)
    billed = np.cumsum(arrived) * step * clicks * cvr * cpa
    # a click converted already with probability cvr x arrived; the others wait
    waiting = (1.0 - cvr * arrived) * pending_charge(np.full(len(age), cpa), np.full(len(age), cvr), arrived)
    committed = billed + np.cumsum(waiting) * step * clicks

    def due(stop):
        return age[np.argmax(stop >= 1_000)] * clicks * cvr * cpa

    assert due(billed) == pytest.approx(1_555, rel=1e-3)
    assert due(committed) == pytest.approx(1_000, rel=1e-3)


def test_a_pending_charge_fades_as_time_passes_without_a_conversion():
    """price x p (1 - F) / (1 - p F): 20 x 0.5 at the click, 20 x 0.25 / 0.75 half way, 0 at the window's end."""
    pending = pending_charge(np.full(3, 20.0), np.full(3, 0.5), np.array([0.0, 0.5, 1.0]))

    assert pending == pytest.approx([10.0, 20.0 / 3, 0.0])
    assert pending_charge(np.array([20.0]), np.array([1.0]), np.array([1.0])) == pytest.approx([0.0])


def test_the_target_follows_expected_traffic_and_makes_up_for_what_was_not_spent():
    """Traffic 1, 1, 2: a quarter at first; with 0.9 left before the last two, a third of it; all of it at the end."""
    assert target_spend(np.array([1.0]), [1, 1, 2]) == pytest.approx([0.25])
    assert target_spend(np.array([0.9]), [1, 2]) == pytest.approx([0.3])
    assert target_spend(np.array([0.9, -0.1]), [7]) == pytest.approx([0.9, 0.0])


@given(traffic=st.lists(st.floats(0.1, 9.0), min_size=1, max_size=10))
def test_on_target_the_whole_budget_is_spent_as_traffic_comes(traffic):
    left, spent = np.array([1.0]), []
    for t in range(len(traffic)):
        target = target_spend(left, traffic[t:])
        spent.append(target[0])
        left = left - target

    assert spent == pytest.approx(np.array(traffic) / sum(traffic))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pid(kp=-1.0, ki=0.1), "kp is -1"),
        (lambda: pid(kp=0.0, ki=0.0), "ki is 0.0, it must be > 0"),
        (lambda: pid(kp=0.0, ki=0.1, lowest=0.0), "lowest is 0.0, it must be > 0 and <= 1"),
        (lambda: pace(lowest=1.5), "lowest is 1.5"),
        (lambda: throttling(step=float("nan")), "step is nan"),
        (lambda: target_spend(np.ones(1), [0.0]), "traffic adds up to 0"),
        (lambda: target_spend(np.ones(1), [1.0, -1.0]), r"traffic\[1\] is -1"),
        (lambda: pending_charge(np.ones(1), np.array([1.5]), np.zeros(1)), r"p_conversion\[0\] is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
