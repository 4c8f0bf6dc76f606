"""The network: it learns what was planted, and says the same about a row whatever its company."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from models.config import NetworkConfig
from models.data import AdTable, Batch, Dataset
from models.inputs import Shape
from models.jagged import Jagged
from models.network import Net
from models.schema import Schema
from models.scoring import Network, load_network
from models.sequence.lists import Lists
from models.train import fit_network

CONFIG = NetworkConfig(kind="network", embedding=16, hidden=(32, 16), epochs=6, batch_requests=128, learning_rate=8e-3)
QUICK = CONFIG.model_copy(update={"epochs": 1})
SHAPE = Shape(
    n_slots=3, places=(4, 3), values={"hour": 24, "region": 4, "cuisine": 5, "store": 100}, items={"store": 5}
)


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


def varied(net: Net) -> Net:
    """Places that weigh e times as much as the place after them."""
    with torch.no_grad():
        net.pools[1].places.copy_(-torch.arange(len(net.pools[1].places)))
        net.inputs.known.copy_(torch.arange(len(net.inputs.known)) % len(net.inputs.table.weight))
    return net


@pytest.mark.parametrize("fast_bf16", [True, False])
@pytest.mark.parametrize(("embedding", "hidden"), [(16, (128, 64)), (16, (32, 16)), (48, (80, 48))])
def test_logits_of_a_row_do_not_depend_on_its_batch_or_on_threads(
    schema, test, embedding, hidden, fast_bf16, monkeypatch
):
    monkeypatch.setattr("models.serving.has_fast_bf16", lambda device: fast_bf16)
    config = CONFIG.model_copy(update={"embedding": embedding, "hidden": hidden})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Network(varied(Net(schema, config, SHAPE)), config, SHAPE, [])
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


def embedding(net: Net, column: str, value: int) -> np.ndarray:
    """Of one value of a category; -1 is missing."""
    return net.inputs.table.weight.detach().numpy()[net.inputs.known[net.inputs.start[column] + 1 + value]]


def written_out(net: Net, batch: Batch, i: int, j: int) -> np.ndarray:
    """Both logits of one candidate, with one first layer over everything that is known of it."""
    w = {name: value.numpy() for name, value in net.state_dict().items()}

    def line(layer: str, x: np.ndarray) -> np.ndarray:
        return w[f"{layer}.weight"] @ x + w.get(f"{layer}.bias", 0.0)

    def standard(side: str, x: np.ndarray) -> np.ndarray:
        return (x - w[f"inputs.{side}_mean"]) * w[f"inputs.{side}_scale"]

    def vectors(columns: tuple[str, ...], categories: np.ndarray) -> list[np.ndarray]:
        return [embedding(net, c, value) for c, value in zip(columns, categories, strict=True)]

    def mean(column: str, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if not len(values):
            return np.zeros(net.inputs.width)
        return np.average(vectors([column] * len(values), values), axis=0, weights=weight[: len(values)])

    history, visited = (values.rows(i, i + 1).values for values in batch.lists)
    lists = (
        mean("store", history, np.ones(len(history))),
        mean("region", visited, np.exp(w["pools.1.places"])),
    )
    ad = batch.row[i, j]
    dense = np.concatenate((batch.ads.dense[ad], batch.ads.vector[ad]))
    of_request = np.concatenate(
        (*vectors(("hour", "region"), batch.categorical[i]), standard("request", batch.dense[i]), *lists)
    )
    of_ad = np.concatenate((*vectors(("cuisine", "store"), batch.ads.categorical[ad]), standard("ad", dense)))
    (own, user), (other, vector) = (
        np.split(line(part, x), [net.first]) for part, x in (("request_part", of_request), ("ad_part", of_ad))
    )
    of_pair = np.concatenate((standard("cross", batch.cross[i, j]), user * vector))
    first = own + other + line("cross_part", of_pair)
    first += w["slot_part.weight"][batch.slot[j]]
    linear = first[len(first) - net.linear_width :]
    deep = first[: len(first) - net.linear_width]
    if net.token_width:
        tokens = torch.from_numpy(deep.reshape(1, -1, net.token_width)).float()
        deep = net.crossing(tokens).detach().numpy().ravel()
    else:
        deep = np.maximum(deep, 0)
    for layer in range(len(net.hidden)):
        deep = np.maximum(line(f"hidden.{layer}", deep), 0)
    top = np.concatenate((deep, linear))
    return (w["heads.layers.0.weight"] @ top + w["heads.layers.0.bias"]).ravel()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("crossing", ["none", "dhen"])
def test_logits_are_those_of_the_layers_written_out_for_one_candidate(train, test, monkeypatch, crossing, wide):
    monkeypatch.setattr("models.serving.has_fast_bf16", lambda device: False)
    settings = {"crossing": crossing, "tokens": 4, "token_width": 16, "hidden": (48, 32, 16), "wide": wide}
    config = NetworkConfig.model_validate(QUICK.model_dump() | settings)
    model = fit_network(train.data.between(0, 20_000), config, seed=1, threads=1)
    batch = test.data.batch.rows(0, 40)

    logits = np.stack(model.logits(batch), axis=2)

    assert (batch.categorical < 0).any() and len({*np.diff(batch.lists[1].offsets)}) > 2
    assert model.net.pools[1].places.std() > 0.01
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
    doubled = replace(batch, ads=replace(batch.ads, dense=batch.ads.dense * 2))
    other = replace(batch, ads=replace(batch.ads, vector=batch.ads.vector * 2))

    assert not equal(model.logits(doubled), before)
    assert not equal(model.logits(other), before)
    assert equal(model.logits(batch), before)


def test_a_saved_network_predicts_as_before(model, schema, test, tmp_path):
    model.save(tmp_path)

    assert equal(load_network(tmp_path, schema).logits(test.data.batch), model.logits(test.data.batch))


def bare(batch: Batch) -> Batch:
    """Nothing known of anyone: every category missing, every list empty."""
    nothing = replace(batch.ads, categorical=np.full_like(batch.ads.categorical, -1))
    empty = tuple(Jagged.packed(np.full((len(batch), 1), -1)) for _ in batch.lists)
    return replace(batch, categorical=np.full_like(batch.categorical, -1), lists=empty, ads=nothing)


def test_missing_categories_and_absent_candidates_get_logits_too(model, test):
    batch = test.data.batch.rows(0, 50)

    for case in (bare(batch), replace(batch, row=np.full_like(batch.row, -1)), batch.rows(0, 0)):
        for logit in model.logits(case):
            assert logit.shape == (len(case), 3)
            assert np.isfinite(logit).all()


def with_history(batch: Batch, history: np.ndarray) -> Batch:
    return replace(batch, lists=(Jagged.packed(history), batch.lists[1]))


def with_visited(batch: Batch, visited: np.ndarray) -> Batch:
    return replace(batch, lists=(batch.lists[0], Jagged.packed(visited)))


def test_an_unordered_list_enters_as_the_mean_of_its_values(model, test):
    batch = test.data.batch.rows(0, 50)
    store = np.maximum(batch.lists[0].padded(1), 0)
    once = with_history(batch, np.hstack((store, np.full((50, 3), -1, np.int32))))
    twice = with_history(batch, np.hstack((store, store, np.full((50, 2), -1, np.int32))))
    none = with_history(batch, np.full((50, 1), -1, np.int32))

    assert equal(model.logits(once), model.logits(twice))
    assert not equal(model.logits(once), model.logits(none))


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        ([2, 0, 3], [1 / 6, 3 / 6, 2 / 6]),
        ([1, 0], [1 / 4, 3 / 4]),
        ([2], [1]),
        ([2, 0, 3, 1], [1 / 6, 3 / 6, 2 / 6, 0]),
        ([], []),
    ],
)
def test_an_ordered_list_enters_as_the_mean_by_the_weights_of_its_places(schema, values, weights):
    """Places weigh 1 : 3 : 2; the request's part is made to be the pooled embedding."""
    net, d = varied(Net(schema, CONFIG, SHAPE)), CONFIG.embedding
    with torch.no_grad():
        net.pools[1].places.copy_(torch.tensor([1.0, 3.0, 2.0]).log() - 5)
        net.request_part.weight.zero_()[:d, -d:] = torch.eye(d)
        net.request_part.bias.zero_()
        offsets = torch.tensor([0, len(values)])
        lists = [Lists.of(torch.tensor([5]), torch.tensor([0, 1]), 4), Lists.of(torch.tensor(values).int(), offsets, 3)]
        (part,), _ = net.request(torch.tensor([[1, 1]]).int(), torch.zeros(1, 1), lists)

    expected = sum(
        (weight * embedding(net, "region", v) for v, weight in zip(values, weights, strict=True)), np.zeros(d)
    )
    assert part[0, :d].numpy() == pytest.approx(expected, abs=1e-6)


