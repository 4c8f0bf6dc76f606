"""Campaigns: prices, goals, values, budgets, audiences and schedules as stated; one store in one campaign at most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from synth.campaigns import COHORT_BIT, GOALS, PRICINGS, Ads, Campaigns, live, make_ads, make_campaigns
from synth.config import (
    CampaignConfig,
    CatalogueConfig,
    DriftConfig,
    InteractionConfig,
    MarginalsConfig,
    PopulationConfig,
    TasteConfig,
)
from synth.items import make_stores
from synth.types import DAY_MS, DAYPARTS, HOUR_MS

C = 4_000
PLAUSIBLE = 1e-4
MARGINALS = MarginalsConfig(ctr=0.05, cvr=0.2, cart_rate=0.4, sessions_per_day=1.0, basket_usd=30.0)
POPULATION = PopulationConfig(users=10, segments=5)
STORES = make_stores(
    CatalogueConfig(stores=9_000), TasteConfig(), InteractionConfig(), DriftConfig(launch_share=0.0), 7, 3
)
LEVEL = np.exp(STORES.log_price[:8_000].astype(float)).reshape(C, 2).mean(axis=1)
QUIET = {"flighted_share": 0.0, "daypart_share": 0.0, "platform_share": 0.0, "cohort_share": 0.0}


def campaigns(
    *, delay_sigma: float = 0.3, marginals: MarginalsConfig = MARGINALS, seed: int = 3, **changes
) -> Campaigns:
    config = CampaignConfig(count=C, stores_per_campaign=2, daily_budget_usd=60.0, value_sigma=0.35, **changes)
    return make_campaigns(config, marginals, POPULATION, delay_sigma, STORES, seed)


def only(kind: str, **goals: float) -> dict[str, float]:
    return {f"{name}_share": float(name == kind) for name in PRICINGS} | goals


def share(p: float):
    return pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / C))


def test_pricings_have_their_shares():
    shares = dict(zip(PRICINGS, (0.1, 0.15, 0.25, 0.2, 0.3), strict=True))

    pricing = campaigns(**{f"{name}_share": p for name, p in shares.items()}).pricing

    assert stats.chisquare(np.bincount(pricing, minlength=5), C * np.array([*shares.values()])).pvalue > PLAUSIBLE


def test_goals_of_ocpm_campaigns_have_their_shares():
    goal = campaigns(**only("ocpm", click_goal_share=0.3, cart_goal_share=0.2, sign_up_goal_share=0.1)).goal

    assert stats.chisquare(np.bincount(goal, minlength=4), C * np.array([0.3, 0.2, 0.4, 0.1])).pvalue > PLAUSIBLE


def test_no_campaign_that_pays_per_goal_aims_at_clicks():
    goal = campaigns(**only("cpa", click_goal_share=0.3, cart_goal_share=0.2, sign_up_goal_share=0.1)).goal

    assert stats.chisquare(np.bincount(goal, minlength=4)[1:], C * np.array([0.2, 0.7, 0.1])).pvalue > PLAUSIBLE
    assert GOALS.index("click") not in goal


@pytest.mark.parametrize("kind", ["cpm", "cpc", "value"])
def test_other_campaigns_aim_at_orders(kind):
    goal = campaigns(**only(kind, click_goal_share=0.4, cart_goal_share=0.3, sign_up_goal_share=0.3)).goal

    assert set(goal) == {GOALS.index("checkout")}


def test_every_campaign_aims_at_orders_where_the_shares_of_other_goals_are_zero():
    assert set(campaigns().goal) == {GOALS.index("checkout")}


def test_a_goal_is_drawn_apart_from_the_pricing():
    got = campaigns(cpa_share=0.5, ocpm_share=0.5, cpc_share=0.0, cpm_share=0.0, cart_goal_share=0.5)

    for pricing in ("cpa", "ocpm"):
        goal = got.goal[got.pricing == PRICINGS.index(pricing)]
        se = 0.5 / np.sqrt(len(goal))
        assert (goal == GOALS.index("cart")).mean() == pytest.approx(0.5, abs=4 * se)


def test_values_are_lognormal_around_the_take_rate_of_the_baskets_of_the_campaigns_stores():
    value = campaigns(**only("cpa")).bid_usd

    z = (np.log(value / (0.2 * 30.0 * LEVEL)) + 0.35**2 / 2) / 0.35
    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


def test_an_advertiser_bids_the_value_of_an_order_times_the_orders_per_event_that_it_pays_for():
    """0.05 clicks per impression, 0.2 orders and 0.4 carts per click: half an order per cart."""
    order = campaigns(**only("cpa")).bid_usd

    assert campaigns(**only("cpm")).bid_usd == pytest.approx(order * 0.05 * 0.2)
    assert campaigns(**only("cpc")).bid_usd == pytest.approx(order * 0.2)
    assert campaigns(**only("value")).bid_usd == pytest.approx(order / (30.0 * LEVEL))
    for goal, worth in (("click", 0.2), ("cart", 0.5), ("sign_up", 1.5)):
        aiming = only("ocpm", **{f"{goal}_goal_share": 1.0}, sign_up_worth=1.5)
        assert campaigns(**aiming).bid_usd == pytest.approx(order * worth), goal
    assert campaigns(**only("ocpm")).bid_usd == pytest.approx(order)
    assert campaigns(**only("cpa", cart_goal_share=1.0)).bid_usd == pytest.approx(order * 0.5)


def test_carts_that_are_not_stated_lie_between_orders_and_long_clicks_at_the_root_of_their_product():
    plain = MARGINALS.model_copy(update={"cart_rate": None, "long_click_share": 0.45})

    assert plain.carts == pytest.approx(0.3)
    bid = campaigns(marginals=plain, **only("ocpm", cart_goal_share=1.0)).bid_usd
    assert bid == pytest.approx(campaigns(**only("ocpm")).bid_usd * 0.2 / 0.3)


def test_budgets_are_lognormal_with_the_stated_mean_and_independent_of_values():
    got = campaigns(**only("cpa"))

    z = (np.log(got.daily_budget_usd / 60.0) + 0.8**2 / 2) / 0.8
    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE
    assert abs(stats.spearmanr(got.daily_budget_usd, got.bid_usd / LEVEL).statistic) < 4 / np.sqrt(C)


def test_factors_of_delays_are_lognormal_with_mean_one_and_one_where_they_do_not_differ():
    factor = campaigns(delay_sigma=0.3).delay

    assert stats.kstest((np.log(factor) + 0.045) / 0.3, "norm").pvalue > PLAUSIBLE
    assert (campaigns(delay_sigma=0.0).delay == 1).all()


def bits(audience: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C, 3) platforms and (C, 5) cohorts addressed."""
    on = (audience[:, None] >> np.arange(COHORT_BIT + 5)) & 1 > 0
    assert not on[:, 3:COHORT_BIT].any()
    return on[:, :3], on[:, COHORT_BIT:]


