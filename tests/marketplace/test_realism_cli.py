"""The command realism: a run against itself, the same log as files, and what is refused."""

import json
from pathlib import Path

import duckdb
import pytest
from called import call, refused

from fitting.types import Estimate
from marketplace.as_log import standard_tables
from marketplace.fit import fit_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def against_itself(logged, folder):
    """A run whose own log is taken for real: the scenario's log is taken over from it, so both are one."""
    done = call("realism", logged.folder, "--scenario", logged.folder, "--runs", folder, "--json", "--threads", 1)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exported(logged, folder):
    """The tables of that log as files."""
    with duckdb.connect() as con:
        for table, view in standard_tables(logged.folder, con).items():
            con.execute(f"COPY (SELECT * FROM {view}) TO '{folder}/{table}.parquet' (FORMAT parquet)")
    return folder / "impressions.parquet", folder / "purchases.parquet"


def test_a_log_is_at_no_distance_from_itself(against_itself):
    told = [row for row in against_itself["statistics"] if row["distance"] is not None]

    assert len(told) >= 6
    assert all(row["distance"] == 0 and row["outside"] == 0 for row in told)
    assert against_itself["discriminator"]["auc"][0] == pytest.approx(0.5, abs=1e-9)
    assert against_itself["discriminator"]["words"] == []


def test_the_run_keeps_the_comparison_and_a_page_that_needs_nothing_beside_it(against_itself):
    kept = Path(against_itself["folder"])

    content = json.loads((kept / "realism.json").read_text())
    assert content == {name: value for name, value in against_itself.items() if name != "folder"}
    page = (kept / "realism.html").read_text()
    assert "Statistics that nothing was fitted to" in page and "Click rate by hour and slot" in page
    assert "<script src=" not in page and "<link" not in page


def test_files_say_what_the_run_says_whose_log_they_are(against_itself, exported, logged, folder):
    impressions, purchases = exported

    done = call(
        "realism", impressions, "--purchases", purchases, "--scenario", logged.folder, "--runs", folder, "--json",
        "--threads", 1,
    )  # fmt: skip

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == against_itself["rows"]


def test_it_says_in_the_terminal_what_gives_the_simulation_away(logged, folder):
    done = call("realism", logged.folder, "--scenario", logged.folder, "--runs", folder, "--threads", 1)

    assert done.exit_code == 0, done.stderr
    assert (
        "AUC of 0.500" in done.stdout
        and "0 of" in done.stdout
        and "Time from a user's click to the next" in done.stdout
    )


def test_estimates_beside_the_scenario_are_on_the_page(logged, folder):
    scenario = folder / "fitted.json"
    scenario.write_text((logged.folder / "scenario.json").read_text())
    row = Estimate("world.marginals.ctr", 0.1, 0.09, 0.11, 1, "clicks per impression", "clicks over impressions")
    fit_file(scenario).write_text(json.dumps({"estimates": [row._asdict()]}))

    done = call("realism", logged.folder, "--scenario", scenario, "--runs", folder, "--json", "--threads", 1)

    assert done.exit_code == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["estimates"] == [row._asdict()]
    assert "clicks over impressions" in (Path(content["folder"]) / "realism.html").read_text()


def test_bad_input_is_one_line_and_leaves_nothing(logged, tmp_path):
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT 1 AS time_ms, 2 AS itme, true AS click) TO '{tmp_path}/log.parquet'")
    runs = tmp_path / "runs"

    for log, said in ((tmp_path / "no.parquet", "there is none"), (tmp_path / "log.parquet", "itme")):
        done = call("realism", log, "--scenario", logged.folder, "--runs", runs)
        assert said in refused(done)
    assert not runs.exists() or not list(runs.iterdir())


@pytest.mark.deep
def test_further_seeds_are_simulated_and_not_kept(logged, folder):
    done = call(
        "realism", logged.folder, "--scenario", logged.folder, "--seeds", 3, "--runs", folder, "--json", "--threads", 1
    )

    assert done.exit_code == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["seeds"] == 3 and content["between_seeds"][0] > 0.5
    assert not [path for path in folder.iterdir() if path.name.startswith("realism-")]
