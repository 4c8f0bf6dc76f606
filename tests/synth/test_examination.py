"""Examination: which slots are looked at, in both models, with the probabilities that the truth states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth import draws
from synth.config import FeedConfig
from synth.draws import Cause
from synth.examination import examination_of

EFFECT = (1.0, 0.75, 0.58, 0.46)  # as solved for; what the scenario asks is another matter
N = 20_000
STORES = np.tile(np.arange(4), (N, 1))


def feed(**changes) -> FeedConfig:
    surfaces = ({"name": "feed", "share": 0.6}, {"name": "cart", "share": 0.4, "attention": 0.5})
    return FeedConfig.model_validate({"slot_effect": (1.0, 0.5, 0.3, 0.2), "surfaces": surfaces} | changes)


def test_a_slot_is_looked_at_by_attention_of_the_surface_times_effect_to_the_power_of_the_platforms_depth():
    effect = examination_of(feed(platform_depth=(1.0, 0.5)), EFFECT, 2).effect

    assert effect[0, 0] == pytest.approx(EFFECT)
    assert effect[1, 0] == pytest.approx(0.5 * np.array(EFFECT))
    assert effect[1, 1] == pytest.approx([0.5, 0.5 * 0.75**0.5, 0.5 * 0.58**0.5, 0.5 * 0.46**0.5])


def test_platforms_are_alike_where_no_depth_is_stated():
    effect = examination_of(feed(), EFFECT, 3).effect

    assert effect.shape == (2, 3, 4)
    assert (effect == effect[:, :1]).all()


@given(depth=st.lists(st.floats(0.1, 3.0), min_size=2, max_size=2))
def test_who_looks_deeper_looks_at_every_slot_more_and_nobody_looks_at_a_lower_slot_more(depth):
    effect = examination_of(feed(platform_depth=tuple(sorted(depth))), EFFECT, 2).effect

    assert (effect[:, 0] >= effect[:, 1]).all()
    assert (np.diff(effect, axis=2) <= 0).all()
    assert ((effect > 0) & (effect <= 1)).all()


def test_the_model_is_the_one_that_the_scenario_names():
    assert not examination_of(feed(), EFFECT, 3).cascade
    cascade = examination_of(feed(model="cascade", stop_after_click=0.3), EFFECT, 3)
    assert (cascade.cascade, cascade.stop) == (True, 0.3)


def test_truth_and_looks_are_those_of_the_surface_and_the_platform(answered, requests, population, shown, errors):
    outcomes, truth = answered
    surface, platform = requests.surface, population.users.platform[requests.user]
    expected = (np.array([1.0, 0.8])[surface, None] * np.array(EFFECT) ** np.array([1.0, 0.8, 1.5])[platform, None]) * (
        shown >= 0
    )

    np.testing.assert_allclose(truth.examination, expected, rtol=1e-6)
    for s in range(2):
        for p in range(3):
            rows = ((surface == s) & (platform == p))[:, None] & (shown >= 0)
            assert errors(outcomes.examined[rows], expected[rows] * (1 - 1e-12)) < 4


def test_slots_are_looked_at_independently_of_one_another_and_of_clicks(answer):
    looked = answer(STORES, effect=(0.8, 0.6, 0.5, 0.4), click=0.0)[0].examined

    assert np.abs(np.corrcoef(looked.T) - np.eye(4)).max() < 4 / np.sqrt(N)


def test_a_look_is_drawn_by_request_and_slot_and_so_shared_by_the_ads_there(answer):
    expected = draws.uniform(5, Cause.EXAMINATION, np.arange(1_000) << 5, 2) < EFFECT[2]

    for store in (0, 1):
        got = answer(np.full((1_000, 4), store), effect=EFFECT)[0]
        assert np.array_equal(got.examined[:, 2], expected)


@pytest.mark.parametrize("stop", [0.0, 0.6, 1.0])
def test_a_cascades_truth_is_what_happens_slot_by_slot(answer, errors, stop):
    """Click probability 0.5: a slot is reached if no click above has ended the scan."""
    outcomes, truth = answer(STORES, effect=EFFECT, cascade=True, stop=stop, click=0.0)

    np.testing.assert_allclose(truth.examination, np.tile(EFFECT * (1 - 0.5 * stop) ** np.arange(4), (N, 1)), rtol=1e-6)
    for slot in range(1, 4):
        assert errors(outcomes.examined[:, slot], truth.examination[:, slot]) < 4
        assert errors(outcomes.clicked[:, slot], 0.5 * truth.examination[:, slot]) < 4


@pytest.mark.parametrize("stop", [0.0, 0.6, 1.0])
def test_a_cascade_goes_on_from_the_slot_above_unless_a_click_there_ends_it(answer, stop):
    got = answer(STORES, effect=EFFECT, cascade=True, stop=stop, click=0.0)[0]

    for slot in range(1, 4):
        above, here = got.examined[:, slot - 1], got.examined[:, slot]
        clicked, on = got.clicked[:, slot - 1], EFFECT[slot] / EFFECT[slot - 1]
        assert not here[~above].any()
        for rows, p in ((above & ~clicked, on), (above & clicked, on * (1 - stop))):
            assert here[rows].mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / rows.sum()))


def test_given_the_clicks_above_a_cascades_truth_is_a_frequency(answer):
    """Three clicks above, all looked at: (1 - stop)^3 of those who would look down to the last slot get there."""
    got = answer(STORES, effect=(1.0, 1.0, 1.0, 1.0), cascade=True, stop=0.3, click=0.0)[0]

    clicks = got.clicked[:, :3].sum(axis=1)
    for k in range(4):
        complete = (clicks == k) & got.examined[:, 2]
        again = 1 - 0.3 * got.clicked[complete, 2]
        assert got.examined[complete, 3].mean() == pytest.approx(again.mean(), abs=4 * 0.5 / np.sqrt(complete.sum()))


def test_a_cascade_without_stops_looks_as_often_as_independent_slots(answer):
    for cascade in (True, False):
        truth = answer(STORES, effect=EFFECT, cascade=cascade, click=0.0)[1]
        np.testing.assert_allclose(truth.examination, np.tile(EFFECT, (N, 1)), rtol=1e-6)


def test_a_cascade_passes_over_an_empty_slot(answer, errors):
    gap = STORES.copy()
    gap[:, 1] = -1

    outcomes, truth = answer(gap, effect=EFFECT, cascade=True, stop=0.6, click=0.0)

    np.testing.assert_allclose(truth.examination[:, 2], 0.58 * 0.7, rtol=1e-6)
    assert not truth.examination[:, 1].any() and not outcomes.examined[:, 1].any()
    assert errors(outcomes.examined[:, 2], truth.examination[:, 2]) < 4


def test_surfaces_have_their_attention_in_a_cascade_too(answer, errors):
    outcomes, truth = answer(STORES, effect=(0.5, 0.4, 0.3, 0.2), cascade=True, stop=0.0, click=0.0)

    for slot in range(4):
        assert errors(outcomes.examined[:, slot], truth.examination[:, slot]) < 4


def test_an_attention_of_nothing_or_a_slot_that_is_better_than_the_first_is_refused():
    for slots in ((0.9, 0.5), (1.0, 1.2), (1.0, 0.5, 0.6), ()):
        with pytest.raises(ValueError, match="slot_effect"):
            feed(slot_effect=slots)