def test_a_list_of_values_of_no_category_is_refused(schema, train):
    *others, visited = schema.tables["requests"]
    tables = schema.tables | {"requests": (*others, replace(visited, values_of="user_clicks"))}

    with pytest.raises(ValueError, match="list visited holds values of user_clicks, which is no category"):
        fit_network(replace(train.data, schema=Schema(tables=tables)), CONFIG, seed=1, threads=1)


def recency(data: Dataset, rng: np.random.Generator) -> tuple[Dataset, np.ndarray]:
    """Clicks at 0.9 where the region visited last is 0 or 1, else at 0.1; and a list in which that place is any."""
    n, places = len(data.batch), 12
    visited = rng.integers(4, size=(n, places)).astype(np.int32)
    visited[np.arange(places) >= rng.integers(1, places + 1, size=(n, 1))] = -1
    click = data.shown & (rng.random(data.click.shape) < np.where(visited[:, :1] < 2, 0.9, 0.1))
    data = replace(data, batch=with_visited(data.batch, visited), click=click)
    return replace(data, conversion=click & (rng.random(click.shape) < 0.5)), rng.permuted(visited, axis=1)


@pytest.fixture(scope="module")
def recent(train, test) -> tuple[Network, float, float, Batch]:
    """A network that saw the order, its AUC, that of one that saw the places shuffled, and the batch of the test."""
    rng = np.random.default_rng(3)
    (data, shuffled), (later, later_shuffled) = recency(train.data, rng), recency(test.data, rng)

    def fitted(seen: np.ndarray, tested: np.ndarray) -> tuple[Network, float]:
        model = fit_network(replace(data, batch=with_visited(data.batch, seen)), CONFIG, seed=1, threads=1)
        click, _ = model.logits(with_visited(later.batch, tested))
        return model, roc_auc_score(later.click[later.shown], click[later.shown])

    model, auc = fitted(data.batch.lists[1].padded(), later.batch.lists[1].padded())
    return model, auc, fitted(shuffled, later_shuffled)[1], later.batch


