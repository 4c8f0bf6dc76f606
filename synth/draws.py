"""Keyed draws: every random number is a pure function of (seed, cause, the ids it concerns).

The generator is counter-based Philox 4x32-10: the 64-bit seed is the key, and the counter holds a 64-bit id, a 32-bit id
and the cause. Nothing is carried from draw to draw, so a number does not depend on batch size, order, threads, or on what
else was drawn.

References:
    Salmon, Moraes, Dror & Shaw (2011), Parallel random numbers: as easy as 1, 2, 3. SC'11.
"""

from collections.abc import Callable
from enum import IntEnum
from math import cos, exp, log, pi, sqrt

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from synth.types import FloatArray, IdArray, IntArray


class Cause(IntEnum):
    """What a number is drawn for; a cause is never used for two purposes."""

    USER_SEGMENT = 1
    USER_COHORT = 2
    USER_REGION = 3
    USER_PLATFORM = 4
    USER_ACTIVITY = 5
    USER_PRICE_SENSITIVITY = 6
    USER_TASTE = 7
    SEGMENT_TASTE = 8
    USER_EXPLORATION = 9
    USER_DAYPART = 10
    USER_MIX = 11
    STORE_DISH = 17
    STORE_STYLE = 18
    STORE_CLICK_APPEAL = 19
    STORE_PURCHASE_APPEAL = 20
    STORE_PRICE = 21
    STORE_POPULARITY = 22
    CUISINE_STYLE = 23
    CUISINE_DAYPART = 24
    DISH_STYLE = 25
    STORE_MIX = 26
    STORE_QUALITY = 27
    STORE_RATING = 28
    STORE_LAUNCH = 29
    STORE_TEXT = 30
    STORE_VISUAL = 31
    CAMPAIGN_PRICING = 32
    CAMPAIGN_GOAL = 33
    CAMPAIGN_TARGET = 34
    CAMPAIGN_BUDGET = 35
    CAMPAIGN_FLIGHT = 36
    CAMPAIGN_AUDIENCE = 37
    CAMPAIGN_DAYPARTS = 38
    CAMPAIGN_DELAY = 39
    TEXT_READING = 40
    VISUAL_READING = 41
    CONTEXT_MIX = 42
    STORE_DRIFT = 43
    CUISINE_SEASON = 44
    HISTORY_LENGTH = 48
    HISTORY_STORE = 49
    HISTORY_ORDERS = 50
    HISTORY_AGE = 51
    HISTORY_CUISINE = 52
    HABIT_PERIOD = 53
    HABIT_DAYPART = 54
    ARRIVALS = 64
    ARRIVAL_TIME = 65
    ARRIVAL_HABIT = 66
    SESSION_LENGTH = 67
    PAGE_GAP = 68
    SURFACE = 69
    RETRIEVAL_FAMILIAR = 72
    RETRIEVAL_NOISE = 73
    EXAMINATION = 80
    CLICK = 81
    LONG_CLICK = 82
    HIDE = 83
    CHECKOUT = 84
    DELAY = 85
    ORDER_VALUE = 86
    DELAY_PART = 87
    CART = 88
    SIGN_UP = 89
    POST_VIEW = 90
    STOP = 91
    ASSIGNMENT = 96
    LOG_SAMPLE = 97
    PARTICIPATION = 98
    RANDOMISED = 99
    SLOT = 100
    RESPLIT = 103
    NEED = 104
    NEED_DISH = 105
    NEED_SWITCH = 106
    SEARCH = 107
    VIEW_COUNT = 108
    VIEW_FAMILIAR = 109
    VIEW_NEED = 110
    VIEW_STORE = 111
    ORGANIC_ORDER = 112
    ORGANIC_VALUE = 113
    DISPLACED = 114
    LATE_SCORE = 115
    PEAK_ARRIVAL = 116
    PEAK_ROWS = 117
    STAGE_TIME = 118
    HOST_FAILURE = 119
    TIMED_AD = 120
    ARCHITECTURE = 121
    LEAVING_RATE = 122
    LEAVING = 123


_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)


