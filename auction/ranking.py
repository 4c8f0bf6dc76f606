"""Ranking: the best candidates of each request, and the bids that it takes to stay among them."""

import numpy as np
from numba import njit

from auction.checks import number
from auction.types import FORGIVEN, FloatArray, IntArray

_BLOCK = 32  # no remainder is left over by vector code


def weight(quality: FloatArray, squash: float) -> FloatArray:
    """quality ** squash; 0 ranks by bid alone, 1 by expected revenue (Lahaie & Pennock 2007).

    Raises:
        ValueError: If squash is not in 0 to 1, or a power is too small to divide by.
    """
    number("squash", squash, low=0.0, high=1.0)
    if squash == 1.0:
        return quality
    return number("quality ** squash", quality**squash, low=0.0, strict=True)


def needed(
    next_score: FloatArray, user_value: FloatArray, weight: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """The least bid whose score reaches `next_score`, between the reserve `low` and the own bid `high`.

    What the difference of a score and its user value may lack in its last places is added.
    """
    return np.minimum(np.maximum((next_score - user_value + FORGIVEN * np.abs(user_value)) / weight, low), high)


def ranked(
    bid: FloatArray, weight: FloatArray, reserve: FloatArray, user_value: FloatArray, m: int
) -> tuple[IntArray, FloatArray]:
    """Columns and scores of the m best candidates of each request, each (n, m); see `top`."""
    winner = np.empty((len(bid), m), np.int64)
    score = np.empty((len(bid), m))
    top(bid, weight, reserve, user_value, winner, score)
    return winner, score


def at(values: FloatArray, winner: IntArray) -> FloatArray:
    """values (n, k) in the columns `winner` (n, s); an arbitrary value where a slot is empty."""
    if values.shape[1] == 0:
        return np.ones(winner.shape)
    return np.take_along_axis(values, np.maximum(winner, 0), axis=1)


@njit(cache=True, nogil=True)
def top(
    bid: FloatArray,
    weight: FloatArray,
    reserve: FloatArray,
    user_value: FloatArray,
    winner: IntArray,
    score: FloatArray,
) -> None:
    """Fill `winner` (n, m) with the columns of the m best scores and `score` (n, m) with bid x weight + user value.

    A bid of 0 is absent, a bid below its reserve is out, and so is a score below 0, the worth of an empty slot; ties go to
    the lower column; what stays empty is -1 and 0.
    """
    n, k = bid.shape
    own = no_scores(k)
    key = np.empty(own.size, np.int64)
    for i in range(n):
        for j in range(k):
            usd = bid[i, j] * weight[i, j] + user_value[i, j]
            own[j] = usd if (bid[i, j] > 0.0) & (bid[i, j] >= reserve[i, j]) else -1.0
        pick(own, key, winner[i], score[i])


@njit(cache=True, nogil=True)
def no_scores(k: int) -> FloatArray:
    """Room for the scores of k candidates, all out: a whole number of blocks."""
    return np.full((k + _BLOCK - 1) // _BLOCK * _BLOCK, -1.0)


@njit(cache=True, nogil=True)
def pick(own: FloatArray, key: IntArray, winner: IntArray, score: FloatArray) -> None:
    """Fill `winner` (m,) and `score` (m,) with the best of `own`, scores >= 0; who is out has any below.

    The bits of a float >= 0 rank as an integer does. With its lowest bits replaced by the column, counted from the right
    end, the key of a candidate is unique, and the next best is one maximum over the keys below the last. Scores that differ
    in the lowest bits only are told apart by a plain scan.
    """
    low = np.int64(_BLOCK - 1)
    while low < own.size - 1:
        low = 2 * low + 1
    bits = own.view(np.int64)
    for j in range(own.size):
        key[j] = (bits[j] & ~low) | (low - j)
    last = np.int64(0x7FFFFFFFFFFFFFFF)
    near = False
    for place in range(winner.size):
        best = np.int64(-1)
        for j in range(own.size):
            best = max(best, key[j] if key[j] < last else np.int64(-1))
        if best >= 0 and (best | low) == (last | low):
            near = True
        last = best
        winner[place] = low - (best & low) if best >= 0 else -1
        score[place] = own[winner[place]] if best >= 0 else 0.0
    if last >= 0:
        alike = 0
        for j in range(own.size):
            alike += (key[j] | low) == (last | low)
        near = near or alike > 1
    if near:
        _scan(own, winner, score)


@njit(cache=True, nogil=True)
def _scan(own: FloatArray, winner: IntArray, score: FloatArray) -> None:
    """The same by insertion, one candidate after the other."""
    m = winner.size
    winner[:] = -1
    score[:] = 0.0
    for j in range(own.size):
        if own[j] < 0.0 or (winner[m - 1] >= 0 and own[j] <= score[m - 1]):
            continue
        place = m - 1
        while place > 0 and (winner[place - 1] < 0 or own[j] > score[place - 1]):
            score[place] = score[place - 1]
            winner[place] = winner[place - 1]
            place -= 1
        score[place] = own[j]
        winner[place] = j
