"""A test in parts: against the whole, against its log read another way, and against the twin worlds."""

import json
import shutil
from types import SimpleNamespace

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

from marketplace.cli import app
from marketplace.designs import assignment_of
from marketplace.market import load_world
from marketplace.parted import parted
from marketplace.readout import holds
from marketplace.runs import read_json
from marketplace.segments import SEGMENTS
from synth.types import HOUR_MS


@pytest.fixture(scope="module")
def content(finished):
    return read_json(finished.folder / "report.json")


@pytest.fixture(scope="module")
def market(finished, tiny):
    return load_world(tiny, finished.folder / "truth")


def query(finished, text, design="ab"):
    log = finished.folder / "simulations" / design / "log"
    for table in ("requests", "impressions", "conversions"):
        text = text.replace(f"{{{table}}}", f"read_parquet('{log}/{table}/*.parquet')")
    with duckdb.connect() as db:
        return db.execute(text).fetchnumpy()


def of(rows, segment, metric, part=None):
    return [r for r in rows if (r["segment"], r["metric"]) == (segment, metric) and part in (None, r["part"])]


def whole(content, metric):
    return next(row for row in content["readout"] if row["metric"] == metric)


@pytest.mark.parametrize("segment", [name for name, kind in SEGMENTS.items() if kind.of != "users"])
@pytest.mark.parametrize("metric", ["revenue", "conversions", "impressions", "GMV"])
@pytest.mark.parametrize("side", ["control", "treatment"])
def test_parts_of_requests_and_impressions_add_up_to_the_whole(content, segment, metric, side):
    rows = of(content["segments"], segment, metric)

    assert sum(row[side] for row in rows) == pytest.approx(whole(content, metric)[side])


@pytest.mark.parametrize("segment", ["platform", "cohort"])
@pytest.mark.parametrize(("side", "arm"), [("control", 0), ("treatment", 1)])
def test_parts_of_users_add_up_to_the_whole_by_how_many_of_them_came(content, segment, side, arm):
    rows = of(content["segments"], segment, "revenue")
    users = [row["units"][arm] for row in content["srm"] if row["segment"] == segment]

    assert np.average([row[side] for row in rows], weights=users) == pytest.approx(whole(content, "revenue")[side])
    assert len(rows) == len(users) > 1


def test_a_ratio_in_a_part_is_read_by_user_with_the_delta_method(finished, content):
    """Standard error of the log of the ratio of CTRs, from the log, users without impressions in the part included."""
    found = query(
        finished,
        f"""SELECT r.arm, user, coalesce(clicks, 0) AS clicks, coalesce(shown, 0) AS shown
            FROM (SELECT DISTINCT arm, user FROM {{requests}}) r
            LEFT JOIN (SELECT user, sum(clicked::INT) AS clicks, count(*) AS shown FROM {{impressions}}
                       WHERE time_ms // {4 * HOUR_MS} % 6 = 4 GROUP BY user) USING (user)""",
    )
    variance, ctr = 0.0, []
    for arm in (0, 1):
        y, x = (found[name][found["arm"] == arm].astype(float) for name in ("clicks", "shown"))
        ctr.append(y.sum() / x.sum())
        variance += np.var(y - ctr[-1] * x, ddof=1) / len(x) / y.mean() ** 2
    (row,) = of(content["segments"], "daypart", "CTR", "evening")

    assert [row["control"], row["treatment"]] == pytest.approx(ctr)
    assert row["se"] == pytest.approx(np.sqrt(variance))
    assert np.log((1 + row["high"]) / (1 + row["low"])) / 2 / row["se"] == pytest.approx(1.96, rel=0.01)


def test_the_truth_of_a_part_is_that_of_the_same_part_of_the_twin_worlds(finished, content):
    def ctr(design):
        found = query(
            finished,
            "SELECT known_orders > 0 AS known, avg(clicked::INT) AS ctr FROM {impressions} GROUP BY ALL ORDER BY known",
            design,
        )
        return found["ctr"]

    lift = ctr("treatment") / ctr("control") - 1
    rows = of(content["segments"], "familiarity", "CTR")

    assert {row["part"]: row["true_lift"] for row in rows} == pytest.approx(
        {"exploration": lift[0], "repurchase": lift[1]}
    )
    assert lift[0] != pytest.approx(lift[1])


