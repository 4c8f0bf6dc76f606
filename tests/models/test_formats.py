"""Formats by name: which a model has, that each says nearly the same, and why one cannot run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from models.calibrators import Platt
from models.config import LINE_UP, GbdtConfig, NetworkConfig
from models.errors import Unusable
from models.formats import clicks, formats_of, in_float32, ready
from models.gbdt import fit_gbdt
from models.predictor import Model
from models.scoring import Network
from models.serving import has_compiler, has_fast_int8
from models.train import fit_network

BYTES = has_fast_int8(torch.device("cpu")) and not torch.cuda.is_available()
NETWORK = {"kind": "network", "hidden": (32, 16), "batch_requests": 128, "learning_rate": 8e-3, "serving": "bfloat16"}
FARTHEST = {"float32": 1e-6, "exported": 1e-5, "bfloat16": 0.012, "int8": 0.035}  # as tests/models/test_serving.py
ALL = ("float32", "bfloat16", "int8", "float32-compiled", "bfloat16-compiled", "int8-compiled", "exported")
SIZES = 1, 20


def model_of(predictor, kind):
    return Model(predictor=predictor, kind=kind, click=Platt(0.9, -0.1), conversion=Platt(1.0, 0.0))


@pytest.fixture(scope="module")
def network(train):
    return model_of(fit_network(train.data, NetworkConfig.model_validate(NETWORK), seed=1, threads=1), "network")


def test_a_network_has_all_formats_and_the_others_have_one(train, network):
    few = train.data.between(0, 3_000)
    config = LINE_UP["two_tower"].model_copy(update={"tower": (32,), "vector": 16})
    towers = model_of(fit_network(few, config, seed=1, threads=1), "two_tower")
    config = GbdtConfig(kind="lightgbm", trees=3, leaves=4, min_rows_per_leaf=40)
    trees = model_of(fit_gbdt(few, config, seed=1, threads=1), "lightgbm")

    assert (formats_of(network), formats_of(towers), formats_of(trees)) == (ALL, ("float32",), ("trees",))
    for model, form in ((towers, "float32"), (trees, "trees")):
        made = ready(model, form, few.batch, few.batch, SIZES, threads=1).model
        assert np.array_equal(clicks(made, few.batch, 20, threads=1), clicks(model, few.batch, 20, threads=1))
    assert in_float32(trees, few.batch) is None
    assert in_float32(towers, few.batch).predictor is towers.predictor


@pytest.mark.skipif(not BYTES, reason="this machine has no products of bytes, or exports nothing")
@pytest.mark.parametrize("form", FARTHEST)
def test_a_format_says_nearly_what_float32_says(network, train, test, form):
    batch = test.data.batch.rows(0, 300)

    made = ready(network, form, train.data.batch, batch, SIZES, threads=1)

    ours, exact = (clicks(m, batch, 20, threads=1) for m in (made.model, in_float32(network, train.data.batch)))
    shown = test.data.shown[:300]
    assert abs(ours - exact)[shown].max() <= FARTHEST[form]
    if form in ("bfloat16", "int8"):
        assert abs(ours - exact)[shown].max() > 0
        assert made.model.predictor.config.serving == form
    assert made.model.click is network.click
    assert made.seconds > 0


@pytest.mark.deep
@pytest.mark.skipif(not (BYTES and has_compiler()), reason="this machine cannot run them")
@pytest.mark.parametrize("form", ["float32", "bfloat16", "int8"])
def test_a_compiled_format_says_nearly_what_float32_says(network, train, test, form):
    batch = test.data.batch.rows(0, 300)

    made = ready(network, f"{form}-compiled", train.data.batch, batch, SIZES, threads=1)

    ours, exact = (clicks(m, batch, 20, threads=1) for m in (made.model, in_float32(network, train.data.batch)))
    assert abs(ours - exact)[test.data.shown[:300]].max() <= FARTHEST[form]
    assert made.model.predictor.config.compile


def test_ready_means_that_calls_of_every_size_were_scored(network, train, monkeypatch):
    seen = []
    real = Network.logits
    monkeypatch.setattr(Network, "logits", lambda self, b: seen.append((len(b), self.pairs // 3)) or real(self, b))

    ready(network, "float32", train.data.batch, train.data.batch, (1, 5, 40), threads=1)

    assert seen == [(1, 1), (5, 5), (40, 40)]


def test_ranges_of_int8_are_those_of_training_where_there_are_any(network, train, test, monkeypatch):
    asked = []
    monkeypatch.setattr(Network, "served", lambda self, serving, *, compile, sample: asked.append(sample) or self)
    known = replace(network, predictor=network.predictor.in_blocks(60))
    known.predictor.ranges = {"cross_part": (0.0, 1.0)}

    for model, form in ((network, "int8"), (known, "int8"), (network, "bfloat16")):
        ready(model, form, train.data.batch, test.data.batch, SIZES, threads=1)

    assert [sample is train.data.batch for sample in asked] == [True, False, False]
    assert asked[1:] == [None, None]


def test_what_the_machine_cannot_run_has_a_reason_in_one_line(network, train, test, monkeypatch):
    def reason(form):
        with pytest.raises(Unusable) as refusal:
            ready(network, form, train.data.batch, test.data.batch, SIZES, threads=2)
        assert "\n" not in str(refusal.value) and torch.get_num_threads() == 1
        return str(refusal.value)

    with monkeypatch.context() as patch:
        patch.setattr("models.serving.has_compiler", lambda: False)
        assert "needs a C++ compiler" in reason("float32-compiled")
    with monkeypatch.context() as patch:
        patch.setattr("models.serving.has_fast_int8", lambda device: False)
        assert "products of bytes" in reason("int8")
    with monkeypatch.context() as patch:
        patch.setattr(Network, "device", "cuda")
        assert "exported on the processor" in reason("exported")

    def fails(self, batch):
        raise BackendCompilerFailed(lambda: None, ValueError("no such\ninstruction"), None)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "logits", fails)
        assert reason("bfloat16").startswith("it could not be compiled: ")
