"""`marketplace fit`: a scenario that runs, or one line and nothing half-written."""

import json

import pandas as pd
import pytest
from called import call, refused
from fitlogs import Law, drawn

from marketplace.fit import columns_named, estimates_read, fit_file
from marketplace.scenario import load_scenario
from synth.delay import solve_delay


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    file = tmp_path_factory.mktemp("logs") / "log.parquet"
    drawn(Law(users=600, days=8), 3).to_parquet(file)
    return file


@pytest.fixture(scope="module")
def done(log):
    out = log.with_name("fitted.toml")
    return call("fit", log, "--out", out, "--seed", 5), out


def test_the_scenario_loads_with_what_was_found(done):
    result, out = done
    assert result.exit_code == 0, result.stderr
    scenario = load_scenario(out)
    found = {one.name: one for one in estimates_read(json.loads(fit_file(out).read_text())["estimates"])}

    assert scenario.seed == 5
    assert scenario.world.marginals.ctr == pytest.approx(found["world.marginals.ctr"].value, rel=1e-5)
    assert len(scenario.world.feed.slot_effect) == 3
    law = solve_delay(scenario.world.marginals.delay)
    assert law.slow_mean_h == pytest.approx(found["delay.checkout.slow_mean_h"].value, rel=1e-3)


def test_the_terminal_shows_estimates_and_what_is_left(done):
    text = done[0].stdout

    assert "marginals.ctr" in text and "Left at the default" in text and "no standard column tells it" in text
    assert str(done[1]) in text


def test_json_is_what_the_file_holds(log, tmp_path):
    result = call("fit", log, "--out", tmp_path / "a.toml", "--json")

    assert json.loads(result.stdout) == json.loads((tmp_path / "a.fit.json").read_text())


def test_the_same_log_gives_the_same_scenario(log, done, tmp_path):
    call("fit", log, "--out", tmp_path / "again.toml", "--seed", 5, "--threads", 1)

    again = fit_file(tmp_path / "again.toml")
    first = json.loads(fit_file(done[1]).read_text())["estimates"]
    for one, other in zip(json.loads(again.read_text())["estimates"], first, strict=True):
        same = one["value"] == other["value"] or one["value"] == pytest.approx(other["value"], rel=1e-4)
        assert same, one["name"]


def test_users_and_base_may_be_given(log, tmp_path):
    base = tmp_path / "base.toml"
    base.write_text(log.with_name("fitted.toml").read_text().replace("hide_rate = 0.002", "hide_rate = 0.004"))
    call("fit", log, "--out", tmp_path / "b.toml", "--users", 250, "--base", base)
    scenario = load_scenario(tmp_path / "b.toml")

    assert scenario.world.population.users == 250
    assert scenario.world.marginals.hide_rate == 0.004


def damaged(folder):
    folder.joinpath("log.csv.gz").write_bytes(b"\x1f\x8b\x08\x00" + b"x" * 100)
    return folder / "log.csv.gz"


def without_click(folder):
    pd.DataFrame({"time_ms": [1], "item": [1], "clicks": [0]}).to_csv(folder / "log.csv", index=False)
    return folder / "log.csv"


def in_seconds(folder):
    log = drawn(Law(users=50, days=7), 1)[["time_ms", "item", "click"]]
    log.assign(time_ms=1_600_000_000 + log["time_ms"] // 1000).to_parquet(folder / "log.parquet")
    return folder / "log.parquet"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (damaged, "cannot be read"), (without_click, "column click is missing, the nearest is clicks"),
        (in_seconds, "give --unit s"), (lambda folder: folder / "none.parquet", "there is no such file"),
    ],
)  # fmt: skip
def test_a_bad_log_is_refused_in_one_line_and_nothing_is_written(tmp_path, make, says):
    out = tmp_path / "out"
    out.mkdir()

    assert says in refused(call("fit", make(tmp_path), "--out", out / "m.toml"))
    assert list(out.iterdir()) == []


def test_wrong_arguments_are_refused_in_one_line(log, tmp_path):
    out = tmp_path / "m.toml"

    assert "give a .toml file in a folder that exists" in refused(call("fit", log, "--out", tmp_path / "no" / "m.toml"))
    assert "give a .toml file" in refused(call("fit", log, "--out", tmp_path / "m.txt"))
    assert "did you mean" in refused(call("fit", log, "--out", out, "--format", "standart"))
    assert "there is no format nowhere" in refused(call("fit", log, "--out", out, "--purchases", "nowhere:file.txt"))
    assert "write standard=yours" in refused(call("fit", log, "--out", out, "--columns", "item"))
    assert "named twice" in refused(call("fit", log, "--out", out, "--columns", "item=a,item=b"))
    assert "unit is h, it must be one of" in refused(call("fit", log, "--out", out, "--unit", "h"))
    assert "--memory lots" in refused(call("fit", log, "--out", out, "--memory", "lots"))
    assert "scenario" in refused(call("fit", log, "--out", out, "--base", tmp_path / "none.toml"))
    assert list(tmp_path.iterdir()) == []


def test_columns_are_read_as_pairs():
    assert columns_named("item=ad_id, click = was clicked") == {"item": "ad_id", "click": "was clicked"}
    assert columns_named(None) == {}


def test_a_fitted_market_can_be_generated(done, tmp_path):
    result = call("generate", done[1], "--runs", tmp_path, "--set", "calendar.log_days=3")

    assert result.exit_code == 0, result.stderr
