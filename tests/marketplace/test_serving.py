"""What the arms cost to serve, in a run: against the log, by hand, and where it must not depend on the machine."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from called import call, refused

from marketplace.load import with_bid
from marketplace.runs import read_json
from marketplace.scenario import ArmConfig, CascadeConfig, load_scenario
from marketplace.serving import Traffic, Trained, price, traffic_of
from marketplace.serving_words import serving_sheets
from marketplace.words import figure

CURVES = [
    {"model": model, "candidates": 20, "device": "cpu", "rows": [20, 1280], "ms": [first, last]}
    for model, first, last in (("control", 0.1, 6.4), ("treatment", 1.0, 1.6))
]
TRAFFIC = Traffic(peak_per_s=0.5, mean_per_s=0.1, conversions=0.02)
TRAINED = Trained({"control": 10.0, "treatment": 60.0}, 2)


def load(requests=1_000, rows=12, after_bids=9, **more):
    """A result of an arm whose requests all have so many candidates, of which so many have a bid."""
    tables = {
        name: [requests if n == own else 0 for n in range(21)]
        for name, own in (("predicted", rows), ("predicted_after_bids", after_bids))
    }
    return {"requests": requests, "retrieved": requests * rows, "late": 0, "reused": 0} | tables | more


def simulated(**loads):
    return {"ab": {"arms": [{"name": name, "load": own, "recall": []} for name, own in loads.items()]}}


def priced(tiny, curves=CURVES, control=None, treatment=None, **settings):
    scenario = tiny.model_copy(update={"serving": tiny.serving.model_copy(update={"scale": 20_000.0} | settings)})
    content = price(
        scenario, simulated(control=control or load(), treatment=treatment or load()), curves, TRAFFIC, TRAINED
    )
    return content, {row["arm"]: row for row in content["arms"]}


def test_the_traffic_is_that_of_the_log(finished):
    simulation = finished.folder / "simulations" / "control"
    with duckdb.connect() as db:
        times = db.execute(f"SELECT time_ms FROM read_parquet('{simulation}/log/requests/*.parquet')").fetchnumpy()[
            "time_ms"
        ]
        ((conversions,),) = db.execute(
            f"SELECT count(*) FROM read_parquet('{simulation}/log/conversions/*.parquet') WHERE attributed"
        ).fetchall()
    found = traffic_of(simulation)

    assert found.peak_per_s == np.bincount(times // 3_600_000).max() / 3600
    assert found.mean_per_s == pytest.approx(len(times) / (2 * 86_400))
    assert found.conversions == conversions / len(times)


def test_dollars_of_a_year_are_hosts_and_trainings_by_hand(tiny):
    """Trainings: 365 a year of 10 s on 2 of 8 cores, for 20,000 times the rows."""
    content, arms = priced(tiny)
    (hosts,) = arms["control"]["fleets"][0]["hosts"]
    training = 365 * 20_000 * 10 / 3600 * 2 * 0.334 / 8
    serving = (hosts["needed"] + 1) * 0.334 * 8760

    assert hosts["host"] == "t3_2xlarge" and hosts["spare"] == 1
    assert arms["control"]["training_usd_per_year"] == pytest.approx(training)
    assert arms["control"]["usd_per_year"] == pytest.approx(serving + training)
    tenth = tiny.model_copy(update={"cost": tiny.cost.model_copy(update={"trained_share": 0.1})})
    assert priced(tenth)[1]["control"]["training_usd_per_year"] == pytest.approx(training / 10)
    yearly = 0.1 * 20_000 * 365 * 86_400
    assert content["requests_per_year"] == pytest.approx(yearly)
    assert arms["control"]["usd_per_million"] == pytest.approx((serving + training) / yearly * 1e6)
    assert content["conversions_per_year"] == pytest.approx(0.02 * yearly)
    assert content["peak_requests_per_s"] == 10_000.0


def test_a_model_that_ranks_in_both_stages_is_trained_once(tiny):
    stages = CascadeConfig(light="control", retrieved=20, ranked=20, auctioned=5)
    experiment = tiny.experiment.model_copy(update={"arms": {"control": ArmConfig(cascade=stages)}})
    once = priced(tiny)[1]["control"]["training_usd_per_year"]

    assert priced(tiny.model_copy(update={"experiment": experiment}))[1]["control"]["training_usd_per_year"] == once


def test_where_arms_meet_in_one_auction_the_load_of_all_requests_is_that_of_an_arms_own_world(tiny):
    content = {
        design: price(
            tiny.model_copy(update={"experiment": tiny.experiment.model_copy(update={"design": design})}),
            simulated(control=load(rows=6), treatment=load(rows=6))
            | {name: {"arms": [{"name": name, "load": load(rows=12), "recall": []}]} for name in ("control", "treatment")},
            CURVES, TRAFFIC, TRAINED,
        )
        for design in ("users", "advertisers")
    }  # fmt: skip

    assert [arm["retrieved"] for arm in content["users"]["arms"]] == [6.0, 6.0]
    assert [arm["retrieved"] for arm in content["advertisers"]["arms"]] == [12.0, 12.0]


def test_in_parallel_whoever_has_no_bid_is_scored_too(tiny):
    own = priced(tiny)[1]["control"]["fleets"]

    assert [fleet["topology"] for fleet in own] == ["sequential", "parallel"]
    assert [fleet["predictions"] for fleet in own] == [9.0, 12.0]
    assert own[1]["p999_ms"] < own[0]["p999_ms"]
    assert own[1]["hosts"][0]["utilisation"] > own[0]["hosts"][0]["utilisation"]


def test_an_arms_own_topology_is_the_one_that_is_paid_for(tiny):
    experiment = tiny.experiment.model_copy(
        update={"arms": {"treatment": load_scenario_arm(tiny, "treatment", topology="parallel")}}
    )
    arms = priced(tiny.model_copy(update={"experiment": experiment}))[1]

    assert [arms[name]["topology"] for name in ("control", "treatment")] == ["sequential", "parallel"]
    assert arms["treatment"]["fleets"][0]["topology"] == "parallel"


def load_scenario_arm(scenario, name, **settings):
    return scenario.arms[name].model_copy(update=settings)


def test_more_candidates_cost_more_and_a_format_that_is_twice_as_fast_costs_less(tiny):
    def usd(rows, factor=1.0):
        curves = [c | {"ms": [50 * x * factor for x in c["ms"]]} for c in CURVES]
        return priced(tiny, curves, control=load(rows=rows, after_bids=rows), scale=2e4)[1]["control"]["usd_per_year"]

    assert usd(5) < usd(10) < usd(20)
    assert usd(20, 0.5) < usd(20)


def test_scores_from_a_cache_are_not_scored_again(tiny):
    half = load(
        reused=6_000,
        predicted=[500] + [0] * 11 + [500] + [0] * 8,
        predicted_after_bids=[500] + [0] * 8 + [500] + [0] * 11,
    )
    found = priced(tiny, control=half)[1]

    assert found["control"]["reused"] == pytest.approx(0.5)
    assert found["control"]["fleets"][0]["predictions"] == pytest.approx(
        4.5, abs=4 * 4.5 / np.sqrt(tiny.serving.sample_requests)
    )
    busy = [found[name]["fleets"][0]["hosts"][0]["utilisation"] for name in ("control", "treatment")]
    assert busy[0] < priced(tiny)[1]["control"]["fleets"][0]["hosts"][0]["utilisation"]


def test_a_model_of_a_card_without_a_host_that_has_one_has_a_reason_and_no_price(tiny):
    curves = [c | {"device": "cuda"} for c in CURVES]
    none = tiny.cost.model_copy(update={"hosts": {"t3_2xlarge": tiny.cost.hosts["t3_2xlarge"]}})
    row = priced(tiny.model_copy(update={"cost": none}), curves)[1]["control"]

    assert row["usd_per_year"] is None and "no host with a GPU" in row["why"]
    (hosts,) = priced(tiny, curves)[1]["control"]["fleets"][0]["hosts"]
    assert hosts["host"] == "g4dn_12xlarge"


def test_a_given_curve_makes_the_price_independent_of_the_machine(tiny, finished, tmp_path):
    given = "{rows=[20, 1280], ms=[0.5, 4.0]}"
    contents = []
    for n in range(2):
        result = call(
            "capacity", finished.folder, "--set", f"serving.curve={given}", "--runs", tmp_path / str(n), "--json"
        )
        contents.append(json.loads(result.stdout)["report"]["serving"])
    assert contents[0] == contents[1]
    assert contents[0]["arms"][0]["fleets"][0]["hosts"][0]["needed"] >= 1


def test_the_report_prices_every_arm_beside_its_lift(finished):
    content = read_json(finished.folder / "report.json")
    control, treatment = content["serving"]["arms"]
    (cost,) = [row for row in content["readout"] if row["metric"] == "infra_cost"]
    (worth,) = content["worth"]
    (read,) = [row for row in content["readout"] if row["metric"] == "conversions"]

    assert (cost["control"], cost["treatment"]) == (control["usd_per_million"], treatment["usd_per_million"])
    assert cost["lift"] == pytest.approx(cost["treatment"] / cost["control"] - 1)
    assert worth["extra_usd"] == treatment["usd_per_year"] - control["usd_per_year"]
    assert worth["extra_conversions"] == pytest.approx(read["lift"] * content["serving"]["conversions_per_year"])
    assert worth["true_extra_conversions"] == pytest.approx(
        read["true_lift"] * content["serving"]["conversions_per_year"]
    )
    dollars = serving_sheets(content)[1].rows[0]
    assert figure(control["usd_per_year"]) in dollars


def test_what_an_arm_asked_for_is_what_its_log_has(finished):
    """No cache, no stages: every candidate is scored, once for each of its requests."""
    result = read_json(finished.folder / "simulations" / "ab" / "result.json")
    for position, arm in enumerate(result["arms"]):
        own = arm["load"]
        assert own["requests"] == arm["requests"] == sum(own["predicted"]) == sum(own["predicted_after_bids"])
        assert np.arange(21) @ own["predicted"] == own["retrieved"]
        assert np.arange(21) @ own["predicted_after_bids"] <= own["retrieved"]
        with duckdb.connect() as db:
            folder = finished.folder / "simulations" / "ab" / "log"
            whole = db.execute(
                f"""SELECT count(*) FROM read_parquet('{folder}/candidates/*.parquet') GROUP BY request
                HAVING request IN (SELECT request FROM read_parquet('{folder}/requests/*.parquet') WHERE arm = {position})"""
            ).fetchall()
        assert all(own["predicted"][n] > 0 for (n,) in whole)


def test_bidding_drops_what_has_no_budget_takes_no_part_or_bids_below_its_reserve_by_hand():
    from types import SimpleNamespace  # noqa: PLC0415

    from auction.pricing import Pricing  # noqa: PLC0415

    terms = SimpleNamespace(
        pricing=np.array([Pricing.CPC, Pricing.CPC, Pricing.OCPM]), bid_usd=np.array([1.0, 1.0, 1.0]),
        reserve_usd=np.array([0.4, 0.6, 9.0]),
    )  # fmt: skip
    lines = np.array([[0, 1, 2, -1], [0, 1, 2, 0]])
    scored = SimpleNamespace(ad=lines, line=lines, account=lines)
    half, ends = np.full(3, 0.5), np.array([1, 2, 2])  # the first account has nothing left from the second request on

    assert with_bid(scored, terms, half, ends, None).tolist() == [
        [True, False, True, False],
        [False, False, True, False],
    ]
    takes_part = np.array([[True, True, False, True], [True, True, True, True]])
    assert with_bid(scored, terms, half, ends, takes_part).tolist() == [
        [True, True, False, False], [False, True, True, False]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def staged(finished, tmp_path_factory):
    """A test of a cascade, a cache and late scores, on the log and the models of the finished run."""
    arms = (
        '{treatment={cascade={light="first_ranker", retrieved=20, ranked=8, auctioned=5}}, '
        'cached={model="control", cache={ttl_minutes=30, key="session"}}, late={model="control", late_share=0.2}}'
    )
    parent = tmp_path_factory.mktemp("staged")
    result = call("simulate", finished.folder, "--set", f"experiment.arms={arms}", "--runs", parent, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_stages_cache_and_fallback_are_an_arms_settings_and_reported(staged):
    arms = {row["arm"]: row for row in staged["report"]["serving"]["arms"]}
    treatment = arms["treatment"]

    assert [host["stage"] for host in treatment["fleets"][0]["hosts"]] == ["light", "model"]
    assert treatment["fleets"][0]["predictions"] <= 8 < treatment["retrieved"]
    recall = {row["stage"]: row["recall"] for row in treatment["recall"]}
    assert recall["retrieved"] >= recall["ranked"] >= recall["auctioned"] >= recall["shown"]
    assert arms["cached"]["reused"] > 0.1 and arms["control"]["reused"] == 0
    assert arms["late"]["late_share"] == pytest.approx(0.2, abs=0.05)
    assert staged["stages"]["models"]["train_s"].keys() == {"control", "treatment"}


def test_a_model_that_only_helps_other_arms_is_no_arm_unless_it_is_named(tiny, tmp_path):
    file = tmp_path / "scenario.json"
    file.write_text(tiny.model_dump_json())
    light = ['models.tower={kind="two_tower"}', 'experiment.arms.treatment.cascade={light="tower"}']

    assert list(load_scenario(file, light).arms) == ["control", "treatment"]
    assert load_scenario(file, light).trained == ["control", "treatment", "tower"]
    assert list(load_scenario(file, [*light, "experiment.arms.tower={}"]).arms) == ["control", "treatment", "tower"]


def test_the_page_and_the_terminal_show_what_serving_costs(staged):
    out = call("report", staged["folder"]).stdout
    page = (Path(staged["folder"]) / "report.html").read_text()

    for text in ("Serving: each arm", "Dollars, and what they buy", "Recall of the ads", "light 1 + 1, model 1 + 1"):
        assert text in out and text in page
    assert "…" not in out.split("Serving: each arm")[1].split("Models, on")[0]


def test_a_target_that_the_models_cannot_meet_is_refused_by_capacity_and_a_reason_elsewhere(finished, tmp_path):
    tight = ("--set", "serving.target_p99_ms=25", "--set", "serving.curve={rows=[20, 1280], ms=[24.0, 24.0]}")
    line = refused(call("capacity", finished.folder, *tight, "--runs", tmp_path))

    assert "cannot be met" in line and "arm control: serving.target_p99_ms is 25" in line
    assert [path.name[:5] for path in tmp_path.iterdir()] == ["tiny-"]  # the run is whole, and kept
    content = json.loads(call("simulate", finished.folder, *tight, "--runs", tmp_path, "--json").stdout)["report"]
    assert all("cannot be met" in arm["why"] for arm in content["serving"]["arms"])
    assert content["worth"][0]["extra_usd"] is None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("cost.hosts.t3_2xlarge.cores=0", "cost.hosts.t3_2xlarge.cores"),
        ("cost.hosts.t3_2xlarge.usd_per_hour=-0.1", "got -0.1"),
        ("serving.curve={rows=[1, 2, 3], ms=[1, 2]}", "a curve must have no holes"),
        ("serving.target_p99_ms=3", "it cannot be met: p99 of fetch alone"),
        ("serving.most_late=2", "serving.most_late"),
        ("serving.batch_requests=1000000000", "serving.batch_requests"),
        ("experiment.arms.treatment.fallback=tower", "fallback is tower, it must be one of control, treatment"),
        ("experiment.arms.treatment.cascade={retrieved=5}", "Field required"),
        (
            "experiment.arms.treatment.cascade={light='tower'}",
            "cascade.light is tower, it must be one of control, treatment",
        ),
        ("experiment.arms.treatment.cascade={light='control', retrieved=10}", "they must not rise"),
        ("experiment.arms.treatment.cache={ttl_minutes=0}", "cache.ttl_minutes"),
        ("serving.sample_request=5", "did you mean sample_requests?"),
    ],
)
def test_bad_settings_are_one_line(finished, tmp_path, setting, said):
    assert said in refused(call("capacity", finished.folder, "--set", setting, "--runs", tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_cascade_where_arms_meet_in_one_auction_is_refused(finished, tmp_path):
    line = refused(
        call(
            "simulate", finished.folder, "--set", "experiment.design=advertisers", "--set",
            "experiment.arms.treatment.cascade={light='control', retrieved=9, ranked=8, auctioned=7}", "--runs", tmp_path,
        )
    )  # fmt: skip
    assert "arms meet in one auction" in line
