"""Fronts of two goals: against brute force, areas worked by hand, expected gains against simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from marketplace.front import area, expected_gain, undominated

HAND = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
WORST = np.zeros(2)
few_values = st.integers(0, 5).map(float)  # so that ties and equal points come
points = st.integers(0, 40).flatmap(lambda m: arrays(float, (m, 2), elements=few_values))


def dominates(one, other):
    return (one >= other).all() and (one > other).any()


@given(points)
def test_the_front_is_what_brute_force_finds(goals):
    brute = [not any(dominates(other, one) for other in goals) for one in goals]

    assert undominated(goals).tolist() == brute


@given(points, st.integers(0, 39))
def test_the_front_does_not_depend_on_the_order_of_points(goals, by):
    assert (np.roll(undominated(goals), by) == undominated(np.roll(goals, by, axis=0))).all()


@given(points)
def test_every_point_off_the_front_is_dominated_by_one_on_it(goals):
    kept = undominated(goals)

    assert all(any(dominates(other, one) for other in goals[kept]) for one in goals[~kept])
    assert kept.any() == bool(len(goals))


def test_equal_points_are_on_the_front_together_or_not_at_all():
    assert undominated(np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 1.0], [0.0, 2.0], [0.0, 2.0]])).tolist() == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_goals_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        undominated(np.array([[1.0, bad], [0.0, 0.0]]))


def test_the_area_of_three_steps_is_that_worked_by_hand():
    assert area(HAND, WORST) == 3 + 2 + 1
    assert area(HAND, np.array([1.0, 1.0])) == 1  # (2, 2) alone is better than the worst in both
    assert area(np.array([[0.0, 5.0]]), WORST) == 0


@given(points, arrays(float, 2, elements=st.floats(0, 6)))
def test_a_certain_point_gains_the_area_that_it_adds(goals, point):
    gain = expected_gain(point[None], np.zeros((1, 2)), goals, WORST)

    more = area(np.concatenate([goals, point[None]]), WORST) - area(goals, WORST)
    assert gain == pytest.approx(more, abs=1e-9)


@pytest.mark.parametrize("mean", [(2.5, 2.5), (0.5, 0.5), (3.5, 0.2), (-1.0, 4.0)])
def test_an_uncertain_point_gains_the_mean_of_what_its_draws_add(mean):
    sd, n = np.array([0.7, 1.1]), 4_000
    draws = np.array(mean) + sd * np.random.default_rng(5).standard_normal((n, 2))
    added = np.array([area(np.concatenate([HAND, draw[None]]), WORST) for draw in draws]) - area(HAND, WORST)

    gain = expected_gain(np.array([mean]), sd[None], HAND, WORST)

    assert abs(gain[0] - added.mean()) < 4 * added.std() / np.sqrt(n)
