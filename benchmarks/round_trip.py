"""Round trip: make a market whose settings are known, fit its log, and count how often an interval holds the truth.

    python benchmarks/round_trip.py [--runs 200] [--workers 2] [--json FILE]

One market is solved. Each run then has other people and other luck, and is served until its log has some tens of thousands of
impressions; in the runs `people`, stores and campaigns stay, in the runs `worlds` they are drawn anew, too. An interval is judged
where its claim lies: one for the users that might have come in `people`, one for the stores or campaigns that might have been in
`worlds`. The truth is the setting where the parameter is one. Where a scenario asks for a figure and the world is solved for it
(a click rate), it is the expectation under the true probabilities behind the impressions of all runs together.

Of 200 runs of a perfect interval, 93% to 97% cover in four of five tries; the interval of the share is printed beside it.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import multiprocessing
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from time import perf_counter
from typing import Literal, NamedTuple

import duckdb
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

from fitting.estimates import estimates_of
from fitting.source import connected, open_log
from fitting.types import Estimate
from marketplace.as_log import standard_tables
from marketplace.assignment import everyone
from marketplace.market import first_ranker, open_market
from marketplace.record import LogRecorder
from marketplace.scenario import Scenario, load_scenario
from marketplace.schema import log_schema
from marketplace.simulate import simulate
from marketplace.state import new_state
from synth.delay import solve_delay
from synth.items import make_shelf
from synth.marginals import Solved
from synth.world import Population, World, make_people, populate, rebuild

TINY = Path(__file__).parents[1] / "scenarios" / "tiny.toml"
USERS, DAYS = 1_500, 14
# budgets that never run out, users who neither tire nor drop out, and one law of delays: what is fitted is all that there is
MARKET = (
    f"world.population.users={USERS}", "world.population.regions=2", f"calendar.log_days={DAYS}", "log.randomised_share=0.3",
    "world.campaigns.daily_budget_usd=10000", "world.campaigns.flighted_share=0", "world.campaigns.daypart_share=0",
    "world.campaigns.platform_share=0", "world.campaigns.cohort_share=0", "world.drift.launch_share=0",
    "world.drift.season=0", "world.drift.appeal=0", "world.fatigue.leaving=0", "world.fatigue.blindness=0",
    "world.delay.campaign_sigma=0", "world.marginals.sign_up_rate=0.1", "world.marginals.sessions_per_day=0.8",
    "world.traffic.weekday_weight=[1.0, 0.9, 0.9, 1.0, 1.2, 1.4, 1.3]",
)  # fmt: skip
Design = Literal["people", "worlds"]
_OF_WORLDS = (
    "spread.ctr.item", "spread.cvr.item", "world.catalogue.price_sigma", "world.campaigns.", "bids.", "prices.",
)  # fmt: skip


class Fact(NamedTuple):
    """What is true: `above` over `below`, summed over the runs; a setting is itself over 1."""

    above: float
    below: float = 1.0


def market() -> Scenario:
    """The market that is known."""
    return load_scenario(TINY, MARKET)


@cache
def solved(scenario_json: str) -> World:
    """The market with its intercepts, solved once in a process."""
    return open_market(Scenario.model_validate_json(scenario_json))


def another(world: World, design: Design, luck: int) -> World:
    """A market with the same intercepts: other people and luck, and with the design `worlds` other stores and campaigns."""
    own = world.population
    if design == "worlds":
        return rebuild(populate(own.config, 10_000 + luck), world.solved, [])
    return rebuild(_people(own, luck * USERS), world.solved, []).with_luck(10_000 + luck)


def _people(own: Population, first: int) -> Population:
    """The same market with the users `first` and on of the many that might have come."""
    n_dishes = own.config.catalogue.cuisines * own.config.catalogue.dishes_per_cuisine
    shelf = make_shelf(own.stores, own.config.population.regions, n_dishes, open_now=True)
    users, habits = make_people(own.config, shelf, own.cuisine_style, own.seed, first, first + USERS)
    tastes = own.tastes._replace(
        user_taste=users.taste, user_price_sensitivity=users.price_sensitivity, user_exploration=users.exploration,
        user_daypart=users.daypart, user_platform=users.platform, mix=own.tastes.mix._replace(user=users.mix),
    )  # fmt: skip
    return replace(own, users=users, habits=habits, tastes=tastes)


def write_log(scenario: Scenario, world: World, folder: Path) -> None:
    """Serve the market's days and keep the log and the truth behind it."""
    ranker, content = first_ranker(scenario), world.population.content
    with LogRecorder(folder, log_schema(scenario.world), content, 0.0, scenario.seed) as recorder:
        simulate(
            scenario, world, (ranker,), everyone(USERS), new_state(scenario, world), recorder, first_day=0,
            days=scenario.calendar.log_days, threads=1,
        )  # fmt: skip
        recorder.digest()


