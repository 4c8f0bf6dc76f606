"""The predictor of a search: it recovers a law that was planted, and says so when there is none."""

import numpy as np
import pytest

from marketplace.surrogate import fitted, one_hot, trust

LEVELS = (4, 3, 3, 2)
WEIGHT = np.array([1.0, 0.5, 0.3, 0.2])
TRIALS = 24


def drawn(n, seed):
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, levels, n) for levels in LEVELS], axis=1)


def planted(choice, seed):
    """An additive law: each setting's level adds its own number."""
    random = np.random.default_rng(seed)
    worth = [weight * random.standard_normal(levels) for weight, levels in zip(WEIGHT, LEVELS, strict=True)]
    return sum(own[choice[:, place]] for place, own in enumerate(worth))


def test_a_choice_is_one_1_in_the_columns_of_each_setting():
    x = one_hot(np.array([[0, 1], [2, 0]]), (3, 2))

    assert x.tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0]]


@pytest.mark.parametrize("seed", range(4))
def test_an_additive_law_is_recovered_on_choices_that_were_not_tried(seed):
    choice = drawn(TRIALS + 200, seed)
    x, y = one_hot(choice, LEVELS), planted(choice, seed)

    off = fitted(x[:TRIALS], y[:TRIALS]).predict(x[TRIALS:]) - y[TRIALS:]

    assert np.mean(off**2) < 0.1 * y.var()
    found = trust(x[:TRIALS], y[:TRIALS])
    assert found.r2 > 0.8 and found.rank > 0.8 and found.rmse < found.spread


def test_noise_is_not_taken_for_a_law():
    """Over many draws of pure noise, leave-one-out says that choices tell nothing: its mean R2 is below 0 and ranks are small."""
    found = [trust(one_hot(drawn(10, s), LEVELS), np.random.default_rng(s).standard_normal(10)) for s in range(6)]

    r2 = np.array([one.r2 for one in found])
    assert r2.mean() < 4 * r2.std(ddof=1) / np.sqrt(len(r2))


def test_a_mean_of_the_others_has_an_r2_of_0_and_no_ranks():
    """All choices alike: there is nothing but that mean to answer with."""
    y = np.arange(8.0)

    found = trust(np.ones((8, 3)), y)

    assert found.spread == pytest.approx(np.sqrt(np.mean(((y - y.mean()) * 8 / 7) ** 2)))
    assert found.r2 == pytest.approx(0.0, abs=1e-3)
    assert found.rank is None


def test_equal_trials_have_neither_r2_nor_ranks():
    found = trust(one_hot(drawn(6, 0), LEVELS), np.full(6, 0.7))

    assert found.r2 is None and found.rank is None
    assert found.rmse == pytest.approx(0.0, abs=1e-12)


def test_the_intervals_of_a_noisy_law_hold_95_per_cent_of_new_measurements():
    held, n, seeds = 0, 100, 6
    for seed in range(seeds):
        choice = drawn(60 + n, seed)
        y = planted(choice, seed) + 0.3 * np.random.default_rng(seed + 50).standard_normal(len(choice))
        x = one_hot(choice, LEVELS)
        mean, sd = fitted(x[:60], y[:60]).predict(x[60:], return_std=True)
        held += int((np.abs(y[60:] - mean) < 1.96 * sd).sum())

    assert abs(held / (n * seeds) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / (n * seeds))
