"""Estimators of traffic, slots, rates, delays, baskets and advertisers: by hand, and against what a log was drawn from."""

import numpy as np
import pandas as pd
import pytest
from fitlogs import HOURS, Law, drawn

from fitting.checks import DAY_MS, HOUR_MS, Facts, check_impressions
from fitting.delays import waits_of
from fitting.estimates import estimates_of
from fitting.slots import slots
from fitting.source import connected, files, open_log
from fitting.traffic import overlap, traffic
from models.propensity import propensities_randomised


def fitted(folder, log, *, traffic_table=None, purchases=None):
    sources = {"impressions": log, "traffic": traffic_table, "purchases": purchases}
    with connected(threads=1) as con:
        for name, table in sources.items():
            if table is not None:
                table.to_parquet(folder / f"{name}.parquet")
        there = {name: files(con, [folder / f"{name}.parquet"]) for name, table in sources.items() if table is not None}
        _, found = estimates_of(open_log(con, there), lambda what, share: None)
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    return {one.name: one for one in found}


@pytest.fixture(scope="module")
def log():
    return drawn(Law(), 42)


@pytest.fixture(scope="module")
def found(log, tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("fit"), log)


def near(estimate, truth):
    """Within four standard errors, on the scale of logarithms."""
    error = np.log(estimate.high / estimate.low) / (2 * 1.96)
    return abs(np.log(estimate.value / truth)) < 4 * error


def test_every_estimate_has_an_interval_its_events_and_a_method_or_a_reason(found):
    for one in found.values():
        if one.value is None:
            assert one.why and one.low is None and one.high is None
        else:
            assert one.method and not one.why, one
            assert one.low is None or one.low <= one.value <= one.high, one


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        *((f"world.traffic.hour_weight[{h}]", HOURS[h] * 24 / HOURS.sum()) for h in (0, 6, 12, 19)),
        *((f"world.traffic.weekday_weight[{d}]", x) for d, x in enumerate(Law().weekdays)),
        ("world.traffic.requests_per_session", 2.0), ("world.traffic.page_seconds", 60.0),
        ("world.marginals.sessions_per_day", 0.4), ("world.population.activity_sigma", 0.8), ("world.population.users", 1_500),
        ("world.feed.slot_effect[1]", 0.7), ("world.feed.slot_effect[2]", 0.5), ("world.marginals.cvr", 0.3),
        ("world.marginals.cart_rate", 0.51), ("world.delay.cart_minutes", 10.0), ("delay.checkout.fast_share", 0.5),
        ("delay.checkout.fast_mean_h", 0.7), ("delay.checkout.slow_mean_h", 40.0), ("world.catalogue.basket_sigma", 0.4),
        ("world.catalogue.price_sigma", 0.3), ("world.marginals.repurchase_positives", 0.6), ("spread.ctr.item", 0.5),
        ("world.campaigns.count", 12), ("items", 60),
    ],
)  # fmt: skip
def test_what_the_log_was_drawn_from_is_found_within_4_standard_errors(found, name, truth):
    one = found[name]
    assert one.value == truth if one.low is None else near(one, truth), one


def test_rates_are_what_was_counted(log, found):
    assert found["world.marginals.ctr"].value == pytest.approx(log["click"].mean())
    assert found["world.marginals.ctr"].events == log["click"].sum()
    orders = log["basket_usd"].dropna()
    assert found["world.marginals.basket_usd"].value == pytest.approx(orders.mean())
    known = log.loc[log["checkout_ms"].isna(), "known"]
    assert found["world.marginals.repurchase_negatives"].value == pytest.approx(known.mean())


def test_the_error_of_a_rate_is_the_sandwich_over_users(log, found):
    clicks, looks = log.groupby("user")["click"].sum(), log.groupby("user").size()
    rate = log["click"].mean()
    m = len(looks)
    error = np.sqrt(((clicks - rate * looks) ** 2).sum() * m / (m - 1)) / len(log)

    one = found["world.marginals.ctr"]
    logits = np.log(one.high / (1 - one.high)) - np.log(one.low / (1 - one.low))
    assert logits / (2 * 1.96) * rate * (1 - rate) == pytest.approx(error, rel=0.01)
    assert error > 1.1 * np.sqrt(rate * (1 - rate) / len(log))  # rows as draws would claim too much


