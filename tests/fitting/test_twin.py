"""A twin of a bandit log: it is the maximum of its likelihood, shrinks, and its intervals hold what they promise."""

import duckdb
import numpy as np
import pytest
from real import real
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import gamma, poisson

from fitting.adapters import FORMATS
from fitting.errors import Unfit
from fitting.twin import Cells, Twin, _loss, count_cells, fit_twin, policy_value, same_items

SLOTS = np.array([1.0, 0.7, 0.4])


def log_of(
    rng: np.random.Generator, items: int, rows: int, *, shape: float = 4.0, mean: float = 0.02
) -> tuple[Cells, np.ndarray]:
    """A uniform log, and the items' rates behind it."""
    rate = rng.gamma(shape, mean / shape, items)
    shown = rng.multinomial(rows, np.full(items * 3, 1 / (items * 3))).reshape(items, 3).astype(float)
    names = np.array([f"{i:03d}" for i in range(items)])
    return Cells(names, shown, rng.binomial(shown.astype(int), rate[:, None] * SLOTS).astype(float)), rate


def learnt(cells: Cells, rate: np.ndarray, rows: int, rng: np.random.Generator) -> Cells:
    """A policy that prefers items that are good or were lucky, mostly in the first slot."""
    weight = np.outer((rate * np.exp(0.5 * rng.normal(size=len(rate)))) ** 2, [0.6, 0.3, 0.1])
    return Cells(cells.item, np.round(rows * weight / weight.sum()), np.zeros((len(rate), 3)))


def test_the_likelihood_is_that_of_poisson_clicks_whose_item_rates_are_integrated_out():
    shown, clicked = np.array([[100.0, 50.0]]), np.array([[3.0, 1.0]])
    mean, shape, lean, slot = 0.03, 2.0, 0.3, 0.5

    def density(q: float) -> float:
        counts = poisson.pmf(clicked, shown * q * np.array([[1.0, slot]])).prod()
        return float(counts * gamma.pdf(q, shape, scale=mean * np.exp(2 * lean) / shape))

    whole = quad(density, 0, 1, epsabs=0, epsrel=1e-10)[0]
    constant = (clicked * np.log(shown) - [[np.log(6.0), 0.0]]).sum()  # of parts without parameters
    x = np.array([np.log(mean), np.log(shape), lean, np.log(slot)])
    assert -_loss(x, shown, clicked, np.array([2.0]))[0] + constant == pytest.approx(np.log(whole), rel=1e-9)


def test_the_gradient_is_that_of_the_likelihood():
    cells, _ = log_of(np.random.default_rng(1), 12, 6_000)
    x, z = np.log([0.015, 2.0, 1.3, 0.9, 0.5]), np.linspace(-2, 2, 12)

    def loss(y: np.ndarray) -> float:
        return _loss(y, cells.shown, cells.clicked, z)[0]

    assert _loss(x, cells.shown, cells.clicked, z)[1] == pytest.approx(approx_fprime(x, loss, 1e-7), rel=1e-4, abs=1e-3)


def test_an_item_s_rate_lies_between_its_own_and_that_of_all_and_one_not_in_the_log_has_that_of_all():
    cells, _ = log_of(np.random.default_rng(2), 30, 30_000)
    log, _ = same_items(cells, Cells(np.array(["new"]), np.ones((1, 3)), np.zeros((1, 3))))
    twin = fit_twin(log)

    shape, rate = twin.item_law

    own = cells.clicked.sum(axis=1) / (cells.shown @ twin.slot)
    shrunk, mean = shape / rate, twin.mean[0]
    assert (np.minimum(own, mean) <= shrunk[:-1] + 1e-12).all()
    assert (shrunk[:-1] <= np.maximum(own, mean) + 1e-12).all()
    assert log.item[-1] == "new"
    assert shrunk[-1] == pytest.approx(mean)


