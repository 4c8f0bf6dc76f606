"""The discriminator: what is alike cannot be told apart, and what gives a log away is named."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from small_logs import market, opened

from marketplace.discriminator import discriminate
from marketplace.realism import lay_views
from models.discriminator import tell_apart
from models.errors import Unusable

DAYS = 14


def asked(real, simulated, seed=0):
    logs = [opened(real), opened(simulated)]
    for log in logs:
        lay_views(log, DAYS, 1.0, None)
    return discriminate(*logs, DAYS, seed=seed, threads=1)


def test_two_halves_of_one_log_cannot_be_told_apart():
    rng = np.random.default_rng(1)
    whole = market(rng, 3_000)
    half = rng.random(3_000) < 0.5
    first, second = (
        {name: column[half[whole["user"]] == own] for name, column in whole.items()} for own in (True, False)
    )

    found = asked(first, second)

    auc, low, high = found["auc"]
    assert abs(auc - 0.5) < 4 * (high - low) / (2 * 2.02)  # Student's t of 39 degrees of freedom
    assert found["words"] == []


def test_a_log_with_other_hours_is_told_by_the_hour():
    rng = np.random.default_rng(2)

    found = asked(market(rng, 1_000), market(rng, 1_000, morning=0.5))

    assert found["auc"][1] > 0.65  # half of the impressions are known by the hour: the best AUC is about 0.74
    assert found["features"][0]["feature"] == "hour"
    assert found["words"][0].startswith("hour: 9 in 4.") and "of the simulated" in found["words"][0]


def test_users_who_click_more_are_told_by_their_clicks():
    rng = np.random.default_rng(3)

    found = asked(market(rng, 1_500), market(rng, 1_500, rate=0.4))

    assert found["auc"][1] > 0.6
    assert (
        found["features"][0]["feature"] == "user's clicks so far"
    )  # the rate of items is over the mean, so it says nothing


def test_a_log_without_users_is_not_asked_about():
    rng = np.random.default_rng(4)
    bare = {name: column for name, column in market(rng, 100).items() if name != "user"}

    assert asked(bare, market(rng, 100))["why"] == "a log has no impressions.user"


def sample(rng, users=200, rows=20, shift=0.0):
    user = np.repeat(np.arange(users), rows)
    second = user % 2 == 1
    x = rng.normal(size=(len(user), 2)).astype(np.float32)
    x[:, 1] += shift * second
    return x, second, user // 2  # both samples number their users from 0


def test_a_shifted_normal_is_told_as_well_as_can_be_and_no_better():
    rng = np.random.default_rng(5)
    told = tell_apart(*_args(sample(rng, users=1_000, shift=1.0)), seed=0)

    best = 0.7602  # Phi(1 / sqrt(2))
    auc, low, high = told.auc
    assert best - 0.03 < auc < best + 4 * (high - low) / 4
    assert next(iter(told.loss)) == "shifted" and told.loss["shifted"].low > 0.2
    assert told.loss["noise"].low < 0.005


def test_users_of_one_number_in_both_samples_are_different_ones():
    x, second, user = sample(np.random.default_rng(6))

    told = tell_apart(*_args((x, second, user)), seed=0)

    assert told.users == 2 * 34 and told.rows == told.users * 20


def test_rows_of_one_user_that_are_alike_widen_the_interval():
    rng = np.random.default_rng(7)
    x, second, user = sample(rng, users=400, shift=0.5)
    alike = x[::20].repeat(20, axis=0)

    apart, together = (tell_apart(*_args((own, second, user)), seed=0).auc for own in (x, alike))

    assert together.high - together.low > 2.5 * (
        apart.high - apart.low
    )  # 20 rows tell no more than one: up to sqrt(20)


def test_the_auc_is_that_of_scikit_learn_with_and_without_each_group():
    from models.discriminator import _aucs  # noqa: PLC0415

    rng = np.random.default_rng(8)
    label, group, score = rng.random(500) < 0.4, rng.integers(0, 7, 500), rng.integers(0, 30, 500).astype(np.float32)

    found = _aucs(label, group, score)

    assert found[0] == pytest.approx(roc_auc_score(label, score))
    for own in range(7):
        assert found[1 + own] == pytest.approx(roc_auc_score(label[group != own], score[group != own]))


def test_too_few_users_are_refused():
    with pytest.raises(Unusable, match="10 users of each"):
        tell_apart(*_args(sample(np.random.default_rng(9), users=40)), seed=0)


def _args(sample):
    x, second, user = sample
    return x, ("noise", "shifted"), second, user, user % 3 == 0
