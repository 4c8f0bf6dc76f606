"""Propensities: found in randomised slots and in rankers that disagree; weights by them are unbiased, and say what they cost."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import Unusable
from models.propensity import explosion, ipw_weights, propensities_harvested, propensities_randomised
from models.weights import Weights, plain

CURVE = np.array([1.0, 0.7, 0.45, 0.25])


def log_of_rankers(seed: int, units: int = 4_000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit, slot, click and ranker: three rankers, each placing units by relevance with errors of its own; each unit 12 rows."""
    rng = np.random.default_rng(seed)
    relevance = rng.uniform(0.05, 0.9, units)
    place = np.stack([np.clip(3.5 - 4 * relevance + rng.normal(0, 0.7, units), 0, 3).astype(int) for _ in range(3)])
    unit = np.repeat(np.arange(units), 12)
    ranker = rng.choice(3, len(unit), p=[0.6, 0.3, 0.1])
    slot = place[ranker, unit]
    return unit, slot, rng.random(len(unit)) < CURVE[slot] * relevance[unit], ranker


@given(e=st.floats(0.01, 1), r=st.floats(0, 1))
def test_the_mean_of_the_weights_over_looks_is_the_relevance(e, r):
    click, no_click = (ipw_weights(np.array([label]), np.array([1.0, e]), np.array([1])) for label in (True, False))

    positive = e * r * click.positive + (1 - e * r) * no_click.positive
    negative = e * r * click.negative + (1 - e * r) * no_click.negative

    assert positive == pytest.approx(r)
    assert negative == pytest.approx(1 - r)


def test_weights_by_hand_with_and_without_a_least_propensity():
    label, slot, propensity = np.array([True, True, False]), np.array([0, 1, 1]), np.array([1.0, 0.1])

    free, held = (ipw_weights(label, propensity, slot, least=least) for least in (0.0, 0.2))

    assert free.positive == pytest.approx([1, 10, 0]) and free.negative == pytest.approx([0, -9, 1])
    assert held.positive == pytest.approx([1, 5, 0]) and held.negative == pytest.approx([0, -4, 1])


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.01, float("nan")])
def test_a_propensity_that_is_none_is_refused_with_its_slot(wrong):
    with pytest.raises(Unusable, match=rf"within \(0, 1\]: slot 2 has {wrong}"):
        ipw_weights(np.array([True]), np.array([1.0, 0.5, wrong]), np.array([0]), least=0.5)


def test_equal_weights_keep_every_row_and_one_of_a_hundred_times_the_rest_does_not():
    """99 of 1 and one of 1,001: (99 + 1,001)^2 / (99 + 1,001^2) of 100 rows."""
    even, uneven = (
        explosion(plain(np.arange(10) < 3)),
        explosion(Weights(np.append(np.zeros(99), 501.0), np.append(np.ones(99), -500.0))),
    )

    assert (even.share, even.largest) == (pytest.approx(1), 1)
    assert uneven.share == pytest.approx(1_100**2 / (99 + 1_001**2) / 100)
    assert (uneven.share, uneven.largest) == (pytest.approx(0.0121, abs=1e-4), 1001)


def test_randomised_propensities_by_hand():
    """Rates 2 / 4 and 1 / 4: a half, with the variance (0.1875 / 4 + 0.25 x 0.25 / 4) / 0.25."""
    got = propensities_randomised(np.repeat([0, 1], 4), np.array([1, 1, 0, 0, 1, 0, 0, 0], bool), 2)

    assert got.value == pytest.approx([1, 0.5])
    assert got.error == pytest.approx([0, 0.5])


def test_errors_of_randomised_propensities_are_the_spread_of_repeated_logs():
    rng = np.random.default_rng(1)
    slot = np.repeat(np.arange(4), 2_000)
    runs = [propensities_randomised(slot, rng.random(8_000) < 0.3 * CURVE[slot], 4) for _ in range(600)]
    values = np.array([run.value for run in runs])

    assert values.mean(axis=0) == pytest.approx(CURVE, abs=0.006)
    assert np.mean([run.error for run in runs], axis=0) == pytest.approx(values.std(axis=0), rel=0.12)


@pytest.mark.parametrize(
    ("slot", "click", "said"),
    [
        ([0, 2], [True, True], "slot 1 has none"),
        ([0, 1, 2], [False, True, True], "none of its 1 impressions was clicked"),
    ],
)
def test_randomised_slots_that_tell_nothing_are_refused(slot, click, said):
    with pytest.raises(Unusable, match=said):
        propensities_randomised(np.array(slot), np.array(click), 3)


def test_rankers_that_disagree_give_the_curve_where_click_rates_do_not():
    unit, slot, click, ranker = log_of_rankers(2)

    naive = propensities_randomised(slot, click, 4)
    got = propensities_harvested(unit, slot, click, ranker, 4)

    assert (np.abs(naive.value - CURVE)[1:] > 20 * naive.error[1:]).all()
    assert (np.abs(got.value - CURVE)[1:] < 4 * got.error[1:]).all()
    assert got.error.max() < 0.05


