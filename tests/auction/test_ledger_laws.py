"""Laws of billing, by a stateful test: sales, events, redeliveries and late conversions in any order.

Each law states the formula that it tests. p is the price fixed at the impression, age the time of an event after it, due = p at
the first billable event of an impression with 0 <= age (and age <= window for a conversion), else 0.
"""

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from auction.billing import Books, Event, Sold, bill
from auction.pricing import Pricing

WINDOW_MS = 100
BILLABLE = {
    Pricing.CPM: Event.IMPRESSION, Pricing.OCPM: Event.IMPRESSION, Pricing.VALUE: Event.IMPRESSION,
    Pricing.CPC: Event.CLICK, Pricing.CPA: Event.CONVERSION,
}  # fmt: skip


class Billing(RuleBasedStateMachine):
    """Campaigns change their bids while events of what they bought come in, again and again."""

    @initialize(budgets=st.lists(st.integers(0, 40), min_size=1, max_size=3), data=st.data())
    def open(self, budgets, data):
        self.budgets = np.array(budgets)
        self.pricing = [data.draw(st.sampled_from(Pricing)) for _ in budgets]
        self.bid = [7 + 3 * c for c in range(len(budgets))]
        self.sold = []  # campaign, pricing, price, time
        self.events = []  # impression, event, time
        self.charges = []  # billed, unbilled, due
        self.due = set()  # impressions charged
        self.now = 0
        self.books = Books(self.budgets.copy(), np.zeros(0, bool))

    @rule(ms=st.integers(1, 60))
    def wait(self, ms):
        self.now += ms

    @rule(c=st.integers(0, 2), bid=st.integers(0, 30))
    def change_bid(self, c, bid):
        self.bid[c % len(self.bid)] = bid

    @rule(c=st.integers(0, 2))
    def sell(self, c):
        c %= len(self.bid)
        self.sold.append((c, self.pricing[c], self.bid[c], self.now))
        self.books = Books(self.books.remaining_micros, np.append(self.books.charged, False))

    @precondition(lambda self: self.sold)
    @rule(i=st.integers(0, 30), event=st.sampled_from(Event), age=st.sampled_from([-1, 0, 1, 99, 100, 101, 500]))
    def happen(self, i, event, age):
        i %= len(self.sold)
        self.deliver(i, event, self.sold[i][3] + age)

    @precondition(lambda self: self.events)
    @rule(e=st.integers(0, 30))
    def redeliver(self, e):
        self.deliver(*self.events[e % len(self.events)])

    def deliver(self, i, event, time):
        c, pricing, price, shown = self.sold[i]
        in_time = time >= shown and (event != Event.CONVERSION or time - shown <= WINDOW_MS)
        due = price if event == BILLABLE[pricing] and in_time and i not in self.due else 0
        if event == BILLABLE[pricing] and in_time:
            self.due.add(i)
        left = self.books.remaining_micros[c]
        self.books, billed, unbilled = self.bill(self.books, [(i, event, time)])
        self.events.append((i, event, time))
        self.charges.append((int(billed[0]), int(unbilled[0]), due))
        # law L3: charged on the billable event only; law L5: at the price of the impression, whatever is bid by now
        assert billed[0] + unbilled[0] == due
        # law L2: cap: charge = min(left, due)
        assert billed[0] == min(left, due)

    def bill(self, books, events):
        campaign, pricing, price, shown = (np.array(column, np.int64) for column in zip(*self.sold, strict=True))
        impression, event, time = (np.array(column, np.int64) for column in zip(*events, strict=True))
        sold = Sold(campaign.astype(np.int32), pricing.astype(np.int32), price, shown)
        return bill(books, sold, impression, event.astype(np.int32), time, window_ms=WINDOW_MS)

    @invariant()
    def law_1_money_is_conserved(self):
        """Sum of billed = fall of budgets."""
        if hasattr(self, "budgets"):
            assert sum(billed for billed, _, _ in self.charges) == (self.budgets - self.books.remaining_micros).sum()

    @invariant()
    def law_2_no_budget_is_overspent_at_any_prefix(self):
        """remaining >= 0 after every event."""
        if hasattr(self, "budgets"):
            assert (self.books.remaining_micros >= 0).all()

    @invariant()
    def law_4_an_impression_is_due_once_under_redelivery(self):
        """Sum of billed + unbilled = sum of p over the impressions with a billable event in time."""
        if hasattr(self, "budgets"):
            total = sum(billed + unbilled for billed, unbilled, _ in self.charges)
            assert total == sum(self.sold[i][2] for i in self.due)

    @precondition(lambda self: self.events)
    @rule(cut=st.integers(0, 30))
    def law_8_a_replay_equals_the_straight_run(self, cut):
        """All events at once, and in two parts: the same charges and the same books; the books given are not written to."""
        cut %= len(self.events)
        fresh = Books(self.budgets.copy(), np.zeros(len(self.sold), bool))
        straight, billed, unbilled = self.bill(fresh, self.events)
        part = self.bill(fresh, self.events[:cut])[0] if cut else fresh
        resumed = self.bill(part, self.events[cut:])[0]

        assert [(b, u) for b, u, _ in self.charges] == list(zip(billed.tolist(), unbilled.tolist(), strict=True))
        assert np.array_equal(fresh.remaining_micros, self.budgets) and not fresh.charged.any()
        for books in (straight, resumed):
            assert np.array_equal(books.remaining_micros, self.books.remaining_micros)
            assert np.array_equal(books.charged, self.books.charged)


TestBilling = Billing.TestCase


def charge(pricing, event, age, *, price=5, budget=100):
    sold = Sold(*(np.array([x], kind) for x, kind in ((0, "i4"), (pricing, "i4"), (price, "i8"), (1_000, "i8"))))
    books = Books(np.array([budget]), np.zeros(1, bool))
    after, billed, unbilled = bill(
        books, sold, np.array([0]), np.array([event], np.int32), np.array([1_000 + age]), window_ms=WINDOW_MS
    )
    return int(billed[0]), int(unbilled[0]), int(after.remaining_micros[0])


def test_law_6_the_window_is_closed_at_both_ends():
    """A conversion is charged for 0 <= age <= window, with billed + unbilled = due = p."""
    ages = -1, 0, WINDOW_MS, WINDOW_MS + 1

    assert [charge(Pricing.CPA, Event.CONVERSION, age)[0] for age in ages] == [0, 5, 5, 0]
    assert charge(Pricing.CPA, Event.CONVERSION, WINDOW_MS, budget=2) == (2, 3, 0)


def test_law_7_nothing_is_charged_before_its_cause():
    """age < 0: charge 0, for every pricing."""
    for pricing, event in BILLABLE.items():
        assert charge(pricing, event, -1) == (0, 0, 100)
        assert charge(pricing, event, 0) == (5, 0, 95)


def test_a_click_has_no_window():
    assert charge(Pricing.CPC, Event.CLICK, 50 * WINDOW_MS) == (5, 0, 95)
