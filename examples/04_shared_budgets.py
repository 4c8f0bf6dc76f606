"""Shared budgets: where users are split, a treatment that spends 10% faster takes money from control, and the test reads +10%."""

import numpy as np

from marketplace.assignment import Assignment, everyone, split_users
from marketplace.ledger import open_ledger
from marketplace.orders import no_orders
from synth import draws
from synth.draws import Cause
from synth.types import DAY_MS

BUDGET = 1_000_000_000  # micros a day of each campaign
CHARGE = 500_000  # micros of a request, where control serves it
FACTOR = 1.1  # of charges, in treatment
DAYS = 60
DEMAND = np.concatenate([np.linspace(0.6, 0.9, 20), np.linspace(1.2, 3.0, 20)])  # budgets that would be spent in a day

# demand is many small charges in a random order over the day, each of another user; a budget meets it until it runs out
campaigns = len(DEMAND)
wanted = np.repeat(np.arange(campaigns, dtype=np.int32), np.rint(DEMAND * BUDGET / CHARGE).astype(np.int64))
n = len(wanted)


def spent(day: int, split: Assignment, factor: tuple[float, ...]) -> np.ndarray:
    """(arms,) micros per user on a day; `factor` is of the charges in each arm."""
    campaign = wanted[np.argsort(draws.uniform(day, Cause.ARRIVALS, np.arange(n)))]
    time_ms = np.sort((DAY_MS * draws.uniform(day, Cause.ARRIVAL_TIME, np.arange(n))).astype(np.int64))
    arm = split.of_unit
    due = np.rint(CHARGE * np.array(factor)).astype(np.int64)[arm]
    ledger, account = open_ledger(np.full(campaigns, BUDGET)), campaign
    if split.of_account is not None:
        ledger, account = ledger.split(split.shares[0]), arm * np.int32(campaigns) + campaign
    ledger.refill()
    billed, start = np.zeros(n), 0
    while start < n:
        done = ledger.settle(time_ms[start:], account[start:, None], due[start:, None], no_orders(), DAY_MS)
        billed[start : start + done.stop] = done.billed[: done.stop, 0]
        start += done.stop  # a budget ran out, or the day is over
    return np.bincount(arm, billed) / np.bincount(arm)


def lift_in_two_worlds(day: int) -> float:
    before, after = (spent(day, everyone(n), (factor,))[0] for factor in (1.0, FACTOR))
    return after / before - 1


def lift_read(day: int, *, budgets: bool) -> float:
    before, after = spent(day, split_users(n, (0.5, 0.5), day, budgets=budgets), (1.0, FACTOR))
    return after / before - 1


true = np.minimum(FACTOR * DEMAND, 1).sum() / np.minimum(DEMAND, 1).sum() - 1
print(f"{'revenue':<16}{'lift':>8}{'standard error':>16}{'closed form':>13}")
for name, lift, expected in (
    ("truth", lift_in_two_worlds, true), ("users split", lambda day: lift_read(day, budgets=False), FACTOR - 1),
    ("budgets split", lambda day: lift_read(day, budgets=True), true),
):  # fmt: skip
    lifts = [lift(day) for day in range(DAYS)]
    print(f"{name:<16}{np.mean(lifts):>+8.2%}{np.std(lifts, ddof=1) / np.sqrt(DAYS):>16.2%}{expected:>+13.2%}")
