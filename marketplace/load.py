"""Load: what the requests of a simulation asked of each arm's rankers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from auction.pricing import Pricing
from marketplace.bids import Terms
from marketplace.serve import Scored
from synth.types import BoolArray, FloatArray, IntArray

_KNOWN_BIDS = (Pricing.CPM, Pricing.CPC, Pricing.CPA)  # that nothing needs to be predicted for


@dataclass(slots=True, kw_only=True, eq=False)
class Load:
    """Sums over requests, by arm."""

    requests: IntArray  # (arms,)
    retrieved: IntArray  # (arms,) candidates, which a light ranker scores where there is one
    late: IntArray  # (arms,) requests with predictions that came too late and were not kept
    reused: IntArray  # (arms,) predictions that were kept from an earlier request
    predicted: IntArray  # (arms, k + 1) requests by how many candidates their model scored
    predicted_after_bids: IntArray  # (arms, k + 1) the same, had those without a bid been dropped before

    def count(self, scored: Scored, reused: BoolArray, bidding: BoolArray) -> None:
        """Count a tick, before its candidates are cut to those that are auctioned.

        Args:
            reused: (n, k) predictions that were kept from an earlier request.
            bidding: (n, k) candidates that have a bid before they are predicted.
        """
        there = scored.ad >= 0
        for arm in range(len(self.requests)):
            mine = there & (scored.side == arm)
            served = mine.any(axis=1) | (scored.arm == arm)
            self.requests[arm] += int(served.sum())
            self.retrieved[arm] += int((scored.retrieved[scored.arm == arm] >= 0).sum())
            self.late[arm] += int((scored.late & mine).any(axis=1).sum())
            self.reused[arm] += int(reused[mine].sum())
            made = mine & ~reused
            for table, rows in ((self.predicted, made), (self.predicted_after_bids, made & bidding)):
                table[arm] += np.bincount(rows[served].sum(axis=1), minlength=table.shape[1])

    def of(self, arm: int) -> dict[str, Any]:
        """Figures of an arm, as a run keeps them."""
        sums = {name: int(getattr(self, name)[arm]) for name in ("requests", "retrieved", "late", "reused")}
        tables = {name: getattr(self, name)[arm].tolist() for name in ("predicted", "predicted_after_bids")}
        return sums | tables


def new_load(arms: int, k: int) -> Load:
    """Nothing counted yet, of requests with at most k candidates."""
    sums = {name: np.zeros(arms, np.int64) for name in ("requests", "retrieved", "late", "reused")}
    tables = {name: np.zeros((arms, k + 1), np.int64) for name in ("predicted", "predicted_after_bids")}
    return Load(**sums, **tables)


def with_bid(
    scored: Scored, terms: Terms, multiplier: FloatArray, ends: IntArray, takes_part: BoolArray | None
) -> BoolArray:
    """(n, k) candidates that bidding would not drop before anything is predicted of them.

    It drops those without budget, those that throttling leaves out, and bids that pacing has lowered below their reserve. A bid
    that is worked out of predictions (oCPM, value) cannot be held against its reserve so early.

    Args:
        multiplier: (accounts,) of bids, where `takes_part` is None.
        ends: (accounts,) see `marketplace.serve.Offers`.
        takes_part: (n, k) candidates who compete, with their whole bids, where pacing throttles.
    """
    paced = terms.bid_usd[scored.line] * (multiplier[scored.account] if takes_part is None else 1.0)
    low = np.isin(terms.pricing, _KNOWN_BIDS)[scored.line] & (paced < terms.reserve_usd[scored.line])
    kept = (scored.ad >= 0) & (np.arange(len(low))[:, None] < ends[scored.account]) & ~low
    return kept if takes_part is None else kept & takes_part
