"""Interference in closed form: what a split of users reads where budgets are shared, and a split of budgets where they are not.

Demand d_c is given: what campaign c would spend in a day without a budget, as many small charges. A treatment raises every
charge by the same factor f. In a world of its own an arm spends sum min(f d_c, B_c). Arms that share a budget divide it f : 1,
whenever it runs out: users read f; an arm with half of the users and half of the budget spends half of what its world does.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from marketplace.assignment import split_users
from marketplace.experiment import Pace, complete
from marketplace.ledger import open_ledger
from marketplace.orders import no_orders
from marketplace.runs import new_run
from marketplace.scenario import load_scenario
from marketplace.study import run_study
from synth import draws
from synth.draws import Cause
from synth.types import DAY_MS

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
CHARGE = 1_000  # micros
DEMAND = np.concatenate([np.linspace(0.6, 0.9, 20), np.linspace(1.2, 3.0, 20)])
FACTOR = 1.1


def spent(campaign, arm, due_by_arm, budget, *, budgets):
    """(arms,) micros that arms spend when these requests come one after another; `arm` and `campaign` are (n,) each."""
    ledger, account = open_ledger(np.asarray(budget, np.int64)), np.asarray(campaign, np.int32)
    if budgets:
        ledger, account = ledger.split((0.5, 0.5)), arm.astype(np.int32) * np.int32(len(budget)) + account
    ledger.refill()
    time_ms, due = np.arange(len(arm)), np.asarray(due_by_arm, np.int64)[arm]
    billed, start = np.zeros(len(arm), np.int64), 0
    while start < len(arm):
        done = ledger.settle(time_ms[start:], account[start:, None], due[start:, None], no_orders(), DAY_MS)
        billed[start : start + done.stop] = done.billed[: done.stop, 0]
        start += done.stop
    assert billed.sum() == ledger.billed == ledger.granted - ledger.remaining.sum()
    return np.array([billed[arm == position].sum() for position in (0, 1)])


@st.composite
def fluid_days(draw):
    """Pairs of charges in each campaign, budgets, the charge of treatment, and the order in which campaigns are asked."""
    n = draw(st.integers(1, 8))
    pairs = np.array(draw(st.lists(st.integers(1, 60), min_size=n, max_size=n)))
    budget = 2 * np.array(draw(st.lists(st.integers(1, 60 * CHARGE), min_size=n, max_size=n)))
    order = np.random.default_rng(draw(st.integers(0, 999))).permutation(np.repeat(np.arange(n), 2 * pairs))
    return pairs, budget, draw(st.integers(CHARGE + 1, 2 * CHARGE)), order


def by_turns(campaign):
    """(n,) arms: every campaign's requests go to control and treatment by turns."""
    arm = np.empty(len(campaign), np.int64)
    for own in range(campaign.max() + 1):
        rows = np.flatnonzero(campaign == own)
        arm[rows] = np.arange(len(rows)) % 2
    return arm


@given(fluid_days())
def test_users_who_share_budgets_read_the_rise_of_charges_whoever_runs_out(day):
    """By turns, the two arms of a campaign are never further apart than one charge."""
    pairs, budget, raised, campaign = day

    control, treatment = spent(campaign, by_turns(campaign), (CHARGE, raised), budget, budgets=False)

    assert abs(treatment * CHARGE - control * raised) <= len(pairs) * CHARGE * raised


@given(fluid_days())
def test_budgets_that_are_split_read_the_truth_for_any_spread_of_demands(day):
    pairs, budget, raised, campaign = day

    read = spent(campaign, by_turns(campaign), (CHARGE, raised), budget, budgets=True)

    worlds = [
        spent(campaign, np.zeros(len(campaign), np.int64), (charge,), budget, budgets=False)[0]
        for charge in (CHARGE, raised)
    ]
    closed = [int(np.minimum(2 * pairs * charge, budget).sum()) for charge in (CHARGE, raised)]
    assert worlds == closed
    assert (2 * read).tolist() == closed


