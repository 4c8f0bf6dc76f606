"""Laws that every mechanism obeys; a new one joins by one line in RULES."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auction import first_price, gsp, to_micros

RULES = [gsp, first_price]
law = settings(deadline=None, derandomize=True, max_examples=100)
every_rule = pytest.mark.parametrize("rule", RULES)


class Market(NamedTuple):
    bid: np.ndarray  # (n, k)
    quality: np.ndarray  # (n, k)
    reserve: np.ndarray  # (n, k)
    n_slots: int
    squash: float

    def run(self, rule):
        return rule(self.bid, self.quality, n_slots=self.n_slots, reserve=self.reserve, squash=self.squash)

    @property
    def score(self) -> np.ndarray:
        """(n, k) of those who may win, 0 for the others."""
        return np.where(self.bid >= self.reserve, self.bid * self.quality**self.squash, 0.0)

    @property
    def sellable(self) -> np.ndarray:
        return (self.bid > 0) & (self.bid >= self.reserve)


@st.composite
def markets(draw) -> Market:
    """Up to 3 requests of up to 6 candidates; cents and round qualities, so that ties and bids at the reserve are common."""
    n, k = draw(st.integers(1, 3)), draw(st.integers(1, 6))

    def table(values: st.SearchStrategy[float]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n * k, max_size=n * k))).reshape(n, k)

    cents = st.integers(0, 12).map(lambda cent: cent / 100)
    dollars = st.floats(1e-4, 50.0)
    return Market(
        bid=table(cents | dollars),
        quality=table(st.sampled_from([0.01, 0.02, 0.05, 0.5, 1.0]) | st.floats(1e-3, 1.0)),
        reserve=np.full((n, k), draw(cents)) if draw(st.booleans()) else table(cents),
        n_slots=draw(st.integers(1, 7)),
        squash=draw(st.sampled_from([1.0, 0.5, 0.0])),
    )


def chosen(table: np.ndarray, winner: np.ndarray) -> np.ndarray:
    """The entries of the winners, in a flat array; empty slots are left out."""
    row, slot = np.nonzero(winner >= 0)
    return table[row, winner[row, slot]]


@every_rule
@law
@given(market=markets())
def test_slots_are_filled_from_the_top_without_gaps_until_candidates_run_out(rule, market):
    winner = market.run(rule).winner

    filled = (winner >= 0).sum(axis=1)
    assert winner.shape == (len(market.bid), market.n_slots)
    assert np.array_equal(filled, np.minimum(market.sellable.sum(axis=1), market.n_slots))
    assert (np.diff((winner < 0).astype(int), axis=1) >= 0).all()


@every_rule
@law
@given(market=markets())
def test_no_candidate_wins_twice(rule, market):
    for row in market.run(rule).winner:
        won = row[row >= 0]
        assert len(set(won)) == len(won)


@every_rule
@law
@given(market=markets())
def test_winner_pays_between_reserve_and_bid_and_an_empty_slot_costs_nothing(rule, market):
    out = market.run(rule)

    price, shown = out.price_micros, out.winner >= 0
    assert (price[shown] >= to_micros(chosen(market.reserve, out.winner))).all()
    assert (price[shown] <= to_micros(chosen(market.bid, out.winner))).all()
    assert (price[~shown] == 0).all()
    assert price.dtype == np.int64


@every_rule
@law
@given(market=markets())
def test_winners_stand_in_order_of_score_and_no_loser_has_a_higher_one(rule, market):
    for winner, score, sellable in zip(market.run(rule).winner, market.score, market.sellable, strict=True):
        won = winner[winner >= 0]
        lost = np.setdiff1d(np.flatnonzero(sellable), won)
        assert (np.diff(score[won]) <= 0).all()
        assert not len(lost) or score[lost].max() <= score[won].min()


@every_rule
@law
@given(market=markets())
def test_a_tie_goes_to_the_lower_id(rule, market):
    for winner, score, sellable in zip(market.run(rule).winner, market.score, market.sellable, strict=True):
        won = winner[winner >= 0]
        assert all(a < b for a, b in pairwise(won) if score[a] == score[b])
        for loser in np.setdiff1d(np.flatnonzero(sellable), won):
            assert all(w < loser for w in won if score[w] == score[loser])


@every_rule
@pytest.mark.parametrize("n_slots", [1, 2, 3, 4])
def test_equal_candidates_win_in_the_order_of_their_ids(rule, n_slots):
    assert rule([[1.0] * 4], [[0.5] * 4], n_slots=n_slots).winner.tolist() == [list(range(n_slots))]


@every_rule
@law
@given(market=markets())
def test_requests_of_a_batch_do_not_meet(rule, market):
    whole = market.run(rule)

    for i in range(len(market.bid)):
        alone = market._replace(bid=market.bid[[i]], quality=market.quality[[i]], reserve=market.reserve[[i]]).run(rule)
        assert np.array_equal(alone.winner[0], whole.winner[i])
        assert np.array_equal(alone.price_micros[0], whole.price_micros[i])


@every_rule
@law
@given(market=markets(), extra=st.integers(1, 3))
def test_candidates_who_bid_nothing_change_nothing(rule, market, extra):
    n = len(market.bid)
    absent = np.zeros((n, extra))
    larger = market._replace(
        bid=np.hstack((market.bid, absent)),
        quality=np.hstack((market.quality, absent + 1)),
        reserve=np.hstack((market.reserve, absent)),
    )

    assert np.array_equal(larger.run(rule).winner, market.run(rule).winner)
    assert np.array_equal(larger.run(rule).price_micros, market.run(rule).price_micros)


@every_rule
def test_a_bid_equal_to_the_reserve_sells_and_one_below_does_not(rule):
    out = rule([[0.30], [0.29]], [[0.1], [0.9]], n_slots=1, reserve=0.30)

    assert out.winner.tolist() == [[0], [-1]]
    assert out.price_micros.tolist() == [[300_000], [0]]


@every_rule
def test_a_bid_below_its_own_reserve_leaves_the_slot_to_the_next(rule):
    out = rule([[5.0, 1.0]], [[1.0, 1.0]], n_slots=2, reserve=[[6.0, 0.5]])

    assert out.winner.tolist() == [[1, -1]]


@every_rule
def test_an_auction_to_which_nobody_comes_sells_nothing(rule):
    out = rule(np.zeros((2, 3)), np.ones((2, 3)), n_slots=2)

    assert out.winner.tolist() == [[-1, -1], [-1, -1]]
    assert out.price_micros.tolist() == [[0, 0], [0, 0]]


@every_rule
@pytest.mark.parametrize(("n", "k"), [(0, 3), (2, 0)])
def test_no_requests_and_no_candidates_are_markets_too(rule, n, k):
    out = rule(np.zeros((n, k)), np.zeros((n, k)), n_slots=2)

    assert out.winner.tolist() == [[-1, -1]] * n
    assert out.price_micros.tolist() == [[0, 0]] * n


@every_rule
def test_more_slots_than_candidates_leaves_the_last_ones_empty(rule):
    out = rule([[1.0, 3.0]], [[1.0, 1.0]], n_slots=4)

    assert out.winner.tolist() == [[1, 0, -1, -1]]
    assert out.price_micros[0, 2:].tolist() == [0, 0]


@every_rule
def test_squash_decides_how_much_quality_counts(rule):
    """Scores at squash 1: 0.04, 0.05, 0.045; at 0.5: 0.4, 0.16, 0.21; at 0 the bids."""
    bid, quality = [[4.0, 0.5, 1.0]], [[0.01, 0.1, 0.045]]

    order = [rule(bid, quality, n_slots=3, squash=squash).winner[0].tolist() for squash in (1.0, 0.5, 0.0)]

    assert order == [[1, 2, 0], [0, 2, 1], [0, 2, 1]]


REFUSED = [
    ({"bid": [[1.0, 2.0], [3.0, np.nan]]}, r"bid\[1, 1\] is nan, it must be finite and >= 0"),
    ({"bid": [[1.0, np.inf], [3.0, 1.0]]}, r"bid\[0, 1\] is inf"),
    ({"bid": [[1.0, 2.0], [-3.0, 1.0]]}, r"bid\[1, 0\] is -3"),
    ({"quality": [[1.0, 0.0], [1.0, 1.0]]}, r"quality\[0, 1\] is 0.0, it must be finite and > 0"),
    ({"quality": [[1.0, 1.0], [np.nan, 1.0]]}, r"quality\[1, 0\] is nan"),
    ({"quality": [[1.0, 1.0]]}, r"quality has shape \(1, 2\)"),
    ({"bid": [1.0, 2.0], "quality": [1.0, 1.0]}, r"bid has shape \(2,\), it must be \(n, k\)"),
    ({"reserve": -0.5}, r"reserve is -0.5"),
    ({"reserve": [[0.0, 0.0], [0.0, np.nan]]}, r"reserve\[1, 1\] is nan"),
    ({"reserve": [0.1, 0.2]}, r"reserve has shape \(2,\)"),
    ({"n_slots": 0}, "n_slots is 0"),
    ({"n_slots": 1.5}, "n_slots is 1.5"),
    ({"squash": np.nan}, "squash is nan"),
    ({"squash": -1.0}, "squash is -1"),
]


@every_rule
@pytest.mark.parametrize(("wrong", "words"), REFUSED)
def test_what_is_no_market_is_refused_with_name_place_value_and_rule(rule, wrong, words):
    right = {"bid": [[1.0, 2.0], [3.0, 1.0]], "quality": [[1.0, 1.0], [1.0, 1.0]], "n_slots": 1}

    with pytest.raises(ValueError, match=words):
        rule(**(right | wrong))


@every_rule
def test_arguments_are_not_written_to(rule):
    bid, quality, reserve = np.array([[1.0, 3.0]]), np.array([[0.5, 0.2]]), np.array([[0.1, 4.0]])

    rule(bid, quality, n_slots=2, reserve=reserve, squash=0.5)

    assert (bid.tolist(), quality.tolist(), reserve.tolist()) == ([[1.0, 3.0]], [[0.5, 0.2]], [[0.1, 4.0]])