def test_late_orders_are_counted_before_they_come(log, found):
    so_far = log.loc[log["click"], "checkout_ms"].notna().mean()

    assert so_far < found["world.marginals.cvr"].low


@pytest.mark.deep
def test_an_order_counts_for_those_still_to_come(tmp_path):
    """Known stores order more and more as the days go by; the share is of all orders, however late."""
    rng = np.random.default_rng(8)
    n, end = 60_000, 10 * DAY_MS
    at = np.sort(rng.integers(0, end, n))
    order = rng.random(n) < 0.3
    known = rng.random(n) < np.where(order, 0.2 + 0.6 * at / end, 0.3)
    came = at + 1 + (rng.exponential(60.0, n) * HOUR_MS).astype(np.int64)
    table = pd.DataFrame(
        {"time_ms": at, "item": 0, "user": rng.integers(0, 2_000, n), "click": True, "known": known, "click_ms": at}
    )
    table["checkout_ms"] = pd.Series(came, dtype="Int64").where(order & (came < end))
    table.loc[:9, "click"] = False
    table.loc[:9, ["click_ms", "checkout_ms"]] = pd.NA
    one = fitted(tmp_path, table)["world.marginals.repurchase_positives"]

    so_far = table.loc[table["checkout_ms"].notna(), "known"].mean()
    assert near(one, 0.5) and not one.low < so_far < one.high


def test_purchases_beyond_the_orders_after_ads_are_organic(log, tmp_path):
    after = log.loc[log["checkout_ms"].notna(), ["user", "checkout_ms"]].rename(columns={"checkout_ms": "time_ms"})
    others = pd.DataFrame({"user": np.arange(3 * len(after)) % 900, "time_ms": 5 * DAY_MS})
    outside = pd.DataFrame({"user": [1] * 500, "time_ms": 40 * DAY_MS})
    found = fitted(tmp_path, log, purchases=pd.concat([after, others, outside]).astype("int64"))
    few = fitted(tmp_path, log, purchases=after[:50].astype("int64"))

    one = found["world.marginals.organic_share"]
    assert one.value == pytest.approx(0.75, abs=1e-3) and one.low < 0.75 < one.high
    assert one.events == pytest.approx(4 * len(after), rel=1e-3)
    assert "they are not all orders" in few["world.marginals.organic_share"].why


def test_carts_that_came_with_their_order_are_hidden_and_events_after_a_window_have_not_come(log, tmp_path):
    log.to_parquet(tmp_path / "log.parquet")
    with connected(threads=1) as con:
        opened = open_log(con, {"impressions": files(con, [tmp_path / "log.parquet"])})
        facts = check_impressions(opened)
        carts, orders = waits_of(opened, facts, "cart_ms"), waits_of(opened, facts, "checkout_ms", window_h=24.0)

    clicks = log[log["click"]]
    assert carts.hidden.sum() == (clicks["cart_ms"] == clicks["checkout_ms"]).sum() > 100
    assert orders.came.sum() == (clicks["checkout_ms"] - clicks["click_ms"] <= DAY_MS).sum()
    assert orders.hours.max() <= 24.0 and not orders.hidden.any()


def test_the_slot_curve_of_single_rows_is_that_of_the_models(tmp_path):
    rng = np.random.default_rng(0)
    n = 20_000
    slot, item = rng.integers(0, 3, n), rng.integers(0, 5, n)
    click = rng.random(n) < 0.1 * np.array([1.0, 0.6, 0.3])[slot]
    table = pd.DataFrame(
        {
            "time_ms": np.arange(n) * 60_000,
            "item": item,
            "click": click,
            "slot": slot,
            "randomised": True,
            "user": np.arange(n),
        }
    )
    one = fitted(tmp_path, table)

    known = propensities_randomised(slot, click, 3)
    for s in (1, 2):
        mine = one[f"world.feed.slot_effect[{s}]"]
        assert mine.value == pytest.approx(known.value[s])
        assert np.log(mine.high / mine.value) / 1.96 * mine.value == pytest.approx(known.error[s], rel=0.05)