def test_the_truth_per_user_is_over_all_who_came_in_each_world(finished, tiny, market, tmp_path):
    """The last day is taken from one world, so that fewer users came there."""
    shutil.copytree(finished.folder / "simulations", tmp_path / "simulations")
    for part in (tmp_path / "simulations" / "treatment" / "log").glob("*/day=0004.parquet"):
        part.unlink()
    short = SimpleNamespace(folder=tmp_path)

    def per_user(design):
        came = query(short, "SELECT count(DISTINCT user) AS n FROM {requests} WHERE platform = 1", design)
        shown = query(
            short,
            "SELECT count(*) AS n FROM {impressions} WHERE user IN (SELECT user FROM {requests} WHERE platform = 1)",
            design,
        )
        return shown["n"][0] / came["n"][0]

    rows = parted(tmp_path / "simulations", ["ab", "control", "treatment"], tiny, market)

    (row,) = of(rows, "platform", "impressions", "1")
    assert row["true_lift"] == pytest.approx(per_user("treatment") / per_user("control") - 1)


def test_a_part_is_covered_where_its_interval_holds_its_truth(content):
    rows = content["segments"]

    assert all(row["covered"] == holds(row["low"], row["high"], row["true_lift"]) for row in rows)
    assert {row["covered"] for row in rows} == {True, False, None}


@pytest.mark.parametrize(
    ("low", "high", "truth", "answer"),
    [(-0.1, 0.1, 0.1, True), (-0.1, 0.1, 0.11, False), (None, None, 0.0, None), (-0.1, 0.1, None, None)],
)
def test_an_interval_holds_its_ends(low, high, truth, answer):
    assert holds(low, high, truth) is answer


def test_what_a_part_does_not_count_is_left_out_and_what_cannot_be_computed_says_why(content):
    counted = {name: {row["metric"] for row in content["segments"] if row["segment"] == name} for name in SEGMENTS}

    assert list(dict.fromkeys(row["segment"] for row in content["segments"])) == list(SEGMENTS)
    for name, metrics in counted.items():
        assert not metrics & {"budget_use", "return_rate", "merchant_trial_rate", "scored", "infra_cost"}
        assert ("ad_diversity" in metrics) == (name in ("platform", "cohort"))
        assert ("fill_rate" in metrics) == (SEGMENTS[name].of != "impressions")
    assert all(row["why"] for row in content["segments"] if row["low"] is None)
    assert {row["why"] for row in content["segments"]} > {"", "no sign_ups in control"}


def test_parts_in_which_nothing_came_are_left_out(content):
    assert {row["part"] for row in content["segments"] if row["segment"] == "pricing"} == {"cpm", "cpc", "cpa", "ocpm"}


def clustered(tiny):
    own = tiny.experiment.model_copy(update={"design": "clusters"})
    return tiny.model_copy(update={"experiment": own})


def test_where_clusters_are_split_a_part_is_read_by_cluster(finished, tiny, market):
    """The same log, read as if regions had been split: two of four in each arm."""
    scenario = clustered(tiny)
    rows = parted(finished.folder / "simulations", ["ab"], scenario, market)
    of_region = assignment_of(scenario, market, tiny.calendar.log_days).of_unit
    users = market.population.users
    found = query(finished, "SELECT user, clicked FROM {impressions}")
    here = users.platform[found["user"]] == 0
    region = users.region[found["user"]][here]
    clicks, shown = np.bincount(region, found["clicked"][here], 4), np.bincount(region, minlength=4).astype(float)
    ctr, variance = [], 0.0
    for arm in (0, 1):
        y, x = clicks[of_region == arm], shown[of_region == arm]
        ctr.append(y.sum() / x.sum())
        variance += np.var(y - ctr[-1] * x, ddof=1) / len(x) / y.mean() ** 2
    (row,) = of(rows, "platform", "CTR", "0")

    assert [row["control"], row["treatment"]] == pytest.approx(ctr)
    assert row["se"] == pytest.approx(np.sqrt(variance))
    assert row["true_lift"] is None and row["covered"] is None  # the worlds were not given


