"""Features: what models see, and when."""

from dataclasses import replace

import numpy as np
import pytest

from marketplace.features import new_features
from marketplace.orders import ORDER
from marketplace.sequences import SEARCHES, VIEWS, Recent
from synth.types import CART, CHECKOUT, DAY_MS, HOUR_MS, Requests


@pytest.fixture
def features(tiny, world):
    return new_features(world.population, tiny.features.smoothing)


NO_VIEWS = np.full((1, VIEWS), -1, np.int32)


def request(user, time_ms=30 * HOUR_MS, page=1):
    one = np.zeros(1, np.int32)
    return Requests(id=np.array([page]), user=one + user, time_ms=np.array([time_ms]), surface=one)


def look(features, user, candidates, *, time_ms=30 * HOUR_MS, query=-1, views=NO_VIEWS):
    recent = Recent(views=views, searches=np.full((1, SEARCHES), -1, np.int32))
    return features.observe(request(user, time_ms), np.array([query], np.int32), recent, candidates)


def order(user, store, ad, time_ms, event=CHECKOUT):
    orders = np.zeros(1, ORDER)
    orders["user"], orders["store"], orders["ad"], orders["time_ms"] = user, store, ad, time_ms
    orders["attributed"], orders["event"] = True, event
    return orders


def click(user, *ads):
    """What `count_shown` takes of one request whose ads were all clicked."""
    shown = np.array([ads], np.int32)
    return np.array([user], np.int32), shown, shown >= 0, np.ones(len(ads))


def unknown_store(world, user):
    known = set(world.population.habits.store[user].tolist())
    return next(ad for ad, store in enumerate(world.population.ads.store.tolist()) if store not in known)


def test_an_order_is_seen_once_it_is_published_and_not_before(features, world):
    user, ad = 3, unknown_store(world, 3)
    candidates = np.array([[ad]], np.int32)
    features.count_orders(order(user, world.population.ads.store[ad], ad, 29 * HOUR_MS))

    before = look(features, user, candidates)
    features.publish()
    after = look(features, user, candidates)

    assert before.cross[0, 0, 0] == 0 and before.cross[0, 0, 1] == -1
    assert after.cross[0, 0, 0] == pytest.approx(np.log(2))
    assert after.cross[0, 0, 1] == pytest.approx(np.log1p(1 / 24))
    assert world.population.ads.store[ad] == after.lists[0].values[0]


def test_request_columns_are_hour_weekday_region_platform_cohort_surface_and_query(features, world):
    users = world.population.users
    batch = look(features, 5, np.array([[0]], np.int32), time_ms=9 * DAY_MS + 13 * HOUR_MS, query=7)

    assert batch.categorical[0].tolist() == [13, 2, users.region[5], users.platform[5], users.cohort[5], 0, 7]


def test_cuisine_share_is_the_share_of_the_users_stores_with_that_cuisine(features, world):
    population = world.population
    user = int(np.argmax((population.habits.store >= 0).sum(axis=1)))
    stores = population.habits.store[user][population.habits.store[user] >= 0]
    ads = np.arange(len(population.ads.store), dtype=np.int32)
    cross = look(features, user, ads[None, :]).cross[0]
    cuisine = population.stores.cuisine

    expected = [(cuisine[stores] == cuisine[population.ads.store[ad]]).mean() for ad in ads]
    assert cross[:, 2] == pytest.approx(expected)
    assert ((cross[:, 0] > 0) == np.isin(population.ads.store, stores)).all()


def test_an_empty_place_among_the_candidates_has_no_features(features):
    cross = look(features, 0, np.array([[-1]], np.int32)).cross

    assert cross[0, 0].tolist() == [0, -1, 0, 0, 0, 0]


def test_rates_of_ads_are_relative_to_the_mean_and_drawn_towards_it(features, world):
    effect = np.array([1.0, 0.5])
    user, ad = np.zeros(300, np.int32), np.tile(np.array([[0, 1]], np.int32), (300, 1))
    clicked = np.zeros((300, 2), np.bool_)
    clicked[:60, 0] = True
    features.count_shown(user, ad, clicked, effect)
    features.publish()
    ctr = features.ads.dense[:, 3]

    mean = 60 / 450  # clicks per examined impression: 300 of ad 0, 150 of ad 1
    assert ctr[0] == pytest.approx(np.log((60 + 200 * mean) / (mean * 500)), abs=1e-5)
    assert ctr[1] == pytest.approx(np.log(200 / 350), abs=1e-5)
    assert ctr[2] == pytest.approx(0, abs=1e-5)


