"""The organic surface: which stores users look at, and what they order there without ads."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from synth.organic import displaced
from synth.types import DAY_MS, HOUR_MS, Requests, Visits
from synth.world import World, populate, rebuild

PLAUSIBLE = 1e-4
NOON = 20 * DAY_MS + 13 * HOUR_MS  # when all stores are open
USER, N = 7, 8_000


def with_(world: World, changed, **sections) -> World:
    return rebuild(populate(changed(**sections), world.population.seed), world.solved, [])


def look(world: World, time_ms: int = NOON, n: int = N, user: int = USER) -> Visits:
    """n requests of one user at one time."""
    requests = Requests(
        id=np.arange(n) << 5,
        user=np.full(n, user, np.int32),
        time_ms=np.full(n, time_ms),
        surface=np.zeros(n, np.int32),
    )
    return world.browse(requests, world.minds())


def stock(world: World, user: int = USER) -> np.ndarray:
    """(S,) popularity of the stores of the user's region, 0 elsewhere."""
    stores = world.population.stores
    return np.where(stores.region == world.population.users.region[user], stores.popularity, 0.0)


def plausible(seen: np.ndarray, p: np.ndarray) -> bool:
    n = seen.sum()
    often = p * n > 5
    expected = n * np.append(p[often], max(p[~often].sum(), 1e-12))
    return stats.chisquare(np.append(seen[often], seen[~often].sum()), expected).pvalue > PLAUSIBLE


@pytest.mark.parametrize("mean", [0.0, 0.7, 2.0])
def test_numbers_of_views_are_poisson_up_to_four(world, changed, mean):
    view = look(with_(world, changed, intent={"views": mean})).view

    law = stats.poisson.pmf(np.arange(4), mean)
    assert plausible(np.bincount((view >= 0).sum(axis=1), minlength=5), np.append(law, 1 - law.sum()))


def test_views_stand_at_the_front(visits, world):
    view = look(world).view

    assert (np.diff((view < 0).astype(int), axis=1) >= 0).all()
    assert visits.view.shape[1] == 4


def test_views_of_known_stores_have_their_share_and_are_spread_evenly_over_them(world, changed):
    """A view that does not look for a known store finds one all the same, by popularity."""
    loyal = with_(world, changed, habit={"familiar_views": 0.4}, intent={"focus": 0.0})
    known = loyal.population.habits.store[USER]
    known = known[known >= 0]
    view = look(loyal).view

    p = 0.6 * stock(loyal) / stock(loyal).sum()
    p[known] += 0.4 / len(known)
    assert len(known) >= 3
    assert plausible(np.bincount(view[view >= 0], minlength=240), p)


@pytest.mark.parametrize("familiar", [0.0, 0.4])
@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0])
def test_views_show_the_need_with_the_probability_of_focus(world, changed, errors, focus, familiar):
    """Other views are of the dish needed by chance, and so are those of known stores."""
    focused = with_(world, changed, habit={"familiar_views": familiar}, intent={"focus": focus})
    got = look(focused)
    seen = got.view >= 0
    weight, dish = stock(focused), focused.population.stores.dish
    by_chance = np.bincount(dish, weight, minlength=24) / weight.sum()
    habits = focused.population.habits.store[USER]
    of_known = np.bincount(dish[habits[habits >= 0]], minlength=24) / (habits >= 0).sum()

    need = np.broadcast_to(got.need[:, None], got.view.shape)[seen]
    p = (1 - familiar) * (focus + (1 - focus) * by_chance[need]) + familiar * of_known[need]
    shows = dish[got.view[seen]] == need
    if focus == 1 and familiar == 0:
        assert shows.all()
    else:
        assert errors(shows, p) < 4


def test_views_of_the_dish_needed_are_by_popularity(world, changed):
    focused = with_(world, changed, habit={"familiar_views": 0.0}, intent={"focus": 1.0})
    got, weight, dish = look(focused), stock(focused), focused.population.stores.dish
    usual = np.bincount(got.need).argmax()
    of_dish = np.where(dish == usual, weight, 0.0)

    view = got.view[got.need == usual]

    assert (of_dish > 0).sum() > 1
    assert plausible(np.bincount(view[view >= 0], minlength=240), of_dish / of_dish.sum())


def test_who_looks_for_a_dish_whose_stores_are_all_closed_finds_nothing(world, changed):
    focused = with_(world, changed, habit={"familiar_views": 0.0}, intent={"focus": 1.0})
    got, stores = look(focused), focused.population.stores
    usual = np.bincount(got.need).argmax()
    opens = np.where(stores.dish == usual, NOON + 1, stores.launch_ms)
    tastes = focused.population.tastes._replace(store_launch_ms=opens)

    closed = look(rebuild(replace(focused.population, tastes=tastes), focused.solved, []))

    assert (closed.view[closed.need == usual] == -1).all()
    assert np.array_equal(closed.view[closed.need != usual], got.view[got.need != usual])


