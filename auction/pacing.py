"""Pacing: spread a budget over the day by scaling bids; algorithms as triples of pure functions whose state the caller holds."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from auction.checks import number, positive
from auction.types import FloatArray


class Pacer(NamedTuple):
    """init(n_campaigns) -> state; update(state, spend, target) -> state; multiplier(state) -> (c,) from 0 to 1.

    Spend and target are of the interval just ended, each as a share of the campaign's budget for the day. Spend counts what
    was billed and what is still expected of conversions that are billed later (`pending_charge`); `target_spend` gives a
    target that follows expected traffic. The state is (c,) or (c, number of things remembered).
    """

    init: Callable[[int], FloatArray]
    update: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
    multiplier: Callable[[FloatArray], FloatArray]
    throttles: bool = False  # the multiplier is the probability of taking part in an auction, and the bid stays whole


def unpaced() -> Pacer:
    """Bid the full value until the budget is gone."""
    return Pacer(np.zeros, lambda state, spend, target: state, np.ones_like)


def hard_stop() -> Pacer:
    """Bid the full value until spend, pending charges included, reaches the day's budget; start again the next day.

    Stopping on what was billed alone overshoots when conversions are billed late. The day ends when targets add up to 1.
    """

    def update(state: FloatArray, spend: FloatArray, target: FloatArray) -> FloatArray:
        after = state + np.column_stack((spend, target))
        # targets are shares of a day that were added up with rounding
        return np.where(after[:, 1:] >= 1.0 - 1e-9, 0.0, after)

    def multiplier(state: FloatArray) -> FloatArray:
        return np.where(state[:, 0] < 1.0, 1.0, 0.0)

    return Pacer(lambda n: np.zeros((n, 2)), update, multiplier)


def dual_descent(*, step: float, mu_max: float = 20.0) -> Pacer:
    """Adaptive pacing: bid value / (1 + mu), mu rising when spend runs ahead of target (Balseiro & Gur 2019).

    Args:
        step: Change of mu for spending one whole budget above target.
        mu_max: Largest mu.

    Raises:
        ValueError: If step or mu_max is not positive.
    """
    positive("step", step)
    positive("mu_max", mu_max)

    def update(state: FloatArray, spend: FloatArray, target: FloatArray) -> FloatArray:
        return np.clip(state - step * (target - spend), 0.0, mu_max)

    def multiplier(state: FloatArray) -> FloatArray:
        return 1.0 / (1.0 + state)

    return Pacer(np.zeros, update, multiplier)


def pid(*, kp: float, ki: float, kd: float = 0.0, lowest: float = 0.01) -> Pacer:
    """A PID controller of the log multiplier on the relative error e = (target - spend) / target.

    In the velocity form, log m changes by kp (e - e') + ki e + kd (e - 2 e' + e''), e' and e'' the errors before; so no sum of
    errors winds up while m rests at a limit.

    Args:
        kp: Gain of the change of the error.
        ki: Gain of the error, for being off target by all of it over one interval.
        kd: Gain of the second difference.
        lowest: Least multiplier.

    Raises:
        ValueError: If a gain is negative, ki is 0 or lowest is not in (0, 1].

    References:
        Zhang, Rong, Wang, Zhu & Wang (2016), Feedback control of real-time display advertising. WSDM 2016.
    """
    number("kp", kp, low=0.0)
    positive("ki", ki)
    number("kd", kd, low=0.0)
    positive("lowest", lowest, most=1.0)

    def update(state: FloatArray, spend: FloatArray, target: FloatArray) -> FloatArray:
        log_m, before, earlier = state.T
        error = np.divide(target - spend, target, out=np.zeros_like(log_m), where=target > 0)
        moved = log_m + kp * (error - before) + ki * error + kd * (error - 2 * before + earlier)
        return np.column_stack((np.clip(moved, np.log(lowest), 0.0), error, before))

    return Pacer(lambda n: np.zeros((n, 3)), update, lambda state: np.exp(state[:, 0]))


def pace(*, lowest: float = 0.01) -> Pacer:
    """PACE, pacing according to current estimated utility, for first-price auctions.

    Under first price spend = multiplier x value won, so value won so far is known, and the multiplier is budget over value won:
    m = min(1, sum of targets / sum of (spend / m)). It converges to the first-price pacing equilibrium (`auction.fppe`).

    Args:
        lowest: Least multiplier.

    Raises:
        ValueError: If lowest is not in (0, 1].

    References:
        Gao, Peysakhovich & Kroer (2021), Online market equilibrium with application to fair division. NeurIPS 2021.
    """
    positive("lowest", lowest, most=1.0)

    def multiplier(state: FloatArray) -> FloatArray:
        target, won = state.T
        return np.clip(np.divide(target, won, out=np.ones_like(won), where=won > 0), lowest, 1.0)

    def update(state: FloatArray, spend: FloatArray, target: FloatArray) -> FloatArray:
        return state + np.column_stack((target, spend / multiplier(state)))

    return Pacer(lambda n: np.zeros((n, 2)), update, multiplier)


def throttling(*, step: float, lowest: float = 0.01) -> Pacer:
    """Probabilistic throttling: take part in an auction with a probability, and bid the full value.

    Args:
        step: Fall of the probability for spending one whole budget above target.
        lowest: Least probability.

    Raises:
        ValueError: If step is not positive or lowest not in (0, 1].

    References:
        Balseiro, Kim, Mahdian & Mirrokni (2021), Budget-management strategies in repeated auctions. Operations Research 69(3).
    """
    positive("step", step)
    positive("lowest", lowest, most=1.0)

    def update(state: FloatArray, spend: FloatArray, target: FloatArray) -> FloatArray:
        return np.clip(state + step * (target - spend), lowest, 1.0)

    return Pacer(np.ones, update, np.copy, throttles=True)


def target_spend(remaining: FloatArray, traffic: ArrayLike) -> FloatArray:
    """What to spend in the interval that begins now, as a share of the day's budget.

    What is left of the budget is spread over what is left of the day's expected traffic, so an evening peak is paid for, and
    what an interval under- or overspent is made up for by all that follow.

    Args:
        remaining: (c,) share of the budget that is left, pending charges taken off.
        traffic: (t,) expected auctions, any unit, in each interval left of the day, the one that begins now first.

    Raises:
        ValueError: If no traffic is expected at all, or an entry is negative, NaN or infinite.
    """
    expected = number("traffic", traffic, low=0.0)
    if not expected.sum() > 0:
        raise ValueError(f"traffic adds up to {expected.sum()}, it must be > 0")
    return np.maximum(remaining, 0.0) * (expected[0] / expected.sum())


def pending_charge(price: FloatArray, p_conversion: FloatArray, arrived: FloatArray) -> FloatArray:
    """The charge still expected of a click whose conversion has not come: price x P(it comes later | it has not come yet).

    Args:
        price: USD per conversion, fixed at the impression.
        p_conversion: Probability that the click converts at all inside the attribution window.
        arrived: Share of such conversions that come within the time since the click: 0 at the click, 1 when the window closes.

    Raises:
        ValueError: If an argument is out of range, NaN or infinite.
    """
    number("price", price, low=0.0)
    p, come = number("p_conversion", p_conversion, low=0.0, high=1.0), number("arrived", arrived, low=0.0, high=1.0)
    late = p * (1.0 - come)
    return price * np.divide(late, 1.0 - p * come, out=np.zeros(np.broadcast(p, come).shape), where=late > 0)
