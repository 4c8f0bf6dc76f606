"""Affinity: a need tells in every store by its style, half as much in an order as in a click, beside what the user likes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth import draws
from synth.affinity import inclination, per_dimension, wish
from synth.draws import Cause
from synth.items import dish_styles
from synth.users import TASTE_DIMS

DISHES = np.array([[1, 2, 0, 0, 0, 0, 0, 0], [0, 0, -3, 0, 0, 0, 0, 0]], np.float32)
STYLES = np.array([[1, 1, 1, 0, 0, 0, 0, 9], [2, -1, 0, 0, 0, 0, 0, 0], [0, 0, -1, 0, 0, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def tastes(indifferent):
    """One cuisine of two dishes, three stores of dish 0, and a user without preferences: only the need tells."""
    return indifferent(stores=3, cuisines=1, siblings=2, dish_style=DISHES, store_style=STYLES, intent=0.5)


@pytest.mark.parametrize(
    ("need", "store", "logits"),
    [(0, 0, 1.5), (0, 1, 0.0), (0, 2, 0.0), (1, 0, -1.5), (1, 1, 0.0), (1, 2, 1.5), (-1, 0, 0.0), (-1, 2, 0.0)],
)
def test_a_need_moves_the_wish_by_weight_times_its_dishs_style_times_the_stores(tastes, need, store, logits):
    """Half of 1 x 1 + 2 x 1, of 1 x 2 - 2 x 1, of -3 x 1 and so on; the store's own dish is no matter."""
    assert wish(tastes, 0, store, 0, need) == pytest.approx(logits)


def test_half_of_what_a_need_tells_in_a_click_tells_in_an_order(tastes, nobody_knows):
    click, order, own, known = inclination(tastes, nobody_knows().habits, 0, 0, 0, 0)

    assert (click, order, own, known) == (pytest.approx(1.5), pytest.approx(0.75), 0.0, False)


def test_need_and_taste_add_up(tastes):
    """A taste of 1 in the first two dimensions at a match of 1: 1 + 1, beside the need's 1.5."""
    likes = tastes._replace(user_taste=np.array([[1, 1, 0, 0, 0, 0, 0, 0]], np.float32))

    assert wish(likes, 0, 0, 0, 0) == pytest.approx(3.5)
    assert wish(likes, 0, 0, 0, -1) == pytest.approx(2.0)


@given(need=st.integers(0, 23), store=st.integers(0, 239), user=st.integers(0, 50), factor=st.floats(0, 3))
def test_what_a_need_tells_grows_with_its_weight_and_with_nothing_of_the_user(population, need, store, user, factor):
    tastes = population.tastes
    weighted = tastes._replace(intent=factor * tastes.intent)

    told = [wish(t, u, store, 0, need) - wish(t, u, store, 0, -1) for t in (tastes, weighted) for u in (0, user)]

    assert told[1] == pytest.approx(told[0], abs=1e-5)
    assert told[2:] == pytest.approx([factor * told[0]] * 2, abs=1e-5)


def test_the_styles_that_needs_look_for_are_those_that_stores_are_drawn_around(population):
    """Dishes spread by 0.5 around cuisines that spread by 1."""
    dish, dim = np.arange(24)[:, None], np.arange(TASTE_DIMS)
    centre = draws.normal(population.seed, Cause.CUISINE_STYLE, dish // 3, dim)
    expected = (centre + 0.5 * draws.normal(population.seed, Cause.DISH_STYLE, dish, dim)) / np.sqrt(1.25)

    np.testing.assert_allclose(population.tastes.dish_style, expected, atol=1e-6)
    assert np.array_equal(population.tastes.dish_style, dish_styles(population.config.catalogue, population.seed))


def test_stores_of_the_dish_needed_are_wanted_most_then_those_of_its_cuisine_then_others(population):
    """By (1 + 1/4) / (5/4) = 1 in each of 8 dimensions for the dish, 4/5 for its cuisine, 0 for others, over sqrt(5/4).

    Weight 0.9 / sqrt(8). Eight cuisines of 8 dimensions: a mean square over 64 normals has a standard error of 18%.
    """
    tastes, stores = population.tastes, population.stores
    told = tastes.intent * tastes.dish_style @ tastes.store_style.T  # (dishes, stores)
    need = np.arange(24)[:, None]
    dish, cuisine = stores.dish == need, stores.cuisine == need // 3

    scale = 0.9 / np.sqrt(8) * 8 / np.sqrt(1.25)
    assert told[dish].mean() == pytest.approx(scale, rel=4 * 0.18)
    assert told[cuisine & ~dish].mean() / told[dish].mean() == pytest.approx(0.8, abs=0.15)
    assert abs(told[~cuisine].mean()) < 0.25 * scale


def test_weights_are_of_one_spread_at_any_number_of_dimensions():
    rng = np.random.default_rng(3)
    for dims in (2, 8, 50):
        told = per_dimension(0.9, dims) * (rng.normal(size=(40_000, dims)) * rng.normal(size=(40_000, dims))).sum(
            axis=1
        )
        kurtosis = 3 + 6 / dims  # of a sum of products of normals
        assert told.var() == pytest.approx(0.81, rel=4 * np.sqrt((kurtosis - 1) / 40_000))