def test_the_stated_share_of_campaigns_leaves_one_platform_out_any_of_them():
    platforms, cohorts = bits(campaigns(**QUIET | {"platform_share": 0.3}).audience)

    left_out = ~platforms
    assert set(left_out.sum(axis=1)) == {0, 1}
    assert left_out.any(axis=1).mean() == share(0.3)
    assert stats.chisquare(left_out.sum(axis=0)).pvalue > PLAUSIBLE
    assert cohorts.all()


def test_the_stated_share_of_campaigns_addresses_half_of_the_cohorts_any_of_them():
    platforms, cohorts = bits(campaigns(**QUIET | {"cohort_share": 0.4}).audience)

    narrow = ~cohorts.all(axis=1)
    assert narrow.mean() == share(0.4)
    assert (cohorts[narrow].sum(axis=1) == 3).all()  # half of five, rounded up
    assert stats.chisquare(cohorts[narrow].sum(axis=0)).pvalue > PLAUSIBLE
    assert platforms.all()


def test_campaigns_address_everyone_at_any_time_where_the_shares_are_zero():
    got = campaigns(**QUIET)

    assert (got.audience == 0b111 + (0b11111 << COHORT_BIT)).all()
    assert (got.dayparts == 0b111111).all()
    assert (got.flight == -1).all()


