"""Twenty-eight laws of ad auctions, for every mechanism that they concern; a new one joins by one line in RULES.

Each law states the formula that it tests. b, q, r and u are bid, quality, reserve and user value of a candidate, w = q^squash,
score = b w + u, a(i) the effect of slot i with a(s) = 0, and t(i) = max(r, (score of the (i + 1)th best - u) / w) the least bid
that wins slot i or better.
"""

from collections.abc import Callable
from itertools import pairwise, permutations
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from auction import Allocation, clear, first_price, gsp, second_price, to_micros, vcg, vcg_matrix

FINE = 2.0**20  # a matrix of values this much larger is priced to 1e-12 USD


class Market(NamedTuple):
    """One auction after the other, without budgets."""

    bid: np.ndarray  # (n, k) USD per billable event
    quality: np.ndarray  # (n, k)
    reserve: np.ndarray  # (n, k)
    user: np.ndarray  # (n, k) user value
    effect: np.ndarray  # (s,)
    squash: float

    @property
    def weight(self) -> np.ndarray:
        return self.quality**self.squash

    @property
    def score(self) -> np.ndarray:
        return self.bid * self.weight + self.user

    @property
    def able(self) -> np.ndarray:
        """(n, k) who may be shown: b > 0, b >= r, score >= 0."""
        return (self.bid > 0) & (self.bid >= self.reserve) & (self.score >= 0)

    def having(self, j: int, bid: float) -> "Market":
        """The same market with another bid of candidate j in the first auction."""
        changed = self.bid.copy()
        changed[0, j] = bid
        return self._replace(bid=changed)


class Rule(NamedTuple):
    """A mechanism, and what of a market it knows."""

    name: str
    run: Callable[[Market], Allocation]
    fits: Callable[[Market], Market] = lambda market: market
    slack: int = 0  # micros by which rounding may part two prices that are equal
    pays: str = "threshold"  # "bid", "threshold" or "vcg"


def _plain(rule):
    return lambda m: rule(
        m.bid, m.quality, n_slots=len(m.effect), reserve=m.reserve, squash=m.squash, user_value=m.user
    )


def _cleared(mechanism):
    def run(m: Market) -> Allocation:
        out = clear(
            m.bid, m.quality, np.arange(m.bid.shape[1]), [10**15] * m.bid.shape[1], n_slots=len(m.effect),
            mechanism=mechanism, reserve=m.reserve, squash=m.squash, user_value=m.user, slot_effect=m.effect,
        )  # fmt: skip
        return Allocation(winner=out.winner, price_micros=out.price_micros)

    return run


def _matrix(m: Market) -> Allocation:
    """Values per impression in, prices per event out."""
    seen = (m.quality[:, :, None] * m.effect) * FINE
    out = vcg_matrix(
        m.bid[:, :, None] * seen, reserve=m.reserve[:, :, None] * seen,
        user_value=m.user[:, :, None] * (m.effect * FINE),
    )  # fmt: skip
    chance = np.pad(seen, ((0, 0), (0, 1), (0, 0)), constant_values=1.0)  # an empty slot's column is the last
    per_event = out.price_micros / chance[np.arange(len(m.bid))[:, None], out.winner, np.arange(len(m.effect))]
    return Allocation(winner=out.winner, price_micros=np.floor(per_event + 1e-6).astype(np.int64))


def _one_slot(m: Market) -> Market:
    return m._replace(effect=m.effect[:1], squash=1.0)


def _unsquashed(m: Market) -> Market:
    return m._replace(squash=1.0)


def _strictly_falling(m: Market) -> Market:
    """Without a unique order of slots a matrix of values has no best slot."""
    return m._replace(squash=1.0, effect=np.maximum(m.effect, 0.1) * 0.9 ** np.arange(len(m.effect)))


