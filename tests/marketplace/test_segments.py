"""Segments: parts add up to the whole that the simulation counted, and each is what a loop over the log's rows finds."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from ticks import Ticks

from marketplace import segments
from marketplace.assignment import everyone, split_users
from marketplace.counters import NAMES
from marketplace.errors import Refused
from marketplace.log import Writer
from marketplace.record import LogRecorder
from marketplace.schema import log_schema
from marketplace.segments import SEGMENTS, SIZES, TIMES_OF_DAY, parts_of, segment_table, segment_tables
from marketplace.simulate import simulate
from marketplace.state import new_state
from synth.campaigns import PRICINGS
from synth.config import SurfaceConfig
from synth.types import CART, CHECKOUT, HOUR_MS, SIGN_UP
from synth.world import populate, rebuild

OF_IMPRESSIONS = (
    "impressions", "clicks", "long_clicks", "hides", "conversions", "click_conversions", "orders", "spend_usd", "value_usd",
    "gmv_usd", "expected_clicks", "expected_conversions",
)  # fmt: skip
OF_REQUESTS = (*OF_IMPRESSIONS, "requests", "slots", "organic_orders", "all_gmv_usd")
ADD_UP = {"impressions": OF_IMPRESSIONS, "requests": OF_REQUESTS, "users": (*OF_REQUESTS, "cuisines")}
LOOPED = set(OF_IMPRESSIONS) - {"long_clicks", "hides"} | {"carts", "sign_ups", "repeat_conversions"}
LOGGED = (*dict.fromkeys((*NAMES, "carts", "sign_ups", "repeat_conversions")),)  # what the log can tell apart


@pytest.fixture(scope="module")
def run(tiny, world, ranker, tmp_path_factory):
    """Two days of a test after three, with two surfaces and campaigns of every pricing and goal; orders are under way.

    Users sign up, and order after ads that they saw and did not click.
    """
    mixed = {"cpa_share": 0.3, "ocpm_share": 0.2, "cpc_share": 0.2, "cpm_share": 0.2, "value_share": 0.1}
    mixed |= {"cart_goal_share": 0.3, "sign_up_goal_share": 0.3}
    surfaces = SurfaceConfig(name="home", share=0.6), SurfaceConfig(name="search", share=0.4, attention=0.5)
    config = tiny.world.model_copy(
        update={
            "campaigns": tiny.world.campaigns.model_copy(update=mixed),
            "feed": tiny.world.feed.model_copy(update={"surfaces": surfaces}),
        }
    )
    auction = tiny.auction.model_copy(update={"view_attribution_days": 1.0})
    scenario = tiny.model_copy(update={"world": config, "auction": auction})
    intercepts = world.intercepts._replace(sign_up=-2.0, post_view=-5.0)
    market = rebuild(populate(config, tiny.seed), world.solved._replace(intercepts=intercepts), [])
    state, users = new_state(scenario, market), config.population.users
    simulate(scenario, market, (ranker,), everyone(users), state, Ticks(), first_day=0, days=3)
    folder = tmp_path_factory.mktemp("segments")
    arms, split = (ranker, ranker._replace(name="again")), split_users(users, (0.7, 0.3), 5)
    with LogRecorder(folder, log_schema(config), market.population.content, 0.05, tiny.seed) as recorder:
        result = simulate(scenario, market, arms, split, state, recorder, first_day=3, days=2)
    return SimpleNamespace(
        folder=folder, whole=result.counters.table(),
        population=market.population, campaigns=market.population.campaigns, slot_effect=market.population.slot_effect,
        terms=(market.population.campaigns, market.population.slot_effect),
    )  # fmt: skip


@pytest.mark.parametrize("segmentation", SEGMENTS)
def test_parts_add_up_to_what_the_simulation_counted(run, segmentation):
    parts = dict(segment_tables(run.folder, segmentation, *run.terms))
    total = sum(part.table for part in parts.values())
    names = ADD_UP[SEGMENTS[segmentation].of]

    for name in names:
        column = NAMES.index(name)
        np.testing.assert_allclose(total[:, column], run.whole[:, column], rtol=1e-9, atol=1e-9, err_msg=name)
        assert run.whole[:, column].sum() > 0
    assert sum(part.table[:, NAMES.index("impressions")].any() for part in parts.values()) > 1


def test_a_part_has_no_counter_that_it_cannot_have(run):
    for segmentation, kind in SEGMENTS.items():
        _, part = next(segment_tables(run.folder, segmentation, *run.terms))
        absent = set(NAMES) - set(ADD_UP[kind.of]) - {"carts", "sign_ups", "repeat_conversions"}

        assert {"scored"} <= absent
        for i, name in enumerate(NAMES):
            assert np.isnan(part.table[:, i]).all() == (name in absent), name
            assert np.isnan(part.table[:, i]).any() == (name in absent), name


def column(folder, table, name):
    return pq.read_table(folder / "log" / table, columns=[name])[name].to_numpy()


def part_of_shown(run, segmentation):
    """Names of the part of every impression, by its request and ad, from the world and the log, without SQL."""
    campaigns, ads = run.campaigns, run.population.ads
    users = run.population.users
    request, time, user, surface = (
        column(run.folder, "requests", n) for n in ("request", "time_ms", "user", "surface")
    )
    asked = {r: (t, u, s) for r, t, u, s in zip(request, time, user, surface, strict=True)}
    order = np.argsort(campaigns.daily_budget_usd)
    third = {c: SIZES[3 * rank // len(order)] for rank, c in enumerate(order)}
    names = {
        "daypart": lambda r, ad, known: TIMES_OF_DAY[asked[r][0] // HOUR_MS % 24 // 4],
        "platform": lambda r, ad, known: str(users.platform[asked[r][1]]),
        "cohort": lambda r, ad, known: str(users.cohort[asked[r][1]]),
        "surface": lambda r, ad, known: ("home", "search")[asked[r][2]],
        "pricing": lambda r, ad, known: PRICINGS[campaigns.pricing[ads.campaign[ad]]],
        "campaign_size": lambda r, ad, known: third[ads.campaign[ad]],
        "familiarity": lambda r, ad, known: "repurchase" if known > 0 else "exploration",
    }[segmentation]
    shown = (column(run.folder, "impressions", n) for n in ("request", "ad", "known_orders"))
    return {(r, ad): (names(r, ad, known), known) for r, ad, known in zip(*shown, strict=True)}


@pytest.mark.parametrize("segmentation", SEGMENTS)
def test_impressions_and_conversions_are_in_the_part_that_a_loop_over_rows_puts_them_in(run, segmentation, monkeypatch):
    monkeypatch.setattr(segments, "NAMES", LOGGED)
    of = part_of_shown(run, segmentation)
    expected = {name: np.zeros((len(run.whole), len(LOGGED))) for name in parts_of(run.folder, segmentation)}

    def add(part, user, name, amount):
        expected[part][user, LOGGED.index(name)] += amount

    same = "request", "ad", "user", "slot", "clicked", "pctr", "pcvr", "billed_micros"
    for r, ad, user, slot, clicked, pctr, pcvr, billed in zip(
        *(column(run.folder, "impressions", n) for n in same), strict=True
    ):
        part, _ = of[r, ad]
        click = run.slot_effect[slot] * float(pctr)
        for name, amount in (
            ("impressions", 1), ("clicks", clicked), ("spend_usd", billed / 1e6), ("expected_clicks", click),
            ("expected_conversions", click * float(pcvr)),
        ):  # fmt: skip
            add(part, user, name, amount)
    same = "request", "ad", "user", "event", "attributed", "click_ms", "value_micros", "billed_micros"
    for r, ad, user, event, attributed, click_ms, value, billed in zip(
        *(column(run.folder, "conversions", n) for n in same), strict=True
    ):
        if (r, ad) not in of:
            continue  # shown before
        part, known = of[r, ad]
        for name, amount in (
            ("orders", event == CHECKOUT), ("carts", event == CART), ("sign_ups", event == SIGN_UP), ("conversions", attributed),
            ("click_conversions", attributed and click_ms >= 0), ("repeat_conversions", attributed and known > 0),
            ("spend_usd", billed / 1e6), ("value_usd", attributed * value / 1e6), ("gmv_usd", value / 1e6),
        ):  # fmt: skip
            add(part, user, name, amount)

    for name, part in segment_tables(run.folder, segmentation, *run.terms):
        for i, counter in enumerate(LOGGED):
            if counter in LOOPED:
                np.testing.assert_allclose(part.table[:, i], expected[name][:, i], rtol=1e-9, err_msg=counter)
    total = sum(expected.values())
    of_each = dict(zip(LOGGED, total.sum(axis=0), strict=True))
    assert all(of_each[name] > 0 for name in ("carts", "sign_ups", "repeat_conversions", "value_usd"))
    assert of_each["click_conversions"] < of_each["conversions"]  # some follow an ad that was not clicked


def test_orders_whose_ad_was_shown_before_the_test_are_not_counted(run):
    late = column(run.folder, "conversions", "shown_ms") < 3 * 24 * HOUR_MS
    orders = (column(run.folder, "conversions", "event") == CHECKOUT) & ~late
    counted = sum(
        part.table[:, NAMES.index("orders")].sum() for _, part in segment_tables(run.folder, "pricing", *run.terms)
    )

    assert late.sum() > 0
    assert counted == orders.sum()


@pytest.mark.parametrize("segmentation", SEGMENTS)
def test_active_users_are_those_of_the_part_where_users_are_taken_apart_and_all_who_came_elsewhere(run, segmentation):
    parts = dict(segment_tables(run.folder, segmentation, *run.terms))
    came = run.whole[:, NAMES.index("requests")] > 0
    active = np.array([part.active for part in parts.values()])

    assert 0 < came.sum() < len(came)
    if SEGMENTS[segmentation].of == "users":
        assert (active.sum(axis=0) == came).all()
        assert all((part.table[~part.active][:, NAMES.index("requests")] == 0).all() for part in parts.values())
    else:
        assert (active == came).all()


def test_campaigns_of_equal_budgets_are_of_one_size(run):
    equal = run.campaigns._replace(daily_budget_usd=np.full(len(run.campaigns.pricing), 0.1))
    shown = [
        part.table[:, NAMES.index("impressions")].sum()
        for _, part in segment_tables(run.folder, "campaign_size", equal, run.slot_effect)
    ]

    assert sorted(shown)[:2] == [0, 0] and sum(shown) > 0


def test_parts_are_named_for_the_reader(run):
    names = {segmentation: parts_of(run.folder, segmentation) for segmentation in SEGMENTS}

    assert names["surface"] == ("home", "search")
    assert names["cohort"] == ("0", "1", "2", "3", "4", "5")
    assert names["campaign_size"] == ("small", "middle", "large")
    assert names["daypart"][0] == "night" and len(names["daypart"]) == 6


def test_what_is_unknown_is_refused_with_the_nearest_name(run):
    with pytest.raises(Refused, match=r"^unknown segment platfrm, did you mean platform\?$"):
        parts_of(run.folder, "platfrm")
    with pytest.raises(Refused, match=r"^unknown segment pricing_, did you mean pricing\?$"):
        segment_tables(run.folder, "pricing_", *run.terms)
    with pytest.raises(Refused, match=r"^unknown part of familiarity explore, did you mean exploration\?$"):
        segment_table(run.folder, "familiarity", "explore", *run.terms)


def test_a_log_that_is_missing_or_damaged_is_refused_in_one_line(run, tiny, tmp_path):
    with pytest.raises(Refused, match="is not a log folder"):
        segment_table(tmp_path, "pricing", "cpc", *run.terms)
    Writer(tmp_path / "log", log_schema(tiny.world)).close(wait=True)
    with pytest.raises(Refused, match=r"is damaged or of another version: [^\n]*$"):
        segment_table(tmp_path, "pricing", "cpc", *run.terms)
