"""Scores of forecasts: numbers worked by hand, and what a perfect model shows."""

import numpy as np
import pytest

from models.scores import ece, ece_null, norm_bce, score


def test_norm_bce_of_the_base_rate_is_one():
    label = np.arange(50) % 5 == 0

    assert norm_bce(np.full(50, 0.2), label) == pytest.approx(1.0)


def test_norm_bce_worked_out_by_hand():
    """Log losses -log 0.8 and -log 0.6 over the entropy log 2 of one half."""
    assert norm_bce(np.array([0.8, 0.4]), np.array([True, False])) == pytest.approx(
        (-np.log(0.8) - np.log(0.6)) / 2 / np.log(2)
    )


def test_norm_bce_of_a_certain_error_is_finite():
    assert 10 < norm_bce(np.array([0.0, 0.0, 1.0]), np.array([True, False, True])) < 20


def test_norm_bce_is_below_one_for_a_forecast_that_knows_more_than_the_base_rate():
    p = np.random.default_rng(0).random(5_000)
    label = np.random.default_rng(1).random(5_000) < p

    assert norm_bce(p, label) < 1 < norm_bce(1 - p, label)


def test_auc_is_the_share_of_pairs_in_the_right_order_and_a_tie_is_half_a_pair():
    """Positives 0.9, 0.5; negatives 0.1, 0.5, 0.7: right are 3 + 1.5 of 6."""
    got = score(np.array([0.9, 0.5, 0.1, 0.5, 0.7]), np.array([True, True, False, False, False]))

    assert got.auc == pytest.approx(4.5 / 6)
    assert (got.rows, got.positives) == (5, 2)


def test_pr_auc_is_the_mean_precision_at_the_positives():
    """Positives at ranks 1 and 3: (1/1 + 2/3) / 2."""
    got = score(np.array([0.9, 0.5, 0.7, 0.1]), np.array([True, True, False, False]))

    assert got.pr_auc == pytest.approx((1 + 2 / 3) / 2)


def test_calibration_is_the_expected_over_the_observed_positives():
    assert score(np.array([0.5, 0.25, 0.75]), np.array([True, False, False])).calibration == pytest.approx(1.5)


@pytest.mark.parametrize("label", [np.zeros(4, bool), np.ones(4, bool)])
def test_a_score_that_one_class_cannot_give_is_none(label):
    got = score(np.array([0.1, 0.2, 0.3, 0.4]), label)

    assert got.auc is got.pr_auc is got.norm_bce is None
    assert got.calibration == (pytest.approx(0.25) if label.any() else None)
    assert got.ece == pytest.approx(0.75 if label.any() else 0.25)


def test_ece_worked_out_by_hand():
    """Bins of two by forecast: {0.1, 0.2} with no positive is 0.3 off, {0.6, 0.9} with one 0.5 off; 0.8 over 4."""
    p, label = np.array([0.9, 0.1, 0.6, 0.2]), np.array([False, False, True, False])

    assert ece(p, label, bins=2) == pytest.approx(0.8 / 4)


def test_ece_is_the_miscalibration_where_it_is_the_same_everywhere():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.6, 200_000)

    assert ece(p + 0.1, rng.random(200_000) < p) == pytest.approx(0.1, abs=0.005)


def test_ece_of_nothing_is_zero():
    nothing = np.empty(0)

    assert (ece(nothing, nothing > 0), ece_null(nothing)) == (0.0, 0.0)


@pytest.mark.parametrize(("low", "high", "known"), [(0.0, 1.0, 0.0315), (0.02, 0.1, None)])
def test_ece_null_is_the_mean_ece_of_a_perfect_model(low, high, known):
    """1,000 forecasts in 10 bins; for uniform ones the mean over bins of sqrt(2 / pi * p (1 - p) / 100) is 0.0315."""
    rng = np.random.default_rng(3)
    p = rng.uniform(low, high, 1_000)

    simulated = np.mean([ece(p, rng.random(1_000) < p) for _ in range(400)])

    assert ece_null(p) == pytest.approx(simulated, rel=0.1)
    if known is not None:
        assert ece_null(p) == pytest.approx(known, rel=0.02)


def test_ece_null_falls_with_the_root_of_the_rows():
    p = np.random.default_rng(4).random(1_000)

    assert ece_null(np.tile(p, 100)) == pytest.approx(ece_null(p) / 10, rel=0.01)


def test_the_order_of_rows_does_not_enter_any_score():
    rng = np.random.default_rng(5)
    p = rng.random(500)
    label = rng.random(500) < p
    order = rng.permutation(500)

    a, b = score(p, label), score(p[order], label[order])

    for name in a.__dataclass_fields__:
        assert getattr(a, name) == pytest.approx(getattr(b, name)), name
