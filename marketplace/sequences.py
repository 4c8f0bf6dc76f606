"""Sequences: what users did last, most recent first, each kind apart."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numba.extending import register_jitable

from synth.habits import Habits
from synth.types import Columns, IdArray, IntArray

VIEWS = 8  # most stores looked at that are remembered of a session
SEARCHES = 4  # most dishes searched for that are remembered of a user
CLICKS = 8  # most stores of ads clicked that are remembered of a user


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recent(Columns):
    """What users did on the organic surface up to each request, most recent first, -1 where there is no more."""

    views: IdArray  # (n, VIEWS) stores looked at in the session
    searches: IdArray  # (n, SEARCHES) dishes searched for before the request, in this session and earlier ones


def follow(
    user: IdArray, session: IntArray, view: IdArray, query: IdArray, views: IdArray, searches: IdArray, last: IntArray
) -> Recent:
    """Take note of requests in order of time, and say what was known of their users at each.

    Args:
        session: (n,) of each request.
        view: (n, v) stores looked at just before each request, in order of time, -1 where there was none.
        query: (n,) dish searched for in the request, -1 where none was.
        views: (U, VIEWS) of the user's last session; moves on.
        searches: (U, SEARCHES) moves on.
        last: (U,) that session; moves on.
    """
    n = len(user)
    recent = Recent(views=np.empty((n, views.shape[1]), np.int32), searches=np.empty((n, searches.shape[1]), np.int32))
    _follow(user, session, view, query, views, searches, last, recent.views, recent.searches)
    return recent


@njit(cache=True, nogil=True)
def remember(values: IdArray, user: IdArray, value: IdArray) -> None:
    """Write events (m,), in order of time, into `values` (U, places); a full row gives up its oldest."""
    for i in range(user.size):
        _put_first(values[user[i]], value[i])


@njit(cache=True, nogil=True)
def by_last_order(history: Habits, user: IdArray) -> IdArray:
    """(n, H) stores that users (n,) have ordered from: the last order first, ties by the lower store, -1 behind them."""
    places = history.store.shape[1]
    out = np.full((user.size, places), -1, np.int32)
    last = np.empty(places, np.int64)
    for i in range(user.size):
        known = 0
        for h in range(places):
            store, time = history.store[user[i], h], history.last_ms[user[i], h]
            if store < 0:
                continue
            place = known
            while place > 0 and (last[place - 1] < time or (last[place - 1] == time and out[i, place - 1] > store)):
                out[i, place], last[place] = out[i, place - 1], last[place - 1]
                place -= 1
            out[i, place], last[place] = store, time
            known += 1
    return out


@register_jitable
def _put_first(values: IdArray, value: int) -> None:
    for place in range(values.size - 1, 0, -1):
        values[place] = values[place - 1]
    values[0] = value


@njit(cache=True, nogil=True)
def _follow(  # type: ignore[no-untyped-def]
    user, session, view, query, views, searches, last, recent_views, recent_searches
):  # fmt: skip
    for i in range(user.size):
        u = user[i]
        if last[u] != session[i]:
            last[u] = session[i]
            views[u, :] = -1
        for v in range(view.shape[1]):
            if view[i, v] >= 0:
                _put_first(views[u], view[i, v])
        recent_views[i] = views[u]
        recent_searches[i] = searches[u]
        if query[i] >= 0:  # the request knows its own query already
            _put_first(searches[u], query[i])
