"""Pacing: multipliers that spend a budget evenly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auction.pacing import dual_descent, unpaced

law = settings(deadline=None, derandomize=True, max_examples=150)
PACERS = [unpaced(), dual_descent(step=0.5), dual_descent(step=1000.0), dual_descent(step=2.0, mu_max=3.0)]
share = st.floats(0, 5)


@pytest.mark.parametrize("pacer", PACERS)
@law
@given(intervals=st.lists(st.tuples(share, share, share), max_size=20))
def test_multipliers_stay_above_zero_and_at_or_below_one(pacer, intervals):
    state = pacer.init(3)
    for spend in intervals:
        state = pacer.update(state, np.array(spend), np.full(3, 0.1))
        multiplier = pacer.multiplier(state)
        assert multiplier.shape == (3,)
        assert ((multiplier > 0) & (multiplier <= 1)).all()


@pytest.mark.parametrize("pacer", PACERS)
def test_everyone_starts_at_the_full_bid(pacer):
    assert pacer.multiplier(pacer.init(2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("pacer", PACERS)
def test_campaigns_are_paced_apart(pacer):
    spend, target = np.array([0.3, 0.0, 0.1]), np.array([0.1, 0.1, 0.1])
    together = pacer.update(pacer.init(3), spend, target)

    apart = [pacer.update(pacer.init(1), spend[[c]], target[[c]])[0] for c in range(3)]

    assert together.tolist() == apart


@pytest.mark.parametrize("pacer", PACERS)
def test_the_callers_state_is_not_written_to(pacer):
    state = np.array([1.0, 2.0])

    pacer.update(state, np.array([0.5, 0.0]), np.array([0.1, 0.1]))

    assert state.tolist() == [1.0, 2.0]


def test_unpaced_bids_the_full_value_whatever_was_spent():
    pacer = unpaced()

    state = pacer.update(pacer.init(2), np.array([0.9, 0.0]), np.array([0.1, 0.1]))

    assert pacer.multiplier(state).tolist() == [1.0, 1.0]


def test_two_steps_of_dual_descent_worked_out_by_hand():
    """Step 5. Spending 0.30 of a target of 0.10: mu = 1, multiplier 1/2. Then 0.04 of 0.10: mu = 0.7, 1/1.7."""
    pacer = dual_descent(step=5.0)

    first = pacer.update(pacer.init(1), np.array([0.30]), np.array([0.10]))
    second = pacer.update(first, np.array([0.04]), np.array([0.10]))

    assert pacer.multiplier(first) == pytest.approx([0.5])
    assert pacer.multiplier(second) == pytest.approx([1 / 1.7])


def test_spending_on_target_changes_nothing_ahead_of_it_lowers_and_behind_it_raises():
    pacer = dual_descent(step=2.0)
    state = np.full(3, 0.8)

    multiplier = pacer.multiplier(pacer.update(state, np.array([0.1, 0.2, 0.05]), np.full(3, 0.1)))

    before = 1 / 1.8
    assert multiplier[0] == pytest.approx(before)
    assert multiplier[1] < before < multiplier[2]


def test_mu_stays_between_zero_and_its_limit():
    pacer = dual_descent(step=100.0, mu_max=4.0)

    state = pacer.update(pacer.init(2), np.array([1.0, 0.0]), np.array([0.1, 0.1]))

    assert state.tolist() == [4.0, 0.0]


@pytest.mark.parametrize("wrong", [{"step": 0.0}, {"step": -1.0}, {"step": float("nan")}, {"step": 1.0, "mu_max": 0.0}])
def test_a_step_or_limit_that_is_not_positive_is_refused_with_its_value(wrong):
    name, value = list(wrong.items())[-1]

    with pytest.raises(ValueError, match=rf"{name} is {value}, it must be > 0"):
        dual_descent(**wrong)


def test_the_multiplier_comes_to_the_one_that_spends_the_budget():
    """Balseiro & Gur (2019): against stationary competition adaptive pacing comes to the multiplier m that spends the budget.

    With value and price both uniform on [0, 1] and second price, a bid m v spends E[p; p < m v] = E[(m v)^2] / 2 = m^2 / 6
    an auction; a budget of 0.06 gives m = 0.6, mu = 2/3.
    """
    rng = np.random.default_rng(1)
    intervals, auctions, budget = 600, 200, 0.06
    pacer = dual_descent(step=20.0)
    state = pacer.init(1)
    multiplier, spent = [], 0.0

    for _ in range(intervals):
        value, price = rng.random((2, auctions))
        multiplier.append(pacer.multiplier(state)[0])
        spend = price[price < multiplier[-1] * value].sum()
        spent += spend
        state = pacer.update(
            state, np.array([spend / (budget * auctions * intervals)]), np.array([1 / intervals])
        )  # fmt: skip

    assert np.mean(multiplier[200:]) == pytest.approx(0.6, abs=0.02)
    assert spent == pytest.approx(budget * auctions * intervals, rel=0.05)
