"""Lifetimes: how many users are there after some days, that absences end, and that none leave where nothing says so."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gamma, kstest

from synth.config import LifetimeConfig
from synth.lifetime import leaving_rate, present
from synth.world import World

LAW = LifetimeConfig(leaving_per_day=0.05, leaving_shape=0.8, away_days=20.0)
N = 40_000


def test_rates_of_leaving_are_gamma_over_users_with_the_mean_that_was_asked_for():
    rate = leaving_rate(LAW, N, 7)

    assert kstest(rate, gamma(0.8, scale=0.05 / 0.8).cdf).pvalue > 1e-4
    assert abs(rate.mean() - 0.05) < 4 * rate.std() / np.sqrt(N)


@pytest.mark.parametrize("day", [1, 10, 200])
def test_the_share_of_users_who_are_there_is_that_of_the_two_state_chain(day):
    def there(rate: float) -> float:
        both = rate + 1 / 20
        return (1 / 20 / both + rate / both * np.exp(-both * day)) * gamma.pdf(rate, 0.8, scale=0.05 / 0.8)

    expected = quad(there, 0, 0.01)[0] + quad(there, 0.01, 3)[0]
    share = present(LAW, N, day, 7).mean()

    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / N)


def test_all_are_there_at_the_start_and_a_user_s_days_do_not_depend_on_who_else_there_is():
    assert present(LAW, N, 0, 7).all()
    assert (present(LAW, N, 30, 7)[:100] == present(LAW, 100, 30, 7)).all()
    assert (present(LAW, N, 30, 7) != present(LAW, N, 30, 8)).any()


def test_days_are_of_one_life_those_there_today_were_mostly_there_yesterday():
    """Of those there on day 50, a share exp(-rate) and a little more stays to day 51."""
    before, after = present(LAW, N, 50, 7), present(LAW, N, 51, 7)
    rate = leaving_rate(LAW, N, 7)[before]

    stayed = after[before].mean()
    assert np.exp(-rate).mean() - 0.01 < stayed < np.exp(-rate).mean() + 0.01


def test_users_who_are_away_make_no_requests_and_the_others_the_same_as_ever(world: World):
    p, minds, day = world.population, world.minds(), 6
    leaving = replace(world, population=replace(p, config=p.config.model_copy(update={"lifetime": LAW})))

    whole, some = world.requests_on(day, minds), leaving.requests_on(day, minds)

    there = present(LAW, p.config.population.users, day, p.luck)
    assert not there.all()
    assert (some.id == whole.id[there[whole.user]]).all()
    assert (some.time_ms == whole.time_ms[there[whole.user]]).all()
