"""Sessions: a need is drawn by taste, hour and season, lives for a session, and is searched for now and then."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from synth import draws, sessions, traffic
from synth.draws import Cause
from synth.items import make_shelf
from synth.types import DAY_MS, HOUR_MS, Requests
from synth.world import World, populate, rebuild

PLAUSIBLE = 1e-4
USER = 7
NOON = 20 * DAY_MS + 13 * HOUR_MS


def visits(pages: int = 1, n: int = 6_000, time_ms: int = NOON, user: int = USER, seed: int = 0) -> Requests:
    """n sessions of `pages` requests of one user, all at one time."""
    ids = (np.arange(n)[:, None] << 5 | np.arange(pages)).ravel() + (seed << 40)
    return Requests(
        id=ids, user=np.full(len(ids), user, np.int32), time_ms=np.full(len(ids), time_ms), surface=np.zeros(len(ids), np.int32)
    )  # fmt: skip


def needs(world: World, requests: Requests) -> np.ndarray:
    return world.browse(requests, world.minds()).need


def with_(world: World, changed, **sections) -> World:
    return rebuild(populate(changed(**sections), world.population.seed), world.solved, [])


def law(world: World, time_ms: int, user: int = USER) -> np.ndarray:
    """(dishes,) probabilities of a user's need, by the documented weights."""
    p, c = world.population, world.population.config
    stores, days = p.stores, time_ms / DAY_MS
    here = stores.region == p.users.region[user]
    part, cuisine = int(time_ms // HOUR_MS % 24 // 4), np.arange(8)
    weight = np.exp(
        c.taste.match * p.cuisine_style @ p.users.taste[user] / np.sqrt(8)
        + c.taste.daypart * draws.normal(p.seed, Cause.CUISINE_DAYPART, part, cuisine)
        + c.drift.season
        * np.sin(2 * np.pi * (days / c.drift.season_days + draws.uniform(p.seed, Cause.CUISINE_SEASON, cuisine)))
    ) * np.isin(cuisine, stores.cuisine[here])
    stock = np.bincount(stores.dish[here], stores.popularity[here], minlength=24)
    within = stock.reshape(8, 3) / np.maximum(stock.reshape(8, 3).sum(axis=1, keepdims=True), 1e-300)
    return (weight[:, None] / weight.sum() * within).ravel()


def plausible(need: np.ndarray, p: np.ndarray) -> bool:
    seen = np.bincount(need, minlength=len(p))
    assert not seen[p == 0].any()
    often = p * len(need) > 5
    expected = len(need) * np.append(p[often], max(p[~often].sum(), 1e-12))
    return stats.chisquare(np.append(seen[often], seen[~often].sum()), expected).pvalue > PLAUSIBLE


@pytest.mark.parametrize(
    ("user", "time_ms"), [(7, NOON), (7, NOON + 7 * DAY_MS), (7, 3 * HOUR_MS), (12, NOON), (13, 0)]
)
def test_a_dish_is_drawn_by_taste_part_of_the_day_season_and_what_the_region_has(world, user, time_ms):
    need = needs(world, visits(time_ms=time_ms, user=user))

    assert plausible(need, law(world, time_ms, user))


def test_needs_of_a_user_without_preferences_are_drawn_by_cuisine_evenly(world, changed):
    flat = with_(world, changed, taste={"match": 0.0, "daypart": 0.0}, drift={"season": 0.0})

    need = needs(flat, visits())

    assert stats.chisquare(np.bincount(need // 3, minlength=8)).pvalue > PLAUSIBLE


def test_no_need_is_one_that_the_region_does_not_have(world):
    p = world.population
    gone = p.stores.cuisine == p.stores.cuisine[0]
    region = np.where(gone, (p.users.region[USER] + 1) % 4, p.stores.region).astype(np.int32)
    shelf = make_shelf(p.stores._replace(region=region), 4, 24, open_now=False)
    moved = rebuild(replace(p, shelf=shelf), world.solved, [])

    need = needs(moved, visits())

    assert (need >= 0).all()
    assert p.stores.cuisine[0] not in need // 3


def test_a_region_with_nothing_leaves_users_without_a_need_and_without_a_search(world):
    p = world.population
    empty = make_shelf(
        p.stores._replace(region=np.full(240, (p.users.region[USER] + 1) % 4, np.int32)), 4, 24, open_now=False
    )
    moved = rebuild(replace(p, shelf=empty), world.solved, [])

    got = moved.browse(visits(n=200), moved.minds())

    assert (got.need == -1).all()
    assert (got.query == -1).all()


@pytest.mark.parametrize("switch", [0.0, 0.3, 1.0])
def test_a_need_stays_to_the_next_page_but_for_the_switch(world, changed, errors, switch):
    """A new need is the old one by chance, too: with the sum of squares of the law."""
    switching = with_(world, changed, intent={"switch": switch})
    need = needs(switching, visits(pages=3)).reshape(-1, 3)

    again = 1 - switch + switch * (law(switching, NOON) ** 2).sum()
    for page in (1, 2):
        same = need[:, page] == need[:, page - 1]
        if switch == 0:
            assert same.all()
        else:
            assert errors(same, np.full(len(same), again)) < 4


def test_after_a_switch_the_need_is_a_new_one_and_stays(world, changed):
    """Pages 0 to 4 of each session: the need of a page is that of the last page that was switched to."""
    switching = with_(world, changed, intent={"switch": 0.4})
    requests = visits(pages=5, n=400)
    need = needs(switching, requests).reshape(-1, 5)
    switched = draws.uniform(switching.population.seed, Cause.NEED_SWITCH, requests.id).reshape(-1, 5) < 0.4

    assert (need[:, 1:] == need[:, :-1])[~switched[:, 1:]].all()
    assert plausible(need[:, 1:][switched[:, 1:]], law(switching, NOON))


def test_needs_of_two_sessions_and_of_two_pages_that_switch_are_drawn_apart(world, changed):
    free = with_(world, changed, intent={"switch": 1.0})
    need = needs(free, visits(pages=2)).reshape(-1, 2)

    for a, b in ((need[:, 0], need[:, 1]), (need[1:, 0], need[:-1, 0])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a))


def test_a_page_is_counted_in_the_bits_that_traffic_gives_it(requests):
    assert sessions._PAGE_MASK == (1 << traffic.PAGE_BITS) - 1
    first = requests.id & sessions._PAGE_MASK == 0
    assert first.sum() == len(np.unique(traffic.session_of(requests.id)))


@pytest.mark.parametrize("search", [0.0, 0.3, 1.0])
def test_the_need_is_searched_for_in_words_by_the_stated_probability(world, changed, search):
    searching = with_(world, changed, intent={"search": search})
    got = searching.browse(visits(), searching.minds())

    asked = got.query >= 0
    assert asked.mean() == pytest.approx(search, abs=4 * np.sqrt(search * (1 - search) / 6_000))
    assert np.array_equal(got.query[asked], got.need[asked])
