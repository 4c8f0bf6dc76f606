"""Score cache: predictions are used again for a while, and are as stale as that.

A prediction is kept by (owner, ad), where the owner is the request's user, session or cohort, and used again for whatever request
of that owner comes with that ad before it is as old as the time to live. Published systems cache scores by key, and cut that time
short, or leave the cache out, where features change from minute to minute.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from marketplace.arm import Arm, CacheRule
from marketplace.scenario import CacheKey
from marketplace.serve import Scored
from synth.traffic import session_of
from synth.types import BoolArray, Float32Array, IdArray, IntArray, Requests


@dataclass(slots=True, kw_only=True, eq=False)
class _Kept:
    """Predictions by owner and ad, in their order; (m,) each."""

    owner: IntArray
    ad: IdArray
    time_ms: IntArray  # when it was made
    click: Float32Array
    conversion: Float32Array


class Caches:
    """The arms' caches; what is taken from them depends on the order of requests alone, and not on how ticks are cut.

    Args:
        arms: By position.
        cohort: (U,) of each user.
    """

    def __init__(self, arms: tuple[Arm, ...], cohort: IdArray) -> None:
        self.arms, self.cohort = arms, cohort
        none, p = np.empty(0, np.int64), np.empty(0, np.float32)
        empty = _Kept(owner=none, ad=np.empty(0, np.int32), time_ms=none, click=p, conversion=p)
        self.kept = [empty for _ in arms]

    def serve(self, scored: Scored) -> tuple[Scored, BoolArray]:
        """The tick with the predictions that are served, and (n, k) which of them were kept from an earlier request.

        What comes too late is not kept; where nothing is kept either, the fallback stands.
        """
        reused = np.zeros(scored.ad.shape, np.bool_)
        if all(arm.cache is None for arm in self.arms):
            return scored, reused
        click, conversion = scored.raw_pctr.copy(), scored.pcvr.copy()
        for position, arm in enumerate(self.arms):
            if arm.cache is not None:
                at = np.nonzero((scored.side == position) & (scored.ad >= 0))
                served = self._serve(position, arm.cache, scored, at)
                click[at], conversion[at], reused[at] = served
        return replace(scored, raw_pctr=click, pctr=click, pcvr=conversion, late=scored.late & ~reused), reused

    def _serve(
        self, position: int, rule: CacheRule, scored: Scored, at: tuple[IntArray, ...]
    ) -> tuple[Float32Array, Float32Array, BoolArray]:
        old = self.kept[position]
        owner = np.concatenate([old.owner, self._owner(rule.key, scored.requests)[at[0]]])
        ad = np.concatenate([old.ad, scored.ad[at]])
        time_ms = np.concatenate([old.time_ms, scored.requests.time_ms[at[0]]])
        click = np.concatenate([old.click, scored.raw_pctr[at]])
        conversion = np.concatenate([old.conversion, scored.pcvr[at]])
        late = np.concatenate([np.zeros(len(old.ad), np.bool_), scored.late[at]])
        # stable: of one owner and ad, what is kept comes first, then requests in their order
        order = np.lexsort((ad, owner))
        reused, stays = np.zeros(len(ad), np.bool_), np.zeros(len(ad), np.bool_)
        _reuse(order, owner, ad, time_ms, rule.ttl_ms, late, click, conversion, reused, stays)
        if len(scored.requests):
            stays &= scored.requests.time_ms[-1] - time_ms < rule.ttl_ms
        left = order[stays[order]]
        self.kept[position] = _Kept(
            owner=owner[left], ad=ad[left], time_ms=time_ms[left], click=click[left], conversion=conversion[left]
        )
        new = slice(len(old.ad), None)
        return click[new], conversion[new], reused[new]

    def _owner(self, key: CacheKey, requests: Requests) -> IntArray:
        if key == "session":
            return session_of(requests.id)
        return (self.cohort[requests.user] if key == "cohort" else requests.user).astype(np.int64)


@njit(cache=True, nogil=True)
def _reuse(  # type: ignore[no-untyped-def]
    order, owner, ad, time_ms, ttl_ms, late, click, conversion, reused, stays
):  # fmt: skip
    """Walk the predictions in `order`; `stays` marks the last one made for each owner and ad."""
    last = -1
    for i in order:
        same = last >= 0 and owner[last] == owner[i] and ad[last] == ad[i]
        if same and time_ms[i] - time_ms[last] < ttl_ms:
            click[i], conversion[i], reused[i] = click[last], conversion[last], True
        elif not late[i]:
            if same:
                stays[last] = False
            last = i
            stays[i] = True
