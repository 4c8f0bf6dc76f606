"""Equilibria of budget-paced first-price markets, solved exactly; for teaching, and to check pacing against."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import coo_array, vstack
from scipy.sparse.csgraph import breadth_first_order, connected_components

from auction.checks import number
from auction.types import BoolArray, FloatArray

_CLOSE = 1e-9  # sum of all products of slack and dual variable, relative to revenue, from which results are tried
_LOST = 1e-16  # ... from which rounding is all that is left
_ENOUGH = 1e-12  # violation of any equilibrium condition, relative, at which the search ends
_EXACT = 1e-8  # violation that is accepted
_NONE = 1e-9  # a share of an item below this is none
_NEAR = 1e-5  # bids closer than this to the price may be tied with it where the path ends


class Equilibrium(NamedTuple):
    """Where budgets and auctions meet."""

    multipliers: FloatArray  # (b,) of the bids, or for throttling the probability of taking part, 0 to 1
    prices: FloatArray  # (m,) USD; for throttling the expected revenue of the item
    spend: FloatArray  # (b,) USD
    allocation: FloatArray  # (b, m) share of the item, or for throttling the probability of winning it


def fppe(value: ArrayLike, budget: ArrayLike) -> Equilibrium:
    """First-price pacing equilibrium: every item at its highest paced bid, and no bidder paced down without need.

    Multipliers m in [0, 1] such that item j goes, whole or shared, to bidders with the highest m_i v_ij, at that price; nobody
    spends more than the budget, and who spends less has m = 1. Multipliers, prices and spends are unique. They solve the dual
    of the Eisenberg-Gale program with quasi-linear bidders,

        min sum_j p_j - sum_i B_i log m_i   with p_j >= m_i v_ij and m_i <= 1,

    whose multipliers are the allocation; a primal-dual interior-point method follows the central path. Where a budget runs out
    just as a rival ties, the path closes in by the root of its gap only; there the ties are made exact, and a linear program
    shares the items.

    Args:
        value: (b, m) USD, >= 0, of bidders for items.
        budget: (b,) USD, >= 0; a bidder without any has multiplier 0.

    Raises:
        ValueError: If the shapes differ or an entry is negative, NaN or infinite.
        ArithmeticError: If values or budgets are too far apart in size to meet all conditions to 1e-8.

    References:
        Conitzer, Kroer, Panigrahi, Schrijvers, Stier-Moses, Sodomka & Wilkens (2022), Management Science 68(12).

    Examples:
        Alone with a budget of 1 for two items worth 1 and 3, a bidder pays a quarter of its values.

        >>> fppe([[1.0, 3.0]], [1.0]).prices.round(9)
        array([0.25, 0.75])
    """
    values, budgets = _market(value, budget)
    rows, columns = (budgets > 0) & values.any(axis=1), values[budgets > 0].any(axis=0)
    inside = np.ix_(rows, columns)
    best, found = np.inf, _sold(values, np.where(budgets > 0, 1.0, 0.0), np.zeros(values.shape))
    if not rows.any():
        return found
    v, money = values[inside], budgets[rows]

    for m, share in _solutions(v, money):
        multiplier, allocation = np.where(budgets > 0, 1.0, 0.0), np.zeros(values.shape)
        multiplier[rows], allocation[inside] = m, share
        better = _sold(values, multiplier, allocation)
        wrong = violation(values, budgets, better)
        if wrong < best:
            best, found = wrong, better
        if best <= _ENOUGH:
            break
    if best > _EXACT:
        raise ArithmeticError(f"the equilibrium conditions hold to {best:.1e} only, {_EXACT:g} is asked")
    return found


def _solutions(value: FloatArray, budget: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Multipliers (b,) and shares (b, m): points of the central path made whole, then its end with its ties made exact."""
    m = np.ones(len(budget))
    for m, share, tie in _central_path(value, budget):
        exact = _rescaled(value, budget, m, tie)
        yield exact, _settled(value, budget, exact, np.where(tie, share, 0.0))
    exact = _tied(value, budget, m)
    yield exact, _shared_out(value, budget, exact)


