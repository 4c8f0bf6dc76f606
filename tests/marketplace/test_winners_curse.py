"""The winner's curse: forecasts that are right on average are too high where they win, and calibration on winners mends it."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import norm

from auction import first_price, second_price
from models.calibration import fit_isotonic
from models.weights import plain

P, SIGMA, TARGET_USD, N = 0.2, 0.5, 10.0, 400_000
CURSE = 2 * norm.cdf(
    SIGMA / np.sqrt(2)
)  # the mean of the higher of two lognormals of mean 1; the lower has the rest of 2
RULES = {"first_price": partial(first_price, n_slots=1), "second_price": second_price}
SAYS = {"first_price": CURSE, "second_price": 2 - CURSE}


def forecasts(seed: int, n: int = N) -> np.ndarray:
    """(n, 2) of two ads whose true probability is P, with lognormal noise of mean 1."""
    return P * np.exp(SIGMA * np.random.default_rng(seed).standard_normal((n, 2)) - SIGMA**2 / 2)


def outcomes(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(4).random(shape) < P


def cpa_over_target(rule: str, forecast: np.ndarray) -> tuple[float, float]:
    """Payment per impression over the value of an impression at the target, where bids are target x forecast; and its error."""
    sold = RULES[rule](TARGET_USD * forecast, np.ones_like(forecast))
    ratio = sold.price_micros[:, 0] / 1e6 / (TARGET_USD * P)
    return ratio.mean(), ratio.std() / np.sqrt(len(ratio))


def calibrated_on_winners(forecast: np.ndarray, others: np.ndarray) -> np.ndarray:
    """`others`, calibrated on who wins and what comes of it where `forecast` bids."""
    winner = first_price(TARGET_USD * forecast, np.ones_like(forecast), n_slots=1).winner
    won = np.take_along_axis(forecast, winner, axis=1)[:, 0]
    return fit_isotonic(np.log(won), plain(outcomes(won.shape)))(np.log(others)).astype(float)


@pytest.mark.parametrize("rule", RULES)
def test_unbiased_forecasts_pay_the_higher_or_the_lower_of_two(rule):
    ratio, error = cpa_over_target(rule, forecasts(1))

    assert {"first_price": 1.276, "second_price": 0.724}[rule] == pytest.approx(SAYS[rule], abs=5e-4)
    assert abs(ratio - SAYS[rule]) < 4 * error


@pytest.mark.parametrize("rule", RULES)
def test_a_ratio_over_all_candidates_leaves_the_curse(rule):
    """The forecasts add up to the outcomes of all candidates already."""
    forecast = forecasts(1)
    factor = outcomes(forecast.shape).sum() / forecast.sum()

    ratio, error = cpa_over_target(rule, factor * forecasts(2))

    of_factor = np.sqrt((1 - P) / (P * forecast.size) + (np.exp(SIGMA**2) - 1) / forecast.size)
    assert abs(ratio - SAYS[rule]) < 4 * np.hypot(error, SAYS[rule] * of_factor)


def test_calibration_on_winners_brings_first_price_to_the_target():
    """It pays winners' forecasts, which add up to winners' outcomes: the error is that of their mean."""
    ratio, _ = cpa_over_target("first_price", calibrated_on_winners(forecasts(1), forecasts(2)))

    assert abs(ratio - 1) < 4 * np.sqrt((1 - P) / (P * N))


def test_calibration_on_winners_brings_second_price_near_the_target():
    """It pays losers' forecasts. The curve is flat, but low where few winners were and some losers are: it stays below 1."""
    ratio, _ = cpa_over_target("second_price", calibrated_on_winners(forecasts(1), forecasts(2)))

    assert 0.95 < ratio < 1