def test_a_log_with_propensities_is_weighted_by_their_inverse(tmp_path):
    rng = np.random.default_rng(1)
    n = 60_000
    slot = np.arange(n) % 2
    good = np.where(slot == 0, 0.9, 0.5)  # the policy puts the good item on top
    item = (rng.random(n) < good).astype(int)
    chance = np.where(item == 1, good, 1 - good)
    click = rng.random(n) < np.where(item == 1, 0.2, 0.05) * np.where(slot == 0, 1.0, 0.6)
    table = pd.DataFrame(
        {"time_ms": np.arange(n) * 60_000, "item": item, "click": click, "slot": slot, "propensity": chance}
    )
    one = fitted(tmp_path, table)["world.feed.slot_effect[1]"]

    raw = click[slot == 1].mean() / click[slot == 0].mean()
    assert near(one, 0.6) and not one.low < raw < one.high


def test_items_that_move_give_the_curve_though_good_ones_stand_on_top(tmp_path):
    rng = np.random.default_rng(2)
    n = 80_000
    user, item = rng.integers(0, 400, n), rng.integers(0, 10, n)
    slot = np.where(rng.random(n) < 0.2 + 0.06 * item, 0, 1)
    click = rng.random(n) < (0.05 + 0.05 * item) * np.where(slot == 0, 1.0, 0.6)
    table = pd.DataFrame({"time_ms": np.arange(n) * 60_000, "item": item, "click": click, "slot": slot, "user": user})
    one = fitted(tmp_path, table)["world.feed.slot_effect[1]"]

    raw = click[slot == 1].mean() / click[slot == 0].mean()
    assert near(one, 0.6) and not one.low < raw < one.high
    assert "harvested" in one.method


def test_a_curve_has_no_value_where_no_item_was_in_two_slots(tmp_path):
    table = pd.DataFrame(
        {
            "time_ms": np.arange(400) * HOUR_MS,
            "item": np.arange(400) % 2,
            "slot": np.arange(400) % 2,
            "click": np.arange(400) % 3 == 0,
        }
    )
    with connected(threads=1) as con:
        table.to_parquet(tmp_path / "log.parquet")
        found = slots(open_log(con, {"impressions": files(con, [tmp_path / "log.parquet"])}))

    assert [(one.value, one.why) for one in found] == [(None, "no item was ever shown in two slots")] * 2


def test_a_slot_without_clicks_has_an_interval_from_0(tmp_path):
    n = 300
    slot = np.arange(n) % 2
    table = pd.DataFrame(
        {
            "time_ms": np.arange(n) * HOUR_MS,
            "item": 0,
            "slot": slot,
            "click": (slot == 0) & (np.arange(n) % 30 == 0),
            "randomised": True,
        }
    )
    one = fitted(tmp_path, table)["world.feed.slot_effect[1]"]

    assert (one.value, one.low) == (0.0, 0.0)
    assert one.high == pytest.approx(3 / 10)


def test_hours_half_covered_count_half():
    facts = Facts(rows=1, clicks=1, first_ms=30 * 60_000, last_ms=DAY_MS + 45 * 60_000 - 1, end_ms=0)
    hour, covered = overlap(facts)

    assert np.bincount(hour % 24, covered, 24)[:3] == pytest.approx([0.5 + 0.75, 1.0, 1.0])
    assert hour[0] == 0 and hour[-1] == 24


def test_weekdays_count_by_the_days_that_the_log_covers(tmp_path):
    days = [*range(7), 7, 8]  # two Mondays and Tuesdays
    at = [
        day * DAY_MS + hour * HOUR_MS + k for day in days for hour in range(24) for k in range(4 if day % 7 == 0 else 2)
    ]
    table = pd.DataFrame({"time_ms": [*at, 9 * DAY_MS - 1], "item": 0, "click": [k % 2 for k in range(len(at) + 1)]})
    found = fitted(tmp_path, table)

    value = [found[f"world.traffic.weekday_weight[{d}]"].value for d in range(7)]
    assert value == pytest.approx(np.array([4, 2, 2, 2, 2, 2, 2]) * 7 / 16, rel=0.02)
    assert [found[f"world.traffic.hour_weight[{h}]"].value for h in range(24)] == pytest.approx([1.0] * 24, rel=0.05)


