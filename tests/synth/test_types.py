"""Structs of arrays: rows, take, put and stack go through every field, and through structs inside; parts of the day."""

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synth.types import DAY_MS, DAYPARTS, HOUR_MS, Columns, IntArray, Requests, daypart_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nested(Columns):
    requests: Requests
    value: IntArray


def nested(n: int, start: int = 0) -> Nested:
    at = np.arange(start, start + n)
    user, surface = (at % 3).astype(np.int32), (at % 2).astype(np.int32)
    return Nested(requests=Requests(id=at * 10, user=user, time_ms=at * 100, surface=surface), value=-at)


def values(columns: Columns) -> list[list[int]]:
    parts = [getattr(columns, f.name) for f in fields(columns)]
    return [row for part in parts for row in (values(part) if isinstance(part, Columns) else [part.tolist()])]


@given(cuts=st.lists(st.integers(0, 7), max_size=5))
def test_stack_puts_back_what_rows_cut(cuts):
    whole = nested(7)
    edges = [0, *sorted(cuts), 7]

    parts = [whole.rows(a, b) for a, b in pairwise(edges)]

    assert values(Nested.stack(parts)) == values(whole)


def test_take_picks_the_same_rows_of_every_field():
    assert values(nested(5).take(np.array([4, 1]))) == [[40, 10], [1, 1], [400, 100], [0, 1], [-4, -1]]


def test_taken_rows_are_copies_and_cut_rows_are_views():
    columns = nested(4)
    taken, cut = columns.take(np.array([1, 2])), columns.rows(1, 3)

    columns.value[:] = 7

    assert taken.value.tolist() == [-1, -2]
    assert cut.value.tolist() == [7, 7]


def test_put_overwrites_the_given_rows_and_no_others():
    columns = nested(4)

    columns.put(np.array([3, 0]), nested(2, start=8))

    assert values(columns) == [[90, 10, 20, 80], [0, 1, 2, 2], [900, 100, 200, 800], [1, 1, 0, 0], [-9, -1, -2, -8]]


def test_requests_count_their_rows():
    assert len(nested(6).requests) == 6


def test_parts_of_the_day_are_four_hours_each_from_midnight():
    assert [daypart_of(hour * HOUR_MS) for hour in (0, 4, 8, 12, 16, 20, 24)] == [0, 1, 2, 3, 4, 5, 0]
    assert [daypart_of(hour * HOUR_MS - 1) for hour in (4, 8, 24)] == [0, 1, 5]


@given(time_ms=st.integers(0, 4_096 * DAY_MS))
def test_every_time_has_the_part_of_the_day_of_its_hour(time_ms):
    hour = time_ms // HOUR_MS % 24

    assert daypart_of(time_ms) == hour // (24 // DAYPARTS)
    assert daypart_of(time_ms + DAY_MS) == daypart_of(time_ms)
