"""Random splits: every moment against the plain computation of one split, and who is treated how often."""

import numpy as np
import pytest

from marketplace import resplit as module
from marketplace.counters import NAMES
from marketplace.metrics import BUDGET, MOMENTS, USERS, moments_by_arm, place
from marketplace.resplit import resplit
from synth import draws
from synth.draws import Cause

REQUESTS, CLICKS, SPEND = (NAMES.index(name) for name in ("requests", "clicks", "spend_usd"))


def counters(rng, n, *, away=0.2):
    """Counters of n users with heavy tails, of whom some never came."""
    table = rng.poisson(rng.gamma(0.5, 4, (n, 1)), (n, len(NAMES))).astype(float)
    table[:, SPEND] *= rng.lognormal(0, 1, n)
    table[:, REQUESTS] += 1
    table[rng.random(n) < away] = 0
    return table


def lots(n, runs, seed):
    return draws.uniform(seed, Cause.RESPLIT, np.arange(n), np.arange(runs)[:, None])


def test_each_run_has_the_moments_of_its_own_split():
    table = counters(np.random.default_rng(1), 5_000)
    table[:, NAMES.index("scored")] = np.nan  # as where a design does not count it
    splits = resplit(table, 5, 7, share=0.3, budget_usd=90.0)

    for run, lot in enumerate(lots(5_000, 5, 7)):
        expected = moments_by_arm(table, (lot < 0.3).astype(np.int32), 90.0, 2)
        for found, (units, mean, cov) in zip(splits.moments(run), expected, strict=True):
            assert found[0] == units
            np.testing.assert_allclose(found.mean, mean, rtol=1e-11, atol=1e-14)
            np.testing.assert_allclose(found.cov, cov, rtol=1e-9, atol=1e-12)


def test_counts_in_the_millions_keep_their_variance():
    rng = np.random.default_rng(2)
    table = counters(rng, 2_000, away=0.0)
    table[:, CLICKS] = 5e8 + rng.normal(0, 1, 2_000)
    splits = resplit(table, 3, 1)

    for run, lot in enumerate(lots(2_000, 3, 1)):
        for arm, chosen in enumerate((lot >= 0.5, lot < 0.5)):
            assert splits.cov[arm, run, CLICKS, CLICKS] == pytest.approx(table[chosen, CLICKS].var(ddof=1), rel=1e-6)


def test_an_arm_in_which_nobody_has_any_reads_0_to_the_bit():
    table = counters(np.random.default_rng(3), 1_000, away=0.0)
    table[:, SPEND], table[17, SPEND] = 0.0, 0.1
    splits = resplit(table, 50, 4)
    treated = lots(1_000, 50, 4)[:, 17] < 0.5

    assert 0 < treated.sum() < 50
    assert (splits.mean[0, treated, SPEND] == 0).all()
    assert (splits.mean[1, ~treated, SPEND] == 0).all()
    assert (splits.mean[1, treated, SPEND] > 0).all()


def test_units_that_stand_for_many_users_are_all_read_and_have_the_budgets_of_their_users():
    rng = np.random.default_rng(5)
    table, users = counters(rng, 40), rng.integers(1, 100, 40).astype(float)
    splits = resplit(table, 4, 6, complete=True, budget_usd=500.0, users=users)

    assert (splits.units == 20).all()
    np.testing.assert_allclose(splits.mean[:, :, place(USERS)].sum(axis=0) * 20, users.sum())
    np.testing.assert_allclose(splits.mean[:, :, place(BUDGET)], 500 / users.sum() * splits.mean[:, :, place(USERS)])
    np.testing.assert_allclose(splits.mean[:, :, : len(NAMES)].sum(axis=0) * 20, [table.sum(axis=0)] * 4, atol=1e-10)