def test_a_day_half_covered_counts_for_the_visits_of_that_half(tmp_path):
    at = [h * HOUR_MS + k for h in range(12, 7 * 24) for k in range(6 if h % 24 < 12 else 2)]
    table = pd.DataFrame({"time_ms": [*at, 7 * DAY_MS - 1], "item": 0, "click": [k % 2 for k in range(len(at) + 1)]})
    found = fitted(tmp_path, table)

    assert [found[f"world.traffic.weekday_weight[{d}]"].value for d in range(7)] == pytest.approx([1.0] * 7, rel=0.05)


def test_a_log_of_three_days_knows_no_weekdays(tmp_path):
    found = fitted(tmp_path, drawn(Law(users=300, days=3), 5))

    assert found["world.traffic.weekday_weight[0]"].why == "the log covers 3 of the 7 weekdays"
    assert found["world.traffic.hour_weight[12]"].value is not None


def test_without_users_the_scatter_of_days_widens_the_profile(tmp_path):
    rng = np.random.default_rng(4)
    count = rng.poisson(30 * rng.gamma(4, 0.25, (14, 24)))
    at = np.repeat(np.arange(14 * 24) * HOUR_MS, count.ravel())
    table = pd.DataFrame(
        {"time_ms": at + rng.integers(0, HOUR_MS, len(at)), "item": 0, "click": rng.random(len(at)) < 0.2}
    )
    one = fitted(tmp_path, table)["world.traffic.hour_weight[5]"]

    poisson = np.sqrt(1 / one.events)
    assert np.log(one.high / one.value) / 2.0 > 2 * poisson
    assert one.low < 1 < one.high


def test_sessions_without_a_name_end_with_a_pause(tmp_path):
    minute = 60_000
    at = [0, 5 * minute, 34 * minute, 65 * minute, DAY_MS, 8 * DAY_MS]
    table = pd.DataFrame({"time_ms": at * 2, "user": [1] * 6 + [2] * 6, "item": 0, "click": [0, 1] * 6})
    with connected(threads=1) as con:
        table.to_parquet(tmp_path / "log.parquet")
        log = open_log(con, {"impressions": files(con, [tmp_path / "log.parquet"])})
        found = {one.name: one for one in traffic(log, check_impressions(log))}

        sessions = log.con.execute('SELECT "user", time_ms, lasts, pages FROM visits ORDER BY ALL').fetchall()
    assert sessions[:4] == [(1, 0, 34 * minute, 3), (1, 65 * minute, 0, 1), (1, DAY_MS, 0, 1), (1, 8 * DAY_MS, 0, 1)]
    assert found["world.traffic.requests_per_session"].events == 8
    assert found["world.traffic.page_seconds"].value is None or found[
        "world.traffic.page_seconds"
    ].value == pytest.approx(17 * 60)


def test_a_traffic_table_takes_the_place_of_the_log(log, tmp_path):
    rows = [(region, day, hour, (1 + hour) * (1 + day)) for region in "ab" for day in range(7) for hour in range(24)]
    table = pd.DataFrame(rows, columns=["region", "weekday", "hour", "share"])
    found = fitted(tmp_path, log[:5_000], traffic_table=table)

    assert found["world.traffic.hour_weight[3]"].value == pytest.approx(4 * 24 / 300)
    assert found["world.traffic.weekday_weight[6]"].value == pytest.approx(7 * 7 / 28)
    alone = fitted(tmp_path, log[:5_000], traffic_table=table[table["region"] == "a"].drop(columns="region"))
    assert alone["world.traffic.hour_weight[3]"].low is None