def _sold(value: FloatArray, m: FloatArray, share: FloatArray) -> Equilibrium:
    price = (m[:, None] * value).max(axis=0, initial=0.0)
    return Equilibrium(m, price, share @ price, share)


def violation(value: FloatArray, budget: FloatArray, found: Equilibrium) -> float:
    """The largest violation of a condition of a first-price pacing equilibrium, relative to the item's price or the budget.

    Shares of an item with a price add up to 1; who has a share bids the price; no spend exceeds its budget; a budget not spent
    belongs to a multiplier of 1.
    """
    m, price, spend, share = found
    priced, funded = price > 0, budget > 0
    lacking = (1.0 - (m[:, None] * value)[:, priced] / price[priced])[share[:, priced] > _NONE]
    over = spend[funded] / budget[funded] - 1.0
    return float(
        max(
            np.abs(share.sum(axis=0) - 1.0)[priced].max(initial=0.0),
            lacking.max(initial=0.0),
            over.max(initial=0.0),
            ((1.0 - m[funded]) * -over).max(initial=0.0),
            spend[~funded].max(initial=0.0),
        )
    )


def _central_path(value: FloatArray, budget: FloatArray) -> Iterator[tuple[FloatArray, FloatArray, BoolArray]]:
    """Multipliers (b,), shares (b, m) and who bids the price (b, m), closer and closer, once they are close.

    Newton steps on the dual program, with the products of slack and dual variable going to 0. The slacks g = p - m v and
    h = 1 - m have the dual variables x, the shares, and d, money kept. Prices are eliminated from each step, which so solves b
    equations.
    """
    edge, rivals = value > 0, 1.0 - np.eye(len(budget))
    n_products = edge.sum() + len(budget)
    m, room = np.full(len(budget), 0.5), np.full(len(budget), 0.5)
    price = value.max(axis=0)
    slack = np.where(edge, price - m[:, None] * value, 1.0)
    share = np.where(edge, 1.0 / edge.sum(axis=0), 0.0)
    kept = value.sum(axis=1)
    for _ in range(200):
        gap = (share * slack).sum() + kept @ room
        if gap <= _CLOSE * price.sum():
            # where the path ends one factor of each product is 0 and the other is not, or both are
            yield m, share, share > slack / price
            yield m, share, share > np.maximum(slack / price, 1e-6)
        if gap <= _LOST * price.sum():
            return
        aim = 0.1 * gap / n_products
        # dx = aim / g - x - (x / g)(dp - v dm) and dd = aim / h - d + (d / h) dm
        stiff, drift = share / slack, np.where(edge, aim / slack - share, 0.0)
        drift_kept = aim / room - kept
        cross, per_price = value * stiff, stiff.sum(axis=0)
        # the diagonal of the eliminated prices, by the stiffness of the others: as a difference it would lose all digits
        others = (value * cross * (rivals @ stiff) / per_price).sum(axis=1)
        left = np.diag(budget / m**2 + others + kept / room) - rivals * ((cross / per_price) @ cross.T)
        right_p = drift.sum(axis=0) - (1.0 - share.sum(axis=0))
        right = budget / m - kept - (value * (share + drift)).sum(axis=1) - drift_kept + (cross / per_price) @ right_p
        try:
            step_m = np.linalg.solve(left, right)
        except np.linalg.LinAlgError:
            return
        step_price = (right_p + cross.T @ step_m) / per_price
        step_slack = np.where(edge, step_price - value * step_m[:, None], 0.0)
        step_share = drift - stiff * step_slack
        step_kept = drift_kept + kept / room * step_m
        primal = min(_longest(m, step_m), _longest(room, -step_m), _longest(slack, step_slack))
        dual = min(_longest(share, step_share), _longest(kept, step_kept))
        m, room, price = m + primal * step_m, room - primal * step_m, price + primal * step_price
        slack, share, kept = slack + primal * step_slack, share + dual * step_share, kept + dual * step_kept


