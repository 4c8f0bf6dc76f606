"""Counters: what each user did and cost, summed as the simulation goes; every metric is made of them."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from marketplace.serve import Scored
from marketplace.tick import Placed, Shown
from synth.types import CHECKOUT, BoolArray, FloatArray, IntArray
from synth.world import Population

NAMES = (
    "requests", "scored", "slots", "impressions", "clicks", "long_clicks", "hides", "conversions", "click_conversions", "orders",
    "spend_usd", "value_usd", "gmv_usd", "expected_clicks", "expected_conversions", "cuisines", "organic_orders", "all_gmv_usd",
)  # fmt: skip
_AT = {name: i for i, name in enumerate(NAMES)}
REQUESTS, SCORED, SLOTS, IMPRESSIONS, CLICKS, LONG_CLICKS, HIDES = range(7)
SPEND, EXPECTED_CLICKS, EXPECTED_CONVERSIONS = _AT["spend_usd"], _AT["expected_clicks"], _AT["expected_conversions"]


@dataclass(slots=True, kw_only=True, eq=False)
class Counters:
    """One row per user; money in micros until it is read."""

    sums: FloatArray  # (U, len(NAMES)); whole numbers but for the expected ones, so sums are exact
    cuisines_seen: IntArray  # (U,) a bit per cuisine

    def count_tick(
        self, scored: Scored, shown: Shown, placed: Placed, displaced: BoolArray, population: Population, since_ms: int
    ) -> None:
        """Count what a tick came to; orders whose ad was shown before `since_ms` belong to an earlier simulation.

        Args:
            displaced: (n,) the request's organic order did not come.
        """
        column, slot_effect = np.maximum(shown.column, 0), population.slot_effect
        _count(
            self.sums, self.cuisines_seen, scored.requests.user, (scored.ad >= 0).sum(axis=1), shown.ad >= 0,
            population.stores.cuisine[population.store_of(shown.ad)], shown.outcomes.clicked, shown.outcomes.long_clicked,
            shown.outcomes.hidden, shown.billed_micros, slot_effect * np.take_along_axis(scored.pctr, column, axis=1),
            np.take_along_axis(scored.pcvr, column, axis=1),
        )  # fmt: skip
        own = placed.orders["shown_ms"] >= since_ms
        orders, attributed = placed.orders[own], placed.orders["attributed"][own].astype(np.float64)
        after_click = attributed * (orders["click_ms"] >= 0)
        organic = (scored.visits.ordered >= 0) & ~displaced
        visitor, basket = scored.requests.user[organic], scored.visits.value_micros[organic]
        for name, user, amount in (
            ("orders", orders["user"], orders["event"] == CHECKOUT), ("conversions", orders["user"], attributed),
            ("click_conversions", orders["user"], after_click),
            ("spend_usd", orders["user"], placed.billed_micros[own]),
            ("value_usd", orders["user"], attributed * orders["value_micros"]),
            ("gmv_usd", orders["user"], orders["value_micros"]), ("all_gmv_usd", orders["user"], orders["value_micros"]),
            ("organic_orders", visitor, np.ones(len(visitor))), ("all_gmv_usd", visitor, basket),
        ):  # fmt: skip
            np.add.at(self.sums[:, _AT[name]], user, amount)

    def table(self) -> FloatArray:
        """(U, len(NAMES)) in the units of the names."""
        table = self.sums.copy()
        for name in ("spend_usd", "value_usd", "gmv_usd", "all_gmv_usd"):
            table[:, _AT[name]] /= 1e6
        table[:, _AT["cuisines"]] = np.bitwise_count(self.cuisines_seen)
        return table


def new_counters(n_users: int) -> Counters:
    """All at 0."""
    return Counters(sums=np.zeros((n_users, len(NAMES))), cuisines_seen=np.zeros(n_users, np.int64))


@njit(cache=True, nogil=True)
def _count(  # type: ignore[no-untyped-def]
    sums, cuisines_seen, user, scored, shown, cuisine, clicked, long_clicked, hidden, billed, expected_click, pcvr
):  # fmt: skip
    for i in range(user.size):
        row = sums[user[i]]
        row[REQUESTS] += 1.0
        row[SCORED] += scored[i]
        row[SLOTS] += shown.shape[1]
        for s in range(shown.shape[1]):
            if not shown[i, s]:
                continue
            row[IMPRESSIONS] += 1.0
            row[CLICKS] += clicked[i, s]
            row[LONG_CLICKS] += long_clicked[i, s]
            row[HIDES] += hidden[i, s]
            row[SPEND] += billed[i, s]
            row[EXPECTED_CLICKS] += expected_click[i, s]
            row[EXPECTED_CONVERSIONS] += expected_click[i, s] * pcvr[i, s]
            cuisines_seen[user[i]] |= np.int64(1) << np.int64(cuisine[i, s])
