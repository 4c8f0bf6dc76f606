"""The training loop: what a seed fixes, what data can teach, and what is left as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.data import Batch
from models.network import NetworkConfig
from models.train import fit_network

QUICK = NetworkConfig(kind="network", embedding=16, hidden=(32, 16), batch_requests=128, learning_rate=8e-3)


def equal(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_what_lies_under_an_empty_slot_teaches_nothing(train):
    data = train.data.between(0, 10_000)
    empty = (data.batch.row < 0)[:, :, None]
    other = replace(data, batch=replace(data.batch, cross=np.where(empty, np.float32(50), data.batch.cross)))

    first, second = (fit_network(log, QUICK, seed=1, threads=1).logits(data.batch) for log in (data, other))

    assert empty.any()
    assert equal(first, second)


def test_a_seed_gives_one_model_and_another_seed_another(train, test):
    first, second, other = (
        fit_network(train.data, QUICK, seed=seed, threads=1).logits(test.data.batch.rows(0, 300)) for seed in (5, 5, 6)
    )

    assert equal(first, second)
    assert not equal(first, other)


def test_the_seed_sets_the_shuffle_too(train, monkeypatch):
    data, seeded = train.data.between(0, 10_000), torch.manual_seed
    monkeypatch.setattr("models.train.torch.manual_seed", lambda seed: seeded(0))  # the same initial weights

    first, second = (fit_network(data, QUICK, seed=seed, threads=1).logits(data.batch) for seed in (5, 6))

    assert not equal(first, second)


def test_training_leaves_the_global_generator_and_the_threads_as_they_were(train):
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()

    fit_network(train.data.between(0, 3_000), QUICK, seed=5, threads=2)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_training_reports_shares_that_rise_to_one(train):
    shares: list[float] = []

    fit_network(train.data.between(0, 3_000), QUICK, seed=5, threads=1, progress=shares.append)

    assert shares == pytest.approx([step / 3 for step in (1, 2, 3)])


@pytest.mark.parametrize(("task", "value"), [("click", False), ("conversion", False)])
def test_labels_of_one_class_are_refused(train, task, value):
    data = replace(train.data, **{task: np.full_like(train.data.click, value)})

    with pytest.raises(ValueError, match=rf"cannot learn {task}s: \d+ of \d+ rows are positive"):
        fit_network(data, QUICK, seed=1, threads=1)


def test_the_unit_and_the_origin_of_a_feature_do_not_matter(train):
    def p(batch: Batch) -> np.ndarray:
        data = replace(train.data, batch=batch).between(0, 3_000)
        return 1 / (1 + np.exp(-fit_network(data, QUICK, seed=5, threads=1).logits(data.batch)[0]))

    batch = train.data.batch
    ads = replace(batch.ads, dense=batch.ads.dense * 500 - 2_000, vector=batch.ads.vector * 300 + 1_000)
    rescaled = replace(batch, dense=batch.dense * 1_000 + 5_000, cross=batch.cross / 100 + 3, ads=ads)

    assert np.abs(p(rescaled) - p(batch)).mean() < 0.02


def test_a_feature_that_never_varies_is_harmless(train):
    data = train.data.between(0, 5_000)
    constant = replace(data, batch=replace(data.batch, dense=np.full_like(data.batch.dense, 7.0)))

    for logit in fit_network(constant, QUICK, seed=1, threads=1).logits(constant.batch):
        assert np.isfinite(logit).all()