def _rescaled(value: FloatArray, budget: FloatArray, m: FloatArray, tie: BoolArray) -> FloatArray:
    """Multipliers with the scale of each group of bidders who share items set to what its money or the limit of 1 gives.

    On the path that scale is only known to the root of the gap where budgets come out just as multipliers reach 1.
    """
    n = len(budget)
    bidder, item = np.nonzero(tie)
    size = n + value.shape[1]
    n_groups, group = connected_components(coo_array((np.ones(len(item)), (bidder, n + item)), (size, size)), False)
    price = (m[:, None] * value).max(axis=0)
    cost = np.bincount(group[n:], price, n_groups)
    money = np.bincount(group[:n], budget, n_groups)
    highest = np.zeros(n_groups)
    np.maximum.at(highest, group[:n], m)
    scale = np.minimum(1.0 / highest, np.divide(money, cost, out=np.full(n_groups, np.inf), where=cost > 0))
    return np.minimum(m * scale[group[:n]], 1.0)


def _tied(value: FloatArray, budget: FloatArray, m: FloatArray) -> FloatArray:
    """Multipliers whose near ties are exact: in each group of bidders and items that ties connect, all follow from one.

    Its scale is what the group's money or the limit of 1 gives.
    """
    n = len(budget)
    bid = m[:, None] * value
    bidder, item = np.nonzero(bid >= (1 - _NEAR) * bid.max(axis=0))
    size = n + value.shape[1]
    graph = coo_array((np.ones(len(item)), (bidder, n + item)), (size, size)).tocsr()
    exact = np.empty(size)  # multipliers, then prices
    money = np.append(budget, np.zeros(value.shape[1]))
    placed = np.zeros(size, np.bool_)
    for start in range(size):
        if placed[start]:
            continue
        group, before = breadth_first_order(graph, start, directed=False)
        placed[group] = True
        exact[start] = 1.0
        for node in group[1:]:
            known = before[node]
            exact[node] = exact[known] * value[known, node - n] if node >= n else exact[known] / value[node, known - n]
        bidders, items = group[group < n], group[group >= n]
        cost = exact[items].sum()
        limit = money[bidders].sum() / cost if cost > 0 else np.inf
        exact[group] *= min(1.0 / exact[bidders].max(), limit)
    return np.minimum(exact[:n], 1.0)


def _shared_out(value: FloatArray, budget: FloatArray, m: FloatArray) -> FloatArray:
    """Shares (b, m) of items among those who bid the price, such that who is paced down spends the budget; 0 if none do."""
    price = (m[:, None] * value).max(axis=0)
    bidder, item = np.nonzero(m[:, None] * value >= (1 - _ENOUGH) * price)
    edge, paced = np.arange(len(item)), m < 1
    of_item = coo_array((np.ones(len(item)), (item, edge)), (len(price), len(item))).tocsr()
    of_bidder = coo_array((price[item], (bidder, edge)), (len(budget), len(item))).tocsr()
    spend = of_bidder.multiply(1 / budget[:, None]).tocsr()
    found = linprog(
        np.zeros(len(item)), A_ub=spend[~paced], b_ub=np.ones((~paced).sum()), A_eq=vstack((of_item, spend[paced])),
        b_eq=np.ones(len(price) + paced.sum()),
    )  # fmt: skip
    share = np.zeros(value.shape)
    if found.x is not None:
        share[bidder, item] = found.x
    return share


