"""The designs of an experiment with two arms, and a few days under one of them."""

import numpy as np

from marketplace.assignment import (
    Assignment,
    ramp,
    split_campaigns,
    split_clusters,
    split_users,
    split_visits,
    switchback,
)
from marketplace.counters import NAMES, Counters, new_counters
from marketplace.market import first_ranker
from marketplace.simulate import simulate
from marketplace.state import new_state

DESIGNS = "users", "budgets", "sessions", "requests", "ramp", "switchback", "clusters", "advertisers"
SHARED = tuple(design for design in DESIGNS if design != "budgets")  # arms draw on the same budgets


def assigned(design: str, world, *, first_day: int = 0, seed: int = 5, shares=(0.5, 0.5)) -> Assignment:
    """Two days; of the ramp, a day at a fifth and a day at half; of the switchback, blocks of four hours."""
    n, region = len(world.population.users.region), world.population.users.region
    makers = {
        "users": lambda: split_users(n, shares, seed),
        "budgets": lambda: split_users(n, shares, seed, budgets=True),
        "sessions": lambda: split_visits(n, shares, seed, sessions=True),
        "requests": lambda: split_visits(n, shares, seed, sessions=False),
        "ramp": lambda: ramp(n, shares, [(1, 0.2), (1, 0.5)], first_day, seed),
        "switchback": lambda: switchback(n, shares, first_day, 2, 240, 0, seed),
        "clusters": lambda: split_clusters(region, shares, seed),
        "advertisers": lambda: split_campaigns(len(world.population.campaigns.bid_usd), shares, seed),
    }
    return makers[design]()


def other_ranker(scenario):
    """An arm that ranks and bids unlike the first ranker."""
    config = scenario.first_ranker
    click = config.click.model_copy(update={"intercept": -2.0, "weights": {"known_orders": 1.0}})
    other = config.model_copy(update={"click": click})
    return first_ranker(scenario.model_copy(update={"first_ranker": other}))._replace(name="other", bid_factor=1.3)


def served(scenario, world, arms, assignment, recorder, *, first_day=0, days=2, state=None, **settings):
    """What came of it."""
    state = state or new_state(scenario, world)
    return simulate(
        scenario, world, arms, assignment, state, recorder, first_day=first_day, days=days, threads=1, **settings
    )


def counted(rows, population, **columns) -> Counters:
    """Counters of these columns (row, amount), and of nothing else; all users came."""
    out = new_counters(rows, population, np.zeros(len(population.campaigns.bid_usd), np.bool_))
    for name, (row, amount) in columns.items():
        np.add.at(out.sums[:, NAMES.index(name)], row[row >= 0], np.broadcast_to(amount, row.shape)[row >= 0])
    out.came[:] = True
    return out
