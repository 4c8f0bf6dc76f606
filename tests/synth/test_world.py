"""The world: the same for the same seed, one entity at a time, with the marginals that were asked for."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from synth import draws, traffic
from synth.config import FeedConfig
from synth.draws import Cause
from synth.errors import Impossible
from synth.fatigue import Fatigue
from synth.types import CHECKOUT, DAY_MS, SIGN_UP, Requests
from synth.world import Minds, Population, Seen, World, build, populate, rebuild

SEED = 11
PARTS = ("users", "stores", "content", "campaigns", "ads", "habits", "tastes", "shelf")


def tables(population: Population) -> Iterator[tuple[str, np.ndarray]]:
    def flat(name: str, value) -> Iterator[tuple[str, np.ndarray]]:
        if hasattr(value, "_asdict"):
            for inner, part in value._asdict().items():
                yield from flat(f"{name}.{inner}", part)
        else:
            yield name, np.asarray(value)

    for part in PARTS:
        yield from flat(part, getattr(population, part))
    yield "cuisine_style", population.cuisine_style


def test_the_same_seed_gives_the_same_world(config, population):
    for (name, first), (_, second) in zip(tables(population), tables(populate(config, population.seed)), strict=True):
        assert np.array_equal(first, second), name


def test_another_seed_gives_another_world(config, population):
    laid_out = {
        "stores.region", "ads.campaign", "ads.store", "ads.of_store", "tastes.siblings", "tastes.match", "tastes.price",
        "tastes.intent", "tastes.mix.weight", "tastes.drift.appeal", "tastes.drift.appeal_ms", "tastes.drift.season",
        "tastes.drift.season_ms", "shelf.n_dishes",
    } | {f"tastes.appetite.{name}" for name in population.tastes.appetite._fields}  # fmt: skip

    for (name, first), (_, second) in zip(
        tables(population), tables(populate(config, population.seed + 1)), strict=True
    ):
        assert np.array_equal(first, second) == (name in laid_out), name


@pytest.mark.parametrize("shards", [1, 2, 8])
def test_users_and_histories_drawn_in_shards_are_those_of_the_whole(config, population, shards):
    sharded = populate(config, population.seed, shard=-(-2_000 // shards))

    for (name, whole), (_, merged) in zip(tables(population), tables(sharded), strict=True):
        assert whole.dtype == merged.dtype, name
        assert np.array_equal(whole, merged), name


def test_shards_may_be_uneven_and_drawn_by_threads(config, population):
    with ThreadPoolExecutor(3) as threads:
        sharded = populate(config, population.seed, shard=333, threads=threads)

    for (name, whole), (_, merged) in zip(tables(population), tables(sharded), strict=True):
        assert np.array_equal(whole, merged), name


@pytest.mark.parametrize("shards", [1, 2, 8])
def test_requests_of_a_day_drawn_in_shards_are_those_of_the_whole(world, minds, shards, monkeypatch):
    whole = world.requests_on(1, minds)

    monkeypatch.setattr(traffic, "_SHARD", -(-2_000 // shards))
    with ThreadPoolExecutor(2) as threads:
        for merged in (world.requests_on(1, minds), world.requests_on(1, minds, threads=threads)):
            for name in ("id", "user", "time_ms", "surface"):
                assert np.array_equal(getattr(whole, name), getattr(merged, name)), name


def test_more_users_leave_the_first_ones_as_they_were(changed, population):
    larger = dict(tables(populate(changed(population={"users": 3_000}), population.seed)))

    for name, first in tables(population):
        if name.startswith(("users.", "habits.", "tastes.user", "tastes.mix.user")):
            assert len(larger[name]) == 3_000
            assert np.array_equal(first, larger[name][:2_000]), name
        else:
            assert np.array_equal(first, larger[name]), name


def test_more_stores_leave_the_first_ones_as_they_were(changed, population):
    larger = dict(tables(populate(changed(catalogue={"stores": 400}), population.seed)))

    for name, first in tables(population):
        if name.startswith(("users.", "stores.", "campaigns.", "content.text")):
            assert np.array_equal(first, larger[name][: len(first)]), name


def test_the_first_users_alone_are_the_same_and_do_the_same(world, minds, requests, visits, shown, answered):
    small = rebuild(world.population.first(300), world.solved, [])
    some = np.flatnonzero(requests.user < 300)
    few = Minds(minds.habits.rows(0, 300), minds.fatigue.rows(0, 300))

    assert small.population.config.population.users == 300
    assert np.array_equal(small.requests_on(1, few).id, world.requests_on(1, minds, users=300).id)
    seen = small.browse(requests.take(some), few)
    assert np.array_equal(seen.view, visits.view[some])
    again, _ = small.respond(requests.take(some), seen.need, shown[some], few)
    assert np.array_equal(again.delay_ms, answered[0].delay_ms[some])


def test_requests_of_the_first_users_are_those_that_they_make_among_all(world, minds):
    whole, part = world.requests_on(1, minds), world.requests_on(1, minds, users=300)

    assert np.array_equal(whole.id[whole.user < 300], part.id)


def fortnight(world: World, minds: Minds, pool) -> dict[str, np.ndarray]:
    """All that is drawn of a day: who comes, what is looked for and retrieved, how users answer."""
    requests = world.requests_on(1, minds)
    visits = world.browse(requests, minds)
    candidates = world.candidates(requests, visits.query, minds, pool)
    outcomes, truth = world.respond(requests, visits.need, candidates[:, :4], minds)
    displaced = world.displaced(requests, visits, np.ones(len(requests), np.bool_))
    columns = {"candidates": candidates, "displaced": displaced}
    for part in (requests, visits, outcomes, truth):
        columns |= {name: getattr(part, name) for name in part.__slots__}
    return columns


def test_another_luck_leaves_people_and_stores_as_they_are_and_draws_anew_what_happens(world, minds):
    other, pool = world.with_luck(12), world.population.pool(np.ones(len(world.population.ads.store), np.bool_))

    for (name, first), (_, second) in zip(tables(world.population), tables(other.population), strict=True):
        assert np.array_equal(first, second) == (name != "tastes.luck"), name
    assert other.population.seed == world.population.seed
    assert other.solved == world.solved
    before, after = fortnight(world, minds, pool), fortnight(other, minds, pool)
    for name in before:
        assert not np.array_equal(before[name], after[name]), name


def test_the_same_visit_has_the_same_chances_and_another_end_in_another_luck(
    world, minds, requests, visits, shown, answered
):
    """A habit's period and part of the day last: were they drawn anew, so were the chances."""
    outcomes, truth = answered
    other = world.with_luck(12)

    again, chances = other.respond(requests, visits.need, shown, minds)
    for name in truth.__slots__:
        assert np.array_equal(getattr(truth, name), getattr(chances, name)), name
    for name in outcomes.__slots__:
        assert not np.array_equal(getattr(outcomes, name), getattr(again, name)), name
    looked = other.browse(requests, minds)
    for name in visits.__slots__:
        assert not np.array_equal(getattr(visits, name), getattr(looked, name)), name


