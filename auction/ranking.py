"""Ranking: the best s + 1 candidates of each request, in one pass."""

import numpy as np
from numba import njit

from auction.types import FloatArray, IntArray


def weight(quality: FloatArray, squash: float) -> FloatArray:
    """quality ** squash; 0 ranks by bid alone, 1 by expected revenue (Lahaie & Pennock 2007)."""
    if squash == 1.0:
        return quality
    return quality**squash


@njit(cache=True, nogil=True)
def top(bid: FloatArray, weight: FloatArray, reserve: FloatArray, winner: IntArray, score: FloatArray) -> None:
    """Fill `winner` (n, m) with the columns of the m best scores and `score` (n, m) with bid x weight, best first.

    A bid of 0 is absent, a bid below its reserve is out; ties go to the lower column; what stays empty is -1 and 0.
    """
    m = winner.shape[1]
    winner[:] = -1
    score[:] = 0.0
    for i in range(bid.shape[0]):
        for j in range(bid.shape[1]):
            if bid[i, j] <= 0.0 or bid[i, j] < reserve[i, j]:
                continue
            own = bid[i, j] * weight[i, j]
            if winner[i, m - 1] >= 0 and own <= score[i, m - 1]:
                continue
            place = m - 1
            while place > 0 and (winner[i, place - 1] < 0 or own > score[i, place - 1]):
                score[i, place] = score[i, place - 1]
                winner[i, place] = winner[i, place - 1]
                place -= 1
            score[i, place] = own
            winner[i, place] = j


def ranked(bid: FloatArray, weight: FloatArray, reserve: FloatArray, m: int) -> tuple[IntArray, FloatArray]:
    """Columns and scores of the m best candidates of each request, each (n, m)."""
    winner = np.empty((len(bid), m), np.int64)
    score = np.empty((len(bid), m))
    top(bid, weight, reserve, winner, score)
    return winner, score


def at(values: FloatArray, winner: IntArray) -> FloatArray:
    """values (n, k) in the columns `winner` (n, s); an arbitrary column where a slot is empty."""
    return np.take_along_axis(values, np.maximum(winner, 0), axis=1)
