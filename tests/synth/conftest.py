"""A small market: 2,000 users in 4 regions, 120 stores, 12 campaigns of 5 ads."""

import numpy as np
import pytest

from synth.affinity import Intercepts
from synth.config import WorldConfig
from synth.types import Requests
from synth.world import Population, World, populate, rebuild

SEED = 11


@pytest.fixture(scope="session")
def config() -> WorldConfig:
    return WorldConfig.model_validate(
        {
            "population": {
                "users": 2_000, "regions": 4, "segments": 5, "requests_per_day": 3.0, "history_stores": 6.0,
                "history_capacity": 8,
            },
            "catalogue": {"stores": 120, "cuisines": 8, "basket_usd": 32.0},
            "campaigns": {"count": 12, "stores_per_campaign": 5, "daily_budget_usd": 60.0},
            "traffic": {"hour_weight": [0, 0, 1, 1, 1, 1, 2, 3, 3, 2, 2, 4, 5, 4, 2, 2, 3, 5, 6, 5, 3, 2, 1, 0]},
            "feed": {"slot_effect": [1.0, 0.75, 0.58, 0.46], "candidates": 8},
            "marginals": {
                "ctr": 0.08, "cvr": 0.2, "repurchase_positives": 0.45, "repurchase_negatives": 0.2,
                "delay": [{"hours": 1, "share": 0.45}, {"hours": 24, "share": 0.75}, {"hours": 96, "share": 0.92}],
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def population(config: WorldConfig) -> Population:
    return populate(config, SEED)


@pytest.fixture(scope="session")
def world(population: Population) -> World:
    """A world with given intercepts: many clicks and orders, so that rates are known well."""
    intercepts = Intercepts(click=-1.0, conversion=-0.7, habit=0.8, long_click=0.5, hide=-2.0)
    return rebuild(population, intercepts, 0.6, [])


@pytest.fixture(scope="session")
def requests(population: Population) -> Requests:
    """Three days of requests, some 18,000."""
    return Requests.stack([population.requests_on(day) for day in range(3)])


@pytest.fixture(scope="session")
def shown(population: Population, requests: Requests) -> np.ndarray:
    """(n, 4) an ad of another store in each slot, one slot in ten empty."""
    rng = np.random.default_rng(1)
    first = rng.integers(60, size=(len(requests), 1))
    ad = ((first + 7 * np.arange(4)) % 60).astype(np.int32)
    ad[rng.random(ad.shape) < 0.1] = -1
    return ad
