"""Structs of arrays: rows, take, put and stack go through every field, and through structs inside."""

from dataclasses import dataclass, fields

import numpy as np

from synth.types import Columns, IntArray, Requests


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nested(Columns):
    requests: Requests
    value: IntArray


def nested(n: int, start: int = 0) -> Nested:
    at = np.arange(start, start + n)
    return Nested(requests=Requests(id=at * 10, user=(at % 3).astype(np.int32), time_ms=at * 100), value=-at)


def values(columns: Columns) -> list[list[int]]:
    parts = [getattr(columns, f.name) for f in fields(columns)]
    return [row for part in parts for row in (values(part) if isinstance(part, Columns) else [part.tolist()])]


def test_stack_puts_back_what_rows_cut():
    whole = nested(7)

    assert values(Nested.stack([whole.rows(0, 2), whole.rows(2, 6), whole.rows(6, 7)])) == values(whole)


def test_stack_of_one_part_is_that_part():
    assert values(Nested.stack([nested(3)])) == values(nested(3))


def test_take_picks_the_same_rows_of_every_field():
    assert values(nested(5).take(np.array([4, 1]))) == [[40, 10], [1, 1], [400, 100], [-4, -1]]


def test_put_overwrites_the_given_rows_and_no_others():
    columns = nested(4)

    columns.put(np.array([3, 0]), nested(2, start=8))

    assert values(columns) == [[90, 10, 20, 80], [0, 1, 2, 2], [900, 100, 200, 800], [-9, -1, -2, -8]]


def test_requests_count_their_rows():
    assert len(nested(6).requests) == 6
