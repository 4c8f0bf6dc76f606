"""Retrieval: which k ads compete for a request."""

from typing import NamedTuple

import numpy as np
from numba import njit

from synth.draws import Cause, block, uniform1
from synth.habits import place_of
from synth.types import BoolArray, IdArray, IntArray, Requests


class Pool(NamedTuple):
    """Eligible ads by region."""

    ad: IdArray  # (eligible,) ordered by region, then by id
    start: IntArray  # (regions + 1,) where each region begins in `ad`
    eligible: BoolArray  # (A,)


def make_pool(ad_region: IdArray, eligible: BoolArray, n_regions: int) -> Pool:
    """Sort the eligible ads by the region that they deliver in.

    Args:
        ad_region: (A,) region of each ad's store.
        eligible: (A,) True where the ad may compete.
    """
    chosen = np.flatnonzero(eligible)
    order = chosen[np.argsort(ad_region[chosen], kind="stable")]
    return Pool(order.astype(np.int32), np.searchsorted(ad_region[order], np.arange(n_regions + 1)), eligible)


def retrieve(
    seed: int,
    requests: Requests,
    region: IdArray,
    habit_store: IdArray,
    ad_store: IdArray,
    ad_of_store: IdArray,
    pool: Pool,
    familiar: float,
    k: int,
) -> IdArray:
    """Two sources, as in a feed: "order again" and "discover".

    Each eligible ad of a store that the user has ordered from is taken with probability `familiar`; the rest is a uniform
    sample, without replacement, of the region's eligible ads of other stores.

    Returns:
        (n, k) ad ids, familiar ones first, -1 where too few are eligible.
    """
    candidates = np.full((len(requests), k), -1, np.int32)
    _retrieve(
        np.uint64(seed),
        requests.id,
        requests.user,
        region,
        habit_store,
        ad_store,
        ad_of_store,
        pool,
        familiar,
        candidates,
    )
    return candidates


@njit(cache=True, nogil=True)
def _retrieve(  # type: ignore[no-untyped-def]
    seed, request, user, region, habit_store, ad_store, ad_of_store, pool, familiar, candidates
):  # fmt: skip
    k = candidates.shape[1]
    scratch = np.empty(pool.ad.size, np.int32)
    for i in range(request.size):
        u = user[i]
        filled = 0
        for h in range(habit_store.shape[1]):
            store = habit_store[u, h]
            if store < 0 or filled == k:
                continue
            ad = ad_of_store[store]
            if ad < 0 or not pool.eligible[ad]:
                continue
            if uniform1(seed, Cause.RETRIEVAL_FAMILIAR, request[i], store) < familiar:
                candidates[i, filled] = ad
                filled += 1
        first = pool.start[region[u]]
        size = pool.start[region[u] + 1] - first
        scratch[:size] = pool.ad[first : first + size]
        drawn = 0
        w0 = w1 = w2 = w3 = np.uint64(0)
        while filled < k and drawn < size:
            if drawn % 4 == 0:
                w0, w1, w2, w3 = block(seed, Cause.RETRIEVAL_EXPLORE, request[i], drawn // 4)
            else:
                w0, w1, w2 = w1, w2, w3
            other = drawn + np.int64((w0 * np.uint64(size - drawn)) >> np.uint64(32))
            ad = scratch[other]
            scratch[other] = scratch[drawn]
            drawn += 1
            if place_of(habit_store, u, ad_store[ad]) < 0:
                candidates[i, filled] = ad
                filled += 1
