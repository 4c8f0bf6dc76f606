"""Response: what happens has the probabilities that the truth states, and the same answer for the same ad in one slot."""

import numpy as np
import pytest
from scipy import stats

from synth.affinity import DAYPARTS, Intercepts, Tastes, wish
from synth.draws import Cause, uniform
from synth.habits import Habits
from synth.response import DelayLaw, OrderLaw, respond
from synth.types import HOUR_MS, Outcomes, Requests, Truth

PLAUSIBLE = 1e-4
DELAY = DelayLaw(fast_share=0.45, fast_mean_h=0.5, slow_mean_h=40.0)


@pytest.fixture(scope="module")
def answered(world, population, requests, shown) -> tuple[Outcomes, Truth]:
    return world.respond(requests, shown, population.habits)


def first_user_knows(*store: int) -> Habits:
    known = np.array([store or (-1,)], np.int32)
    return Habits(known, np.zeros_like(known), np.zeros(known.shape, np.int64))


def indifferent(store: int, slot_effect: float, intercepts: Intercepts, n: int, delay: DelayLaw = DELAY) -> Outcomes:
    """One user without tastes answers n requests that show one store, of price level exp(0.25)."""
    requests = Requests(id=np.arange(n), user=np.zeros(n, np.int32), time_ms=np.zeros(n, np.int64))
    none, price = np.zeros((2, 2), np.float32), np.full(2, 0.25, np.float32)
    tastes = Tastes(
        user_taste=none, user_price_sensitivity=none[0], store_style=none, store_click_appeal=none[0],
        store_purchase_appeal=none[0], store_log_price=price, store_cuisine=np.zeros(2, np.int32),
        daypart=np.zeros((DAYPARTS, 1), np.float32), match=1.0, price=0.0,
    )  # fmt: skip
    shown, effect = np.full((n, 1), store, np.int32), np.array([slot_effect])
    return respond(5, requests, shown, first_user_knows(), tastes, intercepts, effect, delay, OrderLaw(32.0, 0.4))[0]


SURELY = Intercepts(click=60.0, conversion=60.0, habit=0.0, long_click=0.0, hide=0.0)


@pytest.fixture(scope="module")
def buyers() -> Outcomes:
    """40,000 ads, each looked at, clicked and ordered from."""
    return indifferent(0, 1.0, SURELY, 40_000)


def z(happened: np.ndarray, p: np.ndarray) -> float:
    """Standard errors from what `p` promises to what happened."""
    p = p.astype(float)
    return float((happened.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum()))


def test_nothing_happens_in_an_empty_slot(answered, shown):
    for columns in answered:
        for name in columns.__dataclass_fields__:
            assert not getattr(columns, name)[shown < 0].any()


def test_long_click_and_order_need_a_click_and_a_hide_needs_none(answered):
    outcomes, _ = answered

    assert outcomes.clicked.any() and outcomes.hidden.any() and outcomes.converted.any()
    assert not (outcomes.long_clicked & ~outcomes.clicked).any()
    assert not (outcomes.converted & ~outcomes.clicked).any()
    assert not (outcomes.hidden & outcomes.clicked).any()


def test_delay_and_value_belong_to_orders_and_to_nothing_else(answered):
    outcomes, _ = answered

    assert np.array_equal(outcomes.delay_ms > 0, outcomes.converted)
    assert np.array_equal(outcomes.value_micros > 0, outcomes.converted)


def test_examination_is_the_slots_effect(answered, population, shown):
    _, truth = answered

    expected = np.where(shown >= 0, population.slot_effect, 0)
    assert truth.examination == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("slot", range(4))
def test_clicks_happen_with_the_probability_of_examination_times_attraction(answered, shown, slot):
    outcomes, truth = answered

    there = shown[:, slot] >= 0
    p = truth.examination[there, slot] * truth.click[there, slot]
    assert abs(z(outcomes.clicked[there, slot], p)) < 4.5


def test_orders_happen_among_clicks_with_the_probability_of_conversion(answered):
    outcomes, truth = answered

    assert abs(z(outcomes.converted[outcomes.clicked], truth.conversion[outcomes.clicked])) < 4.5


def test_probabilities_hold_among_the_likely_and_among_the_unlikely(answered, shown):
    outcomes, truth = answered

    for p, happened, rows in (
        (truth.examination * truth.click, outcomes.clicked, shown >= 0),
        (truth.conversion, outcomes.converted, outcomes.clicked),
    ):
        order = np.argsort(p[rows])
        for part in np.array_split(order, 5):
            assert abs(z(happened[rows][part], p[rows][part])) < 4.5


def test_long_clicks_and_hides_happen_with_their_probabilities(answered, world, population, requests, shown):
    outcomes, truth = answered
    row, slot = np.nonzero(shown >= 0)
    user, store = requests.user[row], population.ads.store[shown[row, slot]]
    wishes = [wish(population.tastes, *who) for who in zip(user, store, requests.time_ms[row], strict=True)]
    known = (population.habits.store[user] == store[:, None]).any(axis=1)
    click_wish, order_wish = np.array(wishes).T + world.intercepts.habit * known

    click = truth.examination[row, slot] * truth.click[row, slot]
    p_hide = (truth.examination[row, slot] - click) / (1 + np.exp(click_wish - world.intercepts.hide))
    clicked = outcomes.clicked[row, slot]
    p_long = 1 / (1 + np.exp(-(world.intercepts.long_click + order_wish[clicked])))

    assert abs(z(outcomes.hidden[row, slot], p_hide)) < 4.5
    assert abs(z(outcomes.long_clicked[row, slot][clicked], p_long)) < 4.5