RULES = [
    Rule("first_price", _plain(first_price), pays="bid"),
    Rule("gsp", _plain(gsp)),
    Rule(
        "second_price",
        lambda m: second_price(m.bid, m.quality, reserve=m.reserve, user_value=m.user),
        _one_slot,
        pays="vcg",
    ),
    Rule(
        "vcg",
        lambda m: vcg(m.bid, m.quality, slot_effect=m.effect, reserve=m.reserve, user_value=m.user),
        _unsquashed,
        pays="vcg",
    ),
    Rule("vcg_matrix", _matrix, _strictly_falling, slack=1, pays="vcg"),
    Rule("clear first_price", _cleared("first_price"), pays="bid"),
    Rule("clear gsp", _cleared("gsp")),
    Rule("clear vcg", _cleared("vcg"), _unsquashed, pays="vcg"),
]


def of(rules: list[Rule]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rule", rules, ids=[rule.name for rule in rules])


every_rule = of(RULES)
own_bid_is_no_price = of([rule for rule in RULES if rule.pays != "bid"])
pays_own_bid = of([rule for rule in RULES if rule.pays == "bid"])
pays_threshold = of([rule for rule in RULES if rule.pays == "threshold" or rule.name == "second_price"])
truthful = of([rule for rule in RULES if rule.pays == "vcg"])

cents = st.integers(0, 12).map(lambda cent: cent / 100)
dollars = st.floats(1e-3, 50.0)
qualities = st.sampled_from([0.01, 0.02, 0.05, 0.5, 1.0]) | st.floats(1e-2, 1.0)
user_values = st.sampled_from([0.0, 0.0, -0.02, 0.01, 0.3]) | st.floats(-0.2, 0.2)
falls = st.sampled_from([1.0, 1.0, 0.8, 0.5, 0.3, 0.0])


@st.composite
def markets(draw, most: int = 2, bids: st.SearchStrategy[float] = cents | dollars, least: int = 1) -> Market:
    """Up to `most` auctions of up to 5 candidates; cents and round qualities make ties and bids at the reserve common."""
    n, k, s = draw(st.integers(1, most)), draw(st.integers(least, 5)), draw(st.integers(1, 4))

    def table(values: st.SearchStrategy[float]) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n * k, max_size=n * k))).reshape(n, k)

    return Market(
        bid=table(bids),
        quality=table(qualities),
        reserve=table(cents) if draw(st.booleans()) else np.full((n, k), draw(cents)),
        user=table(user_values) if draw(st.booleans()) else np.zeros((n, k)),
        effect=np.cumprod([1.0, *draw(st.lists(falls, min_size=s - 1, max_size=s - 1))]),
        squash=draw(st.sampled_from([1.0, 0.5, 0.0])),
    )


single = markets(most=1)
distinct = markets(most=1, bids=dollars, least=2)


def own(table: np.ndarray, out: Allocation) -> np.ndarray:
    """The winners' entries, flat; empty slots are left out."""
    row, slot = np.nonzero(out.winner >= 0)
    return table[row, out.winner[row, slot]]


def slot_of(out: Allocation, j: int) -> int | None:
    """The slot of candidate j in the first auction."""
    slots = np.flatnonzero(out.winner[0] == j)
    return int(slots[0]) if len(slots) else None


def far_apart(score: np.ndarray) -> bool:
    return len(score) < 2 or bool((np.diff(np.sort(score)) > 1e-6 * np.abs(score).max()).all())


@every_rule
@given(market=markets())
def test_law_01_slots_are_filled_without_gaps(rule, market):
    """Slots filled = min(s, candidates with b > 0, b >= r, score >= 0), from the top, nobody twice."""
    market = rule.fits(market)
    winner = rule.run(market).winner

    assert np.array_equal((winner >= 0).sum(axis=1), np.minimum(market.able.sum(axis=1), len(market.effect)))
    assert (np.diff((winner < 0).astype(int), axis=1) >= 0).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in winner)


@every_rule
@given(market=single, j=st.integers(0, 4))
def test_law_02_a_bid_equal_to_the_reserve_sells(rule, market, j):
    """Alone with b = r > 0: shown; with b a unit of the last place below r: not."""
    market = rule.fits(market._replace(user=np.zeros_like(market.user)))
    j %= market.bid.shape[1]
    reserve = market.reserve[0, j] + 0.01
    alone = market._replace(bid=np.zeros_like(market.bid), reserve=np.full_like(market.reserve, reserve))

    assert slot_of(rule.run(alone.having(j, reserve)), j) == 0
    assert slot_of(rule.run(alone.having(j, np.nextafter(reserve, 0) - 1e-15)), j) is None


