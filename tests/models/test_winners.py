"""The winner's curse: closed forms, and what simulated auctions show."""

import numpy as np
import pytest
from scipy.stats import norm

from models.winners import curse_intervals, expected_curse, winners_curse


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.5, 2.0])
def test_of_two_candidates_the_curse_has_a_closed_form(sigma):
    assert expected_curse(2, sigma) == pytest.approx(2 * norm.cdf(sigma / np.sqrt(2)), rel=1e-9)


def test_at_noise_of_one_half_two_candidates_are_cursed_by_1_276():
    assert expected_curse(2, 0.5) == pytest.approx(1.276, abs=5e-4)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_of_three_candidates_the_curse_is_the_mean_of_the_highest(sigma):
    """The mean of what is above 0 is the integral of the probability to exceed x; all three are below x with Phi^3."""
    x = np.exp(np.linspace(-12, 12, 400_001) * sigma)
    below = norm.cdf((np.log(x) + sigma**2 / 2) / sigma)

    assert expected_curse(3, sigma) == pytest.approx(x[0] + np.trapezoid(1 - below**3, x), rel=1e-6)


@pytest.mark.parametrize(("candidates", "sigma"), [(1, 0.8), (5, 0.5), (200, 0.3)])
def test_the_curse_is_that_of_simulated_auctions(candidates, sigma):
    rng, auctions = np.random.default_rng(50), 20_000
    p = np.full((auctions, candidates), 0.05)
    p_hat = p * np.exp(rng.normal(size=p.shape) * sigma - sigma**2 / 2)
    won = np.arange(candidates) == p_hat.argmax(axis=1)[:, None]

    got = winners_curse(p_hat, p, won)

    error = 4 * (p_hat[won] / 0.05).std() / np.sqrt(auctions)
    assert got.candidates == pytest.approx(1.0, abs=0.02)
    assert got.winners == pytest.approx(expected_curse(candidates, sigma), abs=error)


def test_the_ratios_by_hand():
    p_hat, p = np.array([[0.4, 0.1], [0.2, 0.3]]), np.array([[0.2, 0.2], [0.2, 0.2]])

    got = winners_curse(p_hat, p, np.array([[True, False], [False, True]]))

    assert got == pytest.approx((1.0 / 0.8, 0.7 / 0.4))


@pytest.fixture(scope="module")
def grouped() -> tuple[np.ndarray, ...]:
    """Forecasts, truth, winners and users; a user's rows share a bias."""
    rng = np.random.default_rng(3)
    user = rng.integers(400, size=3_000)
    p = rng.uniform(0.05, 0.3, size=3_000)
    p_hat = p * np.exp(0.3 * rng.normal(size=400)[user] + 0.5 * rng.normal(size=3_000))
    return p_hat, p, p_hat > 0.2, user


def test_intervals_stand_around_the_ratios_and_are_as_wide_as_resampled_users_are_spread(grouped):
    p_hat, p, won, user = grouped
    found = curse_intervals(p_hat, p, won, user)

    at = winners_curse(p_hat, p, won)
    assert [x.estimate for x in found] == pytest.approx([at.candidates, at.winners, at.winners / at.candidates])
    rng, drawn = np.random.default_rng(4), []
    rows_of = [np.flatnonzero(user == u) for u in np.unique(user)]
    for _ in range(1_000):
        rows = np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
        one = winners_curse(p_hat[rows], p[rows], won[rows])
        drawn.append([one.candidates, one.winners, one.winners / one.candidates])
    half = [(x.high - x.low) / 2 / 1.959964 for x in found]
    assert half == pytest.approx(np.std(drawn, axis=0), rel=0.08)


def test_rows_that_a_user_repeats_tell_nothing_new(grouped):
    once, thrice = curse_intervals(*grouped), curse_intervals(*(np.repeat(x, 3) for x in grouped))

    assert np.array(thrice) == pytest.approx(np.array(once))


def test_an_interval_of_one_group_or_of_no_winner_is_refused(grouped):
    p_hat, p, won, user = grouped
    for group, winners in ((np.zeros_like(user), won), (user, np.zeros_like(won))):
        with pytest.raises(ValueError, match="needs two groups and a winner"):
            curse_intervals(p_hat, p, winners, group)


def test_one_candidate_is_not_cursed_and_more_or_noisier_ones_are_more():
    assert expected_curse(1, 3.0) == pytest.approx(1.0)
    curses = [[expected_curse(k, sigma) for sigma in (0.0, 0.2, 0.4)] for k in (2, 3, 50)]
    assert (np.diff(curses, axis=1) > 0).all()
    assert (np.diff(curses, axis=0)[:, 1:] > 0).all()
    assert [row[0] for row in curses] == pytest.approx([1, 1, 1])


def test_no_winner_and_no_candidate_are_refused():
    with pytest.raises(ValueError, match="0 won"):
        winners_curse(np.ones(3), np.ones(3), np.zeros(3, bool))
    with pytest.raises(ValueError, match="0 of noise"):
        expected_curse(0, 0.5)
    with pytest.raises(ValueError, match=r"noise -0\.1"):
        expected_curse(2, -0.1)
