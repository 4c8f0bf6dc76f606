"""A small market with every mechanism on, what a few days of it show, and a world of indifferent users."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from synth import draws
from synth.affinity import Intercepts, Tastes
from synth.config import WorldConfig
from synth.delay import DelayLaw
from synth.draws import Cause
from synth.drift import Drift
from synth.examination import Examination
from synth.fatigue import Fatigue, Tiring
from synth.habits import Appetite, Habits
from synth.interactions import Mix
from synth.marginals import Solved
from synth.organic import OrderLaw
from synth.response import Laws, respond
from synth.types import DAY_MS, DAYPARTS, HOUR_MS, Outcomes, Requests, Truth, Visits
from synth.users import TASTE_DIMS
from synth.world import Minds, Population, World, populate, rebuild

SEED = 11
SURELY, NEVER = 60.0, -60.0  # logits
HOUR_WEIGHT = (0, 0, 1, 1, 1, 1, 2, 3, 3, 2, 2, 4, 5, 4, 2, 2, 3, 5, 6, 5, 3, 2, 1, 0)

Changed = Callable[..., WorldConfig]


@pytest.fixture(scope="session")
def tree() -> dict[str, Any]:
    """The scenario as it is written: 2,000 users in 4 regions, 240 stores of 24 dishes, 24 campaigns of 5 ads."""
    return {
        "population": {"users": 2_000, "regions": 4, "segments": 5},
        "catalogue": {"stores": 240, "cuisines": 8, "dishes_per_cuisine": 3},
        "campaigns": {
            "count": 24, "stores_per_campaign": 5, "daily_budget_usd": 60.0, "click_goal_share": 0.2, "cart_goal_share": 0.3,
            "flighted_share": 0.3, "daypart_share": 0.3, "platform_share": 0.3, "cohort_share": 0.3,
        },
        "traffic": {"hour_weight": HOUR_WEIGHT, "requests_per_session": 2.0},
        "feed": {
            "slot_effect": [1.0, 0.75, 0.58, 0.46], "candidates": 8, "platform_depth": [1.0, 0.8, 1.5],
            "surfaces": [
                {"name": "feed", "share": 0.7, "attention": 1.0}, {"name": "search", "share": 0.3, "attention": 0.8}
            ],
        },
        "marginals": {
            "ctr": 0.08, "cvr": 0.2, "cart_rate": 0.5, "sign_up_rate": 0.05, "post_view_rate": 0.002,
            "repurchase_positives": 0.45, "repurchase_negatives": 0.2, "sessions_per_day": 1.5, "basket_usd": 32.0,
            "organic_share": 0.4,
            "delay": [{"hours": 1, "share": 0.45}, {"hours": 24, "share": 0.75}, {"hours": 96, "share": 0.92}],
        },
        "intent": {"views": 1.5},
        "habit": {"history_capacity": 8},
    }  # fmt: skip


@pytest.fixture(scope="session")
def config(tree: dict[str, Any]) -> WorldConfig:
    return WorldConfig.model_validate(tree)


@pytest.fixture(scope="session")
def changed(config: WorldConfig) -> Changed:
    """changed(section={key: value}) is the scenario with those keys set."""

    def change(**sections: dict[str, Any]) -> WorldConfig:
        return config.model_copy(
            update={name: getattr(config, name).model_copy(update=keys) for name, keys in sections.items()}
        )

    return change


@pytest.fixture(scope="session")
def population(config: WorldConfig) -> Population:
    return populate(config, SEED)


@pytest.fixture(scope="session")
def solved() -> Solved:
    """Given intercepts: many clicks and orders, so that rates are known well."""
    intercepts = Intercepts(
        click=-1.0,
        long_click=0.5,
        hide=-2.0,
        cart=0.5,
        checkout=0.2,
        sign_up=-1.0,
        post_view=-2.5,
        organic=-2.0,
        habit=0.8,
    )
    return Solved(intercepts, familiar=0.6, slot_effect=(1.0, 0.75, 0.58, 0.46), visits=1.0, basket_usd=32.0)


@pytest.fixture(scope="session")
def world(population: Population, solved: Solved) -> World:
    return rebuild(population, solved, [])


@pytest.fixture(scope="session")
def minds(world: World) -> Minds:
    """Users at the start, some of them tired."""
    start = world.minds()
    return Minds(start.habits, Fatigue(start.fatigue.level + np.arange(2_000) % 5, start.fatigue.since_ms))


@pytest.fixture(scope="session")
def requests(world: World, minds: Minds) -> Requests:
    """Three days of requests, some 14,000."""
    return Requests.stack([world.requests_on(day, minds) for day in range(3)])


@pytest.fixture(scope="session")
def visits(world: World, minds: Minds, requests: Requests) -> Visits:
    return world.browse(requests, minds)


@pytest.fixture(scope="session")
def shown(population: Population, requests: Requests) -> np.ndarray:
    """(n, 4) an ad of another store of the user's region in each slot, one slot in ten empty."""
    rng = np.random.default_rng(1)
    first = rng.integers(30, size=(len(requests), 1))
    region = population.users.region[requests.user][:, None]  # that of store s is s % 4, and ad a is of store a
    ad = (4 * ((first + 7 * np.arange(4)) % 30) + region).astype(np.int32)
    ad[rng.random(ad.shape) < 0.1] = -1
    return ad


