"""Bidding: what a campaign bids per billable event to reach its goal; algorithms as triples of pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from auction.checks import number
from auction.types import FloatArray, IntArray


class Bidder(NamedTuple):
    """init(goal) -> state; update(state, goal, spend, achieved) -> state; bid(state, expected) -> USD per billable event.

    A campaign's state is the USD that it bids for one unit of what it wants: a conversion, or one USD of conversion value.
    `expected` says how many units one billable event brings: for conversions pctr x pcvr per impression, pcvr per click and 1
    per conversion; for value the same times the predicted value. Spend and achieved are of the interval just ended, USD and
    units; with delayed conversions, achieved is best what was expected of the clicks bought. All arrays are (c,), or (n, k)
    in `bid` with the state of each candidate's campaign.
    """

    init: Callable[[FloatArray], FloatArray]
    update: Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]
    bid: Callable[[FloatArray, FloatArray], FloatArray]


def fixed() -> Bidder:
    """The goal is the bid, USD per billable event, whatever it brings."""
    return Bidder(np.copy, lambda state, goal, spend, achieved: state, lambda state, expected: state + 0.0 * expected)


def target_cpa(*, step: float = 0.0, range_: float = 10.0) -> Bidder:
    """As many conversions as the goal, USD per conversion on average, allows.

    Starts at bid = goal x expected conversions, which never pays more than the goal per expected conversion. As it often pays
    less, feedback then raises the bid per conversion until spend = goal x conversions, where the number of conversions is
    largest in a truthful auction; it lowers it where predictions promise too much.

    Args:
        step: Change of the log bid where the whole spend is too much; 0 keeps the plain formula.
        range_: The bid per conversion stays within goal / range_ and goal x range_.

    Raises:
        ValueError: If step is negative or range_ below 1.

    References:
        Aggarwal, Badanidiyuru & Mehta (2019), Autobidding with constraints. WINE 2019.
    """
    number("step", step, low=0.0)
    number("range_", range_, low=1.0)

    def update(state: FloatArray, goal: FloatArray, spend: FloatArray, achieved: FloatArray) -> FloatArray:
        return np.clip(_toward(state, goal * achieved, spend, step), goal / range_, goal * range_)

    return Bidder(np.copy, update, _per_unit)


def target_roas(*, step: float = 0.0, range_: float = 10.0) -> Bidder:
    """As much conversion value as the goal, USD of value per USD spent, allows: `target_cpa` with a goal of 1 / ROAS per USD."""
    cpa = target_cpa(step=step, range_=range_)
    return Bidder(
        lambda goal: 1.0 / goal,
        lambda state, goal, spend, achieved: cpa.update(state, 1.0 / goal, spend, achieved),
        _per_unit,
    )


def max_conversions(*, first: float, step: float, lowest: float, highest: float) -> Bidder:
    """As many conversions as the budget buys; the goal is the spend planned for each interval, USD.

    The optimum bids a constant price per expected conversion, the one that spends the budget: the inverse of its dual variable.

    Args:
        first: Bid per conversion to begin with, USD.
        step: Change of the log bid where nothing, or far too much, was spent.
        lowest: Least bid per conversion, USD, > 0.
        highest: Largest bid per conversion, USD.

    Raises:
        ValueError: If step is negative or 0 < lowest <= first <= highest does not hold.

    References:
        Balseiro & Gur (2019), Management Science 65(9).
    """
    number("step", step, low=0.0)
    number("lowest", lowest, low=0.0, strict=True)
    number("first", first, low=lowest, high=highest)

    def update(state: FloatArray, goal: FloatArray, spend: FloatArray, achieved: FloatArray) -> FloatArray:
        return np.clip(_toward(state, goal, spend, step), lowest, highest)

    return Bidder(lambda goal: np.full(len(goal), first), update, _per_unit)


def _per_unit(state: FloatArray, expected: FloatArray) -> FloatArray:
    return state * expected


def _toward(state: FloatArray, allowed: FloatArray, spend: FloatArray, step: float) -> FloatArray:
    """Raise the bid where less was spent than allowed, lower it where more was, at most by the factor e^step."""
    both = allowed + spend
    return state * np.exp(step * np.divide(allowed - spend, both, out=np.zeros_like(both), where=both > 0))


def once_learned(conversions: IntArray, least: int, optimised: FloatArray, fallback: FloatArray) -> FloatArray:
    """The optimised bid of a campaign with at least `least` conversions so far, the fallback of one with fewer.

    With few conversions a campaign's own conversion rate is noise: 30 give it to 18%, one standard error.
    """
    return np.where(conversions >= least, optimised, fallback)


def shading(prices: ArrayLike) -> Callable[[FloatArray], FloatArray]:
    """First-price shading: bids that maximise (value - bid) x P(the highest other bid is no higher), from a sample of it.

    Args:
        prices: (m,) highest bids of others, USD, in past auctions that were like the ones to come.

    Returns:
        A function from values to bids, USD, of any shape; it bids 0 where no price of the sample is below the value.

    Raises:
        ValueError: If the sample is empty or has an entry that is negative, NaN or infinite.

    References:
        Krishna (2010), Auction Theory, chapter 2: against a price U[0, 1] half the value, in equilibrium with n bidders
        U[0, 1] the share (n - 1) / n.
    """
    sample = number("prices", prices, low=0.0)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"prices has shape {sample.shape}, it must be (m,) with at least one price")
    price, count = np.unique(sample, return_counts=True)
    chance = np.cumsum(count) / sample.size
    # each bid's utility is a line in the value, chance x value - chance x price: keep the upper envelope
    best, turn = [-1], [0.0]
    slope, cost = np.append(chance, 0.0), np.append(chance * price, 0.0)
    for line in range(len(price)):
        while True:
            meets = (cost[line] - cost[best[-1]]) / (slope[line] - slope[best[-1]])
            if len(best) == 1 or meets > turn[-1]:
                break
            best.pop()
            turn.pop()
        best.append(line)
        turn.append(meets)
    bids, turns = np.append(price, 0.0)[best], np.array(turn[1:])
    return lambda value: bids[np.searchsorted(turns, value, side="left")]
