"""Revenue and worked examples that are known in closed form; sampled ones within four standard errors."""

import numpy as np
import pytest

from auction import first_price, gsp, second_price, vcg
from auction.pricing import Pricing, competing_bids, ecpm, per_event

AUCTIONS = 100_000


def near(revenue_micros, expected):
    revenue = revenue_micros[:, 0] / 1e6
    return abs(revenue.mean() - expected) < 4 * revenue.std(ddof=1) / len(revenue) ** 0.5


def values(n):
    return np.random.default_rng(n).random((AUCTIONS, n))


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_revenue_of_second_price_with_uniform_values(n):
    """Expected second-highest of n iid U[0, 1]: (n - 1) / (n + 1)."""
    value = values(n)

    assert near(second_price(value, np.ones_like(value)).price_micros, (n - 1) / (n + 1))


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_revenue_equivalence_of_first_price_in_equilibrium(n):
    """Bids (n - 1) / n x value: expected highest bid (n - 1) / n x n / (n + 1)."""
    value = values(n)

    assert near(first_price(value * (n - 1) / n, np.ones_like(value), n_slots=1).price_micros, (n - 1) / (n + 1))


@pytest.mark.parametrize(("n", "revenue"), [(2, 5 / 12), (3, 17 / 32)])
def test_revenue_with_the_optimal_reserve(n, revenue):
    """Reserve 1/2; under first price the equilibrium bid is v - (v^n - r^n) / (n v^(n - 1)) from r on."""
    value = values(n)
    bid = np.where(value >= 0.5, value - (value**n - 0.5**n) / (n * value ** (n - 1)), 0.0)

    assert near(second_price(value, np.ones_like(value), reserve=0.5).price_micros, revenue)
    assert near(first_price(bid, np.ones_like(value), n_slots=1, reserve=0.5).price_micros, revenue)


def test_the_example_of_edelman_ostrovsky_and_schwarz():
    """Values 10, 4, 2; 200 and 100 clicks an hour: GSP 800 + 200, VCG 600 + 200."""
    bid, quality, clicks = [[10.0, 4.0, 2.0]], [[1.0, 1.0, 1.0]], np.array([200, 100])

    under_gsp = gsp(bid, quality, n_slots=2).price_micros * clicks
    under_vcg = vcg(bid, quality, slot_effect=clicks / 200).price_micros * clicks

    assert under_gsp.tolist() == [[800_000_000, 200_000_000]]
    assert under_vcg.tolist() == [[600_000_000, 200_000_000]]


def test_mixed_pricing_in_one_auction():
    """A: CPC bid 2 at pCTR .02. B: CPM 35. C: CPA 50 at pCTR .01, pCVR .1.

    eCPM 40, 35, 50; order C, A, B; C pays 40 per conversion, A 1.75 per click, B its reserve.
    """
    pctr, pcvr = np.array([[0.02, 0.5, 0.01]]), np.array([[0.5, 0.5, 0.1]])
    pricing = np.array([Pricing.CPC, Pricing.CPM, Pricing.CPA], np.int32)
    bid, quality = competing_bids(
        np.array([[0, 1, 2]], np.int32), pricing, np.array([2.0, 35.0 / 1000, 50.0]), np.ones(3), np.ones(3, bool),
        pctr, pcvr,
    )  # fmt: skip
    out = gsp(bid, quality, n_slots=3)

    assert ecpm(bid, quality)[0] == pytest.approx([40.0, 35.0, 50.0])
    assert out.winner.tolist() == [[2, 0, 1]]
    assert out.price_micros.tolist() == [[40_000_000, 1_750_000, 0]]


def test_a_price_comes_back_from_ecpm_to_the_unit_of_the_event():
    probability = np.array([1.0, 0.02, 0.001])

    assert per_event(ecpm(np.array([0.035, 2.0, 50.0]), probability), probability) == pytest.approx([0.035, 2.0, 50.0])


def test_a_campaign_priced_by_value_bids_a_share_of_the_value_expected():
    """ROAS 4: 1/4 USD per USD of value; pCTR .02, pCVR .1, value 60: 0.03 per impression, and it is billed per impression."""
    one = np.array([[0]], np.int32)
    arguments = one, np.array([Pricing.VALUE], np.int32), np.array([0.25]), np.ones(1), np.ones(1, bool)
    bid, quality = competing_bids(*arguments, np.array([[0.02]]), np.array([[0.1]]), np.array([[60.0]]))

    assert bid[0, 0] == pytest.approx(0.03) and quality[0, 0] == 1.0
    with pytest.raises(ValueError, match="pvalue is None"):
        competing_bids(*arguments, np.array([[0.02]]), np.array([[0.1]]))


def test_a_user_value_trades_revenue_for_what_is_good_for_users():
    """Scores 40, 35 + 10 and 20: the second is shown first and needs (40 - 10) per thousand; the first then needs 20."""
    out = gsp([[0.040, 0.035, 0.020]], np.ones((1, 3)), n_slots=2, user_value=[[0.0, 0.010, 0.0]])

    assert out.winner.tolist() == [[1, 0]]
    assert out.price_micros.tolist() == [[30_000, 20_000]]
