"""Interactions: only all three of user, store and context tell anything."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from synth.config import InteractionConfig
from synth.interactions import Mix, interaction, make_mix
from synth.types import DAYPARTS

USERS, STORES, PLATFORMS, RANK = 40, 30, 8, 4
PLAUSIBLE = 1e-4


@pytest.fixture(scope="module")
def mix() -> Mix:
    rng = np.random.default_rng(0)
    user, store = (rng.normal(size=(n, RANK)).astype(np.float32) for n in (USERS, STORES))
    return make_mix(InteractionConfig(weight=0.4, rank=RANK), user, store, PLATFORMS, 3)


@pytest.fixture(scope="module")
def cube(mix) -> np.ndarray:
    """(users, stores, contexts) logits, by the sum written out: context is platform x DAYPARTS + part of the day."""
    return 0.4 / np.sqrt(RANK) * np.einsum("ur,sr,cr->usc", mix.user, mix.store, mix.context)


def test_the_logits_are_the_sum_of_products_of_the_three_sides(mix, cube):
    for user, store, part, platform in ((0, 0, 0, 0), (3, 7, 5, 0), (39, 29, 5, 7), (12, 4, 2, 3), (1, 2, 3, 4)):
        expected = cube[user, store, platform * DAYPARTS + part]
        assert interaction(mix, user, store, part, platform) == pytest.approx(expected, rel=1e-5)


def test_factors_of_contexts_are_standard_normal_one_for_every_part_of_the_day_and_platform(mix):
    assert mix.context.shape == (DAYPARTS * PLATFORMS, RANK)
    assert stats.kstest(mix.context.ravel(), "norm").pvalue > PLAUSIBLE


def test_the_logits_have_the_stated_spread_at_any_rank():
    """Over the three sides' draws; the products of normals have heavy tails, so the tolerance comes from 40 repetitions."""
    rng = np.random.default_rng(1)
    for rank in (1, 4, 16):
        variances = []
        for seed in range(40):
            user, store = (rng.normal(size=(n, rank)).astype(np.float32) for n in (60, 60))
            mix = make_mix(InteractionConfig(weight=0.4, rank=rank), user, store, PLATFORMS, seed)
            variances.append(np.mean((mix.weight * np.einsum("ur,sr,cr->usc", mix.user, mix.store, mix.context)) ** 2))
        assert np.mean(variances) == pytest.approx(0.16, abs=4 * np.std(variances) / np.sqrt(40))


def test_no_side_and_no_two_sides_tell_anything_alone(cube):
    """Averages over what is left out are as small as those of noise: variance shrinks by the numbers averaged over.

    A context's factors are few (48), so an average over them keeps about 1/48 of the variance; the others' likewise.
    """
    total = cube.var()
    for kept in range(1, 3):
        for axes in combinations(range(3), kept):
            left_out = tuple(axis for axis in range(3) if axis not in axes)
            averaged = np.prod([cube.shape[axis] for axis in left_out])
            assert cube.mean(axis=left_out).var() / total < 4 / averaged


def test_users_who_differ_in_sign_differ_in_sign_everywhere(mix):
    """The form is a product: turning one side over turns the logits over, and turning two over changes nothing."""
    turned = mix._replace(user=-mix.user)
    twice = turned._replace(store=-mix.store)

    for who in ((0, 0, 0, 0), (5, 6, 3, 2)):
        assert interaction(turned, *who) == pytest.approx(-interaction(mix, *who))
        assert interaction(twice, *who) == pytest.approx(interaction(mix, *who))


def test_a_weight_of_zero_leaves_nothing(mix):
    off = make_mix(InteractionConfig(weight=0.0, rank=RANK), mix.user, mix.store, PLATFORMS, 3)

    assert {interaction(off, user, 3, 2, 1) for user in range(USERS)} == {0.0}