def test_counters_of_the_time_before_follow_those_of_the_test():
    rng = np.random.default_rng(8)
    table, before = counters(rng, 800), counters(rng, 800)
    splits = resplit(table, 3, 2, before=before)
    came = table[:, REQUESTS] > 0
    m = len(MOMENTS)

    assert splits.mean.shape[-1] == 2 * m
    for run, lot in enumerate(lots(800, 3, 2)):
        rows = came & (lot < 0.5)
        cov = np.cov(table[rows, CLICKS], before[rows, SPEND])
        assert splits.cov[1, run, CLICKS, m + SPEND] == pytest.approx(cov[0, 1], rel=1e-9)
        assert splits.cov[1, run, m + SPEND, CLICKS] == splits.cov[1, run, CLICKS, m + SPEND]
        assert splits.mean[1, run, m + SPEND] == pytest.approx(before[rows, SPEND].mean())


def test_complete_randomisation_treats_exactly_its_share_and_every_set_of_units_as_often():
    """Six of its size-3 halves: 20 sets of 6 units, chi-square against equal counts."""
    table, runs = np.eye(6, len(NAMES)), 4_000
    splits = resplit(table, runs, 9, complete=True, users=np.ones(6))
    treated = np.rint(splits.mean[1, :, :6] * 3).astype(int)
    _, counts = np.unique(treated @ 2 ** np.arange(6), return_counts=True)
    chi2 = ((counts - runs / 20) ** 2 / (runs / 20)).sum()

    assert (splits.units == 3).all() and (treated.sum(axis=1) == 3).all()
    assert len(counts) == 20
    assert abs(chi2 - 19) < 4 * np.sqrt(2 * 19)


def test_lots_of_their_own_treat_each_user_with_the_share_and_no_two_together():
    table, runs, share = np.eye(6, len(NAMES)), 8_000, 0.3
    splits = resplit(table, runs, 9, share=share, users=np.ones(6))
    treated = np.rint(splits.mean[1, :, :6] * splits.units[1][:, None])
    together = (treated.T @ treated / runs)[np.triu_indices(6, 1)]

    assert np.abs(treated.mean(axis=0) - share).max() < 4 * np.sqrt(share * (1 - share) / runs)
    assert np.abs(together - share**2).max() < 4 * np.sqrt(share**2 * (1 - share**2) / runs)


@pytest.mark.parametrize("complete", [False, True])
def test_splits_do_not_depend_on_how_much_is_held_at_once(monkeypatch, complete):
    table = counters(np.random.default_rng(4), 700)
    whole = resplit(table, 30, 3, complete=complete)
    monkeypatch.setattr(module, "_UNITS", 64)
    monkeypatch.setattr(module, "_CELLS", 7 * 700)
    monkeypatch.setattr(module, "_DRAWS", 2 * 700)
    parts = resplit(table, 30, 3, complete=complete)

    assert (parts.units == whole.units).all()
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.cov, whole.cov, rtol=1e-9, atol=1e-12)


def test_a_users_lot_does_not_depend_on_who_else_is_there():
    table = counters(np.random.default_rng(6), 300, away=0.0)
    fewer = table.copy()
    fewer[100:] = 0
    table[100:, CLICKS] = fewer[100:, CLICKS] = 0
    sums = [s.units[1] * s.mean[1, :, CLICKS] for s in (resplit(table, 20, 1), resplit(fewer, 20, 1))]

    np.testing.assert_allclose(*sums, rtol=1e-9)


def test_seeds_split_differently_and_a_seed_repeats():
    table = counters(np.random.default_rng(6), 300)

    assert (resplit(table, 5, 1).mean == resplit(table, 5, 1).mean).all()
    assert (resplit(table, 5, 1).units != resplit(table, 5, 2).units).any()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"runs": 0}, "runs are 0, there must be 1 at least"),
        ({"share": 1.0}, r"share is 1.0, it must be inside \(0, 1\)"),
        ({"share": float("nan")}, "share is nan"),
        ({"share": 0.01, "complete": True}, "share is 0.01, of 20 units it leaves an arm empty"),
    ],
)
def test_splits_that_cannot_be_are_refused(wrong, message):
    table = counters(np.random.default_rng(6), 20, away=0.0)

    with pytest.raises(ValueError, match=message):
        resplit(table, **({"runs": 3, "seed": 1} | wrong))


def test_no_user_at_all_reads_as_nothing():
    splits = resplit(np.zeros((10, len(NAMES))), 3, 1)

    assert (splits.units == 0).all() and (splits.mean == 0).all() and (splits.cov == 0).all()
