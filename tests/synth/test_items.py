"""Stores: drawn with the spreads that the scenario states; the shelf hands them out by popularity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synth import draws
from synth.config import CatalogueConfig, DriftConfig, InteractionConfig, TasteConfig
from synth.draws import Cause
from synth.items import Shelf, Stores, dish_styles, draw_store, make_shelf, make_stores
from synth.types import DAY_MS
from synth.users import TASTE_DIMS, centres

S = 9_000
SE = 1 / np.sqrt(S)
PLAUSIBLE = 1e-4
CATALOGUE = CatalogueConfig(stores=S, cuisines=5, dishes_per_cuisine=3, popularity_sigma=0.7, rating_noise=0.75)
TASTE = TasteConfig(click_appeal=0.5, purchase_appeal=0.8, appeal_correlation=0.4)
DRIFT = DriftConfig(launch_share=0.2, launch_days=10.0)


def catalogue(config: CatalogueConfig = CATALOGUE, taste: TasteConfig = TASTE, drift: DriftConfig = DRIFT) -> Stores:
    return make_stores(config, taste, InteractionConfig(rank=2), drift, 7, 3)


@pytest.fixture(scope="module")
def stores() -> Stores:
    return catalogue()


def test_regions_come_in_turn_so_none_is_empty(stores):
    assert stores.region.tolist() == [s % 7 for s in range(S)]


def test_dishes_are_equally_likely_and_belong_to_their_cuisine(stores):
    assert stats.chisquare(np.bincount(stores.dish, minlength=15)).pvalue > PLAUSIBLE
    assert np.array_equal(stores.cuisine, stores.dish // 3)


def test_appeals_have_their_spreads_and_their_correlation(stores):
    assert stores.click_appeal.std() == pytest.approx(0.5, rel=4 * SE)
    assert stores.purchase_appeal.std() == pytest.approx(0.8, rel=4 * SE)
    assert np.corrcoef(stores.click_appeal, stores.purchase_appeal)[0, 1] == pytest.approx(0.4, abs=4 * SE)


@pytest.mark.parametrize("rho", [-1.0, 1.0])
def test_appeals_can_go_wholly_together_or_wholly_apart(rho):
    stores = catalogue(taste=TasteConfig(click_appeal=0.5, purchase_appeal=0.8, appeal_correlation=rho))

    assert stores.purchase_appeal == pytest.approx(rho * stores.click_appeal * 1.6, abs=1e-6)


def test_popularity_is_lognormal_with_mean_one(stores):
    z = (np.log(stores.popularity) + 0.7**2 / 2) / 0.7

    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


def test_price_levels_are_lognormal_around_one(stores):
    assert stats.kstest(stores.log_price / 0.3, "norm").pvalue > PLAUSIBLE


def test_stars_are_a_noisy_view_of_quality_of_the_same_spread(stores):
    """Quality 1, noise 0.75: the correlation is 1 / sqrt(1 + 0.75^2) = 0.8."""
    assert stats.kstest(stores.quality, "norm").pvalue > PLAUSIBLE
    assert stats.kstest(stores.rating, "norm").pvalue > PLAUSIBLE
    assert np.corrcoef(stores.quality, stores.rating)[0, 1] == pytest.approx(0.8, abs=4 * SE)


def test_stars_without_noise_are_the_quality():
    stores = catalogue(CATALOGUE.model_copy(update={"rating_noise": 0.0}))

    assert np.array_equal(stores.rating, stores.quality)


def test_the_stated_share_of_stores_opens_late_at_any_time_of_the_launch_days(stores):
    late = stores.launch_ms > 0

    assert late.mean() == pytest.approx(0.2, abs=4 * 0.4 * SE)
    assert stats.kstest(stores.launch_ms[late] / (10 * DAY_MS), "uniform").pvalue > PLAUSIBLE


def test_no_store_opens_late_where_the_share_is_zero():
    assert not catalogue(drift=DriftConfig(launch_share=0.0)).launch_ms.any()


def test_styles_gather_around_their_dish_and_dishes_around_their_cuisine(stores):
    """A store's spread around its dish is 0.5 before the unit variance is restored: 0.25 / 1.25 of it."""
    dish = dish_styles(CATALOGUE, 3)
    cuisine = centres(3, Cause.CUISINE_STYLE, 5)

    own = stores.style - dish[stores.dish] / np.sqrt(1.25)
    of_dish = dish - np.repeat(cuisine, 3, axis=0) / np.sqrt(1.25)
    n = S * TASTE_DIMS
    assert own.var() == pytest.approx(0.2, rel=4 * np.sqrt(2 / n))
    assert (of_dish**2).mean() == pytest.approx(0.2, rel=4 * np.sqrt(2 / (15 * TASTE_DIMS)))


