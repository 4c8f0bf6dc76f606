"""Lists in flat form against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.jagged import Jagged

lists_of_values = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=6), max_size=8)


def jagged(lists: list[list[int]]) -> Jagged:
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    return Jagged(values=np.array([v for own in lists for v in own], np.int32), offsets=offsets)


def plain(lists: Jagged) -> list[list[int]]:
    assert len(lists) == len(lists.offsets) - 1
    assert lists.offsets[0] == 0 and lists.offsets[-1] == len(lists.values)
    assert lists.values.dtype == np.int32
    return [lists.values[a:b].tolist() for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


@given(lists=lists_of_values)
def test_packing_undoes_padding(lists):
    padded = jagged(lists).padded()

    assert padded.shape == (len(lists), max(1, *map(len, lists), 1))
    assert [[v for v in row if v >= 0] for row in padded.tolist()] == lists
    assert plain(Jagged.packed(padded)) == lists


@given(lists=lists_of_values, places=st.integers(0, 8))
def test_padding_cuts_what_is_beyond_the_last_place(lists, places):
    expected = [(own + [-1] * places)[:places] for own in lists]

    assert jagged(lists).padded(places).tolist() == expected


@given(padded=st.lists(st.lists(st.integers(-1, 9), min_size=4, max_size=4), max_size=6))
def test_packing_keeps_the_order_wherever_the_free_places_are(padded):
    packed = Jagged.packed(np.array(padded, np.int64).reshape(-1, 4))

    assert plain(packed) == [[v for v in row if v >= 0] for row in padded]


@given(lists=lists_of_values, cut=st.tuples(st.integers(0, 10), st.integers(0, 10)).map(sorted))
def test_rows_are_a_slice(lists, cut):
    start, stop = cut

    assert plain(jagged(lists).rows(start, stop)) == lists[start:stop]
    assert plain(jagged(lists).rows(0, stop).rows(start, stop)) == lists[start:stop]


@given(data=st.data(), lists=lists_of_values)
def test_take_picks_lists_in_any_order_and_as_often_as_asked(data, lists):
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=12)) if lists else []

    assert plain(jagged(lists).take(np.array(rows, np.int64))) == [lists[i] for i in rows]


@given(parts=st.lists(lists_of_values, min_size=1, max_size=4))
def test_stack_puts_parts_one_after_the_other(parts):
    assert plain(Jagged.stack([jagged(part) for part in parts])) == [own for part in parts for own in part]


@given(lists=lists_of_values)
def test_the_longest_list_has_as_many_values_as_it_says(lists):
    assert jagged(lists).longest == max(map(len, lists), default=0)


@pytest.mark.parametrize("n", [0, 3])
def test_empty_lists_and_no_lists_at_all(n):
    empty = Jagged.packed(np.full((n, 5), -1))

    assert plain(empty) == [[]] * n
    assert empty.padded().tolist() == [[-1]] * n
    assert plain(empty.rows(n, n + 2)) == []
    assert plain(Jagged.stack([empty, jagged([[4]]), empty])) == [*[[]] * n, [4], *[[]] * n]