def test_purchases_give_baskets_where_impressions_have_none(tmp_path):
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(500), 3)
    bought = pd.DataFrame(
        {
            "user": user,
            "time_ms": rng.integers(0, 90, 1_500) * DAY_MS,
            "basket_usd": 20 * np.exp(0.5 * rng.standard_normal(1_500)),
        }
    )
    found = fitted(tmp_path, drawn(Law(users=200, days=7), 6).drop(columns="basket_usd"), purchases=bought)

    assert found["world.marginals.basket_usd"].value == pytest.approx(bought["basket_usd"].mean())
    assert near(found["world.catalogue.basket_sigma"], 0.5)
    assert "no column item" in found["world.catalogue.price_sigma"].why


def test_spend_bounds_the_budget_from_below(tmp_path):
    budget = np.exp(0.6 * np.random.default_rng(1).standard_normal(60)) * 10
    rows = [
        (day * DAY_MS + k * HOUR_MS, c, c, budget[c] / 4 if day else budget[c] / 8)
        for day in range(7)
        for c in range(60)
        for k in range(4)
    ]
    table = pd.DataFrame(rows, columns=["time_ms", "item", "campaign", "price_usd"])
    table["click"] = np.arange(len(table)) % 5 == 0
    table["bid_usd"] = table["price_usd"] * 2
    found = fitted(tmp_path, table)

    assert found["world.campaigns.daily_budget_usd"].value == pytest.approx(budget.mean())
    assert found["world.campaigns.budget_sigma"].value == pytest.approx(np.log(budget).std(ddof=1))
    assert "lower bound" in found["world.campaigns.daily_budget_usd"].method
    assert found["world.campaigns.stores_per_campaign"].value == 1
    logs = table.assign(b=np.log(table["bid_usd"])).groupby("campaign")["b"].mean()
    assert found["bids.sigma"].value == pytest.approx(logs.std())
    assert found["prices.sigma"].value == pytest.approx(np.log(table["price_usd"]).std(ddof=0))


def test_a_bare_log_leaves_the_rest_at_the_default_and_says_why(log, tmp_path):
    found = fitted(tmp_path, log[["time_ms", "item", "click"]])

    assert found["world.marginals.ctr"].value is not None
    for name, why in (
        ("world.feed.slot_effect[0]", "no column slot"), ("world.marginals.sessions_per_day", "no column user"),
        ("world.marginals.cvr", "no column click_ms"), ("world.marginals.basket_usd", "neither log has a column basket_usd"),
        ("world.campaigns.count", "no column campaign"), ("world.marginals.repurchase_positives", "no column known"),
    ):  # fmt: skip
        assert found[name].value is None and why in found[name].why


@pytest.mark.deep
def test_intervals_hold_the_truth_in_93_to_97_percent_of_200_logs(tmp_path):
    """Pooled over parameters; single ones within four standard errors of 95% at 200 logs, 6.2%."""
    law = Law()
    truth = {f"world.traffic.hour_weight[{h}]": x for h, x in enumerate(law.hours)}
    truth |= {f"world.traffic.weekday_weight[{d}]": x for d, x in enumerate(law.weekdays)}
    truth |= {
        "world.traffic.requests_per_session": 2.0, "world.traffic.page_seconds": 60.0, "world.marginals.sessions_per_day": 0.4,
        "world.population.activity_sigma": 0.8, "world.population.users": 1_500.0, "world.feed.slot_effect[1]": 0.7,
        "world.feed.slot_effect[2]": 0.5, "world.marginals.cvr": 0.3, "world.marginals.cart_rate": 0.51,
        "world.delay.cart_minutes": 10.0, "delay.checkout.fast_share": 0.5, "delay.checkout.fast_mean_h": 0.7,
        "delay.checkout.slow_mean_h": 40.0, "world.catalogue.basket_sigma": 0.4, "world.catalogue.price_sigma": 0.3,
        "world.marginals.repurchase_positives": 0.6,
    }  # fmt: skip
    hits = np.zeros((200, len(truth)))
    for seed in range(200):
        found = fitted(tmp_path, drawn(law, 10_000 + seed))
        hits[seed] = [found[name].low <= x <= found[name].high for name, x in truth.items()]

    print(dict(zip(truth, hits.mean(axis=0), strict=True)))
    assert 0.93 <= hits.mean() <= 0.97
    assert (hits.mean(axis=0) > 0.95 - 0.062).all()
