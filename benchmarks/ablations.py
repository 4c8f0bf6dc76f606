"""Does each mechanism of the world matter? A stated statistic with the mechanism on and off, over seeds.

    python benchmarks/ablations.py [SCENARIO] [--users 40_000] [--days 5] [--seeds 5] [--only intent content] [--json FILE]

Every seed solves one market; the mechanism is then switched off and nothing else is changed: the intercepts stay. A statistic
comes from the probabilities behind the log, or from a network trained on the log without its last day and scored on that day.
Shown are the means over seeds, and the mean difference with its 95% interval (Student's t). docs/physics.md quotes the table.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats
from sklearn.metrics import roc_auc_score

from marketplace.assignment import everyone
from marketplace.market import first_ranker, open_market
from marketplace.record import LogRecorder, Tick
from marketplace.scenario import Scenario, load_scenario
from marketplace.schema import log_schema
from marketplace.simulate import simulate
from marketplace.state import new_state
from models.config import NetworkConfig
from models.data import Dataset
from models.log import read_log
from models.predictor import fit
from models.schema import Kind, Schema
from synth.affinity import NEVER
from synth.marginals import Solved
from synth.types import CHECKOUT, DAY_MS, Requests, Truth, Visits
from synth.world import Minds, World, populate, rebuild

Floats = NDArray[np.float64]
_NEW_DAYS = 2  # a store is new so long after its launch


@dataclass(kw_only=True)
class Market:
    """A market's log and what lies behind it."""

    scenario: Scenario
    world: World
    minds: Minds  # at the end
    requests: Requests
    visits: Visits
    ad: NDArray[np.int32]  # (n, s)
    clicked: NDArray[np.bool_]  # (n, s)
    ordered: NDArray[np.bool_]  # (n, s) a checkout follows, however late
    delay_ms: NDArray[np.int64]  # (n, s) to it
    displaced: NDArray[np.bool_]  # (n,)
    truth: Truth
    data: Dataset

    @cached_property
    def shown(self) -> NDArray[np.bool_]:
        return self.ad >= 0

    @cached_property
    def last_day(self) -> Dataset:
        return self.data.between(
            (self.scenario.calendar.log_days - 1) * DAY_MS, self.scenario.calendar.log_days * DAY_MS
        )

    @cached_property
    def network(self):  # type: ignore[no-untyped-def]
        return train(self.data, self.scenario)

    @cached_property
    def network_without_content(self):  # type: ignore[no-untyped-def]
        return train(_bare(self.data), self.scenario)


class Mechanism(NamedTuple):
    """What is switched off, and what it is seen by."""

    name: str
    off: Sequence[str]  # settings
    statistic: str
    measure: Callable[[Market], float]


