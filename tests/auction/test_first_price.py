"""First price: the winners of GSP pay what they bid."""

import numpy as np

from auction import first_price, gsp, to_micros


def test_winners_pay_their_bids_whatever_their_quality():
    out = first_price([[10.0, 4.0, 2.0]], [[0.1, 0.9, 0.2]], n_slots=3)

    assert out.winner.tolist() == [[1, 0, 2]]
    assert out.price_micros.tolist() == [[4_000_000, 10_000_000, 2_000_000]]


def test_the_reserve_keeps_out_and_sets_no_price():
    out = first_price([[0.29, 0.31]], [[1.0, 1.0]], n_slots=2, reserve=0.30)

    assert out.winner.tolist() == [[1, -1]]
    assert out.price_micros.tolist() == [[310_000, 0]]


def test_first_price_ranks_as_gsp_does_and_never_charges_less():
    rng = np.random.default_rng(6)
    bid, quality, reserve = rng.random((300, 5)), rng.uniform(0.05, 1, (300, 5)), rng.random((300, 5)) / 2

    first, second = (rule(bid, quality, n_slots=3, reserve=reserve, squash=0.5) for rule in (first_price, gsp))

    assert np.array_equal(first.winner, second.winner)
    assert (first.price_micros >= second.price_micros).all()
    row, slot = np.nonzero(first.winner >= 0)
    assert np.array_equal(first.price_micros[row, slot], to_micros(bid[row, first.winner[row, slot]]))
