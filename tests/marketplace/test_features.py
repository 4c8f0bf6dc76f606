"""Features: what models see, and when."""

import numpy as np
import pytest

from marketplace.features import new_features
from marketplace.orders import ORDER
from synth.types import DAY_MS, HOUR_MS, Requests


@pytest.fixture
def features(tiny, world):
    return new_features(world.population, tiny.features.smoothing)


def request(user, time_ms=30 * HOUR_MS):
    return Requests(id=np.array([1]), user=np.array([user], np.int32), time_ms=np.array([time_ms]))


def order(user, store, ad, time_ms):
    orders = np.zeros(1, ORDER)
    orders["user"], orders["store"], orders["ad"], orders["time_ms"], orders["attributed"] = (
        user,
        store,
        ad,
        time_ms,
        True,
    )
    return orders


def unknown_store(world, user):
    known = set(world.population.habits.store[user].tolist())
    return next(ad for ad, store in enumerate(world.population.ads.store.tolist()) if store not in known)


def test_an_order_is_seen_once_it_is_published_and_not_before(features, world):
    user, ad = 3, unknown_store(world, 3)
    candidates = np.array([[ad]], np.int32)
    features.count_orders(order(user, world.population.ads.store[ad], ad, 29 * HOUR_MS))

    before = features.observe(request(user), candidates)
    features.publish()
    after = features.observe(request(user), candidates)

    assert before.cross[0, 0, 0] == 0 and before.cross[0, 0, 1] == -1
    assert after.cross[0, 0, 0] == pytest.approx(np.log(2))
    assert after.cross[0, 0, 1] == pytest.approx(np.log1p(1 / 24))
    assert world.population.ads.store[ad] in after.history[0]


def test_request_columns_are_hour_weekday_region_platform_and_cohort(features, world):
    users = world.population.users
    batch = features.observe(request(5, time_ms=9 * DAY_MS + 13 * HOUR_MS), np.array([[0]], np.int32))

    assert batch.categorical[0].tolist() == [13, 2, users.region[5], users.platform[5], users.cohort[5]]


def test_cuisine_share_is_the_share_of_the_users_stores_with_that_cuisine(features, world):
    population = world.population
    user = int(np.argmax((population.habits.store >= 0).sum(axis=1)))
    stores = population.habits.store[user][population.habits.store[user] >= 0]
    ads = np.arange(len(population.ads.store), dtype=np.int32)
    cross = features.observe(request(user), ads[None, :]).cross[0]
    cuisine = population.stores.cuisine

    expected = [(cuisine[stores] == cuisine[population.ads.store[ad]]).mean() for ad in ads]
    assert cross[:, 2] == pytest.approx(expected)
    assert ((cross[:, 0] > 0) == np.isin(population.ads.store, stores)).all()


def test_an_empty_place_among_the_candidates_has_no_features(features):
    cross = features.observe(request(0), np.array([[-1]], np.int32)).cross

    assert cross[0, 0].tolist() == [0, -1, 0]


def test_rates_of_ads_are_relative_to_the_mean_and_drawn_towards_it(features, world):
    effect = np.array([1.0, 0.5])
    user, ad = np.zeros(300, np.int32), np.tile(np.array([[0, 1]], np.int32), (300, 1))
    clicked = np.zeros((300, 2), np.bool_)
    clicked[:60, 0] = True
    features.count_shown(user, ad, clicked, effect)
    features.publish()
    ctr = features.ads.dense[:, 2]

    mean = 60 / 450  # clicks per examined impression: 300 of ad 0, 150 of ad 1
    assert ctr[0] == pytest.approx(np.log((60 + 200 * mean) / (mean * 500)), abs=1e-5)
    assert ctr[1] == pytest.approx(np.log(200 / 350), abs=1e-5)
    assert ctr[2] == pytest.approx(0, abs=1e-5)


def test_a_new_table_of_ads_is_a_new_object_so_that_models_can_cache_by_identity(features):
    before = features.ads
    assert features.observe(request(0), np.array([[0]], np.int32)).ads is before

    features.publish()

    assert features.ads is not before


def test_a_copy_goes_its_own_way(features):
    twin = features.copy()
    twin.count_orders(order(1, 2, 0, 5))
    twin.publish()

    assert features.store_orders[2] == twin.store_orders[2] - 1
    assert (features.history.store[1] != twin.history.store[1]).any() or (
        features.history.orders[1] != twin.history.orders[1]
    ).any()
