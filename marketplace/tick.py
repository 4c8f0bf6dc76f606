"""A tick: auctions, answers and charges of some requests, exact to the budget that runs out in their midst."""

from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from auction import Allocation
from auction.pricing import Pricing
from marketplace.arm import Arm
from marketplace.bids import Terms
from marketplace.features import KNOWN_ORDERS
from marketplace.ledger import Ledger
from marketplace.orders import ORDER, Orders, in_time
from marketplace.serve import Offers, Scored, auction_off, offers_of
from marketplace.stopwatch import Stopwatch
from synth.campaigns import GOALS
from synth.types import CHECKOUT, EVENTS, BoolArray, Columns, FloatArray, IdArray, IntArray, Outcomes, Truth
from synth.world import Minds, World

_BLOCK = 512  # requests that a thread clears at a time
# the event that counts as a conversion of a campaign, by its goal; one that aims at clicks is held to checkouts
_COUNTS = np.array([EVENTS.index("checkout" if goal == "click" else goal) for goal in GOALS])


class Window(NamedTuple):
    """How long after an ad a conversion is attributed to it, both ends included."""

    click_ms: int  # after a click
    view_ms: int  # after an ad that was not clicked; -1 never


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown(Columns):
    """What a tick came to; an empty slot holds -1 and 0."""

    column: IntArray  # (n, s) of the winning candidate
    ad: IdArray  # (n, s)
    campaign: IdArray  # (n, s)
    arm: IdArray  # (n, s) that bid for it; of an empty slot, whose rules left it empty
    account: IdArray  # (n, s) that pays, see `Scored`
    exposed: BoolArray  # (n, s) won by a campaign under test before its ads were withheld, see `auction_off`
    price_micros: IntArray  # (n, s) per billable event
    billed_micros: IntArray  # (n, s) for the impression and its click
    unbilled_micros: IntArray  # (n, s)
    outcomes: Outcomes
    truth: Truth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed(Columns):
    """Conversions of all types that came during a tick, and what they were charged."""

    orders: Orders  # (m,)
    billed_micros: IntArray  # (m,)
    unbilled_micros: IntArray  # (m,)


def run_tick(
    scored: Scored,
    until_ms: int,
    arms: tuple[Arm, ...],
    world: World,
    minds: Minds,
    ledger: Ledger,
    waiting: Orders,
    terms: Terms,
    multiplier: FloatArray,
    window: Window,
    threads: Executor,
    cpu: Counter[str],
    takes_part: BoolArray | None = None,
    of_account: IdArray | None = None,
) -> tuple[Offers, Shown, Placed, Orders]:
    """Clear all requests as if no budget ran out; where one does, keep what came before and clear again what comes after
    and had a bid of that campaign.

    So budgets are as exact as if requests were auctioned one by one, whatever the mechanism and however users answer.

    Args:
        waiting: Orders on their way, in any order.
        until_ms: When the next tick begins; orders placed before are charged in this one.
        threads: Hold auctions and let users answer, in blocks; no row depends on its block.
        takes_part: (n, k) candidates who compete, with their whole bids, where pacing throttles.
        of_account: (U,) arm whose part of the budgets pays for what a user orders; None where budgets are not split.

    Returns:
        The bids (of a campaign that ran out, 0 from then on), what was shown, the orders placed, and those on their way now.
    """
    watch = Stopwatch(cpu)
    now = waiting["time_ms"] < until_ms
    soon, later = in_time([waiting[now]]), [waiting[~now]]
    active = ledger.active
    offers = offers_of(scored, terms, multiplier, active, takes_part)
    n = len(scored.requests)
    start, shown = 0, None
    rows: IntArray = np.arange(n)
    placed: list[Placed] = []

    def clear(some: IntArray) -> tuple[Shown, Counter[str]]:
        spent: Counter[str] = Counter()
        clock = Stopwatch(spent)
        sold, exposed = auction_off(scored, offers, some, arms, terms.tested)
        clock.lap("auction")
        answered = _answer(scored, some, sold, exposed, world, minds)
        clock.lap("respond")
        return answered, spent

    while True:
        watch.lap("auction")
        blocks = [rows[a : a + _BLOCK] for a in range(0, max(len(rows), 1), _BLOCK)]
        done = list(threads.map(clear, blocks)) if len(blocks) > 1 else [clear(rows)]
        for _, spent in done:
            cpu.update(spent)
        watch = Stopwatch(cpu)
        answered = Shown.stack([part for part, _ in done])
        if shown is None:
            shown = answered
        else:
            shown.put(rows, answered)
        rest = shown.rows(start, n)
        fresh, row = _new_orders(scored, start, rest, world, terms, window)
        queue = in_time([soon, fresh[fresh["time_ms"] < until_ms]])
        settled = ledger.settle(
            scored.requests.time_ms[start:], rest.account, _due_at_once(rest, terms), queue,
            until_ms, _payer(queue, of_account, terms, arms),
        )  # fmt: skip
        rest.billed_micros[: settled.stop] = settled.billed[: settled.stop]
        rest.unbilled_micros[: settled.stop] = settled.unbilled[: settled.stop]
        charges = Placed(orders=queue, billed_micros=settled.order_billed, unbilled_micros=settled.order_unbilled)
        placed.append(charges.rows(0, settled.n_orders))
        # an order comes after its click, so none of those settled belongs to a request that is cleared again
        kept = fresh[row < settled.stop]
        soon = in_time([soon, kept[kept["time_ms"] < until_ms]])[settled.n_orders :]
        later.append(kept[kept["time_ms"] >= until_ms])
        start += settled.stop
        watch.lap("settle")
        if start == n and len(soon) == 0:
            return offers, shown, Placed.stack(placed), np.concatenate(later)
        rows = start + _withdraw(offers, scored, start, active & ~ledger.active)
        active = ledger.active


