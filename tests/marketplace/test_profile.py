"""`marketplace profile`: the candidates of a log, the table, the JSON, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from marketplace.candidates import candidates_of, crowd, last_requests, requests_in
from marketplace.cli import app
from models.errors import Unusable
from models.log import read_log
from models.schema import load_schema
from synth.types import DAY_MS

FORMATS = ["float32", "bfloat16", "int8", "float32-compiled", "bfloat16-compiled", "int8-compiled", "exported"]
QUICK = ("--batch", 1, "--batch", 8, "--threads", 1, "--candidates", 20)


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def log(finished):
    return finished.folder / "log"


@pytest.fixture(scope="module")
def whole(log):
    return read_log(log, 3 * DAY_MS)


def rows_of(*columns):
    return list(map(tuple, np.concatenate([c.reshape(-1, c.shape[-1]) for c in columns], axis=1)))


def test_candidates_are_real_impressions_of_the_log_for_the_top_slot(log, whole):
    batch = candidates_of(log, load_schema(log), 12, 40)

    assert batch.row.shape == (40, 12) and batch.cross.shape[:2] == (40, 12) and not batch.slot.any()
    shown, ads = whole.shown, whole.batch.ads.categorical
    real = set(rows_of(ads[whole.batch.row[shown]], whole.batch.cross[shown]))
    assert set(rows_of(batch.ads.categorical[batch.row], batch.cross)) <= real


def test_an_ad_is_there_once_as_it_was_when_it_was_last_shown(log):
    data = last_requests(log, 40)
    ads, table = crowd(data, 5, 40, seed=0).ads, data.batch.ads
    last = {tuple(key): i for i, key in enumerate(table.categorical)}

    assert sorted(map(tuple, ads.categorical)) == sorted(last)
    for i, key in enumerate(map(tuple, ads.categorical)):
        assert np.array_equal(ads.dense[i], table.dense[last[key]])
        assert np.array_equal(ads.vector[i], table.vector[last[key]])


def test_requests_are_the_logs_last_ones_with_their_lists(log, whole):
    n = requests_in(log)
    assert n == len(whole.batch)
    last_day = int((whole.time_ms >= 2 * DAY_MS).sum())

    batch = candidates_of(log, load_schema(log), 2, last_day)
    for ours, theirs in zip(batch.lists, whole.batch.lists, strict=True):
        assert np.array_equal(ours.padded(40), theirs.padded(40)[-last_day:])
    more = candidates_of(log, load_schema(log), 2, last_day + 100)
    assert np.array_equal(more.dense, whole.batch.dense[-last_day - 100 :])
    assert len(candidates_of(log, load_schema(log), 1, n)) == n


def test_a_draw_is_of_the_seed_the_request_and_the_place(log):
    first, again, other = (candidates_of(log, load_schema(log), 50, 200, seed=seed) for seed in (3, 3, 4))

    assert np.array_equal(first.row, again.row) and np.array_equal(first.cross, again.cross)
    assert (first.row != other.row).mean() > 0.5
    part = candidates_of(log, load_schema(log), 20, 200, seed=3)
    assert np.array_equal(part.row, first.row[:, :20])


def test_an_ad_is_drawn_as_often_as_it_was_shown(log):
    """Within 5 standard errors of a binomial count, and 1 for ads that are hardly expected once."""
    data = last_requests(log, 200)
    batch = crowd(data, 20, len(data.batch), seed=0)
    place = {tuple(key): i for i, key in enumerate(batch.ads.categorical)}
    shown = np.bincount([place[tuple(key)] for key in data.batch.ads.categorical], minlength=len(place))

    share, n = shown / shown.sum(), batch.row.size
    drawn = np.bincount(batch.row.ravel(), minlength=len(place))
    assert (abs(drawn - n * share) <= 5 * np.sqrt(n * share * (1 - share)) + 1).all()


def test_a_log_with_too_few_requests_or_of_another_schema_is_refused(log):
    n, schema = requests_in(log), load_schema(log)

    with pytest.raises(Unusable, match=rf"has {n:,} requests, {n + 1:,} are needed"):
        candidates_of(log, schema, 2, n + 1)
    tables = schema.tables | {"stores": schema.tables["stores"][:2]}
    with pytest.raises(Unusable, match=r"^the model is of another schema: visual was not there and is visual"):
        candidates_of(log, replace(schema, tables=tables), 2, 10)


def test_json_has_a_row_for_every_format_number_of_threads_and_size(finished, monkeypatch):
    monkeypatch.setattr("models.serving.has_compiler", lambda: False)  # compiling takes minutes
    model = finished.folder / "models" / "treatment"
    result = call("profile", model, "--batch", 8, "--batch", 1, "--batch", 8, "--threads", 2, "--threads", 1, "--json")

    content = json.loads(result.stdout)
    why = {row["format"]: row["why"] for row in content["formats"]}
    assert list(why) == FORMATS
    assert all("C++ compiler" in why[form] for form in FORMATS if form.endswith("compiled"))
    run = [form for form in FORMATS if why[form] is None]
    assert {"float32", "bfloat16"} <= set(run)
    places = [(row["format"], row["threads"], row["requests"]) for row in content["rows"]]
    assert sorted(places) == sorted((form, threads, n) for form in run for threads in (1, 2) for n in (1, 8))
    for row in content["rows"]:
        assert row["rows"] == 50 * row["requests"] and row["calls"] >= 5
        assert row["rows_per_s"] == pytest.approx(row["rows"] / row["seconds"])
        assert row["requests_per_s"] == pytest.approx(row["requests"] / row["seconds"])
    for best in content["best"]:
        of = {
            r["format"]: r["seconds"] for r in content["rows"] if all(r[x] == best[x] for x in ("threads", "requests"))
        }
        assert of[best["format"]] == min(of.values())
    assert {(b["threads"], b["requests"]) for b in content["best"]} == {(t, n) for t in (1, 2) for n in (1, 8)}
    assert content["kind"] == "network" and content["candidates"] == 50 and content["versions"]["torch"]


def test_a_format_is_as_far_from_float32_as_its_own_rounding(finished):
    model = finished.folder / "models" / "treatment"
    args = ("--format", "bfloat16", "--format", "float32", "--format", "exported", "--json")
    content = json.loads(call("profile", model, *QUICK, *args).stdout)

    found = {row["format"]: row for row in content["formats"]}
    assert list(found) == ["bfloat16", "float32", "exported"]
    assert found["float32"]["largest_error"] == found["float32"]["mean_error"] == 0
    assert 0 < found["bfloat16"]["mean_error"] < found["bfloat16"]["largest_error"] < 0.012
    if found["exported"]["why"] is None:
        assert found["exported"]["largest_error"] < 1e-5
    assert all(row["ready_s"] > 0 for row in content["formats"] if row["why"] is None)


def test_the_table_shows_the_formats_the_fastest_and_the_reasons(finished, monkeypatch):
    monkeypatch.setattr("models.serving.has_compiler", lambda: False)
    model = finished.folder / "models" / "treatment"
    result = call("profile", model, *QUICK, "--format", "float32", "--format", "int8-compiled")

    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "by requests of 20 in a call" in result.stdout and "1: ms" in result.stdout and "8: ms" in result.stdout
    assert "Fastest with 1 thread: float32 at 1; float32 at 8" in result.stdout
    (refused,) = [line for line in lines if line.startswith("int8-compiled")]
    assert "needs a C++ compiler" in refused


def test_trees_have_one_format_and_the_log_may_be_named(finished, tmp_path):
    shutil.copytree(finished.folder / "models" / "control", tmp_path / "trees")
    content = json.loads(call("profile", tmp_path / "trees", "--log", finished.folder, *QUICK, "--json").stdout)

    assert [(r["format"], r["largest_error"]) for r in content["formats"]] == [("trees", None)]
    assert [r["requests"] for r in content["rows"]] == [1, 8]
    assert content["device"] == "cpu" and content["log"] == str(finished.folder / "log")
    where = content["model"], json.loads(call("profile", tmp_path / "trees", "--log", finished.folder / "log", *QUICK,
                                              "--json").stdout)["log"]  # fmt: skip
    assert where == (str(tmp_path / "trees"), str(finished.folder / "log"))


def one_line(result):
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--format", "int88"], "--format 'int88': network has float32, bfloat16, int8, float32-compiled"),
        (["--format", "int88"], "did you mean int8?"),
        (["--batch", "1", "--batch", "9999999"], "--batch 9999999: the log in"),
        (["--log", "nowhere"], "nowhere: it is neither a log folder nor a run folder"),
    ],
)
def test_bad_input_is_refused_in_one_line(finished, args, words):
    assert words in one_line(call("profile", finished.folder / "models" / "treatment", *args))


def test_a_folder_without_a_whole_model_is_refused_in_one_line(finished, tmp_path):
    assert "there is no such folder" in one_line(call("profile", tmp_path / "none"))
    assert "model.json is missing" in one_line(call("profile", tmp_path))
    assert f"give one of its models: {finished.folder / 'models' / 'control'}" in one_line(
        call("profile", finished.folder)
    )
    shutil.copytree(finished.folder / "models" / "treatment", tmp_path / "model")
    assert "say whose log to take, with --log" in one_line(call("profile", tmp_path / "model"))
    weights = tmp_path / "model" / "network.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert "network.safetensors is damaged" in one_line(call("profile", tmp_path / "model", "--log", finished.folder))


def test_a_log_of_another_schema_is_refused_in_one_line(finished, tmp_path):
    log = tmp_path / "log"
    shutil.copytree(finished.folder / "log", log)
    schema = json.loads((log / "schema.json").read_text())
    schema["tables"]["requests"] = [c for c in schema["tables"]["requests"] if c["name"] != "weekday"]
    (log / "schema.json").unlink()
    (log / "schema.json").write_text(json.dumps(schema))

    line = one_line(call("profile", finished.folder / "models" / "control", "--log", log))

    assert "of another schema: weekday was weekday categorical request 7 and is" in line


@pytest.mark.parametrize("option", ["--batch", "--candidates", "--threads"])
def test_a_number_below_one_is_refused(finished, option):
    assert call("profile", finished.folder / "models" / "control", option, "0").exit_code == 2
