"""First-price pacing and throttling equilibria: closed forms, conditions, other solvers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from auction import fppe, throttling_equilibrium


@st.composite
def budget_markets(draw) -> tuple[np.ndarray, np.ndarray]:
    b, m = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    entry = st.sampled_from([0.0, 1.0, 2.0]) | st.floats(0.01, 10.0)
    value = np.array(draw(st.lists(entry, min_size=b * m, max_size=b * m))).reshape(b, m)
    return value, np.array(draw(st.lists(st.floats(0.05, 20.0), min_size=b, max_size=b)))


def test_alone_with_a_small_budget_one_pays_it_for_everything():
    found = fppe([[1.0, 3.0]], [1.0])

    assert found.multipliers == pytest.approx([0.25], abs=1e-9)
    assert found.prices == pytest.approx([0.25, 0.75], abs=1e-9)
    assert found.spend == pytest.approx([1.0], abs=1e-9)
    assert found.allocation == pytest.approx(np.ones((1, 2)))


def test_alone_with_a_large_budget_one_bids_the_values():
    found = fppe([[1.0, 3.0]], [9.0])

    assert found.multipliers.tolist() == [1.0]
    assert found.spend == pytest.approx([4.0], abs=1e-9)


def test_two_who_want_one_item_share_it_by_their_budgets():
    """Values 2 and 4, budgets 1/2 and 1/4: price 3/4, multipliers 3/8 and 3/16, shares 2/3 and 1/3."""
    found = fppe([[2.0], [4.0]], [0.5, 0.25])

    assert found.prices == pytest.approx([0.75], abs=1e-9)
    assert found.multipliers == pytest.approx([3 / 8, 3 / 16], abs=1e-9)
    assert found.allocation[:, 0] == pytest.approx([2 / 3, 1 / 3], abs=1e-9)


def test_one_budget_binds_and_the_other_does_not():
    """Both value the item at 1; budgets 0.3 and 5: the second bids 1 and takes 0.7 of it, at price 1."""
    found = fppe([[1.0], [1.0]], [0.3, 5.0])

    assert found.multipliers == pytest.approx([1.0, 1.0], abs=1e-9)
    assert found.prices == pytest.approx([1.0], abs=1e-9)
    assert found.spend[0] <= 0.3 + 1e-9 and found.spend.sum() == pytest.approx(1.0, abs=1e-9)


def test_without_budget_or_without_value_nobody_spends():
    found = fppe([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [5.0, 5.0, 0.0]], [1.0, 1.0, 0.0])

    assert found.multipliers == pytest.approx([1 / 3, 1.0, 0.0])
    assert found.prices == pytest.approx([1 / 3, 0.0, 2 / 3])
    assert found.spend == pytest.approx([1.0, 0.0, 0.0])


@given(market=budget_markets())
def test_the_conditions_of_a_first_price_pacing_equilibrium_hold_to_1e_8(market):
    """Written out apart from the code: items at the highest paced bid, sold whole, to who bids it; budgets; no idle pacing."""
    value, budget = market
    m, price, spend, share = fppe(value, budget)
    top = (m[:, None] * value).max(axis=0)

    assert ((m > 0) & (m <= 1)).all() and (share >= 0).all()
    assert price == pytest.approx(top, rel=1e-8)
    assert share.sum(axis=0)[price > 0] == pytest.approx(1.0, abs=1e-8)
    assert (share * (price - m[:, None] * value) <= 1e-8 * price.max(initial=1.0)).all()
    assert spend == pytest.approx(share @ price)
    assert (spend <= budget * (1 + 1e-8)).all()
    assert ((1 - m) * (budget - spend) <= 1e-8 * budget).all()


def test_it_is_the_optimum_of_the_eisenberg_gale_program():
    """max sum_i B_i log(u_i) - d_i, u_i = v_i x_i + d_i, by a general solver: the same u = B / m."""
    rng = np.random.default_rng(5)
    value, budget = rng.random((3, 4)), np.array([0.2, 0.4, 3.0])

    def loss(z):
        share, kept = z[:12].reshape(3, 4), z[12:]
        return -(budget @ np.log((value * share).sum(axis=1) + kept) - kept.sum())

    each = [{"type": "ineq", "fun": lambda z, j=j: 1.0 - z[:12].reshape(3, 4)[:, j].sum()} for j in range(4)]
    start = np.append(np.full(12, 0.3), np.full(3, 0.1))
    solved = minimize(loss, start, bounds=[(0, None)] * 15, constraints=each, options={"maxiter": 500, "ftol": 1e-14})
    utility = (value * solved.x[:12].reshape(3, 4)).sum(axis=1) + solved.x[12:]

    assert solved.success
    assert fppe(value, budget).multipliers == pytest.approx(budget / utility, rel=1e-4)


@given(market=budget_markets(), more=st.floats(1.0, 3.0), i=st.integers(0, 4))
def test_a_larger_budget_never_lowers_revenue(market, more, i):
    """Conitzer et al. (2022): revenue is monotone in budgets."""
    value, budget = market
    richer = budget.copy()
    richer[i % len(budget)] *= more

    assert fppe(value, richer).spend.sum() >= fppe(value, budget).spend.sum() * (1 - 1e-7)


def test_many_items_are_no_trouble():
    value = np.random.default_rng(6).random((5, 3_000))
    budget = np.array([60.0, 120.0, 180.0, 270.0, 3_000.0])
    found = fppe(value, budget)

    assert found.spend[:4] == pytest.approx(budget[:4], rel=1e-8)
    assert found.multipliers[4] == 1.0


@pytest.mark.parametrize("solve", [fppe, throttling_equilibrium])
@pytest.mark.parametrize(
    ("value", "budget", "words"),
    [
        ([1.0], [1.0], r"value has shape \(1,\)"),
        ([[1.0]], [1.0, 2.0], r"budget has shape \(2,\)"),
        ([[np.nan]], [1.0], r"value\[0, 0\] is nan"),
        ([[-1.0]], [1.0], r"value\[0, 0\] is -1"),
        ([[1.0]], [np.inf], r"budget\[0\] is inf"),
    ],
)
def test_what_is_no_market_is_refused(solve, value, budget, words):
    with pytest.raises(ValueError, match=words):
        solve(value, budget)


def test_alone_one_takes_part_as_often_as_the_budget_allows():
    found = throttling_equilibrium([[1.0, 3.0]], [1.0])

    assert found.multipliers == pytest.approx([0.25])
    assert found.spend == pytest.approx([1.0])
    assert found.allocation == pytest.approx(np.full((1, 2), 0.25))


def test_a_cycle_of_rivals_by_its_quadratic():
    """Each wins over the other on one item: q (v + w (1 - q)) = B with v = 2, w = 1, B = 1: q = (3 - sqrt 5) / 2."""
    found = throttling_equilibrium([[2.0, 1.0], [1.0, 2.0]], [1.0, 1.0])

    assert found.multipliers == pytest.approx(np.full(2, (3 - 5**0.5) / 2), abs=1e-9)


@given(market=budget_markets())
def test_the_conditions_of_a_throttling_equilibrium_hold(market):
    """Expected spend by enumerating who takes part: none beyond the budget, and q = 1 for who spends less."""
    value, budget = market
    found = throttling_equilibrium(value, budget)
    q, (b, m) = found.multipliers, value.shape
    expected = np.zeros(b)
    for who in np.ndindex((2,) * b):
        present = np.array(who, bool)
        chance = np.where(present, q, 1 - q).prod()
        for j in range(m):
            if present.any() and (value[present, j] > 0).any():
                winner = int(np.argmax(np.where(present, value[:, j], -1.0)))
                expected[winner] += chance * value[winner, j]

    assert found.spend == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert (expected <= budget * (1 + 1e-7)).all()
    assert ((1 - q) * (budget - expected) <= 1e-7 * budget).all()
    assert found.prices.sum() == pytest.approx(found.spend.sum())


@pytest.mark.parametrize(
    ("value", "budget", "m", "price", "spend"),
    [
        ([[4], [2]], [2, 1], [0.5, 1], [2], [2, 0]),
        ([[2], [1]], [1, 5], [0.5, 1], [1], [1, 0]),
        ([[4, 0], [2, 3]], [2, 4], [0.5, 1], [2, 3], [2, 3]),
        ([[1], [1], [1]], [0.5, 0.5, 9], [1, 1, 1], [1], None),
    ],
)
def test_a_budget_that_runs_out_just_as_a_rival_ties_is_met_exactly(value, budget, m, price, spend):
    """On the central path such a market closes in by the root of the gap only."""
    found = fppe(value, budget)

    assert found.multipliers == pytest.approx(m, rel=1e-12)
    assert found.prices == pytest.approx(price, rel=1e-12)
    if spend is not None:
        assert found.spend == pytest.approx(spend, rel=1e-9, abs=1e-12)


def test_markets_of_small_whole_numbers_are_exact():
    """Where ties and budgets coincide often: who has a share of more than nothing bids the price, to rounding."""
    rng = np.random.default_rng(2)
    for _ in range(300):
        b, m = rng.integers(1, 6, 2)
        value, budget = rng.integers(0, 5, (b, m)).astype(float), rng.integers(0, 6, b).astype(float)
        found = fppe(value, budget)

        bid = found.multipliers[:, None] * value
        assert (bid >= found.prices * (1 - 1e-9))[(found.allocation > 1e-9) & (found.prices > 0)].all()
        assert (found.spend <= budget * (1 + 1e-9)).all()
        assert ((found.spend >= budget * (1 - 1e-9)) | (found.multipliers >= 1 - 1e-9) | (budget == 0)).all()