def _withdraw(offers: Offers, scored: Scored, start: int, out: BoolArray) -> IntArray:
    """Take the accounts `out` from the auctions of the requests from `start` on; gives those that lose a bid."""
    gone = out[scored.account[start:]] & (offers.bid[start:] > 0)
    offers.bid[start:][gone] = 0.0
    offers.ends[out] = start
    return np.flatnonzero(gone.any(axis=1))


def _payer(orders: Orders, of_account: IdArray | None, terms: Terms, arms: tuple[Arm, ...]) -> IdArray:
    """(m,) accounts that orders are charged to; those of ads shown before the test, too, to the part of their user's arm."""
    if of_account is None:
        return orders["campaign"].copy()
    return of_account[orders["user"]] * np.int32(len(terms.pricing) // len(arms)) + orders["campaign"]


def _answer(scored: Scored, rows: IntArray, sold: Allocation, exposed: BoolArray, world: World, minds: Minds) -> Shown:
    """Show the winners to the users of the requests at `rows`; nothing is charged yet."""
    filled, column = sold.winner >= 0, np.maximum(sold.winner, 0)

    def of_winner(values: IdArray, none: IdArray | np.int32) -> IdArray:
        return np.where(filled, np.take_along_axis(values[rows], column, axis=1), none)

    nobody = np.int32(-1)
    ad = of_winner(scored.ad, nobody)
    outcomes, truth = world.respond(scored.requests.take(rows), scored.visits.need[rows], ad, minds)
    return Shown(
        column=sold.winner, ad=ad, campaign=of_winner(scored.campaign, nobody),
        arm=of_winner(scored.side, scored.arm[rows, None]), account=of_winner(scored.account, nobody), exposed=exposed,
        price_micros=sold.price_micros, billed_micros=np.zeros_like(sold.price_micros),
        unbilled_micros=np.zeros_like(sold.price_micros), outcomes=outcomes, truth=truth,
    )  # fmt: skip


def _due_at_once(shown: Shown, terms: Terms) -> IntArray:
    """(n, s) micros due for the impression (CPM, oCPM, value) or its click (CPC)."""
    pricing = terms.pricing[shown.campaign]
    by_impression = np.isin(pricing, (Pricing.CPM, Pricing.OCPM, Pricing.VALUE))
    by_click = (pricing == Pricing.CPC) & shown.outcomes.clicked
    return np.where((shown.campaign >= 0) & (by_impression | by_click), shown.price_micros, 0)


def _new_orders(
    scored: Scored, start: int, shown: Shown, world: World, terms: Terms, window: Window
) -> tuple[Orders, IntArray]:
    """Conversions of all types that the ads lead to, with the row of each."""
    row, slot, event = np.nonzero(shown.outcomes.delay_ms >= 0)
    at = row, slot
    orders = np.empty(len(row), ORDER)
    delay = shown.outcomes.delay_ms[row, slot, event]
    requests = scored.requests
    campaign = shown.campaign[at]
    clicked = shown.outcomes.clicked[at]
    orders["shown_ms"] = requests.time_ms[start + row]
    orders["click_ms"] = np.where(clicked, orders["shown_ms"], -1)
    orders["time_ms"] = orders["shown_ms"] + delay
    orders["request"] = requests.id[start + row]
    orders["user"] = requests.user[start + row]
    orders["arm"] = shown.arm[at]
    orders["ad"] = shown.ad[at]
    orders["store"] = world.population.ads.store[orders["ad"]]
    orders["campaign"] = campaign
    orders["event"] = event
    orders["attributed"] = (event == _COUNTS[terms.goal[campaign]]) & (
        delay <= np.where(clicked, window.click_ms, window.view_ms)
    )
    orders["known"] = scored.batch.cross[start + row, shown.column[at], KNOWN_ORDERS] > 0
    orders["value_micros"] = np.where(event == CHECKOUT, shown.outcomes.value_micros[at], 0)
    charged = orders["attributed"] & (terms.pricing[campaign] == Pricing.CPA)
    orders["price_micros"] = np.where(charged, shown.price_micros[at], 0)
    return orders, row


def spending_of(scored: Scored, shown: Shown, terms: Terms, accounts: int) -> IntArray:
    """(accounts,) micros that pacing sees spent in a tick; whole, so that their sum does not depend on how ticks are cut.

    What impressions and clicks were billed, and for CPA the charge expected of each click: price x pcvr. Counting it when the
    conversion comes would let a day's clicks overrun the budget of the days that pay for them.
    """
    column = np.maximum(shown.column, 0)
    expected = (shown.price_micros * np.take_along_axis(scored.pcvr, column, axis=1).astype(np.float64)).astype(
        np.int64
    )
    by_order = (terms.pricing[shown.campaign] == Pricing.CPA) & shown.outcomes.clicked
    spent = np.where(by_order, expected, shown.billed_micros)
    total = np.zeros(accounts, np.int64)
    sold = shown.account >= 0
    np.add.at(total, shown.account[sold], spent[sold])
    return total
