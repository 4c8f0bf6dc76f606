"""Budgets split between arms: money to the micro, and what an arm cannot do to another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ticks import Ticks
from trials import assigned, served

from marketplace.assignment import everyone
from marketplace.counters import SPEND
from marketplace.ledger import open_ledger
from marketplace.market import first_ranker
from marketplace.state import new_state
from synth.campaigns import PRICINGS
from synth.types import DAY_MS, HOUR_MS


@given(
    budget=st.lists(st.integers(0, 2**52), min_size=1, max_size=20),
    weight=st.lists(st.integers(1, 10_000), min_size=1, max_size=6),
)
def test_parts_add_up_to_every_budget_and_each_is_its_share_to_the_micro(budget, weight):
    shares = np.array(weight) / np.sum(weight)
    whole = open_ledger(np.array(budget))
    whole.refill()

    split = whole.split(shares)

    for name in ("daily", "remaining"):
        parts = getattr(split, name).reshape(len(shares), -1)
        assert (parts >= 0).all()
        assert (parts.sum(axis=0) == getattr(whole, name)).all()
        assert (
            abs(parts - shares[:, None] * getattr(whole, name)) <= 2
        ).all()  # 1, and the rounding of a float of 2^52
    assert (split.granted, split.billed, split.lapsed) == (whole.granted, whole.billed, whole.lapsed)


@pytest.fixture(scope="module")
def split_run(tiny, world, ranker):
    """A day of log and two of a test that splits a part of the budgets: result, ledger and what happened."""
    state = new_state(tiny, world, budget_share=0.2)
    served(tiny, world, (ranker,), everyone(tiny.world.population.users), Ticks(), days=1, state=state)
    seen, split = Ticks(), assigned("budgets", world, first_day=1, shares=(0.7, 0.3))
    pending = state.orders.copy()
    arms = ranker, ranker._replace(name="loud", bid_factor=3.0)
    result = served(tiny, world, arms, split, seen, first_day=1, state=state)
    return result, state.ledger, seen.ticks, split, pending


def charges(ticks, split, n_campaigns: int) -> np.ndarray:
    """(days, arms, c) micros billed, to the arm of each user."""
    out = np.zeros((2, 2, n_campaigns), np.int64)
    for tick in ticks:
        requests, shown, orders = tick.scored.requests, tick.shown, tick.placed.orders
        row, slot = np.nonzero(shown.ad >= 0)
        day = requests.time_ms[row] // DAY_MS - 1
        np.add.at(
            out, (day, split.of_unit[requests.user[row]], shown.campaign[row, slot]), shown.billed_micros[row, slot]
        )
        by_order = orders["time_ms"] // DAY_MS - 1, split.of_unit[orders["user"]], orders["campaign"]
        np.add.at(out, by_order, tick.placed.billed_micros)
    return out


def test_every_account_falls_by_what_its_arms_users_were_charged_for_and_never_below_0(split_run):
    """Orders of ads shown before the test included: they are charged to the part of their user's arm."""
    result, ledger, ticks, split, pending = split_run
    daily = ledger.daily.reshape(2, -1)
    billed = charges(ticks, split, daily.shape[1])

    assert (billed <= daily).all() and (billed == daily).any()
    assert (ledger.remaining.reshape(2, -1) == daily - billed[1]).all()
    assert result.revenue_micros == billed.sum()
    charged = pending[(pending["price_micros"] > 0) & (pending["time_ms"] < 3 * DAY_MS)]
    assert set(split.of_unit[charged["user"]]) == {0, 1}  # so that it matters whose part pays
    assert result.counters.sums[:, SPEND].sum() < result.revenue_micros  # those orders are no part of the reading


