"""Pricing: all kinds of advertisers compete by what an examined impression brings."""

import numpy as np
import pytest

from auction import gsp
from auction.pricing import Pricing, competing_bids

CPM, CPC, CPA, OCPM = range(4)
PRICING = np.array([Pricing.CPC, Pricing.CPM, Pricing.CPA, Pricing.OCPM], np.int32)
BID_USD = np.array([2.0, 0.035, 50.0, 30.0])
CAMPAIGN = np.array([[0, 1, 2, 3, -1]], np.int32)
PCTR = np.array([[0.02, 0.5, 0.01, 0.02, 0.9]], np.float32)
PCVR = np.array([[0.7, 0.3, 0.1, 0.05, 0.9]], np.float32)


def bids(multiplier=(1.0, 1.0, 1.0, 1.0), active=(True, True, True, True)):
    return competing_bids(CAMPAIGN, PRICING, BID_USD, np.array(multiplier), np.array(active), PCTR, PCVR)


def test_each_kind_has_the_bid_and_the_probability_of_its_billable_event():
    bid, quality = bids()

    assert bid[0] == pytest.approx([2.0, 0.035, 50.0, 30.0 * 0.02 * 0.05, 0.0], rel=1e-6)
    assert quality[0] == pytest.approx([0.02, 1.0, 0.01 * 0.1, 1.0, 1.0], rel=1e-6)


def test_scores_are_usd_per_examined_impression_for_all_kinds():
    bid, quality = bids()

    assert (bid * quality * 1000)[0] == pytest.approx([40.0, 35.0, 50.0, 30.0, 0.0], rel=1e-6)


def test_the_mixed_auction_worked_out_by_hand():
    """eCPM 50 (CPA), 40 (CPC), 35 (CPM), 30 (oCPM): 40 / 1000 / 0.001 = 40 per order, 1.75 per click, 0.03 a view."""
    bid, quality = bids()

    out = gsp(bid, quality, n_slots=4)

    assert out.winner.tolist() == [[2, 0, 1, 3]]
    assert out.price_micros[0] == pytest.approx([40e6, 1.75e6, 0.03e6, 0.0], rel=1e-6)


def test_the_multiplier_scales_the_bid_and_leaves_the_probability():
    bid, quality = bids(multiplier=(0.5, 0.25, 1.0, 0.1))

    assert bid[0] == pytest.approx([1.0, 0.00875, 50.0, 0.003, 0.0], rel=1e-6)
    assert np.array_equal(quality, bids()[1])


def test_a_campaign_that_cannot_pay_and_an_absent_candidate_do_not_compete():
    bid, quality = bids(active=(False, True, False, True))

    assert (bid[0] == 0).tolist() == [True, False, True, False, True]
    assert quality[0, 4] == 1.0
    assert gsp(bid, quality, n_slots=4).winner.tolist() == [[1, 3, -1, -1]]


def test_an_event_that_is_predicted_never_to_happen_does_not_compete():
    bid, quality = competing_bids(
        CAMPAIGN, PRICING, BID_USD, np.ones(4), np.ones(4, bool), np.zeros_like(PCTR), PCVR
    )  # fmt: skip

    assert bid[0].tolist() == [0.0, 0.035, 0.0, 0.0, 0.0]
    assert gsp(bid, quality, n_slots=4).winner.tolist() == [[1, -1, -1, -1]]


def test_kinds_are_numbered_in_the_order_of_the_scenario_value_coming_last():
    assert [kind.name for kind in Pricing] == ["CPM", "CPC", "CPA", "OCPM", "VALUE"]
    assert [int(kind) for kind in Pricing][:4] == [CPM, CPC, CPA, OCPM]


def test_requests_with_other_campaigns_and_predictions_do_not_mix():
    campaign = np.array([[2, 0], [0, 3], [1, 2]], np.int32)
    pctr = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32)
    pcvr = pctr / 2

    whole = competing_bids(campaign, PRICING, BID_USD, np.ones(4), np.ones(4, bool), pctr, pcvr)

    for i in range(3):
        alone = competing_bids(
            campaign[[i]], PRICING, BID_USD, np.ones(4), np.ones(4, bool), pctr[[i]], pcvr[[i]]
        )  # fmt: skip
        assert np.array_equal(alone[0][0], whole[0][i])
        assert np.array_equal(alone[1][0], whole[1][i])


def test_a_campaign_that_is_none_is_refused():
    one = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"campaign\[0, 1\] is 3, it must be >= -1 and < 3"):
        competing_bids(
            np.array([[0, 3]], np.int32), np.zeros(3, np.int32), np.ones(3), np.ones(3), np.ones(3, np.bool_), one, one
        )