@every_rule
@given(market=markets())
def test_law_03_nobody_pays_more_than_the_bid(rule, market):
    """price <= b; an empty slot costs 0."""
    market = rule.fits(market)
    out = rule.run(market)

    assert (out.price_micros[out.winner >= 0] <= to_micros(own(market.bid, out))).all()
    assert (out.price_micros[out.winner < 0] == 0).all()
    assert out.price_micros.dtype == np.int64


@every_rule
@given(market=markets())
def test_law_04_nobody_pays_less_than_the_reserve(rule, market):
    """price >= r."""
    market = rule.fits(market)
    out = rule.run(market)

    assert (out.price_micros[out.winner >= 0] >= to_micros(own(market.reserve, out)) - rule.slack).all()


@every_rule
@given(market=markets())
def test_law_05_slots_go_in_order_of_score(rule, market):
    """score(slot 0) >= score(slot 1) >= ... >= every loser's score; of equal scores the lower candidate comes first."""
    market = rule.fits(market)
    for row, score, able in zip(rule.run(market).winner, market.score, market.able, strict=True):
        best = sorted(np.flatnonzero(able), key=lambda j: (-score[j], j))[: len(row)]
        shown = row[row >= 0]
        if rule.slack:
            assert score[shown] == pytest.approx(score[best], rel=1e-9, abs=1e-12)
        else:
            assert shown.tolist() == best


@every_rule
@given(market=single, j=st.integers(0, 4), factor=st.floats(1.0, 5.0))
def test_law_06_a_higher_bid_never_gets_a_lower_slot(rule, market, j, factor):
    """slot(b') <= slot(b) for b' >= b."""
    market = rule.fits(market)
    j %= market.bid.shape[1]
    before = slot_of(rule.run(market), j)
    after = slot_of(rule.run(market.having(j, market.bid[0, j] * factor)), j)

    assert before is None or (after is not None and after <= before)


@own_bid_is_no_price
@given(market=single, j=st.integers(0, 4), factor=st.floats(0.5, 2.0))
def test_law_07_the_own_bid_does_not_set_the_own_price(rule, market, j, factor):
    """slot(b') = slot(b) implies price(b') = price(b)."""
    market = rule.fits(market)
    j %= market.bid.shape[1]
    before, after = rule.run(market), rule.run(market.having(j, market.bid[0, j] * factor))
    slot = slot_of(before, j)
    assume(slot is not None and slot_of(after, j) == slot)

    assert abs(after.price_micros[0, slot] - before.price_micros[0, slot]) <= rule.slack


@pays_own_bid
@given(market=markets())
def test_law_08_first_price_pays_the_bid_exactly(rule, market):
    """price = b, to the micro."""
    out = rule.run(market)

    assert np.array_equal(out.price_micros[out.winner >= 0], to_micros(own(market.bid, out)))


@own_bid_is_no_price
@given(market=markets())
def test_law_09_with_one_slot_all_rules_are_second_price(rule, market):
    """s = 1: GSP = VCG = max(r, second score / q), the second score being 0 where there is none."""
    market = rule.fits(_one_slot(market))
    out = rule.run(market)
    same = second_price(market.bid, market.quality, reserve=market.reserve, user_value=market.user)

    for i, (score, able) in enumerate(zip(market.score, market.able, strict=True)):
        if able.any():
            j = out.winner[i, 0]
            second = np.append(np.sort(score[able]), 0.0)[-3] if able.sum() > 1 else 0.0
            price = max(market.reserve[i, j], (second - market.user[i, j]) / market.quality[i, j])
            assert out.price_micros[i, 0] == pytest.approx(price * 1e6, rel=1e-9, abs=1.01)
    assert np.abs(out.price_micros - same.price_micros).max() <= rule.slack
    if rule.slack == 0:
        assert np.array_equal(out.winner, same.winner)