@pytest.fixture(scope="session")
def answered(
    world: World, minds: Minds, requests: Requests, visits: Visits, shown: np.ndarray
) -> tuple[Outcomes, Truth]:
    return world.respond(requests, visits.need, shown, minds)


@pytest.fixture(scope="session")
def errors() -> Callable[[np.ndarray, np.ndarray], float]:
    """Standard errors from what the probabilities `p` promise to what happened."""

    def count(happened: np.ndarray, p: np.ndarray) -> float:
        p = p.astype(float)
        return abs(float((happened.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum())))

    return count


@pytest.fixture(scope="session")
def indifferent() -> Callable[..., Tastes]:
    """indifferent(users, stores, cuisines, siblings, ...) is the tastes of users to whom all is the same, but for changes."""

    def make(users: int = 1, stores: int = 4, cuisines: int = 1, siblings: int = 1, **changes: Any) -> Tastes:
        zeros = np.zeros(max(users, stores), np.float32)
        ids = np.zeros(max(users, stores), np.int32)
        return Tastes(
            seed=np.uint64(5), luck=np.uint64(5),
            user_taste=np.zeros((users, TASTE_DIMS), np.float32), user_price_sensitivity=zeros[:users],
            user_exploration=zeros[:users], user_daypart=ids[:users], user_platform=ids[:users],
            store_style=np.zeros((stores, TASTE_DIMS), np.float32), store_click_appeal=zeros[:stores],
            store_purchase_appeal=zeros[:stores], store_log_price=zeros[:stores], store_dish=ids[:stores],
            store_launch_ms=np.zeros(stores, np.int64), daypart=np.zeros((DAYPARTS, cuisines), np.float32),
            dish_style=np.zeros((cuisines * siblings, TASTE_DIMS), np.float32), siblings=siblings, match=1.0, price=0.0,
            intent=0.0,
            mix=Mix(np.zeros((users, 1), np.float32), np.zeros((stores, 1), np.float32),
                    np.zeros((DAYPARTS, 1), np.float32), 0.0),
            drift=Drift(0.0, 1e9, 0.0, 1e9, np.ones(cuisines), np.zeros(cuisines), np.zeros((0, stores), np.float32)),
            appetite=Appetite(0.0, 1e9, 0.0, 0.0, 0.0, 0.0, 1e9),
        )._replace(**changes)  # fmt: skip

    return make


@pytest.fixture(scope="session")
def nobody_knows() -> Callable[..., Minds]:
    """Users without histories and without fatigue."""

    def make(users: int = 1) -> Minds:
        free = np.full((users, 1), -1, np.int32)
        habits = Habits(free, np.zeros_like(free), np.zeros(free.shape, np.int64))
        return Minds(habits, Fatigue(np.zeros(users), np.zeros(users, np.int64)))

    return make


