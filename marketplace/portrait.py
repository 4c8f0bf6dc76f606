"""A portrait of a world: what it holds, what it was solved for and how its users behave, as plain data.

Whatever is drawn comes from the world's own functions: the requests are those of its first week, by its first users, who stay
as tired as they are on the first morning. Nothing is known of a world here that `synth` does not tell.
"""

from typing import Any, NamedTuple

import numpy as np

from marketplace.scenario import Scenario
from synth.affinity import NEVER
from synth.campaigns import GOALS, PRICINGS
from synth.drift import drifted, season, turn
from synth.fatigue import Fatigue, staying
from synth.habits import appetite, daypart_of_habit, period_of
from synth.items import Stores
from synth.marginals import Marginal
from synth.traffic import session_of
from synth.types import (
    CHECKOUT,
    DAY_MS,
    DAYPARTS,
    EVENTS,
    HOUR_MS,
    BoolArray,
    Float32Array,
    FloatArray,
    IdArray,
    IntArray,
    Requests,
)
from synth.world import Minds, Population, World, rebuild

_WEEK = 200_000  # most requests of the sampled week
_SEARCHES = 500  # requests whose candidates are looked at
_STORES = 1_000  # most stores in a scatter; each is drawn by its own id, so the first are as good as any
_PAIRS = 500  # habits whose periods are looked at
_DRIFTING = 4  # stores whose drift is drawn
_FURTHEST = 4.0  # standard deviations of a fit
_MILESTONES = 1, 6, 24, 72, 168, 336, 720  # hours
_NEARNESS = "the dish needed", "another dish of its cuisine", "another cuisine"
_SIGNS = "searched for in words", "else a store of the dish", "else one of its cuisine", "not shown"
_QUARTILES = 0.25, 0.5, 0.75
# what switches a section of the world's config off where all of it is 0; a section not named here is always on
_SWITCHES = {
    "taste": ("match", "click_appeal", "purchase_appeal", "quality", "daypart", "price"),
    "interaction": ("weight",),
    "intent": ("weight",),
    "habit": ("renewal", "daypart", "exploration", "novelty"),
    "fatigue": ("blindness", "leaving"),
    "lifetime": ("leaving_per_day",),
    "drift": ("appeal", "season", "launch_share"),
    "delay": ("campaign_sigma",),
    "retrieval": ("quality", "query_weight"),
}
_SECTIONS = (
    "taste", "interaction", "content", "intent", "habit", "fatigue", "lifetime", "drift", "delay", "organic", "retrieval",
)  # fmt: skip
_BID_UNITS = {
    "cpm": "USD per impression", "cpc": "USD per click", "cpa": "USD per conversion", "ocpm": "USD per goal",
    "value": "USD per USD of order value",
}  # fmt: skip


class Week(NamedTuple):
    """The sample that a portrait is drawn from."""

    world: World  # with its first users only
    minds: Minds  # on the first morning
    days: list[Requests]  # seven
    scale: float  # users that there are, per user sampled


def portrait(scenario: Scenario, world: World) -> dict[str, Any]:
    """Everything that the terminal and the page show of a world, as JSON."""
    week = sample(world)
    candidates = candidate_fit(week)
    return {
        "scenario": scenario.name, "description": scenario.description, "seed": scenario.seed,
        "counts": counts(week, world.population, candidates), "marginals": marginals(world.marginals),
        "solved": solved(world), "mechanisms": mechanisms(world), "traffic": traffic(week), "activity": activity(week),
        "examination": examination(world), "delays": delays(world), "appeal": appeal(world.population),
        "prices": prices(world.population.stores), "habits": known_stores(week.world.population), "appetite": appetites(week),
        "need": need_shown(week), "drift": drift(world.population),
        "campaigns": campaigns(world.population), "candidates": candidates,
    }  # fmt: skip


