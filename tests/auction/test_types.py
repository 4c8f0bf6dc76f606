"""Dollars become micros, rounded down."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auction import to_micros

law = settings(deadline=None, derandomize=True, max_examples=300)


@pytest.mark.parametrize(
    ("usd", "micros"),
    [
        (0.29, 290_000),
        (0.0, 0),
        (1.0, 1_000_000),
        (0.0000019, 1),
        (0.0000009, 0),
        (1.9999999, 1_999_999),
        (4.35, 4_350_000),
    ],
)
def test_micros_are_rounded_down_after_the_decimal_is_restored(usd, micros):
    assert to_micros(usd) == micros


@law
@given(micros=st.integers(0, 10**14))
def test_whole_micros_survive_the_way_to_dollars_and_back(micros):
    assert to_micros(micros / 1e6) == micros


@law
@given(usd=st.integers(0, 2**33))
def test_whole_dollars_are_a_million_micros_each(usd):
    assert to_micros(float(usd)) == usd * 1_000_000


@law
@given(usd=st.floats(0, 1e6))
def test_rounding_down_never_adds_more_than_the_last_places_of_the_decimal(usd):
    exact = Fraction(usd) * 1_000_000

    assert -1 < int(to_micros(usd)) - exact <= Fraction(5 * np.finfo(float).eps) * exact


def test_to_micros_keeps_the_shape_and_gives_int64():
    micros = to_micros(np.array([[0.1, 0.2], [0.3, 0.7]]))

    assert micros.dtype == np.int64
    assert micros.tolist() == [[100_000, 200_000], [300_000, 700_000]]
