"""A tick: budgets that run out in the midst of it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from marketplace.assignment import everyone
from marketplace.bids import campaign_terms
from marketplace.ledger import open_ledger
from marketplace.orders import no_orders
from marketplace.serve import score
from marketplace.state import new_state
from marketplace.tick import Placed, Shown, Window, run_tick, spending_of
from synth.types import DAY_MS

WINDOW = Window(7 * DAY_MS, -1)


@pytest.fixture(scope="module")
def scored(tiny, world, ranker):
    state = new_state(tiny, world)
    terms = campaign_terms(tiny, world)
    requests = world.requests_on(0, state.minds).rows(0, 1500)
    visits = world.browse(requests, state.minds)
    pool = world.population.pool(np.ones(len(terms.ad_campaign), np.bool_))
    with ThreadPoolExecutor(1) as threads:
        found = score(
            requests, visits, state.features.see(requests, visits), everyone(len(state.minds.habits.store)), (ranker,), world,
            state.minds, (pool,), state.features, terms, threads, 1, Counter(),
        )  # fmt: skip
    return found, terms, state


def clear(scored, world, ranker, budget, *, one_by_one):
    found, terms, state = scored
    ledger = open_ledger(np.full(len(terms.pricing), budget))
    ledger.refill()
    orders, parts, placed = no_orders(), [], []
    n = len(found.requests)
    for start, stop in ((i, i + 1) for i in range(n)) if one_by_one else ((0, n),):
        last = stop == n
        until = int(found.requests.time_ms[-1]) + 1 if last else int(found.requests.time_ms[stop])
        some = type(found)(
            requests=found.requests.rows(start, stop), visits=found.visits.rows(start, stop),
            arm=found.arm[start:stop], retrieved=found.retrieved[start:stop], ad=found.ad[start:stop],
            campaign=found.campaign[start:stop], side=found.side[start:stop], line=found.line[start:stop],
            account=found.account[start:stop],
            batch=found.batch.rows(start, stop), raw_pctr=found.raw_pctr[start:stop], pctr=found.pctr[start:stop],
            pcvr=found.pcvr[start:stop], randomised=found.randomised[start:stop], late=found.late[start:stop],
            n_slots=found.n_slots,
        )  # fmt: skip
        with ThreadPoolExecutor(2) as threads:
            _, shown, done, orders = run_tick(
                some, until, (ranker,), world, state.minds, ledger, orders, terms, np.ones(len(terms.pricing)), WINDOW, threads,
                Counter(),
            )  # fmt: skip
        parts.append(shown)
        placed.append(done)
    return Shown.stack(parts), Placed.stack(placed), orders, ledger


@pytest.mark.parametrize("budget", [200_000, 1_500_000, 10**12])
def test_a_tick_equals_its_requests_served_one_by_one(scored, world, ranker, budget):
    whole, placed, orders, ledger = clear(scored, world, ranker, budget, one_by_one=False)
    single, placed_1, orders_1, ledger_1 = clear(scored, world, ranker, budget, one_by_one=True)

    for name in ("column", "ad", "campaign", "price_micros", "billed_micros", "unbilled_micros"):
        assert (getattr(whole, name) == getattr(single, name)).all(), name
    assert (whole.outcomes.clicked == single.outcomes.clicked).all()
    assert (placed.orders == placed_1.orders).all()
    assert (placed.billed_micros == placed_1.billed_micros).all()
    assert sorted(orders.tolist()) == sorted(orders_1.tolist())
    assert (ledger.remaining == ledger_1.remaining).all()


def test_a_campaign_wins_nothing_once_its_budget_is_gone(scored, world, ranker):
    shown, _, _, ledger = clear(scored, world, ranker, 200_000, one_by_one=False)
    spent = np.zeros(len(ledger.daily))
    out = (ledger.remaining == 0).sum()

    assert out > 3
    for i in range(len(shown.ad)):
        for s in range(shown.ad.shape[1]):
            c = shown.campaign[i, s]
            if c >= 0:
                assert spent[c] < 200_000
        for s in range(shown.ad.shape[1]):
            c = shown.campaign[i, s]
            if c >= 0:
                spent[c] += shown.billed_micros[i, s]


def test_with_money_for_all_every_request_fills_its_slots_once(scored, world, ranker):
    shown, *_ = clear(scored, world, ranker, 10**12, one_by_one=False)

    assert (shown.ad >= 0).all()
    assert all(len(set(row)) == len(row) for row in shown.ad.tolist())


def test_pacing_counts_a_cpa_click_with_its_expected_charge(scored, world, ranker):
    found, terms, _ = scored
    shown, *_ = clear(scored, world, ranker, 10**12, one_by_one=False)
    spent = spending_of(found, shown, terms, len(terms.pricing))
    expected = np.zeros(len(terms.pricing), np.int64)
    for i, s in np.ndindex(*shown.ad.shape):
        c = shown.campaign[i, s]
        if terms.pricing[c] == 2 and shown.outcomes.clicked[i, s]:
            expected[c] += int(float(found.pcvr[i, shown.column[i, s]]) * int(shown.price_micros[i, s]))
        elif terms.pricing[c] != 2:
            expected[c] += shown.billed_micros[i, s]

    assert (spent == expected).all()
    assert spent.sum() > 0
