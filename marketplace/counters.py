"""Counters: what each unit did and cost, summed as the simulation goes; every metric is made of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from marketplace.assignment import Rows
from marketplace.orders import answered
from marketplace.serve import Scored
from marketplace.tick import Placed, Shown
from synth.types import CART, CHECKOUT, DAY_MS, SIGN_UP, BoolArray, FloatArray, IdArray, IntArray, Requests
from synth.world import Population

NAMES = (
    "requests", "scored", "slots", "impressions", "clicks", "long_clicks", "hides", "conversions", "click_conversions",
    "repeat_conversions", "orders", "carts", "sign_ups", "spend_usd", "value_usd", "gmv_usd", "expected_clicks",
    "expected_conversions", "cuisines", "tried", "returned", "organic_orders", "all_gmv_usd", "exposures", "tested_orders",
    "tested_gmv_usd",
)  # fmt: skip
_AT = {name: i for i, name in enumerate(NAMES)}
REQUESTS, SCORED, SLOTS, IMPRESSIONS, CLICKS, LONG_CLICKS, HIDES = range(7)
SPEND, EXPECTED_CLICKS, EXPECTED_CONVERSIONS = _AT["spend_usd"], _AT["expected_clicks"], _AT["expected_conversions"]
RETURNED, EXPOSURES = _AT["returned"], _AT["exposures"]
_MONEY = tuple(name for name in NAMES if name.endswith("_usd"))
_OF_USERS = "cuisines", "tried", "returned"  # make no sense of another unit
_OF_REQUESTS = "requests", "scored", "slots", "organic_orders", "all_gmv_usd", "tested_orders", "tested_gmv_usd"
_NOT_COUNTED = {
    "user": (),
    "visit": _OF_USERS,
    "block": _OF_USERS,
    "campaign": (*_OF_USERS, *_OF_REQUESTS, "exposures"),
}


@dataclass(slots=True, kw_only=True, eq=False)
class Counters:
    """One row per unit, see `Rows`; money in micros until it is read."""

    rows: Rows
    arm_of: Callable[[Requests], IdArray] | None  # of requests, where not the arm that served them counts
    sums: FloatArray  # (rows, len(NAMES)); whole numbers but for the expected ones, so sums are exact
    came: BoolArray  # (U,) users who came at least once
    cuisines_seen: IntArray  # (rows,) a bit per cuisine
    first_day: IntArray  # (rows,) on which it came, -1 before
    tested: BoolArray  # (c,) campaigns under test
    tested_store: BoolArray  # (S,) their stores

    def count_tick(
        self, scored: Scored, shown: Shown, placed: Placed, displaced: BoolArray, population: Population, since_ms: int
    ) -> None:
        """Count what a tick came to; orders whose ad was shown before `since_ms` belong to an earlier simulation.

        Args:
            displaced: (n,) the request's organic order did not come.
        """
        requests, column, slot_effect = scored.requests, np.maximum(shown.column, 0), population.slot_effect
        self.came[requests.user] = True
        n, s = shown.ad.shape
        arm = scored.arm if self.arm_of is None else self.arm_of(requests)
        slot_arm = shown.arm.ravel() if self.arm_of is None else np.repeat(arm, s)
        by_request = self.rows.of(requests.user, requests.time_ms, arm, np.full(n, -1, np.int32))
        again = np.repeat(np.arange(n), s)
        by_slot = self.rows.of(requests.user[again], requests.time_ms[again], slot_arm, shown.campaign.ravel()).reshape(
            n, s
        )
        _count(
            self.sums, self.cuisines_seen, self.first_day, by_request, by_slot, requests.time_ms // DAY_MS,
            (scored.ad >= 0).sum(axis=1), shown.exposed, shown.ad >= 0,
            population.stores.cuisine[population.store_of(shown.ad)], shown.outcomes.clicked, shown.outcomes.long_clicked,
            shown.outcomes.hidden, shown.billed_micros, slot_effect * np.take_along_axis(scored.pctr, column, axis=1),
            np.take_along_axis(scored.pcvr, column, axis=1),
        )  # fmt: skip
        self._count_orders(placed, since_ms)
        organic = np.flatnonzero((scored.visits.ordered >= 0) & ~displaced)
        row, basket = by_request[organic], scored.visits.value_micros[organic]
        self._add("organic_orders", row, np.ones(len(row)))
        self._add("all_gmv_usd", row, basket)
        self._count_tested(row, scored.visits.ordered[organic], basket)

    def _count_orders(self, placed: Placed, since_ms: int) -> None:
        own = placed.orders["shown_ms"] >= since_ms
        orders = placed.orders[own]
        arm = orders["arm"].astype(np.int32) if self.arm_of is None else self.arm_of(answered(orders))
        row = self.rows.of(orders["user"], orders["shown_ms"], arm, orders["campaign"])
        attributed, value = orders["attributed"].astype(np.float64), orders["value_micros"]
        bought = orders["event"] == CHECKOUT
        for name, amount in (
            ("orders", bought), ("carts", orders["event"] == CART), ("sign_ups", orders["event"] == SIGN_UP),
            ("conversions", attributed), ("click_conversions", attributed * (orders["click_ms"] >= 0)),
            ("repeat_conversions", attributed * orders["known"]), ("spend_usd", placed.billed_micros[own]),
            ("value_usd", attributed * value), ("gmv_usd", value), ("all_gmv_usd", value),
        ):  # fmt: skip
            self._add(name, row, amount)
        self._count_tested(row[bought], orders["store"][bought], value[bought])
        trial = row[bought & ~orders["known"]]
        self.sums[trial[trial >= 0], _AT["tried"]] = 1.0

    def _count_tested(self, row: IntArray, store: IdArray, value: IntArray) -> None:
        own = self.tested_store[store]
        self._add("tested_orders", row[own], np.ones(int(own.sum())))
        self._add("tested_gmv_usd", row[own], value[own])

    def _add(self, name: str, row: IntArray, amount: FloatArray | IntArray | BoolArray) -> None:
        read = row >= 0
        np.add.at(self.sums[:, _AT[name]], row[read], amount[read])

    def table(self) -> FloatArray:
        """(rows, len(NAMES)) in the units of the names; NaN where the rows' unit has no such figure."""
        table = self.sums.copy()
        for name in _MONEY:
            table[:, _AT[name]] /= 1e6
        table[:, _AT["cuisines"]] = np.bitwise_count(self.cuisines_seen)
        if not self.tested.any():
            table[:, [_AT[name] for name in ("exposures", "tested_orders", "tested_gmv_usd")]] = np.nan
        table[:, [_AT[name] for name in _NOT_COUNTED[self.rows.unit]]] = np.nan
        return table