@truthful
@given(market=markets())
def test_law_10_gsp_charges_no_less_than_vcg(rule, market):
    """price GSP >= price VCG for every ad, with equality in the last slot."""
    market = rule.fits(market)
    low, high = rule.run(market), _plain(gsp)(market)
    assume(np.array_equal(low.winner, high.winner))

    assert (high.price_micros >= low.price_micros - rule.slack).all()
    assert (np.abs(high.price_micros - low.price_micros)[:, -1] <= rule.slack).all()


@pays_threshold
@given(market=single, j=st.integers(0, 4))
def test_law_11_the_gsp_price_is_the_critical_bid(rule, market, j):
    """Bidding the price, rounded up, keeps the slot; bidding a micro less than the price loses it."""
    market = rule.fits(market)
    j %= market.bid.shape[1]
    out = rule.run(market)
    slot = slot_of(out, j)
    assume(slot is not None)
    price = int(out.price_micros[0, slot])

    kept = slot_of(rule.run(market.having(j, (price + 2) / 1e6)), j)
    lost = slot_of(rule.run(market.having(j, max(price - 1, 0) / 1e6)), j)

    assert kept is not None and kept <= slot
    assert lost is None or lost > slot


@every_rule
@given(market=markets(), power=st.integers(0, 16))
def test_law_12_money_has_no_unit(rule, market, power):
    """(b, r, u) x c: the same winners, prices x c; exactly so for c = 2^p, before micros are rounded down."""
    market = rule.fits(market)
    c = 2.0**power
    out = rule.run(market)
    larger = rule.run(market._replace(bid=market.bid * c, reserve=market.reserve * c, user=market.user * c))

    assert np.array_equal(larger.winner, out.winner)
    assert (np.abs((larger.price_micros >> power) - out.price_micros) <= rule.slack).all()


@every_rule
@given(market=distinct, seed=st.randoms(use_true_random=False))
def test_law_13_candidates_have_no_order(rule, market, seed):
    """Permuted candidates, with distinct scores: the permuted winners at the same prices."""
    market = rule.fits(market)
    assume(far_apart(market.score[0]))
    order = list(range(market.bid.shape[1]))
    seed.shuffle(order)
    out = rule.run(market)
    shuffled = rule.run(market._replace(**{
        name: getattr(market, name)[:, order] for name in ("bid", "quality", "reserve", "user")
    }))  # fmt: skip

    assert [order[j] if j >= 0 else -1 for j in shuffled.winner[0]] == out.winner[0].tolist()
    assert (np.abs(shuffled.price_micros - out.price_micros) <= rule.slack).all()


@every_rule
@given(market=markets(), power=st.integers(-5, 5))
def test_law_14_quality_has_no_unit(rule, market, power):
    """q x c^2 and u x c^(2 squash): the same winners at the same prices."""
    market = rule.fits(market)
    scaled = market._replace(quality=market.quality * 4.0**power, user=market.user * 4.0 ** (power * market.squash))
    assume(np.array_equal(scaled.weight, market.weight * 4.0 ** (power * market.squash)))
    out, again = rule.run(market), rule.run(scaled)

    assert np.array_equal(again.winner, out.winner)
    assert (np.abs(again.price_micros - out.price_micros) <= rule.slack).all()


@every_rule
@given(market=single, pick=st.integers(0, 4), share=st.floats(0.0, 1.0))
def test_law_15_raising_a_losers_bid_never_lowers_a_price(rule, market, pick, share):
    """Loser's b' >= b, and the same winners: every price' >= price."""
    market = rule.fits(market)
    out = rule.run(market)
    losers = np.setdiff1d(np.arange(market.bid.shape[1]), out.winner[0])
    assume(len(losers))
    j = losers[pick % len(losers)]
    last = out.winner[0, -1]
    reach = (market.score[0, last] - market.user[0, j]) / market.weight[0, j] if last >= 0 else 2 * market.bid[0, j]
    raised = rule.run(market.having(j, market.bid[0, j] + share * max(reach - market.bid[0, j], 0.0)))
    assume(np.array_equal(raised.winner, out.winner))

    assert (raised.price_micros >= out.price_micros - rule.slack).all()