def _settled(value: FloatArray, budget: FloatArray, m: FloatArray, share: FloatArray) -> FloatArray:
    """Shares that add up, and spend what must be spent, by scaling rows and columns in turn."""
    price = (m[:, None] * value).max(axis=0)
    for _ in range(100):
        share = share / share.sum(axis=0)
        spend = share @ price
        bound = ((m < 1.0 - 1e-12) | (spend > budget)) & (spend > 0)
        if (np.abs(spend - budget)[bound] <= 1e-15 * budget[bound]).all():
            break
        share = share * np.divide(budget, spend, out=np.ones_like(spend), where=bound)[:, None]
    return share / share.sum(axis=0)


def _longest(value: FloatArray, step: FloatArray) -> float:
    """The longest step, 1 at most, that keeps `value` positive."""
    falls = step < 0
    return float(min(1.0, 0.995 * (-value[falls] / step[falls]).min(initial=np.inf)))


def throttling_equilibrium(value: ArrayLike, budget: ArrayLike) -> Equilibrium:
    """First-price throttling equilibrium: bids are values, and a bidder takes part with a probability.

    Probabilities q in [0, 1], drawn anew for every item, such that no expected spend exceeds the budget, and who spends less
    has q = 1. The item goes to the highest value that takes part (ties to the lower bidder), so bidder i spends
    q_i c_i(q) with c_i = sum_j v_ij prod over k ahead of i of (1 - q_k). As c_i falls in every q_k, the map
    q_i -> min(1, B_i / c_i(q)) rises; from q = 0 and from q = 1 it closes in on the equilibrium from both sides, which is
    unique under first price.

    Args:
        value: (b, m) USD, >= 0, of bidders for items.
        budget: (b,) USD, >= 0; a bidder without any never takes part.

    Raises:
        ValueError: If the shapes differ or an entry is negative, NaN or infinite.
        ArithmeticError: If the two sides have not met to 1e-10 after 100,000 rounds.

    References:
        Chen, Kroer & Kumar (2021), Throttling equilibria in auction markets. WINE 2021.

    Examples:
        Both want the item. The first affords half of it; the second would pay for the other half, and affords a tenth of it.

        >>> throttling_equilibrium([[1.0], [0.8]], [0.5, 0.04]).multipliers
        array([0.5, 0.1])
    """
    values, budgets = _market(value, budget)
    order = np.argsort(-values, axis=0, kind="stable")

    def ahead_absent(q: FloatArray) -> FloatArray:
        """(b, m) probability that nobody ahead of the bidder takes part."""
        absent = np.take_along_axis(np.broadcast_to(1.0 - q[:, None], values.shape), order, axis=0)
        before = np.vstack((np.ones((1, values.shape[1])), np.cumprod(absent, axis=0)[:-1]))
        reached = np.empty(values.shape)
        np.put_along_axis(reached, order, before, axis=0)
        return reached

    def answer(q: FloatArray) -> FloatArray:
        cost = (values * ahead_absent(q)).sum(axis=1)
        return np.where(budgets < cost, budgets / np.where(cost > 0, cost, 1.0), 1.0)

    low, high = np.zeros(len(budgets)), np.ones(len(budgets))
    for _ in range(100_000):
        low, high = answer(low), answer(high)
        if (high - low).max(initial=0.0) <= 1e-10:
            break
    else:
        raise ArithmeticError(f"the two sides are still {(high - low).max():.1e} apart")
    q = np.where(budgets > 0, high, 0.0)
    won = np.where(values > 0, q[:, None] * ahead_absent(q), 0.0)
    return Equilibrium(q, (won * values).sum(axis=0), (won * values).sum(axis=1), won)


def _market(value: ArrayLike, budget: ArrayLike) -> tuple[FloatArray, FloatArray]:
    values, budgets = number("value", value, low=0.0), number("budget", budget, low=0.0)
    if values.ndim != 2:
        raise ValueError(f"value has shape {values.shape}, it must be (bidders, items)")
    if budgets.shape != values.shape[:1]:
        raise ValueError(f"budget has shape {budgets.shape}, it must be one per bidder, {values.shape[:1]}")
    return values, budgets
