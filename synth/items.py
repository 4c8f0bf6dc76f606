"""Stores: where they are, what they cook, what they charge, how well they appeal to the eye and to the appetite."""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from synth import draws
from synth.config import CatalogueConfig, DriftConfig, InteractionConfig, TasteConfig
from synth.draws import Cause
from synth.types import DAY_MS, Float32Array, FloatArray, IdArray, IntArray
from synth.users import around, centres

_DISH_SPREAD = 0.5  # of dishes within a cuisine, cuisines being spread by 1
_STYLE_SPREAD = 0.5  # of stores within a dish


class Stores(NamedTuple):
    """The catalogue, one entry per store (S of them)."""

    region: IdArray  # (S,) regions in turn, so none is empty
    dish: IdArray  # (S,) leaf of the taxonomy
    cuisine: IdArray  # (S,) dish // dishes_per_cuisine
    popularity: FloatArray  # (S,) weight in the choices of users, mean 1
    log_price: Float32Array  # (S,) log of the price level, relative to the median
    quality: Float32Array  # (S,) standard normal; hidden
    rating: Float32Array  # (S,) the quality as customers' stars show it
    launch_ms: IntArray  # (S,) when it opens; 0 for those open from the start
    click_appeal: Float32Array  # (S,) logits; hidden
    purchase_appeal: Float32Array  # (S,) logits; hidden
    style: Float32Array  # (S, TASTE_DIMS) unit variance; hidden
    mix: Float32Array  # (S, rank) factors of the interaction with users and contexts; hidden


def make_stores(
    config: CatalogueConfig, taste: TasteConfig, interaction: InteractionConfig, drift: DriftConfig, n_regions: int, seed: int
) -> Stores:  # fmt: skip
    """Draw the catalogue, each store by its own id."""
    store = np.arange(config.stores)
    n_dishes = config.cuisines * config.dishes_per_cuisine
    dish = (draws.uniform(seed, Cause.STORE_DISH, store) * n_dishes).astype(np.int32)
    click = draws.normal(seed, Cause.STORE_CLICK_APPEAL, store)
    own = draws.normal(seed, Cause.STORE_PURCHASE_APPEAL, store)
    rho = taste.appeal_correlation
    sigma = config.popularity_sigma
    quality = draws.normal(seed, Cause.STORE_QUALITY, store)
    noise = config.rating_noise * draws.normal(seed, Cause.STORE_RATING, store)
    late = draws.uniform(seed, Cause.STORE_LAUNCH, store) < drift.launch_share
    opens = draws.uniform(seed, Cause.STORE_LAUNCH, store, 1) * drift.launch_days
    return Stores(
        region=(store % n_regions).astype(np.int32),
        dish=dish,
        cuisine=dish // np.int32(config.dishes_per_cuisine),
        popularity=np.exp(sigma * draws.normal(seed, Cause.STORE_POPULARITY, store) - sigma**2 / 2),
        log_price=(config.price_sigma * draws.normal(seed, Cause.STORE_PRICE, store)).astype(np.float32),
        quality=quality.astype(np.float32),
        rating=((quality + noise) / np.sqrt(1 + config.rating_noise**2)).astype(np.float32),
        launch_ms=np.where(late, (opens * DAY_MS).astype(np.int64), 0),
        click_appeal=(taste.click_appeal * click).astype(np.float32),
        purchase_appeal=(taste.purchase_appeal * (rho * click + np.sqrt(1 - rho**2) * own)).astype(np.float32),
        style=around(seed, Cause.STORE_STYLE, store, dish_styles(config, seed)[dish], _STYLE_SPREAD),
        mix=draws.normal(seed, Cause.STORE_MIX, store[:, None], np.arange(interaction.rank)).astype(np.float32),
    )


def dish_styles(config: CatalogueConfig, seed: int) -> Float32Array:
    """The style that stores of each dish have in common: (dishes, TASTE_DIMS)."""
    dish = np.arange(config.cuisines * config.dishes_per_cuisine)
    cuisine = centres(seed, Cause.CUISINE_STYLE, config.cuisines)
    return around(seed, Cause.DISH_STYLE, dish, cuisine[dish // config.dishes_per_cuisine], _DISH_SPREAD)


class Shelf(NamedTuple):
    """Stores sorted by region and dish, to be drawn by popularity from any region, cuisine or dish."""

    store: IdArray  # (S,)
    start: IntArray  # (regions * dishes + 1,) where each region's dish begins; a cuisine is a run of its dishes
    total: FloatArray  # (S + 1,) popularity of all stores before
    n_dishes: int


def make_shelf(stores: Stores, n_regions: int, n_dishes: int, *, open_now: bool) -> Shelf:
    """Sort the stores; `open_now` leaves those that open later without popularity, so that they are never drawn."""
    group = stores.region.astype(np.int64) * n_dishes + stores.dish
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], np.arange(n_regions * n_dishes + 1))
    popularity = np.where(stores.launch_ms > 0, 0.0, stores.popularity) if open_now else stores.popularity
    total = np.concatenate(([0.0], np.cumsum(popularity[order])))
    return Shelf(order.astype(np.int32), start, total, n_dishes)


@register_jitable
def draw_store(shelf: Shelf, region: int, first_dish: int, n_dishes: int, uniform: float) -> int:
    """A store of a run of dishes in a region, by popularity; -1 where there is none."""
    group = region * shelf.n_dishes + first_dish
    low, high = shelf.start[group], shelf.start[group + n_dishes]
    if shelf.total[low] == shelf.total[high]:
        return -1
    at = shelf.total[low] + uniform * (shelf.total[high] - shelf.total[low])
    place = low + np.searchsorted(shelf.total[low + 1 : high], at, side="right")
    return shelf.store[place]