@register_jitable
def philox4x32(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Ten rounds of Philox 4x32 on a four-word counter and a two-word key, every word a uint64 below 2**32."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _MASK, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _MASK
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


@register_jitable
def block(seed: int, cause: int, a: int, b: int) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The four 32-bit words drawn for `cause` and the ids `a` (64 bits) and `b` (32 bits)."""
    wide = np.uint64(a)
    key = np.uint64(seed)
    return philox4x32(wide & _MASK, wide >> _SHIFT, np.uint64(b) & _MASK, np.uint64(cause), key & _MASK, key >> _SHIFT)


@register_jitable
def _unit(high: np.uint64, low: np.uint64) -> float:
    """Two words as a float64 strictly inside (0, 1): 52 bits, so that adding a half is exact."""
    bits = (high >> np.uint64(6)) * np.uint64(1 << 26) + (low >> np.uint64(6))
    return (np.float64(bits) + 0.5) * (1.0 / 4503599627370496.0)


@register_jitable
def uniform1(seed: int, cause: int, a: int, b: int) -> float:
    """One uniform number in (0, 1), for use inside kernels."""
    w0, w1, _, _ = block(seed, cause, a, b)
    return _unit(w0, w1)


@register_jitable
def normal1(seed: int, cause: int, a: int, b: int) -> float:
    """One standard normal number (Box & Muller 1958), for use inside kernels."""
    w0, w1, w2, w3 = block(seed, cause, a, b)
    return sqrt(-2.0 * log(_unit(w0, w1))) * cos(2.0 * pi * _unit(w2, w3))


@register_jitable
def poisson1(mean: float, uniform: float) -> int:
    """The Poisson number with that mean whose distribution function first reaches `uniform`; mean up to 700."""
    p = exp(-mean)
    total = p
    count = 0
    while total < uniform and count < 1_000:
        count += 1
        p *= mean / count
        total += p
    return count


_OUT = types.Array(types.float64, 1, "C")
_IDS = types.Array(types.int64, 1, "C")


@njit(types.void(types.uint64, types.int64, _IDS, _IDS, _OUT), cache=True, nogil=True)
def _fill_uniform(seed: int, cause: int, a: IntArray, b: IntArray, out: FloatArray) -> None:
    for i in range(out.size):
        out[i] = uniform1(seed, cause, a[i], b[i])


@njit(types.void(types.uint64, types.int64, _IDS, _IDS, _OUT), cache=True, nogil=True)
def _fill_normal(seed: int, cause: int, a: IntArray, b: IntArray, out: FloatArray) -> None:
    for i in range(out.size):
        out[i] = normal1(seed, cause, a[i], b[i])


def uniform(seed: int, cause: Cause, a: IntArray | int, b: IntArray | int = 0) -> FloatArray:
    """Uniform numbers in (0, 1), one for each pair of ids.

    Args:
        seed: The run's seed, 0 <= seed < 2**64.
        cause: What the numbers are for.
        a: First id (user, store, request ...), int64, any shape that broadcasts with `b`.
        b: Second id (ad, slot, index ...), read modulo 2**32.

    Returns:
        float64 of the broadcast shape.
    """
    return _drawn(_fill_uniform, seed, cause, a, b)


def normal(seed: int, cause: Cause, a: IntArray | int, b: IntArray | int = 0) -> FloatArray:
    """Standard normal numbers, one for each pair of ids; arguments as for `uniform`."""
    return _drawn(_fill_normal, seed, cause, a, b)


def choose(shares: FloatArray | tuple[float, ...], uniform: FloatArray) -> IdArray:
    """Positions in `shares`, which add up to 1, that uniform numbers in (0, 1) fall on; a share of 0 is never chosen."""
    return np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right").astype(np.int32)


def _drawn(fill: Callable[..., None], seed: int, cause: Cause, a: IntArray | int, b: IntArray | int) -> FloatArray:
    left, right = np.broadcast_arrays(np.asarray(a, np.int64), np.asarray(b, np.int64))
    out = np.empty(left.size)
    fill(np.uint64(seed), int(cause), left.ravel(), right.ravel(), out)
    return out.reshape(left.shape)