def test_the_network_learns_what_depends_on_the_last_thing_done_only(recent):
    """A forecast that knows the first place is right for 0.81 of the pairs and ties on 0.18: an AUC of 0.9."""
    model, auc, shuffled, _ = recent

    assert auc > 0.88
    assert shuffled < auc - 0.1
    weight = torch.softmax(model.net.pools[1].places, 0)
    assert weight[0] > 3 * weight[1:].max()


def test_the_order_matters_in_an_ordered_list_only(recent):
    model, _, _, batch = recent
    batch = batch.rows(0, 200)
    back = with_history(batch, batch.lists[0].padded()[:, ::-1])
    full = np.maximum(batch.lists[1].padded(), 0)
    forward, turned = with_visited(batch, full), with_visited(batch, full[:, ::-1])

    for before, after in zip(model.logits(batch), model.logits(back), strict=True):
        assert after == pytest.approx(before, abs=1e-5)
    assert np.abs(model.logits(turned)[0] - model.logits(forward)[0]).mean() > 0.5


def test_an_ordered_list_is_cut_to_the_longest_that_was_seen_in_training(recent, schema, tmp_path):
    model, _, _, batch = recent
    full = np.maximum(batch.lists[1].padded(12), 0)
    longer = with_visited(batch, np.hstack((full, np.full((len(batch), 2), 3, np.int32))))
    model.save(tmp_path)

    assert equal(load_network(tmp_path, schema).logits(longer), model.logits(with_visited(batch, full)))


def test_places_that_no_list_filled_in_training_have_no_weight(train):
    data = train.data.between(0, 5_000)
    some = data.batch.lists[1].padded(9)

    for visited, length in ((some, 3), (np.full_like(some, -1), 1)):
        model = fit_network(replace(data, batch=with_visited(data.batch, visited)), QUICK, seed=1, threads=1)
        assert len(model.net.pools[1].places) == length
        assert all(np.isfinite(logit).all() for logit in model.logits(data.batch))


def described(data: Dataset, stores: np.ndarray, content: np.ndarray, rng: np.random.Generator) -> Dataset:
    """Ads of `stores` alone, clicked at 0.9 where the store's second content number is above 0, else at 0.1."""
    ads = AdTable(
        categorical=np.stack((np.zeros_like(stores), stores), axis=1).astype(np.int32),
        dense=np.zeros((len(stores), 2), np.float32),
        vector=content[stores],
    )
    row = rng.integers(len(stores), size=data.batch.row.shape).astype(np.int32)
    click = rng.random(row.shape) < np.where(ads.vector[row, 1] > 0, 0.9, 0.1)
    batch = replace(data.batch, ads=ads, row=row)
    return replace(data, batch=batch, click=click, conversion=click & (rng.random(click.shape) < 0.5))


def test_what_depends_on_content_carries_over_to_stores_never_seen(train, test):
    rng = np.random.default_rng(4)
    content = rng.normal(size=(100, 5)).astype(np.float32)
    data, new = (
        described(log, stores, content, rng)
        for log, stores in ((train.data, np.arange(80)), (test.data, np.arange(80, 100)))
    )
    model = fit_network(data, CONFIG, seed=1, threads=1)

    def auc(batch: Batch) -> float:
        return roc_auc_score(new.click.ravel(), model.logits(batch)[0].ravel())

    assert auc(new.batch) > 0.8
    unknown = replace(new.batch.ads, vector=np.zeros_like(new.batch.ads.vector))
    assert auc(replace(new.batch, ads=unknown)) < 0.65


def test_more_candidates_than_slots_can_be_scored(model, test):
    batch = test.data.batch.rows(0, 20)
    wide = replace(
        batch, row=np.tile(batch.row, (1, 4)), cross=np.tile(batch.cross, (1, 4, 1)), slot=np.zeros(12, np.int32)
    )

    click, conversion = model.logits(wide)

    assert click.shape == conversion.shape == (20, 12)
    assert np.array_equal(click[:, :3], click[:, 9:])
