"""Ranking by packed keys, where it is most likely to go wrong: near ties, many candidates, full rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auction.ranking import ranked

score = st.floats(0.0, 10.0, exclude_min=True) | st.sampled_from([1.0, np.nextafter(1.0, 2.0), np.nextafter(1.0, 0.0)])


def plain(score, m):
    order = sorted(range(len(score)), key=lambda j: (-score[j], j))[:m]
    return order + [-1] * (m - len(order))


def best_of(score, m):
    bid = np.array([score])
    return ranked(bid, np.ones_like(bid), np.zeros_like(bid), np.zeros_like(bid), m)


@given(score=st.lists(score, min_size=1, max_size=12), m=st.integers(1, 8))
def test_scores_that_differ_in_the_last_place_are_told_apart(score, m):
    winner, value = best_of(score, m)

    assert winner[0].tolist() == plain(score, m)
    assert value[0].tolist() == [score[j] if j >= 0 else 0.0 for j in winner[0]]


@pytest.mark.parametrize("k", [31, 32, 33, 63, 64, 65, 128, 129, 700])
def test_any_number_of_candidates(k):
    rng = np.random.default_rng(k)
    for score in (rng.random(k) + 0.01, rng.integers(1, 5, k).astype(float), 1.0 + rng.integers(0, 3, k) * 2.0**-52):
        assert best_of(score, 5)[0][0].tolist() == plain(score, 5)


def test_two_near_ties_behind_the_last_place_do_not_matter_and_one_across_it_does():
    """The price of the last slot rests on the exact score of the first loser."""
    above = np.nextafter(1.0, 2.0)

    assert best_of([3.0, 1.0, above], 2)[0].tolist() == [[0, 2]]
    assert best_of([3.0, 2.0, 1.0, above], 2)[0].tolist() == [[0, 1]]
