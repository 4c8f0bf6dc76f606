"""Traffic: who comes when, in sessions of one ad request or more."""

from concurrent.futures import Executor

import numpy as np
from numba import njit

from synth.config import SurfaceConfig, TrafficConfig
from synth.draws import Cause, poisson1, uniform1
from synth.types import DAY_MS, DAYPARTS, HOUR_MS, BoolArray, FloatArray, IdArray, IntArray, Requests

_DAY_BITS = 12  # days, up to 4,095
_SESSION_BITS = 7  # sessions of one user in one day, up to 127
PAGE_BITS = 5  # requests of one session, up to 32
MOST_SESSIONS = 70.0  # mean sessions of a user on a day; above, 127 could be too few
_SHARD = 250_000  # users whose arrivals are drawn at once


def requests_on(
    day: int, visits: FloatArray, daypart: IdArray, config: TrafficConfig, surfaces: tuple[SurfaceConfig, ...], seed: int,
    threads: Executor | None = None,
) -> Requests:  # fmt: skip
    """All requests of one day.

    A user's number of sessions is Poisson; a session starts in the user's usual part of the day with probability
    `regularity`, else at any time, by the day's profile; it has one request and a Poisson number of further ones. The id is
    made of user, day, session and page. So nothing depends on which other users there are.

    Args:
        day: Days since the start, 0 to 4,095.
        visits: (U,) mean sessions of each user on a mean day.
        daypart: (U,) usual part of the day.
        threads: Draw shards of users at the same time; changes speed only.
    """
    factor = weekday_factor(config)[day % 7]
    share = np.cumsum([surface.share for surface in surfaces])

    def shard(first: int) -> tuple[IntArray, IdArray, IntArray, IdArray]:
        stop = min(first + _SHARD, len(visits))
        mean = visits[first:stop] * factor
        sessions = np.empty(stop - first, np.int64)
        n = _count(np.uint64(seed), day, first, mean, config.requests_per_session - 1, sessions)
        ids, user = np.empty(n, np.int64), np.empty(n, np.int32)
        time_ms, surface = np.empty(n, np.int64), np.empty(n, np.int32)
        _arrive(
            np.uint64(seed), day, first, sessions, config.requests_per_session - 1, daypart[first:stop], config.regularity,
            config.page_seconds * 1e3, _profile(config), share, ids, user, time_ms, surface,
        )  # fmt: skip
        return ids, user, time_ms, surface

    starts = range(0, max(len(visits), 1), _SHARD)
    parts = list(threads.map(shard, starts) if threads else map(shard, starts))
    ids, user, time_ms, surface = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((ids, time_ms))
    return Requests(id=ids[order], user=user[order], time_ms=time_ms[order], surface=surface[order])


def session_of(request: IntArray) -> IntArray:
    """What the requests of one session have in common: their id without the page."""
    return request >> PAGE_BITS


def opens_session(request: IntArray) -> BoolArray:
    """Whether requests are the first of their session."""
    return request == session_of(request) << PAGE_BITS


def busiest(visits: FloatArray, config: TrafficConfig) -> float:
    """Mean sessions of the most active user on the busiest weekday."""
    return float(visits.max() * weekday_factor(config).max())


def weekday_factor(config: TrafficConfig) -> FloatArray:
    """(7,) a weekday's traffic over that of the mean day."""
    return np.asarray(config.weekday_weight) / np.mean(config.weekday_weight)


def daypart_share(config: TrafficConfig) -> FloatArray:
    """(DAYPARTS,) share of a day's sessions that start in each part of it."""
    return np.diff(_profile(config)[:: 24 // DAYPARTS])


def expected_share(config: TrafficConfig, start_ms: int, stop_ms: int) -> float:
    """Share of a day's expected requests that come from `start_ms` to `stop_ms`, both of the same day."""
    begin = start_ms // DAY_MS * DAY_MS
    at = np.interp([start_ms - begin, stop_ms - begin], np.arange(25) * HOUR_MS, _profile(config))
    return float(at[1] - at[0])


def _profile(config: TrafficConfig) -> FloatArray:
    """(25,) share of a day's sessions that start before each full hour."""
    return np.concatenate(([0.0], np.cumsum(config.hour_weight) / np.sum(config.hour_weight)))


@njit(cache=True, nogil=True)
def _request(user: int, day: int, session: int, page: int) -> int:
    return ((((user << _DAY_BITS) | day) << _SESSION_BITS) | session) << PAGE_BITS | page


@njit(cache=True, nogil=True)
def _pages(seed: int, request: int, more: float) -> int:
    return min(poisson1(more, uniform1(seed, Cause.SESSION_LENGTH, request, 0)) + 1, 1 << PAGE_BITS)


@njit(cache=True, nogil=True)
def _count(seed: int, day: int, first: int, mean: FloatArray, more: float, sessions: IntArray) -> int:
    total = 0
    for u in range(mean.size):
        sessions[u] = min(poisson1(mean[u], uniform1(seed, Cause.ARRIVALS, first + u, day)), (1 << _SESSION_BITS) - 1)
        for session in range(sessions[u]):
            total += _pages(seed, _request(first + u, day, session, 0), more)
    return total


@njit(cache=True, nogil=True)
def _arrive(
    seed: int,
    day: int,
    first: int,
    sessions: IntArray,
    more: float,
    daypart: IdArray,
    regularity: float,
    gap_ms: float,
    by_hour: FloatArray,
    share: FloatArray,
    ids: IntArray,
    user: IdArray,
    time_ms: IntArray,
    surface: IdArray,
) -> None:
    row, hours = 0, 24 // DAYPARTS
    for u in range(sessions.size):
        for session in range(sessions[u]):
            start = _request(first + u, day, session, 0)
            at = uniform1(seed, Cause.ARRIVAL_TIME, start, 0)
            if uniform1(seed, Cause.ARRIVAL_HABIT, start, 0) < regularity:
                low, high = by_hour[daypart[u] * hours], by_hour[(daypart[u] + 1) * hours]
                at = low + at * (high - low)
            hour = min(np.searchsorted(by_hour, at, side="right") - 1, 23)
            inside = (at - by_hour[hour]) / (by_hour[hour + 1] - by_hour[hour])
            offset = (hour + inside) * HOUR_MS
            for page in range(_pages(seed, start, more)):
                request = start + page
                if page > 0:
                    offset -= np.log(uniform1(seed, Cause.PAGE_GAP, request, 0)) * gap_ms
                ids[row] = request
                user[row] = first + u
                time_ms[row] = day * DAY_MS + min(int(offset), DAY_MS - 1)
                surface[row] = np.searchsorted(share, uniform1(seed, Cause.SURFACE, request, 0) * share[-1])
                row += 1
