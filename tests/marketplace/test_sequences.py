"""Sequences: what users did last, by hand and beside a replay of a whole simulation."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ticks import Ticks

from marketplace.assignment import everyone
from marketplace.features import new_features
from marketplace.schema import log_schema
from marketplace.sequences import CLICKS, SEARCHES, by_last_order, remember
from marketplace.simulate import simulate
from marketplace.state import load_state, new_state, save_state
from models.jagged import Jagged
from models.schema import Kind, Side
from synth.habits import Habits
from synth.types import CHECKOUT, Requests

USER, OTHER = 3, 4


@pytest.fixture
def features(tiny, world):
    return new_features(world.population, tiny.features.smoothing)


def requests(*pages, user=USER):
    user = np.full(len(pages), user, np.int32)
    return Requests(id=np.array(pages), user=user, time_ms=np.array(pages), surface=np.zeros_like(user))


def padded(values, places):
    return [*values, *[-1] * (places - len(values))]


def test_searches_are_those_before_the_request_most_recent_first_in_all_sessions(features, world):
    def search(page, *dishes, user=USER):
        asked = requests(*range(page, page + len(dishes)), user=user)
        visits = replace(world.browse(asked, world.minds()), query=np.array(dishes, np.int32))
        return features.see(asked, visits).searches.tolist()

    assert search(32, 7, -1, 8) == [padded(row, SEARCHES) for row in ([], [7], [7])]
    assert search(64, 8, 9) == [padded(row, SEARCHES) for row in ([8, 7], [8, 8, 7])]  # another session
    assert search(66, 1, 2) == [[9, 8, 8, 7], [1, 9, 8, 8]]  # the oldest is given up
    assert search(96, 5, user=OTHER) == [[-1] * SEARCHES]


def test_clicks_are_seen_once_published_most_recent_first_and_one_down_the_page_is_later(features, world):
    store, ads = world.population.ads.store, np.array([[0]], np.int32)
    no_recent = features.see(requests(1), world.browse(requests(1), world.minds()))

    def click(user, shown, clicked):
        shown = np.array([shown], np.int32)
        features.count_shown(np.array([user], np.int32), shown, np.array([clicked]), np.ones(shown.shape[1]))

    def seen(user=USER):
        return (
            features.observe(requests(1, user=user), np.array([-1], np.int32), no_recent, ads)
            .lists[3]
            .padded(8)[0]
            .tolist()
        )

    click(USER, [10, 11, 12], [True, False, True])
    click(OTHER, [13, -1, -1], [True, False, False])
    click(USER, [14, 10, -1], [False, True, False])
    assert seen() == [-1] * CLICKS
    features.publish()
    assert seen() == padded(store[[10, 12, 10]].tolist(), CLICKS)  # a second click is a second event
    assert seen(OTHER) == padded(store[[13]].tolist(), CLICKS)
    for ad in range(20, 26):
        click(USER, [ad], [True])
    features.publish()
    features.publish()
    assert seen() == store[[25, 24, 23, 22, 21, 20, 10, 12]].tolist()  # the oldest is given up


@given(events=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=30), cut=st.integers(0, 30))
def test_remembered_events_are_the_last_of_each_user_however_they_are_handed_over(events, cut):
    values = np.full((3, 4), -1, np.int32)
    for part in (events[:cut], events[cut:]):
        user, value = np.array(part, np.int32).reshape(-1, 2).T
        remember(values, user.copy(), value.copy())

    for u in range(3):
        own = [value for user, value in reversed(events) if user == u]
        assert values[u].tolist() == padded(own[:4], 4)


@given(
    store=st.lists(st.integers(0, 20), min_size=1, max_size=8, unique=True),
    last=st.lists(st.integers(-3, 3), min_size=8, max_size=8), free=st.lists(st.booleans(), min_size=8, max_size=8),
)  # fmt: skip
def test_stores_stand_by_the_time_of_the_last_order_ties_by_the_lower_store(store, last, free):
    places = list(zip(store, last, free, strict=False))
    table = np.array([(-1, 0, 0) if gone else (s, 1, t) for s, t, gone in places]).T
    history = Habits(table[:1].astype(np.int32), table[1:2].astype(np.int32), table[2:])

    found = by_last_order(history, np.zeros(2, np.int32))

    expected = [s for s, t, gone in sorted(places, key=lambda place: (-place[1], place[0])) if not gone]
    assert found.tolist() == [padded(expected, len(store))] * 2


def lists_of(tiny, ticks):
    """Every list of every request, by name."""
    names = [c.name for c in log_schema(tiny.world).columns(Kind.LIST, Side.REQUEST)]
    parts = zip(*(tick.scored.batch.lists for tick in ticks), strict=True)
    whole = [Jagged.stack(part) for part in parts]
    return {
        name: [own.tolist() for own in np.split(lists.values, lists.offsets[1:-1])]
        for name, lists in zip(names, whole, strict=True)
    }


def test_lists_are_a_replay_of_what_happened_before_and_hold_nothing_of_the_future(tiny, world, ranker):
    """The lists of each request, worked out anew from events and their times: searches up to it, clicks and orders up to the
    last publishing."""
    population, seen = world.population, Ticks()
    everybody = everyone(tiny.world.population.users)
    simulate(tiny, world, (ranker,), everybody, new_state(tiny, world), seen, first_day=0, days=2)
    publish_ms = tiny.features.publish_minutes * 60_000
    clicked, ordered, asked = [], [], []
    for tick in seen.ticks:
        scored, shown, orders = tick.scored, tick.shown, tick.placed.orders
        visits, user, time = scored.visits, scored.requests.user, scored.requests.time_ms
        for i, slot in zip(*np.nonzero(shown.outcomes.clicked), strict=True):
            clicked.append((int(time[i]), int(user[i]), int(population.ads.store[shown.ad[i, slot]])))
        for i in np.flatnonzero((visits.ordered >= 0) & ~tick.displaced):
            ordered.append((int(time[i]), int(user[i]), int(visits.ordered[i])))
        for o in orders[orders["event"] == CHECKOUT]:
            ordered.append((int(o["time_ms"]), int(o["user"]), int(o["store"])))
        asked += zip(time.tolist(), user.tolist(), visits.query.tolist(), strict=True)
    logged = lists_of(tiny, seen.ticks)

    clicks, searches = defaultdict(list), defaultdict(list)
    history = [
        {int(s): int(t) for s, t in zip(*row, strict=True) if s >= 0}
        for row in zip(population.habits.store, population.habits.last_ms, strict=True)
    ]
    capacity = population.habits.store.shape[1]
    to_click, to_order = iter(clicked), iter(sorted(ordered))
    click, order = next(to_click), next(to_order)
    for i, (time, user, query) in enumerate(asked):
        published = time // publish_ms * publish_ms
        while click and click[0] < published:
            clicks[click[1]].insert(0, click[2])
            click = next(to_click, None)
        while order and order[0] < published:
            known = history[order[1]]
            if order[2] not in known and len(known) == capacity:
                del known[min(known, key=known.get)]
            known[order[2]] = order[0]
            order = next(to_order, None)
        known = history[user]
        assert logged["history"][i] == sorted(known, key=lambda s: (-known[s], s))
        assert logged["clicks"][i] == clicks[user][:CLICKS]
        assert logged["searches"][i] == searches[user][:SEARCHES]
        if query >= 0:
            searches[user].insert(0, query)
    assert (
        max(map(len, clicks.values())) >= 4 and max(map(len, searches.values())) > SEARCHES
    )  # so there is much to see


def test_a_state_that_was_saved_has_the_lists_of_the_one_that_ran_on(tiny, world, ranker, tmp_path):
    state, everybody = new_state(tiny, world), everyone(tiny.world.population.users)
    simulate(tiny, world, (ranker,), everybody, state, Ticks(), first_day=0, days=1)
    state.features.publish()
    expected = state.copy().features
    save_state(state, tmp_path / "state")

    restored = load_state(tiny, world, tmp_path / "state").features

    for name in ("clicks", "searches", "views", "session"):
        assert (getattr(restored, name) == getattr(expected, name)).all(), name
    users = np.arange(tiny.world.population.users, dtype=np.int32)
    assert (by_last_order(restored.history, users) == by_last_order(expected.history, users)).all()
    assert (restored.clicks >= 0).any() and (restored.searches >= 0).any()
