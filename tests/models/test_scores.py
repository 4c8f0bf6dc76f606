"""Scores of forecasts: numbers worked by hand, and what a perfect model shows."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from models.scores import auc_difference, auc_interval, delong, ece, ece_null, norm_bce, score


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


def tied(models: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated forecasts in steps of a tenth, so that many tie."""
    rng = np.random.default_rng(seed)
    label = rng.random(rows) < 0.3
    return np.round(rng.normal(size=(models, rows)) + rng.normal(size=rows) + 0.8 * label, 1), label


def test_delong_gives_the_areas_of_sklearn_with_ties():
    p, label = tied(4, 300, 6)

    auc, covariance = delong(p, label)

    assert auc == pytest.approx([roc_auc_score(label, one) for one in p])
    assert covariance.shape == (4, 4)


@pytest.mark.parametrize("models", [1, 3])
def test_the_covariance_of_areas_is_that_of_all_pairs(models):
    p, label = tied(models, 120, 7)
    above, below = p[:, label][:, :, None], p[:, ~label][:, None, :]
    right = (above > below) + 0.5 * (above == below)

    _, covariance = delong(p, label)

    def spread(placement: np.ndarray) -> np.ndarray:
        """Sample covariance of the models, written out."""
        off, n = placement - placement.mean(axis=1, keepdims=True), placement.shape[1]
        return np.array([[(a * b).sum() / (n - 1) / n for b in off] for a in off])

    assert covariance == pytest.approx(spread(right.mean(axis=2)) + spread(right.mean(axis=1)))


def test_the_interval_of_an_area_by_hand():
    """Positives 3, 1 rank above both and one of the negatives 2, 0: placements 1, 0.5 and 0.5, 1, each of variance 1 / 8."""
    got = auc_interval(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False]))

    half = norm.ppf(0.975) * np.sqrt(2 * (1 / 8) / 2)
    assert got == pytest.approx((0.75, 0.75 - half, 0.75 + half))


def binormal(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """100 positives and 150 negatives; two models whose areas are 0.76 and 0.714, their noises correlated by a half."""
    label = np.arange(250) < 100
    shared, first, second = rng.normal(size=(3, 250)) * np.sqrt(0.5)
    return shared + first + 1.0 * label, shared + second + 0.8 * label, label


def test_intervals_of_areas_cover_the_truth_as_often_as_they_say():
    """The area of two normals d apart is Phi(d / sqrt 2); of 1,000 intervals of 95%, 922 to 978 hold the truth."""
    rng, runs = np.random.default_rng(8), 1_000
    first, second = norm.cdf(np.array([1.0, 0.8]) / np.sqrt(2))
    held = np.zeros((runs, 2), bool)
    width = np.zeros((runs, 3))

    for run in range(runs):
        p, other, label = binormal(rng)
        one, two, gap = auc_interval(p, label), auc_interval(other, label), auc_difference(p, other, label)
        held[run] = one.low <= first <= one.high, gap.low <= first - second <= gap.high
        width[run] = [(i.high - i.low) ** 2 for i in (one, two, gap)]

    assert np.abs(held.mean(axis=0) - 0.95).max() < 4 * np.sqrt(0.95 * 0.05 / runs)
    assert (width[:, 2] < 0.8 * (width[:, 0] + width[:, 1])).all()


def test_a_difference_of_areas_has_a_sign_and_of_a_model_with_itself_is_nothing():
    p, label = tied(2, 200, 9)

    forth, back = auc_difference(p[0], p[1], label), auc_difference(p[1], p[0], label)

    assert forth.estimate == pytest.approx(roc_auc_score(label, p[0]) - roc_auc_score(label, p[1]))
    assert forth == pytest.approx((-back.estimate, -back.high, -back.low))
    assert auc_difference(p[0], p[0], label) == pytest.approx((0, 0, 0), abs=1e-7)


@pytest.mark.parametrize("positives", [0, 1, 4, 5])
def test_an_error_that_one_row_of_a_class_cannot_give_is_refused(positives):
    with pytest.raises(ValueError, match=f"{positives} of 5 rows are positive"):
        auc_interval(np.linspace(0, 1, 5), np.arange(5) < positives)
