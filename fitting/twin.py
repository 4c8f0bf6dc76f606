"""A twin of a bandit log: click rates of items and slots that a randomised log tells, and what another policy is worth.

A click at slot j on item i has the rate e_j q_i: e_0 = 1 (position-based), q_i Gamma over items around a mean, as far as few
clicks can tell (empirical Bayes, Gamma-Poisson). Clicks are rare, so that counts are taken for Poisson.

A policy that has learnt prefers items that are better than few clicks show, and rates shrunk to one mean would miss that:
the mean is therefore m exp(lean z_i), z_i the policy's preference for the item, and how much that is worth is fitted, too.
"""

from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from fitting.errors import Unfit

FloatArray = NDArray[np.float64]

_EVEN = 1e4  # shape of the gamma from which on items are as good as equal
_STEEPEST = 5.0  # logs of the rate per standard deviation of preference
_SAME = 1e-9  # spread of preferences that are one
_RARE = 1e-3  # the least shape: one item in so many has nearly all clicks


class Cells(NamedTuple):
    """A log counted by item and slot."""

    item: NDArray[np.str_]  # (i,) in order
    shown: FloatArray  # (i, s) impressions
    clicked: FloatArray  # (i, s)


class Twin(NamedTuple):
    """What the log tells, and how well."""

    mean: FloatArray  # (i,) click rate in slot 0 of the items that a policy likes as much
    shape: float  # of the gamma around it; 1 / shape is the squared coefficient of variation
    slot: FloatArray  # (s,) over slot 0
    cells: Cells  # that it was fitted to
    preference: FloatArray  # (i,) standardised; 0 where no policy is asked for

    @property
    def item_law(self) -> tuple[FloatArray, FloatArray]:
        """Shape and rate (i,) of the gamma of each item's click rate in slot 0, given its clicks: its mean is shape / rate."""
        return self.shape + self.cells.clicked.sum(axis=1), self.shape / self.mean + self.cells.shown @ self.slot


class Value(NamedTuple):
    """Click rate of a policy, with two 95% intervals: of the rate, and of what a log of so many impressions will show."""

    ctr: float
    low: float
    high: float
    logged_low: float
    logged_high: float


def count_cells(con: duckdb.DuckDBPyConnection, view: str, where: str = "true") -> Cells:
    """Impressions and clicks by item and slot; slots 0 to the last.

    Args:
        con: That has the view.
        view: Of impressions, with item, slot and click.
        where: Rows that count, in SQL.

    Raises:
        Unfit: If there are none.
    """
    found = con.execute(f"""
        SELECT CAST(item AS VARCHAR) AS item, slot, count(*) AS shown, count_if(click) AS clicked FROM {view} WHERE {where}
        GROUP BY ALL ORDER BY item, slot
    """).fetchnumpy()
    if not len(found["slot"]):
        raise Unfit(f"{view}: no impressions where {where}")
    names, row = np.unique(np.asarray(found["item"], str), return_inverse=True)
    slot = np.asarray(found["slot"], np.int64)
    shown = np.zeros((len(names), int(slot.max()) + 1))
    clicked = np.zeros_like(shown)
    shown[row, slot], clicked[row, slot] = found["shown"], found["clicked"]
    return Cells(names, shown, clicked)


def same_items(log: Cells, policy: Cells) -> tuple[Cells, Cells]:
    """Both with the items of either; one that is not there was shown 0 times."""
    items = np.union1d(log.item, policy.item)

    def widened(cells: Cells) -> Cells:
        at, shape = np.searchsorted(items, cells.item), (len(items), cells.shown.shape[1])
        shown, clicked = np.zeros(shape), np.zeros(shape)
        shown[at], clicked[at] = cells.shown, cells.clicked
        return Cells(items, shown, clicked)

    return widened(log), widened(policy)