def test_per_user_figures_of_clusters_are_over_their_users_of_the_part(finished, tiny, market):
    scenario = clustered(tiny)
    rows = parted(finished.folder / "simulations", ["ab"], scenario, market)
    of_region = assignment_of(scenario, market, tiny.calendar.log_days).of_unit
    users = market.population.users
    came = np.unique(query(finished, "SELECT user FROM {requests}")["user"])
    own = came[(users.cohort[came] == 2) & (of_region[users.region[came]] == 1)]
    shown = np.isin(query(finished, "SELECT user FROM {impressions}")["user"], own).sum()

    assert of(rows, "cohort", "impressions", "2")[0]["treatment"] == pytest.approx(shown / len(own))


@pytest.mark.parametrize(
    "own",
    [
        {"design": "sessions"}, {"design": "requests"}, {"design": "advertisers"},
        {"design": "switchback"}, {"ramp": [{"days": 1, "share": 0.1}, {"days": 1, "share": 0.5}]},
    ],
)  # fmt: skip
def test_a_design_whose_arms_are_not_of_users_has_no_parts(own, tiny, market, tmp_path):
    experiment = type(tiny.experiment).model_validate(own)

    assert parted(tmp_path / "nowhere", ["ab"], tiny.model_copy(update={"experiment": experiment}), market) == []


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_the_command_prints_the_metrics_and_parts_asked_for(finished):
    result = call("report", finished.folder, "--metric", "CPA", "--metric", "iCVR", "--segment", "daypart")

    assert result.exit_code == 0
    tables = result.stdout.strip().split("\n\n")
    assert [table.split(":")[0] for table in tables] == ["Readout", "By daypart"]
    assert [line.split()[0] for line in tables[0].splitlines()] == ["Readout:", "metric", "CPA", "iCVR"]
    assert [line.split()[0] for line in tables[1].splitlines()[2:]] == ["CPA"] * 6 + ["iCVR"] * 6


def test_parts_without_a_metric_named_are_of_the_goals(finished, content):
    found = json.loads(call("report", finished.folder, "--segment", "platform", "--json").stdout)

    goals = {row["metric"] for row in content["readout"] if row["role"] == "goal"}
    assert {row["metric"] for row in found["readout"]} == goals
    assert {row["metric"] for row in found["segments"]} == goals - {"merchant_trial_rate"}
    assert {row["segment"] for row in found["segments"]} == {"platform"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nowhere", "--metric", "CPAA"), "--metric 'CPAA': there is none of that name, did you mean CPA?"),
        (("nowhere", "--segment", "daypat"), "--segment 'daypat': there is none of that name, did you mean daypart?"),
        (("RUN", "--metric", "tested_orders"), "its report has no tested_orders"),
        (("RUN", "--metric", "infra_cost", "--segment", "daypart"), "its parts by daypart do not count infra_cost"),
    ],
)
def test_what_a_report_has_not_is_refused_in_one_line(finished, args, words):
    result = call("report", *[finished.folder if arg == "RUN" else arg for arg in args])

    assert result.exit_code == 2
    assert result.stderr.startswith("marketplace: ") and result.stderr.count("\n") == 1
    assert words in result.stderr


def test_a_report_without_parts_says_where_there_are_some(finished, content, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink()  # a hard link is cut, not written through
    (tmp_path / "run" / "report.json").write_text(json.dumps(content | {"segments": []}))

    result = call("report", tmp_path / "run", "--segment", "daypart")

    assert result.exit_code == 2
    assert "its report has no parts by daypart; it has where users stay in one arm" in result.stderr


def test_the_page_has_the_goals_of_each_segmentation_folded_away(finished):
    page = (finished.folder / "report.html").read_text()

    for segment in SEGMENTS:
        _, _, after = page.partition(f"<summary>Goals by {segment}</summary>")
        table = after.partition("</details>")[0]
        assert "CPA" in table and "CTR" not in table
