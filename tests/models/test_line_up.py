"""What every predictor must do, whatever it is made of."""

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from models.config import LINE_UP, GbdtConfig, NetworkConfig, TwoTowerConfig
from models.data import Batch, Dataset
from models.jagged import Jagged
from models.predictor import calibrated, fit, load_model, save_model

SMALL = {
    GbdtConfig: {"trees": 120, "leaves": 8, "min_rows_per_leaf": 40},
    NetworkConfig: {
        "tokens": 4, "token_width": 16, "hidden": (32, 16), "epochs": 2, "batch_requests": 256, "learning_rate": 1e-2,
    },
    TwoTowerConfig: {"tower": (32,), "vector": 16, "epochs": 2, "batch_requests": 256, "learning_rate": 1e-2},
}  # fmt: skip
VARIANTS = {
    "dhen, wide": LINE_UP["dhen"].model_copy(update={"wide": True}),
    "every task": LINE_UP["mlp"].model_copy(update={"tasks": ("click", "conversion", "cart", "organic")}),
    "log and min_max": LINE_UP["mlp"].model_copy(update={"scaling": "min_max", "scalings": {"ad_ctr": "log"}}),
    "half of the negatives": LINE_UP["mlp"].model_copy(update={"negatives_kept": 0.5}),
}
EVERY = {name: config.model_copy(update=SMALL[type(config)]) for name, config in (LINE_UP | VARIANTS).items()}
OF_CROSS = 0.9  # what the planted logit of a click has of the cross feature
every_one = pytest.mark.parametrize("name", EVERY)


class Crossed(NamedTuple):
    """Data whose clicks depend on what region and cuisine are to each other, and the probabilities behind."""

    data: Dataset
    click: np.ndarray  # (n, slots)
    unpaired: np.ndarray  # (n, slots) for who knows all but the cross feature: the mean over it, a standard normal

    def best(self, config) -> np.ndarray:
        """The probabilities of who knows what the config's predictor sees."""
        return self.unpaired if isinstance(config, TwoTowerConfig) else self.click


def crossed(planted, n: int, seed: int) -> Crossed:
    log = planted(n, seed)
    taste = np.random.default_rng(9).normal(scale=0.8, size=(5, 5))  # region, the missing one last, by cuisine
    batch = log.data.batch
    rest = logit(log.click) - OF_CROSS * batch.cross[:, :, 0]
    rest += taste[batch.categorical[:, 1]][np.arange(n)[:, None], batch.ads.categorical[batch.row, 0]]
    p = expit(rest + OF_CROSS * batch.cross[:, :, 0])
    node, weight = np.polynomial.hermite_e.hermegauss(20)
    unpaired = expit(rest[:, :, None] + OF_CROSS * node) @ (weight / weight.sum())
    rng = np.random.default_rng(seed)
    click = log.data.shown & (rng.random(p.shape) < p)
    conversion = click & (rng.random(p.shape) < log.conversion)
    return Crossed(replace(log.data, click=click, conversion=conversion), p, unpaired)


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
            cache[name] = fit(seen.data, EVERY[name], seed=1, threads=1)
        return cache[name]

    return get


def equal(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@every_one
def test_it_ranks_within_a_hundredth_of_the_best_that_knows_what_it_sees(fitted, later, name):
    click, _ = fitted(name).logits(later.data.batch)

    rows, label = later.data.shown, later.data.click
    best = later.best(EVERY[name])
    assert roc_auc_score(label[rows], click[rows]) > roc_auc_score(label[rows], best[rows]) - 0.01


def test_the_best_without_the_cross_feature_is_calibrated_and_ranks_worse(later):
    rows, label = later.data.shown, later.data.click
    error = np.sqrt(np.mean(later.unpaired * (1 - later.unpaired)) / rows.sum())

    assert abs(later.unpaired[rows].mean() - label[rows].mean()) < 4 * error
    assert roc_auc_score(label[rows], later.unpaired[rows]) < roc_auc_score(label[rows], later.click[rows]) - 0.02


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
    model, _ = calibrated(fitted(name), EVERY[name], later.data)
    save_model(model, fitted(name), schema, tmp_path / "model")
    batch = later.data.batch.rows(0, 300)

    before, after = model.predict(batch), load_model(tmp_path / "model").predict(batch)

    assert np.array_equal(before.click, after.click)
    assert np.array_equal(before.conversion, after.conversion)


def bare(batch: Batch) -> Batch:
    """Nothing known of anyone: every category missing, every list empty."""
    nothing = replace(batch.ads, categorical=np.full_like(batch.ads.categorical, -1))
    empty = tuple(Jagged.packed(np.full((len(batch), 1), -1)) for _ in batch.lists)
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
    data, batch = seen.data.between(0, 6_000), later.data.batch.rows(0, 100)  # three steps an epoch

    first, second = (fit(data, EVERY[name], seed=5, threads=1).logits(batch) for _ in range(2))

    assert equal(first, second)
