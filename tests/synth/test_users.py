"""Users: drawn at the shares that the scenario states, each by the own id."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from synth.config import InteractionConfig, MarginalsConfig, PopulationConfig
from synth.users import Users, around, centres, make_users

N = 40_000
PLAUSIBLE = 1e-4
DAYPART_SHARE = np.array([0.05, 0.1, 0.2, 0.3, 0.25, 0.1])
MARGINALS = MarginalsConfig(ctr=0.1, cvr=0.1, sessions_per_day=0.8, basket_usd=30.0)


def population(first: int = 0, stop: int = N, daypart_share: np.ndarray = DAYPART_SHARE, **changes) -> Users:
    config = PopulationConfig(**{"users": N, "regions": 7, "segments": 3, "cohort_accuracy": 0.6} | changes)
    return make_users(config, MARGINALS, InteractionConfig(rank=3), daypart_share, 2, first, stop)


@pytest.fixture(scope="module")
def users() -> Users:
    return population()


def share(p: float):
    return pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / N))


def test_regions_and_segments_are_equally_likely(users):
    assert stats.chisquare(np.bincount(users.region, minlength=7)).pvalue > PLAUSIBLE
    assert stats.chisquare(np.bincount(users.segment, minlength=3)).pvalue > PLAUSIBLE


def test_platforms_have_their_shares(users):
    assert [float((users.platform == p).mean()) for p in range(3)] == [share(0.55), share(0.35), share(0.10)]


def test_the_cohort_is_the_true_segment_for_the_stated_share_of_users(users):
    assert (users.cohort == users.segment).mean() == share(0.6)


def test_a_wrong_cohort_is_any_of_the_others(users):
    wrong = users.cohort != users.segment
    table = np.array([[(wrong & (users.segment == s) & (users.cohort == c)).sum() for c in range(3)] for s in range(3)])

    assert stats.chisquare(table[~np.eye(3, dtype=bool)]).pvalue > PLAUSIBLE


def test_the_only_segment_is_everyones_cohort():
    one = population(stop=500, segments=1)

    assert not one.segment.any()
    assert not one.cohort.any()


def test_activity_is_lognormal_with_the_mean_of_sessions_per_day():
    z = (np.log(population(activity_sigma=0.7).activity / 0.8) + 0.7**2 / 2) / 0.7

    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


def test_all_users_are_alike_active_where_activity_does_not_spread():
    assert population(stop=100, activity_sigma=0.0).activity == pytest.approx(0.8)


def test_usual_parts_of_the_day_have_the_shares_of_traffic(users):
    assert stats.chisquare(np.bincount(users.daypart, minlength=6), N * DAYPART_SHARE).pvalue > PLAUSIBLE


def test_a_part_of_the_day_in_which_nobody_comes_is_nobodys_usual_one():
    users = population(stop=2_000, daypart_share=np.array([0.0, 0.5, 0.0, 0.5, 0.0, 0.0]))

    assert set(users.daypart) == {1, 3}


@pytest.mark.parametrize("name", ["price_sensitivity", "exploration"])
def test_traits_are_standard_normal(users, name):
    assert stats.kstest(getattr(users, name), "norm").pvalue > PLAUSIBLE


def test_factors_of_the_interaction_are_standard_normal_in_every_rank(users):
    assert users.mix.shape == (N, 3)
    for column in users.mix.T:
        assert stats.kstest(column, "norm").pvalue > PLAUSIBLE


def test_traits_of_a_user_are_uncorrelated(users):
    traits = [
        users.region, users.platform, users.segment, np.log(users.activity), users.daypart, users.price_sensitivity,
        users.exploration, *users.mix.T,
    ]  # fmt: skip

    assert np.abs(np.corrcoef(traits) - np.eye(len(traits))).max() < 4.5 / np.sqrt(N)


def test_tastes_are_closer_within_a_segment_and_spread_by_the_stated_share():
    """Of the variance of a taste, 1 / (1 + spread^2) is between segments and the rest within them."""
    member, spread = np.arange(N), 0.6
    segment = member % 400

    taste = around(2, 7, member, centres(2, 8, 400)[segment], spread)

    within = np.concatenate([taste[segment == s] - taste[segment == s].mean(axis=0) for s in range(400)])
    assert taste.var() == pytest.approx(1.0, abs=0.06)  # 3,200 coordinates of centres: 2.5% a standard error
    assert (within**2).mean() == pytest.approx(0.36 / 1.36 * (1 - 400 / N), rel=0.02)


def test_without_spread_a_user_has_the_taste_of_the_segment():
    users = population(stop=300, taste_spread=0.0)

    assert len(np.unique(users.taste, axis=0)) == 3
    for s in range(3):
        assert len(np.unique(users.taste[users.segment == s], axis=0)) == 1


@pytest.mark.parametrize("cuts", [(0, 900), (0, 450, 900), (0, 1, 13, 14, 200, 333, 600, 899, 900)])
def test_users_drawn_in_shards_are_those_of_the_whole(cuts):
    whole = population(stop=900)
    shards = [population(first=a, stop=b) for a, b in pairwise(cuts)]

    for name, columns in zip(Users._fields, zip(*shards, strict=True), strict=True):
        assert np.array_equal(np.concatenate(columns), getattr(whole, name)), name
