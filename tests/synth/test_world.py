"""The world: the same for the same seed, one entity at a time, with the marginals that were asked for."""

from collections.abc import Iterator

import numpy as np
import pytest

from synth.config import WorldConfig
from synth.types import Requests
from synth.world import Population, World, build, populate


def tables(population: Population) -> Iterator[tuple[str, np.ndarray]]:
    for part in ("users", "stores", "campaigns", "ads", "habits", "tastes"):
        for name, value in getattr(population, part)._asdict().items():
            yield f"{part}.{name}", np.asarray(value)


def enlarged(config: WorldConfig, part: str, **sizes) -> WorldConfig:
    return config.model_copy(update={part: getattr(config, part).model_copy(update=sizes)})


def test_the_same_seed_gives_the_same_world(config, population):
    for (name, first), (_, second) in zip(tables(population), tables(populate(config, population.seed)), strict=True):
        assert np.array_equal(first, second), name


def test_another_seed_gives_another_world(config, population):
    laid_out = {"stores.region", "ads.campaign", "ads.store", "ads.of_store", "tastes.match", "tastes.price"}

    for (name, first), (_, second) in zip(
        tables(population), tables(populate(config, population.seed + 1)), strict=True
    ):
        assert np.array_equal(first, second) == (name in laid_out), name


def test_more_users_leave_the_first_ones_as_they_were(config, population):
    larger = dict(tables(populate(enlarged(config, "population", users=3_000), population.seed)))

    for name, first in tables(population):
        if name.startswith(("users.", "habits.", "tastes.user")):
            assert len(larger[name]) == 3_000
            assert np.array_equal(first, larger[name][:2_000]), name
        else:
            assert np.array_equal(first, larger[name]), name


def test_more_stores_leave_the_first_ones_as_they_were(config, population):
    larger = dict(tables(populate(enlarged(config, "catalogue", stores=200), population.seed)))

    for name, first in tables(population):
        if name.startswith(("users.", "stores.", "campaigns.")):
            assert np.array_equal(first, larger[name][: len(first)]), name


def test_requests_of_the_first_users_are_those_that_they_make_among_all(population):
    whole, part = population.requests_on(1), population.requests_on(1, users=300)

    assert np.array_equal(whole.id[whole.user < 300], part.id)


def test_causes_of_a_click_have_the_spreads_that_the_scenario_states(config):
    many = enlarged(enlarged(config, "population", segments=500), "catalogue", stores=1_000, cuisines=64)
    tastes = populate(many, 4).tastes

    fit = tastes.match * tastes.user_taste @ tastes.store_style.T
    assert fit.std() == pytest.approx(many.taste.match, rel=0.08)  # 64 centres of 8 numbers: 3% a standard error
    assert tastes.daypart.shape == (6, 64)
    assert tastes.daypart.std() == pytest.approx(many.taste.daypart, rel=4 / np.sqrt(2 * 6 * 64))
    assert tastes.price == many.taste.price
    assert tastes.store_log_price.std() == pytest.approx(0.3, rel=4 / np.sqrt(2 * 1_000))


def test_stores_of_ads_are_looked_up_and_no_ad_has_no_store(population):
    ad = np.array([[0, -1], [59, 3]])

    assert population.store_of(ad).tolist() == [
        [population.ads.store[0], -1],
        [population.ads.store[59], population.ads.store[3]],
    ]
    advertised = population.ads.of_store >= 0
    assert np.array_equal(population.ads.store[population.ads.of_store[advertised]], np.flatnonzero(advertised))
    assert np.array_equal(population.ad_region, population.stores.region[population.ads.store])


@pytest.fixture(scope="module")
def pilot(population):
    """Four ads at random of the candidates of a day."""

    def run(world: World) -> tuple[Requests, np.ndarray]:
        requests = population.requests_on(0)
        candidates = world.candidates(requests, population.habits, population.pool(np.ones(60, bool)))
        return requests, np.random.default_rng(8).permuted(candidates, axis=1)[:, :4]

    return run


@pytest.fixture(scope="module")
def solved(population, pilot) -> World:
    return build(population, pilot)


def test_a_world_obtains_the_marginals_that_were_asked_for(solved, config):
    asked = config.marginals
    names = ["ctr", "cvr", "repurchase_positives", "repurchase_negatives", "long_click_share", "hide_rate"]

    assert [m.name for m in solved.marginals] == [*names, *(f"ordered_within_{h}h" for h in (1, 24, 96))]
    assert [m.asked for m in solved.marginals[:6]] == [getattr(asked, name) for name in names]
    assert [m.asked for m in solved.marginals[6:]] == [0.45, 0.75, 0.92]
    for marginal in solved.marginals:
        assert marginal.obtained == pytest.approx(marginal.asked, rel=0.01), marginal.name


def test_users_of_a_solved_world_click_order_and_repurchase_at_the_rates_asked_for(solved, population, config, pilot):
    """Many replications of the pilot's day, each with other request ids, so other draws; 4.5 standard errors and 1%."""
    requests, ad = pilot(solved)
    store = population.store_of(ad)
    known = (population.habits.store[requests.user][:, None, :] == store[:, :, None]).any(axis=2) & (ad >= 0)
    totals = np.zeros(6)
    for replication in range(1, 31):
        again = Requests(id=requests.id + (replication << 50), user=requests.user, time_ms=requests.time_ms)
        o, _ = solved.respond(again, ad, population.habits)
        parts = ((ad >= 0), o.clicked, o.converted, o.converted & known, o.long_clicked, o.hidden)
        totals += [part.sum() for part in parts]

    shown, clicks, orders, repurchases, long_clicks, hides = totals
    for got, of, asked in (
        (clicks, shown, config.marginals.ctr), (orders, clicks, config.marginals.cvr),
        (repurchases, orders, config.marginals.repurchase_positives),
        (known.sum() * 30 - repurchases, shown - orders, config.marginals.repurchase_negatives),
        (long_clicks, clicks, config.marginals.long_click_share), (hides, shown, config.marginals.hide_rate),
    ):  # fmt: skip
        assert got / of == pytest.approx(asked, rel=0.01, abs=4.5 * np.sqrt(asked * (1 - asked) / of))
