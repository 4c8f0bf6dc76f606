"""VCG for position auctions: what the formula comes to in numbers, and by another road."""

from fractions import Fraction

import numpy as np
import pytest

from auction import vcg


def without(bid, quality, effect, gone):
    """Largest welfare of the others, sum of a(i) x score, had `gone` not come."""
    score = np.sort(np.delete(bid * quality, gone))[::-1][: len(effect)]
    return effect[: len(score)] @ score


def test_without_reserves_a_winner_pays_the_loss_of_the_others():
    """a q price = W(without i) - (W - a score): Clarke's pivot rule."""
    rng = np.random.default_rng(1)
    bid, quality, effect = rng.random((300, 5)), rng.uniform(0.1, 1.0, (300, 5)), np.array([1.0, 0.6, 0.2])
    out = vcg(bid, quality, slot_effect=effect)

    for i in range(len(bid)):
        score = bid[i] * quality[i]
        welfare = effect @ np.sort(score)[::-1][:3]
        for slot, j in enumerate(out.winner[i]):
            loss = without(bid[i], quality[i], effect, j) - (welfare - effect[slot] * score[j])
            assert out.price_micros[i, slot] == pytest.approx(1e6 * loss / (effect[slot] * quality[i, j]), abs=1.01)


def test_a_binding_reserve_by_hand():
    """Bids 10, 8, 2; effects 1, 1/2; reserve 5. The third is out; t = 8, 5 for the first: 8/2 + 5/2 = 6.50; the second pays 5."""
    out = vcg([[10.0, 8.0, 2.0]], [[1.0, 1.0, 1.0]], slot_effect=[1.0, 0.5], reserve=5.0)

    assert out.winner.tolist() == [[0, 1]]
    assert out.price_micros.tolist() == [[6_500_000, 5_000_000]]


def test_personal_reserves_are_eager_and_bind_one_by_one():
    """The second is below its own reserve of 9 and sets no price; the third then pays its reserve 1, the first max(3, 2 ...)."""
    out = vcg([[10.0, 8.0, 2.0]], [[1.0, 1.0, 1.0]], slot_effect=[1.0, 0.5], reserve=[[3.0, 9.0, 1.0]])

    assert out.winner.tolist() == [[0, 2]]
    assert out.price_micros.tolist() == [[3_000_000, 1_000_000]]


def test_a_winner_pays_for_what_its_ad_costs_the_user():
    """Scores 5 x 0.1 - 0.2 = 0.3 and 0.1: the first needs a bid of (0.1 + 0.2) / 0.1 = 3, alone it would need 2."""
    out = vcg([[5.0, 1.0]], [[0.1, 0.1]], slot_effect=[1.0], user_value=[[-0.2, 0.0]])
    alone = vcg([[5.0, 0.0]], [[0.1, 0.1]], slot_effect=[1.0], user_value=[[-0.2, 0.0]])

    assert out.price_micros[0, 0] == pytest.approx(3_000_000, abs=1)
    assert alone.price_micros[0, 0] == pytest.approx(2_000_000, abs=1)


def test_only_ratios_of_slot_effects_matter():
    bid, quality = np.random.default_rng(2).random((2, 50, 4)) + 0.1
    few, many = (vcg(bid, quality, slot_effect=effect) for effect in ([1.0, 0.5, 0.25], [200, 100, 50]))

    assert np.array_equal(few.price_micros, many.price_micros)


def test_a_slot_that_nobody_sees_has_the_price_of_gsp():
    out = vcg([[10.0, 4.0, 2.0]], [[1.0, 1.0, 1.0]], slot_effect=[1.0, 0.0])

    assert out.price_micros.tolist() == [[4_000_000, 2_000_000]]


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        ([1.0, 0.5, 0.6], "rises from 0.5 to 0.6 after slot 1"),
        ([1.0, -0.5], r"slot_effect\[1\] is -0.5"),
        ([1.0, np.nan], r"slot_effect\[1\] is nan"),
        ([], r"shape \(0,\)"),
        ([[1.0]], r"shape \(1, 1\)"),
    ],
)
def test_slot_effects_that_rise_or_are_no_effects_are_refused(effect, words):
    with pytest.raises(ValueError, match=words):
        vcg([[1.0]], [[1.0]], slot_effect=effect)


def test_prices_that_rest_on_differences_of_slot_effects_are_exact_to_the_micro():
    """(0.96 - 0.93) / 0.96 x 1 USD is 31,250 micros; in floating point the difference falls short in its last places."""
    effects = [round(0.01 * i, 2) for i in range(1, 100)]
    for first in effects:
        for second in [e for e in effects if e <= first]:
            exact = (Fraction(str(first)) - Fraction(str(second))) / Fraction(str(first)) * 1_000_000
            assert vcg([[2, 1]], [[1, 1]], slot_effect=[first, second]).price_micros[0, 0] == int(exact)
