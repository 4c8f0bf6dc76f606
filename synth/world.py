"""The world: built from a scenario, solved for its marginals, then asked for traffic, candidates and responses."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth import draws, fatigue, organic, response, retrieval, traffic
from synth.affinity import Intercepts, Tastes, per_dimension
from synth.campaigns import COHORT_BIT, Ads, Campaigns, live, make_ads, make_campaigns, on_air
from synth.config import WorldConfig
from synth.content import Content, make_content
from synth.delay import DelayLaw, delay_laws, solve_delay, within
from synth.draws import Cause
from synth.drift import make_drift
from synth.errors import Impossible
from synth.examination import examination_of
from synth.fatigue import Fatigue
from synth.habits import Habits, appetite_of, make_habits
from synth.interactions import make_mix
from synth.items import Shelf, Stores, dish_styles, make_shelf, make_stores
from synth.lifetime import present
from synth.marginals import Exposure, Marginal, Solved, solve
from synth.organic import OrderLaw
from synth.response import Laws
from synth.retrieval import Index, Pool, make_pool
from synth.sessions import intent_of
from synth.types import (
    CART,
    CHECKOUT,
    DAY_MS,
    DAYPARTS,
    BoolArray,
    Float32Array,
    FloatArray,
    IdArray,
    Outcomes,
    Requests,
    Truth,
    Visits,
)
from synth.users import TASTE_DIMS, Users, centres, make_users

SHARD = 250_000  # users drawn at once
_ENOUGH = 60_000  # requests of a pilot that intercepts are solved on


class Minds(NamedTuple):
    """What users carry from visit to visit."""

    habits: Habits
    fatigue: Fatigue

    def copy(self) -> "Minds":
        """Independent of the original from here on."""
        return Minds(self.habits.copy(), self.fatigue.copy())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Who and what exists, before anyone asks how likely anything is."""

    config: WorldConfig
    seed: int  # of who and what exists, and what lasts: habits, drift
    luck: int  # seed of what happens: who comes when, looks, clicks, orders
    users: Users
    stores: Stores
    content: Content
    campaigns: Campaigns
    ads: Ads
    habits: Habits  # at the start; a simulation works on a copy
    tastes: Tastes
    shelf: Shelf
    cuisine_style: Float32Array  # (cuisines, d)

    @property
    def ad_region(self) -> IdArray:
        """(A,) region that each ad's store delivers in."""
        return self.stores.region[self.ads.store]

    @property
    def slot_effect(self) -> FloatArray:
        """(s,) probability that a slot of full attention is looked at."""
        return np.asarray(self.config.feed.slot_effect)

    def first(self, users: int) -> "Population":
        """The same world with its first users only."""
        some = self.users.rows(0, users)
        return replace(
            self, users=some, habits=self.habits.rows(0, users), tastes=_of_users(self.tastes, some),
            config=self.config.model_copy(
                update={"population": self.config.population.model_copy(update={"users": users})}
            ),
        )  # fmt: skip

    def live(self, time_ms: int) -> BoolArray:
        """(A,) ads whose store is open and whose campaign's schedule lets them run at a time."""
        return live(self.campaigns, self.ads, self.stores, self.config.campaigns.flight_days, time_ms)

    def on_air(self, day: int) -> BoolArray:
        """(DAYPARTS, c) campaigns whose schedule lets them run in each part of a day."""
        starts = day * DAY_MS + np.arange(DAYPARTS) * (DAY_MS // DAYPARTS)
        return np.stack([on_air(self.campaigns, self.config.campaigns.flight_days, int(start)) for start in starts])

    def pool(self, eligible: BoolArray) -> Pool:
        """The ads that may compete; `eligible` is (A,)."""
        store = self.ads.store
        return make_pool(
            self.ad_region, self.stores.style[store], self.campaigns.audience[self.ads.campaign], self.stores.dish[store],
            eligible, self.config.population.regions,
        )  # fmt: skip

    def eligible(self, pool: Pool, user: int) -> IdArray:
        """(m,) ads of the pool that a user may see."""
        users = self.users
        bits = (1 << int(users.platform[user])) | (1 << (COHORT_BIT + int(users.cohort[user])))
        region = slice(*pool.start[users.region[user] : users.region[user] + 2])
        return pool.ad[region][(pool.audience[region] & bits) == bits]

    def store_of(self, ad: IdArray) -> IdArray:
        """Stores of `ad`, -1 where there is none."""
        return np.where(ad >= 0, self.ads.store[ad], np.int32(-1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A population whose probabilities are known."""

    population: Population
    solved: Solved
    laws: Laws
    marginals: list[Marginal]

    @property
    def intercepts(self) -> Intercepts:
        """What was solved for, in logits."""
        return self.solved.intercepts

    def with_luck(self, luck: int) -> "World":
        """The same people, stores and campaigns in another fortnight: all that happens is drawn anew."""
        p = self.population
        tastes = p.tastes._replace(luck=np.uint64(luck))  # type: ignore[arg-type]
        return replace(self, population=replace(p, luck=luck, tastes=tastes))

    def minds(self) -> Minds:
        """Users at the start, as a market of long standing has left them."""
        p = self.population
        share = [surface.share for surface in p.config.feed.surfaces]
        looks = np.tensordot(share, self.laws.examination.effect, axes=1).sum(axis=1)  # (platforms,) per request
        clicks = p.config.marginals.ctr * len(p.slot_effect) / (p.config.population.platform_share @ looks)  # per look
        in_vain = p.config.traffic.requests_per_session * looks * (1 - clicks)
        return Minds(p.habits.copy(), fatigue.rested(p.config.fatigue, p.users.activity * in_vain[p.users.platform]))

    def requests_on(
        self, day: int, minds: Minds, users: int | None = None, threads: Executor | None = None
    ) -> Requests:
        """All requests of a day (0 to 4,095), of users as tired as they are; of the first `users` only, where given."""
        p = self.population
        staying = fatigue.staying(minds.fatigue, p.config.fatigue, day * DAY_MS)[:users]
        if p.config.lifetime.leaving_per_day > 0:
            staying = staying * present(p.config.lifetime, len(staying), day, p.luck)
        return traffic.requests_on(
            day, p.users.activity[:users] * staying * self.solved.visits, p.users.daypart[:users], p.config.traffic,
            p.config.feed.surfaces, p.luck, threads,
        )  # fmt: skip

    def browse(self, requests: Requests, minds: Minds) -> Visits:
        """What users look for, look at and would order without ads, just before each request."""
        p = self.population
        intent = intent_of(p.config.intent, p.config.habit.familiar_views)
        return organic.browse(
            requests, p.users.region, minds.habits, p.tastes, intent, p.shelf, p.cuisine_style, self.intercepts,
            self.laws.order,
        )  # fmt: skip

    def candidates(self, requests: Requests, query: IdArray, minds: Minds, pool: Pool, k: int | None = None) -> IdArray:
        """Ads that compete for each request, (n, k); `query` is the dish searched for, -1 where none was.

        Args:
            k: Candidates per request; as many as the feed has by default.
        """
        p = self.population
        index = Index(
            self.solved.familiar, p.config.retrieval.quality, p.config.retrieval.query_weight, p.tastes.siblings
        )
        return retrieval.retrieve(
            p.luck, requests, p.users.region, p.users.platform, p.users.cohort, p.users.taste, query, minds.habits.store,
            p.ads.of_store, pool, index, k or p.config.feed.candidates,
        )  # fmt: skip

    def respond(self, requests: Requests, need: IdArray, ad: IdArray, minds: Minds) -> tuple[Outcomes, Truth]:
        """What users do with ads (n, s), -1 where a slot is empty, and the probabilities of it.

        The answer to any other ad in a slot is had by asking for it: the draws are keyed by request and store.

        Args:
            need: (n,) dish that each user is after, from `browse`.
        """
        p = self.population
        slow = p.campaigns.delay[p.ads.campaign].astype(np.float32)[ad]
        return response.respond(requests, need, p.store_of(ad), slow, minds.habits, minds.fatigue, p.tastes, self.laws)

    def chances(self, requests: Requests, need: IdArray, ad: IdArray, minds: Minds) -> Truth:
        """The probabilities behind the answers to any ads (n, k), shown or not; of examination, which is a slot's, nothing."""
        slots = len(self.population.slot_effect)
        pieces = [
            self.respond(requests, need, ad[:, a : a + slots], minds)[1] for a in range(0, max(ad.shape[1], 1), slots)
        ]
        return Truth(**{f.name: np.concatenate([getattr(p, f.name) for p in pieces], axis=1) for f in fields(Truth)})

    def displaced(self, requests: Requests, visits: Visits, bought: BoolArray) -> BoolArray:
        """(n,) organic orders that an order after an ad of the same request, `bought` (n,), takes the place of."""
        return organic.displaced(
            self.population.luck, requests, visits, bought, self.population.config.organic.substitution
        )

    def delay_cdf(
        self, event: int, hours: FloatArray, campaign: int | None = None, *, checkout: float = 0.0
    ) -> FloatArray:
        """Probability that an event (a position in EVENTS) comes within `hours` (h,) of the click.

        Args:
            campaign: Whose ad it is; the mean over campaigns where None.
            checkout: Of an add-to-cart, the probability that a checkout follows it: the cart is then filled by that time.
        """
        factor = self.population.campaigns.delay
        own = factor if campaign is None else factor[[campaign]]
        if event != CART:
            return within(self.laws.delays[event], hours, own)
        later = 1 - within(self.laws.delays[CART], hours, np.ones(1))
        return 1 - later * (1 - checkout * within(self.laws.delays[CHECKOUT], hours, own))


def populate(config: WorldConfig, seed: int, *, shard: int = SHARD, threads: Executor | None = None) -> Population:
    """Draw everyone and everything.

    Args:
        shard: Users drawn at once; changes memory and speed only, for each is drawn by the own id.
        threads: Draw shards at the same time.

    Raises:
        Impossible: If a user would come more often than can be simulated.
    """
    stores = make_stores(
        config.catalogue, config.taste, config.interaction, config.drift, config.population.regions, seed
    )
    campaigns = make_campaigns(
        config.campaigns, config.marginals, config.population, config.delay.campaign_sigma, stores, seed
    )
    n_dishes = config.catalogue.cuisines * config.catalogue.dishes_per_cuisine
    shelves = [make_shelf(stores, config.population.regions, n_dishes, open_now=now) for now in (True, False)]
    cuisine_style = centres(seed, Cause.CUISINE_STYLE, config.catalogue.cuisines)

    def people(first: int) -> tuple[Users, Habits]:
        return make_people(config, shelves[0], cuisine_style, seed, first, min(first + shard, config.population.users))

    starts = range(0, config.population.users, shard)
    users, habits = _put_together(threads.map(people, starts) if threads else map(people, starts), config)
    _not_too_often(config, users.activity)
    return Population(
        config=config, seed=seed, luck=seed, users=users, stores=stores, content=make_content(config.content, stores, seed),
        campaigns=campaigns, ads=make_ads(config.campaigns, config.catalogue.stores), habits=habits,
        tastes=_tastes(config, users, stores, seed), shelf=shelves[1], cuisine_style=cuisine_style,
    )  # fmt: skip


def _not_too_often(config: WorldConfig, visits: FloatArray) -> None:
    """Refuse users who would come, once rested, more often than can be simulated."""
    busiest = traffic.busiest(visits, config.traffic)
    if busiest > traffic.MOST_SESSIONS:
        raise Impossible(
            f"marginals.sessions_per_day {config.marginals.sessions_per_day:g}, population.activity_sigma "
            f"{config.population.activity_sigma:g} and fatigue.leaving {config.fatigue.leaving:g} bring a user "
            f"{busiest:.0f} times a day, at most {traffic.MOST_SESSIONS:g} are simulated"
        )


def make_people(
    config: WorldConfig, shelf: Shelf, cuisine_style: Float32Array, seed: int, first: int, stop: int
) -> tuple[Users, Habits]:
    """Draw the users first to stop - 1 and what they had ordered before the start.

    Args:
        shelf: Of the stores open at the start.
        cuisine_style: (cuisines, TASTE_DIMS).
    """
    share = traffic.daypart_share(config.traffic)
    users = make_users(config.population, config.marginals, config.interaction, share, seed, first, stop)
    return users, make_habits(config, users, shelf, cuisine_style, seed, first)


def _put_together(shards: Iterable[tuple[Users, Habits]], config: WorldConfig) -> tuple[Users, Habits]:
    """Shards, in order, in arrays of their own: never twice in memory."""
    whole: list[list[NDArray[Any]]] = []
    row = 0
    for shard in shards:
        if not whole:
            whole = [[np.empty((config.population.users, *c.shape[1:]), c.dtype) for c in table] for table in shard]
        stop = row + len(shard[0].region)
        for table, part in zip(whole, shard, strict=True):
            for to, column in zip(table, part, strict=True):
                to[row:stop] = column
        row = stop
    return Users(*whole[0]), Habits(*whole[1])


def _tastes(config: WorldConfig, users: Users, stores: Stores, seed: int) -> Tastes:
    part, cuisine = np.arange(DAYPARTS)[:, None], np.arange(config.catalogue.cuisines)
    n_platforms = len(config.population.platform_share)
    return Tastes(
        seed=np.uint64(seed),  # type: ignore[arg-type]
        luck=np.uint64(seed),  # type: ignore[arg-type]
        user_taste=users.taste,
        user_price_sensitivity=users.price_sensitivity,
        user_exploration=users.exploration,
        user_daypart=users.daypart,
        user_platform=users.platform,
        store_style=stores.style,
        store_click_appeal=stores.click_appeal,
        store_purchase_appeal=stores.purchase_appeal + np.float32(config.taste.quality) * stores.quality,
        store_log_price=stores.log_price,
        store_dish=stores.dish,
        store_launch_ms=stores.launch_ms,
        daypart=(config.taste.daypart * draws.normal(seed, Cause.CUISINE_DAYPART, part, cuisine)).astype(np.float32),
        dish_style=dish_styles(config.catalogue, seed),
        siblings=config.catalogue.dishes_per_cuisine,
        match=per_dimension(config.taste.match, TASTE_DIMS),
        price=config.taste.price,
        intent=per_dimension(config.intent.weight, TASTE_DIMS),
        mix=make_mix(config.interaction, users.mix, stores.mix, n_platforms, seed),
        drift=make_drift(config.drift, config.catalogue.cuisines, config.catalogue.stores, seed),
        appetite=appetite_of(config.habit),
    )


def _of_users(tastes: Tastes, users: Users) -> Tastes:
    return tastes._replace(
        user_taste=users.taste, user_price_sensitivity=users.price_sensitivity, user_exploration=users.exploration,
        user_daypart=users.daypart, user_platform=users.platform, mix=tastes.mix._replace(user=users.mix),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a pilot showed."""

    requests: Requests  # (n,)
    visits: Visits  # (n,)
    ad: IdArray  # (n, s)
    truth: Truth  # (n, s)
    user_days: float


def build(population: Population, pilots: Sequence[Callable[[World], Seen]]) -> World:
    """Solve the intercepts for the marginals that the scenario asks for.

    Args:
        pilots: Each runs a market of some days on a world that is not solved yet. The marginals are those of the market that
            the last one runs, as an analyst would have measured them; the others bring it near at less cost.

    Raises:
        Impossible: If no world has these marginals.
    """
    config = population.config
    delay = _checkout_delay(population)

    def exposure_of(pilot: Callable[[World], Seen], solved: Solved) -> Exposure:
        seen = pilot(rebuild(population, solved, []))
        some = slice(None, None, 1 + len(seen.requests) // _ENOUGH)
        shown = np.nonzero(seen.ad[some] >= 0)
        ad = seen.ad[some][shown]
        return Exposure(
            truth=Truth(**{f.name: getattr(seen.truth, f.name)[some][shown] for f in fields(Truth)}),
            request=shown[0],
            log_price=population.stores.log_price[population.ads.store[ad]].astype(np.float64),
            campaign=population.ads.campaign[ad],
            slot=shown[1],
            chance=seen.visits.chance[some],
            known=seen.visits.known[some],
            sessions=len(np.unique(traffic.session_of(seen.requests.id))),
            user_days=seen.user_days,
        )

    platform_share = config.population.platform_share
    solved, obtained, exposure = solve(
        [partial(exposure_of, pilot) for pilot in pilots],
        config.marginals,
        config.feed,
        float(np.dot(platform_share, config.feed.depths(len(platform_share)))),
        config.organic.substitution,
    )
    factor, orders = population.campaigns.delay[exposure.campaign], exposure.orders
    for point in config.marginals.delay:
        got = within(delay, np.array([point.hours]), factor, orders)[0]
        obtained.append(Marginal(f"ordered_within_{point.hours:g}h", point.share, float(got)))
    return rebuild(population, solved, obtained)


def rebuild(population: Population, solved: Solved, marginals: list[Marginal]) -> World:
    """A world for which everything is solved.

    Raises:
        Impossible: If no delays go through the scenario's points, or a user would come more often than can be simulated.
    """
    config = population.config
    _not_too_often(config, population.users.activity * solved.visits)
    laws = Laws(
        intercepts=solved.intercepts,
        examination=examination_of(config.feed, solved.slot_effect, len(config.population.platform_share)),
        tiring=fatigue.tiring_of(config.fatigue),
        delays=delay_laws(_checkout_delay(population), config.delay),
        order=OrderLaw(solved.basket_usd, config.catalogue.basket_sigma),
    )
    return World(population=population, solved=solved, laws=laws, marginals=marginals)


def _checkout_delay(population: Population) -> DelayLaw:
    return solve_delay(population.config.marginals.delay, population.campaigns.delay)
