"""Pacing against theory: a stationary price, and the exact equilibrium of a market of five."""

import numpy as np
import pytest

from auction import clear, fppe, to_micros
from auction.pacing import dual_descent, pace, pid, throttling

EVERY = 10


def against_uniform_prices(pacer, auctions, seed=3):
    """Second price, value and price U[0, 1], budget 0.06 an auction: multipliers by interval, utility an auction."""
    rng = np.random.default_rng(seed)
    bid = rng.random((auctions, 2))
    out = clear(
        bid, np.ones_like(bid), [0, 1], to_micros(np.array([0.06 * auctions, 1e6 * auctions])), n_slots=1, pacer=pacer,
        every=EVERY, lottery=rng.random(bid.shape),
    )  # fmt: skip
    won = out.winner[:, 0] == 0
    # what a clipped last charge leaves unpaid would be a gift
    utility = np.where(won & (out.unbilled_micros[:, 0] == 0), bid[:, 0] - out.price_micros[:, 0] / 1e6, 0.0)
    return out.multiplier[:, 0], utility.mean()


@pytest.mark.parametrize(
    "pacer", [dual_descent(step=200.0), pid(kp=0.0, ki=0.02)], ids=["dual", "pid"]
)  # fmt: skip
def test_pacing_comes_to_multiplier_0_6_and_utility_0_14(pacer):
    """A bid m v spends m^2 E[v^2] / 2 = m^2 / 6 = 0.06: m = 0.6; utility E[m v^2 - (m v)^2 / 2] = (m - m^2 / 2) / 3 = 0.14."""
    multiplier, utility = against_uniform_prices(pacer, 40_000)

    assert multiplier[len(multiplier) // 4 :].mean() == pytest.approx(0.6, rel=0.02)
    assert utility == pytest.approx(0.14, rel=0.02)


def test_throttling_comes_to_probability_0_36_and_utility_0_06():
    """Taking part spends E[v^2] / 2 = 1/6, so q = 0.36; utility q E[(v - p)+] = 0.36 / 6 = 0.06."""
    probability, utility = against_uniform_prices(throttling(step=100.0), 40_000)

    assert probability[len(probability) // 4 :].mean() == pytest.approx(0.36, rel=0.03)
    assert utility == pytest.approx(0.06, rel=0.04)


PACERS = {
    # one interval off target by all of it moves mu by 0.1, log m by 0.05; `intervals` are those of the plan's budget
    "dual": lambda intervals: dual_descent(step=0.1 * intervals),
    "pid": lambda intervals: pid(kp=0.02, ki=0.06),
    "pace": lambda intervals: pace(),
}


def market_of_five(make, auctions, seed=1):
    """Largest relative errors of spends, revenue and multipliers against the first-price pacing equilibrium.

    The cap is twice the budget that is paced for, so that it is pacing that holds the spend, not the cap.
    """
    value = np.random.default_rng(seed).random((auctions, 5))
    budget = np.array([0.03, 0.045, 0.06, 0.08, 0.1]) * auctions
    exact = fppe(value.T, budget)
    intervals = -(-auctions // EVERY)
    out = clear(
        value, np.ones_like(value), np.arange(5), to_micros(2 * budget), n_slots=1, mechanism="first_price",
        pacer=make(2 * intervals), every=EVERY, plan=np.full(intervals, 0.5 / intervals),
    )  # fmt: skip
    spend = 2 * budget - out.remaining_micros / 1e6
    multiplier = out.multiplier[intervals // 2 :].mean(axis=0)
    return (
        np.abs(spend / budget - 1).max(),
        abs(spend.sum() / exact.spend.sum() - 1),
        np.abs(multiplier / exact.multipliers - 1).max(),
    )


@pytest.mark.parametrize("make", PACERS.values(), ids=PACERS)
def test_five_bidders_come_near_the_exact_equilibrium_and_nearer_with_time(make):
    """After 10,000 auctions: spend within 3% of budget, revenue within 2%, multipliers within 10%."""
    early, late, later = (market_of_five(make, auctions) for auctions in (1_000, 10_000, 60_000))

    assert late[0] < 0.03
    assert late[1] < 0.02
    assert late[2] < 0.10
    assert early[0] > late[0] > later[0]
    assert early[1] > late[1] > later[1]


def test_in_that_market_all_budgets_bind():
    value = np.random.default_rng(1).random((10_000, 5))
    exact = fppe(value.T, np.array([300, 450, 600, 800, 1_000]))

    assert (exact.multipliers < 0.5).all()
    assert exact.spend == pytest.approx([300, 450, 600, 800, 1_000], rel=1e-8)