def test_the_luck_of_a_world_is_its_seed_until_another_is_given(world, minds):
    pool = world.population.pool(np.ones(len(world.population.ads.store), np.bool_))
    plain, same = fortnight(world, minds, pool), fortnight(world.with_luck(SEED), minds, pool)

    assert world.population.luck == world.population.seed == SEED
    for name in plain:
        assert np.array_equal(plain[name], same[name]), name
    back = fortnight(world.with_luck(12).with_luck(SEED), minds, pool)
    assert all(np.array_equal(plain[name], back[name]) for name in plain)


def sessions(requests: Requests) -> int:
    return len(np.unique(traffic.session_of(requests.id)))


def test_users_come_as_often_as_they_are_active_and_less_if_tired(world, minds):
    users = world.population.users
    fatigue = minds.fatigue.level * 0.5 ** (3 / 7)

    expected = (users.activity * np.exp(-0.03 * fatigue)).sum()
    assert sessions(world.requests_on(3, minds)) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_visits_that_were_solved_for_multiply_the_sessions(population, solved, minds):
    double = rebuild(population, solved._replace(visits=2.0), [])
    expected = 2 * (population.users.activity * np.exp(-0.03 * minds.fatigue.level)).sum()

    assert sessions(double.requests_on(0, minds)) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_everyone_comes_as_often_however_tired_where_leaving_is_zero(changed, solved, minds):
    world = rebuild(populate(changed(fatigue={"leaving": 0.0}), 11), solved, [])
    fresh = minds._replace(fatigue=Fatigue(np.zeros(2_000), np.zeros(2_000, np.int64)))

    assert np.array_equal(world.requests_on(0, minds).id, world.requests_on(0, fresh).id)