def settings(scenario: Scenario) -> dict[str, Fact]:
    """The truth of what is set."""
    traffic, world = scenario.world.traffic, scenario.world
    hour, weekday = (np.asarray(w) / np.mean(w) for w in (traffic.hour_weight, traffic.weekday_weight))
    facts = {f"world.traffic.hour_weight[{i}]": w for i, w in enumerate(hour)}
    facts |= {f"world.traffic.weekday_weight[{i}]": w for i, w in enumerate(weekday)}
    facts |= {f"world.feed.slot_effect[{i}]": e for i, e in enumerate(world.feed.slot_effect) if i}
    facts |= {
        "world.traffic.requests_per_session": traffic.requests_per_session,
        "world.traffic.page_seconds": traffic.page_seconds,
        "world.population.activity_sigma": world.population.activity_sigma,
        "world.population.users": world.population.users,
        "world.catalogue.basket_sigma": world.catalogue.basket_sigma,
        "world.catalogue.price_sigma": world.catalogue.price_sigma,
        "world.delay.cart_minutes": world.delay.cart_minutes,
        "world.delay.sign_up_hours": world.delay.sign_up_hours,
        "world.campaigns.count": world.campaigns.count,
        "world.campaigns.stores_per_campaign": world.campaigns.stores_per_campaign,
    }
    law = solve_delay(world.marginals.delay)
    facts |= {f"delay.checkout.{name}": value for name, value in law._asdict().items()}
    facts |= {f"world.marginals.delay[{i}].share": point.share for i, point in enumerate(world.marginals.delay)}
    return {name: Fact(float(value)) for name, value in facts.items()}


def expected(folder: Path, solution: Solved, sessions_per_day: float) -> dict[str, Fact]:
    """The truth of what a world is solved for, from the probabilities behind a run's impressions.

    Whether a user knew a store is asked of the log: a sign-up makes it known in the world, but is no order.
    """
    with duckdb.connect(config={"threads": 1}) as db:
        (row,) = db.sql(
            """WITH t AS (
                SELECT examination * t.click AS p_click, p_click * t.cart AS p_cart, p_cart * t.checkout AS p_order,
                    p_click * t.sign_up AS p_sign_up, exp(i.store_price) AS price, i.known_orders > 0 AS known
                FROM read_parquet(?) t JOIN read_parquet(?) i ON i.request = t.request AND i.slot = t.slot
            ) SELECT count(*) AS n, sum(p_click) AS clicks, sum(p_cart) AS carts, sum(p_order) AS orders,
                sum(p_sign_up) AS sign_ups, sum(p_order * price) AS value, sum(p_order * known::INT) AS again,
                sum(CASE WHEN known THEN 1 - p_order ELSE 0 END) AS not_again FROM t""",
            params=[str(folder / "truth/impressions/*.parquet"), str(folder / "log/impressions/*.parquet")],
        ).to_arrow_table().to_pylist()  # fmt: skip
    n, clicks, orders = row["n"], row["clicks"], row["orders"]
    facts = {
        "ctr": (clicks, n), "cvr": (orders, clicks), "cart_rate": (row["carts"], clicks),
        "sign_up_rate": (row["sign_ups"], clicks), "basket_usd": (solution.basket_usd * row["value"], orders),
        "repurchase_positives": (row["again"], orders), "repurchase_negatives": (row["not_again"], n - orders),
    }  # fmt: skip
    facts["sessions_per_day"] = (
        solution.visits * sessions_per_day,
        1.0,
    )  # the users of the run it was solved on came more
    return {f"world.marginals.{name}": Fact(*fact) for name, fact in facts.items()}


def fitted(folder: Path) -> list[Estimate]:
    """What the log says of the market."""
    with connected(threads=1) as con:
        return estimates_of(open_log(con, standard_tables(folder, con)), lambda what, share: None)[1]


class Run(NamedTuple):
    """One round trip."""

    design: Design
    luck: int
    estimates: list[Estimate]
    facts: dict[str, Fact]
    generate_s: float
    fit_s: float


def round_trip(task: tuple[Design, int]) -> Run:
    """Generate and fit once."""
    design, luck = task
    scenario = market()
    base = solved(scenario.model_dump_json())
    with tempfile.TemporaryDirectory() as name:
        started, folder = perf_counter(), Path(name)
        world = another(base, design, luck)
        write_log(scenario.model_copy(update={"seed": 10_000 + luck}), world, folder)
        generated = perf_counter()
        estimates = fitted(folder)
        taken = perf_counter() - generated
        facts = settings(scenario) | expected(folder, base.solved, scenario.world.marginals.sessions_per_day)
    return Run(design, luck, estimates, facts, generated - started, taken)