def test_what_stores_are_drawn_for_is_uncorrelated(stores):
    traits = [
        stores.dish, np.log(stores.popularity), stores.log_price, stores.quality, stores.click_appeal,
        stores.rating - 0.8 * stores.quality, stores.launch_ms, *stores.mix.T,
    ]  # fmt: skip

    assert stores.mix.shape == (S, 2)
    assert np.abs(np.corrcoef(traits) - np.eye(len(traits))).max() < 4.5 * SE


def test_more_stores_leave_the_first_ones_as_they_were(stores):
    fewer = catalogue(CATALOGUE.model_copy(update={"stores": 200}))

    for name in Stores._fields:
        assert np.array_equal(getattr(fewer, name), getattr(stores, name)[:200]), name


def small(popularity: list[float], region: list[int], dish: list[int], launch: list[int] | None = None) -> Stores:
    """Stores of which only place, dish, popularity and launch matter."""
    none = np.zeros(len(popularity), np.float32)
    ids = np.array([region, dish], np.int32)
    return Stores(
        region=ids[0], dish=ids[1], cuisine=ids[1] // 2, popularity=np.array(popularity), log_price=none, quality=none,
        rating=none, launch_ms=np.array(launch or [0] * len(popularity)), click_appeal=none, purchase_appeal=none,
        style=none[:, None], mix=none[:, None],
    )  # fmt: skip


# Two regions of two cuisines of two dishes; dish 2 of region 0 and all but dish 3 of region 1 are missing.
STORES = small([1.0, 2.0, 3.0, 4.0, 5.0], region=[0, 1, 0, 0, 0], dish=[3, 3, 0, 1, 0])


def test_a_shelf_is_sorted_by_region_and_dish_with_running_totals_of_popularity():
    shelf = make_shelf(STORES, 2, 4, open_now=False)

    assert shelf.store.tolist() == [2, 4, 3, 0, 1]
    assert shelf.start.tolist() == [0, 2, 3, 3, 4, 4, 4, 4, 5]
    assert shelf.total.tolist() == [0, 3, 8, 12, 13, 15]


@pytest.mark.parametrize(
    ("region", "first", "n", "uniform", "store"),
    [
        (0, 0, 1, 0.374, 2), (0, 0, 1, 0.376, 4), (0, 0, 2, 0.24, 2), (0, 0, 2, 0.26, 4), (0, 0, 2, 0.67, 3),
        (0, 2, 1, 0.5, -1), (0, 2, 2, 0.5, 0), (0, 0, 4, 0.999, 0), (1, 0, 2, 0.5, -1), (1, 0, 4, 1e-9, 1),
    ],
)  # fmt: skip
def test_a_store_is_drawn_by_popularity_from_a_run_of_dishes_of_one_region(region, first, n, uniform, store):
    assert draw_store(make_shelf(STORES, 2, 4, open_now=False), region, first, n, uniform) == store


def test_stores_that_open_later_are_on_the_shelf_of_all_and_not_drawn_from_that_of_today():
    stores = STORES._replace(launch_ms=np.array([0, 5, 5, 0, 0]))
    today, all_of_them = (make_shelf(stores, 2, 4, open_now=now) for now in (True, False))

    drawn = {draw_store(today, 0, 0, 4, u) for u in np.linspace(1e-9, 1 - 1e-9, 50)}
    assert drawn == {0, 3, 4}
    assert draw_store(today, 1, 0, 4, 0.5) == -1
    assert draw_store(all_of_them, 1, 0, 4, 0.5) == 1


@given(data=st.data())
def test_a_drawn_store_is_the_one_that_brute_force_finds(data):
    n = data.draw(st.integers(1, 12))
    region, dish = ([data.draw(st.integers(0, most)) for _ in range(n)] for most in (1, 3))
    popularity = [data.draw(st.floats(0.1, 10.0)) for _ in range(n)]
    at, first = data.draw(st.floats(1e-6, 1 - 1e-6)), data.draw(st.integers(0, 3))
    run = data.draw(st.integers(1, 4 - first))
    shelf: Shelf = make_shelf(small(popularity, region, dish), 2, 4, open_now=False)

    got = draw_store(shelf, 0, first, run, at)

    among = [s for d in range(first, first + run) for s in range(n) if region[s] == 0 and dish[s] == d]
    if not among:
        assert got == -1
        return
    total = np.cumsum([popularity[s] for s in among])
    place = among.index(got)
    assert (total[place - 1] if place else 0.0) <= at * total[-1] * (1 + 1e-9)
    assert at * total[-1] <= total[place] * (1 + 1e-9)


def test_stores_of_a_region_are_drawn_by_popularity():
    shelf = make_shelf(STORES, 2, 4, open_now=False)

    drawn = [draw_store(shelf, 0, 0, 4, u) for u in draws.uniform(1, Cause.VIEW_STORE, np.arange(8_000))]

    assert stats.chisquare(np.bincount(drawn)[[0, 2, 3, 4]], 8_000 * np.array([1, 3, 4, 5]) / 13).pvalue > PLAUSIBLE
