"""`marketplace pareto`: what is verified, what a search on a tiny log finds, and what is refused."""

import json
from itertools import pairwise

import numpy as np
import pytest
from typer.testing import CliRunner

from marketplace import words
from marketplace.cli import app
from marketplace.front import undominated
from marketplace.pareto import Foreseen, to_verify
from marketplace.runs import open_run
from marketplace.training import Split
from models.errors import Unusable

SPACE = """
[base]
kind = "lightgbm"
trees = 4
leaves = 4
min_rows_per_leaf = 20
[space]
trees = [4, 8, 16]
leaves = [4, 8]
"""
MEASURED = np.array([[0.0, 1.0], [1.0, 0.0]])


def call(*args):
    return CliRunner().invoke(app, ["pareto", *(str(arg) for arg in args)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pareto")
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def found(finished, place):
    """A search over five of six architectures."""
    args = "--trials", 4, "--propose", 50, "--verify", 1, "--runs", place / "runs", "--html", place / "page.html"
    result = call(finished.folder, "--space", place / "space.toml", *args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def foreseen(mean, sd=1e-6):
    return Foreseen(np.array(mean), np.full((len(mean), 2), sd))


def test_the_proposal_that_adds_the_most_area_is_verified_first_and_the_next_is_far_from_it():
    """Three on the front: (0.9, 0.9) adds the most; (0.89, 0.91), beside it, then adds less than the one far away."""
    proposals = foreseen([[0.89, 0.91], [0.9, 0.9], [0.2, 0.98]])

    assert to_verify(proposals, np.array([True, True, True]), MEASURED, 2) == [1, 2]


def test_what_is_predicted_off_the_front_is_verified_after_what_is_on_it():
    proposals = Foreseen(np.array([[0.4, 0.4], [0.5, 0.6]]), np.array([[2.0, 2.0], [1e-6, 1e-6]]))

    assert to_verify(proposals, np.array([False, True]), MEASURED, 1) == [1]
    assert to_verify(proposals, np.array([False, True]), MEASURED, 5) == [1, 0]


def test_no_proposal_is_verified_twice_however_much_its_uncertainty_promises():
    proposals = Foreseen(np.array([[0.4, 0.4], [0.5, 0.6]]), np.array([[2.0, 2.0], [1e-6, 1e-6]]))

    assert to_verify(proposals, np.array([True, True]), MEASURED, 2) == [0, 1]


def test_nothing_is_verified_of_nothing():
    assert to_verify(Foreseen(np.empty((0, 2)), np.empty((0, 2))), np.zeros(0, bool), MEASURED, 3) == []


def test_the_front_is_of_all_that_were_trained_and_comes_first(found):
    rows = found["rows"]
    goals = np.array([[row["auc"][0], row["rows_per_s"]] for row in rows])

    assert [row["front"] for row in rows] == undominated(goals).tolist()
    on_front = [row["front"] for row in rows]
    assert on_front == sorted(on_front, reverse=True)
    speeds = [row["rows_per_s"] for row in rows if row["front"]]
    assert speeds == sorted(speeds, reverse=True)


def test_the_trained_are_the_base_the_trials_and_the_verified_each_once(found):
    names = sorted(row["name"] for row in found["rows"])

    assert names == ["base", "trial 1", "trial 2", "trial 3", "verified 1"]
    assert len({tuple(row["choice"]) for row in found["rows"]}) == 5
    assert len(found["proposals"]) == 2  # the space holds 6
    (base,) = (row for row in found["rows"] if row["name"] == "base")
    assert base["settings"] == {"trees": 4, "leaves": 4}
    assert base["auc_less_base"] is None


def test_differences_are_those_of_the_aucs_and_surer_than_they(found):
    """Paired on the same rows: the interval of a difference is narrower than that of either AUC."""
    front = [row for row in found["rows"] if row["front"]]
    (base,) = (row for row in found["rows"] if row["name"] == "base")

    assert front[0]["auc_less_faster"] is None
    pairs = [(slower, faster, slower["auc_less_faster"]) for faster, slower in pairwise(front)]
    pairs += [(row, base, row["auc_less_base"]) for row in found["rows"] if row is not base]
    for row, other, (estimate, low, high) in pairs:
        assert estimate == pytest.approx(row["auc"][0] - other["auc"][0])
        assert low <= estimate <= high
        assert high - low < row["auc"][2] - row["auc"][1]


def test_the_expected_auc_under_the_truth_lies_in_the_interval_widened_to_4_standard_errors(found):
    for row in found["rows"]:
        estimate, _, high = row["auc"]
        assert abs(row["expected_auc"] - estimate) < 4 * (high - estimate) / 1.96


def test_promises_are_those_of_the_proposals_and_stand_beside_what_was_measured(found):
    (promise,) = found["promises"]
    (row,) = (row for row in found["rows"] if row["name"] == promise["name"])
    (proposal,) = (one for one in found["proposals"] if one["choice"] == row["choice"])

    assert promise["auc"] == row["auc"][0] and promise["rows_per_s"] == pytest.approx(row["rows_per_s"])
    assert promise["auc_predicted"][0] == proposal["auc"]
    assert promise["rows_per_s_predicted"][0] == pytest.approx(proposal["rows_per_s"])
    assert (promise["promised_front"], promise["front"]) == (proposal["front"], row["front"])
    low, high = promise["auc_predicted"][1:]
    assert promise["auc_held"] == (low <= row["auc"][0] <= high)


def test_the_run_keeps_the_search_and_its_page(found, place):
    run = open_run(next((place / "runs").glob("tiny-*")))

    assert run.has("pareto") and run.has("log")
    kept = json.loads((run.folder / "pareto.json").read_text())
    assert kept == {name: value for name, value in found.items() if name != "folder"}
    page = (run.folder / "pareto.html").read_text()
    assert page == (place / "page.html").read_text()
    for said in ("verified front", "candidates scored per second", "R2", "Promised and measured", "trees 16"):
        assert said in page


def test_the_same_seed_trains_the_same_models_to_the_same_aucs(found, finished, place):
    args = "--trials", 4, "--verify", 1, "--runs", place / "again", "--json"
    again = json.loads(call(finished.folder, "--space", place / "space.toml", *args).stdout)

    def trials(content):
        return {row["name"]: (row["choice"], row["auc"]) for row in content["rows"] if row["origin"] != "verified"}

    assert trials(again) == trials(found)


def test_a_space_can_be_trained_as_a_whole_on_conversions_with_several_seeds(finished, place):
    (place / "small.toml").write_text(SPACE.replace(", 16]", "]"))
    args = "--task", "conversion", "--trials", 4, "--seeds", 2, "--runs", place / "conversions"
    result = call(finished.folder, "--space", place / "small.toml", *args)

    assert result.exit_code == 0, result.stderr
    for said in ("AUC of conversion given click", "4 trained at random", "0 proposed", "trees 8", "R2"):
        assert said in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--task", "cart"], "--task 'cart': there are click, conversion"),
        (["--trials", "3"], "--trials 3: it must be at least 4"),
        (["--trials", "7"], "space.toml holds 6 architectures"),
        (["--verify", "0"], "--verify 0: it must be at least 1"),
        (["--propose", "0"], "--propose 0: it must be at least 1"),
        (["--seeds", "0"], "--seeds 0: it must be at least 1"),
        (["--html", "/none/page.html"], "--html /none/page.html: give a file in a folder that exists"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_kept(finished, place, tmp_path, args, said):
    result = call(finished.folder, "--space", place / "space.toml", "--runs", tmp_path / "runs", *args)

    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert said in result.stderr
    assert not list(tmp_path.glob("runs/*"))


def test_what_cannot_be_trained_on_the_log_is_refused_in_one_line_and_nothing_is_kept(finished, tmp_path):
    text = '[base]\nkind = "network"\npatience = 1\n[space]\nembedding = [16, 32]\nwide = [true, false]\n'
    (tmp_path / "space.toml").write_text(text)

    result = call(finished.folder, "--space", tmp_path / "space.toml", "--trials", 4, "--runs", tmp_path / "runs")

    assert result.exit_code == 2
    assert "has 3 days, training needs 4" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("runs/*"))


def test_a_folder_without_a_log_is_refused(tmp_path):
    result = call(tmp_path)

    assert result.exit_code == 2
    assert "this is no run" in result.stderr


def test_what_cannot_be_trained_is_listed_and_the_search_goes_on_while_four_trials_are_left(
    finished, place, monkeypatch
):
    """The base and one trial refuse to learn."""
    learn, calls = Split.learn, []

    def stubborn(self, config, **rest):
        calls.append(config)
        if (config.trees == 4 and config.leaves == 4) or len(calls) == refused_call:
            raise Unusable("it will not learn")
        return learn(self, config, **rest)

    monkeypatch.setattr(Split, "learn", stubborn)
    args = "--space", place / "space.toml", "--verify", 1, "--json"
    refused_call = 3
    result = call(finished.folder, *args, "--trials", 6, "--runs", place / "stubborn")
    too_few = call(finished.folder, *args, "--trials", 4, "--runs", place / "too_few")

    content = json.loads(result.stdout)
    assert [row["why"] for row in content["failed"]] == ["it will not learn"] * 2
    assert [row["name"] for row in content["failed"]] == ["base", "trial 2"]
    assert sorted(row["name"] for row in content["rows"]) == ["trial 1", "trial 3", "trial 4", "trial 5"]
    assert content["trials"] == 4
    assert all(row["auc_less_base"] is None for row in content["rows"])
    assert too_few.exit_code == 2
    assert "3 of 4 trials could be trained, 4 are needed: it will not learn" in too_few.stderr


@pytest.mark.parametrize(
    ("r2", "rank", "knows"), [(0.4, 0.6, True), (0.0, 0.3, False), (-0.2, -0.1, False), (1e-4, None, False)]
)
def test_a_predictor_that_is_no_better_than_a_mean_is_said_to_know_nothing(r2, rank, knows):
    said = words.trust("AUC", {"rmse": 0.01, "spread": 0.01, "r2": r2, "rank": rank}, 12)

    assert ("knows NOTHING" not in said) == knows


def test_a_model_is_named_by_what_it_does_not_have_of_the_base():
    space = {
        "hidden": [[64, 32], [16]],
        "wide": [False, True],
        "sequences": [[], [{"kind": "din", "hidden": 64}, {"kind": "mean"}]],
    }

    assert words.architecture({name: values[0] for name, values in space.items()}, space) == "the base"
    other = {name: values[1] for name, values in space.items()}
    assert words.architecture(other, space) == "hidden 16, wide yes, sequences din hidden=64+mean"
