"""Curves of a ranking: by hand, against scikit-learn, and the area that thinning may lose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, roc_auc_score

from models.errors import Unusable
from models.roc import ranking


def test_cuts_by_hand():
    """Falling: a positive at .9, two ties at .6 of which one is positive, a negative at .1."""
    found = ranking(np.array([0.1, 0.6, 0.9, 0.6]), np.array([False, True, True, False]))

    np.testing.assert_allclose(found.cut, [0.9, 0.6, 0.1])
    np.testing.assert_allclose(found.false_positive_rate, [0, 0.5, 1])
    np.testing.assert_allclose(found.recall, [0.5, 1, 1])
    np.testing.assert_allclose(found.precision, [1, 2 / 3, 0.5])


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=2, max_size=400).filter(
        lambda rows: 0 < sum(label for _, label in rows) < len(rows)
    ),
    st.integers(1, 60),
)
def test_thinning_loses_no_more_area_than_the_boxes_between_cuts_hold(rows, cuts):
    p, label = np.array([score for score, _ in rows]) / 30, np.array([label for _, label in rows])
    found = ranking(p, label, cuts=cuts)
    x, y = (np.append(0.0, rates) for rates in (found.false_positive_rate, found.recall))

    assert 1 <= len(found.cut) <= cuts
    assert abs(np.trapezoid(y, x) - roc_auc_score(label, p)) <= (np.diff(x) * np.diff(y)).sum() / 2 + 1e-12
    assert (np.diff(found.cut) < 0).all()
    assert found.recall[-1] == found.false_positive_rate[-1] == 1
    assert found.precision[-1] == pytest.approx(label.mean())


def test_every_cut_picks_what_scikit_learn_says_and_fifty_draw_a_large_ranking():
    rng = np.random.default_rng(3)
    p = rng.beta(1, 12, 40_000)
    label = rng.random(40_000) < p
    found = ranking(p, label)

    assert len(found.cut) == 50
    for cut, wrong, right, precision in zip(*found, strict=True):
        picked = p >= cut
        assert (wrong, right) == pytest.approx((picked[~label].mean(), picked[label].mean()))
        assert precision == pytest.approx(precision_score(label, picked))
    x, y = (np.append(0.0, rates) for rates in (found.false_positive_rate, found.recall))
    assert (np.diff(x) + np.diff(y)).max() < 0.04 + 1e-3
    assert abs(np.trapezoid(y, x) - roc_auc_score(label, p)) < 0.01 / 2


@pytest.mark.parametrize("label", [[True, True], [False, False]])
def test_one_class_alone_cannot_be_ranked(label):
    with pytest.raises(Unusable, match="both classes"):
        ranking(np.array([0.1, 0.2]), np.array(label))
