"""Gradient-boosted trees: they learn what was planted, and say the same about a row whatever its company."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.gbdt import GbdtConfig, fit_gbdt, load_gbdt, matrix

CONFIG = GbdtConfig(kind="lightgbm", trees=60, leaves=8, min_rows_per_leaf=40)


@pytest.fixture(scope="module")
def model(train):
    return fit_gbdt(train.data, CONFIG, seed=1, threads=1)


def equal(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_trees_rank_almost_as_well_as_the_true_probabilities(model, test):
    click, conversion = model.logits(test.data.batch)

    for logit, truth, label, rows in (
        (click, test.click, test.data.click, test.data.shown),
        (conversion, test.conversion, test.data.conversion, test.data.click),
    ):
        best = roc_auc_score(label[rows], truth[rows])
        assert best > 0.75
        assert roc_auc_score(label[rows], logit[rows]) > best - 0.02


def test_logits_are_those_of_probabilities(model, test):
    click, conversion = model.logits(test.data.batch)

    for logit, label, rows in (
        (click, test.data.click, test.data.shown),
        (conversion, test.data.conversion, test.data.click),
    ):
        assert (1 / (1 + np.exp(-logit[rows]))).mean() == pytest.approx(label[rows].mean(), abs=0.03)


def test_what_lies_under_an_empty_slot_teaches_nothing(train, test):
    batch = train.data.batch
    other = replace(batch, cross=np.where((batch.row < 0)[:, :, None], np.float32(50), batch.cross))

    first, second = (
        fit_gbdt(replace(train.data, batch=b), CONFIG, seed=1, threads=1).logits(test.data.batch)
        for b in (batch, other)
    )

    assert equal(first, second)


def test_logits_of_a_row_do_not_depend_on_its_batch(model, test):
    whole = model.logits(test.data.batch)

    parts = [model.logits(test.data.batch.rows(a, b)) for a, b in ((0, 1), (1, 700), (700, 4_000))]
    order = np.random.default_rng(0).permutation(4_000)

    assert equal(tuple(np.concatenate(task) for task in zip(*parts, strict=True)), whole)
    assert equal(model.logits(test.data.batch.take(order)), tuple(task[order] for task in whole))


def test_a_seed_gives_one_model(train, test):
    first, second = (fit_gbdt(train.data, CONFIG, seed=5, threads=1).logits(test.data.batch) for _ in range(2))

    assert equal(first, second)


def test_a_saved_model_predicts_as_before(model, schema, test, tmp_path):
    model.save(tmp_path)

    assert equal(load_gbdt(tmp_path, schema).logits(test.data.batch), model.logits(test.data.batch))


def test_missing_categories_and_absent_candidates_get_logits_too(model, test):
    batch = test.data.batch.rows(0, 50)
    nothing = replace(batch.ads, categorical=np.full_like(batch.ads.categorical, -1))
    bare = replace(batch, categorical=np.full_like(batch.categorical, -1), ads=nothing)

    for case in (bare, replace(batch, row=np.full_like(batch.row, -1))):
        for logit in model.logits(case):
            assert logit.shape == (50, 3)
            assert np.isfinite(logit).all()


@pytest.mark.parametrize(("task", "value"), [("click", False), ("click", True), ("conversion", False)])
def test_labels_of_one_class_are_refused(train, task, value):
    data = replace(train.data, **{task: np.full_like(train.data.click, value)})

    with pytest.raises(ValueError, match=rf"cannot learn {task}s: \d+ of \d+ rows are positive"):
        fit_gbdt(data, CONFIG, seed=1, threads=1)


def test_the_matrix_holds_request_ad_pair_and_slot_side_by_side(test):
    batch = test.data.batch.rows(0, 40)

    x = matrix(batch, np.array([0], np.int32)).reshape(40, 3, -1)

    for i in range(40):
        for j in range(3):
            ad = batch.row[i, j]
            expected = [
                *batch.categorical[i], *batch.dense[i], batch.ads.categorical[ad, 0], *batch.ads.dense[ad],
                *batch.cross[i, j], j,
            ]  # fmt: skip
            assert x[i, j].tolist() == (expected if ad >= 0 else [0.0] * len(expected))


def test_a_category_with_many_values_is_left_out(model):
    assert model.ad_categories.tolist() == [0]
