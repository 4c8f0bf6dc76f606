"""Retrieval: which k ads compete for a request.

Two sources, as in a feed: "order again", the ads of stores that the user has ordered from, and the nearest ads of a vector
index (exact maximum inner product search over a flat index, Johnson, Douze & Jégou 2021).
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from synth.draws import Cause, normal1, uniform1
from synth.types import BoolArray, Float32Array, IdArray, IntArray, Requests

_COHORT_BIT = 8  # bits 0 to 7 of an audience are platforms
_LOWEST = np.float32(np.finfo(np.float32).min)
_MANY = 200  # ads that are sorted sooner than ranked one by one


class Pool(NamedTuple):
    """Eligible ads by region: a flat index."""

    ad: IdArray  # (P,) ordered by region, then by id
    start: IntArray  # (regions + 1,) where each region begins in `ad`
    place: IdArray  # (A,) where each ad stands in `ad`, -1 where it is not eligible
    vector: Float32Array  # (d, P) of the ads in the order of `ad`; transposed so that the kernel runs along ads
    audience: IntArray  # (P,) int64 bits that a user must all find set: bit p of platform p, bit 8 + c of cohort c
    dish: IdArray  # (P,) category of the ad's store


class Index(NamedTuple):
    """Settings of the search."""

    familiar: float  # probability that an eligible ad of a known store is taken
    quality: float  # 0 to 1, correlation of the query vector with the user's taste
    query_weight: float  # score of an ad whose dish is the one searched for; half of it for another of the same cuisine
    siblings: int  # dishes per cuisine: dish // siblings is the cuisine


def make_pool(
    ad_region: IdArray,
    ad_vector: Float32Array,
    ad_audience: IntArray,
    ad_dish: IdArray,
    eligible: BoolArray,
    n_regions: int,
) -> Pool:
    """Sort the eligible ads by the region that they deliver in.

    Args:
        ad_region: (A,) region of each ad's store.
        ad_vector: (A, d) finite.
        ad_audience: (A,) bits of the platforms and cohorts that may see the ad, as in `Pool.audience`.
        ad_dish: (A,) category of each ad's store.
        eligible: (A,) True where the ad may compete.
        n_regions: Regions that there are, with or without ads.
    """
    chosen = np.flatnonzero(eligible)
    ad = chosen[np.argsort(ad_region[chosen], kind="stable")].astype(np.int32)
    place = np.full(len(eligible), -1, np.int32)
    place[ad] = np.arange(len(ad))
    return Pool(
        ad=ad,
        start=np.searchsorted(ad_region[ad], np.arange(n_regions + 1)),
        place=place,
        vector=np.ascontiguousarray(ad_vector[ad].T, np.float32),
        audience=ad_audience[ad].astype(np.int64),
        dish=ad_dish[ad].astype(np.int32),
    )


def retrieve(
    seed: int,
    requests: Requests,
    region: IdArray,
    platform: IdArray,
    cohort: IdArray,
    taste: Float32Array,
    query: IdArray,
    habit_store: IdArray,
    ad_of_store: IdArray,
    pool: Pool,
    index: Index,
    k: int,
) -> IdArray:
    """Ads that compete for each request.

    Each eligible ad of a store that the user has ordered from is taken with probability `index.familiar`. The places left
    go to the best ads of other stores in the user's region, by inner product with the query vector
    quality x taste + sqrt(1 - quality^2) x noise, plus `index.query_weight` for the dish searched for. No ad is taken
    whose audience leaves out the user's platform or cohort.

    Args:
        region: (U,) of each user; so are `platform`, 0 to 7, and `cohort`, 0 to 54.
        taste: (U, d) standard normal in each dimension, or nearly so.
        query: (n,) dish searched for, -1 where the request is no search.
        habit_store: (U, H) stores that each user has ordered from, -1 where a place is free.
        ad_of_store: (S,) the one ad of each store, -1 where it has none.

    Returns:
        (n, k) ad ids, -1 where too few are eligible: familiar ones as they stand in the user's habits, then the others by
        falling score, ties by id.
    """
    candidates = np.full((len(requests), k), -1, np.int32)
    _retrieve(
        np.uint64(seed), requests.id, requests.user, region, platform, cohort, taste, query, habit_store, ad_of_store,
        pool, index, candidates,
    )  # fmt: skip
    return candidates


@njit(cache=True, nogil=True)
def _retrieve(  # type: ignore[no-untyped-def]
    seed, request, user, region, platform, cohort, taste, query, habit_store, ad_of_store, pool, index, candidates
):  # fmt: skip
    vector = np.empty(taste.shape[1], np.float32)
    largest = np.max(np.diff(pool.start))
    score, peak, key = np.empty(largest, np.float32), np.empty(largest, np.float32), np.empty(largest, np.int64)
    for i in range(request.size):
        u = user[i]
        bits = (np.int64(1) << platform[u]) | (np.int64(1) << (_COHORT_BIT + cohort[u]))
        filled = _take_familiar(
            seed, request[i], bits, habit_store[u], ad_of_store, pool, index.familiar, candidates[i]
        )
        first, last = pool.start[region[u]], pool.start[region[u] + 1]
        if filled == candidates.shape[1] or first == last:
            continue
        _query_vector(seed, request[i], taste[u], index.quality, vector)
        scores = score[: last - first]
        _inner_products(vector, pool.vector, first, scores)
        _add_query(query[i], pool.dish[first:last], index.query_weight, index.siblings, scores)
        _drop_others(bits, pool.audience[first:last], scores)
        _drop_known(habit_store[u], ad_of_store, pool.place, first, scores)
        _take_best(scores, pool.ad[first:last], peak, key, candidates[i, filled:])


@register_jitable
def _take_familiar(seed, request, bits, habit_store, ad_of_store, pool, familiar, taken):  # type: ignore[no-untyped-def]
    """Fill `taken` with ads of known stores; returns how many."""
    filled = 0
    for store in habit_store:
        if store < 0 or filled == taken.size or ad_of_store[store] < 0:
            continue
        place = pool.place[ad_of_store[store]]
        if place < 0 or pool.audience[place] & bits != bits:
            continue
        if uniform1(seed, Cause.RETRIEVAL_FAMILIAR, request, store) < familiar:
            taken[filled] = pool.ad[place]
            filled += 1
    return filled


@register_jitable
def _query_vector(seed, request, taste, quality, vector):  # type: ignore[no-untyped-def]
    noise = sqrt(1.0 - quality * quality)
    for d in range(vector.size):
        vector[d] = quality * taste[d] + noise * normal1(seed, Cause.RETRIEVAL_NOISE, request, d)


@register_jitable
def _inner_products(query_vector, vector, first, score):  # type: ignore[no-untyped-def]
    """Dimension by dimension along the ads, so that the sums are vectorised and their order is fixed."""
    score[:] = 0.0
    for d in range(query_vector.size):
        weight = query_vector[d]
        row = vector[d, first : first + score.size]
        for p in range(score.size):
            score[p] += weight * row[p]


@register_jitable
def _add_query(query, dish, query_weight, siblings, score):  # type: ignore[no-untyped-def]
    if query < 0:
        return
    full, half, none = np.float32(query_weight), np.float32(0.5 * query_weight), np.float32(0.0)
    # A cuisine is a range of dishes: comparing with its ends spares a division per ad
    first = query - query % siblings
    for p in range(score.size):
        cuisine = half if (dish[p] >= first) & (dish[p] < first + siblings) else none
        score[p] += full if dish[p] == query else cuisine


@register_jitable
def _drop_others(bits, audience, score):  # type: ignore[no-untyped-def]
    """Give -inf to the ads whose audience lacks one of the user's bits."""
    for p in range(score.size):
        score[p] = score[p] if audience[p] & bits == bits else np.float32(-np.inf)


