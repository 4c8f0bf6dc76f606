"""Rows of the embedding table by value, scaled numbers and content vectors, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.config import NetworkConfig
from models.data import Dataset
from models.inputs import Inputs, Shape, features
from models.jagged import Jagged
from models.schema import Schema, Side
from models.sequence.lists import Lists
from models.statistics import statistics_of, vocabulary
from models.train import fit_network

CONFIG = NetworkConfig(kind="network", hidden=(16,), batch_requests=64)


def of(log: Dataset, **settings) -> Inputs:
    config = CONFIG.model_copy(update=settings)
    statistics = statistics_of(log, config)
    values = {c: len(vocabulary(n, config.vocabulary, config.least_count)) for c, n in statistics.counts.items()}
    shape = Shape(3, statistics.longest, values, {name: v.shape[1] for name, v in statistics.items.items()})
    with torch.random.fork_rng():
        inputs = Inputs(log.schema, config, shape)
    inputs.learn(statistics, config)
    return inputs.eval()


def hours(data: Dataset, values: list[int]) -> Dataset:
    """The log with these hours, in turn."""
    categorical = data.batch.categorical.copy()
    categorical[:, 0] = np.resize(values, len(categorical))
    return replace(data, batch=replace(data.batch, categorical=categorical))


@pytest.fixture(scope="module")
def data(planted) -> Dataset:
    return planted(400, 5).data


def embedded(inputs: Inputs, hour: list[int]) -> torch.Tensor:
    """Embeddings of hours."""
    n = len(hour)
    categorical = torch.tensor([hour, [0] * n], dtype=torch.int32).T
    empty = [Lists.of(torch.zeros(0, dtype=torch.int32), torch.zeros(n + 1, dtype=torch.int64), 3) for _ in range(2)]
    with torch.no_grad():
        own, _ = inputs.request(categorical, torch.zeros(n, 1), empty)
    return own[:, : inputs.width]


def test_values_have_the_rows_that_they_should(data):
    """Hours were seen: 7 four times in ten, 3 three times, 20 twice, 5 once; of 400 requests."""
    inputs = of(hours(data, [7, 7, 7, 7, 3, 3, 3, 20, 20, 5]), least_count=50)
    start = inputs.start["hour"]

    rows = inputs.known[start : start + 26].tolist()

    assert rows == [0, *[{7: 2, 3: 3, 20: 4}.get(hour, 1) for hour in range(24)], 1]
    assert inputs.first_row["region"] == 5
    assert len(inputs.table.weight) == int(inputs.known.max()) + 1


def test_missing_unknown_and_known_values_have_embeddings_of_their_own(data):
    inputs = of(hours(data, [7, 7, 3, 3, 3, -1]))
    missing, seven, three, unseen, other, beyond, far = embedded(inputs, [-1, 7, 3, 0, 23, 24, 2**31 - 1])

    distinct = [missing, seven, three, unseen]
    assert len({tuple(vector.tolist()) for vector in distinct}) == 4
    for vector in (other, beyond, far):
        assert torch.equal(vector, unseen)
    weight = inputs.table.weight
    assert torch.equal(missing, weight[0]) and torch.equal(unseen, weight[1])


def test_the_vocabulary_is_cut_to_the_commonest(data):
    inputs = of(hours(data, [7, 7, 7, 3, 3, 5]), vocabulary=2)
    seven, three, five, unseen = embedded(inputs, [7, 3, 5, 0])

    assert torch.equal(five, unseen)
    assert not torch.equal(seven, unseen) and not torch.equal(three, unseen)


def test_values_of_a_list_have_the_rows_of_their_category_even_beyond_its_cardinality(data):
    inputs = of(data)
    offsets = torch.tensor([0, 4])
    lists = [
        Lists.of(torch.tensor([3, 99, 100, 5_000]).int(), offsets, 4), Lists.of(torch.tensor([2, 0, 4, 9]).int(), offsets, 4)
    ]  # fmt: skip
    with torch.no_grad():
        _, (stores, regions) = inputs.request(torch.tensor([[0, 2]]).int(), torch.zeros(1, 1), lists)
        own, _ = inputs.request(torch.tensor([[0, 2]]).int(), torch.zeros(1, 1), lists)
        _, ad = inputs.ad(torch.tensor([[0, 3]]).int(), torch.zeros(1, 2), torch.zeros(1, 5))
    unknown = inputs.table.weight[inputs.first_row["store"] + 1]

    assert torch.equal(stores[0], ad[0, 1])
    assert torch.equal(stores[2], unknown) and torch.equal(stores[3], unknown)
    assert torch.equal(regions[0], own[0, inputs.width : 2 * inputs.width])
    assert torch.equal(regions[2], regions[3])
    assert torch.equal(regions[2], inputs.table.weight[inputs.first_row["region"] + 1])


def test_a_missing_category_of_an_ad_is_not_an_unknown_one(data):
    inputs = of(data)
    with torch.no_grad():
        _, ad = inputs.ad(torch.tensor([[-1, -1], [0, 100], [1, 101]]).int(), torch.zeros(3, 2), torch.zeros(3, 5))

    assert torch.equal(ad[0, 0], inputs.table.weight[inputs.first_row["cuisine"]])
    assert torch.equal(ad[0, 1], inputs.table.weight[inputs.first_row["store"]])
    assert torch.equal(ad[1, 1], ad[2, 1]) and not torch.equal(ad[0, 1], ad[1, 1])


def small(data: Dataset) -> Dataset:
    """Known orders are 1, 3 and 8, each as often; what users clicked is e - 1 and 1 - e; CTRs of ads are all 7."""
    batch = data.batch
    clicks = np.resize(np.array([np.e - 1, 1 - np.e], np.float32), (len(batch), 1))
    cross = np.resize(np.array([1, 3, 8], np.float32), batch.cross.shape)
    ads = replace(batch.ads, dense=batch.ads.dense * 0 + np.float32(7))
    return replace(data, batch=replace(batch, dense=clicks, cross=cross, ads=ads, row=np.abs(batch.row)))


@pytest.mark.parametrize(
    ("scaling", "values", "scaled"),
    [
        ("standard", [1, 3, 8, 4], [-3 / 26**0.5 * 3**0.5, -1 / 26**0.5 * 3**0.5, 4 / 26**0.5 * 3**0.5, 0]),
        ("min_max", [1, 3, 8, 4, 15, -6], [0, 2 / 7, 1, 3 / 7, 2, -1]),
    ],
)
def test_numbers_are_scaled_by_hand(data, scaling, values, scaled):
    inputs = of(small(data), scaling=scaling)

    out = inputs.scaled(Side.CROSS, torch.tensor([values], dtype=torch.float32).T)[:, 0]

    assert out.tolist() == pytest.approx(scaled, abs=1e-5)


def test_a_logarithm_is_standardised_after_it_is_taken_and_keeps_the_sign(data):
    inputs = of(small(data), scalings={"user_clicks": "log"})
    x = torch.tensor([[np.e - 1], [1 - np.e], [0.0], [np.e**2 - 1]], dtype=torch.float32)

    assert inputs.scaled(Side.REQUEST, x)[:, 0].tolist() == pytest.approx([1, -1, 0, 2], abs=1e-5)
    # another column keeps the plain scaling
    assert inputs.scaled(Side.CROSS, torch.tensor([[4.0], [8.0]]))[:, 0].tolist() == pytest.approx(
        [0, 4 * (3 / 26) ** 0.5]
    )


@pytest.mark.parametrize("scaling", ["standard", "min_max", "log"])
def test_a_number_that_never_varies_becomes_zero(data, scaling):
    inputs = of(small(data), scaling=scaling)

    out = inputs.scaled(Side.AD, torch.cat([torch.full((2, 2), 7.0), torch.zeros(2, 5)], dim=1))

    assert out[:, :2].abs().max() < 1e-6
    assert out.isfinite().all()


def test_one_column_may_be_scaled_apart_from_the_others(data):
    batch = data.batch
    inputs = of(data, scalings={"ad_cvr": "min_max"})
    shown = batch.ads.dense[batch.row[data.shown]]

    low, high = shown[:, 1].min(), shown[:, 1].max()
    x = torch.from_numpy(np.array([[shown[:, 0].mean(), low], [shown[:, 0].mean(), high]], np.float32))
    assert inputs.scaled(Side.AD, torch.cat([x, torch.zeros(2, 5)], dim=1))[:, :2].numpy() == pytest.approx(
        np.array([[0, 0], [0, 1]]), abs=1e-5
    )


def test_content_vectors_are_standardised_over_the_items_there_are(data):
    items = data.items["store"].copy()
    items[80:] = 0  # no such stores
    inputs = of(replace(data, items={"store": items}))

    vectors = inputs.vectors("store", torch.tensor([*range(80), 80, 99, 100, 7_000]))

    expected = (items[:80] - items[:80].mean(axis=0)) / items[:80].std(axis=0)
    assert vectors[:80].numpy() == pytest.approx(expected, abs=1e-5)
    assert not vectors[80:].any()


def test_features_are_named_in_the_order_of_the_schema(schema):
    assert [name for name, *_ in features(schema)] == [
        "hour", "region", "user_clicks", "history", "visited", "cuisine", "store", "ad_ctr", "ad_cvr", "known_orders", "text",
        "visual",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changed", [{"name": "weekday"}, {"cardinality": 25}, {"kind": "dense"}, {"side": "ad"}, {"values_of": "region"}]
)
def test_features_tell_schemas_apart(schema, changed):
    request, time, hour, *others = schema.tables["requests"]
    other = Schema(tables=schema.tables | {"requests": (request, time, replace(hour, **changed), *others)})

    assert features(other) != features(schema)


def test_an_unseen_value_scores_as_the_rare_ones_which_are_trained(data, planted):
    """Rare hours are clicked and others are not: so is an hour that was never seen."""
    log = hours(planted(3_000, 6).data, [1] * 15 + [2] * 14 + [-1])
    rare = np.arange(3_000) % 50 == 0
    categorical = log.batch.categorical.copy()
    categorical[rare, 0] = 3 + np.arange(rare.sum()) % 15  # four of each
    click = log.shown & (np.random.default_rng(0).random(log.click.shape) < np.where(rare, 0.95, 0.1)[:, None])
    log = replace(
        log, batch=replace(log.batch, categorical=categorical), click=click, conversion=click & log.conversion
    )
    log = replace(log, conversion=click & (np.random.default_rng(1).random(click.shape) < 0.5))
    config = CONFIG.model_copy(update={"least_count": 5, "epochs": 3})

    model = fit_network(log, config, seed=1, threads=1)

    def clicks(hour: int) -> np.ndarray:
        batch = log.batch.rows(0, 200)
        own = batch.categorical.copy()
        own[:, 0] = hour
        return model.logits(replace(batch, categorical=own))[0]

    unseen = clicks(20)
    for hour in (3, 17, 23, 24, 1_000):
        assert np.array_equal(clicks(hour), unseen)
    assert 1 / (1 + np.exp(-unseen.mean())) > 0.6
    assert 1 / (1 + np.exp(-clicks(1).mean())) < 0.2
    assert not np.array_equal(clicks(-1), unseen)


def test_what_was_learned_of_the_log_travels_with_the_weights(data, schema):
    """A layer made for the same sizes, with nothing but the state, takes everything in alike."""
    settings = {"scaling": "min_max", "scalings": {"user_clicks": "log"}, "least_count": 3, "vocabulary": 20}
    inputs = of(data, **settings)
    shape = Shape(3, inputs.places, {c: _values(inputs, c) for c in inputs.cardinality}, {"store": 5})
    with torch.random.fork_rng():
        other = Inputs(schema, CONFIG.model_copy(update=settings), shape)
    other.load_state_dict(inputs.state_dict())
    batch = data.batch
    lists = [
        Lists.of(torch.from_numpy(v.values), torch.from_numpy(v.offsets), places)
        for v, places in zip(batch.lists, inputs.places, strict=True)
    ]
    ads = [torch.from_numpy(part) for part in (batch.ads.categorical, batch.ads.dense, batch.ads.vector)]

    with torch.no_grad():
        for one, two in (
            (inputs.request(torch.from_numpy(batch.categorical), torch.from_numpy(batch.dense), lists), other.request(
                torch.from_numpy(batch.categorical), torch.from_numpy(batch.dense), lists)),
            (inputs.ad(*ads), other.eval().ad(*ads)),
        ):  # fmt: skip
            assert torch.equal(one[0], two[0])
        cross = torch.from_numpy(batch.cross)
        assert torch.equal(inputs.scaled(Side.CROSS, cross), other.scaled(Side.CROSS, cross))
        every = torch.arange(101)
        assert torch.equal(inputs.vectors("store", every), other.vectors("store", every))


def _values(inputs: Inputs, column: str) -> int:
    start = inputs.start[column]
    return int(inputs.known[start : start + inputs.cardinality[column] + 2].max()) - inputs.first_row[column] - 1


def test_an_empty_batch_has_inputs_too(data):
    inputs = of(data)
    empty = Jagged.packed(np.empty((0, 1)))
    lists = [Lists.of(torch.from_numpy(empty.values), torch.from_numpy(empty.offsets), 3) for _ in range(2)]

    own, events = inputs.request(torch.zeros(0, 2, dtype=torch.int32), torch.zeros(0, 1), lists)

    assert own.shape == (0, inputs.request_width)
    assert [tuple(e.shape) for e in events] == [(0, inputs.width)] * 2
