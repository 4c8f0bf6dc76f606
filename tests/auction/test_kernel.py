"""Clearing with budgets: the kernel, its numpy twin, and an account kept by hand."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auction import clear, gsp
from auction.kernel import clear_plain
from auction.pacing import dual_descent, hard_stop, pace, pid, throttling, unpaced

PACERS = [
    unpaced(), dual_descent(step=3.0), pid(kp=0.1, ki=0.2, kd=0.05), pace(), throttling(step=2.0), hard_stop(),
]  # fmt: skip


@st.composite
def crowded_markets(draw):
    """Up to 25 auctions of up to 7 candidates of up to 4 campaigns, with budgets for some of them; arguments for `clear`."""
    n, k, s, c = draw(st.integers(1, 25)), draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    given_ = {
        "bid": rng.integers(0, 9, (n, k)) / 4 if draw(st.booleans()) else rng.random((n, k)) * 3,
        "quality": rng.choice([0.1, 0.2, 0.5, 1.0], (n, k)),
        "campaign": rng.integers(-1, c, (n, k)) if draw(st.booleans()) else rng.integers(-1, c, k),
        "budget_micros": rng.integers(0, 2_000_000 * draw(st.integers(1, n)), c),
        "n_slots": s,
        "mechanism": draw(st.sampled_from(["gsp", "first_price", "vcg"])),
        "squash": draw(st.sampled_from([1.0, 0.5, 0.0])),
        "slot_effect": np.sort(rng.choice([0.0, 0.3, 0.5, 1.0], s))[::-1],
        "pacer": draw(st.sampled_from(PACERS)),
        "every": draw(st.integers(1, 9)),
        "lottery": rng.random((n, k)),
    }
    if given_["mechanism"] == "vcg":
        given_["squash"] = 1.0
    if draw(st.booleans()):
        given_["draw"] = rng.random((n, s))
    if draw(st.booleans()):
        given_ |= {"reserve": rng.integers(0, 4, (n, k)) / 8, "user_value": rng.choice([0.0, 0.1, -0.1], (n, k))}
    return given_


@given(market=crowded_markets())
def test_the_kernel_and_its_twin_agree_to_the_micro(market):
    """Allocation, price, charges, budgets and multipliers are equal, not close."""
    kernel, twin = clear(**market), clear_plain(**market)

    for field in kernel.__slots__:
        assert np.array_equal(getattr(kernel, field), getattr(twin, field)), field


@given(market=crowded_markets())
def test_money_is_conserved_and_no_budget_is_overspent_at_any_time(market):
    """budget - sum of charges so far >= 0 after every auction, and = remaining at the end; charged <= due <= price."""
    out = clear(**market)
    campaign = np.broadcast_to(market["campaign"], market["bid"].shape)
    left = market["budget_micros"].copy()

    for i, winner in enumerate(out.winner):
        for slot, j in enumerate(winner):
            if j >= 0:
                assert left[campaign[i, j]] >= out.billed_micros[i, slot] >= 0
                left[campaign[i, j]] -= out.billed_micros[i, slot]
                assert out.unbilled_micros[i, slot] == 0 or left[campaign[i, j]] == 0
    assert np.array_equal(left, out.remaining_micros)
    due = out.billed_micros + out.unbilled_micros
    assert ((due == 0) | (due == out.price_micros)).all()


@given(market=crowded_markets())
def test_every_auction_is_the_mechanism_among_those_who_can_pay(market):
    """Replayed by hand: bids x multiplier of campaigns with money left, into the batch mechanism."""
    market |= {"mechanism": "gsp", "pacer": unpaced()}
    out = clear(**market)
    campaign = np.broadcast_to(market["campaign"], market["bid"].shape)
    left = np.append(market["budget_micros"], 0)

    for i in range(len(market["bid"])):
        bid = np.where(left[campaign[i]] > 0, market["bid"][i], 0.0)
        rest = {
            name: np.broadcast_to(market.get(name, 0.0), market["bid"].shape)[[i]] for name in ("reserve", "user_value")
        }
        alone = gsp(bid[None], market["quality"][[i]], n_slots=market["n_slots"], squash=market["squash"], **rest)
        assert np.array_equal(alone.winner[0], out.winner[i])
        assert np.array_equal(alone.price_micros[0], out.price_micros[i])
        np.subtract.at(left, campaign[i, out.winner[i]], np.where(out.winner[i] >= 0, out.billed_micros[i], 0))


def test_a_campaign_that_cannot_pay_is_out_at_the_next_auction_and_its_last_charge_is_clipped():
    """Price 4; a budget of 10 pays 4, 4, 2 of 4; then the second pays the reserve."""
    out = clear([[9.0, 4.0]] * 4, np.ones((4, 2)), [0, 1], [10_000_000, 50_000_000], n_slots=1, reserve=1.0)

    assert out.winner.ravel().tolist() == [0, 0, 0, 1]
    assert out.billed_micros.ravel().tolist() == [4_000_000, 4_000_000, 2_000_000, 1_000_000]
    assert out.unbilled_micros.ravel().tolist() == [0, 0, 2_000_000, 0]
    assert out.remaining_micros.tolist() == [0, 49_000_000]


def test_two_slots_won_by_one_campaign_share_what_it_has_left():
    out = clear([[3.0, 2.0]], np.ones((1, 2)), [0, 0], [4_000_000], n_slots=2, mechanism="first_price")

    assert out.billed_micros.tolist() == [[3_000_000, 1_000_000]]
    assert out.unbilled_micros.tolist() == [[0, 1_000_000]]


def test_an_event_happens_where_the_draw_is_below_quality_times_slot_effect():
    out = clear(
        [[2.0, 2.0]] * 3, [[0.5, 0.5]] * 3, [0, 1], [10**9] * 2, n_slots=2, mechanism="first_price",
        slot_effect=[1.0, 0.5], draw=[[0.4, 0.4], [0.4, 0.2], [0.5, 0.25]],
    )  # fmt: skip

    assert out.billed_micros.tolist() == [[2_000_000, 0], [2_000_000, 2_000_000], [0, 0]]
    assert (out.price_micros == 2_000_000).all()


def test_pacing_follows_the_plan():
    """Spend 1 of 10 in each of 4 intervals of one auction: behind a plan of 1/4, mu stays 0; ahead of 1/20, mu = 2 x 0.05."""
    arguments = np.ones((4, 1)), np.ones((4, 1)), [0], [10_000_000]
    rule = {"n_slots": 1, "mechanism": "first_price", "every": 1, "pacer": dual_descent(step=2.0)}
    slow, fast = clear(*arguments, **rule), clear(*arguments, **rule, plan=[0.05, 0.05, 0.1, 0.1])

    assert slow.multiplier.ravel().tolist() == [1.0] * 4
    assert fast.multiplier.ravel()[:2] == pytest.approx([1.0, 1 / 1.1])


def test_a_throttled_campaign_takes_part_by_lot_with_its_whole_bid():
    pacer = throttling(step=1.0, lowest=0.5)
    rule = {"n_slots": 1, "mechanism": "first_price", "every": 1, "pacer": pacer, "plan": [0.0] * 3}
    out = clear(np.ones((3, 1)), np.ones((3, 1)), [0], [2_000_000], **rule, lottery=[[0.9], [0.49], [0.51]])

    assert out.multiplier.ravel().tolist() == [1.0, 0.5, 0.5]
    assert out.winner.ravel().tolist() == [0, 0, -1]
    assert out.price_micros.ravel().tolist() == [1_000_000, 1_000_000, 0]


def test_markets_on_threads_come_out_as_one_after_the_other():
    rng = np.random.default_rng(7)
    markets = [
        (rng.random((3_000, 20)), rng.uniform(0.1, 1, (3_000, 20)), rng.integers(0, 50, (3_000, 20)), [20_000_000] * 50)
        for _ in range(4)
    ]
    rule = {"n_slots": 4, "pacer": dual_descent(step=2.0), "every": 100}
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda market: clear(*market, **rule), markets))

    for market, out in zip(markets, together, strict=True):
        assert np.array_equal(out.billed_micros, clear(*market, **rule).billed_micros)


def test_the_arguments_stay_as_they_were():
    budget = np.array([5_000_000])
    clear(np.ones((9, 1)), np.ones((9, 1)), [0], budget, n_slots=1, mechanism="first_price")

    assert budget.tolist() == [5_000_000]


REFUSED = [
    ({"bid": [[1.0, 1.0], [1.0, np.nan]]}, r"bid\[1, 1\] is nan"),
    ({"bid": [[1.0, 1.0], [1.0, 1e13]]}, r"bid\[1, 1\] is 10000000000000.0, it must be finite and >= 0 and <= 9e\+12"),
    ({"bid": [1.0, 1.0]}, r"bid has shape \(2,\)"),
    ({"quality": [[1.0, 1.0], [1.0, 0.0]]}, r"quality\[1, 1\] is 0"),
    ({"reserve": [[0.0, 0.0], [-1.0, 0.0]]}, r"reserve\[1, 0\] is -1"),
    ({"reserve": [0.0, 0.0]}, r"reserve has shape \(2,\)"),
    ({"user_value": np.inf}, "user_value"),
    ({"campaign": [0, 2]}, r"campaign\[0, 1\] is 2"),
    ({"campaign": [0, -2]}, r"campaign\[0, 1\] is -2"),
    ({"campaign": [0.0, 1.0]}, "campaign has shape"),
    ({"campaign": [0]}, "campaign has shape"),
    ({"budget_micros": [1, -1]}, "budget_micros"),
    ({"budget_micros": [1.5, 1.0]}, "budget_micros"),
    ({"n_slots": 0}, "n_slots is 0"),
    ({"every": 0}, "every is 0"),
    ({"mechanism": "vickrey"}, "mechanism is 'vickrey', it must be one of gsp, first_price, vcg"),
    ({"slot_effect": [1.0, 0.5]}, "slot_effect has 2 slots"),
    ({"draw": [[0.5]]}, r"draw has shape \(1, 1\)"),
    ({"plan": [0.5, 0.5]}, r"plan has shape \(2,\)"),
    ({"squash": -1.0}, "squash is -1"),
    ({"squash": 1.5}, "squash is 1.5"),
    ({"squash": 0.5, "mechanism": "vcg"}, "squash is 0.5, under vcg it must be 1"),
    ({"pacer": throttling(step=1.0)}, r"lottery has shape \(\)"),
    ({"pacer": throttling(step=1.0), "lottery": [[0.5, np.nan]] * 2}, r"lottery\[0, 1\] is nan"),
    ({"pacer": throttling(step=1.0), "lottery": np.ones((2, 2)), "campaign": [0, 2]}, r"campaign\[0, 1\] is 2"),
    ({"budget_micros": np.array([2**63, 1], np.uint64)}, "budget_micros"),
]


@pytest.mark.parametrize("run", [clear, clear_plain])
@pytest.mark.parametrize(("wrong", "words"), REFUSED)
def test_what_is_no_market_is_refused_with_name_place_and_value(run, wrong, words):
    right = {"bid": np.ones((2, 2)), "quality": np.ones((2, 2)), "campaign": [0, 1], "budget_micros": [10**9, 10**9]}

    with pytest.raises(ValueError, match=words):
        run(**(right | {"n_slots": 1} | wrong))


def test_under_throttling_campaign_minus_1_competes_nowhere():
    nobody = np.empty(0, np.int64)
    out = clear([[1.0]], [[1.0]], [[-1]], nobody, n_slots=1, pacer=throttling(step=1.0), lottery=[[0.5]], every=1.0)

    assert out.winner.tolist() == [[-1]]
