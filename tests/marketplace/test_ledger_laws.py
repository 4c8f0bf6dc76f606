"""Laws of the ledger, by a stateful test, and of the charges of a simulated day.

Each law states the formula that it tests; due is the price of an event that is billable.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ticks import Ticks

from auction.pricing import Pricing
from marketplace.assignment import everyone
from marketplace.bids import campaign_terms
from marketplace.ledger import open_ledger
from marketplace.market import first_ranker
from marketplace.orders import ORDER, in_time, no_orders
from marketplace.scenario import load_scenario
from marketplace.simulate import simulate
from marketplace.state import new_state
from synth.types import CHECKOUT, DAY_MS

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"


class Days(RuleBasedStateMachine):
    """Requests and orders of some campaigns, from day to day."""

    @initialize(daily=st.lists(st.integers(0, 30), min_size=1, max_size=3))
    def open(self, daily):
        self.daily = np.array(daily, np.int64)
        self.ledger = open_ledger(self.daily)
        self.ledger.refill()
        self.left = self.daily.copy()  # kept by hand
        self.now, self.waiting, self.billed, self.due, self.unbilled = 0, no_orders(), 0, 0, 0

    @rule()
    def midnight(self):
        self.ledger.refill()
        self.left = self.daily.copy()

    @rule(c=st.integers(0, 2), price=st.integers(0, 9), delay=st.integers(0, 40))
    def click(self, c, price, delay):
        """An order is on its way at the price of its impression."""
        order = np.zeros(1, ORDER)
        order["time_ms"], order["campaign"], order["price_micros"] = self.now + delay, c % len(self.daily), price
        order["request"] = len(self.waiting)
        self.waiting = in_time([self.waiting, order])

    @rule(
        gaps=st.lists(st.integers(0, 9), max_size=5),
        seed=st.integers(0, 999),
        tail=st.integers(1, 9),
    )
    def serve(self, gaps, seed, tail):
        rng = np.random.default_rng(seed)
        time = self.now + np.cumsum(gaps, dtype=np.int64)
        campaign = rng.integers(-1, len(self.daily), (len(gaps), 2)).astype(np.int32)
        due = np.where(campaign >= 0, rng.integers(0, 7, campaign.shape), 0)
        until = int(time[-1]) + tail if len(gaps) else self.now + tail
        replay = self.ledger.copy()
        start = 0
        while True:
            part = self.ledger.settle(time[start:], campaign[start:], due[start:], self.waiting, until)
            self.by_hand(time[start:], campaign[start:], due[start:], part)
            # law: a replay from a copy of the books equals the straight run
            again = replay.settle(time[start:], campaign[start:], due[start:], self.waiting, until)
            assert all(np.array_equal(a, b) for a, b in zip(part, again, strict=True))
            self.waiting = self.waiting[part.n_orders :]  # an order that was settled is not offered again
            start += part.stop
            if start == len(gaps) and not (self.waiting["time_ms"] < until).any():
                break
        assert np.array_equal(replay.remaining, self.ledger.remaining)
        self.now = until

    def by_hand(self, time, campaign, due, part):
        """Charge one thing after the other in order of time: law: charge = min(left, due), the rest is unbilled."""
        orders = self.waiting[: part.n_orders]
        events = [(int(o["time_ms"]), 0, n, 0) for n, o in enumerate(orders)]
        events += [(int(time[i]), 1, i, s) for i in range(part.stop) for s in range(2) if campaign[i, s] >= 0]
        for _, kind, i, s in sorted(events):
            c, price = (campaign[i, s], due[i, s]) if kind else (orders["campaign"][i], orders["price_micros"][i])
            billed = part.billed[i, s] if kind else part.order_billed[i]
            unbilled = part.unbilled[i, s] if kind else part.order_unbilled[i]
            assert (billed, unbilled) == (min(self.left[c], price), price - min(self.left[c], price))
            self.left[c] -= billed
            self.billed, self.unbilled, self.due = self.billed + billed, self.unbilled + unbilled, self.due + price

    @invariant()
    def law_money_is_conserved(self):
        """granted = billed + lapsed + remaining, and billed + unbilled = due."""
        if hasattr(self, "daily"):
            ledger = self.ledger
            assert ledger.granted == ledger.billed + ledger.lapsed + ledger.remaining.sum()
            assert (ledger.billed, self.billed + self.unbilled) == (self.billed, self.due)

    @invariant()
    def law_no_budget_is_overspent(self):
        """0 <= remaining <= daily, and as by hand."""
        if hasattr(self, "daily"):
            assert ((self.ledger.remaining >= 0) & (self.ledger.remaining <= self.daily)).all()
            assert np.array_equal(self.ledger.remaining, self.left)


TestDays = Days.TestCase


def two_days(world, attribution_days):
    """Impressions by (request, ad): pricing, price, clicked, billed, unbilled, time; and the orders placed with their charges."""
    scenario = load_scenario(TINY, [f"auction.attribution_days={attribution_days!r}"])
    seen = Ticks()
    simulate(
        scenario, world, (first_ranker(scenario),), everyone(scenario.world.population.users),
        new_state(scenario, world), seen, first_day=0, days=2,
    )  # fmt: skip
    pricing = campaign_terms(scenario, world).pricing
    impressions, placed = {}, []
    for tick in seen.ticks:
        shown, requests = tick.shown, tick.scored.requests
        for i, s in zip(*np.nonzero(shown.campaign >= 0), strict=True):
            key = int(requests.id[i]), int(shown.ad[i, s])
            assert key not in impressions
            impressions[key] = (
                pricing[shown.campaign[i, s]], shown.price_micros[i, s], shown.outcomes.clicked[i, s],
                shown.billed_micros[i, s], shown.unbilled_micros[i, s], requests.time_ms[i],
            )  # fmt: skip
        orders = tick.placed.orders
        placed += list(zip(orders, tick.placed.billed_micros, tick.placed.unbilled_micros, strict=True))
    return impressions, placed


@pytest.fixture(scope="module")
def window(world):
    """Days: a delay that some CPA order really has, so that it lies on the end of the window."""
    _, placed = two_days(world, 7.0)
    delay = sorted(int(o["time_ms"] - o["click_ms"]) for o, _, _ in placed if o["price_micros"] > 0)
    exact = [d for d in delay if int(d / DAY_MS * DAY_MS) == d]
    return exact[len(exact) // 2] / DAY_MS


def test_charges_of_a_day_keep_the_laws(world, window):
    """At once: billed + unbilled = price if CPM, oCPM or a clicked CPC, else 0. Later: billed + unbilled = the price at the
    impression if CPA, its goal (a checkout) and 0 <= delay <= window, else 0, once per impression and type of event, and
    after its click.
    """
    impressions, placed = two_days(world, window)
    window_ms = round(window * DAY_MS)
    delays, seen = [], set()

    for pricing, price, clicked, billed, unbilled, _ in impressions.values():
        at_once = pricing in (Pricing.CPM, Pricing.OCPM) or (pricing == Pricing.CPC and clicked)
        assert billed + unbilled == (price if at_once else 0)
    for order, billed, unbilled in placed:
        key = int(order["request"]), int(order["ad"])
        pricing, price, clicked, _, _, shown_ms = impressions[key]
        delay = int(order["time_ms"] - order["click_ms"])
        assert (key, order["event"]) not in seen and clicked and order["click_ms"] == shown_ms and delay >= 0
        seen.add((key, order["event"]))
        counts = order["event"] == CHECKOUT and delay <= window_ms
        assert order["attributed"] == counts
        assert billed + unbilled == (price if pricing == Pricing.CPA and counts else 0)
        delays += [delay] if pricing == Pricing.CPA and order["event"] == CHECKOUT else []

    assert min(delays) < window_ms < max(delays) and window_ms in delays
