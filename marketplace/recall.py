"""Recall: what each stage of an arm's ranking passes on of the ads that are truly the best of their requests."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from marketplace.bids import Terms, worth
from marketplace.chances import attention_of, conversion_chance
from marketplace.scenario import Scenario
from marketplace.serve import Scored
from synth import draws
from synth.draws import Cause
from synth.retrieval import Pool
from synth.types import FloatArray, IdArray, IntArray
from synth.world import Minds, World

STAGES = ("retrieved", "ranked", "auctioned", "shown")


@dataclass(slots=True, kw_only=True, eq=False)
class Recall:
    """Sums over the requests that are looked at, by arm."""

    sampled: IntArray  # (arms,)
    passed: FloatArray  # (arms, stages) share of the best ads that the stage passed on
    squared: FloatArray  # (arms, stages)

    def count(self, arm: IdArray, best: IdArray, stages: tuple[IdArray, ...]) -> None:
        """Count how many of the `best` ads (m, s) each of STAGES passed on, (m, any) each; -1 is none."""
        there = best >= 0
        rows = np.flatnonzero(there.any(axis=1))
        np.add.at(self.sampled, arm[rows], 1)
        for stage, ads in enumerate(stages):
            found = (best[rows, :, None] == ads[rows, None, :]).any(axis=2) & there[rows]
            share = found.sum(axis=1) / there[rows].sum(axis=1)
            np.add.at(self.passed[:, stage], arm[rows], share)
            np.add.at(self.squared[:, stage], arm[rows], share**2)

    def of(self, arm: int) -> list[dict[str, Any]]:
        """A row per stage: its recall and the standard error of it, over requests; none where none was looked at."""
        n = int(self.sampled[arm])
        if n == 0:
            return []
        mean = self.passed[arm] / n
        se = np.sqrt(np.maximum(self.squared[arm] / n - mean**2, 0.0) / n)
        return [
            {"stage": stage, "requests": n, "recall": float(mean[i]), "se": float(se[i])}
            for i, stage in enumerate(STAGES)
        ]


def new_recall(arms: int) -> Recall:
    """Nothing counted yet."""
    none = np.zeros((arms, len(STAGES)))
    return Recall(sampled=np.zeros(arms, np.int64), passed=none, squared=none.copy())


def sample_of(scenario: Scenario, request: IntArray) -> IntArray:
    """Rows of the requests (n,) that are looked at: those whose whole auction is logged."""
    return np.flatnonzero(draws.uniform(scenario.seed, Cause.LOG_SAMPLE, request) < scenario.log.candidate_share)


def truly_best(
    scenario: Scenario, world: World, minds: Minds, scored: Scored, rows: IntArray, pools: tuple[Pool, ...], terms: Terms
) -> IdArray:  # fmt: skip
    """(m, s) the ads, of all that their users may see, that are worth the most by the true probabilities; -1 where are fewer.

    Worth is USD per examined impression: the whole bid times the true probability of what is billed, in the top slot. Ties go to
    the ad that comes first in the pool.

    Args:
        rows: (m,) of the requests.
        pools: Ads that may compete: of each arm where budgets are split, else of all.
    """
    requests, arm = scored.requests.take(rows), scored.arm[rows]
    every = [
        world.population.eligible(pools[own if len(pools) > 1 else 0], int(user))
        for own, user in zip(arm, requests.user, strict=True)
    ]
    ad = np.full((len(rows), max(map(len, every), default=0)), -1, np.int32)
    for row, ads in enumerate(every):
        ad[row, : len(ads)] = ads
    truth = world.chances(requests, scored.visits.need[rows], ad, minds)
    n_campaigns = len(world.population.campaigns.bid_usd)
    first = np.int32(n_campaigns) * (arm if len(terms.pricing) > n_campaigns else np.zeros_like(arm))
    campaign = np.where(ad >= 0, terms.ad_campaign[ad], np.int32(-1))
    line = np.where(ad >= 0, first[:, None] + campaign, np.int32(-1))
    at = ad >= 0
    conversion = np.zeros(ad.shape, np.float32)
    conversion[at] = conversion_chance(
        scenario, world, campaign[at], truth.cart[at], truth.checkout[at], truth.sign_up[at]
    )
    click = attention_of(scenario)[requests.surface][:, None] * truth.click
    value = worth(line, ad, click.astype(np.float32), conversion, terms)
    order = np.argsort(-value, axis=1, kind="stable")[:, : scored.n_slots]
    return np.where(np.take_along_axis(value, order, axis=1) > 0, np.take_along_axis(ad, order, axis=1), np.int32(-1))