def test_long_clicks_and_orders_are_drawn_apart(answered):
    outcomes, truth = answered
    alike = outcomes.clicked & (np.abs(truth.conversion - 0.3) < 0.05)

    long_clicked, converted = outcomes.long_clicked[alike], outcomes.converted[alike]

    assert alike.sum() > 500
    assert abs(np.corrcoef(long_clicked, converted)[0, 1]) < 4 / np.sqrt(alike.sum())


def test_truth_is_the_logistic_of_wish_intercept_and_habit_written_out_by_hand():
    """Taste (1, 2) on style (3, -1) is 1; match 0.5, price level 0.2 at sensitivity 2 and weight 0.3, 9 o'clock."""
    tastes = Tastes(
        user_taste=np.array([[1.0, 2.0]], "f4"), user_price_sensitivity=np.array([2.0], "f4"),
        store_style=np.array([[0.0, 0.0], [3.0, -1.0]], "f4"), store_click_appeal=np.array([0.0, 0.4], "f4"),
        store_purchase_appeal=np.array([0.0, -0.6], "f4"), store_log_price=np.array([0.0, 0.2], "f4"),
        store_cuisine=np.array([0, 1], np.int32), daypart=np.arange(12, dtype="f4").reshape(6, 2) / 10,
        match=0.5, price=0.3,
    )  # fmt: skip
    requests = Requests(id=np.array([3]), user=np.zeros(1, np.int32), time_ms=np.array([24 * HOUR_MS + 9 * HOUR_MS]))
    intercepts = Intercepts(click=-2.0, conversion=-1.0, habit=0.7, long_click=0.0, hide=0.0)
    shared = 0.5 * 1.0 + 0.5 - 0.3 * 2.0 * 0.2  # match x fit + daypart 2 of cuisine 1 - price

    store, effect = np.array([[1]], np.int32), np.array([0.8])
    for habits, habit in ((first_user_knows(0), 0.0), (first_user_knows(0, 1), 0.7)):
        _, truth = respond(1, requests, store, habits, tastes, intercepts, effect, DELAY, OrderLaw(30.0, 0.1))
        assert truth.click[0, 0] == pytest.approx(1 / (1 + np.exp(2.0 - shared - 0.4 - habit)), rel=1e-5)
        assert truth.conversion[0, 0] == pytest.approx(1 / (1 + np.exp(1.0 - shared / 2 + 0.6 - habit)), rel=1e-5)


def test_same_ad_in_the_same_slot_gets_the_same_answer_whatever_else_is_shown(
    answered, world, population, requests, shown
):
    changed = shown.copy()
    changed[:, [1, 3]] = (changed[:, [1, 3]] + 31) % 60
    changed[::2, 2] = -1

    for before, after in zip(answered, world.respond(requests, changed, population.habits), strict=True):
        same = changed == shown
        for name in before.__dataclass_fields__:
            assert np.array_equal(getattr(before, name)[same], getattr(after, name)[same])


def test_answers_do_not_depend_on_the_batch(answered, world, population, requests, shown):
    order = np.random.default_rng(2).permutation(len(requests))

    parts = [order[:5_000], order[5_000:]]
    for rows in parts:
        for whole, part in zip(
            answered, world.respond(requests.take(rows), shown[rows], population.habits), strict=True
        ):
            for name in whole.__dataclass_fields__:
                assert np.array_equal(getattr(whole, name)[rows], getattr(part, name))


def test_examination_is_drawn_by_request_and_slot_and_so_shared_by_the_ads_there():
    looked = uniform(5, Cause.EXAMINATION, np.arange(1_000), 0) < 0.3

    for store in (0, 1):
        assert np.array_equal(indifferent(store, 0.3, SURELY, 1_000).clicked[:, 0], looked)


def test_delays_follow_the_mixture_of_two_exponentials(buyers):
    def law(hours):
        return DELAY.fast_share * -np.expm1(-hours / DELAY.fast_mean_h) + (1 - DELAY.fast_share) * -np.expm1(
            -hours / DELAY.slow_mean_h
        )

    hours = buyers.delay_ms[:, 0] / HOUR_MS
    assert buyers.converted.all()
    assert stats.kstest(hours, law).pvalue > PLAUSIBLE


def test_an_order_that_comes_at_once_comes_after_its_click_all_the_same():
    at_once = DelayLaw(fast_share=0.5, fast_mean_h=1e-12, slow_mean_h=1e-12)

    assert (indifferent(0, 1.0, SURELY, 100, at_once).delay_ms == 1).all()


def test_order_values_are_lognormal_with_mean_basket_times_price_level(buyers):
    value = buyers.value_micros[:, 0] / 1e6

    log_value = (np.log(value) - (np.log(32.0) + 0.25 - 0.4**2 / 2)) / 0.4
    assert stats.kstest(log_value, "norm").pvalue > PLAUSIBLE


def test_value_and_delay_of_an_order_are_uncorrelated(buyers):
    r = stats.spearmanr(buyers.delay_ms[:, 0], buyers.value_micros[:, 0]).statistic

    assert abs(r) < 4 / np.sqrt(len(buyers.delay_ms))
