"""Delays: the mixture through three points, and the times that events really take, by event and campaign."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from synth.config import DelayConfig, DelayPoint
from synth.delay import DelayLaw, delay_laws, solve_delay, within
from synth.errors import Impossible
from synth.types import CART, CHECKOUT, EVENTS, HOUR_MS, SIGN_UP

PLAUSIBLE = 1e-4
N = 20_000
CHECKOUTS = DelayLaw(fast_share=0.45, fast_mean_h=0.5, slow_mean_h=40.0)
LAWS = delay_laws(CHECKOUTS, DelayConfig(cart_minutes=12.0, sign_up_hours=6.0))
STORE = np.zeros((N, 1), np.int32)
ONE = np.ones(1)


def points(*pairs: tuple[float, float]) -> tuple[DelayPoint, ...]:
    return tuple(DelayPoint(hours=hours, share=share) for hours, share in pairs)


def mixture(law: DelayLaw, factor: float = 1.0):
    """Its distribution function."""
    return lambda h: (
        law.fast_share * -np.expm1(-h / law.fast_mean_h)
        + (1 - law.fast_share) * -np.expm1(-h / (law.slow_mean_h * factor))
    )


def hours(outcomes, event: int) -> np.ndarray:
    delay = outcomes.delay_ms[:, 0, event]
    return delay[delay >= 0] / HOUR_MS


def test_delays_of_criteos_logs_are_the_mixture_worked_out_by_hand():
    law = solve_delay(points((1, 0.35), (24, 0.5), (336, 0.87)))

    assert law.fast_share == pytest.approx(0.4454, abs=5e-5)
    assert law.fast_mean_h == pytest.approx(0.6596, abs=5e-5)
    assert law.slow_mean_h == pytest.approx(9.6506 * 24, rel=1e-5)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    share=st.floats(0.1, 0.9), fast=st.floats(0.1, 5.0), ratio=st.floats(10.0, 500.0), first=st.floats(0.5, 1.5),
    rise=st.floats(1.6, 10.0), last=st.floats(0.5, 1.5), sigma=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_a_mixture_is_found_again_from_three_of_its_points(share, fast, ratio, first, rise, last, sigma):
    law = DelayLaw(share, fast, fast * ratio)
    at = np.array([first * fast, first * fast * rise, last * law.slow_mean_h])
    factor = np.exp(sigma * np.linspace(-2, 2, 9))
    assume(at[1] * 1.5 < at[2])

    found = solve_delay(points(*zip(at, within(law, at, factor), strict=True)), factor)

    assert within(found, at, factor) == pytest.approx(within(law, at, factor), abs=1e-8)
    assert found.fast_mean_h < found.slow_mean_h


def test_points_are_met_by_the_mean_over_campaigns():
    factor = np.array([0.5, 1.0, 1.0, 2.0])
    given = points((1, 0.45), (24, 0.75), (96, 0.92))

    law = solve_delay(given, factor)

    for point in given:
        each = [mixture(law, f)(point.hours) for f in factor]
        assert np.mean(each) == pytest.approx(point.share, abs=1e-8)
        assert min(each) < point.share


def test_share_within_hours_is_the_distribution_function_of_the_mixture():
    law = DelayLaw(fast_share=0.25, fast_mean_h=1.0, slow_mean_h=10.0)

    got = within(law, np.array([0.0, 10.0]), np.array([1.0, 2.0]), weight=np.array([3.0, 1.0]))

    slow = 0.75 * (1 - np.exp(-1)) + 0.25 * (1 - np.exp(-0.5))
    assert got == pytest.approx([0.0, 0.25 * (1 - np.exp(-10)) + 0.75 * slow])


@given(share=st.floats(0, 1), fast=st.floats(0.01, 10), slow=st.floats(0.01, 1e4), at=st.lists(st.floats(0, 1e4)))
def test_shares_rise_from_zero_to_one(share, fast, slow, at):
    got = within(DelayLaw(share, fast, slow), np.array([0.0, *sorted(at), 1e7]), np.array([0.5, 2.0]))

    assert got[0] == 0
    assert got[-1] == pytest.approx(1)
    assert (np.diff(got) >= -1e-12).all()


@pytest.mark.parametrize(
    "pairs",
    [
        ((1, 0.35), (24, 0.3), (336, 0.87)),  # the share falls
        ((1, 0.35), (24, 0.35), (336, 0.87)),  # the share stands still
        ((1, 0.35), (1, 0.5), (336, 0.87)),  # the hours stand still
        ((24, 0.35), (1, 0.5), (336, 0.87)),
        ((1, 0.1), (2, 0.5), (3, 0.9)),  # orders come faster and faster: no mixture of exponentials does that
    ],
)
def test_impossible_delay_points_are_refused_in_one_line_with_their_values(pairs):
    with pytest.raises(Impossible, match=r"^marginals\.delay.*$") as refused:
        solve_delay(points(*pairs))

    assert "\n" not in str(refused.value)
    for hour, share in pairs:
        assert f"{share:g} within {hour:g} h" in str(refused.value)


def test_carts_have_one_part_in_minutes_and_sign_ups_one_in_hours_that_campaigns_stretch():
    assert EVENTS == ("cart", "checkout", "sign_up")
    assert mixture(LAWS[CART], 2.0)(0.2) == pytest.approx(1 - np.exp(-1))
    assert LAWS[CHECKOUT] == CHECKOUTS
    assert mixture(LAWS[SIGN_UP], 2.0)(12.0) == pytest.approx(1 - np.exp(-1))


@pytest.mark.parametrize("slow", [1.0, 2.5])
def test_checkouts_take_the_mixture_with_the_campaigns_own_slow_part(answer, slow):
    got = answer(STORE, delays=LAWS, slow=slow)[0]

    assert len(hours(got, CHECKOUT)) == N
    assert stats.kstest(hours(got, CHECKOUT), mixture(CHECKOUTS, slow)).pvalue > PLAUSIBLE


@pytest.mark.parametrize("slow", [1.0, 2.5])
def test_orders_after_an_ad_that_was_only_seen_take_as_long(answer, slow):
    got = answer(STORE, delays=LAWS, slow=slow, click=-60.0)[0]

    assert len(hours(got, CHECKOUT)) == N
    assert stats.kstest(hours(got, CHECKOUT), mixture(CHECKOUTS, slow)).pvalue > PLAUSIBLE


def test_sign_ups_are_exponential_and_stretched_by_the_campaign(answer):
    got = answer(STORE, delays=LAWS, slow=2.5)[0]

    assert stats.kstest(hours(got, SIGN_UP) / 15.0, "expon").pvalue > PLAUSIBLE


def test_carts_that_no_order_follows_are_exponential_whatever_the_campaign(answer):
    got = answer(STORE, delays=LAWS, slow=2.5, checkout=-60.0)[0]

    assert (hours(got, CART) > 0).all()
    assert stats.kstest(hours(got, CART) / 0.2, "expon").pvalue > PLAUSIBLE
    assert len(hours(got, CHECKOUT)) == 0


def test_a_cart_that_an_order_follows_comes_at_the_earlier_of_both_times(answer):
    """Of independent times the earlier one has the product of the survival functions."""
    got = answer(STORE, delays=LAWS)[0]

    def law(h):
        return 1 - (1 - mixture(LAWS[CART])(h)) * (1 - mixture(CHECKOUTS)(h))

    assert (hours(got, CART) <= hours(got, CHECKOUT)).all()
    assert stats.kstest(hours(got, CART), law).pvalue > PLAUSIBLE


def test_delays_of_one_clicks_events_are_drawn_apart(answer):
    """Of carts and checkouts only those carts that come first show the cart's own time."""
    got = answer(STORE, delays=LAWS)[0]
    cart, checkout, sign_up = (hours(got, event) for event in (CART, CHECKOUT, SIGN_UP))
    late = checkout > 5.0  # 25 mean times of carts

    assert abs(stats.spearmanr(checkout, sign_up).statistic) < 4 / np.sqrt(N)
    assert abs(stats.spearmanr(cart[late], checkout[late]).statistic) < 4 / np.sqrt(late.sum())


