"""The organic surface: which stores users look at, and what they order there without ads."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax

from synth.habits import Habits
from synth.organic import displaced
from synth.types import DAY_MS, HOUR_MS, Requests, Visits
from synth.world import Minds, World, populate, rebuild

PLAUSIBLE = 1e-4
NOON = 20 * DAY_MS + 13 * HOUR_MS  # when all stores are open
USER, N = 7, 8_000


def with_(world: World, changed, **sections) -> World:
    return rebuild(populate(changed(**sections), world.population.seed), world.solved, [])


def look(world: World, time_ms: int = NOON, n: int = N, user: int = USER, minds: Minds | None = None) -> Visits:
    """n requests of one user at one time."""
    requests = Requests(
        id=np.arange(n) << 5,
        user=np.full(n, user, np.int32),
        time_ms=np.full(n, time_ms),
        surface=np.zeros(n, np.int32),
    )
    return world.browse(requests, minds or world.minds())


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


@pytest.mark.parametrize("hour", [3, 13])
def test_views_of_known_stores_have_their_share_and_go_to_each_by_the_exponential_of_appetite(
    world, changed, by_hand, hour
):
    """A view that does not look for a known store finds one all the same, by popularity."""
    loyal = with_(
        world, changed, habit={"familiar_views": 0.4, "period_days": 30.0, "renewal": 3.0}, intent={"focus": 0.0}
    )
    known, time_ms = loyal.population.habits.store[USER], 15 * DAY_MS + hour * HOUR_MS
    known = known[known >= 0]
    n = len(known)
    appetite = by_hand(
        loyal, loyal.minds(), np.full(n, USER), known, np.full(n, time_ms), np.full(n, -1)
    )[2]  # fmt: skip
    view = look(loyal, time_ms).view

    p = 0.6 * stock(loyal) / stock(loyal).sum()
    p[known] += 0.4 * softmax(appetite)
    assert n >= 3
    assert np.ptp(appetite) > 0.3
    assert plausible(np.bincount(view[view >= 0], minlength=240), p)


def test_a_store_ordered_from_just_now_is_looked_at_less_than_one_ordered_from_long_ago(world, changed, errors):
    """Renewal 2: appetites are 2 (exp(-1/2) - 1) and 2 exp(-1/2), so weights are as 1 to e^2; the third place is free."""
    loyal = with_(world, changed, habit={"familiar_views": 1.0, "renewal": 2.0, "daypart": 0.0})
    here = np.flatnonzero(stock(loyal) > 0)[:2]
    store, since = np.full((2_000, 3), -1, np.int32), np.zeros((2_000, 3), np.int64)
    store[:, :2], since[:, :2] = here, (NOON, NOON - 2_000 * DAY_MS)
    minds = Minds(Habits(store, (store >= 0).astype(np.int32), since), loyal.minds().fatigue)

    view = look(loyal, minds=minds).view

    recent = view[view >= 0] == here[0]
    assert set(view[view >= 0]) == set(here)
    assert errors(recent, np.full(len(recent), 1 / (1 + np.exp(2)))) < 4


def test_who_knows_no_store_looks_at_others_however_loyal(world, changed):
    loyal = with_(world, changed, habit={"familiar_views": 1.0}, intent={"focus": 0.0})
    free = np.full((2_000, 3), -1, np.int32)
    strangers = Minds(Habits(free, np.zeros_like(free), np.zeros(free.shape, np.int64)), loyal.minds().fatigue)

    view = look(loyal, minds=strangers).view

    assert plausible(np.bincount(view[view >= 0], minlength=240), stock(loyal) / stock(loyal).sum())


@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0])
def test_views_show_the_need_with_the_probability_of_focus(world, changed, errors, focus):
    """A focused view goes in one of four cases to any dish of the cuisine needed; others show the dish needed by chance."""
    focused = with_(world, changed, habit={"familiar_views": 0.0}, intent={"focus": focus})
    got = look(focused)
    seen = got.view >= 0
    weight, dish = stock(focused), focused.population.stores.dish
    by_chance = np.bincount(dish, weight, minlength=24) / weight.sum()

    cuisine = by_chance.reshape(8, 3).sum(axis=1)
    in_cuisine = by_chance / np.maximum(np.repeat(cuisine, 3), 1e-300)

    need = np.broadcast_to(got.need[:, None], got.view.shape)[seen]
    of_dish, of_cuisine = dish[got.view[seen]] == need, dish[got.view[seen]] // 3 == need // 3
    assert errors(of_dish, focus * (0.75 + 0.25 * in_cuisine[need]) + (1 - focus) * by_chance[need]) < 4
    if focus == 1:
        assert of_cuisine.all()
    else:
        assert errors(of_cuisine, focus + (1 - focus) * cuisine[need // 3]) < 4


def test_focused_views_are_by_popularity_three_in_the_dish_needed_and_one_in_its_cuisine(world, changed):
    focused = with_(world, changed, habit={"familiar_views": 0.0}, intent={"focus": 1.0})
    got, weight, dish = look(focused), stock(focused), focused.population.stores.dish
    usual = np.bincount(got.need).argmax()
    of_dish, of_cuisine = (np.where(part, weight, 0.0) for part in (dish == usual, dish // 3 == usual // 3))

    view = got.view[got.need == usual]

    assert (of_cuisine > 0).sum() > (of_dish > 0).sum() > 1
    p = 0.75 * of_dish / of_dish.sum() + 0.25 * of_cuisine / of_cuisine.sum()
    assert plausible(np.bincount(view[view >= 0], minlength=240), p)


def test_who_looks_for_a_dish_whose_stores_are_all_closed_finds_nothing_but_others_of_its_cuisine(world, changed):
    """Those come of the views that wander: one in four, unless each of four tries is at a closed store."""
    focused = with_(world, changed, habit={"familiar_views": 0.0}, intent={"focus": 1.0})
    got, stores = look(focused), focused.population.stores
    usual = np.bincount(got.need).argmax()
    opens = np.where(stores.dish == usual, NOON + 1, stores.launch_ms)
    tastes = focused.population.tastes._replace(store_launch_ms=opens)

    closed = look(rebuild(replace(focused.population, tastes=tastes), focused.solved, []))

    wanted = got.view[got.need == usual] >= 0
    found = closed.view[got.need == usual][wanted]
    cuisine = np.where(stores.dish // 3 == usual // 3, stock(focused), 0.0)
    shut = cuisine[stores.dish == usual].sum() / cuisine.sum()
    p = 0.25 * (1 - shut**4)
    assert 0.1 < shut < 0.9
    assert (found >= 0).mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / wanted.sum()))
    assert (stores.dish[found[found >= 0]] // 3 == usual // 3).all()
    assert not (stores.dish[found[found >= 0]] == usual).any()
    elsewhere = got.need // 3 != usual // 3
    assert np.array_equal(closed.view[elsewhere], got.view[elsewhere])


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
