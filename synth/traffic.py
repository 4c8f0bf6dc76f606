"""Traffic: who opens the feed when."""

import numpy as np
from numba import njit

from synth.config import TrafficConfig
from synth.draws import Cause, uniform1
from synth.habits import poisson1
from synth.types import DAY_MS, HOUR_MS, FloatArray, IdArray, IntArray, Requests

_DAY_BITS = 12  # days, up to 4,095
_NUMBER_BITS = 8  # requests of one user in one day, up to 255
MOST_PER_DAY = 150.0  # mean requests of a user on a day; above, 255 could be too few


def requests_on(day: int, activity: FloatArray, config: TrafficConfig, seed: int) -> Requests:
    """All requests of one day.

    Each user's number is Poisson with the user's own mean, each time is drawn from the day's profile, and the id is made of
    user, day and number: so neither depends on which other users there are.

    Args:
        day: Days since the start, 0 to 4,095.
        activity: (U,) mean requests per day.
    """
    mean = activity * _weekday_factor(config)[day % 7]
    count = np.empty(len(activity), np.int64)
    _count(np.uint64(seed), day, mean, count)
    ids = np.empty(count.sum(), np.int64)
    user = np.empty(len(ids), np.int32)
    time_ms = np.empty(len(ids), np.int64)
    _arrive(np.uint64(seed), day, count, _profile(config), ids, user, time_ms)
    order = np.lexsort((ids, time_ms))
    return Requests(id=ids[order], user=user[order], time_ms=time_ms[order])


def busiest(activity: FloatArray, config: TrafficConfig) -> float:
    """Mean requests of the most active user on the busiest weekday."""
    return float(activity.max() * _weekday_factor(config).max())


def _weekday_factor(config: TrafficConfig) -> FloatArray:
    """(7,) a weekday's traffic over that of the mean day."""
    return np.asarray(config.weekday_weight) / np.mean(config.weekday_weight)


def expected_share(config: TrafficConfig, start_ms: int, stop_ms: int) -> float:
    """Share of a day's expected requests that come from `start_ms` to `stop_ms`, both of the same day."""
    begin = start_ms // DAY_MS * DAY_MS
    at = np.interp([start_ms - begin, stop_ms - begin], np.arange(25) * HOUR_MS, _profile(config))
    return float(at[1] - at[0])


def _profile(config: TrafficConfig) -> FloatArray:
    """(25,) share of a day's requests that come before each full hour."""
    return np.concatenate(([0.0], np.cumsum(config.hour_weight) / np.sum(config.hour_weight)))


@njit(cache=True, nogil=True)
def _count(seed: int, day: int, mean: FloatArray, count: IntArray) -> None:
    for u in range(mean.size):
        count[u] = poisson1(mean[u], uniform1(seed, Cause.ARRIVALS, u, day))


@njit(cache=True, nogil=True)
def _arrive(
    seed: int, day: int, count: IntArray, by_hour: FloatArray, ids: IntArray, user: IdArray, time_ms: IntArray
) -> None:
    row = 0
    for u in range(count.size):
        for number in range(count[u]):
            request = (((np.int64(u) << _DAY_BITS) | day) << _NUMBER_BITS) | number
            at = uniform1(seed, Cause.ARRIVAL_TIME, request, 0)
            hour = min(np.searchsorted(by_hour, at, side="right") - 1, 23)
            inside = (at - by_hour[hour]) / (by_hour[hour + 1] - by_hour[hour])
            ids[row] = request
            user[row] = u
            time_ms[row] = day * DAY_MS + np.int64((hour + inside) * HOUR_MS)
            row += 1
