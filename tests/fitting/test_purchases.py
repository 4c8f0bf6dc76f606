"""Repeat purchase: likelihoods against integrals by hand, means against simulated customers, fits against what was drawn."""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from real import real
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import beta as beta_law
from scipy.stats import chisquare, gamma

from fitting import purchases as die
from fitting import returning as back
from fitting.adapters import FORMATS
from fitting.customers import Customers, purchase_days, seen_until
from fitting.errors import Unfit
from fitting.lifetime import LAWS, choose, expected, fit, lifetimes, simulate

BG = np.array([0.6, 30.0, 0.8, 2.4])
PARETO = np.array([0.6, 70.0, 0.9, 60.0])
RETURNING = np.array([0.6, 70.0, 0.9, 60.0, 0.02])
THETA = {"bg_nbd": BG, "pareto_nbd": PARETO, "returning": RETURNING}
EXACT = {"epsabs": 0.0, "epsrel": 1e-9}


def days_of(theta: np.ndarray, n: int, last_day: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Days of purchase (customer, day) of customers who come in over 80 days, leave and come back; one by one."""
    r, alpha, s, beta, again = theta
    rng = np.random.default_rng(seed)
    customer, day = [], []
    for who in range(n):
        rate, leaving = rng.gamma(r, 1 / alpha), rng.gamma(s, 1 / beta)
        now = rng.uniform(0, 80)
        days = {int(now)}
        gone = now + rng.exponential(1 / leaving)
        while now <= last_day:
            now += rng.exponential(1 / rate)
            while now > gone:  # what was drawn beyond it did not happen
                now = gone + rng.exponential(1 / again)
                gone = now + rng.exponential(1 / leaving)
                now += rng.exponential(1 / rate)
            days.add(int(now))
        kept = sorted(d for d in days if d <= last_day)
        customer += [who] * len(kept)
        day += kept
    return np.array(customer), np.array(day)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    return days_of(RETURNING, 3_000, 299, 11)


@pytest.fixture(scope="module")
def cdnow() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with duckdb.connect() as con:
        view = FORMATS["cdnow"].opens(con, (real("cdnow/CDNOW_master.txt.gz"),))["purchases"]
        yield purchase_days(con, view)


@pytest.mark.parametrize(("x", "t_x", "age"), [(0, 0.0, 100.0), (1, 30.0, 100.0), (4, 90.0, 200.0)])
def test_bg_nbd_is_its_integral_over_rates_and_probabilities(x, t_x, age):
    r, alpha, a, b = BG

    def at(time: float) -> float:  # x purchases and none after them, rates integrated out
        return float(np.exp(die.gammaln(r + x) - die.gammaln(r)) * alpha**r / (alpha + time) ** (r + x))

    def history(p: float) -> float:
        leaves = p * (1 - p) ** (x - 1) * at(t_x) if x else 0.0
        return ((1 - p) ** x * at(age) + leaves) * float(beta_law.pdf(p, a, b))

    whole = quad(history, 0, 1e-3, limit=200)[0] + quad(history, 1e-3, 1, **EXACT)[0]
    given = die.bg_nbd(BG, np.array([x]), np.array([t_x]), np.array([age]))[0]
    assert given == pytest.approx(np.log(whole), rel=1e-6)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("x", "t_x", "age"), [(0, 0.0, 100.0), (1, 30.0, 100.0), (4, 90.0, 200.0)])
def test_pareto_nbd_is_its_integral_over_the_time_of_leaving(x, t_x, age, turned):
    r, alpha, s, beta = (0.6, 60.0, 0.9, 70.0) if turned else PARETO

    def at(time: float) -> float:  # no more purchases after t_x, rates integrated out
        return np.exp(die.gammaln(r + x) - die.gammaln(r)) * alpha**r / (alpha + time) ** (r + x)

    left = quad(lambda time: at(time) * s * beta**s / (beta + time) ** (s + 1), t_x, age, **EXACT)[0]
    whole = left + at(age) * (beta / (beta + age)) ** s
    given = die.pareto_nbd(np.array([r, alpha, s, beta]), np.array([x]), np.array([t_x]), np.array([age]))[0]
    assert given == pytest.approx(np.log(whole), rel=1e-8)


def test_customers_who_never_come_back_are_those_of_pareto_nbd(drawn):
    customers = seen_until(*drawn, 299)

    never = back.returning(np.log(np.r_[PARETO, 1e-12]), customers)[0]

    assert never == pytest.approx(die.log_likelihood(die.pareto_nbd, PARETO, customers), rel=1e-4)


def test_a_gap_s_density_and_what_is_left_of_it_sum_to_one():
    days = 4_000
    table = np.exp(back._table(np.array([0.05, 0.01]), np.array([0.02, 0.05]), 0.01, days))

    density, left = table[:days], table[days:]
    gone = np.cumsum((density[1:] + density[:-1]) / 2, axis=0)  # trapezoid, days of length 1
    assert left[0] == pytest.approx([1.0, 1.0])
    assert gone[-1] + left[-1] == pytest.approx([1.0, 1.0], abs=1e-3)


def test_the_gradient_is_that_of_the_likelihood(drawn):
    customers = seen_until(*(part[:800] for part in drawn), 299)
    x = np.log([0.5, 60.0, 1.2, 50.0, 0.03])

    assert back.returning(x, customers)[1] == pytest.approx(
        approx_fprime(x, lambda y: back.returning(y, customers)[0], 1e-6), rel=1e-3, abs=1e-2
    )


@pytest.mark.parametrize("law", LAWS)
def test_mean_repeats_are_those_of_simulated_customers(law):
    age, horizon, n = np.full(60_000, 150.0), 200.0, 60_000

    before, after = LAWS[law].simulate(THETA[law], age, horizon, np.random.default_rng(3))

    expect = LAWS[law].expected
    until, whole = expect(THETA[law], age[:1])[0], expect(THETA[law], age[:1] + horizon)[0]
    assert abs(before.mean() - until) < 4 * before.std() / np.sqrt(n)
    assert abs(after.mean() - (whole - until)) < 4 * after.std() / np.sqrt(n)


def test_counts_under_bg_nbd_are_those_of_simulated_customers_and_their_mean_is_the_expected():
    age, n = 150.0, 200_000
    before, _ = die.simulate_bg_nbd(BG, np.full(n, age), 1.0, np.random.default_rng(4))

    share = die.bg_nbd_probability(BG, 400, age)

    assert share.sum() == pytest.approx(1, abs=1e-6)
    assert share @ np.arange(401) == pytest.approx(die.bg_nbd_expected(BG, np.array([age]))[0], rel=1e-5)
    seen = np.bincount(np.minimum(before, 8), minlength=9)
    assert chisquare(seen, n * np.r_[share[:8], share[8:].sum()]).pvalue > 1e-4


def test_the_share_of_active_customers_falls_to_where_leaving_and_coming_back_balance():
    theta = np.array([0.6, 70.0, 2.0, 60.0, 0.01])

    balance = quad(lambda rate: 0.01 / (0.01 + rate) * float(gamma.pdf(rate, 2.0, scale=1 / 60)), 0, 2, **EXACT)[0]
    assert back.active_share(theta, np.array([0.0, 1e6])) == pytest.approx([1.0, balance], rel=1e-3)


def test_purchases_on_one_day_count_once_and_a_sample_keeps_customers_whole():
    with duckdb.connect() as con:
        con.execute(
            'CREATE VIEW purchases AS SELECT i % 50 AS "user", (i // 50) * 43_200_000 AS time_ms FROM range(300) t(i)'
        )
        customer, day = purchase_days(con)
        some, _ = purchase_days(con, most=10)

    assert len(customer) == 50 * 3
    assert day[:3].tolist() == [0, 1, 2]
    assert np.bincount(some).tolist() == [3] * 10


def test_a_history_is_counted_by_hand():
    found = seen_until(np.array([0, 0, 0, 1, 2]), np.array([2, 5, 9, 4, 4]), 10)

    assert isinstance(found, Customers)
    assert found.weight.tolist() == [2.0, 1.0]  # those of one purchase have one age
    assert (found.repeats.tolist(), found.last.tolist(), found.age.tolist()) == ([0, 2], [0.0, 7.0], [6.0, 8.0])
    assert found.gaps.toarray()[1].nonzero()[0].tolist() == [3, 4, 9 + 1]  # gaps of 3 and 4 days, then 1 day without


def test_the_fit_finds_what_was_drawn_and_the_log_chooses_the_law(drawn):
    fitted = fit("returning", seen_until(*drawn, 299))

    error = np.sqrt(np.diag(fitted.error))
    assert (np.abs(np.log(fitted.theta / RETURNING)) < 4 * error).all()
    assert next(iter(choose(*drawn, 299))) == "returning"
    age = np.full(20_000, 250.0)
    again = simulate(fitted, age, 100.0, np.random.default_rng(5))[1]
    assert abs(again.sum() - expected(fitted, age, 100.0)) < 4 * again.std() * np.sqrt(len(age))


def test_estimates_have_intervals_and_what_cannot_be_told_has_a_reason(drawn):
    with duckdb.connect() as con:
        con.register("days", pa.table({"user": drawn[0], "day": drawn[1]}))
        con.execute('CREATE VIEW purchases AS SELECT "user", day * 86_400_000 AS time_ms FROM days')
        found = {estimate.name: estimate for estimate in lifetimes(con)}
        con.execute('CREATE VIEW once AS SELECT "user", min(time_ms) AS time_ms FROM purchases GROUP BY "user"')
        nothing = lifetimes(con, "once")

    for name in (
        "purchases.per_day",
        "world.lifetime.leaving_per_day",
        "world.lifetime.away_days",
        "purchases.active_share",
    ):
        estimate = found[name]
        assert estimate.low < estimate.value < estimate.high
        assert estimate.events > 1_000
    assert found["purchases.leaving_per_repeat"].why == "returning has no such parameter"
    assert all(estimate.value is None and estimate.why for estimate in nothing)


def test_logs_that_tell_nothing_are_refused_in_one_line():
    with pytest.raises(Unfit, match="none of 2 customers bought on two days"):
        seen_until(np.array([0, 1]), np.array([0, 3]), 10)
    with pytest.raises(Unfit, match="nobody had bought by day -1"):
        seen_until(np.array([0, 1]), np.array([0, 3]), -1)
    with pytest.raises(Unfit, match="purchases span 5 days"):
        choose(np.array([0, 0]), np.array([0, 4]), 4)


def test_bg_nbd_of_all_of_cdnow_is_near_the_published_one_of_a_tenth(cdnow):
    """Fader, Hardie & Lee (2005): r .243, alpha 4.414 weeks, a .793, b 2.426 for 2,357 customers."""
    fitted = fit("bg_nbd", seen_until(*cdnow, int(cdnow[1].min()) + 272))

    error = np.sqrt(np.diag(fitted.error)) * np.sqrt(11)  # ten times the variance of all, and that of all
    assert (np.abs(np.log(fitted.theta / [0.243, 4.414 * 7, 0.793, 2.426])) < 4 * error).all()


@pytest.mark.deep
def test_cdnow_s_next_39_weeks_are_forecast_within_5_percent_by_the_law_that_its_first_39_choose(cdnow):
    end = int(cdnow[1].min()) + 272
    customer, day = cdnow
    known = day <= end
    law = next(iter(choose(customer[known], day[known], end)))
    customers = seen_until(*cdnow, end)
    fitted, age = fit(law, customers), np.repeat(customers.age, customers.weight.astype(int))

    later = [simulate(fitted, age, 273.0, np.random.default_rng(k))[1].sum() for k in range(40)]

    assert law == "returning"
    assert (~known).sum() == 19_684
    assert abs(np.mean(later) / (~known).sum() - 1) < 0.05
    assert abs(np.mean(later) - expected(fitted, age, 273.0)) < 4 * np.std(later) / np.sqrt(40)
