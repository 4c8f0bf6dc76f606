"""Formats that a network is served in: what they may cost in accuracy, and what must not change with them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from models.config import CROSSINGS, LINE_UP, NetworkConfig
from models.data import Batch
from models.errors import Unusable
from models.scoring import Network, last_of, load_network, ranges_of
from models.serving import has_compiler, has_fast_int8, per_candidate
from models.train import fit_network

BYTES = has_fast_int8(torch.device("cpu")) and not torch.cuda.is_available()
bytes_only = pytest.mark.skipif(not BYTES, reason="this machine has no products of bytes")
int8 = pytest.param("int8", marks=bytes_only)
SMALL = {
    "tokens": 4, "token_width": 16, "hidden": (32, 16), "epochs": 2, "batch_requests": 128, "learning_rate": 8e-3,
    "serving": "int8" if BYTES else "float32",
}  # fmt: skip
FARTHEST = {"bfloat16": 0.012, "int8": 0.035}  # from the probability in float32; measured up to 0.006 and 0.022
ON_AVERAGE = {"bfloat16": 0.0012, "int8": 0.004}  # measured up to 0.0006 and 0.0021


@pytest.fixture(scope="module")
def trained(train):
    cache: dict[str, Network] = {}

    def get(crossing: str) -> Network:
        if crossing not in cache:
            config = NetworkConfig.model_validate({"kind": "network", "crossing": crossing} | SMALL)
            cache[crossing] = fit_network(train.data, config, seed=1, threads=1)
        return cache[crossing]

    return get


def equal(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("form", ["bfloat16", int8])
@pytest.mark.parametrize("crossing", CROSSINGS)
def test_a_format_gives_nearly_the_probabilities_of_float32_and_its_auc(trained, test, crossing, form):
    exact, served = (trained(crossing).served(f).logits(test.data.batch) for f in ("float32", form))

    for ours, theirs, label, rows in (
        (served[0], exact[0], test.data.click, test.data.shown),
        (served[1], exact[1], test.data.conversion, test.data.click),
    ):
        apart = abs(expit(ours[rows]) - expit(theirs[rows]))
        assert 0 < apart.max() < FARTHEST[form]
        assert apart.mean() < ON_AVERAGE[form]
        assert roc_auc_score(label[rows], ours[rows]) == pytest.approx(
            roc_auc_score(label[rows], theirs[rows]), abs=0.002
        )


def same_in_any_company(model: Network, batch: Batch) -> bool:
    n = len(batch)
    whole, order = model.logits(batch), np.random.default_rng(0).permutation(n)
    for cuts in ([0, 1, n], [0, 15, n - 1, n]):
        parts = [model.logits(batch.rows(a, b)) for a, b in pairwise(cuts)]
        if not equal(tuple(np.concatenate(task) for task in zip(*parts, strict=True)), whole):
            return False
    return equal(model.logits(batch.take(order)), tuple(task[order] for task in whole))


@pytest.mark.parametrize(
    ("crossing", "form"),
    [(c, f) for c in ("none", "dhen") for f in ("float32", "bfloat16")]
    + [pytest.param(c, "int8", marks=bytes_only) for c in CROSSINGS],
)
def test_a_row_does_not_depend_on_its_batch(trained, test, crossing, form):
    assert same_in_any_company(trained(crossing).served(form), test.data.batch.rows(0, 400))


@pytest.mark.parametrize("form", ["float32", "bfloat16", int8])
def test_a_saved_network_keeps_its_format_and_its_logits(trained, test, schema, tmp_path, form):
    model = trained("dhen").served(form)
    model.save(tmp_path)

    loaded = load_network(tmp_path, schema)

    assert loaded.config.serving == form
    assert equal(loaded.logits(test.data.batch), model.logits(test.data.batch))


@bytes_only
def test_a_network_trained_for_int8_has_the_ranges_of_its_last_block(train):
    class TwoBlocks:
        schema = train.data.schema

        def blocks(self):
            yield train.data.between(0, 30_000)
            yield train.data.between(30_000, 60_000)

    config = NetworkConfig.model_validate({"kind": "network", "crossing": "dcnv2"} | SMALL)
    model = fit_network(TwoBlocks(), config, seed=1, threads=1)

    last = train.data.between(30_000, 60_000).batch
    assert model.ranges == ranges_of(model.net, config, model.shape, last)
    assert model.ranges != ranges_of(model.net, config, model.shape, train.data.batch)
    assert set(model.ranges) == {"cross_part", "hidden.0", "hidden.1"} | {
        f"crossing.0.members.0.steps.{i}.weight" for i in range(2)
    }


def test_ranges_are_taken_from_the_first_to_the_last_request_of_the_block(train):
    few = train.data.take(np.arange(5))

    assert np.array_equal(last_of(few).row, few.batch.row)
    assert np.array_equal(last_of(train.data).dense[[0, -1]], train.data.batch.dense[[0, -1]])


@pytest.mark.skipif(not has_compiler(), reason="there is no C++ compiler")
def test_a_compiled_network_scores_as_before_whatever_the_batch(trained, test):
    plain = trained("none").served("bfloat16")
    model = trained("none").served("bfloat16", compile=True)
    batch = test.data.batch.rows(0, 300)

    for ours, theirs in zip(model.logits(batch), plain.logits(batch), strict=True):
        assert expit(ours) == pytest.approx(expit(theirs), abs=FARTHEST["bfloat16"])
    assert same_in_any_company(model, batch)
    assert model.config.compile


def test_what_the_machine_cannot_run_is_refused_in_one_line(trained, train, monkeypatch):
    model = trained("none")
    with monkeypatch.context() as patch:
        patch.setattr("models.serving.has_compiler", lambda: False)
        with pytest.raises(Unusable, match=r"^compile is true, which needs a C\+\+ compiler[^\n]*$"):
            model.served("float32", compile=True)
    monkeypatch.setattr("models.serving.has_fast_int8", lambda device: False)
    refusal = r"^serving is int8, which needs a processor with products of bytes[^\n]*$"
    with pytest.raises(Unusable, match=refusal):
        model.served("int8")
    shares: list[float] = []
    config = NetworkConfig.model_validate({"kind": "network"} | SMALL | {"serving": "int8"})
    with pytest.raises(Unusable, match=refusal):
        fit_network(train.data, config, seed=1, threads=1, progress=shares.append)
    assert not shares  # before the work, not after it


def test_a_missing_compiler_is_found_out(monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))

    assert not has_compiler()


@bytes_only
def test_int8_without_ranges_is_refused_and_a_sample_gives_them(trained, train):
    model = trained("dcnv2")
    bare = Network(model.net, model.served("float32").config, model.shape, [])

    with pytest.raises(Unusable, match=r"^serving is int8, but the range of what enters \S+ was not observed$"):
        bare.served("int8")
    assert set(bare.served("int8", sample=train.data.batch).ranges) == set(per_candidate(model.net))


def test_a_two_tower_network_has_one_format(train):
    config = LINE_UP["two_tower"].model_copy(update={"tower": (32,), "vector": 16})
    model = fit_network(train.data.between(0, 3_000), config, seed=1, threads=1)

    with pytest.raises(Unusable, match="float32 only"):
        model.served("int8")