def test_users_start_with_the_fatigue_of_the_ads_that_they_look_at_in_vain(world):
    """Per session 2 pages; on a page, the slot effects of the surfaces by their shares, less the clicks of ctr 0.08.

    A day brings 0.05 for each, less the nearer the limit of 5 is, and takes as much as keeps half in 7 days.
    """
    users, curve = world.population.users, np.array([1.0, 0.75, 0.58, 0.46])
    looks = np.array([(curve**depth).sum() * (0.7 * 1.0 + 0.3 * 0.8) for depth in (1.0, 0.8, 1.5)])
    clicks_per_look = 4 * 0.08 / (np.array([0.55, 0.35, 0.10]) @ looks)

    a_day = users.activity * 2 * looks[users.platform] * (1 - clicks_per_look)
    level = world.minds().fatigue.level
    np.testing.assert_allclose(0.05 * a_day * (1 - level / 5), level * np.log(2) / 7, rtol=1e-9)
    assert 0 < level.min() < 1
    assert 4 < level.max() < 5


def test_users_start_as_tired_as_the_slots_that_were_solved_for_have_left_them_and_not_those_asked_for(
    population, solved
):
    more, less = (
        rebuild(population, solved._replace(slot_effect=effect), []).minds().fatigue.level
        for effect in ((1.0, 1.0, 1.0, 1.0), (1.0, 0.5, 0.3, 0.2))
    )

    assert (more > less).all()


def test_a_surface_that_nobody_visits_tires_nobody(changed, solved):
    """Of two surfaces the rarer one weighs as little as its share."""
    surfaces = [{"name": "feed", "share": 1 - 1e-9}, {"name": "search", "share": 1e-9, "attention": 0.1}]
    levels = []
    for some in (surfaces, surfaces[:1]):
        feed = FeedConfig.model_validate({"slot_effect": [1.0, 0.5], "candidates": 8, "surfaces": some})
        population = populate(changed().model_copy(update={"feed": feed}), 11)
        levels.append(rebuild(population, solved._replace(slot_effect=(1.0, 0.5)), []).minds().fatigue.level)

    np.testing.assert_allclose(levels[0], levels[1], rtol=1e-6)


def test_minds_are_the_callers_own(world):
    mine = world.minds()
    mine.habits.store[:] = 5
    mine.fatigue.level[:] = 7

    assert not (world.population.habits.store == 5).all()
    assert not (world.minds().fatigue.level == 7).any()


def test_copied_minds_do_not_change_with_the_original(world):
    mine = world.minds()
    copy = mine.copy()
    mine.habits.orders[:] += 1
    mine.fatigue.since_ms[:] = 9

    assert np.array_equal(copy.habits.orders, world.population.habits.orders)
    assert not copy.fatigue.since_ms.any()


def test_causes_of_a_click_have_the_spreads_that_the_scenario_states(changed):
    many = changed(population={"segments": 48, "users": 1_000}, catalogue={"stores": 1_000, "cuisines": 64})
    tastes = populate(many, 4).tastes

    fit = tastes.match * tastes.user_taste @ tastes.store_style.T
    assert fit.std() == pytest.approx(many.taste.match, rel=0.15)  # 48 and 64 centres: 3 to 5% a standard error
    assert tastes.daypart.shape == (6, 64)
    assert tastes.daypart.std() == pytest.approx(many.taste.daypart, rel=4 / np.sqrt(2 * 6 * 64))
    assert tastes.price == many.taste.price


def test_purchase_appeal_has_the_part_of_quality(population):
    stores = population.stores

    expected = stores.purchase_appeal + 0.3 * stores.quality
    np.testing.assert_allclose(population.tastes.store_purchase_appeal, expected, rtol=1e-6)
    assert np.array_equal(population.tastes.store_click_appeal, stores.click_appeal)


def test_stores_of_ads_are_looked_up_and_no_ad_has_no_store(population):
    ad = np.array([[0, -1], [59, 3]])

    assert population.store_of(ad).tolist() == [
        [population.ads.store[0], -1],
        [population.ads.store[59], population.ads.store[3]],
    ]
    advertised = population.ads.of_store >= 0
    assert np.array_equal(population.ads.store[population.ads.of_store[advertised]], np.flatnonzero(advertised))
    assert np.array_equal(population.ad_region, population.stores.region[population.ads.store])


