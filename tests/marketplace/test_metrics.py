"""Metrics and moments: hand-worked ratios, and numpy on tables of users as an oracle."""

import numpy as np
import pytest
from counted import active, metric, rows

from marketplace.counters import HIDES, LONG_CLICKS, NAMES, REQUESTS, SCORED, SLOTS
from marketplace.metrics import (
    BUDGET,
    METRICS,
    MOMENTS,
    QUANTILES,
    USERS,
    joint_of,
    moments_by_arm,
    moments_by_stratum,
    place,
    value,
)


def everyone(table, **settings):
    (only,) = moments_by_arm(table, np.zeros(len(table), np.int32), 1000.0, 1, **settings)
    return only


def test_a_metric_is_a_ratio_of_sums_not_a_mean_of_ratios():
    only = everyone(rows(3, spend_usd=[1, 2, 9], value_usd=[0, 30, 6], conversions=[1, 1, 2]))

    assert value(metric("CPA"), only) == pytest.approx(12 / 4)
    assert value(metric("ROAS"), only) == pytest.approx(36 / 12)
    assert value(metric("conversions"), only) == pytest.approx(1000 * 4 / 3)


def test_conversions_by_type_trials_returns_and_repurchases_are_counted_as_documented():
    only = everyone(
        rows(
            4, orders=[1, 0, 2, 0], carts=[5, 0, 0, 0], sign_ups=[0, 1, 0, 0], tried=[1, 0, 1, 0], returned=[1, 1, 1, 0],
            conversions=[3, 1, 0, 0], repeat_conversions=[1, 0, 0, 0], tested_orders=[2, 0, 0, 0],
            tested_gmv_usd=[30, 0, 0, 0],
        )
    )  # fmt: skip
    expected = {
        "checkouts": 750, "carts": 1250, "sign_ups": 250, "merchant_trial_rate": 0.5, "return_rate": 0.75,
        "repurchase_share": 0.25, "tested_orders": 0.5, "tested_GMV": 7.5,
    }  # fmt: skip

    assert {name: value(metric(name), only) for name in expected} == pytest.approx(expected)


def test_users_who_never_came_are_not_counted():
    table = rows(5, conversions=[2, 2, 2, 0, 0])
    table[3:, NAMES.index("requests")] = 0

    assert everyone(table).units == 3
    assert value(metric("conversions"), everyone(table)) == pytest.approx(2000)


def test_budget_use_is_spend_over_the_budgets_of_the_arms_active_users():
    table = rows(5, spend_usd=[10, 20, 30, 40, 0], requests=[1, 1, 1, 1, 0])
    control, treatment = moments_by_arm(table, np.array([0, 0, 0, 1, 1]), 1000.0, 2)

    assert value(metric("budget_use"), control) == pytest.approx(60 / 750)
    assert value(metric("budget_use"), treatment) == pytest.approx(40 / 250)


def test_units_of_no_arm_are_not_read_and_have_no_part_of_the_budgets():
    table = rows(4, spend_usd=[10, 20, 30, 40])
    control, treatment = moments_by_arm(table, np.array([0, -1, 1, -1]), 1000.0, 2)

    assert (control.units, treatment.units) == (1, 1)
    assert value(metric("budget_use"), treatment) == pytest.approx(30 / 500)


def test_a_block_stands_for_its_users_whether_or_not_anyone_came():
    table = rows(3, requests=[9, 4, 0], conversions=[6, 2, 0], spend_usd=[50, 30, 0])
    one, other = moments_by_arm(table, np.array([0, 1, 0]), 1000.0, 2, users=np.array([30.0, 10.0, 10.0]))

    assert (one.units, other.units) == (2, 1)
    assert value(metric("conversions"), one) == pytest.approx(1000 * 6 / 40)
    assert value(metric("budget_use"), one) == pytest.approx(50 / (1000 * 40 / 50))
    assert value(metric("budget_use"), other) == pytest.approx(30 / (1000 * 10 / 50))


def test_moments_are_those_of_numpy_over_the_users_of_an_arm():
    rng = np.random.default_rng(0)
    table, arm = active(rng, 50), rng.integers(0, 2, 50)
    treated = np.column_stack([table[arm == 1], np.ones((arm == 1).sum()), np.full((arm == 1).sum(), 1000 / 50)])

    found = moments_by_arm(table, arm, 1000.0, 2)[1]

    np.testing.assert_allclose(found.mean, treated.mean(axis=0))
    np.testing.assert_allclose(found.cov, np.cov(treated, rowvar=False), atol=1e-12)


