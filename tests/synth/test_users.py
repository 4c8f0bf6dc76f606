"""Users: drawn at the shares that the scenario states."""

import numpy as np
import pytest
from scipy import stats

from synth.config import PopulationConfig
from synth.users import make_users

N = 40_000
PLAUSIBLE = 1e-4


@pytest.fixture(scope="module")
def users():
    return make_users(PopulationConfig(users=N, regions=7, segments=3, requests_per_day=0.8, cohort_accuracy=0.6), 2)


def share(p: float):
    return pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / N))


def test_regions_and_segments_are_equally_likely(users):
    assert stats.chisquare(np.bincount(users.region, minlength=7)).pvalue > PLAUSIBLE
    assert stats.chisquare(np.bincount(users.segment, minlength=3)).pvalue > PLAUSIBLE


def test_platforms_have_their_shares(users):
    assert [float((users.platform == p).mean()) for p in range(3)] == [share(0.55), share(0.35), share(0.10)]


def test_the_cohort_is_the_true_segment_for_the_stated_share_of_users(users):
    assert (users.cohort == users.segment).mean() == share(0.6)


def test_activity_is_lognormal_with_the_mean_of_requests_per_day(users):
    z = (np.log(users.activity / 0.8) + 0.8**2 / 2) / 0.8

    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


def test_tastes_are_closer_within_a_segment_and_spread_by_the_stated_share():
    """Of the variance of a taste, 1 / (1 + spread^2) is between segments and the rest within them."""
    users = make_users(PopulationConfig(users=N, segments=400, requests_per_day=1, taste_spread=0.6), 2)

    within = np.concatenate(
        [users.taste[users.segment == s] - users.taste[users.segment == s].mean(axis=0) for s in range(400)]
    )
    assert users.taste.var() == pytest.approx(1.0, abs=0.06)  # 3,200 coordinates of centres: 2.5% a standard error
    assert (within**2).mean() == pytest.approx(0.36 / 1.36 * (1 - 400 / N), rel=0.02)
