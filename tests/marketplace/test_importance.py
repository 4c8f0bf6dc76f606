"""`marketplace importance`: the table, the JSON, the run that keeps it, the models trained again, and what is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from marketplace.cli import app
from marketplace.importance import METHODS, RANDOM
from marketplace.model_shapes import Importance
from marketplace.runs import list_runs, open_run, read_json
from models.importance import features_of
from models.schema import load_schema

FEATURES = 34
TINY = Path(__file__).parents[2] / "scenarios" / "tiny.toml"
TABLE = ("viewed_cuisine", "cross", "vector", "slot", "AUC 0.", "permutation", "ablation", "random", "last day")


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def importance(run, model, *args):
    """Of a run folder: the answer goes into a new one beside the model."""
    return call("importance", run.folder, "--model", model, "--runs", model.parent / "runs", *args)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Models of seconds, by kind."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "trees.toml").write_text('kind = "lightgbm"\ntrees = 20\nleaves = 8\n')
    (folder / "layers.toml").write_text('kind = "network"\nhidden = [32, 16]\nepochs = 2\nbatch_requests = 128\n')
    return folder


def test_the_table_has_every_feature_and_the_models_trained_again(finished, small):
    result = importance(finished, small / "trees.toml", "--keep", 3, "--repeats", 1)

    assert result.exit_code == 0, result.stderr
    for words in (*TABLE, *(c.name for c in features_of(load_schema(finished.folder / "log")))):
        assert words in result.stdout
    assert "integrated" not in result.stdout


def test_json_has_ranks_by_every_method_and_one_row_per_order_and_count(finished, small):
    args = ("--keep", FEATURES, "--keep", 2, "--keep", 2, "--repeats", 2, "--json")
    content = json.loads(importance(finished, small / "layers.toml", *args).stdout)

    assert content["model"] == "layers" and content["task"] == "click"
    assert tuple(content["methods"]) == METHODS
    assert content["auc"][1] < content["auc"][0] < content["auc"][2]
    assert len(content["features"]) == FEATURES
    for method in METHODS:
        of = sorted(content["features"], key=lambda row: row["rank"][method])
        assert [row["rank"][method] for row in of] == list(range(1, FEATURES + 1))
        values = [row["importance"][method] for row in of]
        assert values == sorted(values, reverse=True)
    assert {(row["order"], row["features"]) for row in content["kept"]} == {
        (order, n) for order in (*METHODS, RANDOM) for n in (2, FEATURES)
    }
    whole = {tuple(row["auc"]) for row in content["kept"] if row["features"] == FEATURES}
    assert len(whole) == 1


def test_the_first_features_of_a_ranking_keep_more_than_random_ones(finished, small):
    args = ("--method", "permutation", "--keep", 4, "--json")
    content = json.loads(call("importance", finished.folder / "log", "--model", small / "trees.toml", *args).stdout)

    auc = {row["order"]: row["auc"] for row in content["kept"]}
    assert auc["permutation"][0] > auc[RANDOM][0] + 0.02
    assert content["methods"] == ["permutation"]


def test_conversions_are_judged_among_the_clicked(finished, small):
    args = ("--task", "conversion", "--method", "ablation", "--json")
    content = json.loads(importance(finished, small / "trees.toml", *args).stdout)
    clicks = json.loads(importance(finished, small / "trees.toml", "--method", "ablation", "--json").stdout)

    assert content["task"] == "conversion" and content["kept"] == []
    assert content["rows"] == clicks["positives"] < clicks["rows"]
    assert content["auc"] != clicks["auc"]


def test_a_new_run_keeps_what_is_printed_beside_the_log_it_takes_over(finished, small, tmp_path):
    runs = tmp_path / "runs"
    args = "--model", small / "trees.toml", "--method", "ablation", "--runs", runs
    content = json.loads(call("importance", finished.folder, *args, "--json").stdout)

    run = open_run(Path(content.pop("folder")))
    assert run.folder.parent == runs and run.manifest["command"] == "importance"
    assert set(run.manifest["stages"]) == {"log", "importance"}
    assert run.manifest["stages"]["log"]["digest"] == finished.manifest["stages"]["log"]["digest"]
    assert read_json(run.folder / "importance.json", Importance) == content
    assert not finished.has("importance")


def test_a_scenario_gets_its_log_first(small, tmp_path):
    args = "--model", small / "trees.toml", "--method", "ablation", "--set", "world.population.users=500"
    result = call("importance", TINY, *args, "--runs", tmp_path)

    assert result.exit_code == 0, result.stderr
    (run,) = list_runs(tmp_path)[0]
    assert run.has("log") and run.has("importance")
    assert f"Run folder: {run.folder}" in result.stdout


def test_of_a_log_folder_nothing_is_kept(finished, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = finished.folder / "log"
    result = call("importance", log, "--model", small / "trees.toml", "--method", "ablation")

    assert result.exit_code == 0, result.stderr
    assert "Run folder" not in result.stdout
    assert not list(tmp_path.iterdir())
    refused = call("importance", log, "--model", small / "trees.toml", "--set", "auction.squash=0.5")
    assert refused.exit_code == 2 and "a log folder has none" in refused.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--task", "cart"], "--task 'cart': there are click, conversion"),
        (["--method", "shapley"], "--method 'shapley': there are permutation, ablation, integrated_gradients"),
        (
            ["--method", "integrated_gradients"],
            "--method integrated_gradients: integrated gradients are of networks, lightgbm is none",
        ),
        (["--keep", str(FEATURES + 1)], f"--keep {FEATURES + 1}: it must be 1 to {FEATURES}, the features of the log"),
        (["--keep", "0"], "--keep 0: it must be 1 to"),
        (["--model", "dhenn"], "--model 'dhenn': there are lightgbm"),
        (["--model", "din", "--method", "integrated_gradients"], "din looks at the ad too"),
    ],
)
@pytest.mark.parametrize("part", ["", "log"])
def test_bad_input_is_refused_in_one_line_and_before_any_work(finished, args, words, part, tmp_path):
    model = [] if "--model" in args else ["--model", "lightgbm"]

    result = call("importance", finished.folder / part, *model, *args, "--runs", tmp_path / "runs")

    assert result.exit_code == 2
    assert not (tmp_path / "runs").exists()
    assert len(result.stderr.strip().splitlines()) == 1
    assert words in result.stderr


def test_what_is_no_log_is_refused(tmp_path):
    result = call("importance", tmp_path, "--model", "lightgbm")

    assert result.exit_code == 2
    assert "it is neither a log folder nor a run folder with a log" in result.stderr
