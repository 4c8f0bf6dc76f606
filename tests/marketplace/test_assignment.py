"""Assignment of users to arms."""

import numpy as np
import pytest

from marketplace.assignment import everyone, split_users
from synth.types import Requests


def test_a_user_is_always_in_the_same_arm_and_arms_have_their_shares():
    split = split_users(40_000, (0.9, 0.1), seed=5)
    user = np.array([3, 7, 3, 7], np.int32)
    arm = split.of_request(Requests(id=np.arange(4), user=user, time_ms=np.arange(4), surface=np.zeros(4, np.int32)))

    assert (arm == split.of_user[user]).all()
    assert abs(split.of_user.mean() - 0.1) < 4 * np.sqrt(0.09 / 40_000)


def test_a_users_arm_does_not_depend_on_how_many_users_there_are():
    assert (split_users(100, (0.5, 0.5), 1).of_user == split_users(1000, (0.5, 0.5), 1).of_user[:100]).all()


def test_everyone_is_in_the_first_arm():
    assert everyone(10).of_user.tolist() == [0] * 10


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.0, 0.0), (0.5, -0.5, 1.0)])
def test_shares_that_do_not_add_up_are_refused(shares):
    with pytest.raises(ValueError, match="add up to 1"):
        split_users(10, shares, 1)
