"""From estimates to a scenario: every line says where it comes from."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitting.errors import Unfit
from fitting.market import base_settings, fitted, get, said
from fitting.toml import toml_text
from fitting.types import Estimate
from synth.config import WorldConfig

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
leaves = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12),
    st.lists(st.floats(0, 1), max_size=4), st.lists(st.dictionaries(names, st.floats(0, 1), min_size=1, max_size=2), max_size=3),
)  # fmt: skip


def of(name, value, low=None, high=None, events=100):
    low, high = value if low is None else low, value if high is None else high
    return Estimate(name, value, low, high, events, "", "counted")


def none(name, why="the log has no column for it"):
    return Estimate(name, None, None, None, 0, "", "", why)


@given(tree=st.dictionaries(names, st.one_of(leaves, st.dictionaries(names, leaves, max_size=3)), max_size=4))
def test_what_is_written_is_read_again(tree):
    assert tomllib.loads(toml_text(tree, {name: f"of {name}" for name in tree}, head="head\nof two lines")) == tree


def test_the_base_is_a_world_and_fits_to_nothing():
    market = fitted([], base_settings())

    assert market.tree["world"] == base_settings()["world"]
    WorldConfig.model_validate(market.tree["world"])
    assert tomllib.loads(market.text()) == market.tree


def test_every_estimate_is_in_the_scenario_with_its_interval_events_and_method():
    market = fitted(
        [of("world.marginals.ctr", 0.02, 0.015, 0.027, 46), of("world.traffic.requests_per_session", 9.0)],
        base_settings(),
    )

    assert get(market.tree, "world.marginals.ctr") == 0.02
    assert "# fitted: 0.02 [0.015, 0.027]; 46 events; counted\nctr = 0.02" in market.text()
    assert get(market.tree, "world.traffic.requests_per_session") == 8.0  # the most that a scenario takes


def test_what_cannot_be_told_stays_at_the_default_and_the_value_is_written_out():
    market = fitted(
        [none("world.marginals.hide_rate", "nobody logs it"), none("world.marginals.cart_rate")], base_settings()
    )

    assert "# default; nobody logs it\nhide_rate = 0.002" in market.text()
    assert "# cart_rate: default; the log has no column for it" in market.text()
    assert get(market.tree, "world.marginals.cart_rate") is None


def test_a_profile_is_taken_whole_or_not_at_all():
    weights = [of(f"world.traffic.hour_weight[{h}]", 1.0 + h / 100) for h in range(24)]
    whole = fitted(weights, base_settings())
    part = fitted([*weights[:-1], none("world.traffic.hour_weight[23]", "the log ends at 11 pm")], base_settings())

    assert whole.tree["world"]["traffic"]["hour_weight"] == pytest.approx([1.0 + h / 100 for h in range(24)])
    assert part.tree["world"]["traffic"]["hour_weight"] == base_settings()["world"]["traffic"]["hour_weight"]
    assert "the log ends at 11 pm" in part.comments["world.traffic.hour_weight"]


def test_a_slot_curve_has_the_slots_of_the_log_and_falls():
    rising = [of(f"world.feed.slot_effect[{s}]", x) for s, x in enumerate((1.0, 0.5, 0.7))]
    unknown = [none(f"world.feed.slot_effect[{s}]", "no item was ever shown in two slots") for s in range(6)]

    assert fitted(rising, base_settings()).tree["world"]["feed"]["slot_effect"] == pytest.approx([1.0, 0.6, 0.6])
    assert "made to fall" in fitted(rising, base_settings()).comments["world.feed.slot_effect"]
    left = fitted(unknown, base_settings())
    assert left.tree["world"]["feed"]["slot_effect"] == [1.0, 0.75, 0.58, 0.46, 0.46, 0.46]
    assert "no item was ever shown in two slots; 6 slots, the base's curve" in left.comments["world.feed.slot_effect"]


def test_budgets_are_those_of_the_users_that_are_simulated():
    found = [of("world.population.users", 1e6), of("world.campaigns.daily_budget_usd", 500.0)]
    market = fitted(found, base_settings(), users=20_000)

    assert get(market.tree, "world.population.users") == 20_000
    assert get(market.tree, "world.campaigns.daily_budget_usd") == pytest.approx(10.0)
    assert get(fitted(found, base_settings()).tree, "world.population.users") == 100_000


@pytest.mark.parametrize(
    ("items", "campaigns", "each"), [(3, None, None), (60, 12, 5), (7, 7, 1), (100_000, 2_000, 9.6), (40, None, None)]
)
def test_stores_campaigns_regions_and_candidates_fit_each_other(items, campaigns, each):
    found = [of("items", items), of("world.feed.slot_effect[0]", 1.0)]
    if campaigns:
        found += [of("world.campaigns.count", campaigns), of("world.campaigns.stores_per_campaign", each)]
    market = fitted(found, base_settings())

    WorldConfig.model_validate(market.tree["world"])
    assert market.tree["world"]["catalogue"]["stores"] >= items
    if campaigns:
        assert market.tree["world"]["campaigns"]["count"] == campaigns


def test_more_slots_than_ads_make_no_market():
    found = [of("items", 2), *(of(f"world.feed.slot_effect[{s}]", 1.0) for s in range(3))]

    with pytest.raises(Unfit, match="3 slots need as many ads, the log has 2"):
        fitted(found, base_settings())


@pytest.mark.parametrize(("cvr", "cart"), [(0.7, None), (0.3, 0.2), (0.3, 0.8), (0.05, 0.1)])
def test_the_funnel_narrows_whatever_was_logged(cvr, cart):
    found = [of("world.marginals.cvr", cvr), *([of("world.marginals.cart_rate", cart)] if cart else [])]
    WorldConfig.model_validate(fitted(found, base_settings()).tree["world"])


def test_a_law_of_delay_becomes_three_points():
    parts = {"fast_share": 0.5, "fast_mean_h": 0.7, "slow_mean_h": 40.0}
    found = [of(f"delay.checkout.{name}", value) for name, value in parts.items()]
    market = fitted(found, base_settings())
    alone = [
        none("delay.checkout.fast_share"),
        none("delay.checkout.fast_mean_h"),
        of("delay.checkout.slow_mean_h", 40.0),
    ]
    single = fitted(alone, base_settings())

    assert [point["hours"] for point in market.tree["world"]["marginals"]["delay"]] == [1.0, 24.0, 96.0]
    assert market.tree["world"]["marginals"]["delay"][0]["share"] == pytest.approx(0.3926, abs=1e-3)
    assert single.tree["world"]["marginals"]["delay"][1]["share"] == pytest.approx(1 - 2.718281828 ** -(24 / 40))


def test_the_first_ranker_moves_with_the_rates():
    market = fitted([of("world.marginals.ctr", 0.0038)], base_settings())

    assert get(market.tree, "first_ranker.click.intercept") == pytest.approx(-3.2 - 2.62, abs=0.02)
    assert get(market.tree, "first_ranker.conversion.intercept") == -2.4


def test_one_name_twice_is_a_fault_of_ours_or_of_a_file():
    with pytest.raises(Unfit, match="two have one name"):
        fitted([of("x", 1.0), of("x", 2.0)], base_settings())


def test_an_estimate_in_one_line():
    assert said(of("x", 0.5, 0.4, 0.6, 1_234)) == "fitted: 0.5 [0.4, 0.6]; 1,234 events; counted"
    assert said(none("x", "why not")) == "default; why not"
