"""Keyed draws: a number is a pure function of seed, cause and ids."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from scipy import stats

from synth import draws
from synth.draws import Cause

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [  # Random123, kat_vectors: counter, key, answer
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
FAMILY = [draws.uniform, draws.normal]
PLAUSIBLE = 1e-4  # least p-value of a fixed seed


@njit
def compiled_philox(c0, c1, c2, c3, k0, k1):
    return draws.philox4x32(c0, c1, c2, c3, k0, k1)


@pytest.mark.parametrize("philox", [draws.philox4x32, compiled_philox])
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(philox, counter, key, answer):
    words = philox(*(np.uint64(w) for w in counter + key))

    assert tuple(int(w) for w in words) == answer


def test_counter_holds_both_ids_and_the_cause_and_the_key_holds_the_seed():
    seed, a, b = 0x0123456789ABCDEF, 0x0FEDCBA987654321, 0x89ABCDEF

    words = draws.block(seed, int(Cause.CLICK), a, b)

    counter = (0x87654321, 0x0FEDCBA9, 0x89ABCDEF, int(Cause.CLICK))
    expected = draws.philox4x32(*(np.uint64(w) for w in (*counter, 0x89ABCDEF, 0x01234567)))
    assert [int(w) for w in words] == [int(w) for w in expected]


def test_uniform_is_26_bits_of_each_of_the_first_two_words():
    for a in range(100):
        first, second = (int(w) for w in draws.block(5, int(Cause.DELAY), a, 3)[:2])
        fraction = ((first >> 6) * 2**26 + (second >> 6) + 0.5) / 2**52
        assert draws.uniform(5, Cause.DELAY, a, 3) == fraction


@pytest.mark.parametrize("words", [(0, 0), (ONES, ONES)])
def test_uniform_lies_strictly_inside_0_and_1(words):
    assert 0 < draws._unit(*(np.uint64(w) for w in words)) < 1


def test_no_two_causes_share_a_number():
    assert len(Cause.__members__) == len({int(c) for c in Cause.__members__.values()})
    assert all(0 <= int(c) < 2**32 for c in Cause)


@pytest.mark.parametrize("draw", FAMILY)
def test_draws_do_not_depend_on_chunks_order_or_threads(draw):
    a = np.random.default_rng(0).integers(2**62, size=5_000)
    b = np.arange(a.size) % 7
    whole = draw(3, Cause.CLICK, a, b)

    chunked = np.concatenate([draw(3, Cause.CLICK, a[i : i + 97], b[i : i + 97]) for i in range(0, a.size, 97)])
    order = np.random.default_rng(1).permutation(a.size)
    with ThreadPoolExecutor(4) as threads:
        parts = threads.map(lambda rows: draw(3, Cause.CLICK, a[rows], b[rows]), np.array_split(np.arange(a.size), 16))
        threaded = np.concatenate(list(parts))

    assert np.array_equal(chunked, whole)
    assert np.array_equal(draw(3, Cause.CLICK, a[order], b[order]), whole[order])
    assert np.array_equal(threaded, whole)


@pytest.mark.parametrize("draw", FAMILY)
def test_draws_have_the_shape_that_their_ids_broadcast_to(draw):
    table = draw(3, Cause.CLICK, np.arange(4)[:, None], np.arange(3))

    assert table.shape == (4, 3)
    assert table[2, 1] == draw(3, Cause.CLICK, 2, 1)


def test_uniform_draws_are_uniform():
    u = draws.uniform(1, Cause.EXAMINATION, np.arange(100_000))

    assert stats.kstest(u, "uniform").pvalue > PLAUSIBLE


def test_normal_draws_are_normal():
    z = draws.normal(1, Cause.USER_TASTE, np.arange(20_000)[:, None], np.arange(5)).ravel()

    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


@pytest.mark.parametrize("draw", FAMILY)
def test_causes_are_uncorrelated(draw):
    n = 4_000
    table = np.array([draw(9, cause, np.arange(n)) for cause in Cause])

    r = np.corrcoef(table)[np.triu_indices(len(table), k=1)]

    assert np.abs(r).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("draw", FAMILY)
def test_ids_and_seeds_are_uncorrelated_in_every_part_of_the_counter_and_key(draw):
    n = 4_000
    a = np.arange(n)
    streams = [
        draw(9, Cause.CLICK, a), draw(9, Cause.CLICK, a, 1), draw(9, Cause.CLICK, a, 2**31),
        draw(9, Cause.CLICK, a + n), draw(9, Cause.CLICK, a + 2**32), draw(10, Cause.CLICK, a),
        draw(9 + 2**32, Cause.CLICK, a),
    ]  # fmt: skip

    for x, y in combinations(streams, 2):
        assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(streams[0][1:], streams[0][:-1])[0, 1]) < 5 / np.sqrt(n)


@pytest.mark.parametrize("mean", [0.0, 0.3, 1.5, 8.0, 60.0])
def test_poisson_number_is_the_quantile_of_the_law(mean):
    u = np.concatenate((draws.uniform(1, Cause.ARRIVALS, np.arange(1_000)), [1e-12, 1 - 1e-9]))

    assert np.array_equal([draws.poisson1(mean, x) for x in u], stats.poisson.ppf(u, mean))


def test_a_uniform_number_chooses_the_share_that_it_falls_on():
    at = np.array([1e-9, 0.199, 0.201, 0.499, 0.501, 1 - 1e-12])

    assert draws.choose((0.2, 0.3, 0.0, 0.5), at).tolist() == [0, 0, 1, 1, 3, 3]


@given(weight=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any), at=st.floats(1e-9, 1 - 1e-9))
def test_a_share_of_zero_is_never_chosen(weight, at):
    shares = np.array(weight) / sum(weight)

    assert weight[draws.choose(shares, np.array([at]))[0]] > 0
