"""Comparison of models on one log: what is trained, what its intervals say, and what is refused."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from typer.testing import CliRunner

from marketplace.cli import app
from marketplace.comparison import auc_over_seeds, compare_models, days_of, scores_over_seeds
from marketplace.training import Split
from models.config import GbdtConfig, TwoTowerConfig
from models.errors import Unusable
from models.log import read_log
from models.predictor import load_model
from models.scores import auc_difference, auc_interval, score
from synth.types import DAY_MS


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def forecasts() -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Labels, and two models' forecasts under three seeds."""
    rng = np.random.default_rng(1)
    signal = rng.normal(size=4_000)
    label = rng.random(4_000) < 1 / (1 + np.exp(-signal))
    return (
        label,
        [signal + rng.normal(scale=0.5, size=4_000) for _ in range(3)],
        [signal + rng.normal(scale=2.0, size=4_000) for _ in range(3)],
    )


def test_with_one_seed_the_interval_is_that_of_the_rows(forecasts):
    label, p, other = forecasts

    assert auc_over_seeds(p[:1], label) == pytest.approx(auc_interval(p[0], label))
    assert auc_over_seeds(p[:1], label, other[:1]) == pytest.approx(auc_difference(p[0], other[0], label))


def test_seeds_add_their_own_spread(forecasts):
    label, p, other = forecasts
    same, (mean, low, high) = auc_over_seeds([p[0]] * 3, label), auc_over_seeds(p, label)

    assert same == pytest.approx(auc_interval(p[0], label))
    assert mean == pytest.approx(np.mean([auc_interval(own, label).estimate for own in p]))
    rows = np.mean([((i.high - i.low) / 2 / 1.96) ** 2 for i in (auc_interval(own, label) for own in p)])
    between = np.var([auc_interval(own, label).estimate for own in p], ddof=1) / 3
    assert ((high - low) / 2) >= 1.96 * np.sqrt(rows + between) * (1 - 1e-3)
    assert auc_over_seeds(p, label, other)[1] > 0


def test_a_class_of_one_row_has_no_interval(forecasts):
    _, p, _ = forecasts
    label = np.zeros(4_000, bool)
    label[3] = True

    assert auc_over_seeds(p, label) is None


def test_scores_over_seeds_are_means_and_of_p_values_twice_the_mean(forecasts):
    label, p, _ = forecasts
    p = [1 / (1 + np.exp(-own)) for own in p[:2]]
    first, second = (score(own, label) for own in p)

    one, both = scores_over_seeds(p[:1], label), scores_over_seeds(p, label)

    assert one == asdict(first)
    assert both["log_loss"] == pytest.approx((first.log_loss + second.log_loss) / 2)
    assert both["calibration_p_value"] == pytest.approx(first.calibration_p_value + second.calibration_p_value)
    perfect = [np.repeat([0.25, 0.75], 40)] * 2
    assert scores_over_seeds(perfect, np.arange(80) % 4 < np.repeat([1, 3], 40))["calibration_p_value"] == 1.0
    assert scores_over_seeds(p, np.zeros(4_000, bool))["auc"] is None


def test_models_are_trained_on_the_same_days_and_written_with_the_table(finished, tmp_path):
    result = call(
        "train", finished.folder, "--model", "lightgbm", "--model", "two_tower", "--out", tmp_path / "out", "--json"
    )

    rows = json.loads(result.stdout)
    assert [row["model"] for row in rows] == ["lightgbm"] * 3 + ["two_tower"] * 3
    assert json.loads((tmp_path / "out" / "models.json").read_text()) == rows
    assert all(row["auc_less_first"] is None for row in rows[:3])
    for row in rows[3:]:
        estimate, low, high = row["auc_less_first"]
        assert low < estimate < high
        assert estimate == pytest.approx(row["auc"][0] - rows[rows.index(row) - 3]["auc"][0])
    days = days_of(finished.folder / "log")
    last = read_log(finished.folder / "log", days * DAY_MS, start_ms=(days - 1) * DAY_MS)
    predicted = load_model(tmp_path / "out" / "two_tower").predict(last.batch)
    assert auc_interval(predicted.click[last.shown], last.click[last.shown]) == pytest.approx(rows[3]["auc"])
    assert all(row["parameters"] > 100 and row["train_rows_per_s"] > 0 for row in rows)


def test_the_table_in_the_terminal_names_every_model(finished):
    result = call("train", finished.folder / "log", "--model", "lightgbm", "--model", "two_tower", "--seeds", 2)

    assert result.exit_code == 0
    for words in ("lightgbm", "two_tower", "2 seeds", "conversion given click", "train rows/s", "parameters"):
        assert words in result.stdout