def test_a_new_table_of_ads_is_a_new_object_so_that_models_can_cache_by_identity(features):
    before = features.ads
    assert look(features, 0, np.array([[0]], np.int32)).ads is before

    features.publish()

    assert features.ads is not before


def test_a_copy_goes_its_own_way(features):
    twin = features.copy()
    twin.count_orders(order(1, 2, 0, 5))
    twin.count_shown(*click(1, 0))
    features.publish()  # what the copy has yet to publish is its own, too
    twin.publish()
    twin.searches[1, 0] = 3

    assert features.store_orders[2] == twin.store_orders[2] - 1
    assert twin.clicks[1, 0] == features.population.ads.store[0]
    assert (features.clicks == -1).all() and (features.searches == -1).all()
    assert (features.history.store[1] != twin.history.store[1]).any() or (
        features.history.orders[1] != twin.history.orders[1]
    ).any()


def test_only_checkouts_are_remembered_as_orders(features):
    twin = features.copy()
    twin.count_orders(order(1, 2, 0, 5, event=CART))
    twin.publish()

    assert twin.store_orders[2] == features.store_orders[2]
    assert (twin.history.orders == features.history.orders).all()


def test_views_of_a_session_are_kept_most_recent_first_and_forgotten_in_the_next(features, world):
    def visit(page, *stores):
        view = np.array([[*stores, *[-1] * (4 - len(stores))]], np.int32)
        visits = world.browse(request(3, page=page), world.minds())
        return features.see(request(3, page=page), replace(visits, view=view)).views[0].tolist()

    assert visit(32, 5, 6) == [6, 5] + [-1] * 6
    assert visit(33, 7) == [7, 6, 5] + [-1] * 5
    assert visit(34, 1, 2, 3, 4) == [4, 3, 2, 1, 7, 6, 5, -1]
    assert visit(35, 8, 9) == [9, 8, 4, 3, 2, 1, 7, 6]  # the oldest is given up
    assert visit(64, 5) == [5] + [-1] * 7  # another session


def test_viewed_dish_and_cuisine_are_shares_of_the_sessions_views(features, world):
    stores, siblings = world.population.stores, world.population.tastes.siblings
    viewed = np.array([0, 1, 2, 3], np.int32)
    ads = np.arange(len(world.population.ads.store), dtype=np.int32)
    views = np.concatenate([viewed, np.full(VIEWS - 4, -1, np.int32)])[None, :]

    batch = look(features, 3, ads[None, :], views=views)

    dish = stores.dish[world.population.ads.store]
    assert batch.cross[0, :, 3] == pytest.approx([(stores.dish[viewed] == d).mean() for d in dish])
    assert batch.cross[0, :, 4] == pytest.approx(
        [(stores.dish[viewed] // siblings == d // siblings).mean() for d in dish]
    )
    assert batch.lists[1].values.tolist() == viewed.tolist()
    assert batch.lists[2].values.tolist() == stores.dish[viewed].tolist()


def test_query_match_is_one_for_the_dish_and_a_half_for_its_cuisine(features, world):
    stores, siblings = world.population.stores, world.population.tastes.siblings
    ads = np.arange(len(world.population.ads.store), dtype=np.int32)
    dish = stores.dish[world.population.ads.store]

    asked = look(features, 3, ads[None, :], query=int(dish[0])).cross[0, :, 5]
    unasked = look(features, 3, ads[None, :]).cross[0, :, 5]

    same_cuisine = dish // siblings == dish[0] // siblings
    assert asked.tolist() == np.where(dish == dish[0], 1.0, np.where(same_cuisine, 0.5, 0.0)).tolist()
    assert same_cuisine.sum() > (dish == dish[0]).sum() and not unasked.any()


def test_ads_carry_the_content_of_their_stores(features, world):
    content, store = world.population.content, world.population.ads.store

    assert np.array_equal(features.ads.vector, np.concatenate([content.text[store], content.visual[store]], axis=1))
