"""Calibration by segment: offsets are shrunk as their own spread says, and unseen segments have none."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from models.calibration import fit_platt
from models.segments import fit_segments
from models.weights import Weights, plain

SEGMENTS, TAU = 200, 0.5


def planted(tau: float, each: int, seed: int = 0, segments: int = SEGMENTS) -> tuple[np.ndarray, ...]:
    """Logits, labels, segments and the offsets that the labels were drawn with."""
    rng = np.random.default_rng(seed)
    offset = rng.normal(0, tau, segments)
    segment = np.repeat(np.arange(segments, dtype=np.int32), each)
    logit = rng.normal(-1, 1, len(segment)).astype(np.float32)
    return logit, rng.random(len(segment)) < expit(logit + offset[segment]), segment, offset


def test_shrunk_offsets_are_nearer_to_the_truth_than_none_and_than_unshrunk_ones():
    logit, label, segment, offset = planted(TAU, each=40)

    shrunk = fit_segments(logit, plain(label), segment, "campaign")
    unshrunk = fit_segments(logit, plain(label), segment, "campaign", shrink=False)

    mse = {
        name: np.mean((found - offset) ** 2)
        for name, found in (("none", 0.0), ("shrunk", shrunk.offset), ("unshrunk", unshrunk.offset))
    }  # fmt: skip
    assert mse["shrunk"] < 0.8 * min(mse["none"], mse["unshrunk"])


def test_the_spread_is_found_again():
    """Its error with offsets as good as known is tau / sqrt(2 segments)."""
    logit, label, segment, _ = planted(TAU, each=1_000)

    found = fit_segments(logit, plain(label), segment, "campaign").tau

    assert abs(found - TAU) < 4 * TAU / np.sqrt(2 * SEGMENTS)


def test_segments_that_do_not_differ_have_no_offsets():
    """Each segment holds the same rows."""
    logit, label, _, _ = planted(0.0, each=100, segments=1)

    found = fit_segments(np.tile(logit, 20), plain(np.tile(label, 20)), np.repeat(np.arange(20), 100), "campaign")

    assert found.tau == 0
    assert not found.offset.any()


def test_segments_without_a_spread_have_next_to_none():
    logit, label, segment, _ = planted(0.0, each=1_000)

    assert fit_segments(logit, plain(label), segment, "campaign").tau < 0.05


def test_tau_maximises_the_marginal_likelihood():
    """The integral over each segment's offset, by quadrature, is worth less on either side of the found tau."""
    logit, label, segment, _ = planted(TAU, each=25, segments=30, seed=3)
    found = fit_segments(logit, plain(label), segment, "campaign")
    at = found.base.slope * logit.astype(float) + found.base.intercept

    def evidence(tau: float) -> float:
        total = 0.0
        for s in range(30):
            own, y = at[segment == s], label[segment == s]

            def density(o, own=own, y=y):
                return np.exp(np.sum(y * (own + o) - np.logaddexp(0, own + o)) + 10) * norm.pdf(o, scale=tau)

            total += np.log(quad(density, -8 * tau, 8 * tau, points=[0.0])[0])
        return total

    best = evidence(found.tau)
    assert best > evidence(0.7 * found.tau)
    assert best > evidence(1.4 * found.tau)


def test_labels_exceed_the_forecasts_of_a_segment_by_offset_over_tau_squared():
    logit, label, segment, _ = planted(TAU, each=30)

    found = fit_segments(logit, plain(label), segment, "campaign")

    at = found.base.slope * logit.astype(float) + found.base.intercept + found.offset[segment]
    excess = np.bincount(segment, label - expit(at))
    assert excess == pytest.approx(found.offset / found.tau**2, abs=1e-6)


