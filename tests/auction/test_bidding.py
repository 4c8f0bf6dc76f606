"""Bidders: goals reached against prices whose answer is known in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auction.bidding import fixed, max_conversions, once_learned, shading, target_cpa, target_roas


def buy(bidder, goal, p, *, intervals=300, auctions=400, seed=5):
    """Second price against U[0, 1], each impression expected to bring p units; gives spend, units and the last state."""
    rng = np.random.default_rng(seed)
    goal = np.array([goal])
    state, spent, units = bidder.init(goal), 0.0, 0.0
    for interval in range(intervals):
        price = rng.random(auctions)
        won = price <= bidder.bid(state, np.full(auctions, p))
        spend, achieved = price[won].sum(), won.sum() * p
        state = bidder.update(state, goal, np.array([spend]), np.array([achieved]))
        if interval >= intervals // 3:
            spent, units = spent + spend, units + achieved
    return spent, units, state[0]


def test_a_fixed_bid_is_bid_whatever_it_brings():
    assert fixed().bid(np.array([2.0, 3.0]), np.array([0.1, 0.0])).tolist() == [2.0, 3.0]


def test_the_bid_per_event_is_what_the_event_brings_times_the_bid_per_unit():
    """Target CPA 50 at pCTR .02, pCVR .1: 0.10 an impression, 5 a click, 50 a conversion. ROAS 4, value 60: 1.50 a click."""
    cpa, roas = target_cpa(), target_roas()

    assert cpa.bid(cpa.init(np.full(3, 50.0)), np.array([0.002, 0.1, 1.0])) == pytest.approx([0.1, 5.0, 50.0])
    assert roas.bid(roas.init(np.array([4.0])), np.array([0.1 * 60.0])) == pytest.approx([1.5])


def test_the_plain_target_never_pays_more_than_the_goal_per_conversion():
    """Bid p T = 0.2 against U[0, 1]: mean price 0.1 a win, so half the goal."""
    spent, conversions, _ = buy(target_cpa(), 2.0, 0.1)

    assert spent / conversions == pytest.approx(1.0, rel=0.02)


def test_feedback_raises_the_bid_until_the_goal_is_met():
    """Mean price is half the bid, so CPA = goal at a bid per conversion of twice the goal."""
    spent, conversions, bid = buy(target_cpa(step=0.1), 2.0, 0.1)

    assert bid == pytest.approx(4.0, rel=0.1)
    assert spent / conversions == pytest.approx(2.0, rel=0.02)


def test_feedback_lowers_the_bid_where_predictions_promise_too_much():
    """Only a quarter of the conversions come: spend b^2 / 2 against units b p / 4 at bid b = s p gives s = T / 2."""
    bidder, rng = target_cpa(step=0.1), np.random.default_rng(6)
    goal, state = np.array([2.0]), np.array([2.0])
    for _ in range(300):
        price = rng.random(2_000)
        won = price <= bidder.bid(state, np.full(2_000, 0.1))
        state = bidder.update(state, goal, np.array([price[won].sum()]), np.array([won.sum() * 0.1 / 4]))

    assert state[0] == pytest.approx(1.0, rel=0.1)


def test_target_roas_gets_the_value_it_asks_for():
    """ROAS 5 with 0.5 USD expected an impression: mean price half the bid, so 0.2 USD a win at bid 0.2."""
    spent, value, share = buy(target_roas(step=0.1), 5.0, 0.5)

    assert value / spent == pytest.approx(5.0, rel=0.02)
    assert share == pytest.approx(0.4, rel=0.1)


def test_max_conversions_bids_what_spends_the_budget():
    """Bid b spends b^2 / 2 an auction: 18 a 400 auctions gives b = 0.3, 3 per conversion at p = 0.1."""
    bidder = max_conversions(first=1.0, step=0.1, lowest=0.1, highest=20.0)
    spent, _, bid = buy(bidder, 18.0, 0.1)

    assert bid == pytest.approx(3.0, rel=0.1)
    assert spent == pytest.approx(200 * 18.0, rel=0.02)


@given(share=st.floats(0.0, 1.0))
def test_no_split_of_the_budget_over_two_kinds_of_ads_buys_more_than_one_price_per_conversion(share):
    """Kinds with p = .1 and .3, price U[0, 1]: spend b^2 / 2 buys p b; the same bid per conversion is the optimum."""
    p, budget = np.array([0.1, 0.3]), 0.08
    together = (2 * budget / (p @ p)) ** 0.5  # s with sum of (s p)^2 / 2 = budget
    split = np.sqrt(2 * budget * np.array([share, 1.0 - share]))

    assert (p @ split) <= (p @ (together * p)) * (1 + 1e-12)


def test_bids_stay_in_their_range():
    grow, fall = np.array([0.0]), np.array([1e9])
    cpa = target_cpa(step=1.0, range_=3.0)
    most = max_conversions(first=1.0, step=1.0, lowest=0.5, highest=2.0)
    goal = np.array([2.0])
    high = low = cpa.init(goal)
    rich = poor = most.init(goal)
    for _ in range(9):
        high, low = cpa.update(high, goal, grow, np.ones(1)), cpa.update(low, goal, fall, np.ones(1))
        rich, poor = most.update(rich, goal, grow, np.ones(1)), most.update(poor, goal, fall, np.ones(1))

    assert (high[0], low[0], rich[0], poor[0]) == (6.0, 2.0 / 3, 2.0, 0.5)


def test_an_interval_without_spend_or_conversions_changes_nothing():
    bidder = target_cpa(step=1.0)

    assert bidder.update(np.array([3.0]), np.array([2.0]), np.zeros(1), np.zeros(1)).tolist() == [3.0]


def test_with_too_few_conversions_a_campaign_does_not_optimise_for_them():
    bid = once_learned(np.array([0, 29, 30, 500]), 30, np.full(4, 7.0), np.full(4, 2.0))

    assert bid.tolist() == [2.0, 2.0, 7.0, 7.0]


@given(
    prices=st.lists(st.integers(0, 8).map(lambda v: v / 4), min_size=1, max_size=12),
    value=st.floats(0.0, 4.0),
)
def test_shading_is_the_best_of_all_bids(prices, value):
    """(value - b) x share of prices <= b, over every bid of the sample, and 0 for not bidding."""

    def gain(bid):
        return (value - bid) * np.mean(np.array(prices) <= bid)

    bid = shading(prices)(np.array([value]))[0]

    assert gain(bid) >= max([0.0, *map(gain, prices)]) - 1e-12
    assert bid <= value


def test_against_uniform_prices_half_the_value_is_bid():
    value = np.linspace(0.1, 1.0, 10)

    assert shading(np.linspace(0, 1, 4_001))(value) == pytest.approx(value / 2, abs=1e-3)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_shading_against_equilibrium_bids_is_the_equilibrium(n):
    """Rivals bid (n - 1) / n x U[0, 1]: the best answer is (n - 1) / n x value."""
    share = (n - 1) / n
    quantile = np.linspace(0, 1, 4_001) ** (1 / (n - 1))  # of the highest of n - 1

    assert shading(share * quantile)(np.array([0.3, 0.6, 0.9])) == pytest.approx(
        share * np.array([0.3, 0.6, 0.9]), abs=2e-3
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: target_cpa(step=-1.0), "step is -1"),
        (lambda: target_roas(range_=0.5), "range_ is 0.5"),
        (lambda: max_conversions(first=3.0, step=0.1, lowest=1.0, highest=2.0), "first is 3"),
        (lambda: max_conversions(first=3.0, step=0.1, lowest=0.0, highest=4.0), "lowest is 0"),
        (lambda: shading([]), r"prices has shape \(0,\)"),
        (lambda: shading([1.0, np.nan]), r"prices\[1\] is nan"),
    ],
)
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
