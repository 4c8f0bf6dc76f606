"""Pricing: what an advertiser is billed for, and the bid and quality that let all kinds compete in one auction."""

from enum import IntEnum

import numpy as np
from numba import njit

from auction.checks import index
from auction.types import BoolArray, Float32Array, FloatArray, IdArray


class Pricing(IntEnum):
    """What an advertiser is billed for."""

    CPM = 0  # an impression
    CPC = 1  # a click
    CPA = 2  # an attributed conversion
    OCPM = 3  # an impression, at a bid that aims at conversions
    VALUE = 4  # an impression, at a bid that aims at the value of conversions (ROAS)


def ecpm(bid: FloatArray, probability: FloatArray) -> FloatArray:
    """USD per thousand examined impressions, of a bid or price in USD per billable event with that probability."""
    return 1000.0 * bid * probability


def per_event(ecpm: FloatArray, probability: FloatArray) -> FloatArray:
    """USD per billable event: the inverse of `ecpm`."""
    return ecpm / (1000.0 * probability)


def competing_bids(
    campaign: IdArray,
    pricing: IdArray,
    bid_usd: FloatArray,
    multiplier: FloatArray,
    active: BoolArray,
    pctr: Float32Array,
    pcvr: Float32Array,
    pvalue: Float32Array | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Bid per billable event and probability of that event given examination.

    CPM: (bid, 1). CPC: (bid, pctr). CPA: (bid, pctr pcvr). oCPM: (target pctr pcvr, 1). Value: (bid pctr pcvr pvalue, 1). The
    score, bid x probability, is USD per examined impression for all of them.

    Args:
        campaign: (n, k) campaign of each candidate, -1 where there is none.
        pricing: (c,) a `Pricing` per campaign.
        bid_usd: (c,) USD per impression, click or conversion; the target per conversion for oCPM; for value, USD per USD of
            conversion value, the inverse of the target ROAS.
        multiplier: (c,) pacing multiplier.
        active: (c,) False for a campaign that cannot pay; it bids 0.
        pctr: (n, k) predicted click probability given examination.
        pcvr: (n, k) predicted conversion probability given click.
        pvalue: (n, k) predicted USD of a conversion; for value pricing.

    Returns:
        bid and quality, each (n, k); the bid is 0 and the quality 1 where nobody competes, which is also where the billable
        event is predicted never to happen: no price per event could be worked out.

    Raises:
        ValueError: If a campaign is none of those priced, or is priced by value and `pvalue` is not given.
    """
    index("campaign", campaign, low=-1, stop=len(pricing))
    if pvalue is None:
        if (pricing == Pricing.VALUE).any():
            raise ValueError("pvalue is None, it must be given where a campaign is priced by value")
        pvalue = pcvr
    bid = np.zeros(campaign.shape)
    quality = np.ones(campaign.shape)
    _competing_bids(campaign, pricing, bid_usd * multiplier * active, pctr, pcvr, pvalue, bid, quality)
    return bid, quality


@njit(cache=True, nogil=True)
def _competing_bids(
    campaign: IdArray,
    pricing: IdArray,
    paced: FloatArray,
    pctr: Float32Array,
    pcvr: Float32Array,
    pvalue: Float32Array,
    bid: FloatArray,
    quality: FloatArray,
) -> None:
    for i in range(campaign.shape[0]):
        for j in range(campaign.shape[1]):
            c = campaign[i, j]
            if c < 0:
                continue
            kind = pricing[c]
            bid[i, j] = paced[c]
            if kind == Pricing.CPC:
                quality[i, j] = pctr[i, j]
            elif kind == Pricing.CPA:
                quality[i, j] = pctr[i, j] * pcvr[i, j]
            elif kind == Pricing.OCPM:
                bid[i, j] *= pctr[i, j] * pcvr[i, j]
            elif kind == Pricing.VALUE:
                bid[i, j] *= pctr[i, j] * pcvr[i, j] * pvalue[i, j]
            if quality[i, j] == 0.0:
                bid[i, j], quality[i, j] = 0.0, 1.0