@pytest.fixture(scope="session")
def answer(indifferent: Callable[..., Tastes], nobody_knows: Callable[..., Minds]) -> Callable[..., Any]:
    """answer(shown, ...) is what user 0 does with stores (n, s) in n requests, who clicks and orders all unless told otherwise.

    Intercepts, delays and the like are given by name; a store's price level is exp(0.25).
    """

    def ask(
        shown: np.ndarray, *, effect: tuple[float, ...] | None = None, cascade: bool = False, stop: float = 0.0,
        delays: tuple[DelayLaw, ...] = (DelayLaw(1.0, 1.0, 1.0),) * 3, slow: float = 1.0, minds: Minds | None = None,
        time_ms: int = 0, **intercepts: float,
    ) -> tuple[Outcomes, Truth]:  # fmt: skip
        n, slots = shown.shape
        requests = Requests(
            id=np.arange(n) << 5, user=np.zeros(n, np.int32), time_ms=np.full(n, time_ms), surface=np.zeros(n, np.int32)
        )
        logits = dict.fromkeys(Intercepts._fields, SURELY) | {"hide": NEVER, "habit": 0.0} | intercepts
        laws = Laws(
            Intercepts(**logits), Examination(np.array(effect or (1.0,) * slots)[None, None, :], cascade, stop),
            Tiring(0.0, 0.0, 0.0, 1e9, 0.0, 1.0), delays, OrderLaw(32.0, 0.4),
        )  # fmt: skip
        tastes = indifferent(stores=8, store_log_price=np.full(8, 0.25, np.float32))
        need, mind = np.full(n, -1, np.int32), minds or nobody_knows()
        slow_part = np.full(shown.shape, slow, np.float32)
        return respond(requests, need, shown.astype(np.int32), slow_part, mind.habits, mind.fatigue, tastes, laws)

    return ask


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., tuple[np.ndarray, ...]]:
    """by_hand(world, minds, user, store, time_ms, need) is what the law says of pairs of user and store, in plain numpy.

    Logits of a click and of an order, of habit or curiosity, and whether the store is known. Of the code only the draws are
    used.
    """

    def logits(
        world: World, minds: Minds, user: np.ndarray, store: np.ndarray, time_ms: np.ndarray, need: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        p, c, seed = world.population, world.population.config, world.population.seed
        users, stores, siblings = p.users, p.stores, c.catalogue.dishes_per_cuisine
        hour = time_ms // HOUR_MS % 24
        part, days = hour // 4, time_ms / DAY_MS
        cuisine = stores.dish[store] // siblings

        match = c.taste.match * (users.taste[user] * stores.style[store]).sum(axis=1) / np.sqrt(users.taste.shape[1])
        daypart = c.taste.daypart * draws.normal(seed, Cause.CUISINE_DAYPART, part, cuisine)
        price = c.taste.price * users.price_sensitivity[user] * stores.log_price[store]
        context = draws.normal(
            seed, Cause.CONTEXT_MIX, (users.platform[user] * DAYPARTS + part)[:, None], np.arange(c.interaction.rank)
        )
        product = (users.mix[user] * stores.mix[store] * context).sum(axis=1)
        interaction = c.interaction.weight * product / np.sqrt(c.interaction.rank)
        phase = draws.uniform(seed, Cause.CUISINE_SEASON, cuisine)
        season = c.drift.season * np.sin(2 * np.pi * (days / c.drift.season_days + phase))
        after, dim = np.maximum(need, 0)[:, None], np.arange(users.taste.shape[1])
        centre = draws.normal(seed, Cause.CUISINE_STYLE, after // siblings, dim)
        wanted = (centre + 0.5 * draws.normal(seed, Cause.DISH_STYLE, after, dim)) / np.sqrt(1.25)
        close = c.intent.weight * (wanted * stores.style[store]).sum(axis=1) / np.sqrt(len(dim)) * (need >= 0)
        shared = match + daypart - price + interaction + season + close

        point = np.floor(days / c.drift.appeal_days).astype(int)
        w = days / c.drift.appeal_days - point
        before, after = (draws.normal(seed, Cause.STORE_DRIFT, store, point + i) for i in (0, 1))
        drift = c.drift.appeal * ((1 - w) * before + w * after) / np.sqrt((1 - w) ** 2 + w**2)

        here = minds.habits.store[user] == store[:, None]
        known = here.any(axis=1)
        last = (minds.habits.last_ms[user] * here).sum(axis=1)
        period = c.habit.period_days * np.exp(
            c.habit.period_sigma * draws.normal(seed, Cause.HABIT_PERIOD, user, store)
        )
        since = np.maximum(0, time_ms - last) / DAY_MS
        renewal = c.habit.renewal * (np.exp(-0.5) - np.exp(-since / period))
        lot = draws.uniform(seed, Cause.HABIT_DAYPART, user, store)
        other = np.floor(lot / 0.3 * 5).astype(int)  # three habits in ten have another part of the day, any of the five
        usual = np.where(lot < 0.3, (users.daypart[user] + 1 + other) % 6, users.daypart[user])
        habit = renewal + c.habit.daypart * (part == usual)
        age = np.maximum(0, time_ms - stores.launch_ms[store]) / DAY_MS / c.habit.novelty_days
        novelty = c.habit.novelty * np.exp(-age) * (stores.launch_ms[store] > 0)
        own = np.where(known, habit, c.habit.exploration * users.exploration[user] + novelty)

        click = shared + stores.click_appeal[store] + drift
        order = 0.5 * shared + stores.purchase_appeal[store] + c.taste.quality * stores.quality[store]
        return click, order, own, known

    return logits