def test_the_stated_share_of_campaigns_runs_in_three_parts_of_the_day_that_follow_one_another():
    dayparts = campaigns(**QUIET | {"daypart_share": 0.3}).dayparts

    some = dayparts != 0b111111
    runs = [sum(1 << (first + i) % DAYPARTS for i in range(3)) for first in range(DAYPARTS)]
    assert some.mean() == share(0.3)
    assert set(dayparts[some]) == set(runs)
    assert stats.chisquare([(dayparts == run).sum() for run in runs]).pvalue > PLAUSIBLE


def test_the_stated_share_of_campaigns_pauses_from_any_day_of_their_turn():
    flight = campaigns(**QUIET | {"flighted_share": 0.5, "flight_days": 3}).flight

    assert (flight >= 0).mean() == share(0.5)
    assert stats.chisquare(np.bincount(flight[flight >= 0], minlength=6)).pvalue > PLAUSIBLE


def test_what_a_campaign_is_drawn_is_uncorrelated():
    got = campaigns(cpa_share=0.5, ocpm_share=0.5, cpc_share=0.0, cpm_share=0.0, cart_goal_share=0.5,
                    **dict.fromkeys(QUIET, 0.5))  # fmt: skip
    platforms, cohorts = bits(got.audience)
    drawn = [
        got.pricing, got.goal, np.log(got.daily_budget_usd), np.log(got.delay), got.flight >= 0, got.dayparts < 0b111111,
        platforms.all(axis=1), cohorts.all(axis=1),
    ]  # fmt: skip

    assert np.abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 4.5 / np.sqrt(C)


def test_campaigns_differ_by_seed():
    assert not np.isin(campaigns(seed=4).daily_budget_usd, campaigns(seed=3).daily_budget_usd).any()


def test_no_store_has_two_ads_and_each_campaign_has_its_number_of_stores():
    ads = make_ads(CampaignConfig(count=C, stores_per_campaign=2, daily_budget_usd=60.0), 9_000)

    assert len(set(ads.store)) == len(ads.store) == 8_000
    assert (np.bincount(ads.campaign) == 2).all()
    assert ads.of_store[ads.store].tolist() == list(range(8_000))
    assert (ads.of_store[8_000:] == -1).all()


def on_air(
    time_ms: int, *, flight: int = -1, dayparts: int = 0b111111, launch_ms: int = 0, flight_days: int = 2
) -> bool:
    """Whether the first of two ads is on the air; the second one, of a campaign without a schedule, always is."""
    one = np.ones(2)
    campaigns = Campaigns(
        pricing=one, goal=one, bid_usd=one, daily_budget_usd=one, audience=one.astype(int), flight=np.array([flight, -1]),
        dayparts=np.array([dayparts, 0b111111]), delay=one,
    )  # fmt: skip
    ads = Ads(np.array([0, 1]), np.array([0, 1]), np.array([0, 1]))
    stores = STORES._replace(launch_ms=np.array([launch_ms, 0]))
    first, second = live(campaigns, ads, stores, flight_days, time_ms)
    assert second
    return bool(first)


@pytest.mark.parametrize(("phase", "running"), [(0, "11001100"), (1, "10011001"), (2, "00110011"), (3, "01100110")])
def test_flights_run_and_pause_in_turn_from_their_phase(phase, running):
    days = [on_air(day * DAY_MS + 5 * HOUR_MS, flight=phase) for day in range(8)]

    assert "".join(str(int(day)) for day in days) == running


def test_ads_run_in_their_campaigns_parts_of_the_day_only():
    hours = [hour for hour in range(24) if on_air(3 * DAY_MS + hour * HOUR_MS, dayparts=0b010001)]

    assert hours == [0, 1, 2, 3, 16, 17, 18, 19]


def test_an_ad_runs_from_the_moment_that_its_store_opens():
    assert not on_air(DAY_MS - 1, launch_ms=DAY_MS)
    assert on_air(DAY_MS, launch_ms=DAY_MS)


@given(day=st.integers(0, 4_000), phase=st.integers(0, 13), days=st.integers(1, 7))
def test_every_flight_runs_half_of_its_turn(day, phase, days):
    running = [on_air((day + d) * DAY_MS, flight=phase % (2 * days), flight_days=days) for d in range(2 * days)]

    assert sum(running) == days