def sample(world: World) -> Week:
    """The first week of as many of the first users as bring some hundred thousand requests."""
    config, n_users = world.population.config, len(world.population.users.region)
    daily = config.marginals.sessions_per_day * config.traffic.requests_per_session
    users = min(n_users, int(_WEEK / (7 * daily)) + 1)
    small = rebuild(world.population.first(users), world.solved, world.marginals)
    minds = small.minds()
    level = minds.fatigue.level
    mornings = [minds._replace(fatigue=Fatigue(level, np.full(users, day * DAY_MS))) for day in range(7)]
    days = [small.requests_on(day, morning) for day, morning in enumerate(mornings)]
    return Week(small, minds, days, n_users / users)


def counts(week: Week, population: Population, candidates: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Sizes, by what they are the sizes of."""
    config, budget = population.config, population.campaigns.daily_budget_usd
    pricing, goal = by_name(population.campaigns.pricing, PRICINGS), by_name(population.campaigns.goal, GOALS)
    return {
        "population": {
            "users": len(population.users.region),
            "active on a day": week.scale * _mean([len(np.unique(day.user)) for day in week.days]),
            "sessions a day": week.scale * _mean([len(np.unique(session_of(day.id))) for day in week.days]),
            "requests a day": week.scale * _mean([len(day) for day in week.days]),
            "share of the busiest 10%": activity(week)["top_tenth"],
            "regions": config.population.regions,
            "platforms": len(config.population.platform_share),
            "cohorts": config.population.segments,
        },
        "catalogue": {
            "stores": config.catalogue.stores,
            "stores that open later": int((population.stores.launch_ms > 0).sum()),
            "cuisines": config.catalogue.cuisines,
            "dishes": config.catalogue.cuisines * config.catalogue.dishes_per_cuisine,
            "ads": len(population.ads.store),
            "ads on air at the start": int(population.live(0).sum()),
            "eligible per request": candidates["eligible_per_request"],
            "candidates per request": candidates["retrieved_per_request"],
        },
        "campaigns": {
            "campaigns": config.campaigns.count,
            **{f"priced by {name}": n for name, n in pricing.items() if n},
            **{f"aiming at {name}": n for name, n in goal.items() if n},
            "daily budgets, USD": float(budget.sum()),
            "median budget, USD": float(np.median(budget)),
        },
    }


def by_name(position: IntArray, names: tuple[str, ...]) -> dict[str, int]:
    """How often each name is pointed at."""
    return dict(zip(names, np.bincount(position, minlength=len(names)).tolist(), strict=True))


def marginals(found: list[Marginal]) -> list[dict[str, Any]]:
    """Asked against obtained, with the relative error."""
    return [m._asdict() | {"error": round(m.obtained / m.asked - 1, 6) + 0.0} for m in found]  # -0.0 + 0.0 is 0.0


def solved(world: World) -> dict[str, float | None]:
    """What was solved for; None where a thing is switched off."""
    intercepts = {name: None if x == NEVER else x for name, x in world.intercepts._asdict().items()}
    law = {f"checkout_{name}": x for name, x in world.laws.delays[CHECKOUT]._asdict().items()}
    found = world.solved
    slots = {f"slot_effect_{slot}": x for slot, x in enumerate(found.slot_effect[1:], start=2)}
    return (
        intercepts | {"familiar": found.familiar, "visits": found.visits, "basket_usd": found.basket_usd} | slots | law
    )


def mechanisms(world: World) -> list[dict[str, Any]]:
    """What moves users beside the intercepts, by section of the world's config."""
    config = world.population.config
    rows = []
    for name in _SECTIONS:
        section = getattr(config, name)
        switches = [getattr(section, switch) for switch in _SWITCHES.get(name, ())] or [1.0]
        fields = type(section).model_fields
        settings = [
            {"name": key, "value": value, "meaning": fields[key].description or ""}
            for key, value in section.model_dump().items()
        ]
        on = config.marginals.organic_share > 0 if name == "organic" else any(switches)
        rows.append({"section": name, "on": on, "settings": settings})
    return rows


def traffic(week: Week) -> dict[str, Any]:
    """Requests by hour (shares, beside those that the profile of sessions asks for) and by weekday."""
    hour = np.concatenate([day.time_ms for day in week.days]) % DAY_MS // HOUR_MS
    profile = np.array(week.world.population.config.traffic.hour_weight)
    return {
        "hour": shares(np.bincount(hour, minlength=24)),
        "hour_asked": shares(profile),
        "weekday": [week.scale * len(day) for day in week.days],
    }


def activity(week: Week) -> dict[str, Any]:
    """The Lorenz curve of the users' expected sessions on a mean day."""
    users, config = week.world.population.users, week.world.population.config
    visits = np.sort(users.activity * staying(week.minds.fatigue, config.fatigue, 0))
    total = np.concatenate(([0.0], np.cumsum(visits))) / visits.sum()
    step = np.linspace(0, 1, len(total))
    at = np.linspace(0, 1, 101)
    curve = np.interp(at, step, total)
    return {
        "users": at.tolist(),
        "requests": curve.tolist(),
        "tenths": np.diff(curve[::10]).tolist(),
        "top_tenth": float(1 - curve[90]),
        "gini": float(1 - 2 * np.trapezoid(total, step)),
    }


def examination(world: World) -> list[dict[str, Any]]:
    """Probability that each slot is looked at, if nothing above is clicked, by surface and platforms that are alike."""
    surfaces = world.population.config.feed.surfaces
    rows = []
    for surface, effect in zip(surfaces, world.laws.examination.effect, strict=True):
        alike: dict[tuple[float, ...], list[int]] = {}
        for platform, slots in enumerate(effect.tolist()):
            alike.setdefault(tuple(slots), []).append(platform)
        rows += [{"surface": surface.name, "platforms": on, "effect": list(slots)} for slots, on in alike.items()]
    return rows


def delays(world: World) -> dict[str, Any]:
    """Distribution functions of the time from click to each event that can happen, the mean over campaigns."""
    marginals = world.population.config.marginals
    asked = marginals.delay
    hours = np.unique(np.concatenate((np.geomspace(1 / 60, 1_440, 81), [point.hours for point in asked])))
    happens = {event for event in EVENTS if event != "sign_up" or world.intercepts.sign_up != NEVER}

    def cdf(event: str, at: FloatArray) -> list[float]:
        return world.delay_cdf(EVENTS.index(event), at, checkout=marginals.cvr / marginals.carts).tolist()

    return {
        "hours": hours.tolist(),
        "events": {event: cdf(event, hours) for event in EVENTS if event in happens},
        "asked": [{"hours": point.hours, "share": point.share} for point in asked],
        "milestones": {"hours": list(_MILESTONES), "checkout": cdf("checkout", np.array(_MILESTONES))},
    }


def appeal(population: Population) -> dict[str, Any]:
    """Click appeal against purchase appeal of stores; the purchase appeal without the part of the quality."""
    stores = population.stores
    return {
        "click": _figures(stores.click_appeal[:_STORES]),
        "purchase": _figures(stores.purchase_appeal[:_STORES]),
        "correlation": correlation(stores.click_appeal, stores.purchase_appeal),
        "asked": population.config.taste.appeal_correlation,
    }


def prices(stores: Stores) -> dict[str, Any]:
    """Price levels, and the true quality behind the stars."""
    level = np.exp(stores.log_price.astype(np.float64))
    return {
        "level": histogram(level, np.linspace(level.min(), level.max() + 1e-9, 31)),
        "quality": _figures(stores.quality[:_STORES]),
        "rating": _figures(stores.rating[:_STORES]),
        "quality_and_rating": correlation(stores.quality, stores.rating),
        "quality_and_price": correlation(stores.quality, stores.log_price),
        "quality_and_popularity": correlation(stores.quality, np.log(stores.popularity)),
    }


def known_stores(population: Population) -> dict[str, Any]:
    """How many stores users had ordered from before the start."""
    known = (population.habits.store >= 0).sum(axis=1)
    n = np.bincount(known, minlength=population.habits.store.shape[1] + 1)
    return {
        "stores": list(range(len(n))), "share": shares(n), "mean": float(known.mean()),
        "asked": population.config.habit.history_stores,
    }  # fmt: skip


def appetites(week: Week) -> dict[str, Any]:
    """Logits that a habit adds, over days since the last order, for habits whose period is at each quartile of some."""
    population = week.world.population
    laws, seed = population.tastes.appetite, population.tastes.seed
    user, place = (found[:_PAIRS] for found in np.nonzero(population.habits.store >= 0))
    pairs = list(zip(user.tolist(), population.habits.store[user, place].tolist(), strict=True))
    pairs.sort(key=lambda pair: period_of(seed, laws, *pair))
    days = np.arange(0, 42.25, 0.25)
    curves = []
    for quartile in _QUARTILES if pairs else ():
        user, store = pairs[int(quartile * (len(pairs) - 1))]
        own = daypart_of_habit(seed, user, store, int(population.users.daypart[user]))
        inside, outside = (_appetite(population, user, store, part, days) for part in (own, (own + 3) % DAYPARTS))
        period = period_of(seed, laws, user, store) / DAY_MS
        curves.append({"quartile": quartile, "period_days": period, "in_daypart": inside, "elsewhere": outside})
    return {"days": days.tolist(), "curves": curves}


def _appetite(population: Population, user: int, store: int, part: int, days: FloatArray) -> list[float]:
    """Logits of a known store in a part of the day, for each number of days since the last order there."""
    tastes, now = population.tastes, 100 * DAY_MS + part * (DAY_MS // DAYPARTS)
    usual, explores = int(tastes.user_daypart[user]), float(tastes.user_exploration[user])
    last = (now - days * DAY_MS).astype(np.int64).tolist()
    return [appetite(tastes.seed, tastes.appetite, t, True, user, store, now, usual, explores, 0) for t in last]


def need_shown(week: Week) -> dict[str, Any]:
    """What the views and searches of the first day show of the need: shares of views, of stores by chance, of requests."""
    population, requests = week.world.population, week.days[0]
    visits = week.world.browse(requests, week.minds)
    siblings, dish = population.tastes.siblings, population.stores.dish
    need, looked, view = visits.need[:, None], visits.view >= 0, dish[visits.view]
    same = looked & (view == need)
    kin = looked & ~same & (view // siblings == need // siblings)
    chance = _by_chance(population, visits.need, population.users.region[requests.user])
    return {
        "views": dict(zip(_NEARNESS, shares([same.sum(), kin.sum(), (looked & ~same & ~kin).sum()]), strict=True)),
        "chance": dict(zip(_NEARNESS, chance, strict=True)),
        "requests": dict(zip(_SIGNS, _first_of([visits.query >= 0, same.any(axis=1), kin.any(axis=1)]), strict=True)),
        "known_share": float(visits.known.sum() / max(looked.sum(), 1)),
        "views_per_request": float(looked.sum(axis=1).mean()),
        "orders_per_request": float((visits.ordered >= 0).mean()),
    }


def _by_chance(population: Population, need: IntArray, region: IntArray) -> list[float]:
    """Shares of the dish needed, of its cuisine and of others in the popularity of a region's stores; needs of -1 left out."""
    stores, siblings = population.stores, population.tastes.siblings
    weight = np.zeros((population.config.population.regions, population.shelf.n_dishes))
    np.add.at(weight, (stores.region, stores.dish), stores.popularity)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    asked = need >= 0
    same = weight[region[asked], need[asked]]
    cuisine = weight.reshape(len(weight), -1, siblings).sum(axis=2)[region[asked], need[asked] // siblings]
    return shares([same.sum(), (cuisine - same).sum(), (1 - cuisine).sum()])


def _first_of(flags: list[BoolArray]) -> list[float]:
    """Shares of the rows by the first flag that they have set, then of those that have none."""
    last = np.ones_like(flags[0])
    first = np.argmax(np.stack([*flags, last], axis=1), axis=1)
    return shares(np.bincount(first, minlength=len(flags) + 1))


def drift(population: Population) -> dict[str, Any]:
    """Logits that the calendar adds to the click appeal of the first stores and to the first cuisine, over 28 days."""
    days = np.arange(0, 28.25, 0.25)
    law, seed = population.tastes.drift, population.tastes.seed
    time_ms, stores = (days * DAY_MS).astype(np.int64).tolist(), range(min(_DRIFTING, len(population.stores.region)))
    return {
        "days": days.tolist(),
        "stores": [[drifted(seed, law, store, t) for t in time_ms] for store in stores],
        "cuisine": [season(law, 0, turn(law, t)) for t in time_ms],
    }


def campaigns(population: Population) -> dict[str, Any]:
    """Bids by pricing, as quartiles, and daily budgets."""
    found = population.campaigns
    bids = []
    for position, name in enumerate(PRICINGS):
        own = found.bid_usd[found.pricing == position]
        if len(own):
            low, q1, median, q3, high = np.quantile(own, (0.0, *_QUARTILES, 1.0)).tolist()
            five = {"low": low, "q1": q1, "median": median, "q3": q3, "high": high}
            bids.append({"pricing": name, "unit": _BID_UNITS[name], "campaigns": len(own)} | five)
    budget = found.daily_budget_usd
    edges = np.geomspace(budget.min(), budget.max() * (1 + 1e-9), 21)
    return {"bids": bids, "budget_usd": histogram(budget, edges)}


def candidate_fit(week: Week) -> dict[str, Any]:
    """Taste x style of the ads that requests at noon might get and of those retrieved, in standard deviations by chance."""
    population, today = week.world.population, week.days[0]
    noon = int(np.searchsorted(today.time_ms, DAY_MS // 2))
    requests = today.rows(noon, noon + _SEARCHES)
    pool = population.pool(population.live(DAY_MS // 2))
    query = week.world.browse(requests, week.minds).query
    retrieved = week.world.candidates(requests, query, week.minds, pool)
    eligible, index, familiar = [np.empty(0)], [np.empty(0)], [np.empty(0)]
    for user, row in zip(requests.user, retrieved, strict=True):
        ads = row[row >= 0]
        known = np.isin(population.ads.store[ads], week.minds.habits.store[user])
        eligible.append(_fit(population, user, population.eligible(pool, user)))
        index.append(_fit(population, user, ads[~known]))
        familiar.append(_fit(population, user, ads[known]))
    groups = {"eligible": eligible, "nearest to the taste": index, "known stores": familiar}
    fit = {name: np.concatenate(parts) for name, parts in groups.items()}
    edges = np.linspace(-_FURTHEST, _FURTHEST, 41)
    return {
        "groups": {name: histogram(np.clip(x, -_FURTHEST, _FURTHEST), edges) for name, x in fit.items()},
        "mean": {name: float(x.mean()) if len(x) else None for name, x in fit.items()},
        "eligible_per_request": len(fit["eligible"]) / max(len(requests), 1),
        "retrieved_per_request": float((retrieved >= 0).sum() / max(len(requests), 1)),
    }


def _fit(population: Population, user: int, ads: IdArray) -> FloatArray:
    taste = population.users.taste[user].astype(np.float64)
    return population.stores.style[population.ads.store[ads]] @ taste / np.sqrt(len(taste))


def histogram(x: FloatArray, edges: FloatArray) -> dict[str, list[float]]:
    """Shares of `x` between neighbouring edges (b + 1,); the last edge belongs to the last bin."""
    return {"edges": edges.tolist(), "share": shares(np.histogram(x, edges)[0])}


def shares(n: Any) -> list[float]:
    """Parts of the whole; all 0 where there is nothing."""
    parts = np.asarray(n, np.float64)
    return (parts / (parts.sum() or 1.0)).tolist()


def correlation(a: FloatArray | Float32Array, b: FloatArray | Float32Array) -> float | None:
    """Pearson's; None where one of the two is constant."""
    return None if a.std() == 0 or b.std() == 0 else float(np.corrcoef(a, b)[0, 1])


def _figures(x: Float32Array) -> list[float]:
    """Rounded, so that a page of thousands of points stays small."""
    return np.round(x.astype(np.float64), 4).tolist()


def _mean(x: list[int]) -> float:
    return float(np.mean(x))
