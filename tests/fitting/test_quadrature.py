"""Integrals over a random effect, held against scipy's quadrature."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import binom, norm, poisson

from fitting.activity import Activity, activity_of, log_likelihood, log_none
from fitting.quadrature import Terms, integrated
from fitting.spread import Counts, Spread, fit, shrunk, spread_of
from fitting.spread import log_likelihood as spread_likelihood


def counts(trials, successes, look=1.0):
    n = np.asarray(trials, float)
    return Counts(n, np.asarray(successes, float), np.ones(len(n)), np.full(len(n), look))


def density(u, n, k, look, mean, sigma):
    return binom.pmf(k, n, look * expit(mean + u)) * norm.pdf(u, 0, sigma)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 2.0])
def test_a_normal_likelihood_has_a_closed_form(sigma):
    x = np.array([-1.0, 0.3, 4.0])

    found = integrated(lambda u: Terms(-0.5 * (u - x.reshape(-1, *[1] * (u.ndim - 1))) ** 2,
                                       x.reshape(-1, *[1] * (u.ndim - 1)) - u, -np.ones_like(u)), 3, sigma)  # fmt: skip

    v = 1 + sigma**2
    assert found.log == pytest.approx(-0.5 * np.log(v) - x**2 / (2 * v))
    assert found.mean == pytest.approx(x * sigma**2 / v)
    assert found.deviation == pytest.approx(np.full(3, sigma / np.sqrt(v)))


@pytest.mark.parametrize(
    ("n", "k", "look"), [(10, 0, 1.0), (10, 10, 1.0), (400, 37, 0.6), (50_000, 12_200, 0.9), (3, 3, 0.4)]
)
@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.5])
def test_binomial_counts_are_integrated_as_by_quad(n, k, look, sigma):
    mean = -1.0
    points = np.clip(np.log(max(k, 0.5) / n / look / max(1 - k / n / look, 0.05)) - mean, -6 * sigma, 6 * sigma)
    total = quad(
        density, -12 * sigma, 12 * sigma, args=(n, k, look, mean, sigma), points=[points], limit=500, epsabs=0
    )[0]

    assert spread_likelihood(counts([n], [k], look), Spread(mean, sigma)) == pytest.approx(
        np.log(total), rel=1e-5, abs=1e-5
    )


def test_shrunk_rates_are_posterior_means_and_lie_between_the_raw_and_the_common_rate():
    seen, law = counts([20, 20, 2_000], [10, 0, 1_000]), Spread(-1.0, 0.5)
    rate = shrunk(seen, law)

    for k, (n, hits) in enumerate(((20, 10), (20, 0), (2_000, 1_000))):
        total = quad(density, -4, 4, args=(n, hits, 1.0, -1.0, 0.5), points=[1.0], limit=300)[0]
        mean = (
            quad(lambda u, n=n, hits=hits: u * density(u, n, hits, 1.0, -1.0, 0.5), -4, 4, points=[1.0], limit=300)[0]
            / total
        )
        assert rate[k] == pytest.approx(expit(-1.0 + mean), rel=1e-4)
    assert expit(-1.0) < rate[0] < 0.5 and 0 < rate[1] < expit(-1.0)
    assert rate[2] == pytest.approx(0.5, abs=0.01)


def test_the_interval_of_a_spread_ends_where_the_profile_is_1_92_below_the_top():
    rng = np.random.default_rng(5)
    hits = rng.binomial(200, expit(-1 + 0.4 * rng.standard_normal(80)))
    seen = counts(np.full(80, 200), hits)
    (found,) = spread_of("spread.ctr.item", seen, "clicks")

    def top(sigma):
        means = np.linspace(-2.5, 0.5, 3_001)
        return max(spread_likelihood(seen, Spread(m, sigma)) for m in means[np.abs(means - fit(seen).mean) < 0.2])

    assert found.low < 0.4 < found.high
    for end in (found.low, found.high):
        assert top(found.value) - top(end) == pytest.approx(1.9207, abs=0.01)


def test_equal_units_have_a_spread_whose_interval_begins_at_0():
    rng = np.random.default_rng(3)
    (found,) = spread_of("spread.ctr.item", counts(np.full(300, 100), rng.binomial(100, 0.2, 300)), "clicks")

    assert found.low == 0.0 and found.high < 0.25


def test_without_looks_a_spread_would_be_taken_too_low():
    rng = np.random.default_rng(2)
    hits = rng.binomial(2_000, 0.5 * expit(0.6 * rng.standard_normal(400)))
    trials = np.full(400, 2_000)

    assert fit(counts(trials, hits, 0.5)).sigma == pytest.approx(0.6, abs=4 * 0.6 / np.sqrt(800))
    assert fit(counts(trials, hits)).sigma < 0.5


def test_too_few_units_or_events_have_no_spread():
    assert spread_of("x", counts([5, 5], [1, 2]), "clicks")[0].value is None
    assert spread_of("x", counts([5, 5, 5], [0, 0, 0]), "clicks")[0].value is None


@pytest.mark.parametrize(("days", "mean", "sigma"), [(7.0, 0.2, 1.0), (30.0, 1.5, 0.5), (90.0, 0.01, 1.8)])
def test_how_many_users_never_come_is_as_by_quad(days, mean, sigma):
    none = quad(lambda z: np.exp(-days * mean * np.exp(sigma * z - sigma**2 / 2)) * norm.pdf(z), -9, 9, limit=300)[0]

    assert log_none(days, np.log(mean), sigma) == pytest.approx(np.log(none), abs=1e-5)


def test_without_spread_activity_is_a_truncated_poisson():
    seen = Activity(np.array([1.0, 2.0, 5.0]), np.array([10.0, 4.0, 1.0]), 7.0)
    mean = 7 * 0.3
    expected = (10 * poisson.logpmf(1, mean) + 4 * poisson.logpmf(2, mean) + poisson.logpmf(5, mean)) - 15 * np.log(
        -np.expm1(-mean)
    )

    assert log_likelihood(seen, np.log(0.3), 0.02) == pytest.approx(expected, abs=0.02)


def test_users_who_never_came_are_counted_in():
    rng = np.random.default_rng(11)
    rate = 0.2 * np.exp(0.9 * rng.standard_normal(4_000) - 0.405)
    came = rng.poisson(7 * rate)
    values, users = np.unique(came[came > 0], return_counts=True)
    found = {one.name: one for one in activity_of(Activity(values.astype(float), users.astype(float), 7.0), "sessions")}

    assert (came > 0).sum() < 3_000
    for name, truth in (("world.marginals.sessions_per_day", 0.2), ("world.population.activity_sigma", 0.9),
                        ("world.population.users", 4_000)):  # fmt: skip
        assert found[name].low < truth < found[name].high, found[name]
    assert 7 * came[came > 0].mean() / 49 > 0.25  # the naive mean per user seen


def test_users_who_came_once_tell_nothing_of_their_spread():
    found = activity_of(Activity(np.array([1.0]), np.array([50.0]), 7.0), "sessions")

    assert all(one.value is None and "none of whom came twice" in one.why for one in found)
