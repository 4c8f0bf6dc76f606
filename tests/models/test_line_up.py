"""What every predictor must do, whatever it is made of."""

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from models.config import CROSSINGS, GbdtConfig, NetworkConfig
from models.data import Batch, Dataset
from models.predictor import calibrated, fit, load_model, save_model

NETWORK = NetworkConfig(
    kind="network", tokens=4, token_width=16, hidden=(32, 16), epochs=2, batch_requests=128, learning_rate=8e-3
)
LINE_UP = {
    "lightgbm": GbdtConfig(kind="lightgbm", trees=120, leaves=8, min_rows_per_leaf=40),
    **{name: NETWORK.model_copy(update={"crossing": layers}) for name, layers in CROSSINGS.items()},
    "wide": NETWORK.model_copy(update={"wide": True}),
    "dhen, wide": NETWORK.model_copy(update={"crossing": CROSSINGS["dhen"], "wide": True}),
}
every_one = pytest.mark.parametrize("name", LINE_UP)


class Crossed(NamedTuple):
    """Data whose clicks depend on what region and cuisine are to each other, and the probabilities behind."""

    data: Dataset
    click: np.ndarray  # (n, slots)


def crossed(planted, n: int, seed: int) -> Crossed:
    log = planted(n, seed)
    taste = np.random.default_rng(9).normal(scale=0.8, size=(5, 5))  # region, the missing one last, by cuisine
    batch = log.data.batch
    p = expit(
        logit(log.click) + taste[batch.categorical[:, 1]][np.arange(n)[:, None], batch.ads.categorical[batch.row, 0]]
    )
    rng = np.random.default_rng(seed)
    click = log.data.shown & (rng.random(p.shape) < p)
    conversion = click & (rng.random(p.shape) < log.conversion)
    return Crossed(replace(log.data, click=click, conversion=conversion), p)


@pytest.fixture(scope="module")
def seen(planted) -> Crossed:
    return crossed(planted, 30_000, 1)


@pytest.fixture(scope="module")
def later(planted) -> Crossed:
    return crossed(planted, 8_000, 2)


@pytest.fixture(scope="module")
def fitted(seen) -> dict:
    cache: dict = {}

    def get(name: str):
        if name not in cache:
            cache[name] = fit(seen.data, LINE_UP[name], seed=1, threads=1)
        return cache[name]

    return get


def equal(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@every_one
def test_it_ranks_within_a_hundredth_of_the_true_probabilities(fitted, later, name):
    click, _ = fitted(name).logits(later.data.batch)

    rows, label = later.data.shown, later.data.click
    assert roc_auc_score(label[rows], click[rows]) > roc_auc_score(label[rows], later.click[rows]) - 0.01


@every_one
def test_a_row_does_not_depend_on_its_batch(fitted, later, name):
    batch = later.data.batch.rows(0, 400)
    whole = fitted(name).logits(batch)

    for cuts in ([0, 1, 300, 400], [0, 15, 399, 400]):
        parts = [fitted(name).logits(batch.rows(a, b)) for a, b in pairwise(cuts)]
        assert equal(tuple(np.concatenate(task) for task in zip(*parts, strict=True)), whole)
    order = np.random.default_rng(0).permutation(400)
    assert equal(fitted(name).logits(batch.take(order)), tuple(task[order] for task in whole))


@every_one
def test_a_saved_model_predicts_as_before(fitted, later, schema, tmp_path, name):
    model = calibrated(fitted(name), LINE_UP[name].kind, later.data)
    save_model(model, fitted(name), schema, tmp_path / "model")
    batch = later.data.batch.rows(0, 300)

    before, after = model.predict(batch), load_model(tmp_path / "model").predict(batch)

    assert np.array_equal(before.click, after.click)
    assert np.array_equal(before.conversion, after.conversion)


def bare(batch: Batch) -> Batch:
    """Nothing known of anyone: every category missing, every list empty."""
    nothing = replace(batch.ads, categorical=np.full_like(batch.ads.categorical, -1))
    empty = tuple(np.full_like(values, -1) for values in batch.lists)
    return replace(batch, categorical=np.full_like(batch.categorical, -1), lists=empty, ads=nothing)


@every_one
def test_missing_categories_empty_lists_and_absent_candidates_get_logits_too(fitted, later, name):
    batch = later.data.batch.rows(0, 50)

    for case in (bare(batch), replace(batch, row=np.full_like(batch.row, -1)), batch.rows(0, 0)):
        for scores in fitted(name).logits(case):
            assert scores.shape == (len(case), 3)
            assert np.isfinite(scores).all()


@every_one
def test_a_seed_gives_one_model(seen, later, name):
    data, batch = seen.data.between(0, 20_000), later.data.batch.rows(0, 300)

    first, second = (fit(data, LINE_UP[name], seed=5, threads=1).logits(batch) for _ in range(2))

    assert equal(first, second)
