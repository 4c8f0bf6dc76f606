"""The network: it learns what was planted, and says the same about a row whatever its company."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from models.data import AdTable, Batch
from models.network import Net, Network, NetworkConfig, load_network
from models.train import fit_network

CONFIG = NetworkConfig(kind="network", embedding=16, hidden=(32, 16), epochs=6, batch_requests=128, learning_rate=8e-3)
QUICK = CONFIG.model_copy(update={"epochs": 1})


@pytest.fixture(scope="module")
def model(train) -> Network:
    return fit_network(train.data, CONFIG, seed=1, threads=1)


def equal(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_network_ranks_almost_as_well_as_the_true_probabilities(model, test):
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
        (click, test.data.click, test.data.shown), (conversion, test.data.conversion, test.data.click)
    ):  # fmt: skip
        assert (1 / (1 + np.exp(-logit[rows]))).mean() == pytest.approx(label[rows].mean(), abs=0.03)


def test_the_network_learns_what_a_slot_takes_from_clicks(model, test):
    """The planted logit falls by 0.6 a slot."""
    batch = test.data.batch.rows(0, 1_000)
    one = replace(batch, row=np.maximum(batch.row[:, :1], 0), cross=batch.cross[:, :1])

    by_slot = [model.logits(replace(one, slot=np.array([s], np.int32)))[0].mean() for s in range(3)]

    assert np.diff(by_slot) == pytest.approx([-0.6, -0.6], abs=0.25)


@pytest.mark.parametrize("fast_bf16", [True, False])
@pytest.mark.parametrize(("embedding", "hidden"), [(16, (128, 64)), (16, (32, 16)), (48, (80, 48))])
def test_logits_of_a_row_do_not_depend_on_its_batch_or_on_threads(
    schema, test, embedding, hidden, fast_bf16, monkeypatch
):
    monkeypatch.setattr("models.network.has_fast_bf16", lambda device: fast_bf16)
    config = CONFIG.model_copy(update={"embedding": embedding, "hidden": hidden})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Network(Net(schema, config, 3), config, 3)
    batch = test.data.batch.rows(0, 700)
    whole = model.logits(batch)

    for cuts in ([0, 1, 300, 700], [0, 128, 256, 700], [0, 15, 699, 700]):
        parts = [model.logits(batch.rows(a, b)) for a, b in pairwise(cuts)]
        assert equal(tuple(np.concatenate(task) for task in zip(*parts, strict=True)), whole)
    order = np.random.default_rng(0).permutation(700)
    assert equal(model.logits(batch.take(order)), tuple(task[order] for task in whole))
    torch.set_num_threads(2)  # the fixture puts it back
    assert equal(model.logits(batch), whole)


@pytest.mark.parametrize("setting", [{"embedding": 8}, {"hidden": (100, 64)}])
def test_widths_at_which_a_row_would_depend_on_its_place_are_refused(setting):
    with pytest.raises(ValueError, match="multiple of"):
        NetworkConfig(kind="network", **setting)


def written_out(net: Net, batch: Batch, i: int, j: int) -> np.ndarray:
    """Both logits of one candidate, with one first layer over everything that is known of it."""
    w = {name: value.numpy() for name, value in net.state_dict().items()}

    def line(layer: str, x: np.ndarray) -> np.ndarray:
        return w[f"{layer}.weight"] @ x + w.get(f"{layer}.bias", 0.0)

    def standard(side: str, x: np.ndarray) -> np.ndarray:
        return (x - w[f"{side}_mean"]) * w[f"{side}_scale"]

    def vectors(side: str, categories: np.ndarray) -> list[np.ndarray]:
        return [w[f"{side}_tables.{c}.weight"][1 + value] for c, value in enumerate(categories)]

    stores = [w["ad_tables.1.weight"][1 + store] for store in batch.history[i] if store >= 0]
    mean = np.mean(stores, axis=0) if stores else np.zeros(net.user_vector.out_features)
    ad = batch.row[i, j]
    of_request = np.concatenate((*vectors("request", batch.categorical[i]), mean, standard("request", batch.dense[i])))
    of_ad = np.concatenate((*vectors("ad", batch.ads.categorical[ad]), standard("ad", batch.ads.dense[ad])))
    product = line("user_vector", of_request) * line("ad_vector", of_ad)
    of_pair = np.concatenate((standard("cross", batch.cross[i, j]), product))
    first = line("request_part", of_request) + line("ad_part", of_ad) + line("cross_part", of_pair)
    first += w["slot_part.weight"][batch.slot[j]]
    return line("heads", np.maximum(line("hidden", np.maximum(first, 0)), 0))


def test_logits_are_those_of_the_layers_written_out_for_one_candidate(train, test, monkeypatch):
    monkeypatch.setattr("models.network.has_fast_bf16", lambda device: False)
    model = fit_network(train.data.between(0, 20_000), QUICK, seed=1, threads=1)
    batch = test.data.batch.rows(0, 40)

    logits = np.stack(model.logits(batch), axis=2)

    assert (batch.categorical < 0).any() and (batch.history < 0).any()
    for i, j in zip(*np.nonzero(batch.row >= 0), strict=True):
        assert logits[i, j] == pytest.approx(written_out(model.net, batch, i, j), abs=1e-4)


def test_logits_of_a_candidate_do_not_depend_on_the_others_of_its_request(model, test):
    batch = test.data.batch.rows(0, 700)
    changed = replace(batch, row=np.concatenate((batch.row[:, :2], batch.row[::-1, 2:]), axis=1))

    for before, after in zip(model.logits(batch), model.logits(changed), strict=True):
        assert np.array_equal(before[:, :2], after[:, :2])


def test_a_new_table_of_ads_replaces_the_cached_one(model, test):
    batch = test.data.batch.rows(0, 30)
    before = model.logits(batch)
    doubled = replace(batch, ads=AdTable(categorical=batch.ads.categorical, dense=batch.ads.dense * 2))

    assert not equal(model.logits(doubled), before)
    assert equal(model.logits(batch), before)


def test_a_saved_network_predicts_as_before(model, schema, test, tmp_path):
    model.save(tmp_path)

    assert equal(load_network(tmp_path, schema).logits(test.data.batch), model.logits(test.data.batch))


def bare(batch: Batch) -> Batch:
    """Nothing known of anyone: every category missing, no history."""
    nothing = AdTable(categorical=np.full_like(batch.ads.categorical, -1), dense=batch.ads.dense)
    return replace(
        batch, categorical=np.full_like(batch.categorical, -1), history=np.full_like(batch.history, -1), ads=nothing
    )


def test_missing_categories_and_absent_candidates_get_logits_too(model, test):
    batch = test.data.batch.rows(0, 50)

    for case in (bare(batch), replace(batch, row=np.full_like(batch.row, -1)), batch.rows(0, 0)):
        for logit in model.logits(case):
            assert logit.shape == (len(case), 3)
            assert np.isfinite(logit).all()


def test_free_places_of_a_history_change_nothing(model, test):
    batch = test.data.batch.rows(0, 50)
    longer = np.concatenate((np.full((50, 3), -1, np.int32), batch.history), axis=1)

    for before, after in zip(model.logits(batch), model.logits(replace(batch, history=longer)), strict=True):
        assert after == pytest.approx(before, abs=1e-5)


def test_a_history_enters_as_the_mean_of_its_stores(model, test):
    batch = test.data.batch.rows(0, 50)
    store = np.maximum(batch.history[:, :1], 0)
    once = replace(batch, history=np.hstack((store, np.full((50, 3), -1, np.int32))))
    twice = replace(batch, history=np.hstack((store, store, np.full((50, 2), -1, np.int32))))

    assert equal(model.logits(once), model.logits(twice))
    assert not equal(model.logits(once), model.logits(replace(batch, history=np.full_like(batch.history, -1))))


def test_more_candidates_than_slots_can_be_scored(model, test):
    batch = test.data.batch.rows(0, 20)
    wide = replace(
        batch, row=np.tile(batch.row, (1, 4)), cross=np.tile(batch.cross, (1, 4, 1)), slot=np.zeros(12, np.int32)
    )

    click, conversion = model.logits(wide)

    assert click.shape == conversion.shape == (20, 12)
    assert np.array_equal(click[:, :3], click[:, 9:])
