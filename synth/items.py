"""Stores: where they are, what they cook, what they charge, how well they appeal to the eye and to the appetite."""

from typing import NamedTuple

import numpy as np

from synth import draws
from synth.config import CatalogueConfig, TasteConfig
from synth.draws import Cause
from synth.types import Float32Array, FloatArray, IdArray
from synth.users import clustered

_STYLE_SPREAD = 0.6  # of stores within a cuisine, cuisines being spread by 1


class Stores(NamedTuple):
    """The catalogue, one entry per store (S of them)."""

    region: IdArray  # (S,) regions in turn, so none is empty
    cuisine: IdArray  # (S,)
    popularity: FloatArray  # (S,) weight in the choices of users, mean 1
    log_price: Float32Array  # (S,) log of the price level, relative to the mean
    click_appeal: Float32Array  # (S,) logits; hidden
    purchase_appeal: Float32Array  # (S,) logits; hidden
    style: Float32Array  # (S, TASTE_DIMS) unit variance; hidden


def make_stores(config: CatalogueConfig, taste: TasteConfig, n_regions: int, seed: int) -> Stores:
    """Draw the catalogue, each store by its own id."""
    store = np.arange(config.stores)
    cuisine = (draws.uniform(seed, Cause.STORE_CUISINE, store) * config.cuisines).astype(np.int32)
    click = draws.normal(seed, Cause.STORE_CLICK_APPEAL, store)
    own = draws.normal(seed, Cause.STORE_PURCHASE_APPEAL, store)
    rho = taste.appeal_correlation
    sigma = config.popularity_sigma
    return Stores(
        region=(store % n_regions).astype(np.int32),
        cuisine=cuisine,
        popularity=np.exp(sigma * draws.normal(seed, Cause.STORE_POPULARITY, store) - sigma**2 / 2),
        log_price=(config.price_sigma * draws.normal(seed, Cause.STORE_PRICE, store)).astype(np.float32),
        click_appeal=(taste.click_appeal * click).astype(np.float32),
        purchase_appeal=(taste.purchase_appeal * (rho * click + np.sqrt(1 - rho**2) * own)).astype(np.float32),
        style=clustered(seed, Cause.CUISINE_STYLE, Cause.STORE_STYLE, cuisine, _STYLE_SPREAD),
    )
