"""Slices of a run's Parquet files, against the same numbers worked out by pandas in other ways."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from opened import whole
from scipy.integrate import quad
from scipy.stats import lognorm, poisson

from auction.types import MICROS
from marketplace.advertisers import advertisers_of
from marketplace.auction_slices import FIGURES, STEP, campaigns_by_spend, distribution, slots_filled, summed
from marketplace.designs import assignment_of
from marketplace.errors import Refused
from marketplace.market import served_arms
from marketplace.pacing_slices import (
    accounts_of,
    chosen_of,
    exhausted,
    exhausted_by_account,
    multiplier_band,
    share_exhausted,
    spend_by_step,
    step_of,
)
from marketplace.record import LogRecorder
from marketplace.runs import read_json
from marketplace.scenario import load_scenario
from marketplace.schema import log_schema
from marketplace.simulate import simulate
from marketplace.slices import LOG, rows_of, simulation_of, simulations_in
from marketplace.state import new_state
from marketplace.user_history import counted, frequent_users, history
from marketplace.user_slices import AGE_NAMES, FREQUENCY_NAMES, activity, by_hour, delays, familiarity, repurchases
from synth.campaigns import PRICINGS
from synth.types import DAY_MS, HOUR_MS

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
START_MS = 3 * DAY_MS  # of tiny's test


@pytest.fixture(scope="module")
def scenario(finished):
    return load_scenario(finished.folder / "scenario.json")


@pytest.fixture(scope="module")
def own(scenario):
    return advertisers_of(scenario)


@pytest.fixture(scope="module")
def ab(finished):
    return simulation_of(finished.folder, "ab")


@pytest.fixture(scope="module")
def log(ab):
    return {path.name: pd.read_parquet(path) for path in (ab / "log").iterdir() if path.is_dir()}


def test_simulations_stand_with_the_tests_first_and_the_log_last(finished, tmp_path):
    assert simulations_in(finished.folder) == ["ab", "aa", "control", "treatment", LOG]
    assert simulations_in(tmp_path) == []
    with pytest.raises(Refused, match="there is no simulation nobody, it has ab, aa, control, treatment, log"):
        simulation_of(finished.folder, "nobody")
    with pytest.raises(Refused, match=r"there is no simulation \.\., it has ab"):
        simulation_of(finished.folder, "..")


@pytest.mark.parametrize("figure", FIGURES)
def test_a_distribution_counts_every_impression_in_the_bin_that_its_figure_lies_in(ab, own, log, figure):
    shown = log["impressions"]
    x = {
        "bid": shown["bid_usd"], "price": shown["price_micros"] / MICROS, "bid eCPM": 1000 * shown["bid_usd"] * shown["quality"],
        "price eCPM": shown["price_micros"] / 1000 * shown["quality"],
    }[figure]  # fmt: skip
    pricing = np.array(PRICINGS)[own.campaigns.pricing[shown["campaign"]]]
    rows = pd.DataFrame(distribution(ab, own, figure))

    assert rows["n"].sum() == len(shown)
    for (arm, kind, slot), bins in rows.groupby(["arm", "pricing", "slot"]):
        mine = x[(shown["arm"] == arm) & (pricing == kind) & (shown["slot"] == slot)].sort_values()
        assert bins["total"].sum() == pytest.approx(mine.sum())
        edges = np.append(0, bins["n"].cumsum())
        for row, first, last in zip(bins.itertuples(), edges, edges[1:], strict=False):
            assert mine.iloc[first] >= row.low * (1 - 1e-12)
            assert mine.iloc[last - 1] <= row.high * (1 + 1e-12)
    for row in summed(rows.to_dict("records")):
        mine = x[(shown["arm"] == row["arm"]) & (pricing == row["pricing"]) & (shown["slot"] == row["slot"])]
        assert (row["n"], row["mean"]) == (len(mine), pytest.approx(mine.mean()))
        for name, q in (("q10", 0.1), ("q50", 0.5), ("q90", 0.9)):
            exact = np.quantile(mine, q, method="inverted_cdf")
            assert row[name] == pytest.approx(exact, rel=np.expm1(STEP / 2) + 1e-9, abs=1e-12)


def test_slots_are_filled_as_often_as_they_have_impressions(ab, log):
    requests, shown = log["requests"], log["impressions"]
    rows = slots_filled(ab, 3)

    assert [(row["arm"], row["slot"]) for row in rows] == [(arm, slot) for arm in (0, 1) for slot in (0, 1, 2)]
    for row in rows:
        mine = shown[(shown["arm"] == row["arm"]) & (shown["slot"] == row["slot"])]
        assert row["requests"] == (requests["arm"] == row["arm"]).sum()
        assert row["filled"] == len(mine) / row["requests"]
        assert row["ctr"] == pytest.approx(mine["clicked"].mean())
        assert row["billed_usd"] == pytest.approx(mine["billed_micros"].sum() / MICROS)
    together = slots_filled(ab, 3, apart=False)
    assert sum(row["impressions"] for row in together if row["arm"] == 0) == len(shown)


def test_campaigns_spend_what_their_impressions_and_conversions_were_billed(finished, ab, own, log):
    rows = pd.DataFrame(campaigns_by_spend(ab, own, START_MS))
    shown, ordered = log["impressions"], log["conversions"]
    earlier = ordered[ordered["shown_ms"] < START_MS]
    ordered = ordered.drop(earlier.index)

    revenue = finished.manifest["stages"]["simulations"]["ab"]["revenue_micros"]
    assert len(earlier) > 0
    assert round(rows["spend_usd"].sum() * MICROS) == revenue - earlier["billed_micros"].sum()
    assert rows["impressions"].sum() == len(shown)
    assert rows["conversions"].sum() == ordered["attributed"].sum()
    assert rows["spend_usd"].is_monotonic_decreasing
    top = rows.iloc[0]
    mine = shown[(shown["campaign"] == top["campaign"]) & (shown["arm"] == top["arm"])]
    assert top["of_bid"] == pytest.approx(
        np.dot(mine["price_micros"], mine["quality"]) / MICROS / np.dot(mine["bid_usd"], mine["quality"])
    )
    assert top["cpa_usd"] == pytest.approx(top["spend_usd"] / top["conversions"])


def test_cpa_of_an_arms_campaigns_together_is_that_of_the_readout(finished, ab, own):
    rows = pd.DataFrame(campaigns_by_spend(ab, own, START_MS)).groupby("arm")[["spend_usd", "conversions"]].sum()
    (read,) = (row for row in read_json(finished.folder / "report.json")["readout"] if row["metric"] == "CPA")

    found = (rows["spend_usd"] / rows["conversions"]).to_dict()
    assert found == pytest.approx({0: read["control"], 1: read["treatment"]}, rel=1e-9)


def test_spend_by_hour_is_that_of_the_report_and_campaigns_add_up_to_it(finished, ab, scenario):
    rows = pd.DataFrame(spend_by_step(ab, scenario))
    spending = pd.read_parquet(ab / "spending.parquet")

    by_hour = spending.groupby(spending["start_ms"] // HOUR_MS).agg(
        {"spent_usd": "sum", "planned_usd": "sum", "multiplier": "mean"}
    )
    for name in by_hour:
        np.testing.assert_allclose(rows[name], by_hour[name])
    parts = [pd.DataFrame(spend_by_step(ab, scenario, campaign=campaign))["spent_usd"] for campaign in range(40)]
    np.testing.assert_allclose(sum(parts), rows["spent_usd"], atol=1e-9)
    one = spending[spending["account"] == 7].groupby(spending["start_ms"] // HOUR_MS)["multiplier"].mean()
    np.testing.assert_allclose(pd.DataFrame(spend_by_step(ab, scenario, campaign=7))["multiplier"], one)


@pytest.mark.parametrize(("minutes", "hours"), [(1, 1), (30, 1), (48, 1.6), (60, 1), (80, 4 / 3), (240, 4)])
def test_a_row_of_spend_stands_for_whole_intervals_of_an_hour_at_least(minutes, hours):
    assert (
        step_of(load_scenario(TINY, [f"pacing.interval_minutes={minutes}", "features.publish_minutes=240"]))
        == hours * HOUR_MS
    )


def test_spend_in_steps_longer_than_an_hour_is_still_by_the_hour(scenario, ab):
    coarse = scenario.model_copy(update={"pacing": scenario.pacing.model_copy(update={"interval_minutes": 240})})
    rows, fine = spend_by_step(ab, coarse), spend_by_step(ab, scenario)

    assert 4 * len(rows) == len(fine)
    assert 4 * sum(row["spent_usd"] for row in rows) == pytest.approx(sum(row["spent_usd"] for row in fine))


def test_the_band_holds_the_quantiles_of_the_accounts_multipliers(ab, scenario):
    spending = pd.read_parquet(ab / "spending.parquet")
    by_hour = spending.groupby(spending["start_ms"] // HOUR_MS)["multiplier"]
    rows = pd.DataFrame(multiplier_band(ab, scenario))

    for q in (10, 25, 50, 75, 90):
        np.testing.assert_allclose(rows[f"q{q}"], by_hour.quantile(q / 100))


def charges(log) -> pd.DataFrame:
    """Every charge of a log, in order of time; an order is charged before a request of the same time."""
    orders = log["conversions"].assign(first=0)
    whole = pd.concat([orders, log["impressions"].assign(first=1)])
    return whole.sort_values(["time_ms", "first"], kind="stable")


def test_a_budget_is_gone_in_the_hour_of_its_first_charge_that_is_not_billed_in_full(ab, scenario, own, log):
    """The first clipped charge is the one that spends the last micro: an account of it that does not add up budgets."""
    accounts = accounts_of(scenario, own, "ab")
    found = exhausted(ab, scenario, own, accounts)

    clipped = charges(log).query("unbilled_micros > 0")
    expected = clipped.groupby([clipped["campaign"], clipped["time_ms"] // DAY_MS])["time_ms"].min() // HOUR_MS
    assert len(expected) > 20
    assert found.account.tolist() == expected.index.get_level_values(0).tolist()
    assert found.hour.tolist() == expected.tolist()
    billed = charges(log).groupby("campaign")["billed_micros"].sum()
    assert (found.billed[billed.index] == billed).all()
    assert found.billed.sum() == billed.sum()
    assert (found.first_hour, found.hours) == (72, 48)


def test_shares_and_tables_of_exhausted_budgets_count_the_same_days(ab, scenario, own):
    accounts = accounts_of(scenario, own, "ab")
    found = exhausted(ab, scenario, own, accounts)
    share = share_exhausted(found, chosen_of(accounts, 40))
    table = exhausted_by_account(ab, scenario, own, accounts, found)

    assert [row["hour"] for row in share] == list(range(72, 120))
    by_midnight = [row["accounts"] for row in share if row["hour"] % 24 == 23]
    assert sum(by_midnight) == len(found.hour) == sum(row["days_out"] for row in table)
    assert share[-1]["share"] == by_midnight[-1] / 40
    for row in table:
        hours = [
            hour % 24 for account, hour in zip(found.account, found.hour, strict=True) if account == row["campaign"]
        ]
        assert row["days_out"] == len(hours)
        assert row["mean_hour"] == (np.mean(hours) if hours else None)
        assert row["use"] <= 1.0
        assert (row["use"] == 1.0) == (row["days_out"] == 2)
    one = share_exhausted(found, chosen_of(accounts, 40, campaign=int(found.account[0])))
    assert {row["share"] for row in one} == {0.0, 1.0}


def test_where_budgets_are_split_each_arms_part_runs_out_by_itself(world, tmp_path):
    ranked = ["experiment.arms.control.model=first_ranker", "experiment.arms.treatment.model=first_ranker"]
    scenario = load_scenario(
        TINY, [*ranked, "experiment.design=budgets", "experiment.arms.treatment.share=0.3", "calendar.log_days=3"]
    )
    own, assignment = advertisers_of(scenario), assignment_of(scenario, world, 0)
    state = new_state(scenario, world)
    with LogRecorder(tmp_path, log_schema(scenario.world), world.population.content, 0.0, scenario.seed) as recorder:
        spending = simulate(
            scenario, world, served_arms(scenario, {}), assignment, state, recorder, first_day=0, days=1, users=1_000
        ).spending
        recorder.digest()
    n, accounts = spending.spent_usd.shape
    pd.DataFrame(
        {
            "start_ms": np.repeat(spending.start_ms, accounts), "account": np.tile(np.arange(accounts), n),
            "spent_usd": spending.spent_usd.ravel(), "planned_usd": spending.planned_usd.ravel(),
            "multiplier": spending.multiplier.ravel(),
        }
    ).to_parquet(tmp_path / "spending.parquet")  # fmt: skip

    parts = accounts_of(scenario, own, "ab")
    found = exhausted(tmp_path, scenario, own, parts)

    assert accounts == 80
    assert np.array_equal(parts.daily, state.ledger.daily)
    assert np.array_equal(found.billed, state.ledger.daily - state.ledger.remaining)
    assert np.array_equal(found.account, np.flatnonzero(state.ledger.remaining == 0))
    assert 0 < len(found.account) < 80
    table = exhausted_by_account(tmp_path, scenario, own, parts, found)
    assert {row["arm"] for row in table if row["days_out"]} == {0, 1}
    for arm in (0, 1):
        whole = spending.spent_usd[:, 40 * arm : 40 * arm + 40].sum()
        assert sum(row["spent_usd"] for row in spend_by_step(tmp_path, scenario, arm=arm)) == pytest.approx(whole)
    assert accounts_of(scenario, own, "control").of_user is None


def test_familiarity_adds_up_to_all_impressions_clicks_and_orders_of_their_ads(ab, log):
    rows = pd.DataFrame(familiarity(ab, views_lead_to_orders=False))
    shown = log["impressions"]
    orders = log["conversions"].query("event == 1").merge(shown, on=["request", "ad"], suffixes=("", "_ad"))

    assert rows["impressions"].sum() == len(shown)
    assert rows["clicks"].sum() == shown["clicked"].sum()
    assert rows["orders"].sum() == len(orders)
    assert repurchases(rows.to_dict("records")) == (len(orders), (orders["known_orders"] > 0).sum())
    never = rows["days_since"] == "never"
    assert (never == (rows["orders_before"] == "0")).all()
    for table, name in ((shown, "impressions"), (orders, "orders")):
        n = np.round(np.expm1(table["known_orders"].astype(float)))
        bins = pd.cut(n, [-1, 0, 1, 2, 3, 5, 10, np.inf], labels=FREQUENCY_NAMES).value_counts()
        days = np.exp(table["days_since_order"].astype(float))[n > 0] - 1
        ages = pd.cut(days, [-1, 1, 2, 3, 5, 7, 10, 14, 21, 28, np.inf], right=False, labels=AGE_NAMES).value_counts()
        for field, expected in (("orders_before", bins), ("days_since", ages)):
            counted_there = rows.groupby(field)[name].sum()
            for label, number in expected.items():
                assert counted_there.get(label, 0) == number


def test_hours_of_the_week_count_what_came_in_them(ab, log, scenario):
    rows = pd.DataFrame(by_hour(ab, scenario))

    hour = log["requests"]["time_ms"] // HOUR_MS
    assert sorted(rows["weekday"].unique()) == [3, 4]  # the test runs on Thursday and Friday of the first week
    np.testing.assert_array_equal(rows["requests"], hour.value_counts().sort_index())
    assert rows["ad_orders"].sum() == (log["conversions"]["event"] == 1).sum()
    assert rows["organic_orders"].sum() == len(log["organic"])
    assert rows["share"].sum() == pytest.approx(2 / 7)
    assert rows["share"].iloc[18] / rows["share"].iloc[0] == pytest.approx(4.0)


def test_a_weekday_that_comes_twice_counts_by_the_day(tmp_path, scenario):
    requests = pd.DataFrame(
        {"request": range(6), "time_ms": [0, 1, 7 * DAY_MS, 7 * DAY_MS + 5, 7 * DAY_MS + 9, DAY_MS]}
    )
    nothing = pd.DataFrame({"time_ms": np.empty(0, np.int64), "event": np.empty(0, np.int8)})
    for name, table in (("requests", requests), ("conversions", nothing), ("organic", nothing)):
        (tmp_path / "log" / name).mkdir(parents=True)
        table.to_parquet(tmp_path / "log" / name / "day=0000.parquet")

    monday, tuesday = by_hour(tmp_path, scenario)
    assert (monday["weekday"], monday["days"], monday["requests"]) == (0, 2, 2.5)
    assert (tuesday["weekday"], tuesday["days"], tuesday["requests"]) == (1, 1, 1.0)


def test_delays_are_the_shares_of_followed_events_that_came_by_each_hour(ab, log, scenario, own):
    rows = pd.DataFrame(delays(ab, scenario, own, first_day=3, days=2, follow_days=1))
    conversions = log["conversions"]
    followed = conversions[(conversions["click_ms"] >= 3 * DAY_MS) & (conversions["click_ms"] < 4 * DAY_MS)]

    for event, name in enumerate(("cart", "checkout")):
        delay = (followed["time_ms"] - followed["click_ms"])[followed["event"] == event] / HOUR_MS
        mine = rows[rows["event"] == name]
        assert (mine["events"] == (delay <= 24).sum()).all()
        for row in mine.itertuples():
            assert row.share == pytest.approx((delay[delay <= 24] <= row.hours).mean())
    assert set(rows["event"]) == {"cart", "checkout"}


def test_checkouts_come_as_late_as_the_law_says_though_the_simulation_ends_early(finished, scenario, own):
    """Of what comes within the time that every click is followed: at each hour within 4 standard errors of a share."""
    simulation = simulation_of(finished.folder, LOG)
    rows = pd.DataFrame(delays(simulation, scenario, own, first_day=0, days=3, follow_days=1)).query(
        "event == 'checkout'"
    )

    error = np.sqrt(rows["law"] * (1 - rows["law"]) / rows["events"])
    assert rows["events"].iloc[0] > 300
    assert rows["law"].is_monotonic_increasing
    assert (rows["share"] - rows["law"]).abs().le(4 * error + 1e-9).all()


def test_activity_counts_every_user_once_and_every_session(ab, log, scenario):
    rows = pd.DataFrame(activity(ab, scenario, first_day=3, days=2))
    sessions = log["requests"].groupby("user")["session"].nunique()

    assert rows["users"].sum() == scenario.world.population.users
    assert (rows["users"] * rows["sessions"]).sum() == sessions.sum() == log["requests"]["session"].nunique()
    assert rows["users"].iloc[3] == (sessions == 3).sum()
    assert rows["users"].iloc[0] == scenario.world.population.users - len(sessions)


def test_the_law_of_activity_is_a_poisson_number_whose_mean_is_lognormal(ab, scenario):
    rows = activity(ab, scenario, first_day=3, days=2)
    sigma = scenario.world.population.activity_sigma
    mean = lognorm(sigma, scale=2 * np.exp(-(sigma**2) / 2))  # one session a day, two days of the same weight

    for row in rows[:6]:
        whole, _ = quad(lambda x, k=row["sessions"]: poisson.pmf(k, x) * mean.pdf(x), 0, np.inf, limit=400)
        assert row["expected_users"] == pytest.approx(2_000 * whole, rel=1e-3)


def test_a_history_holds_all_that_the_log_has_of_a_user_in_order_of_time(ab, log):
    (top, *_) = frequent_users(ab, 5)
    orders = log["conversions"].query("event == 1").groupby("user").size()
    assert (top["orders"], top["user"]) == (orders.max(), orders[orders == orders.max()].index.min())

    rows = history(ab, top["user"])
    mine = {name: table[table["user"] == top["user"]] for name, table in log.items() if "user" in table}
    n = counted(rows)
    assert [row["time_ms"] for row in rows] == sorted(row["time_ms"] for row in rows)
    assert n["request"] == len(mine["requests"])
    assert n["sessions"] == mine["requests"]["session"].nunique()
    assert n["shown"] == len(mine["impressions"])
    assert (n["clicked"], n["hidden"]) == (mine["impressions"]["clicked"].sum(), mine["impressions"]["hidden"].sum())
    assert [n["cart"], n["checkout"]] == [(mine["conversions"]["event"] == event).sum() for event in (0, 1)]
    assert n["organic order"] == len(mine["organic"])
    assert {row["there"] for row in rows} == {len(rows)}
    billed = sum(row["billed_usd"] or 0 for row in rows)
    assert billed == pytest.approx(
        (mine["impressions"]["billed_micros"].sum() + mine["conversions"]["billed_micros"].sum()) / MICROS
    )
    began = {}
    for row in rows:
        if row["what"] == "request":
            began.setdefault(row["session"], row["time_ms"])
    assert list(began) == list(range(1, n["sessions"] + 1))


def test_a_user_who_never_came_has_no_history(ab, log):
    absent = next(user for user in range(2_000) if all(user not in set(t["user"]) for t in log.values() if "user" in t))

    assert history(ab, absent) == []


def broken(kind: str, file: Path) -> None:
    if kind == "missing":
        file.unlink()
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif kind == "no Parquet":
        file.write_bytes(b"nothing")
    else:
        pd.DataFrame({"other": [1]}).to_parquet(file)


@pytest.mark.parametrize("kind", ["missing", "cut", "no Parquet", "of other columns"])
def test_a_file_that_is_missing_or_damaged_is_refused_by_its_folder(finished, tmp_path, scenario, own, kind):
    folder = tmp_path / "ab"
    for name in ("requests", "impressions", "conversions", "organic", "candidates"):
        shutil.copytree(finished.folder / "simulations" / "ab" / "log" / name, folder / "log" / name)
        for file in (folder / "log" / name).iterdir():
            broken(kind, file)
    shutil.copy(finished.folder / "simulations" / "ab" / "spending.parquet", folder)
    broken(kind, folder / "spending.parquet")

    for slice_of in (
        lambda: distribution(folder, own, "bid"), lambda: slots_filled(folder, 3), lambda: campaigns_by_spend(folder, own, 0),
        lambda: spend_by_step(folder, scenario), lambda: multiplier_band(folder, scenario),
        lambda: exhausted(folder, scenario, own, accounts_of(scenario, own, "ab")),
        lambda: familiarity(folder, views_lead_to_orders=True), lambda: by_hour(folder, scenario),
        lambda: delays(folder, scenario, own, first_day=3, days=2, follow_days=1),
        lambda: activity(folder, scenario, first_day=3, days=2), lambda: history(folder, 1), lambda: frequent_users(folder, 1),
    ):  # fmt: skip
        with pytest.raises(Refused, match=f"^{folder} is damaged or of another version: "):
            slice_of()


def test_values_are_bound_and_never_part_of_the_query(ab):
    assert rows_of(ab, "SELECT $asked AS found", asked="1; DROP TABLE x --") == [{"found": "1; DROP TABLE x --"}]


@pytest.mark.parametrize("name", ["[ab]", "a*", "a?", "arm=9"])
def test_a_folder_whose_name_reads_as_a_pattern_or_a_column_gives_its_own_rows_alone(finished, tmp_path, ab, name):
    for folder in (name, "a", "ab"):
        whole(finished.folder, tmp_path, folder)
    query = "SELECT arm, count(*) AS n FROM read_parquet($impressions) GROUP BY arm ORDER BY arm"

    assert rows_of(simulation_of(tmp_path / name, "ab"), query) == rows_of(ab, query)


def lead_out(link, elsewhere):
    """Put what is there elsewhere, and a link to it in its place."""
    link.rename(elsewhere)
    link.symlink_to(elsewhere)


@pytest.mark.parametrize("place", ["log", "log/impressions", "log/impressions/FIRST", "spending.parquet"])
def test_a_link_that_leads_out_of_a_simulation_is_refused(finished, tmp_path, place):
    simulation = whole(finished.folder, tmp_path, "run") / "simulations" / "ab"
    first = min((simulation / "log" / "impressions").iterdir()).name
    lead_out(simulation / place.replace("FIRST", first), tmp_path / "outside")

    table = "spending" if place == "spending.parquet" else "impressions"
    with pytest.raises(Refused, match="leads out of the run"):
        rows_of(simulation, f"SELECT count(*) FROM read_parquet(${table})")


@pytest.mark.parametrize("place", ["simulations", "simulations/ab"])
def test_a_link_that_leads_out_of_a_run_is_no_simulation(finished, tmp_path, place):
    run = whole(finished.folder, tmp_path, "run")
    lead_out(run / place, tmp_path / "outside")

    assert "ab" not in simulations_in(run)
    with pytest.raises(Refused, match="there is no simulation ab"):
        simulation_of(run, "ab")
