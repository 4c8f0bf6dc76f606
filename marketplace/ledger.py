"""The ledger: budgets and charges in int64 micros of USD; the only money that moves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import njit

from marketplace.orders import Orders
from synth.types import BoolArray, IdArray, IntArray


class Settlement(NamedTuple):
    """What was billed up to where; money beyond a budget is unbilled, never dropped."""

    stop: int  # requests settled; fewer than offered where a budget ran out
    billed: IntArray  # (n, s) of the impressions and their clicks
    unbilled: IntArray  # (n, s)
    n_orders: int  # orders settled
    order_billed: IntArray  # (m,)
    order_unbilled: IntArray  # (m,)


@dataclass(slots=True, kw_only=True, eq=False)
class Ledger:
    """Each account's budget for the day and what is left of it. An account is a campaign, or an arm's part of its budget."""

    daily: IntArray  # (accounts,)
    remaining: IntArray  # (accounts,)
    billed: int = 0  # since the ledger was opened
    granted: int = 0  # budgets handed out since then
    lapsed: int = 0  # budgets not spent on their day

    def copy(self) -> "Ledger":
        """Independent of the original from here on."""
        return Ledger(
            daily=self.daily,
            remaining=self.remaining.copy(),
            billed=self.billed,
            granted=self.granted,
            lapsed=self.lapsed,
        )

    @property
    def active(self) -> BoolArray:
        """(accounts,) True where money is left."""
        return self.remaining > 0

    def refill(self) -> None:
        """Begin a day: what is left lapses, every campaign has its daily budget."""
        self.lapsed += int(self.remaining.sum())
        self.granted += int(self.daily.sum())
        self.remaining[:] = self.daily

    def settle(
        self,
        time_ms: IntArray,
        account: IdArray,
        due: IntArray,
        orders: Orders,
        until_ms: int,
        payer: IdArray | None = None,
    ) -> Settlement:
        """Charge requests and orders in order of time, until a budget runs out or all are done.

        An order placed at the time of a request is charged before it. A request is charged whole: it was auctioned while all
        its winners could pay. A budget is a hard cap: the last charge is clipped to what is left.

        Args:
            time_ms: (n,) of the requests, rising.
            account: (n, s) of what is shown, -1 where a slot is empty.
            due: (n, s) micros due at once: impressions and clicks.
            orders: (m,) by time; those before `until_ms` are charged.
            until_ms: When the next request after these comes.
            payer: (m,) accounts that pay for the orders; their campaigns where None.
        """
        billed, unbilled = np.zeros_like(due), np.zeros_like(due)
        order_billed = np.zeros(len(orders), np.int64)
        order_unbilled = np.zeros(len(orders), np.int64)
        if payer is None:
            payer = orders["campaign"].copy()
        stop, n_orders = settle(
            self.remaining, time_ms, account, due, orders["time_ms"].copy(), payer, orders["price_micros"].copy(), until_ms,
            billed, unbilled, order_billed, order_unbilled,
        )  # fmt: skip
        self.billed += int(billed.sum()) + int(order_billed.sum())
        return Settlement(stop, billed, unbilled, n_orders, order_billed, order_unbilled)

    def split(self, shares: Sequence[float]) -> "Ledger":
        """An account per arm and campaign, arm by arm, each with its share of the budget; the last has what rounding leaves."""

        def parts(whole: IntArray) -> IntArray:
            ends = [np.floor(end * whole).astype(np.int64) for end in np.cumsum(shares)[:-1]]
            return np.diff(np.stack([np.zeros_like(whole), *ends, whole]), axis=0).ravel()

        return replace(self, daily=parts(self.daily), remaining=parts(self.remaining))


def open_ledger(daily_micros: IntArray) -> Ledger:
    """A ledger with nothing granted yet."""
    return Ledger(daily=daily_micros, remaining=np.zeros_like(daily_micros))


@njit(cache=True, nogil=True)
def settle(
    remaining: IntArray,
    time_ms: IntArray,
    account: IdArray,
    due: IntArray,
    order_time: IntArray,
    order_account: IdArray,
    order_price: IntArray,
    until_ms: int,
    billed: IntArray,
    unbilled: IntArray,
    order_billed: IntArray,
    order_unbilled: IntArray,
) -> tuple[int, int]:
    """The kernel of `Ledger.settle`; gives the requests and the orders settled."""
    order = 0
    for i in range(time_ms.size + 1):
        now = time_ms[i] if i < time_ms.size else until_ms - 1
        while order < order_time.size and order_time[order] <= now:
            c = order_account[order]
            had = remaining[c]
            order_billed[order] = min(had, order_price[order])
            order_unbilled[order] = order_price[order] - order_billed[order]
            remaining[c] -= order_billed[order]
            order += 1
            if had > 0 and remaining[c] == 0:
                return i, order
        if i == time_ms.size:
            break
        ran_out = False
        for s in range(account.shape[1]):
            c = account[i, s]
            if c < 0:
                continue
            had = remaining[c]
            billed[i, s] = min(had, due[i, s])
            unbilled[i, s] = due[i, s] - billed[i, s]
            remaining[c] -= billed[i, s]
            ran_out = ran_out or (had > 0 and remaining[c] == 0)
        if ran_out:
            return i + 1, order
    return time_ms.size, order
