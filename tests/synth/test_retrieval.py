"""Retrieval: known stores by chance `familiar`, the rest a uniform sample of the region."""

import numpy as np
import pytest
from scipy import stats

from synth.retrieval import Pool, make_pool, retrieve
from synth.types import Requests

PLAUSIBLE = 1e-4

# One region of 9 ads, ads 0 to 8 being of stores 10 to 18; store 19 has none. The other region has ad 9 of store 20.
REGION = np.array([0] * 9 + [1], np.int32)
AD_STORE = np.array([*range(10, 19), 20], np.int32)
AD_OF_STORE = np.full(21, -1, np.int32)
AD_OF_STORE[AD_STORE] = np.arange(10)


def ask(n: int, known: list[int], *, familiar: float, k: int, eligible: np.ndarray | None = None) -> np.ndarray:
    """Candidates (n, k) of n requests of one user in region 0 who knows the stores `known`."""
    pool = make_pool(REGION, np.ones(10, bool) if eligible is None else eligible, 2)
    requests = Requests(id=np.arange(n) * 3, user=np.zeros(n, np.int32), time_ms=np.arange(n))
    region, habits = np.zeros(1, np.int32), np.array([[*known, -1]], np.int32)
    return retrieve(7, requests, region, habits, AD_STORE, AD_OF_STORE, pool, familiar, k)


def close_to(share: float, n: int):
    return pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))


def test_pool_holds_the_eligible_ads_region_by_region():
    pool = make_pool(np.array([2, 0, 2, 0, 1]), np.array([True, True, True, True, False]), 4)

    assert pool.ad.tolist() == [1, 3, 0, 2]
    assert pool.start.tolist() == [0, 2, 2, 4, 4]


def test_no_ad_competes_twice_for_a_request(population, requests):
    candidates = population.candidates(requests, population.habits, population.pool(np.ones(60, bool)), 0.5)

    for row in candidates:
        taken = row[row >= 0]
        assert len(set(taken)) == len(taken)


def test_candidates_are_eligible_ads_of_the_users_region(population, requests):
    eligible = np.arange(60) % 3 > 0

    candidates = population.candidates(requests, population.habits, population.pool(eligible), 0.5)

    row, column = np.nonzero(candidates >= 0)
    ad = candidates[row, column]
    assert eligible[ad].all()
    assert np.array_equal(population.ad_region[ad], population.users.region[requests.user[row]])


def test_familiar_ads_come_first_and_only_they_are_of_known_stores():
    known = np.isin(ask(2_000, [12, 19, 16], familiar=0.5, k=5), [2, 6])

    assert (np.diff(known.astype(int), axis=1) <= 0).all()


@pytest.mark.parametrize("familiar", [0.2, 0.7])
def test_each_familiar_ad_is_taken_with_probability_familiar(familiar):
    n = 20_000
    taken = [(ask(n, [12, 19, 16], familiar=familiar, k=5) == ad).any(axis=1) for ad in (2, 6)]

    assert taken[0].mean() == close_to(familiar, n)
    assert taken[1].mean() == close_to(familiar, n)
    assert (taken[0] & taken[1]).mean() == close_to(familiar**2, n)


def test_every_familiar_ad_is_taken_when_familiar_is_one():
    assert ask(50, [12, 16], familiar=1.0, k=3)[:, :2].tolist() == [[2, 6]] * 50


def test_familiar_ads_stop_at_the_last_place():
    assert ask(50, [12, 16, 11], familiar=1.0, k=2).tolist() == [[2, 6]] * 50


def test_places_stay_empty_only_where_the_region_has_too_few_other_ads():
    candidates = ask(2_000, [12, 16], familiar=0.5, k=9)

    from_known = np.isin(candidates, [2, 6]).sum(axis=1)
    assert np.array_equal((candidates >= 0).sum(axis=1), 7 + from_known)
    assert (np.diff((candidates < 0).astype(int), axis=1) >= 0).all()
    assert (ask(2_000, [12, 16], familiar=0.5, k=7) >= 0).all()


def test_nobody_competes_where_no_ad_is_eligible():
    assert (ask(3, [12], familiar=1.0, k=4, eligible=REGION == 1) == -1).all()


@pytest.mark.parametrize("k", [1, 3, 6])
def test_each_other_ad_is_as_likely_as_the_next_in_every_place(k):
    candidates = ask(14_000, [12, 16], familiar=0.0, k=k)

    others = [0, 1, 3, 4, 5, 7, 8]
    for column in candidates.T:
        seen = np.array([(column == ad).sum() for ad in others])
        assert seen.sum() == 14_000
        assert stats.chisquare(seen).pvalue > PLAUSIBLE


def test_each_pair_of_other_ads_is_as_likely_as_the_next():
    candidates = np.sort(ask(21_000, [12, 16], familiar=0.0, k=2), axis=1)

    _, seen = np.unique(candidates, axis=0, return_counts=True)
    assert len(seen) == 21
    assert stats.chisquare(seen).pvalue > PLAUSIBLE


def test_candidates_of_a_request_do_not_depend_on_its_batch(population, requests):
    pool = population.pool(np.ones(60, bool))

    def candidates(part: Requests) -> np.ndarray:
        return population.candidates(part, population.habits, pool, 0.5)

    whole = candidates(requests)
    n = len(requests)
    split = np.concatenate([candidates(requests.rows(i, i + 1_000)) for i in range(0, n, 1_000)])
    order = np.random.default_rng(0).permutation(n)
    assert np.array_equal(split, whole)
    assert np.array_equal(candidates(requests.take(order)), whole[order])


def test_requests_differ_in_their_candidates():
    assert len(np.unique(ask(500, [], familiar=0.5, k=5), axis=0)) > 450


def test_pool_is_not_changed_by_retrieval():
    pool = make_pool(REGION, np.ones(10, bool), 2)
    before = Pool(*(array.copy() for array in pool))
    requests = Requests(id=np.arange(100), user=np.zeros(100, np.int32), time_ms=np.arange(100))

    retrieve(7, requests, np.zeros(1, np.int32), np.array([[12]], np.int32), AD_STORE, AD_OF_STORE, pool, 0.5, 5)

    assert all(np.array_equal(a, b) for a, b in zip(pool, before, strict=True))