@own_bid_is_no_price
@given(market=single, j=st.integers(0, 4))
def test_law_16_alone_one_pays_the_reserve(rule, market, j):
    """Nobody else: price = max(r, -u / w), which is r where the ad does not harm the user."""
    market = rule.fits(market)
    j %= market.bid.shape[1]
    bid = market.bid[0, j]
    alone = market._replace(bid=np.zeros_like(market.bid)).having(j, bid)
    assume(alone.able[0, j])
    out = rule.run(alone)

    floor = max(market.reserve[0, j], -market.user[0, j] / market.weight[0, j])
    assert slot_of(out, j) == 0
    assert out.price_micros[0, 0] == pytest.approx(float(to_micros(min(floor, bid))), abs=rule.slack)


def _utility(rule: Rule, market: Market, j: int, value: float) -> float:
    """a q (value - price) of candidate j, USD per request."""
    out = rule.run(market)
    slot = slot_of(out, j)
    if slot is None:
        return 0.0
    return market.effect[slot] * market.quality[0, j] * (value - out.price_micros[0, slot] / 1e6)


@truthful
@given(market=single, j=st.integers(0, 4), lie=dollars)
def test_law_17_under_vcg_the_truth_is_best(rule, market, j, lie):
    """a q (v - price) is largest at b = v, against any bid and against those next to where the slot changes."""
    market = rule.fits(market)
    j %= market.bid.shape[1]
    value = market.bid[0, j]
    steps = (market.score[0] - market.user[0, j]) / market.weight[0, j]
    honest = _utility(rule, market, j, value)

    for bid in [lie, *(steps[steps > 0] + 1e-5), *(steps[steps > 2e-5] - 1e-5)]:
        assert _utility(rule, market.having(j, bid), j, value) <= honest + 3e-6


@truthful
@given(market=single, j=st.integers(0, 4))
def test_law_18_the_vcg_price_is_myersons_integral(rule, market, j):
    """price = b - (1 / x(b)) x integral of x(z) dz from 0 to b, x being the slot effect that a bid z wins."""
    market = rule.fits(market)
    j %= market.bid.shape[1]
    out = rule.run(market)
    slot = slot_of(out, j)
    assume(slot is not None and market.effect[slot] > 0)
    bid, weight, user = market.bid[0, j], market.weight[0, j], market.user[0, j]
    steps = [market.reserve[0, j], -user / weight, *((market.score[0] - user) / weight)]
    points = np.unique(np.clip([0.0, *steps, bid], 0.0, bid))

    area = 0.0
    for low, high in pairwise(points):
        won = slot_of(rule.run(market.having(j, (low + high) / 2)), j)
        area += (high - low) * (market.effect[won] if won is not None else 0.0)

    assert out.price_micros[0, slot] / 1e6 == pytest.approx(bid - area / market.effect[slot], rel=1e-9, abs=2.1e-6)


@truthful
@given(market=single)
def test_law_19_vcg_maximises_welfare(rule, market):
    """sum of a(slot) x score over the winners is the largest over all assignments of candidates to slots."""
    market = rule.fits(market)
    able = np.flatnonzero(market.able[0])
    filled = min(len(able), len(market.effect))
    best = max(
        (float(market.effect[:filled] @ market.score[0, list(some)]) for some in permutations(able, filled)),
        default=0.0,
    )
    winner = rule.run(market).winner[0]
    shown = winner >= 0

    assert market.effect[shown] @ market.score[0, winner[shown]] == pytest.approx(best, rel=1e-9, abs=1e-12)


@of([rule for rule in RULES if rule.name != "second_price"])
@given(market=markets())
def test_law_20_a_slot_that_nobody_sees_changes_nothing(rule, market):
    """a(s) = 0 appended: the winners and prices of the other slots stay."""
    market = rule.fits(market)
    out = rule.run(market)
    more = rule.run(market._replace(effect=np.append(market.effect, 0.0)))

    assert np.array_equal(more.winner[:, :-1], out.winner)
    assert (np.abs(more.price_micros[:, :-1] - out.price_micros) <= rule.slack).all()


