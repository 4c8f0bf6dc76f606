"""The world: built from a scenario, solved for its marginals, then asked for traffic, candidates and responses."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synth import draws, retrieval, traffic
from synth.affinity import DAYPARTS, Intercepts, Tastes
from synth.campaigns import Ads, Campaigns, make_campaigns
from synth.config import WorldConfig
from synth.draws import Cause
from synth.habits import Habits, make_habits
from synth.items import Stores, make_stores
from synth.marginals import Exposure, Impossible, Marginal, expose, solve, solve_delay, within
from synth.response import DelayLaw, OrderLaw, respond
from synth.retrieval import Pool, make_pool
from synth.types import BoolArray, FloatArray, IdArray, Outcomes, Requests, Truth
from synth.users import TASTE_DIMS, Users, make_users


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Who and what exists, before anyone asks how likely anything is."""

    config: WorldConfig
    seed: int
    users: Users
    stores: Stores
    campaigns: Campaigns
    ads: Ads
    habits: Habits  # at the start; a simulation works on a copy
    tastes: Tastes

    @property
    def ad_region(self) -> IdArray:
        """(A,) region that each ad's store delivers in."""
        return self.stores.region[self.ads.store]

    @property
    def slot_effect(self) -> FloatArray:
        """(s,) probability that a slot is looked at."""
        return np.asarray(self.config.feed.slot_effect)

    def requests_on(self, day: int, users: int | None = None) -> Requests:
        """All requests of a day; of the first `users` users only, where given."""
        return traffic.requests_on(day, self.users.activity[:users], self.config.traffic, self.seed)

    def pool(self, eligible: BoolArray) -> Pool:
        """The ads that may compete; `eligible` is (A,)."""
        return make_pool(self.ad_region, eligible, self.config.population.regions)

    def candidates(self, requests: Requests, habits: Habits, pool: Pool, familiar: float) -> IdArray:
        """Ads that compete for each request, (n, k)."""
        return retrieval.retrieve(
            self.seed, requests, self.users.region, habits.store, self.ads.store, self.ads.of_store, pool, familiar,
            self.config.feed.candidates,
        )  # fmt: skip

    def store_of(self, ad: IdArray) -> IdArray:
        """Stores of `ad`, -1 where there is none."""
        return np.where(ad >= 0, self.ads.store[ad], np.int32(-1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A population whose probabilities are known."""

    population: Population
    intercepts: Intercepts
    familiar: float  # probability that retrieval takes an eligible ad of a store known to the user
    delay: DelayLaw
    marginals: list[Marginal]

    def candidates(self, requests: Requests, habits: Habits, pool: Pool) -> IdArray:
        """Ads that compete for each request, (n, k)."""
        return self.population.candidates(requests, habits, pool, self.familiar)

    def respond(self, requests: Requests, shown_ad: IdArray, habits: Habits) -> tuple[Outcomes, Truth]:
        """What users do with `shown_ad` (n, s), -1 where a slot is empty."""
        p = self.population
        order = OrderLaw(p.config.catalogue.basket_usd, p.config.catalogue.basket_sigma)
        return respond(
            p.seed, requests, p.store_of(shown_ad), habits, p.tastes, self.intercepts, p.slot_effect, self.delay, order
        )


def populate(config: WorldConfig, seed: int) -> Population:
    """Draw everyone and everything.

    Raises:
        Impossible: If a user would come more often than can be simulated.
    """
    users = make_users(config.population, seed)
    busiest = traffic.busiest(users.activity, config.traffic)
    if busiest > traffic.MOST_PER_DAY:
        raise Impossible(
            f"population.requests_per_day {config.population.requests_per_day:g} and activity_sigma "
            f"{config.population.activity_sigma:g} bring a user {busiest:.0f} times a day, "
            f"at most {traffic.MOST_PER_DAY:g} are simulated"
        )
    stores = make_stores(config.catalogue, config.taste, config.population.regions, seed)
    campaigns, ads = make_campaigns(config.campaigns, config.catalogue, config.marginals, stores, seed)
    part, cuisine = np.arange(DAYPARTS)[:, None], np.arange(config.catalogue.cuisines)
    tastes = Tastes(
        user_taste=users.taste,
        user_price_sensitivity=users.price_sensitivity,
        store_style=stores.style,
        store_click_appeal=stores.click_appeal,
        store_purchase_appeal=stores.purchase_appeal,
        store_log_price=stores.log_price,
        store_cuisine=stores.cuisine,
        daypart=(config.taste.daypart * draws.normal(seed, Cause.CUISINE_DAYPART, part, cuisine)).astype(np.float32),
        match=config.taste.match / np.sqrt(TASTE_DIMS),
        price=config.taste.price,
    )
    habits = make_habits(config.population, users, stores, config.taste.match, seed)
    return Population(
        config=config, seed=seed, users=users, stores=stores, campaigns=campaigns, ads=ads, habits=habits, tastes=tastes
    )


def build(population: Population, pilot: Callable[[World], tuple[Requests, IdArray]]) -> World:
    """Solve the intercepts for the marginals that the scenario asks for.

    Args:
        pilot: Runs a market of some days on a world that is not solved yet; gives requests and the ads shown (n, s). The
            marginals are those of the market that it runs, as an analyst would have measured them.

    Raises:
        Impossible: If no world has these marginals.
    """
    asked = population.config.marginals

    def exposure(intercepts: Intercepts, familiar: float) -> Exposure:
        requests, shown = pilot(rebuild(population, intercepts, familiar, []))
        return expose(
            population.tastes, population.habits, requests.user, requests.time_ms, population.store_of(shown),
            population.slot_effect,
        )  # fmt: skip

    intercepts, familiar, obtained = solve(exposure, asked)
    delay = solve_delay(asked.delay)
    obtained += [Marginal(f"ordered_within_{p.hours:g}h", p.share, within(delay, p.hours)) for p in asked.delay]
    return rebuild(population, intercepts, familiar, obtained)


def rebuild(population: Population, intercepts: Intercepts, familiar: float, marginals: list[Marginal]) -> World:
    """A world whose intercepts are known.

    Raises:
        Impossible: If no delays go through the scenario's points.
    """
    delay = solve_delay(population.config.marginals.delay)
    return World(population=population, intercepts=intercepts, familiar=familiar, delay=delay, marginals=marginals)
