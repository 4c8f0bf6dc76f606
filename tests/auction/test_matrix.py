"""VCG over a click matrix: against scipy's assignment, brute force and integrals."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from auction import vcg, vcg_matrix


@st.composite
def matrices(draw) -> np.ndarray:
    """(k, s) values; small whole ones, so that totals tie, or any."""
    k, s = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    entry = st.integers(0, 4).map(float) if draw(st.booleans()) else st.floats(0.01, 20.0)
    return np.array(draw(st.lists(entry, min_size=k * s, max_size=k * s))).reshape(k, s)


def most(value):
    return value[linear_sum_assignment(value, maximize=True)].sum()


@given(value=matrices())
def test_the_total_is_that_of_scipys_assignment(value):
    winner = vcg_matrix(value[None]).winner[0]
    shown = winner >= 0

    assert len(set(winner[shown])) == shown.sum()
    assert value[winner[shown], np.flatnonzero(shown)].sum() == pytest.approx(most(value), rel=1e-12)


@given(value=matrices())
def test_a_winner_pays_the_loss_of_the_others(value):
    """price = W(without i) - (W - own value), W by scipy."""
    out = vcg_matrix(value[None])

    for slot, j in enumerate(out.winner[0]):
        if j >= 0:
            loss = most(np.delete(value, j, axis=0)) - (most(value) - value[j, slot])
            assert out.price_micros[0, slot] == pytest.approx(1e6 * loss, rel=1e-9, abs=1.01)


@given(value=matrices())
def test_of_tied_assignments_the_one_with_the_lowest_candidates_first_is_taken(value):
    """Lexicographic over slots, an empty slot coming last; by brute force."""
    k, s = value.shape
    padded = np.vstack((value, np.zeros((s, s))))
    total = {
        rows: padded[list(rows), range(s)].sum()
        for rows in permutations(range(k + s), s)
        if all(j >= k or value[j, slot] > 0 for slot, j in enumerate(rows))
    } if k + s <= 7 else {}  # fmt: skip
    best = max(total.values(), default=0.0)
    tied = [rows for rows, worth in total.items() if worth >= best - 1e-9]
    expected = min((tuple(min(j, k) for j in rows) for rows in tied), default=None)

    if expected is not None:
        assert vcg_matrix(value[None]).winner[0].tolist() == [j if j < k else -1 for j in expected]


def test_whole_cents_in_give_whole_cents_out():
    """Differences of totals in binary fractions fall a little short of a cent, which rounding down must forgive."""
    value = np.random.default_rng(8).integers(1, 3_000, (300, 6, 4)) / 100

    assert (vcg_matrix(value).price_micros % 10_000 == 0).all()


def test_equal_bidders_go_in_order_to_the_first_slots():
    assert vcg_matrix([[[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]]]).winner.tolist() == [[0, 1]]
    assert vcg_matrix(np.ones((1, 2, 3))).winner.tolist() == [[0, 1, -1]]


def test_two_bidders_may_want_different_slots():
    """The first loses least below: (0 above, 1 below) is worth 5 + 1, (1 above, 0 below) 4 + 4."""
    out = vcg_matrix([[[5.0, 4.0], [4.0, 1.0]]])

    assert out.winner.tolist() == [[1, 0]]
    assert out.price_micros.tolist() == [[1_000_000, 0]]


@given(value=matrices(), share=st.floats(0.0, 1.0), j=st.integers(0, 5))
def test_with_a_reserve_the_price_is_myersons_integral(value, share, j):
    """Values z c with bid z in [0, 1], out below z = share: payment = x(1) - integral of x from share to 1, x = c won."""
    j %= len(value)
    reserve = np.zeros_like(value)
    reserve[j] = share * value[j]
    out = vcg_matrix(value[None], reserve=reserve[None])
    slots = np.flatnonzero(out.winner[0] == j)
    if len(slots) == 0:
        return
    grid = share + (1.0 - share) * (np.arange(2_000) + 0.5) / 2_000
    batch = np.repeat(value[None], len(grid), axis=0)
    batch[:, j] *= grid[:, None]
    winner = vcg_matrix(batch).winner
    won = np.where(winner == j, value[j], 0.0).sum(axis=1)

    paid = value[j, slots[0]] - (1.0 - share) * won.mean()
    assert out.price_micros[0, slots[0]] / 1e6 == pytest.approx(paid, abs=2e-3 * (1 + value[j].max()))


def test_where_effects_are_separable_it_is_vcg_for_positions():
    rng = np.random.default_rng(3)
    bid, quality, effect = rng.random((200, 6)), rng.uniform(0.2, 1.0, (200, 6)), np.array([1.0, 0.7, 0.3])
    chance = quality[:, :, None] * effect
    matrix = vcg_matrix(bid[:, :, None] * chance, reserve=0.4 * chance)
    position = vcg(bid, quality, slot_effect=effect, reserve=0.4)

    assert np.array_equal(matrix.winner, position.winner)
    row = np.arange(200)[:, None]
    per_event = matrix.price_micros / chance[row, np.maximum(matrix.winner, 0), np.arange(3)]
    shown = matrix.winner >= 0
    assert per_event[shown] == pytest.approx(position.price_micros[shown], abs=20)


def test_what_harms_the_user_more_than_it_pays_is_not_shown():
    out = vcg_matrix([[[2.0], [1.0]]], user_value=[[[-3.0], [-0.25]]])

    assert out.winner.tolist() == [[1]]
    assert out.price_micros.tolist() == [[250_000]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"value": [[1.0]]}, r"value has shape \(1, 1\)"),
        ({"value": [[[np.nan]]]}, r"value\[0, 0, 0\] is nan"),
        ({"value": [[[1.0, -1.0]]]}, r"value\[0, 0, 1\] is -1"),
        ({"value": [[[1.0]]], "reserve": [[1.0]]}, r"reserve has shape \(1, 1\)"),
    ],
)
def test_what_is_no_matrix_of_values_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        vcg_matrix(**arguments)


def test_no_reserve_counts_in_a_slot_that_a_candidate_does_not_offer_for():
    """The first offers for the first slot only; a reserve of 1 leaves it there, and the second in the second slot at 1."""
    out = vcg_matrix([[[5.0, 0.0], [3.0, 2.0]]], reserve=1.0)

    assert out.winner.tolist() == [[0, 1]]
    assert out.price_micros.tolist() == [[1_000_000, 1_000_000]]


def test_a_matrix_without_slots_is_refused():
    with pytest.raises(ValueError, match="at least one slot"):
        vcg_matrix(np.zeros((1, 2, 0)))
