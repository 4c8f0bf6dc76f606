"""Intervals by resampling: as wide as formulas say, wider where rows are alike, and holding the truth as often as they say."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from models.bootstrap import bootstrap_difference
from models.scores import auc_difference, gauc, log_loss


def auc(p: np.ndarray, label: np.ndarray) -> float:
    return float(roc_auc_score(label, p))


def mean_error(p: np.ndarray, label: np.ndarray) -> float:
    return float((p - label).mean())


def two_models(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forecasts of labels, the second with more noise."""
    signal = rng.normal(size=rows)
    p, other = (expit(signal + rng.normal(size=rows) * noise) for noise in (0.3, 0.8))
    return p, other, rng.random(rows) < expit(signal)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_interval_of_areas_is_as_wide_as_delongs(seed):
    p, other, label = two_models(np.random.default_rng(seed), 1_000)

    got, expected = bootstrap_difference(auc, p, other, label), auc_difference(p, other, label)

    assert got.estimate == pytest.approx(expected.estimate)
    assert got.high - got.low == pytest.approx(expected.high - expected.low, rel=0.15)
    assert (got.low + got.high) / 2 == pytest.approx(expected.estimate, abs=0.1 * (expected.high - expected.low))


def test_intervals_of_log_loss_cover_the_truth_as_often_as_they_say():
    """The truth is the mean over a million rows; of 200 intervals of 95%, 180 to 196 hold it."""
    rng, runs = np.random.default_rng(40), 200
    p, other, label = two_models(rng, 1_000_000)
    truth, held = log_loss(p, label) - log_loss(other, label), 0

    for run in range(runs):
        p, other, label = two_models(rng, 300)
        got = bootstrap_difference(log_loss, p, other, label, draws=300, seed=run)
        held += got.low <= truth <= got.high

    assert 0.90 <= held / runs <= 0.98


def test_rows_that_are_copies_count_once_where_their_groups_are_drawn():
    """25 copies of each of 200 rows: drawn one by one the interval is 5 times too narrow."""
    p, other, label = two_models(np.random.default_rng(41), 200)
    user = np.tile(np.arange(200), 25)
    many = [np.tile(column, 25) for column in (p, other, label)]

    def width(*columns: np.ndarray, groups: np.ndarray | None = None) -> float:
        got = bootstrap_difference(log_loss, *columns, groups=groups)
        return got.high - got.low

    assert width(*many, groups=user) == pytest.approx(width(p, other, label), rel=1e-9)
    assert 5 * width(*many) == pytest.approx(width(p, other, label), rel=0.15)


def test_groups_of_unequal_size_are_drawn_whole():
    """Every draw holds all rows of a group or none: 1 of user 3, 2 of user 9, 4 of user 5."""
    user = np.array([9, 5, 3, 5, 9, 5, 5])
    size = {3: 1, 9: 2, 5: 4}
    seen = []

    def look(p: np.ndarray, rows: np.ndarray) -> float:
        seen.append(np.bincount(rows, minlength=7))
        return float(p.sum())

    bootstrap_difference(look, np.ones(7), np.zeros(7), np.arange(7), groups=user, draws=50)

    drawn = np.array(seen[2:])
    for one in size:
        assert (drawn[:, user == one] == drawn[:, [np.flatnonzero(user == one)[0]]]).all()
    times = sum(drawn[:, user == one].sum(axis=1) / n for one, n in size.items())
    assert (times == 3).all() and len(np.unique(drawn, axis=0)) > 5


def test_gauc_by_row_numbers():
    rng = np.random.default_rng(42)
    p, other, label = two_models(rng, 2_000)
    user = rng.integers(0, 100, 2_000)

    def within(p: np.ndarray, rows: np.ndarray) -> float | None:
        return gauc(p, label[rows], user[rows]).gauc

    got = bootstrap_difference(within, p, other, np.arange(2_000), groups=user, draws=200)

    assert got.estimate == pytest.approx(gauc(p, label, user).gauc - gauc(other, label, user).gauc)
    assert 0 < got.low < got.estimate < got.high


def test_the_seed_is_all_that_is_drawn_and_swapping_models_turns_the_sign():
    p, other, label = two_models(np.random.default_rng(43), 200)

    first, again, elsewhere = (bootstrap_difference(log_loss, p, other, label, draws=50, seed=s) for s in (1, 1, 2))
    back = bootstrap_difference(log_loss, other, p, label, draws=50, seed=1)

    assert first == again != elsewhere
    assert back == pytest.approx((-first.estimate, -first.high, -first.low))
    assert bootstrap_difference(log_loss, p, p, label, draws=50) == (0, 0, 0)


def test_ends_are_the_percentiles_of_resampled_means():
    """A difference of means of forecasts has the percentiles of a resampled mean of the gap."""
    rng = np.random.default_rng(44)
    p, other = rng.random((2, 80))
    got = bootstrap_difference(mean_error, p, other, np.zeros(80), draws=400, seed=5)

    again = np.random.default_rng(5)
    means = [(p - other)[again.integers(80, size=80)].mean() for _ in range(400)]
    assert got == pytest.approx(((p - other).mean(), *np.quantile(means, [0.025, 0.975])))


@pytest.mark.filterwarnings("ignore:Only one class")
@pytest.mark.parametrize("positives", [0, 1])
def test_a_score_that_draws_lack_is_refused(positives):
    """A draw of 5 rows lacks the one positive a third of the time."""
    with pytest.raises(ValueError, match="needs a score of every draw: of 5 rows they are nan and nan"):
        bootstrap_difference(auc, np.linspace(0, 1, 5), np.linspace(1, 0, 5), np.arange(5) < positives)