def main() -> None:
    args = _arguments()
    names = args.only or [m.name for m in MECHANISMS]
    found: dict[str, list[tuple[float, float]]] = {m.name: [] for m in MECHANISMS if m.name in names}
    for seed in range(1, args.seeds + 1):
        settings = _settings(args.users, args.days)
        scenario = load_scenario(args.scenario, settings, seed)
        solved = open_market(scenario)
        base = market(scenario, solved)
        without, at = base, tuple[str, ...]()  # only the last one is kept: a market takes half a gigabyte
        for mechanism in MECHANISMS:
            if mechanism.name not in found:
                continue
            off = tuple(mechanism.off)
            if off != at:
                changed = load_scenario(args.scenario, [*settings, *off], seed)
                world = rebuild(populate(changed.world, seed), _as_asked(solved, changed), [])
                without, at = market(changed, world), off
            found[mechanism.name].append((mechanism.measure(base), mechanism.measure(without)))
            print(seed, mechanism.name, *(f"{x:.4f}" for x in found[mechanism.name][-1]), file=sys.stderr, flush=True)
    rows = [_row(m, np.array(found[m.name])) for m in MECHANISMS if m.name in found]
    _print(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def _as_asked(world: World, scenario: Scenario) -> Solved:
    """What was solved, but for orders without a click, where the scenario asks for none."""
    intercepts = world.intercepts
    if scenario.world.marginals.post_view_rate == 0:
        intercepts = intercepts._replace(post_view=NEVER)
    return world.solved._replace(intercepts=intercepts)


def market(scenario: Scenario, world: World) -> Market:
    """Collect the log of a world under the first ranker."""
    ticks: list[Tick] = []
    state = new_state(scenario, world)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with _Both(folder, log_schema(scenario.world), world, ticks) as recorder:
            simulate(
                scenario, world, (first_ranker(scenario),), everyone(scenario.world.population.users), state, recorder,
                first_day=0, days=scenario.calendar.log_days,
            )  # fmt: skip
            recorder.digest()
        data = read_log(folder / "log", scenario.calendar.log_days * DAY_MS)
    shown = [tick.shown for tick in ticks]
    delay = np.concatenate([s.outcomes.delay_ms[:, :, CHECKOUT] for s in shown])
    return Market(
        scenario=scenario, world=world, minds=state.minds, requests=Requests.stack([t.scored.requests for t in ticks]),
        visits=Visits.stack([t.scored.visits for t in ticks]), ad=np.concatenate([s.ad for s in shown]),
        clicked=np.concatenate([s.outcomes.clicked for s in shown]), ordered=delay >= 0, delay_ms=delay,
        displaced=np.concatenate([t.displaced for t in ticks]), truth=Truth.stack([s.truth for s in shown]), data=data,
    )  # fmt: skip


class _Both(LogRecorder):
    """Writes the log and keeps the ticks."""

    def __init__(self, folder: Path, schema: Schema, world: World, ticks: list[Tick]) -> None:
        super().__init__(folder, schema, world.population.content, 0.0, 0)
        self.ticks = ticks

    def tick(self, tick: Tick) -> None:
        super().tick(tick)
        self.ticks.append(tick)


def train(data: Dataset, scenario: Scenario):  # type: ignore[no-untyped-def]
    """A network trained on all days but the last."""
    days = data.between(0, (scenario.calendar.log_days - 1) * DAY_MS)
    return fit(days, NetworkConfig(kind="network", epochs=2), seed=scenario.seed, threads=2)


def auc(network, data: Dataset, rows=None) -> float:  # type: ignore[no-untyped-def]
    """Of clicks, over the shown ads at `rows` (n, s) of a log."""
    chosen = data.shown if rows is None else data.shown & rows
    return float(roc_auc_score(data.click[chosen], network.logits(data.batch)[0][chosen]))


# statistics ---------------------------------------------------------------------------------------------------------------


def network_auc(m: Market) -> float:
    return auc(m.network, m.last_day)


def shuffled_order(m: Market) -> float:
    """AUC lost on requests with two views or more, when each session's views are put in any order."""
    return _lost(m, least=2, swap=_in_any_order)


def swapped_sessions(m: Market) -> float:
    """AUC lost on requests with a view, when the views are those of another session."""
    return _lost(m, least=1, swap=_of_another)


def _lost(m: Market, least: int, swap) -> float:  # type: ignore[no-untyped-def]
    data = m.last_day
    some = data.take(np.flatnonzero(np.diff(data.batch.lists[1].offsets) >= least))
    history, *views = some.batch.lists[:3]  # stores looked at, and their dishes
    rng = np.random.default_rng(m.scenario.seed)
    mixed = replace(some, batch=replace(some.batch, lists=(history, *swap(views, rng), *some.batch.lists[3:])))
    return auc(m.network, some) - auc(m.network, mixed)


def _in_any_order(lists, rng):  # type: ignore[no-untyped-def]
    row = np.repeat(np.arange(len(lists[0])), np.diff(lists[0].offsets))
    order = np.lexsort((rng.random(len(row)), row))  # each list's values stay its own
    return [replace(values, values=values.values[order]) for values in lists]


def _of_another(lists, rng):  # type: ignore[no-untyped-def]
    rows = rng.permutation(len(lists[0]))
    return [values.take(rows) for values in lists]


def usual_daypart(m: Market) -> float:
    """Orders per impression at known stores, in the user's usual part of the day over outside of it."""
    p = m.truth.examination * m.truth.click * m.truth.cart * m.truth.checkout
    usual = m.world.population.users.daypart[m.requests.user] == m.requests.time_ms // (4 * 3_600_000) % 6
    known = m.truth.known & m.shown
    return float(p[known & usual[:, None]].mean() / p[known & ~usual[:, None]].mean())


def renewed(m: Market) -> float:
    """Click probability at stores ordered from more than 14 days ago over those of the last 2 days."""
    population = m.world.population
    store = population.store_of(m.ad)
    habits = population.habits
    same = habits.store[m.requests.user][:, None, :] == store[:, :, None]
    last = (habits.last_ms[m.requests.user][:, None, :] * same).sum(axis=2)
    since = m.requests.time_ms[:, None] - last
    known = (
        same.any(axis=2) & m.shown & (m.requests.time_ms[:, None] < DAY_MS)
    )  # orders since the start are not looked up
    long, short = known & (since > 14 * DAY_MS), known & (since < 2 * DAY_MS)
    return float(m.truth.click[long].mean() / m.truth.click[short].mean())


def explorers(m: Market) -> float:
    """Click probability at unknown stores, of the quarter of users most given to exploring over the least given."""
    taste = m.world.population.users.exploration[m.requests.user]
    low, high = np.quantile(m.world.population.users.exploration, [0.25, 0.75])
    unknown = m.shown & ~m.truth.known
    most, least = unknown & (taste > high)[:, None], unknown & (taste < low)[:, None]
    return float(m.truth.click[most].mean() / m.truth.click[least].mean())


def uncrossed(m: Market) -> float:
    """AUC of clicks lost by who knows every probability but the interaction, on the last day."""
    rows = np.flatnonzero(m.requests.time_ms >= (m.scenario.calendar.log_days - 1) * DAY_MS)
    tastes = m.world.population.tastes
    blind = tastes._replace(mix=tastes.mix._replace(weight=0.0))
    other = replace(m.world, population=replace(m.world.population, tastes=blind))
    clicked = m.clicked[rows][m.shown[rows]]
    full, without = (_click_probability(world, m, rows) for world in (m.world, other))
    return float(roc_auc_score(clicked, full) - roc_auc_score(clicked, without))


def stale(m: Market) -> float:
    """AUC of clicks lost by who knows every probability, but appeal and season of another fortnight, on the last day.

    Two points of appeal, and half a season, away.
    """
    rows = np.flatnonzero(m.requests.time_ms >= (m.scenario.calendar.log_days - 1) * DAY_MS)
    tastes = m.world.population.tastes
    drift = tastes.drift
    away = drift._replace(
        points=np.roll(drift.points, -2, axis=0), cos_phase=-drift.cos_phase, sin_phase=-drift.sin_phase
    )
    other = replace(m.world, population=replace(m.world.population, tastes=tastes._replace(drift=away)))
    clicked = m.clicked[rows][m.shown[rows]]
    now, then = (_click_probability(world, m, rows) for world in (m.world, other))
    return float(roc_auc_score(clicked, now) - roc_auc_score(clicked, then))


def _click_probability(world: World, m: Market, rows) -> Floats:  # type: ignore[no-untyped-def]
    truth = world.respond(m.requests.take(rows), m.visits.need[rows], m.ad[rows], m.minds)[1]
    return (truth.examination * truth.click)[m.shown[rows]].astype(np.float64)


def content_gain(*, new: bool) -> Callable[[Market], float]:
    """AUC that content vectors add for stores launched in the last days, or for those open from the start."""

    def measure(m: Market) -> float:
        stores = m.world.population.stores
        data = m.last_day
        store = data.batch.ads.categorical[np.maximum(data.batch.row, 0), 0]
        launch = stores.launch_ms[store]
        start = (m.scenario.calendar.log_days - 1) * DAY_MS
        rows = launch > start - _NEW_DAYS * DAY_MS if new else launch == 0
        return auc(m.network, data, rows) - auc(m.network_without_content, _bare(data), rows)

    return measure


def _bare(data: Dataset) -> Dataset:
    """The log without content vectors."""
    tables = {
        name: columns for name, columns in data.schema.tables.items() if all(c.kind is not Kind.VECTOR for c in columns)
    }
    ads = replace(data.batch.ads, vector=np.empty((len(data.batch.ads.dense), 0), np.float32))
    return replace(data, schema=Schema(tables=tables), batch=replace(data.batch, ads=ads))


def wrong_pairs(m: Market) -> float:
    """Pairs of ads that plain click rates put in the wrong order, less those that clicks over expected examinations do.

    Ads of 100 impressions and more; the right order is that of the mean click probability given examination.
    """
    ad, row = m.ad[m.shown], np.nonzero(m.shown)[1]
    n_ads = len(m.world.population.ads.store)

    def total(weight: Floats) -> Floats:
        return np.bincount(ad, weight, minlength=n_ads)

    looks = np.asarray(m.scenario.world.feed.slot_effect)[row]
    shown, clicks = total(np.ones(len(ad))), total(m.clicked[m.shown])
    enough = shown >= 100
    true = (total(m.truth.click[m.shown]) / np.maximum(shown, 1))[enough]
    naive, fair = (clicks / np.maximum(shown, 1))[enough], (clicks / np.maximum(total(looks), 1e-9))[enough]
    return _wrong(naive, true) - _wrong(fair, true)


def _wrong(guess: Floats, true: Floats) -> float:
    return float((1 - stats.kendalltau(guess, true).statistic) / 2)


def click_against_order(m: Market) -> float:
    """Change of clicks per impression when the four candidates most likely to order are shown, not those most likely to click."""
    by_click, by_order = _best_four(m)
    return float(by_order[0] / by_click[0] - 1)


def order_against_click(m: Market) -> float:
    """Change of orders per impression, likewise."""
    by_click, by_order = _best_four(m)
    return float(by_order[1] / by_click[1] - 1)


def _best_four(m: Market) -> tuple[tuple[float, float], tuple[float, float]]:
    world, some = m.world, m.requests.take(np.arange(0, len(m.requests), 10))
    pool = world.population.pool(np.ones(len(world.population.ads.store), np.bool_))
    visits = world.browse(some, m.minds)
    ad = world.candidates(some, visits.query, m.minds, pool)
    truth = world.respond(some, visits.need, ad, m.minds)[1]
    click = np.where(ad >= 0, truth.click, 0)
    order = click * truth.cart * truth.checkout

    def rates(score: Floats) -> tuple[float, float]:
        best = np.argsort(-score, axis=1)[:, :4]
        return tuple(float(np.take_along_axis(p, best, axis=1).mean()) for p in (click, order))  # type: ignore[return-value]

    return rates(click), rates(order)


def retrieved(m: Market) -> float:
    """Mean click probability of the best four candidates."""
    return _best_four(m)[0][0]


def incremental(m: Market) -> float:
    """Share of the orders after ads that come on top of those placed without ads."""
    return float(1 - m.displaced.sum() / m.ordered.sum())


def unclicked(m: Market) -> float:
    """Share of the orders after ads that follow no click."""
    return float((m.ordered & ~m.clicked).sum() / m.ordered.sum())


def late(m: Market) -> float:
    """Share of the orders of the last day's clicks that the log does not hold when that day ends."""
    days = m.scenario.calendar.log_days
    young = m.ordered & (m.requests.time_ms >= (days - 1) * DAY_MS)[:, None]
    come = m.requests.time_ms[:, None] + m.delay_ms < days * DAY_MS
    return float((young & ~come).sum() / young.sum())


def driven_away(m: Market) -> float:
    """Visits of the tenth of the users most tired by the ads they saw, over what they would be if they were rested."""
    fatigue = m.minds.fatigue
    tired = np.argsort(-fatigue.level)[: len(fatigue.level) // 10]
    end = m.scenario.calendar.log_days
    rested = m.minds._replace(fatigue=fatigue._replace(level=np.zeros_like(fatigue.level)))
    as_is, fresh = (m.world.requests_on(end, minds) for minds in (m.minds, rested))
    return float(np.isin(as_is.user, tired).sum() / np.isin(fresh.user, tired).sum())


def heavy_users(m: Market) -> float:
    """Share of the requests that the most active tenth of the users makes."""
    count = np.sort(np.bincount(m.requests.user, minlength=len(m.world.population.users.region)))[::-1]
    return float(count[: len(count) // 10].sum() / count.sum())


def on_time(m: Market) -> float:
    """Share of the requests that come in the user's usual part of the day."""
    return float(
        (m.world.population.users.daypart[m.requests.user] == m.requests.time_ms // (4 * 3_600_000) % 6).mean()
    )


def young(m: Market) -> float:
    """Share of the impressions of stores that opened after the start."""
    launch = m.world.population.stores.launch_ms[m.world.population.store_of(m.ad)]
    return float((launch > 0)[m.shown].mean())


def churned(m: Market) -> float:
    """Share of the ads on the air at noon of the first day that are not on the air a week later."""
    noon = m.world.population.live(DAY_MS // 2)
    return float(1 - m.world.population.live(DAY_MS // 2 + 7 * DAY_MS)[noon].mean())


MECHANISMS = (
    Mechanism("taste", ("world.taste.match=0",), "AUC of the network, clicks", network_auc),
    Mechanism("activity", ("world.population.activity_sigma=0",), "share of requests by the top tenth of users", heavy_users),
    Mechanism("daypart of users", ("world.traffic.regularity=0",), "share of requests in the usual daypart", on_time),
    Mechanism("need", ("world.intent.weight=0",), "AUC lost by swapping sessions' views", swapped_sessions),
    Mechanism("need that changes", ("world.intent.weight=0",), "AUC lost by shuffling a session's views", shuffled_order),
    Mechanism("habit daypart", ("world.habit.daypart=0",), "order rate in over out of the usual daypart", usual_daypart),
    Mechanism("renewal", ("world.habit.renewal=0",), "click rate 14 days over 2 days after an order", renewed),
    Mechanism("exploration", ("world.habit.exploration=0",), "click rate at new stores, explorers over others", explorers),
    Mechanism(
        "interaction", ("world.interaction.weight=0",), "AUC of all probabilities over all but these", uncrossed
    ),
    Mechanism("drift", ("world.drift.appeal=0", "world.drift.season=0"), "AUC lost by knowledge 14 days old", stale),
    Mechanism(
        "content, new stores", ("world.content.text_noise=50", "world.content.visual_noise=50"),
        "AUC gained by content vectors", content_gain(new=True),
    ),
    Mechanism(
        "content, old stores", ("world.content.text_noise=50", "world.content.visual_noise=50"),
        "AUC gained by content vectors", content_gain(new=False),
    ),
    Mechanism(
        "content, new less old", ("world.content.text_noise=50", "world.content.visual_noise=50"),
        "the first less the second", lambda m: content_gain(new=True)(m) - content_gain(new=False)(m),
    ),
    Mechanism(
        "purchase appeal, clicks", ("world.taste.purchase_appeal=0", "world.taste.quality=0"),
        "CTR, ranking by orders instead of clicks", click_against_order,
    ),
    Mechanism(
        "purchase appeal, orders", ("world.taste.purchase_appeal=0", "world.taste.quality=0"),
        "iCVR, ranking by orders instead of clicks", order_against_click,
    ),
    Mechanism("post-view", ("world.marginals.post_view_rate=0",), "share of ad orders without a click", unclicked),
    Mechanism("slots", ("world.feed.slot_effect=[1,1,1,1]",), "pairs of ads misordered by CTR, over COEC", wrong_pairs),
    Mechanism(
        "delay", ("world.marginals.delay=[{hours=0.1,share=0.458},{hours=0.3,share=0.791},{hours=1,share=0.982}]",),
        "share of the last day's orders not yet seen", late,
    ),
    Mechanism("fatigue", ("world.fatigue.leaving=0",), "visits of the most tired tenth, over rested", driven_away),
    Mechanism("substitution", ("world.organic.substitution=0",), "share of ad orders that are incremental", incremental),
    Mechanism("launches", ("world.drift.launch_share=0",), "share of impressions of young stores", young),
    Mechanism(
        "schedules", ("world.campaigns.flighted_share=0",), "share of ads gone after a week", churned,
    ),
    Mechanism("retrieval", ("world.retrieval.quality=0",), "click rate of the best four candidates", retrieved),
)  # fmt: skip


def _settings(users: int, days: int) -> list[str]:
    """A smaller market with more launches, post-view orders and longer sessions of needs that change more often."""
    return [
        f"world.population.users={users}", "world.population.regions=8", "world.catalogue.stores=1400",
        "world.campaigns.count=160", f"calendar.log_days={days}", f"world.campaigns.daily_budget_usd={users / 1100}",
        "world.drift.launch_share=0.4", f"world.drift.launch_days={days}", "world.marginals.post_view_rate=0.001",
        "world.traffic.requests_per_session=4", "world.marginals.sessions_per_day=0.19", "world.intent.switch=0.5",
    ]  # fmt: skip


def _row(mechanism: Mechanism, values: Floats) -> dict[str, object]:
    on, off = values.T
    difference = on - off
    half = stats.t.ppf(0.975, len(on) - 1) * stats.sem(difference) if len(on) > 1 else np.nan
    return {
        "mechanism": mechanism.name, "off": " ".join(mechanism.off), "statistic": mechanism.statistic, "on": on.mean(),
        "without": off.mean(), "difference": difference.mean(), "low": difference.mean() - half,
        "high": difference.mean() + half, "seeds": len(on),
    }  # fmt: skip


def _print(rows: list[dict[str, object]]) -> None:
    table = Table("mechanism", "statistic", "on", "off", "difference, 95% interval", box=None)
    for row in rows:
        interval = "{difference:+.4f} [{low:+.4f}, {high:+.4f}]".format(**row)  # type: ignore[arg-type]
        table.add_row(
            str(row["mechanism"]), str(row["statistic"]), f"{row['on']:.4f}", f"{row['without']:.4f}", interval
        )
    Console(width=160).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path, nargs="?", default=Path("scenarios/delivery.toml"))
    parser.add_argument("--users", type=int, default=40_000)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="MECHANISM")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
