"""A deployed model: predictor and calibration, written to a folder and read back."""

import json
import subprocess
import sys
from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest
from scipy.special import logit

from models.calibrators import Platt
from models.config import CorrectConfig
from models.gbdt import GbdtConfig
from models.network import NetworkConfig
from models.predictor import Model, calibrated, fit, load_model, save_model

CONFIGS = [
    GbdtConfig(kind="lightgbm", trees=10, leaves=8),
    NetworkConfig(kind="network", embedding=16, hidden=(16, 16), batch_requests=256),
]
every_kind = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)


def calibrated_by(predictor, config, data, **how):
    return calibrated(predictor, config.model_copy(update={"correct": CorrectConfig(**how)}), data)[0]


BY_STORE = {"calibrate": "segment", "calibrate_by": "store"}


@pytest.fixture(scope="module")
def fitted(train) -> dict:
    return {config.kind: fit(train.data, config, seed=1, threads=1) for config in CONFIGS}


@pytest.fixture
def saved(fitted, schema, test, tmp_path):
    """A folder with a saved model of the kind."""

    def save(config, **how):
        predictor = fitted[config.kind]
        model = calibrated_by(predictor, config, test.data, **how)
        save_model(model, predictor, schema, tmp_path / "model")
        return tmp_path / "model", model

    return save


@every_kind
def test_calibration_makes_forecasts_add_up_to_the_labels(fitted, test, config):
    model = calibrated_by(fitted[config.kind], config, test.data)

    got, shown, click = model.predict(test.data.batch), test.data.shown, test.data.click
    assert got.click[shown].sum() == pytest.approx(click[shown].sum(), rel=1e-3)
    assert got.conversion[click].sum() == pytest.approx(test.data.conversion[click].sum(), rel=1e-3)
    assert ((got.click > 0) & (got.click < 1) & (got.conversion > 0) & (got.conversion < 1)).all()


@every_kind
def test_a_saved_model_predicts_as_before(saved, test, config):
    folder, model = saved(config)

    before, after = model.predict(test.data.batch), load_model(folder).predict(test.data.batch)

    assert np.array_equal(before.click, after.click)
    assert np.array_equal(before.conversion, after.conversion)


CALIBRATIONS = [{"calibrate": name} for name in ("isotonic", "temperature", "beta", "none")] + [BY_STORE]


@pytest.mark.parametrize("how", CALIBRATIONS, ids=lambda how: how["calibrate"])
def test_a_saved_model_of_any_calibration_predicts_as_before(saved, test, how):
    folder, model = saved(CONFIGS[0], **how)

    before, after = model.predict(test.data.batch), load_model(folder).predict(test.data.batch)

    assert np.array_equal(before.click, after.click)
    assert np.array_equal(before.conversion, after.conversion)


def test_isotonic_forecasts_add_up_to_the_labels(fitted, test):
    got = calibrated_by(fitted["lightgbm"], CONFIGS[0], test.data, calibrate="isotonic").predict(test.data.batch)

    shown, click = test.data.shown, test.data.click
    assert got.click[shown].sum(dtype=float) == pytest.approx(click.sum(), rel=1e-6)
    assert got.conversion[click].sum(dtype=float) == pytest.approx(test.data.conversion[click].sum(), rel=1e-6)


def test_each_candidate_has_the_offset_of_its_ads_own_value(fitted, test):
    batch = test.data.batch
    by_store = calibrated_by(fitted["lightgbm"], CONFIGS[0], test.data, **BY_STORE)
    base = Model(
        predictor=by_store.predictor, kind=by_store.kind, click=by_store.click.base, conversion=by_store.conversion.base
    )  # fmt: skip

    got, without = by_store.predict(batch), base.predict(batch)

    for own, bare, calibrator in (
        (got.click, without.click, by_store.click), (got.conversion, without.conversion, by_store.conversion)
    ):  # fmt: skip
        store = batch.ads.categorical[batch.row, 1]
        offset = np.where(batch.row >= 0, np.append(calibrator.offset, np.zeros(100))[store], 0.0)
        assert logit(own.astype(float)) - logit(bare.astype(float)) == pytest.approx(offset, abs=1e-4)
    assert by_store.click.rows.sum() == test.data.shown.sum()
    assert by_store.conversion.rows.sum() == test.data.click.sum()


class Even:
    """A predictor that finds everything even."""

    device, slots = "cpu", None

    def logits(self, batch):
        return (np.zeros(batch.row.shape, np.float32),) * 2


def test_requests_without_a_single_ad_have_the_forecast_of_the_base(fitted, test):
    by_store = calibrated_by(fitted["lightgbm"], CONFIGS[0], test.data, **BY_STORE)
    batch = test.data.batch
    bare = replace(batch, ads=batch.ads.rows(0, 0), row=np.full_like(batch.row, -1))

    got = replace(by_store, predictor=Even()).predict(bare)

    assert np.array_equal(got.click, by_store.click.base(np.zeros(batch.row.shape, np.float32)))


def test_a_calibration_by_what_is_no_category_of_ads_is_refused(fitted, test):
    with pytest.raises(ValueError, match="hour: it is no categorical column of ads; there are cuisine, store"):
        calibrated_by(fitted["lightgbm"], CONFIGS[0], test.data, calibrate="segment", calibrate_by="hour")


def test_a_calibrator_whose_column_is_not_there_is_refused(fitted, test):
    by_store = calibrated_by(fitted["lightgbm"], CONFIGS[0], test.data, **BY_STORE)

    with pytest.raises(ValueError, match="store: it is no categorical column of ads; there are none"):
        Model(predictor=by_store.predictor, kind=by_store.kind, click=by_store.click, conversion=Platt(1.0, 0.0))


def test_a_damaged_calibration_is_refused_with_its_file_and_task(saved):
    folder, _ = saved(CONFIGS[0])
    card = json.loads((folder / "model.json").read_text())
    card["conversion"]["slope"] = float("nan")
    (folder / "model.json").write_text(json.dumps(card))

    with pytest.raises(ValueError, match=r"model.json is damaged: calibration of conversion: .* slope is nan"):
        load_model(folder)


@every_kind
def test_a_model_without_one_of_its_files_is_refused_with_the_files_name(saved, config):
    folder, _ = saved(config)

    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(ValueError, match=path.name):
            load_model(folder)
        path.write_bytes(content)
    load_model(folder)


LOAD_EACH = """
import sys
from pathlib import Path
from models.predictor import load_model
for folder in sys.argv[1:]:
    try:
        load_model(Path(folder))
    except ValueError as error:
        print(error)
"""


@every_kind
def test_a_model_with_a_cut_file_is_refused_with_its_folder(saved, config):
    """In a process of its own: a library that ends the process on a cut file must not end the tests."""
    folder, _ = saved(config)
    cut = []
    for path in sorted(folder.iterdir()):
        cut.append(folder.with_name(f"cut_{path.name}"))
        copytree(folder, cut[-1])
        (cut[-1] / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 3])

    done = subprocess.run(
        [sys.executable, "-c", LOAD_EACH, *map(str, cut)], capture_output=True, text=True, errors="replace", check=False
    )

    assert done.returncode == 0, done.stderr[-300:]
    assert [path.name for path in cut if str(path) not in done.stdout] == []


def test_a_model_of_an_unknown_kind_is_refused(saved):
    folder, _ = saved(CONFIGS[0])
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"kind": "oracle"}))

    with pytest.raises(ValueError, match="oracle"):
        load_model(folder)
