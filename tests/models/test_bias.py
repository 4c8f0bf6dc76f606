"""The online factor of campaigns' forecasts, by numbers worked by hand."""

import numpy as np
import pytest

from models.bias import online_bias


def events(campaign, expected, real):
    return np.array(campaign), np.array(expected, float), np.array(real, float)


def test_the_factor_is_real_over_expected_with_the_prior_on_either_side():
    """Campaign 0: (2 + 4) / (0.5 + 0.5 + 4) = 1.2; campaign 2: (0 + 4) / (1 + 4) = 0.8; campaign 1 has seen nothing."""
    bias = online_bias(prior=4.0, half_life=10.0)

    state = bias.update(bias.init(3), *events([0, 2, 0], [0.5, 1.0, 0.5], [1, 0, 1]))

    assert bias.factor(state) == pytest.approx([1.2, 1.0, 0.8])


def test_counts_halve_over_a_half_life():
    bias = online_bias(prior=1.0, half_life=3.0)
    state = bias.update(bias.init(1), *events([0], [8.0], [4.0]))

    for _ in range(3):
        state = bias.update(state, *events(np.zeros(0, int), [], []))

    assert state == pytest.approx(np.array([[4.0, 2.0]]))


def test_the_factor_converges_to_real_over_expected_and_follows_a_change():
    bias = online_bias(prior=2.0, half_life=20.0)
    state = bias.init(1)

    for real, limit in ((70.0, 0.7), (130.0, 1.3)):
        for _ in range(400):
            state = bias.update(state, *events([0], [100.0], [real]))
        assert bias.factor(state)[0] == pytest.approx(limit, abs=1e-3)


def test_the_prior_keeps_a_campaign_without_data_at_1():
    bias = online_bias(prior=0.1, half_life=1.0)
    state = bias.init(5)

    assert bias.factor(state).tolist() == [1.0] * 5
    state = bias.update(state, *events([3], [0.0], [0.0]))
    assert bias.factor(state).tolist() == [1.0] * 5


def test_the_factor_stays_within_its_bounds():
    bias = online_bias(prior=1.0, half_life=9.0, lowest=0.8, highest=1.5)

    state = bias.update(bias.init(2), *events([0, 1], [50.0, 1.0], [0.0, 50.0]))

    assert bias.factor(state).tolist() == [0.8, 1.5]


def test_an_update_leaves_the_state_before_it_alone():
    bias = online_bias(prior=1.0, half_life=9.0)
    state = bias.init(1)

    bias.update(state, *events([0], [1.0], [1.0]))

    assert not state.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": 0.0}, "prior is 0.0"), ({"prior": np.inf}, "prior is inf"), ({"half_life": -1.0}, "half_life is -1.0"),
        ({"half_life": np.nan}, "half_life is nan"), ({"lowest": 0.0}, "lowest is 0.0"), ({"lowest": 1.1}, "lowest is 1.1"),
        ({"highest": 0.9}, "highest 0.9"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        online_bias(**({"prior": 1.0, "half_life": 1.0} | settings))


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (events([0, 2], [0.1, 0.1], [0, 1]), r"campaign\[1\] is 2, it must be >= 0 and < 2"),
        (events([-1, 0], [0.1, 0.1], [0, 1]), r"campaign\[0\] is -1"),
        (events([0, 1], [0.1, -0.1], [0, 1]), r"expected\[1\] is -0.1"),
        (events([0, 1], [0.1, 0.1], [0, np.nan]), r"real\[1\] is nan"),
        (events([0, 1], [0.1, 0.1], [0]), r"shapes \(2,\), \(2,\) and \(1,\)"),
    ],
)
def test_events_that_cannot_be_counted_are_refused(update, message):
    bias = online_bias(prior=1.0, half_life=1.0)

    with pytest.raises(ValueError, match=message):
        bias.update(bias.init(2), *update)
