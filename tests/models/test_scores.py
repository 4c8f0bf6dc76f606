"""Scores of forecasts: numbers worked by hand, other libraries, and how often intervals hold the truth."""

import numpy as np
import pytest
import sklearn.metrics
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from models.scores import (
    auc_difference,
    auc_interval,
    concentration,
    delong,
    expected_auc,
    gauc,
    log_loss,
    norm_bce,
    score,
)


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


def test_log_loss_worked_out_by_hand():
    """Probabilities 0.8 and 0.5 were given to what happened; a forecast of 0 that happened costs log 10^12."""
    got = score(np.array([0.8, 0.5]), np.array([True, False]))

    assert got.log_loss == pytest.approx(np.log(1 / 0.8 / 0.5) / 2)
    assert log_loss(np.array([0.0]), np.array([True])) == pytest.approx(12 * np.log(10))
    assert score(np.empty(0), np.empty(0, bool)).log_loss is None


def test_log_loss_is_that_of_sklearn_in_float32_too():
    rng = np.random.default_rng(20)
    p = rng.random(2_000)
    label = rng.random(2_000) < p

    assert log_loss(p, label) == pytest.approx(sklearn.metrics.log_loss(label, p))
    assert log_loss(p.astype(np.float32), label) == pytest.approx(sklearn.metrics.log_loss(label, p), rel=1e-5)
    assert np.isfinite(log_loss(np.ones(1, np.float32), np.array([False])))


def test_gauc_worked_out_by_hand():
    """User 7: one pair, right. User 2: positives 0.5, negatives 0.5, 0.1, so 1.5 of 2. User 4 has one class: 2 of 7 rows."""
    user = np.array([7, 2, 4, 2, 7, 2, 4])
    p = np.array([0.9, 0.5, 0.3, 0.1, 0.8, 0.5, 0.2])
    label = np.array([True, True, True, False, False, False, True])

    got = gauc(p, label, user)

    assert got.gauc == pytest.approx((2 * 1.0 + 3 * 0.75) / 5)
    assert got.share == pytest.approx(5 / 7)


@pytest.mark.parametrize("seed", range(3))
def test_gauc_is_that_of_a_loop_over_groups(seed):
    rng = np.random.default_rng(seed)
    user, label = rng.integers(-1, 80, 600), rng.random(600) < 0.3
    p = np.round(rng.random(600), 1)
    of = [user == one for one in np.unique(user)]
    both = [rows for rows in of if 0 < label[rows].sum() < rows.sum()]

    got = gauc(p, label, user)

    areas, size = [roc_auc_score(label[rows], p[rows]) for rows in both], [rows.sum() for rows in both]
    assert got == pytest.approx((np.average(areas, weights=size), sum(size) / 600))
    assert 0 < got.share < 1


def test_gauc_of_one_group_is_the_auc_and_what_tells_groups_apart_adds_nothing():
    rng = np.random.default_rng(21)
    p, label, user = rng.random(300), rng.random(300) < 0.4, rng.integers(0, 9, 300)

    assert gauc(p, label, np.full(300, 5)) == pytest.approx((roc_auc_score(label, p), 1.0))
    assert gauc(p + 10 * user, label, user) == pytest.approx(gauc(p, label, user))


@pytest.mark.parametrize("rows", [0, 3])
def test_gauc_without_a_group_of_both_classes_is_none(rows):
    assert gauc(np.full(rows, 0.5), np.arange(rows) < 1, np.arange(rows)) == (None, 0.0)


def test_concentration_worked_out_by_hand():
    """Of 200 scores 100 are 1, 50 are 2 and 50 are 3: the top 2 rows hold 6 of the sum 350, the top 20 hold 60."""
    p = np.random.default_rng(22).permutation(np.repeat([1.0, 2.0, 3.0], [100, 50, 50]))

    got = concentration(p)

    assert got == pytest.approx((0.5, 1 / (1 / 4 + 1 / 16 + 1 / 16), 6 / 350, 60 / 350))


def test_concentration_is_least_where_scores_differ_and_most_on_one_point():
    assert concentration(np.full(7, 0.2)) == pytest.approx((1, 1, 1 / 7, 1 / 7))
    assert concentration(np.linspace(0.1, 0.2, 40))[:2] == pytest.approx((1 / 40, 40))
    with pytest.raises(ValueError, match="none among 3"):
        concentration(np.zeros(3))


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


def test_the_expected_area_is_that_of_rows_which_are_positives_and_negatives_by_their_shares():
    """scikit-learn's weighted area of every row taken twice, ties included."""
    rng, m = np.random.default_rng(4), 300
    p, truth, weight = rng.integers(0, 20, m) / 20, rng.random(m), rng.random(m)

    found = expected_auc(p, truth, weight)

    twice = np.repeat([True, False], m), np.tile(p, 2)
    assert found == pytest.approx(
        roc_auc_score(*twice, sample_weight=np.concatenate([weight * truth, weight * (1 - truth)]))
    )
    assert expected_auc(truth, truth, weight) > found
