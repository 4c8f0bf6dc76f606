"""Late events: the chance that one comes, and its delay, apart."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from fitting.cure import Cure, Waits, _terms, fit, held, law_of
from fitting.curves import delay_points, falling
from fitting.errors import Unfit
from synth.config import DelayPoint
from synth.delay import solve_delay

LAW = Cure(0.3, 0.5, 0.7, 40.0)


def waits(n, seed, law=LAW, longest=336.0):
    rng = np.random.default_rng(seed)
    exposure = rng.uniform(0, longest, n)
    mean = np.where(rng.random(n) < law.fast_share, law.fast_mean_h, law.slow_mean_h)
    delay = rng.exponential(mean)
    came = (rng.random(n) < law.chance) & (delay < exposure)
    return Waits(np.where(came, delay, exposure), came, np.zeros(n, bool), np.arange(n))


@pytest.mark.parametrize("theta", [[-1.0, 0.3, -0.4, 3.0], [-3.0, -2.0, 1.0, 0.1], [0.5, 3.0]])
def test_the_gradient_is_that_of_the_likelihood(theta):
    rng = np.random.default_rng(1)
    some = waits(50, 2)._replace(hidden=rng.random(50) < 0.3)
    some = some._replace(hidden=some.hidden & some.came)
    theta = np.array(theta)

    value, score = _terms(some, theta)

    numeric = approx_fprime(theta, lambda x: _terms(some, x)[0].sum(), 1e-7)
    assert score.sum(axis=0) == pytest.approx(numeric, rel=1e-4, abs=1e-4)
    assert np.isfinite(value).all()


def test_each_click_adds_what_is_known_of_it():
    some = Waits(np.array([2.0, 2.0, 2.0]), np.array([True, True, False]), np.array([False, True, False]), np.arange(3))
    value, _ = _terms(some, np.array([np.log(0.3 / 0.7), np.log(5.0)]))

    gone = np.exp(-2 / 5)
    assert value == pytest.approx(np.log([0.3 * gone / 5, 0.3 * gone, 0.7 + 0.3 * gone]))


def test_with_nothing_to_come_the_fit_is_the_share_and_the_mean():
    some = waits(4_000, 3, Cure(0.4, 0.0, 1.0, 2.0), longest=1e4)
    found = fit(some, 1)

    assert found.law.chance == pytest.approx(some.came.mean(), rel=2e-3)
    assert found.law.slow_mean_h == pytest.approx(some.hours[some.came].mean(), rel=5e-3)
    assert np.sqrt(found.covariance[1, 1]) == pytest.approx(1 / np.sqrt(some.came.sum()), rel=0.1)


def test_the_chance_is_kept_apart_from_what_is_still_to_come():
    some = waits(20_000, 4, longest=96.0)
    found = fit(some, 2)

    assert some.came.mean() < 0.25
    error = np.sqrt(np.diag(found.covariance))
    truth = np.array([np.log(0.3 / 0.7), 0.0, np.log(0.7), np.log(40 / 0.7 - 1)])
    assert (np.abs(found.theta - truth) < 4 * error).all()
    assert (error < 0.3).all()


def test_a_cart_that_its_order_hides_still_counts_and_does_not_shorten_the_mean():
    rng = np.random.default_rng(6)
    cart, order = rng.exponential(1.0, 20_000), rng.exponential(1.0, 20_000)
    hidden = order < cart
    never = rng.random(20_000) < 0.5
    hours = np.where(never, 1e3, np.minimum(cart, order))
    some = Waits(hours, ~never, hidden & ~never, np.arange(20_000))

    found = fit(some, 1).law
    assert found.slow_mean_h == pytest.approx(1.0, abs=4 / np.sqrt(5_000))
    assert fit(some._replace(hidden=np.zeros(20_000, bool)), 1).law.slow_mean_h < 0.6


def test_holding_the_chance_at_its_best_changes_nothing():
    some = waits(3_000, 7)
    found = fit(some, 2)

    assert held(some, found.theta, 0, float(found.theta[0])) == pytest.approx(found.log_likelihood, abs=1e-4)
    assert held(some, found.theta, 0, float(found.theta[0]) + 0.2) < found.log_likelihood - 1


def test_users_with_more_clicks_of_one_fate_widen_the_error():
    some = waits(3_000, 8)
    four = Waits(*(np.repeat(column, 4) for column in some))

    alone, together = fit(some, 2), fit(four, 2)
    assert together.covariance[0, 0] == pytest.approx(alone.covariance[0, 0], rel=0.05)
    assert together.inflation[0] == pytest.approx(4 * alone.inflation[0], rel=0.05)


def test_too_few_events_are_refused():
    with pytest.raises(Unfit, match="too few"):
        fit(waits(12, 9), 2)
    every = waits(50, 9, Cure(0.999999, 0.0, 1.0, 0.01), longest=1e6)
    with pytest.raises(Unfit, match="none is without"):
        fit(every, 1)


@pytest.mark.parametrize("law", [(0.5, 0.7, 40.0), (0.0, 1.0, 20.0), (0.3, 0.01, 0.5), (0.9, 100.0, 2_000.0)])
def test_three_points_give_the_law_back(law):
    points = delay_points(*law)
    solved = solve_delay(tuple(DelayPoint(hours=h, share=s) for h, s in points))

    hours = np.geomspace(points[0][0] / 4, points[2][0] * 2, 30)
    given, got = Cure(0.5, *law), Cure(0.5, solved.fast_share, solved.fast_mean_h, solved.slow_mean_h)
    assert got.within(hours) == pytest.approx(given.within(hours), abs=1e-4)


def test_a_curve_that_rises_is_pooled_and_begins_with_1():
    assert falling([1.0, 0.5, 0.7, 0.2], [1, 1, 3, 1]) == pytest.approx([1.0, 0.65, 0.65, 0.2])
    assert falling([1.0, 1.3, 0.0], [1, 1, 1]) == pytest.approx([1.0, 1.0, 1e-4])
    assert falling([1.0], [4]) == [1.0]


def test_a_law_says_what_theta_means():
    law = law_of(np.array([0.0, 0.0, 0.0, 0.0]))

    assert law == Cure(0.5, 0.5, 1.0, 2.0)
    assert float(law.within(1.0)) == pytest.approx(0.5 * (1 - np.exp(-1)) + 0.5 * (1 - np.exp(-0.5)))