def test_half_of_the_budgets_met_makes_a_rise_of_10_percent_one_of_4_3_percent():
    """0.1 x 20 x 0.75 = 1.5 more, over 20 x 0.75 + 20 = 35."""
    truth = np.minimum(FACTOR * DEMAND, 1).sum() / np.minimum(DEMAND, 1).sum() - 1

    assert truth == pytest.approx(1.5 / 35)
    assert truth == pytest.approx(0.0429, abs=5e-5)


@pytest.fixture(scope="module")
def days():
    """Charges a campaign, its budget, and the lifts of 40 days as logs: users split, budgets split."""
    budget = 1_000
    charges = np.rint(DEMAND * budget).astype(np.int64)
    wanted, n = np.repeat(np.arange(40), charges), int(charges.sum())
    due, lifts = (CHARGE, round(FACTOR * CHARGE)), []
    for seed in range(40):
        campaign = wanted[np.argsort(draws.uniform(seed, Cause.ARRIVALS, np.arange(n)))]
        arm = split_users(n, (0.5, 0.5), seed).of_unit.astype(np.int64)
        lifts.append(
            [
                np.diff(np.log(spent(campaign, arm, due, np.full(40, budget * CHARGE), budgets=b)))[0]
                for b in (False, True)
            ]
        )
    return charges, budget, np.array(lifts)


def test_a_random_split_of_users_reads_the_rise_of_charges(days):
    _, _, lifts = days
    error = lifts[:, 0].std(ddof=1) / np.sqrt(len(lifts))

    assert abs(lifts[:, 0].mean() - np.log(FACTOR)) < 4 * error
    assert lifts[:, 0].mean() - 4 * error > np.log1p(1.5 / 35)


def test_a_random_split_of_budgets_reads_the_truth_but_for_days_on_which_chance_exhausts_a_half(days):
    """Of n charges an arm gets a binomial number: what it spends is had exactly, 0.04% off the fluid limit."""
    charges, budget, lifts = days
    error = lifts[:, 1].std(ddof=1) / np.sqrt(len(lifts))

    def expected(factor):
        return sum(
            np.minimum(factor * np.arange(n + 1), budget / 2) @ stats.binom.pmf(np.arange(n + 1), n, 0.5)
            for n in charges
        )

    exact = np.log(expected(FACTOR) / expected(1.0))
    assert abs(lifts[:, 1].mean() - exact) < 4 * error
    assert abs(exact - np.log1p(1.5 / 35)) < 0.0005
    assert lifts[:, 1].mean() + 4 * error < np.log(FACTOR)


@pytest.mark.deep
def test_in_a_full_market_users_read_the_rise_of_bids_and_budgets_the_truth(tmp_path):
    """All pay per impression under first price, so bids 10% up are prices 10% up; about half of the campaigns run out."""
    shares = [
        f"world.campaigns.{name}_share={share}"
        for name, share in (("cpm", 1.0), ("cpa", 0.0), ("cpc", 0.0), ("ocpm", 0.0))
    ]
    arms = [f"experiment.arms.{name}.model=first_ranker" for name in ("control", "treatment")]
    scenario = load_scenario(
        TINY,
        [*shares, *arms, "experiment.arms.treatment.bid_factor=1.1", "auction.mechanism=first_price", "pacing.pacer=none",
         "world.catalogue.stores=120", "world.campaigns.daily_budget_usd=120"],
    )  # fmt: skip

    with new_run(scenario, "design", tmp_path) as draft:
        complete(draft, None, "models", (), Pace(threads=1), lambda what, share: None)
        study = run_study(draft, ("users", "budgets"), 8, None, 1, lambda what, share: None)

    users, budgets = (row for row in study["rows"] if row["metric"] == "CPM")
    error = users["spread"] / np.sqrt(8)
    assert 0 < users["true_lift"] < 0.1
    assert abs(np.log1p(users["lift"]) - np.log(1.1)) < 4 * error
    assert np.log1p(users["bias"]) > 4 * error
    assert abs(np.log1p(budgets["bias"])) < 4 * budgets["spread"] / np.sqrt(8)