def test_errors_of_harvested_propensities_are_the_spread_of_repeated_logs():
    runs = [propensities_harvested(*log_of_rankers(100 + seed, units=600), 4) for seed in range(150)]
    values, errors = np.array([run.value for run in runs]), np.array([run.error for run in runs])

    assert (np.abs(values.mean(axis=0) - CURVE)[1:] < 4 * values.std(axis=0)[1:] / np.sqrt(150) + 0.01).all()
    assert np.sqrt((errors**2).mean(axis=0))[1:] == pytest.approx(values.std(axis=0)[1:], rel=0.25)


def test_of_two_slots_the_harvest_is_the_ratio_of_mean_rates_of_units_that_moved():
    """Unit 0: 1 of 2 above, 1 of 4 below; unit 1: 2 of 2 above, 1 of 2 below: 0.75 / 1.5. Unit 2 does not move."""
    unit = np.repeat([0, 0, 1, 1, 2], [2, 4, 2, 2, 3])
    slot = np.repeat([0, 1, 0, 1, 0], [2, 4, 2, 2, 3])
    click = np.array([1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0], bool)

    got = propensities_harvested(unit, slot, click, slot, 2)

    assert got.value == pytest.approx([1, 0.5])


def test_a_unit_that_one_ranker_alone_moved_does_not_count():
    """Its slot may have gone with what made it relevant then: unit 0 is moved by ranker 0 alone, units 1 and 2 by both."""
    unit = np.repeat([0, 1, 2], 4)
    slot = np.array([0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1])
    ranker = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1])
    click = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0], bool)

    assert propensities_harvested(unit, slot, click, ranker, 2).value == pytest.approx([1, 1])


def test_a_harvest_of_one_unit_is_refused():
    with pytest.raises(Unusable, match="two units that rankers put in different slots: there is 1"):
        propensities_harvested(
            np.zeros(4, int), np.array([0, 0, 1, 1]), np.array([1, 0, 1, 0], bool), np.array([0, 0, 1, 1]), 2
        )


def test_a_chain_of_slots_is_enough_for_a_harvest():
    """No unit is in both the first and the last slot."""
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(3_000), 20)
    ranker = rng.integers(0, 2, len(unit))
    slot = unit % 2 + ranker
    click = rng.random(len(unit)) < CURVE[slot] * rng.uniform(0.1, 0.8, 3_000)[unit]

    got = propensities_harvested(unit, slot, click, ranker, 3)

    assert (np.abs(got.value - CURVE[:3])[1:] < 4 * got.error[1:]).all()


def test_a_harvest_of_one_ranker_is_refused_with_the_slots():
    unit, slot, click, _ = log_of_rankers(4, units=200)

    with pytest.raises(Unusable, match="slot 0 and slot 1 and slot 2 and slot 3 share no ad"):
        propensities_harvested(unit, slot, click, np.zeros(len(unit), int), 4)


def test_a_harvest_of_a_slot_without_clicks_is_refused():
    unit, slot, click, ranker = log_of_rankers(5, units=200)

    with pytest.raises(Unusable, match="slots 0, 1, 2 and slot 3 share no ad"):
        propensities_harvested(unit, slot, click & (slot != 3), ranker, 4)


def test_a_harvest_where_all_is_clicked_is_flat():
    unit, slot, click, ranker = log_of_rankers(6, units=200)

    assert propensities_harvested(unit, slot, np.ones_like(click), ranker, 4).value == pytest.approx(np.ones(4))


def test_a_harvest_solves_the_balance_of_wins():
    """At the maximum, the clicks of each slot are those its share of each pair's gives: summed here from the rows."""
    unit, slot, click, ranker = log_of_rankers(7, units=300)
    value = propensities_harvested(unit, slot, click, ranker, 4).value
    got, expected = np.zeros(4), np.zeros(4)

    for one in range(300):
        rows = unit == one
        rates = {s: click[rows & (slot == s)].mean() for s in set(slot[rows])}
        for a, b in combinations(rates, 2):  # a ranker has one slot per unit, so that two slots are two rankers
            got[[a, b]] += rates[a], rates[b]
            expected[[a, b]] += (rates[a] + rates[b]) * value[[a, b]] / value[[a, b]].sum()

    assert got == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(0, 120, 2))
def test_a_harvest_of_a_small_log_is_finite_or_refused(seed):
    rng = np.random.default_rng(seed)
    unit, ranker = rng.integers(0, 8, (2, 100)) % np.array([[8], [2]])
    slot = rng.integers(0, 3, (2, 8))[ranker, unit]

    try:
        got = propensities_harvested(unit, slot, rng.random(100) < rng.uniform(0.05, 1), ranker, 3)
    except Unusable:
        return
    assert np.isfinite(got).all() and (got.value > 0).all()
