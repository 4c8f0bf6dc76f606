"""Position: both forms of a slot's effect, what a log without clicks teaches, and which logs tell position from relevance."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from models.errors import Unusable
from models.multitask import product_logit
from models.position import SlotCurve, additive_step, curve_of, examination_step, examined_weights, identified

probability = st.floats(0.001, 0.999)
ADDITIVE = SlotCurve("additive", np.array([0.0, -0.5, -1.5]))
PRODUCT = SlotCurve("product", np.array([1.0, 0.6, 0.3]))


def crossed(relevance: list[float], examination: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ads, slots and click rates of every ad in every slot, equally often."""
    ad, slot = np.indices((len(relevance), len(examination))).reshape(2, -1)
    return ad, slot, np.array(relevance)[ad] * np.array(examination)[slot]


def tower(relevance: list[float], examination: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Logits of ads and slots that a tower fits to clicks by looks, on more rows than anyone has."""
    ad, slot, click = crossed(relevance, examination)
    ads = len(relevance)

    def loss(effects: np.ndarray) -> float:
        both = effects[ad] + np.append(0, effects[ads:])[slot]
        return float((np.logaddexp(0, both) - click * both).sum())

    fitted = minimize(loss, np.zeros(ads + len(examination) - 1), tol=1e-10).x
    return fitted[:ads], np.append(0, fitted[ads:])


def test_an_additive_curve_adds_to_the_logit_and_a_product_multiplies_the_probability():
    """Relevance a half: e sigmoid(0) is 0.5, 0.3 and 0.15."""
    a = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    slots = np.arange(3)

    assert ADDITIVE.at(a, slots) == pytest.approx(np.array([[0, -0.5, -1.5], [1, 1.5, 1.5]]))
    assert expit(PRODUCT.at(a, slots))[0] == pytest.approx([0.5, 0.3, 0.15])
    assert {ADDITIVE.at(a, slots).dtype, PRODUCT.at(a, slots).dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize("curve", [ADDITIVE, PRODUCT])
def test_a_slot_beyond_the_last_has_the_lasts_value_and_the_first_changes_nothing(curve):
    a = np.linspace(-4, 4, 12, dtype=np.float32).reshape(3, 4)

    got = curve.at(a, np.array([0, 2, 3, 99]))

    assert np.array_equal(got[:, 0], a[:, 0])
    assert np.array_equal(got[:, 2:], curve.at(a[:, 2:], np.array([2, 2])))


@given(a=st.floats(-80, 80, width=32), e=st.floats(0.001, 0.999))
def test_the_logit_of_a_product_is_that_of_the_multitask_chain(a, e):
    got = SlotCurve("product", np.array([1.0, e])).at(np.full((1, 1), a, np.float32), np.array([1])).item()

    assert got == pytest.approx(
        product_logit(torch.tensor(a).double(), torch.tensor(logit(e))).item(), rel=1e-5, abs=1e-5
    )


@pytest.mark.parametrize("curve", [ADDITIVE, PRODUCT])
def test_a_curve_comes_back_from_its_card(curve):
    back = curve_of(json.loads(json.dumps(curve.card())))

    assert back.kind == curve.kind and np.array_equal(back.values, curve.values)


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("cascade", [1.0], "must be one of additive, product, is 'cascade'"),
        ("product", [0.9, 0.5], r"must begin with 1.0, are \[0.9, 0.5\]"),
        ("additive", [], "must begin with 0.0"),
        ("product", [1.0, 0.5, 0.0], r"within \(0, 1\], slot 2 has 0.0"),
        ("product", [1.0, 1.2], "slot 1 has 1.2"),
        ("additive", [0.0, float("nan")], "finite, slot 1 has nan"),
    ],
)
def test_a_card_that_is_no_curve_is_refused(kind, values, said):
    with pytest.raises(Unusable, match=said):
        curve_of({"kind": kind, "values": values})


def test_a_miss_worked_out_by_hand():
    """e = 0.5, r = 0.4: of 0.8 that do not click, 0.2 were attracted and did not look, 0.6 were not attracted."""
    got = examined_weights(np.array([True, False]), np.array([0.5, 0.5]), np.array([0.4, 0.4]))

    assert got.positive == pytest.approx([1, 0.25])
    assert got.negative == pytest.approx([0, 0.75])


@given(e=probability, r=probability)
def test_weights_are_the_posterior_of_the_four_cases_and_count_a_row_once(e, r):
    """Bayes over looked or not, attracted or not, of which one is a click."""
    joint = np.outer([e, 1 - e], [r, 1 - r])
    joint[0, 0] = 0
    attracted, repelled = joint.sum(axis=0) / joint.sum()

    got = examined_weights(np.zeros(1), np.array([e]), np.array([r]))

    assert got.positive[0] == pytest.approx(attracted)
    assert got.negative[0] == pytest.approx(repelled)
    assert got.total[0] == pytest.approx(1)


def test_at_the_truth_the_weights_of_a_population_give_the_truth_back():
    """Relevance 0.3 in slots of 1, 0.6 and 0.3, slot by slot: where the EM algorithm stands."""
    e, r = np.array([1, 0.6, 0.3]), np.full(3, 0.3)

    got = examined_weights(e * r, e, r)

    assert got.positive / got.total == pytest.approx(r, abs=1e-9)
    assert examination_step(e * r, e, r, np.arange(3), 3) == pytest.approx(e, abs=1e-9)


def test_looks_expected_are_the_mean_posterior_of_a_look_by_hand():
    """Slot 0 is looked at. Slot 1 has one click and three misses, each looked at by 0.5 x 0.6 / 0.8: (1 + 1.125) / 4."""
    label, slot = np.array([0, 1, 1, 0, 0, 0]), np.array([0, 0, 1, 1, 1, 1])

    got = examination_step(label, np.array([1, 0.5])[slot], np.full(6, 0.4), slot, 2)

    assert got == pytest.approx([1, 2.125 / 4])


def test_slot_0_is_the_reference_whatever_it_was_before():
    """At half the truth, with twice the relevance, clicks are the same: the step finds the halves and scales them."""
    e, r = np.array([1, 0.6, 0.3]), np.full(3, 0.3)

    assert examination_step(e * r, e / 2, r * 2, np.arange(3), 3) == pytest.approx(e, abs=1e-9)


def test_examination_and_relevance_alternated_rise_in_likelihood_to_the_truth():
    relevance, examination = [0.2, 0.5, 0.8], [1.0, 0.7, 0.3]
    ad, slot, click = crossed(relevance, examination)
    r, e, likelihoods = np.full(3, 0.5), np.array([1, 0.5, 0.5]), []

    for _ in range(4_000):
        weights = examined_weights(click, e[slot], r[ad])
        e = examination_step(click, e[slot], r[ad], slot, 3)
        r = np.bincount(ad, weights.positive) / np.bincount(ad, weights.total)
        p = e[slot] * r[ad]
        likelihoods.append((click * np.log(p) + (1 - click) * np.log1p(-p)).sum())

    assert np.diff(likelihoods).min() > -1e-12
    assert r == pytest.approx(relevance, abs=1e-6)
    assert e == pytest.approx(examination, abs=1e-6)


@given(rows=st.lists(st.tuples(st.booleans(), probability, probability), min_size=1, max_size=5))
def test_tensors_and_arrays_get_the_same_weights(rows):
    label, e, r = (np.array(column) for column in zip(*rows, strict=True))

    arrays = examined_weights(label, e, r)
    tensors = examined_weights(*map(torch.from_numpy, (label, e, r)))

    for array, tensor in zip(arrays, tensors, strict=True):
        assert torch.is_tensor(tensor)
        assert tensor.numpy() == pytest.approx(array)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_miss_in_a_slot_that_all_look_at_is_a_negative_even_where_the_model_is_certain(kind):
    got = examined_weights(np.zeros(2, kind), np.ones(2, kind), np.array([1.0, 0.5], kind))

    assert np.array_equal(got.positive, [0, 0]) and np.array_equal(got.negative, [1, 1])


def test_an_additive_step_by_hand():
    """Rates 0.6 and 0.3 at p = 0.5: steps 0.1 / 0.25 and -0.2 / 0.25, less that of slot 0."""
    got = additive_step(np.array([0.6, 0.3]), np.zeros(2, np.float32), np.zeros(2), np.arange(2))

    assert got == pytest.approx([0, -1.2], abs=1e-12)


def test_additive_steps_end_at_the_effects_of_the_slots():
    rng = np.random.default_rng(0)
    relevance, slot, effect = rng.normal(size=600), np.arange(600) % 3, np.array([0, -2.5, 1.5])
    found = np.zeros(3)

    for _ in range(30):
        found = additive_step(expit(relevance + effect[slot]), relevance, found, slot)

    assert found == pytest.approx(effect, abs=1e-9)


def test_a_step_of_an_almost_certain_slot_does_not_overshoot():
    got = additive_step(np.array([0.5, 0.5]), np.zeros(2), np.array([0.0, -20.0]), np.arange(2))

    assert got == pytest.approx([0, -19])


@pytest.mark.parametrize("step", ["examination", "additive"])
def test_a_slot_without_rows_is_refused_by_a_step(step):
    half, slot = np.full(2, 0.5), np.array([0, 2])

    with pytest.raises(Unusable, match="slot 1 has none"):
        if step == "examination":
            examination_step(half, half, half, slot, 3)
        else:
            additive_step(half, half, np.zeros(3), slot)


@pytest.mark.parametrize(
    ("relevance", "examination", "read", "found"),
    [
        ([0.2, 0.4, 0.6, 0.8], [1, 1 / 2, 1 / 3, 1 / 4], "the ad of 0.8 in the first slot", 0.716),
        ([0.2, 0.6], [1, 0.8], "the slot of 0.8 by the first ad", 0.716),
    ],
)
def test_a_tower_reads_a_probability_of_four_fifths_too_low_on_any_number_of_randomised_rows(
    relevance, examination, read, found
):
    ads, slots = tower(relevance, examination)

    got = expit(ads[-1]) if "ad of" in read else expit(ads[0] + slots[1]) / expit(ads[0])

    assert got == pytest.approx(found, abs=5e-4)


def test_a_tower_is_right_where_one_ad_is_shown_or_slots_are_alike():
    one, two = tower([0.3], [1, 0.5]), tower([0.2, 0.6], [1, 1])

    assert expit(one[0] + one[1]) == pytest.approx([0.3, 0.15], abs=1e-4)
    assert expit(two[0]) == pytest.approx([0.2, 0.6], abs=1e-4)


def test_slots_that_share_ads_by_a_chain_tell_position_from_relevance():
    identified(np.array([7, 7, 9, 9]), np.array([0, 1, 1, 2]), 3)


@pytest.mark.parametrize(
    ("unit", "slot", "parts"),
    [
        ([1, 1, 2, 2], [0, 1, 2, 3], "slots 0, 1 and slots 2, 3 share no ad"),
        ([1, 1, 2], [0, 3, 1], "slots 0, 3 and slot 1 and slot 2 share no ad"),
        ([], [], "slot 0 and slot 1 and slot 2 and slot 3 share no ad"),
    ],
)
def test_slots_that_share_no_ad_are_refused_by_name(unit, slot, parts):
    with pytest.raises(Unusable, match=f"position cannot be told from relevance: {parts}"):
        identified(np.array(unit, int), np.array(slot, int), 4)


@given(shown=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12))
def test_a_log_is_refused_just_where_log_linear_effects_have_more_than_one_free_factor(shown):
    """Rank of the design of log e_s + log r_u: units + slots - 1 if and only if the graph is connected."""
    unit, slot = np.array(shown).T
    known, unit = np.unique(unit, return_inverse=True)
    design = np.hstack([np.eye(len(known))[unit], np.eye(3)[slot]])

    try:
        identified(unit, slot, 3)
    except Unusable:
        assert np.linalg.matrix_rank(design) < len(known) + 2
    else:
        assert np.linalg.matrix_rank(design) == len(known) + 2