def test_a_model_comes_from_a_file_too(finished, tmp_path):
    (tmp_path / "small.toml").write_text('kind = "lightgbm"\ntrees = 5\n')

    rows = json.loads(call("train", finished.folder, "--model", tmp_path / "small.toml", "--json").stdout)

    assert {row["model"] for row in rows} == {"small"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--model", "dhenn"], "--model 'dhenn': there are lightgbm, mlp"),
        (["--model", "mlp", "--model", "mlp"], "there is a model mlp already"),
        (["--model", "none.toml"], "model none.toml: No such file"),
        (["--model", "bad.toml"], "model bad.toml: hidden.0: Input should be a multiple of 16"),
        (["--model", "cut.toml"], "model cut.toml: "),
        (["--model", "mlp", "--seed", "3"], "--set and --seed are of a scenario"),
        (["--model", "mlp", "--out", "there"], "--out there: there is such a file or folder already"),
    ],
)
def test_bad_input_is_refused_in_one_line(finished, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text('kind = "network"\nhidden = [17]\n')
    (tmp_path / "cut.toml").write_text('kind = "netw')
    (tmp_path / "there").mkdir()

    result = call("train", finished.folder, *args)

    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert words in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.toml", "cut.toml", "there"]


def test_what_is_no_log_is_refused(tmp_path):
    result = call("train", tmp_path, "--model", "mlp")

    assert result.exit_code == 2
    assert "it is neither a log folder nor a run folder with a log" in result.stderr


def test_a_log_of_too_few_days_is_refused(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("marketplace.comparison.days_of", lambda log: 2)

    with pytest.raises(Unusable, match="has 2 days, training needs 3"):
        compare_models(
            finished.folder / "log", {"lightgbm": GbdtConfig(kind="lightgbm")}, seeds=1, threads=1, folder=None,
            progress=lambda name, share: None,
        )  # fmt: skip


def test_patience_takes_a_day_of_its_own(finished):
    log, days = finished.folder / "log", days_of(finished.folder / "log")
    config = TwoTowerConfig(kind="two_tower", patience=1)

    with pytest.raises(Unusable, match=f"has {days} days, training needs 4"):
        Split.of(log, days, [config])
    hasty = TwoTowerConfig(kind="two_tower")
    split = Split.of(log, days, [hasty])
    assert split.validation(hasty) is None
    assert split.train(hasty).stop_ms == (days - 2) * DAY_MS <= split.calibration(hasty).time_ms[0]


def test_a_network_goes_on_from_yesterdays_and_lightgbm_does_not(finished, tmp_path):
    first = call("train", finished.folder, "--model", "two_tower", "--out", tmp_path / "first")
    assert first.exit_code == 0
    on = ("--start", tmp_path / "first", "--last", 1, "--json")

    second = call("train", finished.folder, "--model", "two_tower", *on)
    refused = call("train", finished.folder, "--model", "mlp", *on)

    assert json.loads(second.stdout)[0]["model"] == "two_tower"
    assert refused.exit_code == 2
    assert "holds no whole model" in refused.stderr


def test_an_interrupted_comparison_goes_on_and_leaves_no_checkpoint(finished, tmp_path, monkeypatch):
    log, states = finished.folder / "log", tmp_path / "states"
    configs = {"two_tower": TwoTowerConfig(kind="two_tower", epochs=2)}

    def compared(progress, checkpoints):
        rows = compare_models(log, configs, seeds=1, threads=1, folder=None, progress=progress, checkpoints=checkpoints)
        return [row["auc"] for row in rows]

    def interrupt(name, share):
        if share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared(interrupt, states)
    assert [path.name for path in states.iterdir()] == ["two_tower-0"]

    assert compared(lambda name, share: None, states) == compared(lambda name, share: None, None)
    assert list(states.iterdir()) == []


def test_a_model_that_cannot_be_calibrated_is_named(finished, monkeypatch):
    def backwards(*_):
        raise Unusable("cannot calibrate: the model ranks backwards")

    monkeypatch.setattr("marketplace.training.calibrated", backwards)

    result = call("train", finished.folder, "--model", "lightgbm")

    assert result.exit_code == 2
    assert "model lightgbm, seed 0: cannot calibrate: the model ranks backwards" in result.stderr


def test_options_of_named_models_are_refused_without_a_name(finished):
    result = call("train", finished.folder, "--seeds", 3)

    assert result.exit_code == 2
    assert "are for models named by --model" in result.stderr
