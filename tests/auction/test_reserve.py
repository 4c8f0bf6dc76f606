"""Myerson's reserve."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar

from auction import myerson_reserve


@pytest.mark.parametrize(
    ("values", "reserve"),
    [
        (stats.uniform(0, 1), 0.5),
        (stats.uniform(0, 7), 3.5),
        (stats.uniform(2, 1), 2.0),  # r f(r) >= 1 - F(r) everywhere: sell to all
        (stats.expon(scale=3), 3.0),  # 1 / hazard rate
        (stats.pareto(2.5), 1.0),  # r P(v >= r) = r^-1.5 falls from 1 on
        (stats.weibull_min(2), 0.5**0.5),  # r h(r) = 2 r^2 = 1
    ],
)
def test_closed_forms(values, reserve):
    assert myerson_reserve(values) == pytest.approx(reserve, rel=1e-12)


@pytest.mark.parametrize("values", [stats.lognorm(0.5), stats.lognorm(2.0), stats.gamma(0.4), stats.norm(10, 0.01)])
def test_no_other_price_earns_more(values):
    reserve = myerson_reserve(values)
    best = minimize_scalar(
        lambda r: -r * values.sf(r), bounds=(reserve / 3, reserve * 3), method="bounded", options={"xatol": 1e-12}
    )

    assert reserve * values.sf(reserve) >= -best.fun * (1 - 1e-12)
    assert reserve - values.sf(reserve) / values.pdf(reserve) == pytest.approx(0.0, abs=1e-9 * reserve)


def test_a_mixture_has_two_peaks_and_the_higher_one_is_found():
    """70% value about 1, 30% about 10: 10 x 0.3 beats 1."""

    class Mixture:
        low, high = stats.norm(1, 0.02), stats.norm(10, 0.1)

        def sf(self, value):
            return 0.7 * self.low.sf(value) + 0.3 * self.high.sf(value)

        def pdf(self, value):
            return 0.7 * self.low.pdf(value) + 0.3 * self.high.pdf(value)

        def isf(self, share):
            grid = np.linspace(0, 12, 200_001)
            return np.interp(share, self.sf(grid)[::-1], grid[::-1])

    assert 9.5 < myerson_reserve(Mixture()) < 10


def test_a_tail_that_earns_more_and_more_has_no_reserve():
    with pytest.raises(ValueError, match="grows without end"):
        myerson_reserve(stats.pareto(0.5))


@given(values=st.lists(st.integers(0, 20).map(lambda v: v / 4), min_size=1, max_size=12))
def test_of_a_sample_the_lowest_of_the_best_prices_is_taken(values):
    """Revenue r x (number of values >= r); only values of the sample can be best."""
    revenue = {r: r * sum(v >= r for v in values) for r in values}

    assert myerson_reserve(values) == min(r for r in values if revenue[r] == max(revenue.values()))


def test_a_large_sample_comes_near_the_distribution():
    values = np.random.default_rng(4).exponential(2.0, 200_000)

    assert myerson_reserve(values) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, np.nan], [-1.0], [np.inf]])
def test_what_is_no_sample_is_refused(values):
    with pytest.raises(ValueError, match="values"):
        myerson_reserve(values)