def test_items_that_do_not_differ_are_given_one_rate():
    cells = Cells(np.array(["a", "b"]), np.full((2, 3), 1_000.0), np.array([[20.0, 14.0, 8.0]] * 2))

    twin = fit_twin(cells)

    assert twin.shape > 1_000
    assert twin.slot == pytest.approx([1.0, 0.7, 0.4], rel=1e-3)
    assert twin.mean == pytest.approx([0.02] * 2, rel=1e-3)


def covered(replications: int, draws: int, seed: int) -> tuple[float, float]:
    """Share of worlds in which the intervals hold the policy's true rate, and the click rate of a log under it."""
    held = np.zeros(2)
    for k in range(replications):
        rng = np.random.default_rng([seed, k])
        cells, rate = log_of(rng, 30, 20_000)
        policy = learnt(cells, rate, 20_000, rng)
        truth = (rate[:, None] * SLOTS * policy.shown).sum() / policy.shown.sum()
        logged = rng.binomial(policy.shown.astype(int), rate[:, None] * SLOTS).sum() / policy.shown.sum()
        value = policy_value(cells, policy, rng, draws)
        held += value.low <= truth <= value.high, value.logged_low <= logged <= value.logged_high
    return tuple(held / replications)


def test_intervals_hold_the_true_rate_and_the_logged_one():
    of_rate, of_log = covered(40, 100, 5)

    least = 0.95 - 4 * np.sqrt(0.95 * 0.05 / 40)
    assert of_rate >= least
    assert of_log >= least


@pytest.mark.deep
def test_intervals_hold_the_true_rate_and_the_logged_one_in_95_of_100_worlds():
    shares = covered(200, 100, 6)

    for share in shares:
        assert abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)


def test_a_slot_without_clicks_and_a_slot_that_is_not_known_are_refused():
    cells = Cells(np.array(["a"]), np.full((1, 2), 10.0), np.array([[1.0, 0.0]]))

    with pytest.raises(Unfit, match="slot 1 has no clicks of 10 impressions"):
        fit_twin(cells)
    with pytest.raises(Unfit, match="fills 2 slots, the log has 1"):
        policy_value(Cells(cells.item, *(part[:, :1] for part in cells[1:])), cells, np.random.default_rng(0))


@pytest.mark.parametrize("campaign", ["all", "men"])
def test_the_twin_of_the_random_log_holds_the_click_rate_that_was_logged_under_thompson_sampling(campaign):
    with duckdb.connect() as con:
        names = real(f"open_bandit/random_{campaign}.parquet"), real(f"open_bandit/bts_{campaign}.parquet")
        view = FORMATS["open_bandit"].opens(con, names)["impressions"]
        random, bts = count_cells(con, view, "randomised"), count_cells(con, view, "NOT randomised")

    value = policy_value(random, bts, np.random.default_rng(0))

    logged = bts.clicked.sum() / bts.shown.sum()
    assert value.logged_low <= logged <= value.logged_high
    assert value.logged_low <= value.low < value.ctr < value.high <= value.logged_high
    ips, snips, robust, error = inverse_propensity(random, bts, fit_twin(random))
    for other in (ips, snips, robust):
        assert abs(value.ctr - other) < 4 * error


def inverse_propensity(random: Cells, policy: Cells, twin: Twin) -> tuple[float, float, float, float]:
    """IPS, self-normalised IPS and doubly robust values of a policy by a uniform log; the standard error of the first."""
    at = np.searchsorted(random.item, policy.item)
    share = np.zeros_like(random.shown)
    share[at] = policy.shown / policy.shown.sum()
    weight = share / (1 / random.shown.size)
    n = random.shown.sum()
    ips = (weight * random.clicked).sum() / n
    snips = (weight * random.clicked).sum() / (weight * random.shown).sum()
    shape, rate = twin.item_law
    model = (shape / rate)[:, None] * twin.slot
    robust = (share * model).sum() + (weight * (random.clicked - model * random.shown)).sum() / n
    error = np.sqrt((weight**2 * random.clicked).sum()) / n
    return float(ips), float(snips), float(robust), float(error)