def new_counters(
    rows: Rows, population: Population, tested: BoolArray, arm_of: Callable[[Requests], IdArray] | None = None
) -> Counters:
    """All at 0.

    Args:
        arm_of: The arm that requests count for, where not the one that served them.
        tested: (c,) campaigns whose ads some arm withholds.
    """
    ads = population.ads
    tested_store = np.zeros(len(population.stores.region), np.bool_)
    tested_store[ads.store[tested[ads.campaign]]] = True
    return Counters(
        rows=rows, arm_of=arm_of, sums=np.zeros((rows.n, len(NAMES))), came=np.zeros(len(population.users.region), np.bool_),
        cuisines_seen=np.zeros(rows.n, np.int64), first_day=np.full(rows.n, -1, np.int64), tested=tested,
        tested_store=tested_store,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _count(  # type: ignore[no-untyped-def]
    sums, cuisines_seen, first_day, by_request, by_slot, day, scored, exposed, shown, cuisine, clicked, long_clicked, hidden,
    billed, expected_click, pcvr,
):  # fmt: skip
    for i in range(by_request.size):
        at = by_request[i]
        if at >= 0:
            row = sums[at]
            row[REQUESTS] += 1.0
            row[SCORED] += scored[i]
            row[SLOTS] += shown.shape[1]
            if first_day[at] < 0:
                first_day[at] = day[i]
            elif day[i] > first_day[at]:
                row[RETURNED] = 1.0
        for s in range(shown.shape[1]):
            at = by_slot[i, s]
            if at < 0:
                continue
            row = sums[at]
            row[EXPOSURES] += exposed[i, s]
            if not shown[i, s]:
                continue
            row[IMPRESSIONS] += 1.0
            row[CLICKS] += clicked[i, s]
            row[LONG_CLICKS] += long_clicked[i, s]
            row[HIDES] += hidden[i, s]
            row[SPEND] += billed[i, s]
            row[EXPECTED_CLICKS] += expected_click[i, s]
            row[EXPECTED_CONVERSIONS] += expected_click[i, s] * pcvr[i, s]
            cuisines_seen[at] |= np.int64(1) << np.int64(cuisine[i, s])