def fit_twin(cells: Cells, preference: FloatArray | None = None) -> Twin:
    """Maximum likelihood of the mean, the spread over items and the slots, items integrated out.

    Args:
        cells: Of a log in which items were put into slots at random.
        preference: (i,) for each item, of mean 0, where rates may depend on one.

    Raises:
        Unfit: If a slot has no clicks: how well it is looked at is then not known.
    """
    if (empty := np.flatnonzero(cells.clicked.sum(axis=0) == 0)).size:
        raise Unfit(
            f"slot {empty[0]} has no clicks of {cells.shown[:, empty[0]].sum():,.0f} impressions: no twin can be made"
        )
    by_slot = cells.clicked.sum(axis=0) / cells.shown.sum(axis=0)
    z = np.zeros(len(cells.item)) if preference is None else preference
    start = np.r_[np.log(by_slot[0]), np.log(3.0), 0.0, np.log(by_slot[1:] / by_slot[0])]
    steep = (-_STEEPEST, _STEEPEST)
    bounds = [(None, None), (np.log(_RARE), np.log(_EVEN)), steep, *[(None, None)] * (len(by_slot) - 1)]
    x = minimize(_loss, start, (cells.shown, cells.clicked, z), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Twin(np.exp(x[0] + x[2] * z), float(np.exp(x[1])), np.exp(np.r_[0.0, x[3:]]), cells, z)


def policy_value(log: Cells, policy: Cells, rng: np.random.Generator, draws: int = 400) -> Value:
    """Click rate of a policy that shows items in slots as often as `policy` does; its clicks are not looked at.

    Intervals hold what is uncertain in the fit: each draw makes a log by the twin, fits a twin to it, and draws the items'
    rates by that twin's means, spread and slots from the clicks that were logged (Laird & Louis 1987, Empirical Bayes
    confidence intervals based on bootstrap samples, JASA 82). The second adds the luck of a log of as many impressions.

    Args:
        log: In which items were put into slots at random.
        policy: How often it shows what, of no more slots than the log has.
        rng: For the draws.
        draws: At least 100.

    Raises:
        Unfit: If the policy uses a slot that the log does not have, or a slot has no clicks.
    """
    if policy.shown.shape[1] > log.shown.shape[1]:
        raise Unfit(f"the policy fills {policy.shown.shape[1]} slots, the log has {log.shown.shape[1]}")
    log, policy = same_items(log, policy)
    often = np.log((policy.shown.sum(axis=1) + 0.5) / (policy.shown.sum() + 0.5 * len(policy.item)))
    often -= often.mean()
    twin = fit_twin(log, often / often.std() if often.std() > _SAME else None)
    total = policy.shown.sum()
    share = policy.shown / total

    def rate(by: Twin, item: FloatArray) -> float:
        return float(item @ share @ by.slot[: share.shape[1]])

    def drawn() -> float:
        other = _again(twin, rng)
        shape, scale = other.item_law
        return rate(other, rng.gamma(shape, 1 / scale))

    shape, scale = twin.item_law
    rates = np.array([drawn() for _ in range(draws)])
    low, high = np.quantile(rates, [0.025, 0.975])
    logged_low, logged_high = np.quantile(rng.poisson(rates * total) / total, [0.025, 0.975])
    return Value(rate(twin, shape / scale), float(low), float(high), float(logged_low), float(logged_high))


def _again(twin: Twin, rng: np.random.Generator) -> Twin:
    """The twin fitted to a log that the twin made, of the clicks that were logged; with no click in a slot, another is made."""
    shown = twin.cells.shown
    while True:
        item = rng.gamma(twin.shape, twin.mean / twin.shape, len(shown))
        clicked = rng.poisson(shown * item[:, None] * twin.slot).astype(float)
        if clicked.sum(axis=0).all():
            return fit_twin(twin.cells._replace(clicked=clicked), twin.preference)._replace(cells=twin.cells)


def _loss(x: FloatArray, shown: FloatArray, clicked: FloatArray, z: FloatArray) -> tuple[float, FloatArray]:
    """Minus the log-likelihood of counts, and its gradient by log mean, log shape, lean and the logs of slots but the first."""
    mean, shape, slot = np.exp(x[0] + x[2] * z), np.exp(x[1]), np.exp(np.r_[0.0, x[3:]])
    looks, clicks = shown @ slot, clicked.sum(axis=1)
    prior = shape / mean
    rate = (shape + clicks) / (prior + looks)
    value = gammaln(shape + clicks) - gammaln(shape) + shape * np.log(prior) - (shape + clicks) * np.log(prior + looks)
    by_mean = prior * rate - shape
    by_shape = digamma(shape + clicks) - digamma(shape) + np.log(prior / (prior + looks)) + 1 - rate / mean
    by_slot = clicked.sum(axis=0) - slot * (rate @ shown)
    total = value.sum() + clicked.sum(axis=0) @ np.log(slot)
    return -float(total), -np.r_[by_mean.sum(), shape * by_shape.sum(), by_mean @ z, by_slot[1:]]
