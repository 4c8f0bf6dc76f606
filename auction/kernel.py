"""Clearing: auctions one after the other, budgets exact to the micro, pacing in between; a kernel and its plain twin."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, floor
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from auction.checks import MOST_USD, falling, market, number, whole
from auction.pacing import Pacer, unpaced
from auction.ranking import no_scores, pick, weight
from auction.types import FORGIVEN, MICROS, FloatArray, IntArray, to_micros
from auction.vcg import shares

MechanismName = Literal["gsp", "first_price", "vcg"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cleared:
    """Who was shown where, what was charged, and what is left; an empty slot holds -1 and 0."""

    winner: IntArray  # (n, s) column of the winning candidate, or -1
    price_micros: IntArray  # (n, s) per billable event
    billed_micros: IntArray  # (n, s) the price where the event happened, clipped to what was left of the budget
    unbilled_micros: IntArray  # (n, s) what was clipped
    remaining_micros: IntArray  # (c,)
    multiplier: FloatArray  # (t, c) of each pacing interval


class Offers(NamedTuple):
    """What competes; an array with a first axis of 1 holds for every auction."""

    bid: FloatArray  # (n, k)
    quality: FloatArray
    weight: FloatArray
    campaign: IntArray
    reserve: FloatArray
    user_value: FloatArray
    draw: FloatArray  # (n, s)


class Rule(NamedTuple):
    """How winners pay."""

    effect: FloatArray  # (s,) examination of the slots
    share: FloatArray  # (s, s) weight of the threshold of slot i in the price of slot j
    pays_bid: bool
    pays_shares: bool  # some price rests on the thresholds of other slots


class Sales(NamedTuple):
    """What is filled in, (n, s) each, as in `Cleared`."""

    winner: IntArray
    price: IntArray
    billed: IntArray
    unbilled: IntArray


def clear(
    bid: ArrayLike,
    quality: ArrayLike,
    campaign: ArrayLike,
    budget_micros: ArrayLike,
    *,
    n_slots: int,
    mechanism: MechanismName = "gsp",
    reserve: ArrayLike = 0.0,
    squash: float = 1.0,
    user_value: ArrayLike = 0.0,
    slot_effect: ArrayLike | None = None,
    draw: ArrayLike | None = None,
    pacer: Pacer | None = None,
    every: int = 1000,
    plan: ArrayLike | None = None,
    lottery: ArrayLike | None = None,
    step: "Step | None" = None,
) -> Cleared:
    """Hold auctions one after the other: each charge falls before the next auction begins, so no budget is overspent.

    A campaign bids `bid` x its pacing multiplier. A charge is clipped to what is left of the budget, the rest is unbilled, and a
    campaign with nothing left is out from the next auction on. After every `every` auctions the pacer moves the multipliers.
    Between those moments Python's lock is free, so markets on several threads run at once.

    Args:
        bid, quality, reserve, squash, user_value: As for `gsp`, (n, k); quality is the probability of the billable event given
            examination.
        campaign: (n, k) campaign of each candidate, -1 for none, or (k,) where the same compete in every auction.
        budget_micros: (c,) whole micros of USD, >= 0.
        n_slots: Slots s per auction.
        mechanism: Pricing rule; with one slot "gsp" is second price.
        slot_effect: (s,) examination of each slot, all 1 if left out; it sets VCG's prices and how often events happen.
        draw: (n, s) uniform numbers in [0, 1): the event of a winner happens where draw < quality x slot effect. If left out,
            every winner in a slot that is seen is charged.
        pacer: Moves the multipliers; all 1 if left out.
        every: Auctions per pacing interval.
        plan: (t,) share of the budget to spend in each interval, such as its share of the expected traffic; the share of the
            auctions if left out.
        lottery: (n, k) uniform numbers in [0, 1): under a pacer that throttles, a candidate takes part where
            lottery < multiplier.
        step: What clears an interval; the compiled `by_kernel` if left out, `by_numpy` in `clear_plain`.

    Raises:
        ValueError: If a shape differs or an entry is out of range, NaN or infinite.

    Examples:
        At 6 an impression, a budget of 9 pays for one and a half; then the next pays for the whole.

        >>> out = clear([[10, 6, 4]] * 3, [[1, 1, 1]] * 3, [0, 1, 2], [9_000_000, 50_000_000, 0], n_slots=1)
        >>> out.winner.ravel(), out.billed_micros.ravel()
        (array([0, 0, 1]), array([6000000, 3000000,       0]))
    """
    offers = _offers(bid, quality, campaign, reserve, squash, user_value, draw, whole("n_slots", n_slots))
    (n, k), s = offers.bid.shape, int(n_slots)
    rule = _rule(mechanism, s, slot_effect)
    if rule.pays_shares and squash != 1.0:
        raise ValueError(f"squash is {squash}, under vcg it must be 1: squashed ranks do not go with its prices")
    budget = _budgets(budget_micros)
    every = whole("every", every)
    starts = range(0, n, every)
    planned = np.diff(np.append(starts, n)) / max(n, 1) if plan is None else number("plan", plan, low=0.0)
    if planned.shape != (len(starts),):
        raise ValueError(f"plan has shape {planned.shape}, it must have one entry per interval, ({len(starts)},)")
    pacer, step = pacer or unpaced(), step or by_kernel
    chance = np.empty(()) if lottery is None else number("lottery", lottery, low=0.0, high=1.0)
    if pacer.throttles:
        if chance.shape != (n, k):
            raise ValueError(f"lottery has shape {chance.shape}, a pacer that throttles needs {(n, k)}")
        number("campaign", offers.campaign, low=-1, high=len(budget) - 1)

    remaining = budget.copy()
    state = pacer.init(len(budget))
    multipliers = np.empty((len(starts), len(budget)))
    sales = Sales(np.full((n, s), -1, np.int64), *np.zeros((3, n, s), np.int64))
    for interval, start in enumerate(starts):
        rows = slice(start, min(start + every, n))
        some = Offers._make(array[rows] if len(array) == n else array for array in offers)
        multiplier = multipliers[interval] = pacer.multiplier(state)
        if pacer.throttles:
            some = some._replace(bid=np.where(chance[rows] < np.append(multiplier, 0.0)[some.campaign], some.bid, 0.0))
            multiplier = np.ones(len(budget))
        before = remaining.copy()
        # the last entry is for campaign -1
        live = np.append(np.where(remaining > 0, multiplier, 0.0), 0.0)
        wrong = step(some, rule, live, remaining, Sales._make(array[rows] for array in sales))
        if wrong >= 0:
            _refuse(offers, start + wrong, len(budget))
        spend = np.divide(before - remaining, budget, out=np.zeros(len(budget)), where=budget > 0)
        state = pacer.update(state, spend, np.full(len(budget), planned[interval]))
    return Cleared(
        winner=sales.winner, price_micros=sales.price, billed_micros=sales.billed, unbilled_micros=sales.unbilled,
        remaining_micros=remaining, multiplier=multipliers,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def by_kernel(offers: Offers, rule: Rule, live: FloatArray, remaining: IntArray, sales: Sales) -> int:
    """Clear one interval; gives the first auction that is refused, or -1.

    Args:
        live: (c + 1,) multiplier of each campaign, 0 where it is out; set to 0 when a budget runs out.
        remaining: (c,) micros; falls with every charge.
        sales: Filled in.
    """
    (n, k), s = offers.bid.shape, rule.effect.size
    own = no_scores(k)
    key = np.empty(own.size, np.int64)
    winner, score, usd = np.empty(s + 1, np.int64), np.empty(s + 1), np.empty(s)
    for i in range(n):
        # rows of the arrays that may hold for every auction
        c = offers.campaign[min(i, len(offers.campaign) - 1)]
        reserve = offers.reserve[min(i, len(offers.reserve) - 1)]
        user = offers.user_value[min(i, len(offers.user_value) - 1)]
        draw = offers.draw[min(i, len(offers.draw) - 1)]
        bid, quality, weight = offers.bid[i], offers.quality[i], offers.weight[i]
        good = True
        for j in range(k):
            good &= (bid[j] >= 0.0) & (bid[j] <= MOST_USD) & (quality[j] > 0.0) & (quality[j] < np.inf)
            good &= (c[j] >= -1) & (c[j] < remaining.size)
            good &= (reserve[j] >= 0.0) & (reserve[j] < np.inf) & (np.abs(user[j]) < np.inf)
        if not good:
            return i
        for j in range(k):
            paced = bid[j] * live[c[j]]
            worth = paced * weight[j] + user[j]
            own[j] = worth if (paced > 0.0) & (paced >= reserve[j]) else -1.0
        pick(own, key, winner, score)
        for slot in range(s):
            j = winner[slot]
            if j < 0:
                break
            paced = bid[j] * live[c[j]]
            slack = FORGIVEN * np.abs(user[j])  # as in `needed`
            keeps = min(max((score[slot + 1] - user[j] + slack) / weight[j], reserve[j]), paced)
            if rule.pays_bid:
                usd[slot] = paced
            elif rule.pays_shares:
                shared = _shared(rule.share, slot, score, paced, weight[j], user[j], reserve[j])
                usd[slot] = min(max(shared + FORGIVEN * keeps, reserve[j]), keeps)
            else:
                usd[slot] = keeps
        for slot in range(s):
            j = winner[slot]
            sales.winner[i, slot] = j
            if j < 0:
                continue
            micros = usd[slot] * MICROS  # rounded as by `to_micros`
            above = ceil(micros)
            price = np.int64(above if above - micros <= FORGIVEN * micros else floor(micros))
            happens = draw[slot] < quality[j] * rule.effect[slot]
            had = remaining[c[j]]
            billed = min(had, price) if happens else 0
            remaining[c[j]] = had - billed
            if billed == had:
                live[c[j]] = 0.0
            sales.price[i, slot] = price
            sales.billed[i, slot] = billed
            sales.unbilled[i, slot] = price - billed if happens else 0
    return -1


@njit(cache=True, nogil=True)
def _shared(
    share: FloatArray, slot: int, score: FloatArray, bid: float, weight: float, user: float, reserve: float
) -> float:
    """The thresholds of this slot and those below, in USD per event and in their shares."""
    usd, slack = 0.0, FORGIVEN * np.abs(user)
    for lower in range(slot, len(share)):
        usd += share[slot, lower] * min(max((score[lower + 1] - user + slack) / weight, reserve), bid)
    return usd


def by_numpy(offers: Offers, rule: Rule, live: FloatArray, remaining: IntArray, sales: Sales) -> int:
    """The plain twin of `by_kernel`: the same results, auction by auction, in numpy alone."""
    for i in range(len(offers.bid)):
        bid, quality, weight, c, reserve, user, draw = (array[min(i, len(array) - 1)] for array in offers)
        amounts = (bid, 0, MOST_USD), (quality, 5e-324, np.inf), (reserve, 0, np.inf), (np.abs(user), 0, np.inf)
        good = all(((low <= x) & (x <= high) & (x < np.inf)).all() for x, low, high in amounts)
        if not (good and ((c >= -1) & (c < len(remaining))).all()):
            return i
        paced = bid * live[c]
        worth = paced * weight + user
        able = np.flatnonzero((paced > 0) & (paced >= reserve) & (worth >= 0))
        order = able[np.argsort(-worth[able], kind="stable")][: len(rule.effect) + 1]
        score = np.append(worth[order], np.zeros(len(rule.effect) + 1))
        for slot, j in enumerate(order[: len(rule.effect)]):
            below = score[1 : len(rule.effect) + 1] - user[j] + FORGIVEN * np.abs(user[j])
            needed = np.clip(below / weight[j], reserve[j], paced[j])
            slack = FORGIVEN * needed[slot] if rule.pays_shares else 0.0
            usd = float(np.clip(sum(rule.share[slot] * needed) + slack, reserve[j], needed[slot]))
            price = int(to_micros(paced[j] if rule.pays_bid else usd))
            due = price if draw[slot] < quality[j] * rule.effect[slot] else 0
            billed = min(due, int(remaining[c[j]]))
            remaining[c[j]] -= billed
            sales.winner[i, slot], sales.price[i, slot] = j, price
            sales.billed[i, slot], sales.unbilled[i, slot] = billed, due - billed
        live[:-1][remaining == 0] = 0.0
    return -1


Step = Callable[[Offers, Rule, FloatArray, IntArray, Sales], int]
clear_plain = partial(clear, step=by_numpy)


def _offers(
    bid: ArrayLike, quality: ArrayLike, campaign: ArrayLike, reserve: ArrayLike, squash: float, user_value: ArrayLike,
    draw: ArrayLike | None, s: int,
) -> Offers:  # fmt: skip
    """The arrays in their shapes; entries are checked where they are read."""
    bids, qualities = np.asarray(bid, np.float64), np.asarray(quality, np.float64)
    if bids.ndim != 2 or qualities.shape != bids.shape:
        raise ValueError(f"bid has shape {bids.shape} and quality {qualities.shape}, both must be (n, k)")
    campaigns = np.atleast_2d(campaign)
    if campaigns.shape not in (bids.shape, (1, bids.shape[1])) or not np.issubdtype(campaigns.dtype, np.integer):
        raise ValueError(f"campaign has shape {np.shape(campaign)}, it must be whole numbers (n, k) or (k,)")
    draws = np.zeros((1, s)) if draw is None else number("draw", draw, low=0.0, high=1.0)
    if draw is not None and draws.shape != (len(bids), s):
        raise ValueError(f"draw has shape {draws.shape}, it must be (n, s), {(len(bids), s)}")
    return Offers(
        bid=bids, quality=qualities, campaign=campaigns, draw=draws,
        weight=qualities if squash == 1.0 else weight(number("quality", qualities, low=0.0, strict=True), squash),
        reserve=_rows("reserve", reserve, bids.shape), user_value=_rows("user_value", user_value, bids.shape),
    )  # fmt: skip


def _rows(name: str, value: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    array = np.asarray(value, np.float64)
    if array.shape not in ((), shape):
        raise ValueError(f"{name} has shape {array.shape}, it must be one number or that of bid, {shape}")
    return np.full((1, shape[1]), array) if array.ndim == 0 else array


def _rule(mechanism: MechanismName, s: int, slot_effect: ArrayLike | None) -> Rule:
    effect = np.ones(s) if slot_effect is None else falling(slot_effect)
    if len(effect) != s:
        raise ValueError(f"slot_effect has {len(effect)} slots, it must have n_slots, {s}")
    share = {"gsp": np.eye(s), "first_price": np.eye(s), "vcg": shares(effect)}
    if mechanism not in share:
        raise ValueError(f"mechanism is {mechanism!r}, it must be one of {', '.join(share)}")
    return Rule(effect, share[mechanism], mechanism == "first_price", mechanism == "vcg")


def _budgets(budget_micros: ArrayLike) -> IntArray:
    budget = np.asarray(budget_micros)
    whole_numbers = budget.size == 0 or np.issubdtype(budget.dtype, np.integer)
    if budget.ndim != 1 or not whole_numbers or (budget < 0).any() or (budget > np.iinfo(np.int64).max).any():
        raise ValueError(f"budget_micros is {budget}, it must be (c,) whole numbers >= 0 and < 2**63")
    return budget.astype(np.int64)


def _refuse(offers: Offers, row: int, n_campaigns: int) -> None:
    """Say which entry of the auction `row` is wrong."""
    upto = slice(row + 1)
    market(offers.bid[upto], offers.quality[upto], *(
        array[upto] if len(array) == len(offers.bid) else array[0, 0] for array in (offers.reserve, offers.user_value)
    ))  # fmt: skip
    number("campaign", offers.campaign[upto], low=-1, high=n_campaigns - 1)
