"""Down-sampled negatives: what is kept, and that the shift gives back the rate of all rows."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, logit

from models.sampling import keep_negatives, recalibrated

N, SLOTS = 40_000, 3


@pytest.fixture
def label() -> np.ndarray:
    return np.random.default_rng(0).random((N, SLOTS)) < 0.02


@pytest.fixture
def shown() -> np.ndarray:
    return np.random.default_rng(1).random((N, SLOTS)) < 0.9


def test_a_tenth_of_the_negatives_makes_a_thousandth_look_like_a_hundredth():
    """0.0099108 / (0.0099108 + 0.9900892 / 0.1) = 0.001."""
    assert expit(recalibrated(logit(np.array([0.0099108])), 0.1)) == pytest.approx(0.001, rel=1e-5)


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.03])
def test_recalibrated_is_the_published_formula(keep):
    p = np.linspace(0.001, 0.999, 50)

    assert expit(recalibrated(logit(p), keep)) == pytest.approx(p / (p + (1 - p) / keep), rel=1e-12)


def test_recalibrated_logits_keep_their_type_and_shape():
    out = recalibrated(np.zeros((4, 2), np.float32), 0.1)

    assert out.dtype == np.float32
    assert out.shape == (4, 2)


def test_all_that_is_kept_learns_the_rate_of_all_rows():
    """Forecasts are the rates of eight groups among kept rows; the error of each has 1 / positives + 1 / negatives."""
    rng, keep = np.random.default_rng(2), 0.1
    planted = np.array([0.001, 0.004, 0.01, 0.02, 0.05, 0.1, 0.3, 0.6])
    group = rng.integers(8, size=(N, SLOTS))
    label = rng.random(group.shape) < planted[group]
    kept = keep_negatives(label, np.ones_like(label), keep, seed=3)

    positives, negatives = (np.bincount(group[kept & of], minlength=8) for of in (label, ~label))
    fitted = np.log(positives / negatives)
    forecast = expit(recalibrated(fitted, keep))

    share = np.bincount(group.ravel()) / group.size
    error = np.sqrt(np.sum((share * forecast * (1 - forecast)) ** 2 * (1 / positives + 1 / negatives)))
    assert abs(share @ forecast - share @ planted) < 4 * error < 0.05 * (share @ planted)
    assert share @ expit(fitted) > 1.5 * (share @ planted)


def test_all_positives_and_a_share_of_negatives_are_kept_and_nothing_that_was_not_shown(label, shown):
    kept = keep_negatives(label, shown, 0.1, seed=1)

    assert kept[shown & label].all()
    assert not kept[~shown].any()
    negative = kept[shown & ~label]
    assert abs(negative.mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / negative.size)


def test_everything_shown_is_kept_at_one(label, shown):
    assert np.array_equal(keep_negatives(label, shown, 1.0, seed=1), shown)


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 7])
def test_a_log_in_parts_keeps_the_same_rows(slots):
    label, shown = np.zeros((500, slots), bool), np.ones((500, slots), bool)
    whole = keep_negatives(label, shown, 0.4, seed=5, start=90)

    for cuts in ([0, 1, 2, 3, 500], [0, 0, 130, 499, 500]):
        parts = [keep_negatives(label[a:b], shown[a:b], 0.4, seed=5, start=90 + a) for a, b in pairwise(cuts)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_a_row_is_kept_whatever_the_labels_of_others(label, shown):
    kept = keep_negatives(label, shown, 0.3, seed=1)
    others = keep_negatives(np.zeros_like(label), shown, 0.3, seed=1)

    assert np.array_equal(kept[~label], others[~label])


def test_a_smaller_share_keeps_a_subset(label, shown):
    few, more = (keep_negatives(label, shown, keep, seed=1) for keep in (0.1, 0.3))

    assert not (few & ~more).any()


def test_seeds_and_slots_draw_apart():
    nothing, everything = np.zeros((N, SLOTS), bool), np.ones((N, SLOTS), bool)
    a, b = (keep_negatives(nothing, everything, 0.5, seed=seed) for seed in (1, 2))

    limit = 4 / np.sqrt(N)
    for one, other in ((a[:, 0], b[:, 0]), (a[:, 0], a[:, 1]), (a[1:, 0], a[:-1, 0])):
        assert abs(np.corrcoef(one, other)[0, 1]) < limit


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.01, np.nan])
def test_a_share_that_is_none_is_refused(keep, label, shown):
    with pytest.raises(ValueError, match=r"keep is .*: it must be within \(0, 1\]"):
        keep_negatives(label, shown, keep, seed=1)
    with pytest.raises(ValueError, match=r"keep is .*: it must be within \(0, 1\]"):
        recalibrated(np.zeros(3, np.float32), keep)
