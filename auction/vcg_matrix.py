"""Vickrey-Clarke-Groves where a candidate's worth in a slot is any number: an assignment of candidates to slots."""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from auction.checks import MOST_USD, like, number
from auction.types import Allocation, FloatArray, IntArray, sold

_NEAR = 1e-12  # totals closer than this, relative to the largest value, count as tied


def vcg_matrix(value: ArrayLike, *, reserve: ArrayLike = 0.0, user_value: ArrayLike = 0.0) -> Allocation:
    """VCG over an arbitrary click matrix: slots go to the candidates with the largest total value.

    The billable event is being shown in the slot: a winner pays, per impression, what its presence takes from the others. With
    W the largest total and W' that with the winner's values lowered to its reserve (a phantom bidder), it pays
    value - (W - W'), which is Myerson's integral over a bid that scales the values.

    A candidate with a value below its reserve is out; a value of 0 is no offer for that slot, and no reserve counts there.
    Where totals tie, the first slot goes to the lowest column that can have it, then the second.

    Args:
        value: (n, k, s) USD per impression of candidate k in slot s, >= 0, such as bid x probability of a click there.
        reserve: What the candidate's reserve comes to in each slot that it offers for, one number or (n, k, s).
        user_value: What showing the candidate there is worth to the user, one number or (n, k, s), of any sign.

    Raises:
        ValueError: If a shape is another one or an entry is out of range, NaN or infinite.

    References:
        Leonard (1983), Journal of Political Economy 91(3).

    Examples:
        >>> out = vcg_matrix([[[10.0, 5.0], [4.0, 2.0], [2.0, 1.0]]])
        >>> out.winner, out.price_micros
        (array([[0, 1]]), array([[3000000, 1000000]]))
    """
    values = number("value", value, low=0.0, high=MOST_USD)
    if values.ndim != 3 or values.shape[2] == 0:
        raise ValueError(f"value has shape {values.shape}, it must be (n, k, s) with at least one slot")
    reserves = like("reserve", reserve, values.shape, low=0.0)
    users = like("user_value", user_value, values.shape)
    n, k, s = values.shape
    winner, price = np.full((n, s), -1, np.int64), np.zeros((n, s))
    if k:
        _assign_all(np.ascontiguousarray(values), reserves, users, winner, price)
    return sold(winner, price)


@njit(cache=True, nogil=True)
def _assign_all(
    value: FloatArray, reserve: FloatArray, user_value: FloatArray, winner: IntArray, price: FloatArray
) -> None:
    n, k, s = value.shape
    for i in range(n):
        offer = value[i].copy()
        # the rows below the candidates leave a slot empty
        worth = np.zeros((k + s, s))
        for j in range(k):
            if ((offer[j] > 0.0) & (offer[j] < reserve[i, j])).any():
                offer[j] = 0.0
            for slot in range(s):
                if offer[j, slot] > 0.0:
                    worth[j, slot] = offer[j, slot] + user_value[i, j, slot]
        chosen = _lowest_columns(worth, offer)
        most = _total(worth, chosen)
        for slot in range(s):
            j = chosen[slot]
            if j >= k or offer[j, slot] <= 0.0:
                continue
            phantom = worth.copy()
            for other in range(s):
                offered = offer[j, other] > 0.0
                phantom[j, other] = max(reserve[i, j, other] + user_value[i, j, other], 0.0) if offered else 0.0
            gain = most - _total(phantom, _assign(phantom)[0])
            # the difference of two totals is exact to their last place only
            paid = offer[j, slot] - gain + 4 * np.finfo(np.float64).eps * most
            winner[i, slot] = j
            price[i, slot] = min(max(paid, reserve[i, j, slot]), offer[j, slot])


@njit(cache=True, nogil=True)
def _total(worth: FloatArray, chosen: IntArray) -> float:
    total = 0.0
    for slot in range(chosen.size):
        total += worth[chosen[slot], slot]
    return total


@njit(cache=True, nogil=True)
def _lowest_columns(worth: FloatArray, offer: FloatArray) -> IntArray:
    """Of the best assignments, the one with the lowest candidate in the first slot, then in the second, and so on."""
    chosen, slack = _assign(worth)
    largest = np.abs(worth).max()
    most, near, never = _total(worth, chosen), _NEAR * largest, -1.0 - 2 * chosen.size * largest
    for slot in range(chosen.size):
        for j in range(min(chosen[slot], len(offer))):
            # only where an offer has no slack can it be part of a best assignment
            if offer[j, slot] <= 0.0 or slack[j, slot] > near:
                continue
            forced = _held(worth, slot, j, never)
            instead, slack_then = _assign(forced)
            if _total(forced, instead) >= most - near:
                chosen, slack = instead, slack_then
                break
        worth = _held(worth, slot, chosen[slot], never)
    return chosen


@njit(cache=True, nogil=True)
def _held(worth: FloatArray, slot: int, row: int, never: float) -> FloatArray:
    """The same with one row left for the slot, all others being worth `never`."""
    held = worth.copy()
    held[:, slot] = never
    held[row, slot] = worth[row, slot]
    return held


@njit(cache=True, nogil=True)
def _assign(worth: FloatArray) -> tuple[IntArray, FloatArray]:
    """The row for each column with the largest total, and by how much each entry falls short of its dual prices.

    Shortest augmenting paths, O(s^2 k) (Kuhn 1955; Jonker & Volgenant 1987). Position 0 stands for "none yet".

    Args:
        worth: (k, s), k >= s.
    """
    k, s = worth.shape
    slot_price, row_price = np.zeros(s + 1), np.zeros(k + 1)
    slot_of = np.zeros(k + 1, np.int64)
    came_from = np.zeros(k + 1, np.int64)
    for new in range(1, s + 1):
        slot_of[0] = new
        at = 0
        distance = np.full(k + 1, np.inf)
        done = np.zeros(k + 1, np.bool_)
        while slot_of[at] > 0:
            done[at] = True
            slot, step, nearest = slot_of[at], np.inf, 0
            for row in range(1, k + 1):
                if done[row]:
                    continue
                length = -worth[row - 1, slot - 1] - slot_price[slot] - row_price[row]
                if length < distance[row]:
                    distance[row], came_from[row] = length, at
                if distance[row] < step:
                    step, nearest = distance[row], row
            for row in range(k + 1):
                if done[row]:
                    slot_price[slot_of[row]] += step
                    row_price[row] -= step
                else:
                    distance[row] -= step
            at = nearest
        while at > 0:
            slot_of[at] = slot_of[came_from[at]]
            at = came_from[at]
    chosen = np.empty(s, np.int64)
    for row in range(1, k + 1):
        if slot_of[row] > 0:
            chosen[slot_of[row] - 1] = row - 1
    return chosen, -worth - slot_price[1:] - row_price[1:].reshape(-1, 1)
