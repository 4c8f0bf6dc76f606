"""Selection by clicks: means over all impressions from conversions seen after clicks, and weights that train for them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import Unusable
from models.selection import doubly_robust_weights, dr_mean, ipw_cvr_weights, ipw_mean, snips_mean
from models.weights import Weights

probability = st.floats(0.01, 1)
MEANS = (ipw_mean, snips_mean, lambda click, y, p: dr_mean(click, y, p, np.full(len(p), 0.1)))


class Log:
    """Impressions whose clicks go with their conversions: what converts is clicked more often."""

    def __init__(self, seed: int, rows: int = 4_000) -> None:
        rng = np.random.default_rng(seed)
        taste = rng.random(rows)
        self.p, self.cvr = 0.05 + 0.5 * taste, 0.1 + 0.6 * taste
        self.click = rng.random(rows) < self.p
        self.conversion = (rng.random(rows) < self.cvr) & self.click


def estimates(mean, runs: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Estimates less the truth of each log, and the errors they state."""
    logs = [Log(seed) for seed in range(runs)]
    found = [mean(log) for log in logs]
    return np.array([one.estimate for one in found]) - 0.4, np.array([one.error for one in found])


def test_by_hand():
    """Clicks at p = 0.5, 0.25, with conversions 1, 0; imputed 0.5, 0.25, 0.5, 0."""
    click, conversion = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)
    p, imputed = np.array([0.5, 0.25, 0.5, 1.0]), np.array([0.5, 0.25, 0.5, 0.0])

    assert ipw_mean(click, conversion, p)[:2] == pytest.approx((0.5, 0.5))  # of 2, 0, 0, 0
    assert snips_mean(click, conversion, p)[:2] == pytest.approx((1 / 3, np.sqrt((4 / 3) ** 2 * 2) / 6))
    assert dr_mean(click, conversion, p, imputed)[:2] == pytest.approx(
        (0.3125, np.std([1.5, -0.75, 0.5, 0], ddof=1) / 2)
    )
    assert doubly_robust_weights(click, conversion, p, imputed).positive == pytest.approx([1.5, -0.75, 0.5, 0])
    assert {round(mean(click, conversion, p).effective_rows, 9) for mean in MEANS} == {1.8}  # (2 + 4)^2 / (4 + 16)


def test_a_clicked_row_counts_for_as_many_as_it_stands_for():
    got = ipw_cvr_weights(Weights(np.array([1.0, 0.2]), np.array([0.0, 0.8])), np.array([0.5, 0.01]))
    held = ipw_cvr_weights(Weights(np.array([1.0, 0.2]), np.array([0.0, 0.8])), np.array([0.5, 0.01]), least=0.1)

    assert got.positive == pytest.approx([2, 20]) and got.negative == pytest.approx([0, 80])
    assert held.positive == pytest.approx([2, 2]) and held.negative == pytest.approx([0, 8])


@given(p=probability, used=probability, cvr=st.floats(0, 1), imputed=st.floats(0, 1))
def test_doubly_robust_weights_are_right_in_expectation_up_to_the_product_of_both_errors(p, used, cvr, imputed):
    """E[t] - cvr = (imputed - cvr) (1 - p / used): nothing if either is right."""
    click, conversion, chance = np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([1 - p, p * (1 - cvr), p * cvr])

    got = doubly_robust_weights(click, conversion, np.full(3, used), np.full(3, imputed))

    assert chance @ got.positive - cvr == pytest.approx((imputed - cvr) * (1 - p / used), abs=1e-9)
    assert got.total == pytest.approx(np.ones(3))


def test_the_mean_over_clicks_alone_is_biased():
    naive = np.mean([log.conversion[log.click].mean() for log in map(Log, range(50))])

    assert naive > 0.45


@pytest.mark.parametrize(
    "mean",
    [
        lambda log: ipw_mean(log.click, log.conversion, log.p),
        lambda log: snips_mean(log.click, log.conversion, log.p),
        lambda log: dr_mean(log.click, log.conversion, log.p, np.full_like(log.p, 0.9)),
        lambda log: dr_mean(log.click, log.conversion, np.sqrt(log.p), log.cvr),
    ],
    ids=["ipw", "self-normalised", "doubly robust, imputation wrong", "doubly robust, propensity wrong"],
)
def test_means_are_the_truth_on_average_and_their_errors_their_spread(mean):
    off, errors = estimates(mean)

    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off))
    assert np.sqrt((errors**2).mean()) == pytest.approx(off.std(), rel=0.15)


@pytest.mark.parametrize(
    "mean",
    [
        lambda log: ipw_mean(log.click, log.conversion, np.sqrt(log.p)),
        lambda log: snips_mean(log.click, log.conversion, np.sqrt(log.p)),
        lambda log: dr_mean(log.click, log.conversion, np.sqrt(log.p), np.full_like(log.p, 0.9)),
    ],
    ids=["ipw", "self-normalised", "doubly robust, both wrong"],
)
def test_a_wrong_propensity_biases_what_nothing_else_corrects(mean):
    off, errors = estimates(mean)

    assert abs(off.mean()) > 10 * errors.mean() / np.sqrt(len(off))


def test_a_good_imputation_lowers_the_variance_by_what_theory_says():
    """Of one impression: E[c / p] - 0.4^2 without, E[c (1 - c) / p] + Var(c) with; c and p go with a uniform taste."""
    taste = (np.arange(10_000) + 0.5) / 10_000
    p, cvr = 0.05 + 0.5 * taste, 0.1 + 0.6 * taste

    _, plain = estimates(lambda log: ipw_mean(log.click, log.conversion, log.p))
    _, doubly = estimates(lambda log: dr_mean(log.click, log.conversion, log.p, log.cvr))

    assert 4_000 * (plain**2).mean() == pytest.approx((cvr / p).mean() - 0.16, rel=0.02)
    assert 4_000 * (doubly**2).mean() == pytest.approx((cvr * (1 - cvr) / p).mean() + 0.03, rel=0.02)
    assert (doubly**2).mean() < 0.8 * (plain**2).mean()


def test_a_factor_on_the_propensity_does_not_move_the_self_normalised_mean():
    log = Log(1)

    once, half = (snips_mean(log.click, log.conversion, factor * log.p) for factor in (1.0, 0.5))

    assert half == pytest.approx(once)


def test_weighted_clicks_train_a_constant_to_the_mean_of_all_impressions():
    """The constant with the least loss is positive over total."""
    shares = []
    for log in map(Log, range(50)):
        y = log.conversion[log.click].astype(float)
        weights = ipw_cvr_weights(Weights(y, 1 - y), log.p[log.click])
        shares.append(weights.positive.sum() / weights.total.sum())

    assert np.mean(shares) == pytest.approx(0.4, abs=4 * np.std(shares) / np.sqrt(50))


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.5, float("nan")])
def test_a_probability_that_is_none_is_refused_with_count_and_place(mean, wrong):
    p = np.array([0.5, wrong, 0.5, wrong])

    with pytest.raises(Unusable, match=rf"within \(0, 1\]: 2 of 4 are not, the first is {wrong} in row 1"):
        mean(np.ones(4, bool), np.ones(4, bool), p)


def test_a_self_normalised_mean_of_no_clicks_is_refused():
    with pytest.raises(Unusable, match="none of 3 impressions was clicked"):
        snips_mean(np.zeros(3, bool), np.zeros(3, bool), np.full(3, 0.5))