class Covered(NamedTuple):
    """A parameter over all runs of a design."""

    name: str
    design: Design
    known: bool  # the truth; else it is the mean of the estimates
    truth: float
    mean: float  # of the estimates
    bias: float  # mean less truth, in standard errors of the mean
    width: float  # mean of the intervals
    ratio: float  # of the interval's mean half width over 1.96 standard deviations of the estimates
    covered: int
    runs: int  # with an interval
    share: tuple[float, float, float]  # that covers, and its own 95% interval (Clopper & Pearson 1934)
    below: int  # runs whose interval lies below the truth


def coverage(runs: list[Run]) -> list[Covered]:
    """Per parameter with an interval, in the order of the estimates.

    Where nothing sets a parameter, such as the spread of a rate over users, the mean of its estimates stands for the truth: that
    tells whether the interval is as wide as the estimates are spread, and nothing of bias. What is 0 in all runs is left out.
    """
    facts: dict[tuple[Design, str], list[Fact]] = defaultdict(list)
    found: dict[tuple[Design, str], list[Estimate]] = defaultdict(list)
    for run in runs:
        for name, fact in run.facts.items():
            facts[run.design, name].append(fact)
        for estimate in run.estimates:
            if _judged(estimate, run.design):
                found[run.design, estimate.name].append(estimate)
    rows = []
    for (design, name), own in found.items():
        if not any(estimate.value for estimate in own):
            continue
        told = facts.get((design, name)) or [Fact(float(e.value or 0.0)) for e in own]
        truth = sum(fact.above for fact in told) / sum(fact.below for fact in told)
        rows.append(_covered(name, design, truth, own, known=(design, name) in facts))
    return rows


def _judged(estimate: Estimate, design: Design) -> bool:
    """Whether it has an interval (a count of what was shown has none), and this design is where that is to hold."""
    where = "worlds" if estimate.name.startswith(_OF_WORLDS) else "people"
    return estimate.value is not None and estimate.low != estimate.high and design == where


def _covered(name: str, design: Design, truth: float, own: list[Estimate], *, known: bool) -> Covered:
    value, low, high = (np.array([getattr(e, field) for e in own], float) for field in ("value", "low", "high"))
    n, inside = len(own), int(((low <= truth) & (truth <= high)).sum())
    spread = float(value.std(ddof=1)) if n > 1 else float("nan")
    exact = stats.binomtest(inside, n).proportion_ci(0.95, "exact")
    return Covered(
        name, design, known, truth, float(value.mean()), float((value.mean() - truth) / (spread / n**0.5)) if spread else 0.0,
        float((high - low).mean()), float((high - low).mean() / (2 * 1.96 * spread)) if spread else float("nan"),
        inside, n, (inside / n, exact.low, exact.high), int((high < truth).sum()),
    )  # fmt: skip


def run_all(designs: tuple[Design, ...], runs: int, workers: int) -> list[Run]:
    """All round trips, in the order of their luck."""
    tasks = [(design, luck) for design in designs for luck in range(1, runs + 1)]
    if workers == 1:
        return [round_trip(task) for task in tasks]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(track(pool.map(round_trip, tasks), "round trips", len(tasks), console=Console(stderr=True)))


def main() -> None:
    args = _arguments()
    runs = run_all(args.design or ("people", "worlds"), args.runs, args.workers)
    rows = coverage(runs)
    show(rows, runs)
    if args.json:
        args.json.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")


def show(rows: list[Covered], runs: list[Run]) -> None:
    """Print what was found."""
    console = Console(width=170)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in (
        "parameter",
        "runs of",
        "truth",
        "mean",
        "bias, se",
        "half width / 1.96 sd",
        "cover",
        "95% interval",
        "below",
    ):
        table.add_column(column)
    for row in rows:
        share, low, high = row.share
        table.add_row(
            row.name, row.design, f"{row.truth:.4g}" if row.known else "own mean", f"{row.mean:.4g}", f"{row.bias:+.1f}",
            f"{row.ratio:.2f}",
            f"{row.covered}/{row.runs} {share:.1%}", f"[{low:.1%}, {high:.1%}]", str(row.below),
        )  # fmt: skip
    console.print(table)
    generate, fit = (float(np.mean([getattr(run, field) for run in runs])) for field in ("generate_s", "fit_s"))
    console.print(f"{len(runs)} runs; a run took {generate:.1f} s to generate and {fit:.1f} s to fit")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="of each design")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--design", action="append", choices=("people", "worlds"))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