@pytest.mark.parametrize("time_ms", [0, 5 * DAY_MS, NOON])
def test_nobody_looks_at_a_store_before_it_opens(world, time_ms):
    view = look(world, time_ms).view
    seen = np.unique(view[view >= 0])
    late = (world.population.stores.launch_ms > 0) & (stock(world) > 0)

    assert (world.population.stores.launch_ms[seen] <= time_ms).all()
    if time_ms == NOON:
        assert late[seen].any()


def test_views_are_of_the_users_region(visits, requests, population):
    row, place = np.nonzero(visits.view >= 0)

    region = population.stores.region[visits.view[row, place]]
    assert np.array_equal(region, population.users.region[requests.user[row]])


def test_chances_are_the_logistic_of_half_the_wish_purchase_appeal_and_habit(world, minds, requests, visits, by_hand):
    row, place = np.nonzero(visits.view >= 0)
    store, x = visits.view[row, place], world.intercepts

    _, order, own, known = by_hand(world, minds, requests.user[row], store, requests.time_ms[row], visits.need[row])

    np.testing.assert_allclose(visits.chance[row, place], expit(x.organic + order + own + x.habit * known), rtol=2e-5)
    assert np.array_equal(visits.known[row, place], known)
    assert known.any() and not known.all()


def test_places_without_a_view_have_no_chance(visits):
    assert not visits.chance[visits.view < 0].any()
    assert not visits.known[visits.view < 0].any()


def test_orders_come_with_their_chances_view_by_view_until_the_first(visits, errors):
    p = visits.chance.astype(float)
    before = np.cumprod(np.column_stack([np.ones(len(p)), 1 - p[:, :-1]]), axis=1)

    first = np.argmax(visits.view == visits.ordered[:, None], axis=1)
    at = (visits.ordered[:, None] >= 0) & (first[:, None] == np.arange(4))
    repeated = np.array([len(set(v[v >= 0])) < (v >= 0).sum() for v in visits.view])  # the same store seen twice
    for place in range(4):
        assert errors(at[~repeated, place], (before * p)[~repeated, place]) < 4
    assert errors(visits.ordered >= 0, 1 - np.prod(1 - p, axis=1)) < 4


def test_orders_are_of_stores_looked_at_and_have_a_value_and_nothing_else_has(visits):
    ordered = visits.ordered >= 0

    assert ordered.sum() > 1_000
    assert (visits.view == visits.ordered[:, None]).any(axis=1)[ordered].all()
    assert np.array_equal(visits.value_micros > 0, ordered)


def test_values_are_lognormal_with_mean_basket_times_price_level(visits, world):
    ordered = visits.ordered >= 0
    mean = np.log(32.0) + world.population.stores.log_price[visits.ordered[ordered]]

    z = (np.log(visits.value_micros[ordered] / 1e6) - mean + 0.4**2 / 2) / 0.4
    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


def test_visits_do_not_depend_on_the_batch(world, minds, requests, visits):
    order = np.random.default_rng(2).permutation(len(requests))

    for rows in (order[:3_000], order[3_000:3_001]):
        part = world.browse(requests.take(rows), minds)
        for name in visits.__dataclass_fields__:
            assert np.array_equal(getattr(part, name), getattr(visits, name)[rows]), name


def test_nothing_is_ordered_without_ads_where_the_intercept_is_that_of_never(world, requests, minds, solved):
    never = rebuild(world.population, solved._replace(intercepts=solved.intercepts._replace(organic=-1_000.0)), [])
    got = never.browse(requests, minds)

    assert not got.chance.any()
    assert (got.ordered == -1).all()
    assert (got.view >= 0).any()


@pytest.mark.parametrize("substitution", [0.0, 0.35, 1.0])
def test_an_order_after_an_ad_takes_the_place_of_the_organic_one_by_substitution(requests, visits, substitution):
    bought = np.arange(len(requests)) % 3 > 0

    gone = displaced(11, requests, visits, bought, substitution)

    both = bought & (visits.ordered >= 0)
    assert not gone[~both].any()
    p = substitution
    assert gone[both].mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / both.sum()))


def test_whether_an_order_is_displaced_does_not_depend_on_what_else_is_bought(world, requests, visits):
    everything = world.displaced(requests, visits, np.ones(len(requests), bool))
    some = np.arange(len(requests)) % 2 > 0

    assert np.array_equal(world.displaced(requests, visits, some), everything & some)