@register_jitable
def _drop_known(habit_store, ad_of_store, place, first, score):  # type: ignore[no-untyped-def]
    """Give -inf to the ads of stores that the user has ordered from."""
    for store in habit_store:
        if store >= 0 and ad_of_store[store] >= 0:
            p = place[ad_of_store[store]] - first
            if 0 <= p < score.size:
                score[p] = -np.inf


@register_jitable
def _take_best(score, ad, peak, key, taken):  # type: ignore[no-untyped-def]
    """Fill `taken` with the ads of the highest scores above -inf, best first, ties by place."""
    ordered = score.view(np.int32)
    lists = _peaks(score, taken.size, peak)
    enough = _threshold(peak[:lists], taken.size)
    found = 0
    for j in range(lists):
        if peak[j] >= enough:
            for p in range(j, score.size, lists):
                if score[p] >= enough:
                    # One integer in the order of (score, -place): a negative float has all bits but its sign flipped
                    high = np.int64(ordered[p] ^ ((ordered[p] >> 31) & 0x7FFFFFFF))
                    key[found] = (high << 32) | (0xFFFFFFFF - p)
                    found += 1
    if found > min(4 * taken.size, _MANY):
        # Many ties, or many to take, and ranks take quadratic time
        key[:found].sort()
        for rank in range(min(found, taken.size)):
            taken[rank] = ad[0xFFFFFFFF - (key[found - 1 - rank] & 0xFFFFFFFF)]
        return
    for i in range(found):
        mine, rank = key[i], 0
        for j in range(found):
            rank += key[j] > mine
        if rank < taken.size:
            taken[rank] = ad[0xFFFFFFFF - (mine & 0xFFFFFFFF)]


@register_jitable
def _peaks(score, wanted, peak):  # type: ignore[no-untyped-def]
    """Write the highest score of each of n lists into `peak`, ad p being in list p mod n; returns n."""
    n = min(score.size, max(4 * wanted, score.size // 8))
    peak[:n] = score[:n]
    for start in range(n, score.size, n):
        more = score[start : start + n]
        for j in range(more.size):
            peak[j] = more[j] if more[j] > peak[j] else peak[j]
    return n


@register_jitable
def _threshold(peak, wanted):  # type: ignore[no-untyped-def]
    """A score that at least `wanted` of the peaks reach, and not many more; the lowest of all if so many are not finite.

    As many ads reach it, at least, so the best are among those.
    """
    low, high, finite = np.float32(np.inf), _LOWEST, 0
    for j in range(peak.size):
        if peak[j] >= _LOWEST:
            finite += 1
            low, high = min(low, peak[j]), max(high, peak[j])
    if finite < wanted:
        return _LOWEST
    for _ in range(16):
        middle = np.float32(0.5) * (low + high)
        reached = 0
        for j in range(peak.size):
            reached += peak[j] >= middle
        if reached < wanted:
            high = middle
        else:
            low = middle
            if 8 * reached <= 9 * wanted:
                break
    return low
