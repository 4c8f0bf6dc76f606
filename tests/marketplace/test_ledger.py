"""The ledger against a clerk who charges one thing at a time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from marketplace.ledger import open_ledger
from marketplace.orders import ORDER, in_time


def clerk(remaining, time_ms, campaign, due, orders, until_ms):
    """The settlement in plain Python."""
    remaining = list(remaining)
    events = [(int(o["time_ms"]), 0, n, None) for n, o in enumerate(orders) if o["time_ms"] < until_ms]
    events += [(int(t), 1, i, s) for i, t in enumerate(time_ms) for s in range(campaign.shape[1])]
    billed, order_billed = np.zeros_like(due), np.zeros(len(orders), np.int64)
    stop, n_orders = len(time_ms), sum(1 for _, kind, _, _ in events if kind == 0)
    out_at = None
    seen = 0
    for _, kind, i, s in sorted(events, key=lambda e: (e[0], e[1], e[2], -1 if e[3] is None else e[3])):
        if out_at is not None and (kind == 0 or i != out_at):
            return remaining, out_at + 1 if out_at >= 0 else -out_at - 2, seen, billed, order_billed
        c = orders[i]["campaign"] if kind == 0 else campaign[i, s]
        if kind == 1 and c < 0:
            continue
        price = orders[i]["price_micros"] if kind == 0 else due[i, s]
        paid = min(remaining[c], int(price))
        ran_out = remaining[c] > 0 and paid == remaining[c]
        remaining[c] -= paid
        if kind == 0:
            order_billed[i] = paid
            seen += 1
            if ran_out:
                before = int(np.searchsorted(time_ms, orders[i]["time_ms"]))
                return remaining, before, seen, billed, order_billed
        else:
            billed[i, s] = paid
            if ran_out:
                out_at = i
    return (
        remaining,
        stop if out_at is None else out_at + 1,
        seen if out_at is not None else n_orders,
        billed,
        order_billed,
    )


@st.composite
def days(draw):
    n, c, s = draw(st.integers(0, 8)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    times = sorted(draw(st.lists(st.integers(0, 50), min_size=n, max_size=n)))
    campaign = np.array(draw(st.lists(st.integers(-1, c - 1), min_size=n * s, max_size=n * s)), np.int32).reshape(n, s)
    due = np.array(draw(st.lists(st.integers(0, 5), min_size=n * s, max_size=n * s)), np.int64).reshape(n, s)
    due[campaign < 0] = 0
    m = draw(st.integers(0, 6))
    orders = np.zeros(m, ORDER)
    orders["time_ms"] = draw(st.lists(st.integers(0, 60), min_size=m, max_size=m))
    orders["campaign"] = draw(st.lists(st.integers(0, c - 1), min_size=m, max_size=m))
    orders["price_micros"] = draw(st.lists(st.integers(0, 5), min_size=m, max_size=m))
    orders["request"] = np.arange(m)
    budget = np.array(draw(st.lists(st.integers(0, 12), min_size=c, max_size=c)), np.int64)
    return np.array(times, np.int64), campaign, due, in_time([orders]), budget


@given(days())
def test_settling_equals_charging_one_thing_at_a_time(day):
    times, campaign, due, orders, budget = day
    until = int(times[-1]) + 5 if len(times) else 40
    ledger = open_ledger(budget)
    ledger.refill()

    settled = ledger.settle(times, campaign, due, orders, until)
    remaining, stop, n_orders, billed, order_billed = clerk(budget, times, campaign, due, orders, until)

    assert settled.stop == stop
    assert settled.n_orders == n_orders
    assert ledger.remaining.tolist() == remaining
    assert (settled.billed == billed).all()
    assert (settled.order_billed == order_billed).all()


@given(days())
def test_billed_and_unbilled_add_up_to_what_is_due_and_budgets_fall_by_what_is_billed(day):
    times, campaign, due, orders, budget = day
    ledger = open_ledger(budget)
    ledger.refill()

    settled = ledger.settle(times, campaign, due, orders, 100)
    done, placed = slice(settled.stop), slice(settled.n_orders)

    assert (settled.billed[done] + settled.unbilled[done] == due[done]).all()
    assert (settled.order_billed[placed] + settled.order_unbilled[placed] == orders["price_micros"][placed]).all()
    assert ledger.billed == budget.sum() - ledger.remaining.sum()
    assert (ledger.remaining >= 0).all()
    assert ledger.granted == ledger.billed + ledger.lapsed + ledger.remaining.sum()


def test_the_charge_that_empties_a_budget_is_clipped_and_stops_the_clearing():
    ledger = open_ledger(np.array([10]))
    ledger.refill()
    time_ms, campaign = np.array([1, 2, 3]), np.zeros((3, 1), np.int32)

    settled = ledger.settle(time_ms, campaign, np.array([[6], [7], [1]]), in_time([]), 100)

    assert settled.stop == 2
    assert settled.billed.ravel().tolist() == [6, 4, 0]
    assert settled.unbilled.ravel().tolist() == [0, 3, 0]
    assert ledger.remaining.tolist() == [0]


def test_an_order_placed_at_the_time_of_a_request_is_charged_before_it():
    ledger = open_ledger(np.array([10]))
    ledger.refill()
    order = np.zeros(1, ORDER)
    order["time_ms"], order["price_micros"] = 5, 8

    settled = ledger.settle(np.array([5]), np.zeros((1, 1), np.int32), np.array([[6]]), order, 100)

    assert settled.order_billed.tolist() == [8]
    assert settled.billed.ravel().tolist() == [2]


def test_what_is_left_at_midnight_lapses():
    ledger = open_ledger(np.array([10, 20]))
    ledger.refill()
    ledger.settle(np.array([1]), np.array([[0]], np.int32), np.array([[4]]), in_time([]), 100)

    ledger.refill()

    assert (ledger.granted, ledger.lapsed, ledger.billed) == (60, 26, 4)
    assert ledger.remaining.tolist() == [10, 20]
