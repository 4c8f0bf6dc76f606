"""Exported programs: the network's logits, for any sizes, without our classes."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.config import DinConfig, MeanConfig, MmoeConfig, NetworkConfig, VectorsConfig
from models.data import Batch, Dataset
from models.export import export_network
from models.schema import Schema
from models.scoring import Network
from models.serving import has_fast_int8
from models.train import fit_network

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a network is exported on the processor")
BYTES = has_fast_int8(torch.device("cpu"))
SMALL = {"kind": "network", "hidden": (32, 16), "batch_requests": 128, "learning_rate": 8e-3, "serving": "float32"}


@pytest.fixture(scope="module")
def model(train) -> Network:
    return fit_network(train.data, NetworkConfig.model_validate(SMALL), seed=1, threads=1)


def arguments(batch: Batch, places: tuple[int, ...]) -> tuple:
    own = torch.from_numpy
    lists = [own(values.padded(n)) for values, n in zip(batch.lists, places, strict=True)]
    ads = (own(x) for x in (batch.ads.categorical, batch.ads.dense, batch.ads.vector))
    rest = (own(np.ascontiguousarray(x)) for x in (batch.row, batch.cross, batch.slot))
    return own(batch.categorical), own(batch.dense), lists, *ads, *rest


def test_an_exported_program_keeps_its_format(model, train, test, tmp_path):
    served = model.served("int8" if BYTES else "bfloat16", sample=train.data.batch)
    batch = test.data.batch.rows(0, 200)
    export_network(served, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()

    for logit, expected in zip(program(*arguments(batch, model.shape.places)), served.logits(batch), strict=True):
        assert logit.numpy() == pytest.approx(expected, abs=1e-3)
    assert not np.array_equal(served.logits(batch)[0], model.logits(batch)[0])


def with_ordered_histories(data: Dataset) -> Dataset:
    """Of which encoders take the ad's store for the target."""
    *others, history, visited = data.schema.tables["requests"]
    tables = data.schema.tables | {"requests": (*others, replace(history, ordered=True), visited)}
    return replace(data, schema=Schema(tables=tables))


def test_an_exported_program_gives_the_logits_of_the_network_for_any_sizes(train, test, tmp_path):
    parts = {
        "sequences": (MeanConfig(), DinConfig(), VectorsConfig()), "crossing": "deepfm", "wide": True, "tokens": 4,
        "towers": MmoeConfig(), "negatives_kept": 0.5, "token_width": 16, "tasks": ("organic", "click", "conversion"),
    }  # fmt: skip
    config = NetworkConfig.model_validate(SMALL | parts)
    model = fit_network(with_ordered_histories(train.data), config, seed=1, threads=1)
    assert len(model.net.encoders) == 1
    export_network(model, tmp_path / "network.pt2")
    program = torch.export.load(tmp_path / "network.pt2").module()

    batch = test.data.batch.rows(0, 200)
    first = replace(batch, row=batch.row[:, :1], cross=batch.cross[:, :1], slot=np.array([1], np.int32))
    for case in (batch, batch.rows(7, 8), first, first.rows(9, 10)):
        for logit, expected in zip(program(*arguments(case, model.shape.places)), model.logits(case), strict=True):
            assert logit.numpy() == pytest.approx(expected, abs=2e-5)


def test_an_exported_program_needs_none_of_our_classes(model, test, tmp_path):
    batch = test.data.batch.rows(0, 20)
    export_network(model, tmp_path / "network.pt2")
    torch.save(arguments(batch, model.shape.places), tmp_path / "arguments.pt")
    script = """
import sys, torch
program = torch.export.load("network.pt2").module()
torch.save([x.clone() for x in program(*torch.load("arguments.pt"))], "logits.pt")
assert "models" not in sys.modules
"""

    subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True)

    for logit, expected in zip(torch.load(tmp_path / "logits.pt"), model.logits(batch), strict=True):
        assert logit.numpy() == pytest.approx(expected, abs=1e-5)
