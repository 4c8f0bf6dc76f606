"""The linear predictor: one dot product."""

import numpy as np
import pytest

from models.linear import Linear, weights

CLICK = {"user_clicks": 0.7, "ad_cvr": -1.1, "known_orders": 0.4}
CONVERSION = {"ad_ctr": 0.25}


@pytest.fixture
def linear(schema) -> Linear:
    return Linear(click=weights(schema, -2.0, CLICK), conversion=weights(schema, 0.5, CONVERSION))


def test_logits_are_the_intercept_and_the_weighted_features(linear, test):
    batch = test.data.batch
    click, conversion = linear.logits(batch)

    there = batch.row >= 0
    ad = batch.ads.dense[batch.row]
    expected = -2.0 + 0.7 * batch.dense - 1.1 * ad[:, :, 1] + 0.4 * batch.cross[:, :, 0]
    assert click.shape == batch.row.shape
    assert click[there] == pytest.approx(expected[there], abs=1e-5)
    assert conversion[there] == pytest.approx((0.5 + 0.25 * ad[:, :, 0])[there], abs=1e-6)


def test_a_place_without_a_candidate_has_the_logit_of_the_rest(linear, test):
    batch = test.data.batch
    click, _ = linear.logits(batch)

    none = batch.row < 0
    assert none.any()
    assert click[none] == pytest.approx((-2.0 + 0.7 * batch.dense + 0.4 * batch.cross[:, :, 0])[none], abs=1e-5)


def test_logits_of_a_row_do_not_depend_on_its_batch(linear, test):
    whole = linear.logits(test.data.batch)

    for task in (0, 1):
        split = np.concatenate([linear.logits(test.data.batch.rows(i, i + 7))[task] for i in range(0, 4_000, 7)])
        assert np.array_equal(split, whole[task])


def test_weights_are_sorted_into_the_three_sides(schema):
    got = weights(schema, 1.5, CLICK)

    assert got.intercept == 1.5
    assert got.request == pytest.approx([0.7])
    assert got.ad == pytest.approx([0.0, -1.1])
    assert got.cross == pytest.approx([0.4])


@pytest.mark.parametrize("name", ["known_order", "hour", "history"])
def test_a_weight_that_names_no_dense_feature_is_refused_with_those_there_are(schema, name):
    with pytest.raises(ValueError, match=f"weight {name} names no dense.*user_clicks, ad_ctr, ad_cvr, known_orders"):
        weights(schema, 0.0, {"ad_ctr": 1.0, name: 1.0})
