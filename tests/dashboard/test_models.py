"""The models view, part by part, on a finished tiny run with everything that models leave."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from opened import copy_json, drawn, edit, numbers, opened, report_of, said
from sklearn.metrics import roc_auc_score
from streamlit.testing.v1 import AppTest

import dashboard
from marketplace import words
from models.log import read_log
from models.predictor import load_model
from synth.types import DAY_MS

ROOT = Path(dashboard.__file__).parent
FILES = "manifest.json", "models.json", "report.json", "scenario.json"
IMPORTANCE = {
    "model": "lightgbm", "task": "click", "methods": ["permutation", "ablation"], "rows": 900, "positives": 90,
    "auc": [0.7, 0.68, 0.72],
    "features": [
        {"feature": "hour", "side": "request", "kind": "categorical", "importance": {"permutation": 0.01, "ablation": 0.03},
         "log_loss": {}, "rank": {"permutation": 2, "ablation": 1}},
        {"feature": "ad_ctr", "side": "ad", "kind": "dense", "importance": {"permutation": 0.02, "ablation": 0.001},
         "log_loss": {}, "rank": {"permutation": 1, "ablation": 2}},
    ],
    "kept": [
        {"order": "permutation", "features": 1, "auc": [0.66, 0.64, 0.68]},
        {"order": "random", "features": 1, "auc": [0.60, 0.58, 0.62]},
    ],
}  # fmt: skip
TRIED = {
    "front": True, "auc_less_base": None, "auc_less_faster": None, "parameters": 10, "train_rows_per_s": 5.0,
}  # fmt: skip
PARETO = {
    "task": "click", "seeds": 1, "trials": 2, "space": {"trees": [4, 8]}, "combinations": 2, "do_not_fit": 0,
    "trust": {name: {"rmse": 0.1, "spread": 0.2, "r2": 0.75, "rank": 0.9} for name in ("auc", "log_rows_per_s")},
    "speed_repeats": 0.1, "gain": None, "failed": [], "promises": [],
    "rows": [
        {"name": "base", "origin": "base", "settings": {"trees": 4}, "auc": [0.7, 0.69, 0.71], "rows_per_s": 90.0} | TRIED,
        {"name": "trial 1", "origin": "trial", "settings": {"trees": 8}, "auc": [0.72, 0.71, 0.73], "rows_per_s": 50.0} | TRIED
        | {"auc_less_faster": [0.02, 0.01, 0.03]},
    ],
    "proposals": [{"choice": [1], "auc": 0.71, "rows_per_s": 60.0, "front": False}],
}  # fmt: skip


@pytest.fixture
def runs(tmp_path, finished):
    """A runs folder with one finished run, called good."""
    copy(finished.folder, tmp_path / "runs" / "good")
    return tmp_path / "runs"


@pytest.fixture
def see(runs, monkeypatch):
    """Open a part of the models view on a run, by its address."""

    def look(part: str = "Scores", run: str = "good", **address: str) -> AppTest:
        return opened(monkeypatch, "models", runs, **({"run": run, "models": part} | address))

    return look


def copy(source: Path, target: Path) -> Path:
    copy_json(source, target)
    shutil.copytree(source / "models", target / "models")
    return target


def add(run: Path, stage: str, content: Any) -> None:
    """A stage of the run, and its file."""
    edit(run / "manifest.json", lambda manifest: manifest["stages"].update({stage: {}}))
    (run / f"{stage}.json").write_text(json.dumps(content))


def test_models_of_a_task_and_part_stand_together_with_the_scores_of_the_report(see, runs):
    scores = see().dataframe[0].value

    first = [row for row in report_of(runs)["models"] if row["cohort"] in ("", "familiarity")]
    auc = {(f"{r['model']} ({r['kind']})", r["task"], r["segment"]): r["auc"] for r in first}
    assert len(scores) == len(auc)
    for row in scores.itertuples():
        assert auc[row.model, row.task, row.segment] == row.AUC
    assert list(scores["segment"][::2]) == list(scores["segment"][1::2])
    columns = list(scores.columns)
    assert columns.index("ECE null") == columns.index("ECE") + 1


def test_the_cohort_is_chosen_and_all_impressions_stay_beside_it_in_table_and_chart(see, runs):
    at = see()
    known = list(dict.fromkeys(row["cohort"] for row in report_of(runs)["models"] if row["cohort"]))

    assert at.selectbox(key="cohort").options == known
    assert at.selectbox(key="cohort").value == "familiarity"
    at.selectbox(key="cohort").set_value("slot").run()
    shown = at.dataframe[0].value
    assert set(shown["segment"]) == {"overall", "0", "1", "2"}
    assert shown["GAUC"].notna().sum() == (shown["segment"] == "overall").sum() == 6
    own = [r for r in report_of(runs)["models"] if r["task"] == "click" and r["cohort"] in ("", "slot")]
    for series, model in zip(drawn(at), ("control", "treatment"), strict=True):
        mine = [row for row in own if row["model"] == model]
        assert [point[0] for point in series["customdata"]] == [row["segment"] for row in mine]
        assert numbers(series["x"]) == [row["auc"] for row in mine]
        high = np.array(numbers(series["x"])) + numbers(series["error_x"]["array"])
        np.testing.assert_allclose(high, [row["auc_high"] for row in mine])


def test_a_link_brings_its_part_cohort_and_task(see):
    at = see("Scores", cohort="slot", task="conversion")
    assert at.segmented_control(key="models").value == "Scores"

    assert at.selectbox(key="cohort").value == "slot" and at.selectbox(key="task").value == "conversion"
    assert "AUC of conversion" in json.loads(at.get("plotly_chart")[0].proto.spec)["layout"]["xaxis"]["title"]["text"]


def test_the_roc_curves_are_those_of_the_saved_models_on_the_last_day(see, finished):
    log = read_log(finished.folder / "log", 3 * DAY_MS, start_ms=2 * DAY_MS)
    label = log.click[log.shown]
    at = see()

    for series, curve, model in zip(drawn(at, 1)[1:], drawn(at, 2)[1:], ("control", "treatment"), strict=True):
        p = load_model(finished.folder / "models" / model).predict(log.batch).click[log.shown].astype(float)
        wrong, right = (numbers(series[axis]) for axis in "xy")
        slack = (np.diff(wrong) * np.diff(right)).sum() / 2
        assert abs(np.trapezoid(right, wrong) - roc_auc_score(label, p)) <= slack + 1e-9
        for cut, share, precision in zip(*(numbers(curve[key]) for key in ("customdata", "x", "y")), strict=True):
            assert p[label][p[label] >= cut - 1e-9].size / label.sum() == pytest.approx(share, abs=1e-9)
            assert label[p >= cut - 1e-9].mean() == pytest.approx(precision, abs=1e-9)


def test_a_run_from_before_roc_curves_and_intervals_says_so_and_shows_the_rest(see, runs):
    (runs / "good" / "models" / "roc.json").unlink()

    def older(report):
        for row in report["models"]:
            del row["auc_low"], row["auc_high"]

    edit(runs / "good" / "report.json", older)
    at = see()

    assert "before ROC curves were kept" in said(at)
    assert any("before intervals were kept" in caption.value for caption in at.caption)
    assert len(at.dataframe) == len(at.get("plotly_chart")) == 1


def test_calibration_draws_each_task_with_the_band_of_a_perfect_model_and_lists_its_bins(see, runs):
    at = see("Calibration")

    rows = report_of(runs)["calibration"]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    for i, task in enumerate(tasks):
        for arm, band, curve in zip(("control", "treatment"), drawn(at, i)[1::2], drawn(at, i)[2::2], strict=True):
            own = [row for row in rows if (row["task"], row["arm"]) == (task, arm)]
            assert numbers(curve["x"]) == [row["predicted"] for row in own]
            assert numbers(curve["y"]) == [row["real"] for row in own]
            p, n = (np.array([row[key] for row in own]) for key in ("predicted", "n"))
            half = 1.96 * np.sqrt(p * (1 - p) / n)
            edges = [*np.minimum(p + half, 1), *np.maximum(p - half, 0)[::-1]]
            np.testing.assert_allclose(numbers(band["y"]), edges)
        shown = at.dataframe[i].value
        assert list(shown["share that happened"]) == [row["real"] for row in rows if row["task"] == task]


def test_the_winners_curse_is_drawn_beside_the_truth_and_listed(see, runs):
    at = see("Calibration")

    known = report_of(runs)["winners_curse"]
    tasks = list(dict.fromkeys(row["task"] for row in known))
    curse = at.dataframe[-1].value
    assert list(curse["won"]) == [row["won"] for row in known]
    assert list(curse["winners"]) == [
        words.around(row["winners"], row["winners_low"], row["winners_high"]) for row in known
    ]
    charts = at.get("plotly_chart")[-len(tasks) :]
    for chart, task in zip(charts, tasks, strict=True):
        spec = json.loads(chart.proto.spec)
        all_, winners = spec["data"]
        own = [row for row in known if row["task"] == task]
        assert numbers(all_["x"]) == [row["candidates"] for row in own]
        assert numbers(winners["x"]) == [row["winners"] for row in own]
        assert spec["layout"]["shapes"][0]["x0"] == 1


def test_training_draws_each_loss_that_the_network_noted(see, runs):
    at = see("Training")

    noted = pd.read_csv(runs / "good" / "models" / "treatment" / "training.csv")
    losses = ["click", "conversion"]
    for series, name in zip(drawn(at), losses, strict=True):
        assert series["name"] == "treatment"
        assert numbers(series["y"]) == list(noted[f"loss_{name}"])
        assert numbers(series["x"])[-1] == noted["epoch"].max() + 1
    shown = at.dataframe[0].value
    assert list(shown["requests"]) == list(noted["requests"])


def test_features_are_drawn_by_the_chosen_method_the_most_important_first(see, runs):
    add(runs / "good", "importance", IMPORTANCE)
    at = see("Features")

    def worth(at):
        return {
            feature: x
            for bar in drawn(at)
            for feature, x in zip(bar["y"], numbers(bar["x"]), strict=True)
        }  # fmt: skip

    assert worth(at) == {"hour": 0.01, "ad_ctr": 0.02}
    assert list(at.dataframe[-1].value["feature"]) == ["ad_ctr", "hour"]
    at.segmented_control(key="method").set_value("ablation").run()
    assert worth(at) == {"hour": 0.03, "ad_ctr": 0.001}
    assert list(at.dataframe[-1].value["feature"]) == ["hour", "ad_ctr"]
    assert list(at.dataframe[0].value["features"]) == [1, 1]
    assert {series["name"] for series in drawn(at, 1)} == {"permutation", "random"}


def test_architectures_are_drawn_with_their_front_and_every_trial_is_listed(see, runs):
    add(runs / "good", "pareto", PARETO)
    at = see("Architectures")

    (front,) = (series for series in drawn(at) if series["name"] == "verified front")
    assert (numbers(front["x"]), numbers(front["y"])) == ([50, 90], [0.72, 0.7])
    shown = at.dataframe[0].value
    assert list(shown["model"]) == ["base", "trial 1"]
    assert list(shown["differs from the base in"]) == ["the base", "trees 8"]
    assert list(shown["less the next faster [95% interval]"]) == [words.DASH, words.around(0.02, 0.01, 0.03)]


@pytest.mark.parametrize(
    ("part", "stage", "content"), [("Features", "importance", IMPORTANCE), ("Architectures", "pareto", PARETO)]
)
def test_what_another_run_found_out_of_the_same_log_is_shown_and_of_another_log_is_not(
    see, runs, finished, part, stage, content
):
    assert "No run beside this one has it" in said(see(part))
    other = copy(finished.folder, runs / "other")
    add(other, stage, content)

    at = see(part)
    assert any("Found by run other" in caption.value.replace("\\", "") for caption in at.caption)
    assert at.get("plotly_chart")
    edit(other / "manifest.json", lambda manifest: manifest["stages"]["log"].update(digest="another"))
    assert "No run beside this one has it" in said(see(part))


def test_of_several_runs_on_the_log_one_is_chosen_and_the_link_names_it(see, runs, finished):
    for name in ("one", "two"):
        add(copy(finished.folder, runs / name), "importance", IMPORTANCE | {"model": f"model {name}"})
    at = see("Features")

    assert at.selectbox(key="importance").options == ["two", "one"] or at.selectbox(key="importance").options == [
        "one",
        "two",
    ]
    assert "model one" in see("Features", importance="one").subheader[0].value
    assert "model two" in see("Features", importance="two").subheader[0].value


@pytest.mark.parametrize(
    ("part", "file", "content", "place"),
    [
        ("Scores", "models/roc.json", "{", "roc.json is damaged"),
        ("Scores", "models/roc.json", "[{}]", "roc.json is damaged or of another version"),
        ("Training", "models/treatment/training.csv", "", "training.csv is damaged"),
        ("Training", "models/treatment/training.csv", "epoch,block\n0,x\n", "training.csv is damaged"),
        ("Training", "models/treatment/training.csv", "epoch,block,requests,seconds,loss_x\n0,0,5,1.0,much\n", "training.csv"),
        ("Features", "importance.json", "[]", "importance.json is damaged"),
        ("Features", "importance.json", json.dumps(IMPORTANCE | {"methods": ["shapley"]}), "a feature has no shapley"),
        ("Architectures", "pareto.json", "{}", "pareto.json is damaged or of another version"),
        (
            "Architectures", "pareto.json",
            json.dumps(PARETO | {"proposals": [{"choice": [2], "auc": 0.7, "rows_per_s": 1.0, "front": True}]}),
            "a proposal is not of the space",
        ),
    ],
)  # fmt: skip
def test_a_damaged_file_is_a_sentence(see, runs, part, file, content, place):
    add(runs / "good", "importance", IMPORTANCE)
    add(runs / "good", "pareto", PARETO)
    (runs / "good" / file).write_text(content)

    assert place in said(see(part))


def test_a_run_with_a_log_alone_says_in_every_part_what_is_not_there(see, runs):
    edit(runs / "good" / "manifest.json", lambda m: m.update(stages={"log": m["stages"]["log"]}))
    shutil.rmtree(runs / "good" / "models")

    for part, sentence in {
        "Scores": "has no offline table", "Calibration": "has no calibration", "Training": "holds no network",
        "Features": "marketplace importance", "Architectures": "marketplace pareto", "Market": "has no report yet",
    }.items():  # fmt: skip
        at = see(part)
        assert "Run good has no report yet: it holds log." in said(at)
        assert sentence in said(at)
        assert not at.dataframe


def test_every_marginal_of_the_market_has_a_unit(see, runs):
    market = see("Market").dataframe[0].value

    assert list(market["asked"]) == [row["asked"] for row in report_of(runs)["marginals"]]
    assert words.DASH not in set(market["unit"])


@pytest.mark.parametrize("part", ["Scores", "Calibration", "Training", "Features", "Architectures"])
def test_every_axis_has_a_title(see, runs, part):
    add(runs / "good", "importance", IMPORTANCE)
    add(runs / "good", "pareto", PARETO)

    for chart in see(part).get("plotly_chart"):
        layout = json.loads(chart.proto.spec)["layout"]
        assert layout["xaxis"]["title"]["text"] and layout["yaxis"]["title"]["text"]
