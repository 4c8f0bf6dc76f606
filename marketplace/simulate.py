"""Simulate: SimPy processes around the tick. One function serves every design; only here does time move."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import simpy

from auction.types import MICROS
from marketplace.arm import Arm
from marketplace.assignment import Assignment
from marketplace.bids import campaign_terms
from marketplace.cache import Caches
from marketplace.counters import Counters, new_counters
from marketplace.load import Load, new_load, with_bid
from marketplace.online import new_online
from marketplace.orders import in_time, organic_orders, remembered
from marketplace.recall import Recall, new_recall, sample_of, truly_best
from marketplace.record import Recorder, Tick
from marketplace.scenario import Scenario
from marketplace.serve import Scored, score, shortlisted, widths
from marketplace.state import State, pacer_of
from marketplace.stopwatch import Stopwatch
from marketplace.tick import Window, run_tick, spending_of
from synth import draws
from synth.draws import Cause
from synth.fatigue import tire
from synth.habits import record_orders
from synth.retrieval import Pool
from synth.traffic import daypart_share, expected_share, opens_session
from synth.types import (
    CART,
    CHECKOUT,
    DAY_MS,
    DAYPARTS,
    BoolArray,
    FloatArray,
    IntArray,
    Outcomes,
    Requests,
    Truth,
    Visits,
)
from synth.world import Minds, World

_Process = Generator[simpy.Event]
_MINUTE_MS = 60_000
_BLOCK = 512  # requests whose views are drawn at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spending:
    """Spend against plan, one row per pacing interval and account: (t, accounts)."""

    start_ms: IntArray  # (t,)
    spent_usd: FloatArray  # billed, and for CPA the charges expected from the interval's clicks
    planned_usd: FloatArray  # budget x share of the day's expected traffic
    multiplier: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What came of a simulation."""

    counters: Counters
    others: list[Counters]  # by the further assignments
    spending: Spending
    revenue_micros: int
    unbilled_micros: int
    n_requests: int
    wall_s: float
    cpu_s: dict[str, float]  # by stage
    requests_by_arm: dict[str, int]
    sessions_by_arm: dict[str, int]  # by the arm of their first request
    load: Load
    recall: Recall  # of the arms' rankings, where one is a cascade


def simulate(
    scenario: Scenario,
    world: World,
    arms: tuple[Arm, ...],
    assignment: Assignment,
    state: State,
    recorder: Recorder,
    *,
    first_day: int,
    days: int,
    tick_requests: int = 2048,
    threads: int = 2,
    users: int | None = None,
    also: Sequence[Assignment] = (),
    end_day: Callable[[Counters], None] = lambda counters: None,
    progress: Callable[[float], None] = lambda share: None,
) -> Result:
    """Run the market from `state`, which moves on, for `days` days.

    Args:
        arms: Ways of serving, by position.
        assignment: Which arm serves which request.
        recorder: Is told of every tick.
        users: Only users with a lower id come, all where None.
        also: Further assignments to count by, as if requests had been served under them: what equal arms would have read.
        end_day: Is told of the counters as they stand at the end of each day.
        tick_requests: Most requests served at once; changes speed and memory, and nothing else.
        threads: Threads that score requests; likewise.
        progress: Called with the share of the days done.
    """
    started = time.perf_counter()
    billed = state.ledger.billed
    if assignment.of_account is not None:
        state.ledger = state.ledger.split(assignment.shares[0])
        state.pacing = np.concatenate([state.pacing] * assignment.arms)
    with ThreadPoolExecutor(threads) as pool:
        market = _Market(
            scenario=scenario, world=world, arms=arms, assignment=assignment, state=state, recorder=recorder, threads=pool,
            n_threads=threads, first_day=first_day, days=days, tick_requests=tick_requests, users=users, also=also,
            end_day=end_day, progress=progress,
        )  # fmt: skip
        env = simpy.Environment(initial_time=first_day * DAY_MS)
        # at one moment they act in this order, which SimPy keeps: the longer the interval, the earlier it was scheduled
        processes = [process(env) for process in (market.keep_days, market.publish, market.pace, market.serve)]
        for process in processes:
            env.process(process)
        env.run(until=(first_day + days) * DAY_MS)
        for process in processes:
            process.close()  # else it would hold the market, and the market it, until the garbage is collected
        market.end_interval()
        recorder.end_day(first_day + days - 1)
        end_day(market.counters)
    return Result(
        counters=market.counters, others=market.others, spending=market.spending(), revenue_micros=state.ledger.billed - billed,
        unbilled_micros=market.unbilled, n_requests=market.n_requests,
        wall_s=time.perf_counter() - started, cpu_s=dict(market.cpu), requests_by_arm=dict(market.served),
        sessions_by_arm=dict(market.sessions), load=market.load, recall=market.recall,
    )  # fmt: skip


class _Felt(NamedTuple):
    """What users remember of a tick."""

    requests: Requests
    outcomes: Outcomes
    orders: tuple[IntArray, IntArray, IntArray]  # (m,) each: user, store, time


