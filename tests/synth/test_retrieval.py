"""Retrieval: known stores by chance `familiar`, the rest the nearest ads of the region, as brute force finds them."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth import draws
from synth.draws import Cause
from synth.retrieval import Index, Pool, make_pool, retrieve
from synth.types import Requests

SEED = 7
REGIONS = 3
EVERYONE = (1 << 63) - 1


class Market(NamedTuple):
    """U users and A ads, laid out for `retrieve`."""

    region: np.ndarray  # (U,)
    platform: np.ndarray  # (U,)
    cohort: np.ndarray  # (U,)
    taste: np.ndarray  # (U, d)
    habit_store: np.ndarray  # (U, H)
    ad_store: np.ndarray  # (A,)
    ad_of_store: np.ndarray  # (S,)
    ad_region: np.ndarray  # (A,)
    ad_vector: np.ndarray  # (A, d)
    ad_audience: np.ndarray  # (A,)
    ad_dish: np.ndarray  # (A,)
    eligible: np.ndarray  # (A,)

    def pool(self) -> Pool:
        return make_pool(self.ad_region, self.ad_vector, self.ad_audience, self.ad_dish, self.eligible, REGIONS)

    def candidates(self, requests: Requests, query: np.ndarray, index: Index, k: int) -> np.ndarray:
        return retrieve(
            SEED, requests, self.region, self.platform, self.cohort, self.taste, query, self.habit_store,
            self.ad_of_store, self.pool(), index, k,
        )  # fmt: skip


def random_market(rng: np.random.Generator, users: int, ads: int, *, ties: bool, shut: float) -> Market:
    """A market at random; whole numbers in its vectors make ties, an audience bit is missing with probability `shut`."""

    def vectors(rows: int) -> np.ndarray:
        return (rng.integers(-1, 2, (rows, 2)) if ties else rng.normal(size=(rows, 3))).astype(np.float32)

    stores = ads + 5
    ad_store = rng.permutation(stores)[:ads].astype(np.int32)
    ad_of_store = np.full(stores, -1, np.int32)
    ad_of_store[ad_store] = np.arange(ads)
    habit_store = np.array([rng.permutation(stores)[:4] for _ in range(users)], np.int32)
    ad_region = rng.choice(REGIONS, ads, p=[0.8, 0.2, 0.0]).astype(np.int32)
    return Market(
        region=rng.choice(REGIONS, users, p=[0.7, 0.2, 0.1]).astype(np.int32),
        platform=rng.choice([0, 1, 7], users).astype(np.int32),
        cohort=rng.choice([0, 1, 54], users).astype(np.int32),
        taste=vectors(users),
        habit_store=np.where(rng.random((users, 4)) < 0.5, habit_store, np.int32(-1)),
        ad_store=ad_store,
        ad_of_store=ad_of_store,
        ad_region=ad_region,
        ad_vector=vectors(ads),
        ad_audience=((rng.random((ads, 63)) >= shut).astype(np.int64) << np.arange(63)).sum(axis=1),
        ad_dish=rng.integers(0, 7, ads).astype(np.int32),
        eligible=rng.random(ads) < 0.8,
    )


def random_requests(rng: np.random.Generator, n: int, users: int) -> tuple[Requests, np.ndarray]:
    """Requests with a dish searched for in half of them."""
    requests = Requests(
        id=rng.permutation(10 * n)[:n].astype(np.int64),
        user=rng.integers(0, users, n).astype(np.int32),
        time_ms=np.arange(n),
        surface=np.zeros(n, np.int32),
    )
    return requests, np.where(rng.random(n) < 0.5, rng.integers(0, 9, n), -1).astype(np.int32)


def admits(market: Market, user: int) -> np.ndarray:
    """(A,) True where an eligible ad's audience has the user's platform and cohort."""
    audience = market.ad_audience
    platform, cohort = audience >> market.platform[user] & 1, audience >> (8 + market.cohort[user]) & 1
    return market.eligible & (platform == 1) & (cohort == 1)


def brute_force(market: Market, request: int, user: int, query: int, index: Index, k: int) -> list[int]:
    """The row of one request: every ad is scored and all are sorted."""
    admitted = admits(market, user)
    known = [int(market.ad_of_store[store]) for store in market.habit_store[user] if store >= 0]
    chance = draws.uniform(SEED, Cause.RETRIEVAL_FAMILIAR, request, market.habit_store[user])
    row = [
        int(market.ad_of_store[store])
        for store, u in zip(market.habit_store[user], chance, strict=True)
        if store >= 0 and market.ad_of_store[store] >= 0 and admitted[market.ad_of_store[store]] and u < index.familiar
    ]
    noise = draws.normal(SEED, Cause.RETRIEVAL_NOISE, request, np.arange(market.taste.shape[1]))
    taste = market.taste[user].astype(np.float64)
    vector = (index.quality * taste + np.sqrt(1 - index.quality**2) * noise).astype(np.float32)
    score = np.zeros(len(admitted), np.float32)
    for d, weight in enumerate(vector):
        score += weight * market.ad_vector[:, d]
    if query >= 0:
        cuisine = market.ad_dish // index.siblings == query // index.siblings
        match = np.where(market.ad_dish == query, 1.0, np.where(cuisine, 0.5, 0.0))
        score += (index.query_weight * match).astype(np.float32)
    others = [ad for ad in np.argsort(-score, kind="stable") if admitted[ad] and ad not in known]
    row += [ad for ad in others if market.ad_region[ad] == market.region[user]]
    return (row + [-1] * k)[:k]


@given(
    state=st.integers(0, 2**32 - 1),
    ads=st.one_of(st.integers(1, 12), st.integers(60, 250)),
    k=st.integers(1, 12),
    ties=st.booleans(),
    shut=st.sampled_from([0.0, 0.2, 0.8]),
    familiar=st.sampled_from([0.0, 0.5, 1.0]),
    quality=st.sampled_from([0.0, 0.6, 1.0]),
    query_weight=st.sampled_from([0.0, 1.0, 2.5]),
    siblings=st.integers(1, 3),
)
def test_candidates_are_those_of_brute_force(state, ads, k, ties, shut, familiar, quality, query_weight, siblings):
    rng = np.random.default_rng(state)
    market = random_market(rng, 8, ads, ties=ties, shut=shut)
    requests, query = random_requests(rng, 20, 8)
    index = Index(familiar, quality, query_weight, siblings)

    candidates = market.candidates(requests, query, index, k)

    expected = [
        brute_force(market, i, u, q, index, k) for i, u, q in zip(requests.id, requests.user, query, strict=True)
    ]
    assert candidates.dtype == np.int32
    assert candidates.tolist() == expected


def test_nothing_ineligible_competes_and_nothing_twice():
    rng = np.random.default_rng(3)
    market = random_market(rng, 200, 400, ties=False, shut=0.4)
    requests, query = random_requests(rng, 3_000, 200)

    candidates = market.candidates(requests, query, Index(0.5, 0.5, 1.0, 2), 20)

    for row, user in zip(candidates, requests.user, strict=True):
        taken = row[row >= 0]
        assert admits(market, user)[taken].all()
        assert len(set(taken)) == len(taken)


def test_candidates_of_a_request_do_not_depend_on_its_batch():
    rng = np.random.default_rng(4)
    market = random_market(rng, 200, 400, ties=False, shut=0.2)
    requests, query = random_requests(rng, 1_000, 200)
    index = Index(0.5, 0.5, 1.0, 2)

    whole = market.candidates(requests, query, index, 20)

    split = [market.candidates(requests.rows(i, i + 70), query[i : i + 70], index, 20) for i in range(0, 1_000, 70)]
    order = rng.permutation(1_000)
    assert np.array_equal(np.concatenate(split), whole)
    assert np.array_equal(market.candidates(requests.take(order), query[order], index, 20), whole[order])


def test_pool_holds_the_eligible_ads_region_by_region():
    region, eligible = np.array([2, 0, 2, 0, 1]), np.array([True, True, True, True, False])
    vector = np.array([[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]], np.float32)

    pool = make_pool(region, vector, 1 << np.arange(5), np.arange(5, dtype=np.int32) * 10, eligible, 4)

    assert pool.ad.tolist() == [1, 3, 0, 2]
    assert pool.start.tolist() == [0, 2, 2, 4, 4]
    assert pool.place.tolist() == [2, 0, 3, 1, -1]
    assert pool.vector.tolist() == [[1, 3, 0, 2], [6, 8, 5, 7]]
    assert pool.vector.flags.c_contiguous
    assert pool.audience.tolist() == [2, 8, 1, 4]
    assert pool.dish.tolist() == [10, 30, 0, 20]


def test_ads_of_a_region_stand_in_the_order_of_their_ids():
    market = random_market(np.random.default_rng(10), 1, 5_000, ties=False, shut=0.0)

    ids = np.arange(5_000)[market.eligible]
    assert np.array_equal(market.pool().ad, ids[np.lexsort((ids, market.ad_region[ids]))])


def test_pool_is_not_changed_by_retrieval():
    rng = np.random.default_rng(5)
    market = random_market(rng, 50, 100, ties=False, shut=0.2)
    requests, query = random_requests(rng, 100, 50)
    pool = market.pool()

    retrieve(
        SEED, requests, market.region, market.platform, market.cohort, market.taste, query, market.habit_store,
        market.ad_of_store, pool, Index(0.5, 0.5, 1.0, 2), 10,
    )  # fmt: skip

    assert all(np.array_equal(a, b) for a, b in zip(pool, market.pool(), strict=True))


def line(position: list[float], *, taste: list[float], known: tuple[int, ...] = (), dish: list[int] | None = None):
    """One region of ads at `position` on a line, ad a being of store 10 + a, and users who all know the stores `known`."""
    ads, users = len(position), len(taste)
    zero = np.zeros(users, np.int32)
    return Market(
        region=zero,
        platform=zero,
        cohort=zero,
        taste=np.array(taste, np.float32)[:, None],
        habit_store=np.tile(np.array([*known, -1], np.int32), (users, 1)),
        ad_store=np.arange(10, 10 + ads, dtype=np.int32),
        ad_of_store=np.concatenate([np.full(10, -1), np.arange(ads)]).astype(np.int32),
        ad_region=np.zeros(ads, np.int32),
        ad_vector=np.array(position, np.float32)[:, None],
        ad_audience=np.full(ads, EVERYONE),
        ad_dish=np.array([0] * ads if dish is None else dish, np.int32),
        eligible=np.ones(ads, bool),
    )


def ask(market: Market, n: int, index: Index, k: int, dish: int = -1) -> np.ndarray:
    """Candidates (n, k) of n requests, users in turn."""
    user = (np.arange(n) % len(market.region)).astype(np.int32)
    requests = Requests(id=np.arange(n) * 3, user=user, time_ms=np.arange(n), surface=np.zeros(n, np.int32))
    return market.candidates(requests, np.full(n, dish, np.int32), index, k)


def close_to(share: float, n: int):
    return pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))


@pytest.mark.parametrize("familiar", [0.2, 0.7])
def test_each_familiar_ad_is_taken_with_probability_familiar(familiar):
    n = 20_000
    candidates = ask(line([1, 2, 3, 4, 5], taste=[1.0], known=(12, 3, 10)), n, Index(familiar, 1.0, 0.0, 1), 5)

    taken = [(candidates == ad).any(axis=1) for ad in (2, 0)]
    assert taken[0].mean() == close_to(familiar, n)
    assert taken[1].mean() == close_to(familiar, n)
    assert (taken[0] & taken[1]).mean() == close_to(familiar**2, n)


def test_familiar_ads_come_first_as_in_the_habits_and_stop_at_the_last_place():
    market = line([1, 2, 3, 4, 5], taste=[1.0], known=(12, 10, 11))

    assert ask(market, 3, Index(1.0, 1.0, 0.0, 1), 4).tolist() == [[2, 0, 1, 4]] * 3
    assert ask(market, 3, Index(1.0, 1.0, 0.0, 1), 2).tolist() == [[2, 0]] * 3


def test_an_ad_of_a_known_store_has_no_second_chance():
    assert ask(line([1, 2, 3], taste=[1.0], known=(12,)), 2, Index(0.0, 1.0, 0.0, 1), 3).tolist() == [[1, 0, -1]] * 2


def test_a_familiar_ad_needs_an_audience_with_both_platform_and_cohort():
    market = line([1, 2, 3], taste=[1.0], known=(10, 11, 12))._replace(ad_audience=np.array([1, 1 << 8, 1 | 1 << 8]))

    assert ask(market, 2, Index(1.0, 1.0, 0.0, 1), 3).tolist() == [[2, -1, -1]] * 2


def test_nobody_competes_where_no_ad_is_eligible():
    market = line([1, 2, 3], taste=[1.0], known=(11,))._replace(eligible=np.zeros(3, bool))

    assert (ask(market, 3, Index(1.0, 0.5, 1.0, 1), 4, dish=0) == -1).all()


@pytest.mark.parametrize("quality", [0.0, 0.3, 0.8, 1.0])
def test_query_vector_has_correlation_quality_with_taste(quality):
    """Two normals of correlation rho have one sign with probability 1/2 + asin(rho) / pi (Sheppard 1899)."""
    n = 40_000
    taste = np.random.default_rng(6).normal(size=n)

    best = ask(line([-1, 1], taste=list(taste)), n, Index(0.0, quality, 0.0, 1), 1)[:, 0]

    assert ((best == 1) == (taste > 0)).mean() == close_to(0.5 + np.arcsin(quality) / np.pi, n)


def test_noise_is_drawn_anew_for_each_dimension():
    n = 10_000
    market = line([0] * 4, taste=[0.0])._replace(
        taste=np.zeros((1, 2), np.float32), ad_vector=np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    )

    best = ask(market, n, Index(0.0, 0.0, 0.0, 1), 1)[:, 0]

    for ad in range(4):
        assert (best == ad).mean() == close_to(0.25, n)


def test_candidates_fit_taste_better_the_higher_the_quality():
    rng = np.random.default_rng(8)
    market = random_market(rng, 300, 400, ties=False, shut=0.0)._replace(region=np.zeros(300, np.int32))
    requests, query = random_requests(rng, 3_000, 300)

    def fit(quality: float) -> float:
        """Mean inner product of taste and the ads retrieved."""
        ad = market.candidates(requests, query, Index(0.0, quality, 0.0, 1), 10)
        return (market.ad_vector[ad] * market.taste[requests.user][:, None]).sum(axis=2).mean()

    fits = [fit(quality) for quality in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert (np.diff(fits) > 0.2).all()


def test_request_does_not_matter_at_quality_one_nor_taste_at_quality_zero():
    position = list(np.random.default_rng(9).normal(size=30))
    users = ask(line(position, taste=[1.0, -1.0]), 400, Index(0.0, 1.0, 0.0, 1), 5)

    assert len(np.unique(users, axis=0)) == 2
    one, other = (ask(line(position, taste=[t]), 400, Index(0.0, 0.0, 0.0, 1), 5) for t in (1.0, -3.0))
    assert np.array_equal(one, other)
    assert len(np.unique(one, axis=0)) == 2


def test_the_dish_searched_for_weighs_fully_and_its_siblings_half():
    """Scores are 0 + 2, 1.5 + 0, 0.75 + 1 and 0.8 + 1, with dishes 3 and 5 in the cuisine of dish 4."""
    market = line([0, 1.5, 0.75, 0.8], taste=[1.0], dish=[4, 6, 3, 5])

    assert ask(market, 2, Index(0.0, 1.0, 2.0, 3), 4, dish=4).tolist() == [[0, 3, 2, 1]] * 2
    assert ask(market, 2, Index(0.0, 1.0, 2.0, 3), 4).tolist() == [[1, 3, 2, 0]] * 2
    assert ask(market, 2, Index(0.0, 1.0, 2.0, 1), 4, dish=4).tolist() == [[0, 1, 3, 2]] * 2


def test_ties_go_to_the_lower_id_in_a_pool_of_one_score():
    assert ask(line([1.0] * 3_000, taste=[1.0]), 1, Index(0.0, 1.0, 0.0, 1), 50).tolist() == [list(range(50))]


def test_zeros_of_either_sign_tie():
    assert ask(line([-0.0, 0.0, -0.0, 0.0], taste=[1.0]), 1, Index(0.0, 1.0, 0.0, 1), 4).tolist() == [[0, 1, 2, 3]]
