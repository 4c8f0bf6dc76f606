"""Before a test: least lifts and days by hand from moments, what holds of them in general, and the command on a log."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from counted import metric
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from typer.testing import CliRunner

from marketplace import words
from marketplace.aa import judge
from marketplace.cli import app
from marketplace.foresight import foreseen
from marketplace.metrics import MOMENTS, USERS, Moments, place
from marketplace.runs import read_json
from marketplace.study_shape import PowerFile

CONVERSIONS, CTR = metric("conversions"), metric("CTR")
HALF = (0.5, 0.5)


def day(users, mean, sigma):
    """Moments of users whose conversions have this mean and standard deviation."""
    means, cov = np.zeros(len(MOMENTS)), np.zeros((len(MOMENTS), len(MOMENTS)))
    at = place("conversions")
    means[at], means[place(USERS)], cov[at, at] = mean, 1.0, sigma**2
    return Moments(users, means, cov)


LOG = [day(100_000, 0.1, 0.4), day(160_000, 0.14, 0.45), day(200_000, 0.2, 0.5)]


def by_hand(users, mean, sigma, shares=HALF, power=0.8):
    z = norm.ppf(0.975) + norm.ppf(power)
    return z * sigma / mean * np.sqrt(1 / (users * shares[0]) + 1 / (users * shares[1]))


def test_the_least_lift_within_the_log_is_that_of_the_moments_at_so_many_days():
    for days, logged in enumerate([(100_000, 0.1, 0.4), (160_000, 0.14, 0.45), (200_000, 0.2, 0.5)], start=1):
        row = foreseen(CONVERSIONS, LOG, (0.7, 0.1), days, None, 0.9)

        assert row["minimum_effect"] == pytest.approx(by_hand(*logged, (0.7, 0.1), 0.9), rel=1e-3)
        assert not row["beyond_log"] and row["days_needed"] is None
        assert row["value"] == pytest.approx(200)  # per 1,000 users, at the log's end


def test_behind_the_log_the_least_lift_falls_with_the_root_of_the_days():
    row = foreseen(CONVERSIONS, LOG, HALF, 12, None, 0.8)

    assert row["minimum_effect"] == pytest.approx(by_hand(200_000, 0.2, 0.5) / 2, rel=1e-3)  # 4 times the log's days
    assert row["beyond_log"]


def test_the_days_needed_are_the_first_of_the_log_that_suffice():
    """The least lifts after 1, 2 and 3 days are 7.1%, 4.5% and 3.1%."""
    least = [by_hand(100_000, 0.1, 0.4), by_hand(160_000, 0.14, 0.45), by_hand(200_000, 0.2, 0.5)]

    assert least == pytest.approx([0.0709, 0.0450, 0.0313], rel=2e-3)
    for lift, days in ((0.08, 1), (0.07, 2), (0.046, 2), (0.044, 3), (-0.044, 3)):
        row = foreseen(CONVERSIONS, LOG, HALF, 1, lift, 0.8)
        assert (row["days_needed"], row["days_beyond_log"]) == (days, False)


def test_behind_the_log_a_lift_half_as_large_takes_4_times_the_days():
    row = foreseen(CONVERSIONS, LOG, HALF, 1, by_hand(200_000, 0.2, 0.5) / 1.99, 0.8)

    assert row["days_needed"] == 12  # 3 x 1.99^2 = 11.88
    assert row["days_beyond_log"]


@given(
    lift=st.floats(0.002, 0.5), times=st.floats(1.0, 4.0), test_days=st.integers(3, 60), more=st.integers(0, 60),
    power=st.floats(0.3, 0.9),
)  # fmt: skip
def test_larger_lifts_need_no_more_days_and_longer_tests_find_no_larger_lifts(lift, times, test_days, more, power):
    row = foreseen(CONVERSIONS, LOG, HALF, test_days, lift, power)
    other = foreseen(CONVERSIONS, LOG, HALF, test_days + more, lift * times, power)

    assert other["days_needed"] <= row["days_needed"]
    assert other["minimum_effect"] <= row["minimum_effect"]
    assert foreseen(CONVERSIONS, LOG, HALF, test_days, lift, power + 0.05)["days_needed"] >= row["days_needed"]


@given(lift=st.floats(0.002, 0.5))
def test_a_test_of_the_days_needed_finds_the_lift_and_one_a_day_shorter_does_not(lift):
    needed = foreseen(CONVERSIONS, LOG, HALF, 1, lift, 0.8)["days_needed"]

    assert foreseen(CONVERSIONS, LOG, HALF, needed, None, 0.8)["minimum_effect"] <= lift * (1 + 1e-9)
    if needed > 1:
        assert foreseen(CONVERSIONS, LOG, HALF, needed - 1, None, 0.8)["minimum_effect"] > lift * (1 - 1e-9)


@pytest.mark.parametrize(
    ("of", "days", "why"),
    [
        (CTR, LOG, "no impressions in the log"),
        (CONVERSIONS, [day(100, 0.0, 0.0)], "no conversions in the log"),
        (CONVERSIONS, [day(100, 0.1, 0.0)], "does not vary in the log"),
        (CONVERSIONS, [day(3, 0.1, 0.3)], "too few users in an arm"),
        (metric("scored"), [day(3, 0.1, 0.3)._replace(mean=np.full(len(MOMENTS), np.nan))], "not counted in the log"),
        (CONVERSIONS, [day(100, 0.0, 0.0), *LOG], "cannot be read after 1 day of the log"),
    ],
)
def test_a_metric_that_cannot_be_foreseen_says_why(of, days, why):
    row = foreseen(of, days, HALF, 1, 0.05, 0.8)

    assert row["minimum_effect"] is None and row["why"] == why
    assert row["days_needed"] == (3 if len(days) > 1 and days[0].mean[place("conversions")] == 0 else None)


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_the_command_reads_the_log_of_a_run(finished, tmp_path):
    args = "--set", "calendar.test_days=6", "--lift", "0.05", "--runs", tmp_path, "--json"
    made = json.loads(call("power", finished.folder, *args).stdout)
    with duckdb.connect() as db:
        (ctr,) = db.execute(
            f"SELECT avg(clicked::INT) FROM read_parquet('{finished.folder}/log/impressions/*.parquet')"
        ).fetchone()
    row = next(row for row in made["rows"] if row["metric"] == "CTR")

    assert row["value"] == pytest.approx(ctr)
    assert row["arm"] == "treatment" and row["beyond_log"] and row["days_beyond_log"] and not row["why"]
    assert row["days_needed"] == pytest.approx(6 * (row["minimum_effect"] / 0.05) ** 2, abs=1)
    kept = read_json(Path(made["folder"]) / "power.json", PowerFile)
    assert kept["rows"] == made["rows"]
    assert (kept["log_days"], kept["test_days"], kept["shares"]) == (3, 6, {"control": 0.5, "treatment": 0.5})
    again = call("power", made["folder"], "--runs", tmp_path)  # its manifest is one that a run may have
    assert again.exit_code == 0
    printed = " ".join(again.stdout.split())
    assert "least lift in 6 days" in printed and "days for" not in printed and "* longer than the log" in printed


def test_the_command_prints_the_metrics_asked_for(finished, tmp_path):
    args = "--metric", "CTR", "--metric", "CPA", "--lift", "-0.1", "--runs", tmp_path
    printed = call("power", finished.folder, *args).stdout

    assert "days for -10.00%" in printed and "treatment against control, 0.5 : 0.5 of users: found by 0.8" in printed
    assert [line.split()[0] for line in printed.splitlines() if "goal" in line or "CTR" in line] == ["CPA", "CTR"]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--set", "experiment.design=clusters"), "experiment.design is clusters, it must be users or budgets"),
        (("--set", "experiment.design=sessions"), "do not hold how the units of other designs vary"),
        (("--set", "experiment.ramp=[{days=2, share=0.5}]"), "experiment.ramp has stages, it must be empty"),
        (("--lift", "0"), "--lift is 0, it must be a number above -1 and at least 0.0001 away from 0"),
        (("--lift", "-1"), "--lift is -1"),
        (("--lift", "nan"), "--lift is nan"),
        (("--lift", "inf"), "--lift is inf"),
        (("--power", "1"), "--power is 1, it must be below 1 and above 0.05"),
        (("--power", "0.05"), "--power is 0.05"),
        (("--metric", "CPAA"), "did you mean CPA?"),
    ],
)
def test_what_the_log_cannot_tell_is_refused_in_one_line_and_nothing_is_left(finished, tmp_path, args, text):
    result = call("power", finished.folder, *args, "--runs", tmp_path / "out")

    assert result.exit_code == 2
    assert result.stderr.startswith("marketplace: ") and result.stderr.count("\n") == 1
    assert text in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_design_that_splits_budgets_with_users_is_foreseen_too(finished, tmp_path):
    args = "--set", "experiment.design=budgets", "--runs", tmp_path, "--json"

    assert json.loads(call("power", finished.folder, *args).stdout)["design"] == "budgets"


def promised(p_value, missed=0.05):
    covered = np.arange(len(p_value)) >= missed * len(p_value)
    return words.promise(judge("CPA", np.asarray(p_value), covered, "no clicks")._asdict())


def test_a_promise_broken_on_the_cautious_side_is_called_cautious():
    even = (np.arange(2000) + 0.5) / 2000

    assert promised(even) == "kept"
    assert promised(np.sqrt(even)) == "cautious"  # too few below 5%
    assert promised(np.where(even > 0.5, 0.5 + (even - 0.5) / 2, even)) == "cautious"  # uneven, as many below 5%
    assert promised(even, missed=0.01) == "cautious"
    assert promised(even**1.5) == "BROKEN"
    assert promised(even, missed=0.1) == "BROKEN"
    assert promised([]) == "no clicks"
    assert words.promise(judge("CTR, naively", np.sqrt(even))._asdict()) == "cautious"
    assert words.promise(judge("CTR, naively", even**2)._asdict()) == "BROKEN"
