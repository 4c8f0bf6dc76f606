"""Counters of a test against a count of its log."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from trials import assigned, other_ranker, served

from marketplace.assignment import everyone
from marketplace.counters import NAMES
from marketplace.market import first_ranker, open_market
from marketplace.record import LogRecorder
from marketplace.scenario import load_scenario
from marketplace.schema import log_schema
from marketplace.state import new_state
from synth.types import CART, CHECKOUT, DAY_MS, SIGN_UP

TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
FIRST = 1  # day of the test
COUNTS = {
    "requests": "SELECT arm, user, count(*) FROM requests GROUP BY ALL",
    "returned": f"SELECT arm, user, (count(DISTINCT time_ms // {DAY_MS}) > 1)::INT FROM requests GROUP BY ALL",
    "impressions": "SELECT arm, user, count(*) FROM impressions GROUP BY ALL",
    "clicks": "SELECT arm, user, sum(clicked::INT) FROM impressions GROUP BY ALL",
    "long_clicks": "SELECT arm, user, sum(long_clicked::INT) FROM impressions GROUP BY ALL",
    "hides": "SELECT arm, user, sum(hidden::INT) FROM impressions GROUP BY ALL",
    "cuisines": "SELECT arm, user, count(DISTINCT cuisine) FROM impressions GROUP BY ALL",
    "expected_clicks": "SELECT arm, user, sum(pctr::DOUBLE * effect[slot + 1]) FROM impressions GROUP BY ALL",
    "carts": f"SELECT arm, user, count(*) FROM own WHERE event = {CART} GROUP BY ALL",
    "orders": f"SELECT arm, user, count(*) FROM own WHERE event = {CHECKOUT} GROUP BY ALL",
    "sign_ups": f"SELECT arm, user, count(*) FROM own WHERE event = {SIGN_UP} GROUP BY ALL",
    "conversions": "SELECT arm, user, count(*) FROM own WHERE attributed GROUP BY ALL",
    "click_conversions": "SELECT arm, user, count(*) FROM own WHERE attributed AND click_ms >= 0 GROUP BY ALL",
    "repeat_conversions": "SELECT arm, user, count(*) FROM own WHERE attributed AND known_orders > 0 GROUP BY ALL",
    "tried": f"SELECT DISTINCT arm, user, 1 FROM own WHERE event = {CHECKOUT} AND known_orders = 0",
    "value_usd": "SELECT arm, user, sum(value_micros) / 1e6 FROM own WHERE attributed GROUP BY ALL",
    "gmv_usd": "SELECT arm, user, sum(value_micros) / 1e6 FROM own GROUP BY ALL",
    "spend_usd": """SELECT arm, user, sum(billed_micros) / 1e6 FROM (
        SELECT arm, user, billed_micros FROM impressions UNION ALL SELECT arm, user, billed_micros FROM own
    ) GROUP BY ALL""",
    "organic_orders": """SELECT r.arm, o.user, count(*) FROM organic o JOIN requests r USING (request) GROUP BY ALL""",
    "all_gmv_usd": """SELECT arm, user, sum(value_micros) / 1e6 FROM (
        SELECT r.arm, o.user, o.value_micros FROM organic o JOIN requests r USING (request)
        UNION ALL SELECT arm, user, value_micros FROM own
    ) GROUP BY ALL""",
}


@pytest.fixture(scope="module")
def social():
    """A market with goals of all kinds, and conversions after ads that were not clicked."""
    settings = ["cart_goal_share=0.3", "sign_up_goal_share=0.2", "click_goal_share=0.1"]
    scenario = load_scenario(
        TINY,
        [f"world.campaigns.{own}" for own in settings]
        + [
            "world.marginals.sign_up_rate=0.2",
            "world.marginals.post_view_rate=0.02",
            "auction.view_attribution_days=1",
        ],
    )
    return scenario, open_market(scenario)


@pytest.fixture(scope="module", params=["users", "ramp", "requests"])
def tested(request, social, tmp_path_factory):
    """Counters by arm and user (A, U, m) of a test of two days after a day of log, and a connection to its log."""
    (scenario, world), folder = social, tmp_path_factory.mktemp("counted")
    ranker = first_ranker(scenario)
    state = new_state(scenario, world)
    split = assigned(request.param, world, first_day=FIRST)
    n_users = scenario.world.population.users
    schema = log_schema(scenario.world)
    with LogRecorder(folder / "before", schema, world.population.content, 0.0, 1) as recorder:
        served(scenario, world, (ranker,), everyone(n_users), recorder, days=1, state=state)
    with LogRecorder(folder / "test", schema, world.population.content, 0.0, 1) as recorder:
        arms = ranker, other_ranker(scenario)
        result = served(scenario, world, arms, split, recorder, first_day=FIRST, state=state)
    table = result.counters.table()
    if request.param == "users":
        table = np.stack([np.where((split.of_unit == arm)[:, None], table, 0.0) for arm in (0, 1)])
    with duckdb.connect() as db:
        for name in ("requests", "impressions", "conversions", "organic"):
            files = str(folder / "test" / "log" / name / "*.parquet")
            db.execute(
                f"CREATE VIEW {name} AS SELECT *, {list(scenario.world.feed.slot_effect)} AS effect FROM '{files}'"
            )
        db.execute(
            f"""CREATE VIEW own AS SELECT c.*, i.known_orders FROM conversions c JOIN impressions i USING (request, ad)
            WHERE c.shown_ms >= {FIRST * DAY_MS}"""
        )
        yield request.param, table.reshape(-1, 2, n_users, len(NAMES)), db


@pytest.mark.parametrize("name", COUNTS)
def test_a_counter_is_what_the_log_says(tested, name):
    design, table, db = tested
    found = table[..., NAMES.index(name)]
    if np.isnan(found).any():
        assert design == "requests" and name in ("tried", "returned", "cuisines")
        return
    if len(found) > 1 and name in ("tried", "returned", "cuisines"):
        return  # once in each stage
    arm, user, amount = (np.array(column) for column in zip(*db.execute(COUNTS[name]).fetchall(), strict=True))
    want = np.zeros(found.shape[1:])
    want[arm.astype(int), user.astype(int)] = amount

    assert found.sum(axis=0) == pytest.approx(want, rel=1e-6, abs=1e-9)
    assert want.sum() > 5


def test_orders_of_ads_shown_before_the_test_are_logged_and_not_counted(tested):
    _, table, db = tested
    (late,) = db.execute(f"SELECT count(*) FROM conversions WHERE shown_ms < {FIRST * DAY_MS}").fetchone()
    (logged,) = db.execute(f"SELECT count(*) FROM conversions WHERE event = {CHECKOUT}").fetchone()

    assert late > 10
    assert table[..., NAMES.index("orders")].sum() < logged


def test_late_orders_count_for_the_stage_of_their_impression(tested):
    design, table, db = tested
    by_stage = (
        f"SELECT shown_ms // {DAY_MS} - {FIRST} AS stage, count(*) FROM own WHERE event = {CHECKOUT} GROUP BY ALL"
    )
    shown = dict(db.execute(by_stage).fetchall())
    placed = dict(db.execute(by_stage.replace("shown_ms //", "time_ms //")).fetchall())

    assert shown != placed
    if design == "ramp":
        assert table[..., NAMES.index("orders")].sum(axis=(1, 2)).tolist() == [shown[0], shown[1]]