def test_the_shelf_of_the_world_holds_stores_that_open_later_too(population):
    assert sorted(population.shelf.store) == list(range(240))
    assert population.shelf.total[-1] == pytest.approx(population.stores.popularity.sum())


def test_ads_are_on_the_air_by_the_schedule_of_their_campaign_and_the_opening_of_their_store(changed):
    scheduled = populate(
        changed(campaigns={"flighted_share": 0.5, "flight_days": 2, "daypart_share": 0.5}, drift={"launch_share": 0.5}),
        11,
    )
    campaigns, stores = scheduled.campaigns, scheduled.stores

    for time_ms in (0, 3 * DAY_MS, 5 * DAY_MS + DAY_MS // 2):
        day, part = time_ms // DAY_MS, time_ms % DAY_MS // (4 * 3_600_000)
        for ad, on in enumerate(scheduled.live(time_ms)):
            c = ad // 5
            runs = campaigns.flight[c] < 0 or (day + campaigns.flight[c]) % 4 < 2
            assert on == (runs and campaigns.dayparts[c] >> part & 1 == 1 and stores.launch_ms[ad] <= time_ms)
    assert 0 < scheduled.live(0).mean() < 1


# Solved for its marginals


def pilot(seed: int = 8) -> Callable[[World], Seen]:
    """Four ads at random of the candidates of a day."""

    def run(world: World) -> Seen:
        minds = world.minds()
        requests = world.requests_on(0, minds)
        visits = world.browse(requests, minds)
        pool = world.population.pool(np.ones(120, bool))
        candidates = world.candidates(requests, visits.query, minds, pool)
        lot = draws.uniform(seed, Cause.PARTICIPATION, requests.id[:, None], np.arange(candidates.shape[1]))
        ad = np.take_along_axis(candidates, np.argsort(lot, axis=1)[:, :4], axis=1)
        truth = world.respond(requests, visits.need, ad, minds)[1]
        return Seen(requests=requests, visits=visits, ad=ad, truth=truth, user_days=2_000.0)

    return run


@pytest.fixture(scope="module", params=["pbm", "cascade"])
def built(request, changed) -> World:
    """Users of three depths, and in a cascade clicks that end the scan."""
    return build(populate(changed(feed={"model": request.param}), 11), [pilot()])


NAMES = [
    "ctr", "cvr", "carts", "sign_up_rate", "post_view_rate", "repurchase_positives", "repurchase_negatives",
    "long_click_share", "hide_rate", "organic_share", "sessions_per_day", "basket_usd",
]  # fmt: skip


def test_a_world_obtains_the_marginals_that_were_asked_for(built, config):
    names = [m.name for m in built.marginals]

    points = [f"ordered_within_{h}h" for h in (1, 24, 96)]
    assert names == [*NAMES, "slot_effect_2", "slot_effect_3", "slot_effect_4", *points]
    assert [m.asked for m in built.marginals[:12]] == [getattr(config.marginals, name) for name in NAMES]
    assert [m.asked for m in built.marginals[12:]] == [0.75, 0.58, 0.46, 0.45, 0.75, 0.92]
    for m in built.marginals[:15]:
        assert m.obtained == pytest.approx(m.asked, rel=0.02), m.name
    for m in built.marginals[15:]:
        assert m.obtained == pytest.approx(m.asked, abs=0.02), m.name  # orders are not spread over campaigns evenly


def test_slots_are_solved_to_be_looked_at_more_where_clicks_above_end_the_scan(built):
    """Independent slots leave only the depths to make up for: on average over platforms, the solved curve is that asked."""
    asked, share = np.array([1.0, 0.75, 0.58, 0.46]), np.array([0.55, 0.35, 0.10])
    effect = np.array(built.solved.slot_effect)
    by_depth = share @ effect ** np.array([[1.0], [0.8], [1.5]])

    if built.laws.examination.cascade:
        assert (np.diff(by_depth / asked) > 0).all()
    else:
        assert by_depth == pytest.approx(asked, rel=0.04)
    assert effect[0] == 1.0


def test_delays_are_reported_as_of_the_orders_of_the_pilot(built):
    """An order weighs by its probability; the delays are those of its campaign."""
    seen = pilot()(built)
    t, campaign = seen.truth, seen.ad // 5
    order = np.where(seen.ad >= 0, t.examination.astype(float) * t.click * t.cart * t.checkout, 0.0)
    weight = np.array([order[campaign == c].sum() for c in range(24)])

    reported = [m for m in built.marginals if m.name.startswith("ordered_within")]
    for m, hours in zip(reported, (1.0, 24.0, 96.0), strict=True):
        by_campaign = [built.delay_cdf(CHECKOUT, np.array([hours]), c)[0] for c in range(24)]
        assert m.obtained == pytest.approx(weight @ by_campaign / weight.sum(), rel=1e-6)


def test_users_of_a_solved_world_do_what_was_asked_for(built, config):
    """Many replications of the pilot's day, each with other request ids, so other draws; 4 standard errors and 2%."""
    seen, minds, asked = pilot()(built), built.minds(), config.marginals
    there, known = seen.ad >= 0, seen.truth.known
    price = np.exp(built.population.stores.log_price[built.population.store_of(seen.ad)])
    totals, spent, looks = np.zeros(11), 0.0, np.zeros(4)
    for replication in range(1, 16):
        again = replace(seen.requests, id=seen.requests.id + (replication << 50))
        o, _ = built.respond(again, seen.visits.need, seen.ad, minds)
        cart, checkout, sign_up = np.moveaxis(o.delay_ms >= 0, 2, 0)
        order, bought = checkout & o.clicked, checkout.any(axis=1)
        visits = built.browse(again, minds)
        kept = (visits.ordered >= 0) & ~built.displaced(again, visits, bought)
        parts = (
            there, o.clicked, order, cart, sign_up, checkout & ~o.clicked, order & known, known, o.long_clicked, o.hidden, kept,
        )  # fmt: skip
        totals += [part.sum() for part in parts]
        spent += o.value_micros[order].sum() / 1e6
        looks += o.examined.sum(axis=0)

    shown, clicks, orders, carts, sign_ups, post_views, repurchases, of_known, long_clicks, hides, organic = totals
    for got, of, wanted in (
        (clicks, shown, asked.ctr), (orders, clicks, asked.cvr), (carts, clicks, 0.5),
        (sign_ups, clicks, asked.sign_up_rate), (post_views, shown, asked.post_view_rate),
        (repurchases, orders, asked.repurchase_positives),
        (of_known - repurchases, shown - orders, asked.repurchase_negatives),
        (long_clicks, clicks, asked.long_click_share), (hides, shown, asked.hide_rate),
        (organic, organic + orders + post_views, asked.organic_share),
    ):  # fmt: skip
        assert got / of == pytest.approx(wanted, abs=0.02 * wanted + 4 * np.sqrt(wanted * (1 - wanted) / of))
    spread = 32.0 * np.sqrt(np.expm1(0.4**2) + price.var())
    assert spent / orders == pytest.approx(asked.basket_usd, abs=0.02 * asked.basket_usd + 4 * spread / np.sqrt(orders))
    for slot, wanted in enumerate((0.75, 0.58, 0.46), start=1):
        se = np.sqrt(1 / looks[slot] + 1 / looks[0])
        assert looks[slot] / looks[0] == pytest.approx(wanted, rel=0.02 + 4 * se)


def test_a_world_whose_users_have_no_histories_is_refused(changed):
    strangers = populate(changed(habit={"history_stores": 1e-9}), 11)

    with pytest.raises(Impossible, match=r"^marginals\.repurchase_negatives is 0\.2, but users know only 0 of"):
        build(strangers, [pilot()])


def test_what_the_scenario_does_not_ask_for_never_happens_in_a_solved_world(changed):
    plain = changed(marginals={"sign_up_rate": 0.0, "post_view_rate": 0.0, "organic_share": 0.0})

    world = build(populate(plain, 11), [pilot()])

    seen = pilot()(world)
    o, truth = world.respond(seen.requests, seen.visits.need, seen.ad, world.minds())
    assert not truth.sign_up.any() and not truth.post_view.any()
    assert (o.delay_ms[:, :, SIGN_UP] == -1).all()
    assert not ((o.delay_ms[:, :, CHECKOUT] >= 0) & ~o.clicked).any()
    assert (seen.visits.ordered == -1).all()
    assert len([m for m in world.marginals if m.name in NAMES]) == 9
