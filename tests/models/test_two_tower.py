"""Two towers: a dot product of what each side says, and nothing of the pair."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from models.config import TwoTowerConfig
from models.scoring import Network
from models.train import fit_network

CONFIG = TwoTowerConfig(kind="two_tower", tower=(32,), vector=16, epochs=2, batch_requests=128, learning_rate=1e-2)


@pytest.fixture(scope="module")
def model(train) -> Network:
    return fit_network(train.data, CONFIG, seed=1, threads=1)


def test_cross_features_do_not_enter(model, test):
    batch = test.data.batch.rows(0, 200)
    other = replace(batch, cross=batch.cross * -3 + 1)

    for before, after in zip(model.logits(batch), model.logits(other), strict=True):
        assert np.array_equal(before, after)


def test_a_logit_is_the_product_of_two_vectors_with_biases_and_the_slots_effect(model, test):
    """Worked out from the towers' layers in numpy, one candidate at a time."""
    net, batch = model.net, test.data.batch.rows(0, 12)
    w = {name: value.numpy() for name, value in net.state_dict().items()}

    def tower(side: str, x: np.ndarray) -> np.ndarray:
        hidden = np.maximum(w[f"{side}.0.weight"] @ x + w[f"{side}.0.bias"], 0)
        return (w[f"{side}.2.weight"] @ hidden + w[f"{side}.2.bias"]).reshape(2, 17)

    def embedding(column: str, value: int) -> np.ndarray:
        return w["inputs.table.weight"][w["inputs.known"][net.inputs.start[column] + 1 + value]]

    def mean(column: str, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if not len(values):
            return np.zeros(16)
        return np.average([embedding(column, v) for v in values], axis=0, weights=weight[: len(values)])

    def scaled(side: str, x: np.ndarray) -> np.ndarray:
        return (x - w[f"inputs.{side}_mean"]) * w[f"inputs.{side}_scale"]

    logits = np.stack(model.logits(batch), axis=2)
    for i, j in zip(*np.nonzero(batch.row >= 0), strict=True):
        ad, (history, visited) = batch.row[i, j], (values.rows(i, i + 1).values for values in batch.lists)
        of_request = np.concatenate((
            embedding("hour", batch.categorical[i, 0]), embedding("region", batch.categorical[i, 1]),
            scaled("request", batch.dense[i]), mean("store", history, np.ones(9)),
            mean("region", visited, np.exp(w["pools.1.places"])),
        ))  # fmt: skip
        of_ad = np.concatenate((
            embedding("cuisine", batch.ads.categorical[ad, 0]), embedding("store", batch.ads.categorical[ad, 1]),
            scaled("ad", np.concatenate((batch.ads.dense[ad], batch.ads.vector[ad]))),
        ))  # fmt: skip
        user, item = tower("user", of_request), tower("item", of_ad)
        expected = (user[:, :16] * item[:, :16]).sum(axis=1) + user[:, 16] + item[:, 16] + w["slot.weight"][j]
        assert logits[i, j] == pytest.approx(expected, abs=1e-4)


def test_vectors_of_a_side_do_not_depend_on_the_other(model, test):
    """So ads are found by one product: the towers' vectors give the same logits as the scorer."""
    net, batch = model.net, test.data.batch.rows(0, 50)
    ads = [torch.from_numpy(part) for part in (batch.ads.categorical, batch.ads.dense, batch.ads.vector)]
    (item,) = net.ad(*ads)

    assert item.shape == (60, 2 * 18)
    for row in (0, 7):
        (alone,) = net.ad(*(part[row : row + 1] for part in ads))
        assert torch.allclose(alone[0], item[row], atol=1e-5)


def test_it_learns_what_a_user_and_an_ad_are_to_each_other(planted):
    """Users of even hours click stores of even numbers: no side alone says anything."""
    logs = []
    for n, seed in ((6_000, 21), (3_000, 22)):
        data = planted(n, seed).data
        batch = data.batch
        even = (batch.categorical[:, :1] % 2) == (batch.ads.categorical[batch.row, 1] % 2)
        click = data.shown & (np.random.default_rng(seed).random(even.shape) < np.where(even, 0.8, 0.2))
        conversion = click & (np.random.default_rng(seed + 1).random(even.shape) < 0.5)
        logs.append((replace(data, click=click, conversion=conversion), np.where(even, 0.8, 0.2)))
    (data, _), (later, truth) = logs

    click, _ = fit_network(data, CONFIG.model_copy(update={"epochs": 3}), seed=1, threads=1).logits(later.batch)

    best = roc_auc_score(later.click[later.shown], truth[later.shown])
    assert roc_auc_score(later.click[later.shown], click[later.shown]) > best - 0.02


def test_every_task_has_vectors_of_its_own(train, test):
    config = CONFIG.model_copy(update={"tasks": ("conversion", "cart", "click")})
    model = fit_network(train.data, config, seed=1, threads=1)

    click, conversion = model.logits(test.data.batch)

    shown, clicked = test.data.shown, test.data.click
    assert roc_auc_score(test.data.click[shown], click[shown]) > 0.65
    assert roc_auc_score(test.data.conversion[clicked], conversion[clicked]) > 0.65
    assert model.net.slot.weight.shape == (3, 3)


def test_a_candidate_scores_alike_in_any_request_order_and_slot(model, test):
    batch = test.data.batch.rows(0, 100)
    turned = replace(batch, row=batch.row[:, ::-1], cross=batch.cross[:, ::-1], slot=batch.slot[::-1].copy())

    for before, after in zip(model.logits(batch), model.logits(turned), strict=True):
        assert np.array_equal(before[:, ::-1], after)
