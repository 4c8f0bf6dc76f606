"""Calibration: numbers worked by hand, and what a perfect model shows."""

import numpy as np
import pytest
from scipy.stats import binom, chi2
from sklearn.calibration import calibration_curve

from models.reliability import calibration_p_value, ece, ece_null, reliability


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


def test_a_reliability_curve_by_hand():
    """Bins {0.1, 0.3} with one positive and {0.6, 0.8, 0.9} with two, in any order of rows; array_split fills the first more."""
    p, label = np.array([0.9, 0.1, 0.6, 0.3, 0.8]), np.array([True, False, True, True, False])

    got = reliability(p, label, bins=2)

    assert got.rows.tolist() == [3, 2]
    assert got.forecast == pytest.approx([1 / 3, 0.85])
    assert got.positive == pytest.approx([2 / 3, 0.5])
    half = 1.959964 * np.sqrt(np.array([0.09 + 0.21 + 0.24, 0.16 + 0.09])) / [3, 2]
    assert got.low == pytest.approx(np.maximum(got.forecast - half, 0))
    assert got.high == pytest.approx(np.minimum(got.forecast + half, 1))


def test_a_reliability_curve_is_that_of_sklearn():
    rng = np.random.default_rng(30)
    p = rng.random(1_000)
    label = rng.random(1_000) < p**2

    got = reliability(p, label)

    positive, forecast = calibration_curve(label, p, n_bins=10, strategy="quantile")
    assert (got.forecast, got.positive) == (pytest.approx(forecast), pytest.approx(positive))


def test_fewer_rows_than_bins_are_a_bin_each():
    got = reliability(np.array([0.4, 0.2]), np.array([True, False]))

    assert (got.forecast.tolist(), got.positive.tolist(), got.rows.tolist()) == ([0.2, 0.4], [0, 1], [1, 1])
    assert all(len(column) == 0 for column in reliability(np.empty(0), np.empty(0, bool)))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.1, 0.4)])
def test_95_percent_of_a_perfect_models_shares_lie_in_the_band(low, high):
    rng, runs = np.random.default_rng(31), 500
    p = rng.uniform(low, high, 5_000)
    inside = 0

    for _ in range(runs):
        got = reliability(p, rng.random(5_000) < p)
        inside += ((got.low <= got.positive) & (got.positive <= got.high)).sum()

    assert inside / (10 * runs) == pytest.approx(0.95, abs=0.015)


def test_the_p_value_by_hand():
    """Bins {0.2, 0.3} with both positive and {0.5, 0.6} with one: errors 1.5 and -0.1, variances 0.37 and 0.49."""
    p, label = np.array([0.6, 0.2, 0.3, 0.5]), np.array([True, True, True, False])

    got = calibration_p_value(p, label, bins=2)

    assert got == pytest.approx(chi2.sf(1.5**2 / 0.37 + 0.1**2 / 0.49, df=2))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.02, 0.1)])
def test_a_perfect_model_is_called_miscalibrated_one_time_in_twenty(low, high):
    """Of 1,000 models with 1,000 rows each; their ECE, of 0.0315 where forecasts are uniform, is chance."""
    rng, runs = np.random.default_rng(32), 1_000
    p = rng.uniform(low, high, 1_000)

    rejected = sum(calibration_p_value(p, rng.random(1_000) < p) < 0.05 for _ in range(runs))

    least, most = binom.ppf([0.001, 0.999], runs, 0.05)
    assert least <= rejected <= most


@pytest.mark.parametrize("bias", [0.9, 1.1])
def test_a_bias_of_a_tenth_is_found_in_100_000_rows(bias):
    rng = np.random.default_rng(33)
    p = rng.uniform(0.01, 0.1, 100_000)
    label = rng.random(100_000) < p

    assert calibration_p_value(bias * p, label) < 1e-4 < calibration_p_value(p, label)


def test_certain_forecasts_are_right_or_refuted():
    p, label = np.array([0.0, 0.0, 1.0]), np.array([False, False, True])

    assert calibration_p_value(p, label) == calibration_p_value(np.empty(0), np.empty(0, bool)) == 1.0
    assert calibration_p_value(p, ~label) == 0.0
    assert calibration_p_value(np.array([0.0, 0.5]), np.array([False, True]), bins=2) == pytest.approx(chi2.sf(1, df=1))