def test_the_second_half_of_the_moments_is_of_the_same_users_before_the_test():
    rng = np.random.default_rng(1)
    before, table, arm = active(rng, 60), active(rng, 60), rng.integers(0, 2, 60)
    table[:20, NAMES.index("requests")] = 0
    both = moments_by_arm(table, arm, 1000.0, 2, before=before)[1]
    m = len(MOMENTS)
    came = (arm == 1) & (np.arange(60) >= 20)
    clicks, earlier = table[came, NAMES.index("clicks")], before[came, NAMES.index("clicks")]

    assert both.units == came.sum()
    assert both.mean[m + place("clicks")] == pytest.approx(earlier.mean())
    assert both.cov[place("clicks"), m + place("clicks")] == pytest.approx(np.cov(clicks, earlier)[0, 1])
    np.testing.assert_array_equal(both.mean[:m], moments_by_arm(table, arm, 1000.0, 2)[1].mean)
    assert both.mean[m + place(USERS)] == 1


def test_a_counter_that_is_not_counted_spoils_its_own_metrics_alone():
    table = active(np.random.default_rng(2), 20)
    table[:, NAMES.index("slots")] = np.nan
    only = everyone(table)

    assert value(metric("fill_rate"), only) is None
    assert value(metric("scored"), only) == 0
    assert value(metric("CTR"), only) == value(metric("CTR"), everyone(np.nan_to_num(table)))
    assert np.isfinite(only.cov[place("clicks"), place("impressions")])


def test_the_units_of_all_strata_are_those_of_the_arms():
    rng = np.random.default_rng(3)
    table, arm, stratum = active(rng, 90), rng.integers(-1, 2, 90), rng.integers(0, 3, 90)
    parts = moments_by_stratum(table, arm, stratum, 1000.0, 2)
    whole = moments_by_arm(table, arm, 1000.0, 2)

    for a in range(2):
        assert sum(part[a].units for part in parts) == whole[a].units
        total = sum(part[a].units * part[a].mean for part in parts)
        np.testing.assert_allclose(total, whole[a].units * whole[a].mean)


def test_joint_moments_are_those_of_numpy_over_users_who_came_in_any_cell(monkeypatch):
    rng = np.random.default_rng(4)
    tables = np.stack([np.stack([active(rng, 40) for _ in range(2)]) for _ in range(3)])
    tables[rng.random((3, 2, 40)) < 0.6] = 0
    tables[:, :, 0] = 0
    requests = tables[..., NAMES.index("requests")]
    flat = np.concatenate([tables, (requests > 0)[..., None], (600 * requests / requests.sum())[..., None]], axis=3)
    flat = flat.transpose(2, 0, 1, 3).reshape(40, -1)[(requests > 0).any(axis=(0, 1))]
    monkeypatch.setattr("marketplace.metrics._BLOCK", 7)

    found = joint_of(tables, 600.0)

    assert found.units == len(flat) < 40
    assert found.mean.shape == (3, 2, len(MOMENTS))
    np.testing.assert_allclose(found.mean.ravel(), flat.mean(axis=0))
    np.testing.assert_allclose(found.cov, np.cov(flat, rowvar=False), atol=1e-12)
    assert found.units * found.mean[..., place(BUDGET)].sum() == pytest.approx(600)


def test_every_metric_is_made_of_known_counters_and_named_once():
    known = {*NAMES, USERS, BUDGET}

    assert all({m.numerator, m.denominator} <= known and m.unit for m in METRICS)
    assert all(m.counter in NAMES and 0 < m.q < 1 and m.unit for m in QUANTILES)
    names = [m.name for m in (*METRICS, *QUANTILES)]
    assert len(set(names)) == len(names)


def test_whatever_has_a_role_has_a_good_direction():
    assert not [m.name for m in (*METRICS, *QUANTILES) if m.role and not m.good]
    assert {m.role for m in METRICS} == {"goal", "guardrail", ""}


def test_the_first_counters_stand_where_the_kernel_writes_them():
    at = {"requests": REQUESTS, "scored": SCORED, "slots": SLOTS, "long_clicks": LONG_CLICKS, "hides": HIDES}

    assert all(NAMES[i] == name for name, i in at.items())
