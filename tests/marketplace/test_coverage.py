"""Coverage by hand and by another road to the same interval."""

import pytest
from scipy.stats import beta

from marketplace.coverage import coverage, of_trials


def reading(group, lift, low, high, true):
    return {"group": group, "lift": lift, "low": low, "high": high, "true_lift": true, "covered": low <= true <= high}


ROWS = [
    reading("a", 0.10, 0.05, 0.15, 0.10),  # right
    reading("a", 0.21, 0.15, 0.25, 0.10),  # above: 1.21 / 1.10 - 1 = 0.1
    reading("b", -0.52, -0.60, -0.40, 0.20),  # below: 0.48 / 1.20 - 1 = -0.6
    reading("a", 0.32, 0.05, 0.40, 0.10),  # holds it: 1.32 / 1.10 - 1 = 0.2
    {"group": "c", "lift": 0.1, "low": None, "high": None, "true_lift": 0.1, "covered": None},
]


def test_intervals_are_counted_by_whether_they_hold_the_truth_or_lie_above_or_below_it():
    a, b = coverage(ROWS, "group")

    assert a == {"group": "a", "read": 3, "held": 2, "share": 2 / 3, "above": 1, "below": 0, "bias": pytest.approx(0.1)}
    assert b == {"group": "b", "read": 1, "held": 0, "share": 0, "above": 0, "below": 1, "bias": pytest.approx(0.6)}


def test_a_truth_of_nothing_left_has_a_bias_without_bound():
    (row,) = coverage([reading("a", 0.1, 0.0, 0.2, -1.0)], "group")

    assert row["bias"] == float("inf") and row["above"] == 1


def test_without_a_truth_there_are_no_rows():
    assert coverage(ROWS[-1:], "group") == []


@pytest.mark.parametrize("held, trials", [(0, 20), (4, 20), (19, 20), (20, 20), (1, 1)])
def test_the_interval_of_a_share_is_that_of_the_beta_quantiles(held, trials):
    share, low, high = of_trials(held, trials)

    assert share == held / trials
    assert low == pytest.approx(beta.ppf(0.025, held, trials - held + 1) if held else 0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, held + 1, trials - held) if held < trials else 1, abs=1e-9)


def test_no_trials_have_no_share():
    assert of_trials(0, 0) is None