def test_unseen_and_missing_segments_have_the_forecast_of_the_base():
    logit, label, segment, _ = planted(TAU, each=30)
    segment = np.where(segment == 7, 9, segment)
    found = fit_segments(logit, plain(label), segment, "campaign")
    some = np.linspace(-5, 5, 40, dtype=np.float32).reshape(10, 4)

    for value in (-1, 7, SEGMENTS, 10_000):
        assert np.array_equal(found(some, np.full(some.shape, value)), found.base(some))
    assert found.offset[7] == found.rows[7] == 0
    assert not np.array_equal(found(some, np.full(some.shape, 9)), found.base(some))


def test_each_candidate_has_the_offset_of_its_own_segment():
    logit, label, segment, _ = planted(TAU, each=30)
    found = fit_segments(logit, plain(label), segment, "campaign")

    p = found(np.zeros((1, 3), np.float32), np.array([[5, -1, 11]]))

    shift = np.array([[found.offset[5], 0.0, found.offset[11]]])
    assert p == pytest.approx(expit(found.base.intercept + shift), rel=1e-5)


def test_rows_without_a_segment_count_for_the_base_alone():
    logit, label, segment, _ = planted(TAU, each=30)
    segment = np.where(segment < 50, -1, segment)

    found = fit_segments(logit, plain(label), segment, "campaign")

    assert found.base == fit_platt(logit, plain(label))
    assert found.rows.sum() == (segment >= 0).sum()


def test_rows_and_positives_of_segments_are_their_weights():
    logit = np.linspace(-1, 1, 6)
    weights = Weights(np.array([0, 0.5, 1, 1, 0.2, 0]), np.array([1, 0.5, 0, 1, 0, 0]))

    found = fit_segments(logit, weights, np.array([2, 0, 0, 2, 3, 4]), "campaign")

    assert found.rows == pytest.approx([2.0, 0.0, 3.0, 0.2])
    assert found.positives == pytest.approx([1.5, 0.0, 1.0, 0.2])


def test_a_segment_of_one_class_is_shrunk_to_a_moderate_offset():
    logit, label, segment, _ = planted(TAU, each=30)
    label[segment == 4], label[segment == 5] = False, True

    found = fit_segments(logit, plain(label), segment, "campaign")

    assert -2 < found.offset[4] < 0 < found.offset[5] < 3


def test_a_segment_of_one_class_is_refused_where_nothing_shrinks_it():
    logit, label, segment, _ = planted(TAU, each=30)
    label[segment == 4] = False

    with pytest.raises(ValueError, match="campaign 4 without shrinkage: 0 of 30 labels are positive"):
        fit_segments(logit, plain(label), segment, "campaign", shrink=False)


def test_one_class_in_all_is_refused():
    logit, label, segment, _ = planted(TAU, each=2)

    with pytest.raises(ValueError, match="0 of 400 labels are positive"):
        fit_segments(logit, plain(np.zeros_like(label)), segment, "campaign")


def test_unshrunk_offsets_make_each_segment_add_up():
    logit, label, segment, _ = planted(TAU, each=100)
    found = fit_segments(logit, plain(label), segment, "campaign", shrink=False)

    assert np.bincount(segment, found(logit, segment)) == pytest.approx(np.bincount(segment, label), rel=1e-4)


def test_without_any_segment_the_base_is_left():
    logit, label, segment, _ = planted(TAU, each=5)

    found = fit_segments(logit, plain(label), np.full_like(segment, -1), "campaign")

    assert np.array_equal(found(logit, segment), found.base(logit))


def test_values_that_are_not_given_or_of_another_shape_are_refused():
    logit, label, segment, _ = planted(TAU, each=5)
    found = fit_segments(logit, plain(label), segment, "campaign")

    with pytest.raises(ValueError, match=r"by campaign needs values of shape \(1000,\), there are none"):
        found(logit)
    with pytest.raises(ValueError, match=r"there are of shape \(3,\)"):
        found(logit, segment[:3])
    with pytest.raises(ValueError, match=r"logits have shape \(1000,\), segments \(3,\)"):
        fit_segments(logit, plain(label), segment[:3], "campaign")
