"""A deployed model: predictor and calibration, written to a folder and read back."""

import json
import subprocess
import sys
from shutil import copytree

import numpy as np
import pytest

from models.gbdt import GbdtConfig
from models.network import NetworkConfig
from models.predictor import calibrated, fit, load_model, save_model

CONFIGS = [
    GbdtConfig(kind="lightgbm", trees=10, leaves=8),
    NetworkConfig(kind="network", embedding=16, hidden=(16, 16), batch_requests=256),
]
every_kind = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)


@pytest.fixture(scope="module")
def fitted(train) -> dict:
    return {config.kind: fit(train.data, config, seed=1, threads=1) for config in CONFIGS}


@pytest.fixture
def saved(fitted, schema, test, tmp_path):
    """A folder with a saved model of the kind."""

    def save(config):
        predictor = fitted[config.kind]
        model = calibrated(predictor, config.kind, test.data)
        save_model(model, predictor, schema, tmp_path / "model")
        return tmp_path / "model", model

    return save


@every_kind
def test_calibration_makes_forecasts_add_up_to_the_labels(fitted, test, config):
    model = calibrated(fitted[config.kind], config.kind, test.data)

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