def test_delays_of_two_stores_and_of_two_requests_are_drawn_apart(answer):
    delay = answer(np.tile([0, 1], (N, 1)), delays=LAWS)[0].delay_ms[:, :, CHECKOUT]

    assert abs(stats.spearmanr(delay[:, 0], delay[:, 1]).statistic) < 4 / np.sqrt(N)
    assert abs(stats.spearmanr(delay[1:, 0], delay[:-1, 0]).statistic) < 4 / np.sqrt(N)


def test_an_event_that_comes_at_once_comes_after_its_click_all_the_same(answer):
    at_once = (DelayLaw(0.5, 1e-12, 1e-12),) * 3

    assert (answer(STORE[:100], delays=at_once)[0].delay_ms == 1).all()


@pytest.mark.parametrize("event", [CHECKOUT, SIGN_UP])
def test_delays_of_a_campaign_follow_the_distribution_that_the_world_states(world, answered, shown, event):
    """Every delay put through its campaign's distribution function is uniform."""
    delay, campaign = answered[0].delay_ms[:, :, event], np.where(shown >= 0, shown // 5, -1)
    mass = np.concatenate(
        [
            world.delay_cdf(event, delay[(delay >= 0) & (campaign == c)] / HOUR_MS, c)
            for c in range(24)
            if ((delay >= 0) & (campaign == c)).any()
        ]
    )

    assert len(np.unique(world.population.campaigns.delay)) == 24
    assert len(mass) > 500
    assert stats.kstest(mass, "uniform").pvalue > PLAUSIBLE


def test_carts_come_as_the_world_states_for_their_chance_of_an_order(world, answered, shown):
    """A cart is filled by the time of its order, so the more likely that is, the sooner; in the mean over all carts."""
    outcomes, truth = answered
    delay = outcomes.delay_ms[:, :, CART]
    rows = np.nonzero(delay >= 0)
    hours = np.array([1 / 60, 1 / 12, 1 / 6, 1 / 2])
    expected = np.mean(
        [
            world.delay_cdf(CART, hours, c, checkout=p)
            for c, p in zip(shown[rows] // 5, truth.checkout[rows].astype(float), strict=True)
        ],
        axis=0,
    )
    got = (delay[rows][:, None] <= hours * HOUR_MS).mean(axis=0)

    assert len(rows[0]) > 500
    assert np.abs(got - expected).max() < 4 * np.sqrt(0.25 / len(rows[0]))
    alone = world.delay_cdf(CART, hours, 0)
    assert (expected > alone).all()


def test_the_cart_times_that_the_world_states_are_the_same_for_every_campaign(world):
    at = np.array([1 / 6])

    assert [world.delay_cdf(CART, at, c)[0] for c in (0, 5)] == pytest.approx([1 - np.exp(-1)] * 2)


def test_the_sign_up_times_that_the_world_states_are_stretched_by_the_campaign(world):
    for c, factor in enumerate(world.population.campaigns.delay):
        assert world.delay_cdf(SIGN_UP, np.array([6.0 * factor]), c)[0] == pytest.approx(1 - np.exp(-1))


def test_the_worlds_checkouts_meet_the_scenarios_points_in_the_mean_over_campaigns(world):
    for point in world.population.config.marginals.delay:
        each = [world.delay_cdf(CHECKOUT, np.array([point.hours]), c)[0] for c in range(24)]
        assert np.mean(each) == pytest.approx(point.share, abs=1e-8)