@of([rule for rule in RULES if rule.pays == "vcg" and rule.name != "second_price"])
@given(market=single)
def test_law_21_equal_slots_have_one_price(rule, market):
    """a constant, q = 1, one reserve: every price = max(r, the (s + 1)th bid)."""
    market = market._replace(
        quality=np.ones_like(market.bid), reserve=np.full_like(market.bid, market.reserve[0, 0]),
        user=np.zeros_like(market.bid), effect=np.ones_like(market.effect), squash=1.0,
    )  # fmt: skip
    out = rule.run(market)
    following = np.sort(market.bid[0][market.able[0]])[::-1][len(market.effect) :]
    price = max([market.reserve[0, 0], *following[:1]])

    assert (np.abs(out.price_micros[out.winner >= 0] - to_micros(price)) <= rule.slack).all()


@every_rule
@given(market=markets(), rise=st.floats(0.0, 1.0))
def test_law_22_a_higher_reserve_never_raises_sales(rule, market, rise):
    """r' >= r: slots filled' <= slots filled."""
    market = rule.fits(market)
    fewer = rule.run(market._replace(reserve=market.reserve + rise * market.bid.mean()))

    assert ((fewer.winner >= 0).sum(axis=1) <= (rule.run(market).winner >= 0).sum(axis=1)).all()


@every_rule
@given(market=markets())
def test_law_23_a_mechanism_is_a_pure_function(rule, market):
    """The arguments stay as they were, twice the same gives twice the same, and auctions of a batch do not meet."""
    market = rule.fits(market)
    before = [np.copy(part) for part in market]
    out, again = rule.run(market), rule.run(market)

    assert all(np.array_equal(a, b) for a, b in zip(market, before, strict=True))
    assert np.array_equal(out.winner, again.winner) and np.array_equal(out.price_micros, again.price_micros)
    for i in range(len(market.bid)):
        alone = rule.run(Market(*(part[[i]] for part in market[:4]), *market[4:]))
        assert np.array_equal(alone.winner[0], out.winner[i])
        assert np.array_equal(alone.price_micros[0], out.price_micros[i])


@of([rule for rule in RULES if rule.pays == "bid" or rule.name in ("gsp", "clear gsp")])
@given(market=single)
def test_law_24_squash_goes_from_rank_by_bid_to_rank_by_revenue(rule, market):
    """squash 0: as if q = 1 for all; squash 1: rank by b q, price (next score) / q."""
    market = market._replace(user=np.zeros_like(market.user))
    by_bid = rule.run(market._replace(squash=0.0))
    as_if = rule.run(market._replace(quality=np.ones_like(market.quality)))
    by_revenue = rule.run(market._replace(squash=1.0))

    assert np.array_equal(by_bid.winner, as_if.winner) and np.array_equal(by_bid.price_micros, as_if.price_micros)
    revenue = market.bid[0] * market.quality[0]
    shown = by_revenue.winner[0][by_revenue.winner[0] >= 0]
    assert (np.diff(revenue[shown]) <= 0).all()
    if rule.pays == "threshold":
        ranking = np.sort(revenue[market.able[0]])[::-1]
        for slot, j in enumerate(shown):
            following = ranking[slot + 1] if slot + 1 < len(ranking) else 0.0
            price = max(market.reserve[0, j], following / market.quality[0, j])
            assert by_revenue.price_micros[0, slot] == pytest.approx(price * 1e6, rel=1e-9, abs=1.01)


@every_rule
@given(
    market=single,
    name=st.sampled_from(["bid", "quality", "reserve", "user"]),
    wrong=st.sampled_from([np.nan, np.inf, -np.inf, -1.0]),
    j=st.integers(0, 4),
)
def test_law_25_nan_infinite_and_negative_are_refused(rule, market, name, wrong, j):
    """b, r >= 0 and q > 0 finite, u finite: anything else raises ValueError, naming argument and value."""
    assume(not (name == "user" and wrong == -1.0))
    market = rule.fits(market)
    table = getattr(market, name).copy()
    table[0, j % table.shape[1]] = wrong
    named = ("value", "reserve", "user_value") if rule.name == "vcg_matrix" else (name,)

    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="|".join(named)):
        rule.run(market._replace(**{name: table}))


