"""Generalised second price: the least bid that keeps the slot."""

import numpy as np
import pytest

from auction import gsp


def one_by_one(bid, quality, reserve, n_slots, squash) -> tuple[list[int], list[float]]:
    """GSP of one request in plain Python: sort, then look at the next one's score."""
    score = [b * q**squash for b, q in zip(bid, quality, strict=True)]
    able = [j for j in range(len(bid)) if bid[j] > 0 and bid[j] >= reserve[j]]
    ranking = sorted(able, key=lambda j: (-score[j], j))
    winner, price = [-1] * n_slots, [0.0] * n_slots
    for slot, j in enumerate(ranking[:n_slots]):
        following = score[ranking[slot + 1]] if slot + 1 < len(ranking) else 0.0
        winner[slot], price[slot] = j, max(reserve[j], following / quality[j] ** squash)
    return winner, price


@pytest.mark.parametrize("squash", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("n_slots", [1, 2, 5])
def test_gsp_is_the_sort_done_one_request_at_a_time(n_slots, squash):
    rng = np.random.default_rng(n_slots)
    shape = 400, 4
    bid = rng.integers(0, 12, shape) / 4  # coarse, so that many tie
    quality = rng.choice([0.1, 0.2, 0.4, 1.0], shape)
    reserve = rng.integers(0, 6, shape) / 4

    out = gsp(bid, quality, n_slots=n_slots, reserve=reserve, squash=squash)

    for i in range(len(bid)):
        winner, price = one_by_one(bid[i], quality[i], reserve[i], n_slots, squash)
        assert out.winner[i].tolist() == winner
        assert out.price_micros[i] == pytest.approx(np.array(price) * 1e6, abs=1.001)


def test_the_example_of_edelman_ostrovsky_and_schwarz():
    """Bids 10, 4 and 2 for two slots: the winners pay 4 and 2 per click (2007, section I)."""
    out = gsp([[10.0, 4.0, 2.0]], [[1.0, 1.0, 1.0]], n_slots=2)

    assert out.winner.tolist() == [[0, 1]]
    assert out.price_micros.tolist() == [[4_000_000, 2_000_000]]


def test_a_winner_pays_the_next_score_over_its_own_quality():
    """Scores 0.08 and 0.06: the first pays 0.06 / 0.04 = 1.50, the second its reserve."""
    out = gsp([[2.0, 3.0]], [[0.04, 0.02]], n_slots=2, reserve=0.7)

    assert out.winner.tolist() == [[0, 1]]
    assert out.price_micros.tolist() == [[1_500_000, 700_000]]


def test_squash_changes_the_price_as_it_changes_the_rank():
    """At squash 0.5 scores are 4 x 0.1 = 0.4 and 1 x 0.3 = 0.3: the first pays 0.3 / 0.1 = 3."""
    out = gsp([[4.0, 1.0]], [[0.01, 0.09]], n_slots=1, squash=0.5)

    assert out.winner.tolist() == [[0]]
    assert out.price_micros[0, 0] == pytest.approx(3_000_000, abs=1)


def test_a_reserve_between_the_next_score_and_the_bid_is_the_price():
    out = gsp([[5.0, 1.0]], [[1.0, 1.0]], n_slots=1, reserve=2.5)

    assert out.price_micros.tolist() == [[2_500_000]]


def test_a_lone_bidder_far_above_the_reserve_wins_and_pays_the_reserve():
    out = gsp([[9.0]], [[0.3]], n_slots=2, reserve=0.05)

    assert out.winner.tolist() == [[0, -1]]
    assert out.price_micros.tolist() == [[50_000, 0]]


def test_a_candidate_below_its_reserve_sets_no_price():
    out = gsp([[5.0, 4.0]], [[1.0, 1.0]], n_slots=1, reserve=[[0.5, 4.5]])

    assert out.price_micros.tolist() == [[500_000]]


def test_of_two_equal_scores_the_lower_id_wins_and_pays_its_bid():
    out = gsp([[2.0, 1.0, 1.0]], [[0.1, 0.2, 0.2]], n_slots=1)

    assert out.winner.tolist() == [[0]]
    assert out.price_micros.tolist() == [[2_000_000]]


def test_the_price_does_not_depend_on_the_own_bid_while_the_slot_stays():
    rng = np.random.default_rng(3)
    bid, quality = rng.random((600, 5)), rng.uniform(0.05, 1.0, (600, 5))
    before = gsp(bid, quality, n_slots=3, reserve=0.2)
    kept = 0

    for slot in range(3):
        changed = bid.copy()
        rows = np.flatnonzero(before.winner[:, slot] >= 0)
        changed[rows, before.winner[rows, slot]] *= rng.uniform(0.7, 1.5, len(rows))
        after = gsp(changed, quality, n_slots=3, reserve=0.2)
        same = rows[after.winner[rows, slot] == before.winner[rows, slot]]
        kept += len(same)
        assert np.array_equal(after.price_micros[same, slot], before.price_micros[same, slot])

    assert kept > 600


def test_the_price_is_the_least_bid_that_keeps_the_slot():
    rng = np.random.default_rng(4)
    bid, quality = rng.random((500, 4)), rng.uniform(0.05, 1.0, (500, 4))
    out = gsp(bid, quality, n_slots=2, reserve=0.1)
    rows = np.flatnonzero(out.winner[:, 0] >= 0)
    first, price = out.winner[rows, 0], out.price_micros[rows, 0] / 1e6

    for step, stays in ((1e-5, True), (-1e-5, False)):
        moved = bid.copy()
        moved[rows, first] = price + step
        again = gsp(moved, quality, n_slots=2, reserve=0.1).winner[rows, 0]
        assert ((again == first) == stays).all()


def test_one_slot_is_a_second_price_auction():
    bid = np.random.default_rng(5).random((200, 6))

    out = gsp(bid, np.ones_like(bid), n_slots=1)

    second = np.sort(bid, axis=1)[:, -2]
    assert np.array_equal(out.winner[:, 0], bid.argmax(axis=1))
    assert out.price_micros[:, 0] == pytest.approx(second * 1e6, abs=1.001)


@pytest.mark.parametrize(
    ("squash", "words"), [(2.0, r"squash is 2.0, it must be finite and >= 0 and <= 1"), (1.0, None), (0.5, None)]
)
def test_squash_is_from_0_to_1(squash, words):
    if words is None:
        gsp([[1, 2]], [[1e-200, 1]], n_slots=2, squash=squash)
        return
    with pytest.raises(ValueError, match=words):
        gsp([[1, 2]], [[1, 1]], n_slots=2, squash=squash)


def test_a_user_value_that_cancels_leaves_the_price_exact_to_the_micro():
    """Both are worth 1.3 to the user: the winner must outbid 0.12 alone, though 1.42 - 1.3 falls short of it."""
    out = gsp([[0.5, 0.12]], [[1, 1]], n_slots=1, user_value=[[1.3, 1.3]])

    assert (0.12 + 1.3) - 1.3 < 0.12
    assert out.price_micros.tolist() == [[120_000]]