class _Market:
    """The processes of one simulation and what they share."""

    def __init__(
        self, *, scenario: Scenario, world: World, arms: tuple[Arm, ...], assignment: Assignment, state: State,
        recorder: Recorder, threads: Executor, n_threads: int, first_day: int, days: int, tick_requests: int, users: int | None,
        also: Sequence[Assignment], end_day: Callable[[Counters], None], progress: Callable[[float], None],
    ) -> None:  # fmt: skip
        population = world.population
        self.scenario, self.world, self.arms, self.assignment, self.state = scenario, world, arms, assignment, state
        self.recorder, self.threads, self.n_threads, self.tick_requests = recorder, threads, n_threads, tick_requests
        self.first_day, self.days, self.users, self.progress = first_day, days, users, progress
        self.tell = end_day
        self.interval_ms = scenario.pacing.interval_minutes * _MINUTE_MS
        view_ms = int(scenario.auction.view_attribution_days * DAY_MS)
        self.window = Window(int(scenario.auction.attribution_days * DAY_MS), view_ms or -1)
        self.terms = campaign_terms(scenario, world, [arm.bid_factor for arm in arms])
        self.pacer = pacer_of(scenario.pacing)
        self.counters = new_counters(assignment.rows, population, self.terms.tested)
        self.others = [new_counters(a.rows, population, self.terms.tested, a.of_request) for a in also]
        self.today = world.requests_on(first_day, state.minds, 1).rows(0, 0)
        self.markets = 1 if assignment.of_account is None else len(arms)  # that have budgets of their own
        n_campaigns = len(population.campaigns.bid_usd)
        self.spent = np.zeros(len(state.ledger.daily), np.int64)
        self.plan = np.zeros(n_campaigns)
        self.on_air = np.ones((DAYPARTS, n_campaigns), np.bool_)
        self.spent_rows: list[FloatArray] = []
        self.planned_rows: list[FloatArray] = []
        self.multiplier_rows: list[FloatArray] = []
        self.online = new_online(arms, n_campaigns)
        self.caches = Caches(arms, population.users.cohort)
        self.load = new_load(len(arms), max(widths(arms, population.config.feed.candidates)[1]))
        self.recall = new_recall(len(arms))
        self.n_requests = 0
        self.unbilled = 0
        self.served: Counter[str] = Counter()
        self.sessions: Counter[str] = Counter()
        self.cpu: Counter[str] = Counter()

    def keep_days(self, env: simpy.Environment) -> _Process:
        """At midnight, close the day's log, refill the budgets and look up who will come."""
        while True:
            day = env.now // DAY_MS
            if day > self.first_day:
                self.recorder.end_day(day - 1)
                self.tell(self.counters)
            self.state.ledger.refill()
            self.on_air = self.world.population.on_air(day)
            self.today = self.world.requests_on(day, self.state.minds, self.users, self.threads)
            yield env.timeout(DAY_MS)

    def publish(self, env: simpy.Environment) -> _Process:
        """Let models see what has been counted, once per publishing interval."""
        while True:
            self.state.features.publish()
            self.online.publish()
            yield env.timeout(self.scenario.features.publish_minutes * _MINUTE_MS)

    def pace(self, env: simpy.Environment) -> _Process:
        """Move every campaign's multiplier once per pacing interval."""
        while True:
            traffic = self.scenario.world.traffic
            own = daypart_share(traffic) @ self.on_air  # of a day's traffic, what comes while a campaign is on the air
            coming = self.on_air[env.now // (DAY_MS // DAYPARTS) % DAYPARTS] * expected_share(
                traffic, env.now, env.now + self.interval_ms
            )
            self.plan = np.divide(coming, own, out=np.zeros_like(own), where=own > 0)
            yield env.timeout(self.interval_ms)
            self.end_interval()

    def end_interval(self) -> None:
        """Hold the interval's spend against its plan."""
        state, budget = self.state, self.state.ledger.daily / MICROS
        plan = np.tile(self.plan, self.markets)
        self.spent_rows.append(self.spent / MICROS)
        self.planned_rows.append(budget * plan)
        self.multiplier_rows.append(self.pacer.multiplier(state.pacing))
        share = np.divide(self.spent_rows[-1], budget, out=np.zeros_like(budget), where=budget > 0)
        state.pacing = self.pacer.update(state.pacing, share, plan)
        self.spent = np.zeros_like(self.spent)

    def serve(self, env: simpy.Environment) -> _Process:
        """Serve the requests of each pacing interval, then let users feel what they saw and remember what they ordered."""
        while True:
            population, minds = self.world.population, self.state.minds
            active, live = self.state.ledger.active.reshape(self.markets, -1), population.live(env.now)
            pools = tuple(population.pool(own[self.terms.ad_campaign] & live) for own in active)
            end = env.now + self.interval_ms
            first, last = np.searchsorted(self.today.time_ms, [env.now, end])
            seen: list[_Felt] = []
            for start in range(first, max(last, first + 1), self.tick_requests):
                stop = min(start + self.tick_requests, last)
                until = int(self.today.time_ms[stop]) if stop < last else end
                seen.append(self._tick(self.today.rows(start, stop), until, pools))
            for felt in seen:
                tire(minds.fatigue, self.world.laws.tiring, felt.requests, felt.outcomes)
                record_orders(minds.habits, *felt.orders)
            self.progress((end / DAY_MS - self.first_day) / self.days)
            yield env.timeout(self.interval_ms)

    def _tick(self, requests: Requests, until_ms: int, pools: tuple[Pool, ...]) -> _Felt:
        """Serve some requests, book what came of them, and give what users will remember."""
        state, multiplier = self.state, self.pacer.multiplier(self.state.pacing)
        watch = Stopwatch(self.cpu)
        visits = self._browse(requests)
        recent = state.features.see(requests, visits)
        watch.lap("browse")
        scored = score(
            requests, visits, recent, self.assignment, self.arms, self.world, state.minds, pools, state.features,
            self.terms, self.threads, self.n_threads, self.cpu,
        )  # fmt: skip
        watch = Stopwatch(self.cpu)
        scored, reused = self.caches.serve(scored)
        takes_part = self._takes_part(scored, multiplier) if self.pacer.throttles else None
        ranked = scored
        scored = shortlisted(self.online.correct(scored), self.arms, self.terms)
        watch.lap("rank")
        offers, shown, placed, state.orders = run_tick(
            scored, until_ms, self.arms, self.world, state.minds, state.ledger, state.orders, self.terms, multiplier,
            self.window, self.threads, self.cpu, takes_part, self.assignment.of_account,
        )  # fmt: skip
        watch = Stopwatch(self.cpu)
        self.load.count(ranked, reused, with_bid(ranked, self.terms, multiplier, offers.ends, takes_part))
        if any(arm.cascade is not None for arm in self.arms):
            rows = sample_of(self.scenario, requests.id)
            best = truly_best(self.scenario, self.world, state.minds, scored, rows, pools, self.terms)
            passed = (table[rows] for table in (scored.retrieved, scored.batch.row, scored.ad, shown.ad))
            self.recall.count(scored.arm[rows], best, tuple(passed))
        for position, arm in enumerate(self.arms):
            everyone_served = self.assignment.of_campaign is not None  # for ads of the arm's campaigns
            self.served[arm.name] += len(requests) if everyone_served else int((scored.arm == position).sum())
            self.sessions[arm.name] += int((scored.arm[opens_session(requests.id)] == position).sum())
        self.n_requests += len(requests)
        self.unbilled += int(shown.unbilled_micros.sum() + placed.unbilled_micros.sum())
        bought = np.any(shown.outcomes.delay_ms[:, :, CHECKOUT] >= 0, axis=1)
        displaced = self.world.displaced(requests, visits, bought)
        organic = np.flatnonzero((visits.ordered >= 0) & ~displaced)
        unasked = organic_orders(requests.take(organic), visits.take(organic))
        state.features.count_shown(requests.user, shown.ad, shown.outcomes.clicked, self.world.population.slot_effect)
        self.online.count(scored, shown, self.world.population.slot_effect)
        state.features.count_orders(placed.orders)
        state.features.count_orders(unasked)
        self.spent += spending_of(scored, shown, self.terms, len(self.spent))
        for counters in (self.counters, *self.others):
            counters.count_tick(
                scored, shown, placed, displaced, self.world.population, since_ms=self.first_day * DAY_MS
            )
        watch.lap("count")
        truth_of = partial(_truth_of, self.world, state.minds, scored)
        self.recorder.tick(Tick(scored, offers, shown, placed, multiplier, displaced, truth_of))
        watch.lap("log")
        ties = placed.orders[placed.orders["event"] != CART]  # orders and sign-ups make a store known
        return _Felt(requests, shown.outcomes, remembered(in_time([ties, unasked])))

    def _browse(self, requests: Requests) -> Visits:
        """What users look at before their requests; no row depends on its block."""
        world, minds = self.world, self.state.minds
        starts = range(0, max(len(requests), 1), _BLOCK)
        return Visits.stack(list(self.threads.map(lambda a: world.browse(requests.rows(a, a + _BLOCK), minds), starts)))

    def _takes_part(self, scored: Scored, probability: FloatArray) -> BoolArray:
        """(n, k) candidates whose account is drawn to take part; a campaign's ads in a request share their lot."""
        lot = draws.uniform(self.scenario.seed, Cause.PARTICIPATION, scored.requests.id[:, None], scored.campaign)
        return lot < probability[scored.account]

    def spending(self) -> Spending:
        n = len(self.spent_rows)
        return Spending(
            start_ms=self.first_day * DAY_MS + np.arange(n) * self.interval_ms,
            spent_usd=np.stack(self.spent_rows),
            planned_usd=np.stack(self.planned_rows),
            multiplier=np.stack(self.multiplier_rows),
        )


def _truth_of(world: World, minds: Minds, scored: Scored, rows: IntArray) -> Truth:
    """(m, k) of all candidates of the requests at `rows`, while their users have not yet felt what they saw."""
    return world.chances(scored.requests.take(rows), scored.visits.need[rows], scored.ad[rows], minds)