def test_an_account_that_is_out_shows_nothing_more_while_the_other_arms_goes_on(split_run):
    _, ledger, ticks, split, _ = split_run
    daily = ledger.daily.reshape(2, -1)
    day, left, goes_on = -1, daily, 0
    for tick in ticks:
        requests, shown = tick.scored.requests, tick.shown
        if requests.time_ms[0] // DAY_MS != day:
            day, left = requests.time_ms[0] // DAY_MS, daily.copy()
        arm = split.of_unit[requests.user]
        gone = left == 0
        in_slot = shown.campaign >= 0
        row, slot = np.nonzero(in_slot)
        assert not gone[arm[row], shown.campaign[row, slot]].any()
        goes_on += gone[1 - arm[row], shown.campaign[row, slot]].sum()
        np.subtract.at(left, (arm[row], shown.campaign[row, slot]), shown.billed_micros[row, slot])
        orders = tick.placed.orders
        np.subtract.at(left, (split.of_unit[orders["user"]], orders["campaign"]), tick.placed.billed_micros)
    assert (left == ledger.remaining.reshape(2, -1)).all()
    assert goes_on > 50


def of_control(tiny, world, ranker, factor: float, design: str, *, until_ms: int):
    """What control's users were offered and what it cost, in a test against an arm that bids so much."""
    seen, split = Ticks(), assigned(design, world)
    arms = ranker, ranker._replace(name="loud", bid_factor=factor)
    state = new_state(tiny, world, budget_share=0.2)
    result = served(tiny, world, arms, split, seen, days=1, state=state)
    columns = []
    for tick in seen.ticks:
        requests, shown = tick.scored.requests, tick.shown
        own = (split.of_unit[requests.user] == 0) & (requests.time_ms < until_ms)
        columns.append(
            [
                requests.id[own], tick.scored.pctr[own], tick.offers.bid[own], shown.ad[own], shown.price_micros[own],
                shown.billed_micros[own], shown.outcomes.clicked[own],
            ]
        )  # fmt: skip
    n = len(world.population.campaigns.bid_usd)
    return (
        [np.concatenate(c) for c in zip(*columns, strict=True)],
        state.ledger.remaining[:n],
        result.spending.multiplier[:, :n],
    )


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_until_features_are_shared_again_an_arm_changes_nothing_for_the_other(tiny, world, ranker):
    """The first publishing comes after an hour; then control's models see the clicks of the other arm."""
    until = tiny.features.publish_minutes * HOUR_MS // 60
    quiet, loud = (of_control(tiny, world, ranker, factor, "budgets", until_ms=until)[0] for factor in (1.0, 3.0))

    assert len(quiet[0]) > 20
    assert same(quiet, loud)


def test_features_are_all_that_arms_with_budgets_of_their_own_share(tiny, world, ranker):
    """With a ranker that looks at users' own orders alone, control's day is the same to the micro; not so on shared budgets."""
    blind = tiny.first_ranker.model_copy(
        update={
            "click": tiny.first_ranker.click.model_copy(update={"weights": {"known_orders": 0.6}}),
            "conversion": tiny.first_ranker.conversion.model_copy(update={"weights": {}}),
        }
    )
    own = first_ranker(tiny.model_copy(update={"first_ranker": blind}))
    by_design = {
        design: [of_control(tiny, world, own, factor, design, until_ms=DAY_MS) for factor in (1.0, 3.0)]
        for design in ("budgets", "users")
    }
    (quiet, left, pace), (loud, left_too, pace_too) = by_design["budgets"]

    assert len(quiet[0]) > 500
    assert same(quiet, loud)
    assert (left == left_too).all() and (left < world.population.campaigns.daily_budget_usd * 1e6).any()
    assert (pace == pace_too).all() and (pace < 1).any()
    assert not same(by_design["users"][0][0], by_design["users"][1][0])


def test_orders_of_the_log_that_are_charged_are_those_of_campaigns_that_pay_by_order(split_run, world):
    _, _, _, _, pending = split_run
    by_order = world.population.campaigns.pricing[pending["campaign"]] == PRICINGS.index("cpa")

    assert (pending["price_micros"] > 0)[by_order & pending["attributed"]].any()
    assert (pending["price_micros"] == 0)[~(by_order & pending["attributed"])].all()
