"""Realism: statistics worked by hand, and the promise that two logs of one market differ as sampling says."""

import numpy as np
import pytest
from small_logs import market, opened

from marketplace.errors import Refused
from marketplace.held_out import statistics
from marketplace.realism import Opened, Reading, _sampling, compare, extent, lay_views, read
from synth.types import DAY_MS, HOUR_MS

DAYS = 14


def figures(log: Opened, name: str, days=DAYS, purchase_days=None):
    lay_views(log, days, 1.0, purchase_days)
    (statistic,) = (s for s in statistics(days) if s.name == name)
    return dict(zip(statistic.labels, read(log, statistic).figures, strict=True))


def clicked(*events):
    """A log of clicks at (user, ms)."""
    user, time_ms = zip(*events, strict=True)
    return {"time_ms": time_ms, "user": user, "item": [1] * len(user), "click": [True] * len(user)}


def test_gaps_are_those_between_the_clicks_of_one_user():
    log = opened(clicked((1, 0), (1, 60_000), (1, 61_000 + HOUR_MS), (2, 30_000), (2, 30_000 + 3 * DAY_MS)))

    found = figures(log, "click_gaps", days=4)

    assert found["1 min"] == 1 / 3  # a gap of a minute sharp is within it
    assert found["1 h"] == 1 / 3  # that of an hour and a second is not
    assert found["6 h"] == 2 / 3 and found["1 day"] == 2 / 3
    assert found["3 days"] == 1


def test_ranks_are_by_what_is_counted():
    shown = {"time_ms": range(10), "user": range(10), "item": [1] * 6 + [2] * 3 + [3], "click": [0] * 7 + [1, 1, 1]}

    impressions = figures(opened(shown), "rank_frequency_impressions", days=1)
    clicks = figures(opened(shown), "rank_frequency_clicks", days=1)

    assert impressions["1 item"] == pytest.approx(0.6) and impressions["3 items"] == 1
    assert clicks["1 item"] == pytest.approx(2 / 3)


def test_users_are_counted_by_their_clicks():
    log = opened(
        {"time_ms": range(9), "user": [1, 2, 2, 3, 3, 3, 3, 3, 3], "item": [1] * 9, "click": [0, 1, 0] + [1] * 6}
    )

    found = figures(log, "clicks_per_user", days=1)

    assert [round(share * 3) for share in found.values()] == [1, 1, 0, 0, 1, 0]


def test_only_customers_of_the_first_half_are_asked_whether_they_buy_again():
    bought = {
        "user": [1, 1, 1, 2, 3],
        "time_ms": [0, 6 * DAY_MS, 9 * DAY_MS, DAY_MS, 8 * DAY_MS],
        "basket_usd": [1.0] * 5,
    }

    found = figures(opened(market(np.random.default_rng(0)), bought), "purchases_again", purchase_days=10)

    assert [round(share * 2) for share in found.values()] == [
        1,
        0,
        1,
        0,
        0,
    ]  # user 1 twice, user 2 never, user 3 is new


def test_click_rates_are_by_hour_and_slot():
    log = opened(
        {
            "time_ms": [9 * HOUR_MS] * 4 + [33 * HOUR_MS], "user": range(5), "item": [1] * 5, "slot": [0, 0, 1, 1, 0],
            "click": [1, 0, 0, 0, 1],
        }
    )  # fmt: skip

    found = figures(log, "click_rates", days=2)

    assert found["09 h, slot 0"] == pytest.approx(2 / 3) and found["09 h, slot 1"] == 0
    assert np.isnan(found["10 h, slot 0"])


def test_variation_from_day_to_day_leaves_the_weeks_pattern_out():
    per_day = [10, 20, 30, 40, 50, 60, 70] * 2
    time_ms = np.repeat(np.arange(14), per_day) * DAY_MS
    log = opened(
        {"time_ms": time_ms, "user": np.arange(len(time_ms)), "item": time_ms, "click": np.arange(len(time_ms)) % 2}
    )

    found = figures(log, "daily")

    assert found["impressions, beside the week's pattern"] == 0
    assert found["click rate"] == pytest.approx(0)


def test_the_error_of_a_rate_is_that_of_its_users():
    rng = np.random.default_rng(1)
    p = rng.beta(1, 4, 1_000)
    user = np.repeat(np.arange(1_000), 10)
    log = opened(
        {
            "time_ms": user * 0 + HOUR_MS,
            "user": user,
            "item": user,
            "slot": user * 0,
            "click": rng.random(10_000) < p[user],
        }
    )
    lay_views(log, 1, 1.0, None)
    (statistic,) = (s for s in statistics(1) if s.name == "click_rates")

    at = statistic.labels.index("01 h, slot 0")
    error = read(log, statistic).error[at]

    # between users beta(1, 4) has variance 0.0267; within them p(1 - p) / 10 has mean 0.0133: rows alone would give 0.004
    closed = np.sqrt((0.0267 + 0.0133) / 1_000)
    assert error == pytest.approx(closed, rel=4 * np.sqrt(1 / (2 * 63)))


