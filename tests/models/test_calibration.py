"""Platt scaling: slope and intercept are found again, and the order is kept."""

import numpy as np
import pytest
from scipy.special import expit

from models.calibration import Platt, fit_platt


def simulated(slope: float, intercept: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    logit = rng.normal(-1.0, 2.0, n).astype(np.float32)
    return logit, rng.random(n) < expit(slope * logit + intercept)


def standard_errors(logit: np.ndarray, platt: Platt) -> np.ndarray:
    """Of slope and intercept: the inverse of Fisher's information."""
    p = expit(platt.slope * logit + platt.intercept)
    x = np.stack([logit, np.ones_like(logit)], axis=1).astype(float)
    return np.sqrt(np.diag(np.linalg.inv(x.T * (p * (1 - p)) @ x)))


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -0.7), (1.0, 0.0), (1.8, 1.2)])
def test_slope_and_intercept_are_found_again(slope, intercept):
    logit, label = simulated(slope, intercept)

    found = fit_platt(logit, label)

    se = standard_errors(logit, found)
    assert abs(found.slope - slope) < 4 * se[0]
    assert abs(found.intercept - intercept) < 4 * se[1]


def test_calibrated_forecasts_have_the_sum_and_the_logit_moment_of_the_labels():
    """The equations of maximum likelihood: residuals are orthogonal to 1 and to the logit."""
    logit, label = simulated(0.5, -0.7)

    residual = fit_platt(logit, label)(logit) - label

    assert abs(residual.mean()) < 2e-4
    assert abs((residual * logit).mean()) < 2e-4


def test_calibration_is_the_logistic_of_a_line():
    logit = np.array([[-3.0, 0.0], [0.7, 12.0]], np.float32)

    p = Platt(0.5, -0.7)(logit)

    assert p.dtype == np.float32
    assert p == pytest.approx(expit(0.5 * logit - 0.7), rel=1e-6)


def test_calibration_keeps_the_order_of_candidates():
    logit = np.sort(np.random.default_rng(7).normal(size=500)).astype(np.float32)

    assert (np.diff(Platt(0.3, -4.0)(logit)) >= 0).all()
    assert np.array_equal(np.argsort(Platt(2.0, 1.0)(logit[::-1]), kind="stable"), np.arange(500)[::-1])


def test_extreme_logits_give_0_and_1():
    assert Platt(1.0, 0.0)(np.array([-1e4, 1e4], np.float32)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("label", [np.zeros(10, bool), np.ones(10, bool)])
def test_one_class_is_refused_with_its_count(label):
    with pytest.raises(ValueError, match=f"cannot calibrate: {label.sum()} of 10 labels are positive"):
        fit_platt(np.linspace(-1, 1, 10, dtype=np.float32), label)


def test_a_model_that_ranks_backwards_is_refused():
    logit, label = simulated(1.0, 0.0, n=2_000)

    with pytest.raises(ValueError, match="ranks backwards"):
        fit_platt(-logit, label)
