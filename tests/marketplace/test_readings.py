"""Readings: on disk and back, and what they read of moments by hand."""

import numpy as np
import pytest
from counted import rows

from marketplace.designs import Reading
from marketplace.errors import Refused
from marketplace.metrics import METRICS, MOMENTS, Joint, joint_of, moments_by_arm, moments_by_stratum
from marketplace.readings import load_readings, save_readings
from marketplace.stats import effect, effect_crossed, post_stratified

CONVERSIONS = next(metric for metric in METRICS if metric.name == "conversions")
CPA = next(metric for metric in METRICS if metric.name == "CPA")


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    return rows(400, requests=rng.poisson(3, 400), conversions=rng.poisson(1, 400), spend_usd=rng.gamma(2, 1, 400))


def readings(table) -> dict[str, list[Reading]]:
    """Two days of each kind."""
    arm, weight = np.arange(400) % 3, np.array([[0.2, 0.3, 0.4]])
    days = []
    for day in (0.5, 1.0):
        own = table * day
        arms = moments_by_arm(own, arm, 100.0 * day, 3, before=table)
        strata = post_stratified(moments_by_stratum(own, arm, (np.arange(400) % 5).astype(np.int32), 100.0, 3))
        joint = joint_of(np.stack([own, own[::-1], own]).reshape(1, 3, 400, -1), 100.0)
        days.append((arms, strata, joint))
    return {
        "plain": [Reading(arms, weight) for arms, _, _ in days],
        "cuped": [Reading(arms, weight, cuped=True) for arms, _, _ in days],
        "strata": [Reading(arms, weight, strata=strata) for arms, strata, _ in days],
        "exposed": [Reading(arms, weight, exposed=strata) for arms, strata, _ in days],
        "joint": [Reading(joint, weight) for _, _, joint in days],
    }


KINDS = "plain", "cuped", "strata", "exposed", "joint"


@pytest.mark.parametrize("kind", KINDS)
def test_readings_come_back_from_disk_to_the_bit(table, tmp_path, kind):
    days = readings(table)[kind]
    save_readings(days, tmp_path / "readings.npz")

    back = load_readings(tmp_path / "readings.npz")

    assert len(back) == 2
    for one, other in zip(days, back, strict=True):
        assert (one.weight == other.weight).all() and one.cuped == other.cuped
        for name in ("arms", "strata", "exposed"):
            mine, its = getattr(one, name), getattr(other, name)
            assert type(mine) is type(its)
            parts = [] if mine is None else [(mine, its)] if isinstance(mine, Joint) else zip(mine, its, strict=True)
            for a, b in parts:
                assert a.units == b.units
                np.testing.assert_array_equal(a.mean, b.mean)
                np.testing.assert_array_equal(a.cov, b.cov)
        assert all(one.effect(metric, arm) == other.effect(metric, arm) for metric in METRICS for arm in (1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_of_readings_is_refused_in_one_line_or_read_as_it_was(table, tmp_path, kind):
    """A byte changed in any of 60 places, and the file cut in 20: what is accepted is what was written."""
    path, rng = tmp_path / "readings.npz", np.random.default_rng(1)
    save_readings(readings(table)[kind], path)
    whole, good = path.read_bytes(), load_readings(path)
    broken = [whole[:cut] for cut in rng.integers(len(whole), size=20)]
    for place in rng.integers(len(whole), size=60):
        broken.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    refused = 0
    for content in broken:
        path.write_bytes(content)
        try:
            found = load_readings(path)
        except Refused as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert [day.effect(CPA, 1) for day in found] == [day.effect(CPA, 1) for day in good]
    assert refused > 60


def test_missing_and_older_readings_are_refused(table, tmp_path):
    path = tmp_path / "readings.npz"
    with pytest.raises(Refused, match="is missing or damaged"):
        load_readings(path)
    np.savez(path, weights=np.ones(3))  # of a version that named it so
    with pytest.raises(Refused, match="is missing or damaged: 'weight"):
        load_readings(path)
    (day, _) = readings(table)["plain"]
    old = [moments._replace(mean=moments.mean[:20], cov=moments.cov[:20, :20]) for moments in day.arms]
    save_readings([day._replace(arms=old)], path)
    with pytest.raises(Refused, match=f"of another version: it has 20 moments, not {len(MOMENTS)}"):
        load_readings(path)


def test_a_reading_reads_as_its_experiment_adjusts(table):
    kinds = {kind: days[-1] for kind, days in readings(table).items()}
    arms = kinds["plain"].arms

    for metric in METRICS:
        assert kinds["plain"].effect(metric, 2) == effect(metric, arms[0], arms[2])
        assert kinds["cuped"].effect(metric, 2, 0.9) == effect(metric, arms[0], arms[2], cuped=True, level=0.9)
        crossed = effect_crossed(metric, kinds["joint"].arms, 2, np.array([1.0]))
        assert kinds["joint"].effect(metric, 2) == crossed
    own, plain = kinds["strata"].effect(CONVERSIONS, 1), effect(CONVERSIONS, arms[0], arms[1])
    assert own.variance_ratio == pytest.approx(own.se**2 / plain.se**2)
    assert own._replace(variance_ratio=None) == effect(CONVERSIONS, *kinds["strata"].strata[:2])


def test_an_effect_of_four_users_is_that_worked_by_hand():
    """Control has 1 and 3 conversions, treatment 4 and 6: 2 and 5 per user, so +150%; Welch: t = 3 / sqrt(2), 2 degrees."""
    table = rows(4, conversions=[1, 3, 4, 6], spend_usd=[2, 2, 5, 5])
    reading = Reading(moments_by_arm(table, np.array([0, 0, 1, 1]), 10.0, 2), np.ones((1, 2)))

    found = reading.effect(CONVERSIONS, 1)

    assert (found.control, found.treatment, found.lift) == pytest.approx((2_000, 5_000, 1.5))
    assert found.se == pytest.approx(np.sqrt(1 / 4 + 1 / 25))
    t = 3 / np.sqrt(2)
    assert found.p_value == pytest.approx(1 - t / np.sqrt(2 + t * t))  # Student's t with 2 degrees of freedom
    assert reading.effect(CPA, 1).lift == pytest.approx(0)  # 1 USD per conversion in both


def test_a_day_without_a_request_is_missing_and_not_an_error():
    reading = Reading(joint_of(np.zeros((1, 2, 5, rows(1).shape[1])), 10.0), np.zeros((1, 2)))

    assert {reading.effect(metric, 1).why for metric in METRICS} == {"no requests"}