@every_rule
@pytest.mark.parametrize(("n", "k"), [(0, 3), (2, 0), (2, 3)])
def test_law_26_an_empty_auction_sells_nothing(rule, n, k):
    """No requests, no candidates, or no bids: winner = -1 and price = 0 in every slot."""
    nothing = np.zeros((n, k))
    market = rule.fits(Market(nothing, nothing + 1.0, nothing, nothing, np.array([1.0, 0.5]), 1.0))
    out = rule.run(market)

    assert out.winner.tolist() == [[-1] * len(market.effect)] * n
    assert out.price_micros.tolist() == [[0] * len(market.effect)] * n


PUBLISHED = {
    # values, clicks per slot, total payments under GSP with truthful bids and under VCG
    "Edelman, Ostrovsky & Schwarz (2007), section I": ([10, 4, 2], [200, 100], [800, 200], [600, 200]),
    "Easley & Kleinberg (2010), section 15.3": ([3, 2, 1], [10, 5, 2], [20, 5, 0], [13, 3, 0]),
    "Easley & Kleinberg (2010), section 15.5": ([7, 6, 1], [10, 4], [60, 4], [40, 4]),
}


@own_bid_is_no_price
@pytest.mark.parametrize("source", PUBLISHED)
def test_law_27_published_examples_come_out(rule, source):
    """Payment of slot i = clicks(i) x price; GSP: clicks(i) b(i + 1), VCG: the others' loss."""
    value, clicks, under_gsp, under_vcg = PUBLISHED[source]
    bid = np.array([value], float)
    nothing = np.zeros_like(bid)
    market = Market(bid, nothing + 1.0, nothing, nothing, np.array(clicks, float), 1.0)
    if rule.name == "second_price":
        clicks, under_gsp, under_vcg = clicks[:1], [clicks[0] * value[1]], [clicks[0] * value[1]]
        market = rule.fits(market)
    out = rule.run(market)

    assert out.winner.tolist() == [list(range(len(clicks)))]
    expected = under_vcg if rule.pays == "vcg" else under_gsp
    assert (out.price_micros[0] * clicks).tolist() == [1_000_000 * usd for usd in expected]


@of([rule for rule in RULES if rule.name in ("gsp", "clear gsp")])
@given(market=distinct)
def test_law_28_the_envy_free_equilibrium_of_gsp_pays_vcg(rule, market):
    """Bids b(i) = VCG price of slot i - 1, b(0) = v(0): GSP ranks by value and charges VCG's prices; nobody envies a slot.

    a(i) (v(i) - p(i)) >= a(j) (v(i) - p(j)) for all i, j, in values and prices per unit of weight.
    """
    effect = np.cumprod(np.linspace(0.9, 0.5, len(market.effect)))
    value = market.bid * market.quality
    nothing = np.zeros_like(value)
    market = Market(value, nothing + 1.0, nothing, nothing, effect, 1.0)
    assume(far_apart(value[0]) and value.shape[1] > len(effect))
    truth = vcg(market.bid, market.quality, slot_effect=effect)
    price = truth.price_micros[0] / 1e6
    assume((np.diff(price) < -1e-5).all())

    bid = nothing.copy()
    last = np.argsort(-value[0])[len(effect)]
    bid[0, truth.winner[0]] = [value[0].max(), *price[:-1]]
    bid[0, last] = price[-1]
    out = rule.run(market._replace(bid=bid))

    assert np.array_equal(out.winner, truth.winner)
    assert np.abs(out.price_micros - truth.price_micros).max() <= 1
    for i, j in enumerate(out.winner[0]):
        gain = effect * (value[0, j] - price)
        assert gain[i] >= gain.max() - 2e-6