def test_two_logs_of_one_market_differ_as_sampling_says():
    outside, near = [], []
    for seed in range(30):
        rng = np.random.default_rng([5, seed])
        found = compare(opened(market(rng)), [opened(market(rng))])
        outside.append(sum(h["outside"] for h in found["statistics"]) / sum(h["figures"] for h in found["statistics"]))
        near.append(
            np.mean([h["distance"] / h["by_sampling"] for h in found["statistics"] if h["distance"] is not None])
        )

    error = np.std(outside, ddof=1) / np.sqrt(len(outside))
    assert abs(np.mean(outside) - 0.05) < 4 * error
    assert abs(np.mean(near) - 1) < 4 * np.std(near, ddof=1) / np.sqrt(len(near))


def test_the_spread_of_several_simulated_logs_is_what_a_further_one_is_held_against():
    outside = []
    for seed in range(15):
        rng = np.random.default_rng([6, seed])

        def drawn(rng=rng):  # a market of its own click rate: users alone do not tell how far logs differ
            return opened(market(rng, 300, rate=0.1 * np.exp(rng.normal(0, 0.3))))

        found = compare(drawn(), [drawn() for _ in range(5)])
        rows = [row for row in found["rows"] if row["statistic"] == "clicks_per_user"]
        outside.append(np.mean([not row["inside"] for row in rows]))

    assert abs(np.mean(outside) - 0.05) < 4 * np.std(outside, ddof=1) / np.sqrt(len(outside)) + 1e-9


def test_another_market_lies_outside():
    rng = np.random.default_rng(2)

    found = compare(opened(market(rng, 2_000)), [opened(market(rng, 2_000, rate=0.2))])

    by = {head["name"]: head for head in found["statistics"]}
    assert (
        by["clicks_per_user"]["outside"] >= 4
        and by["clicks_per_user"]["distance"] > 3 * by["clicks_per_user"]["by_sampling"]
    )
    assert by["rank_frequency_impressions"]["outside"] <= 1  # items are shown alike


def test_the_larger_log_is_thinned_by_users_and_the_longer_one_cut():
    rng = np.random.default_rng(3)

    found = compare(opened(market(rng, 2_000, days=20)), [opened(market(rng, 200))])

    assert found["days"] == DAYS
    assert found["impressions"][0] * found["share"][0] == pytest.approx(found["impressions"][1])
    by = {head["name"]: head for head in found["statistics"]}
    users, few = by["clicks_per_user"]["events"]
    assert users == pytest.approx(200 * 20 / DAYS, abs=4 * np.sqrt(200 * 20 / DAYS))  # each is seen on 14 of 20 days
    assert few <= 200


def test_what_a_log_lacks_is_said_and_the_rest_compared():
    rng = np.random.default_rng(4)
    bare = {name: column for name, column in market(rng).items() if name not in ("slot", "user")}

    found = compare(opened(bare), [opened(market(rng))])

    by = {head["name"]: head for head in found["statistics"]}
    assert by["click_rates"]["why"] == "a log has no impressions.slot"
    assert by["click_gaps"]["why"] == "a log has no impressions.user"
    assert by["purchases_again"]["why"] == "a log has no purchases.user"
    assert by["rank_frequency_impressions"]["figures"] > 0


def test_an_empty_log_is_refused():
    empty = {name: column[:0] for name, column in market(np.random.default_rng(0), 10).items()}

    with pytest.raises(Refused, match="empty"):
        compare(opened(market(np.random.default_rng(0), 10)), [opened(empty)])


def test_days_are_counted_from_the_first_one_that_a_log_has():
    log = opened(clicked((1, 5 * DAY_MS + 1), (1, 7 * DAY_MS)))

    assert extent(log)[:2] == (5, 3)


def test_the_error_of_three_simulated_logs_or_more_is_their_spread_and_that_of_a_real_one():
    def reading(figure, error):
        return Reading(np.array([figure]), np.array([error]), 1)

    few, freedom = _sampling(reading(9.0, 3.0), [reading(1.0, 4.0)])
    assert few == pytest.approx(5.0) and freedom == 63  # 3, 4 and 5
    several, freedom = _sampling(reading(9.0, 3.0), [reading(figure, 4.0) for figure in (1.0, 2.0, 3.0)])
    assert (
        several == pytest.approx(np.sqrt(4 / 3)) and freedom == 2
    )  # a standard deviation of 1, of the real log and of a mean of 3


def test_purchases_alone_are_compared_by_purchases_alone():
    rng = np.random.default_rng(7)
    bought = {
        "user": rng.integers(0, 300, 900),
        "time_ms": rng.integers(0, 100 * DAY_MS, 900),
        "basket_usd": [1.0] * 900,
    }

    found = compare(opened(None, bought), [opened(market(rng), bought)])

    by = {head["name"]: head for head in found["statistics"]}
    assert by["purchases_again"]["distance"] == 0 and found["days"] == 0
    assert by["daily"]["why"] == "a log has no impressions.click"
