"""Campaigns and stores: value, budgets and kinds as stated, one store in one campaign at most."""

import numpy as np
import pytest
from scipy import stats

from synth.campaigns import PRICINGS, make_campaigns
from synth.config import CampaignConfig, CatalogueConfig, MarginalsConfig, TasteConfig
from synth.items import make_stores

PLAUSIBLE = 1e-4
CATALOGUE = CatalogueConfig(stores=9_000, basket_usd=30.0, popularity_sigma=0.7, price_sigma=0.3)
TASTE = TasteConfig(click_appeal=0.5, purchase_appeal=0.8, appeal_correlation=0.4)
STORES = make_stores(CATALOGUE, TASTE, 7, 3)
MARGINALS = MarginalsConfig.model_validate(
    {
        "ctr": 0.05, "cvr": 0.2, "repurchase_positives": 0.5, "repurchase_negatives": 0.3,
        "delay": [{"hours": 1, "share": 0.45}, {"hours": 24, "share": 0.75}, {"hours": 96, "share": 0.92}],
    }
)  # fmt: skip


def campaigns(**shares: float):
    config = CampaignConfig(count=4_000, stores_per_campaign=2, daily_budget_usd=60.0, value_sigma=0.35, **shares)
    return make_campaigns(config, CATALOGUE, MARGINALS, STORES, 3)


def only(kind: str) -> dict[str, float]:
    return {f"{name}_share": float(name == kind) for name in PRICINGS}


def test_kinds_have_their_shares():
    pricing = campaigns(cpm_share=0.1, cpc_share=0.2, cpa_share=0.3, ocpm_share=0.4)[0].pricing

    assert stats.chisquare(np.bincount(pricing, minlength=4), 4_000 * np.array([0.1, 0.2, 0.3, 0.4])).pvalue > PLAUSIBLE


def test_an_advertiser_bids_the_value_of_an_order_times_the_orders_per_billable_event():
    bid = {kind: campaigns(**only(kind))[0].bid_usd for kind in PRICINGS}

    assert bid["ocpm"] == pytest.approx(bid["cpa"])
    assert bid["cpc"] == pytest.approx(bid["cpa"] * 0.2)
    assert bid["cpm"] == pytest.approx(bid["cpa"] * 0.05 * 0.2)


def test_values_are_lognormal_around_the_take_rate_of_the_baskets_of_the_campaigns_stores():
    value = campaigns(**only("cpa"))[0].bid_usd

    level = np.exp(STORES.log_price[:8_000].astype(float)).reshape(4_000, 2).mean(axis=1)
    z = (np.log(value / (0.2 * 30.0 * level)) + 0.35**2 / 2) / 0.35
    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


def test_budgets_are_lognormal_with_the_stated_mean_and_independent_of_values():
    got = campaigns(**only("cpa"))[0]

    z = (np.log(got.daily_budget_usd / 60.0) + 0.8**2 / 2) / 0.8
    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE
    assert abs(stats.spearmanr(got.daily_budget_usd, got.bid_usd).statistic) < 4 / np.sqrt(4_000)


def test_no_store_has_two_ads_and_each_campaign_has_its_number_of_stores():
    _, ads = campaigns()

    assert len(set(ads.store)) == len(ads.store) == 8_000
    assert (np.bincount(ads.campaign) == 2).all()
    assert ads.of_store[ads.store].tolist() == list(range(8_000))
    assert (ads.of_store[8_000:] == -1).all()


def test_appeals_have_their_spreads_and_their_correlation():
    se = 1 / np.sqrt(9_000)

    assert STORES.click_appeal.std() == pytest.approx(0.5, rel=4 * se)
    assert STORES.purchase_appeal.std() == pytest.approx(0.8, rel=4 * se)
    assert np.corrcoef(STORES.click_appeal, STORES.purchase_appeal)[0, 1] == pytest.approx(0.4, abs=4 * se)


def test_popularity_has_mean_one_and_no_region_is_empty():
    assert STORES.popularity.mean() == pytest.approx(1.0, abs=4 * np.sqrt(np.expm1(0.7**2) / 9_000))
    assert set(STORES.region) == set(range(7))
