"""Importance of features: what is planted comes first, what is not used is worth nothing, retraining judges the rankings."""

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.attribution import integrated_gradients, obstacle
from models.config import LINE_UP, GbdtConfig, LastConfig, MeanConfig, NetworkConfig, VectorsConfig
from models.data import Batch
from models.errors import Unusable
from models.importance import ablation, evaluated, features_of, permutation, ranked, values_of, with_values
from models.jagged import Jagged
from models.predictor import fit
from models.schema import Column, Kind, Schema, Side
from models.subset import Subset, kept_auc, restricted, restricted_config

PLANTED = {
    "click": {"user_clicks", "ad_ctr", "known_orders", "slot", "cuisine"},
    "conversion": {"ad_cvr", "known_orders"},
}
NOISE = ("hour", "region", "history", "visited")  # drawn apart from all else
NAMES = (
    "hour", "region", "user_clicks", "history", "visited", "cuisine", "store", "ad_ctr", "ad_cvr", "known_orders", "text",
    "visual", "slot",
)  # fmt: skip
GBDT = GbdtConfig(kind="lightgbm", trees=40, leaves=8)
SMALL = {
    "hidden": (32, 16), "tokens": 4, "token_width": 16, "epochs": 2, "batch_requests": 256, "serving": "float32",
}  # fmt: skip
MLP = LINE_UP["mlp"].model_copy(update=SMALL)
EVERY_POOL = MLP.model_copy(update={"sequences": (MeanConfig(), LastConfig(events=2), VectorsConfig())})
both = pytest.mark.parametrize("config", [GBDT, MLP], ids=lambda config: config.kind)
each_task = pytest.mark.parametrize("task", PLANTED)


@pytest.fixture(scope="module")
def fitted(train):
    cache: dict = {}

    def get(config):
        key = config.model_dump_json()
        if key not in cache:
            cache[key] = fit(train.data, config, seed=1, threads=1)
        return cache[key]

    return get


class Reads(NamedTuple):
    """A predictor whose logits are those of one feature alone."""

    name: str
    device: str = "cpu"

    def logits(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """(n, k) twice."""
        shape, ads, at = batch.row.shape, batch.ads, batch.row.clip(0)
        lists = [np.array([part.sum() for part in np.split(v.values, v.offsets[1:-1])]) for v in batch.lists]
        value = {
            "hour": batch.categorical[:, :1], "region": batch.categorical[:, 1:], "user_clicks": batch.dense,
            "history": lists[0][:, None], "visited": lists[1][:, None], "cuisine": ads.categorical[at, 0],
            "store": ads.categorical[at, 1], "ad_ctr": ads.dense[at, 0], "ad_cvr": ads.dense[at, 1],
            "known_orders": batch.cross[:, :, 0], "text": ads.vector[at, :3].sum(axis=2),
            "visual": ads.vector[at, 3:].sum(axis=2), "slot": batch.slot,
        }[self.name]  # fmt: skip
        out = np.broadcast_to(value, shape).astype(np.float32)
        return out, out


def explained(name: str, log):
    """The log with clicks where the feature is above its median, so that `Reads` ranks without a fault."""
    value, _ = Reads(name).logits(log.batch)
    return replace(log, click=log.shown & (value > np.median(value[log.shown])))


def aucs(losses: dict) -> dict[str, float]:
    return {name: loss.auc for name, loss in losses.items()}


def first(importance: dict[str, float], n: int) -> set[str]:
    return set(sorted(importance, key=importance.__getitem__)[-n:])


def test_every_feature_of_the_schema_counts_and_the_slot(schema):
    assert tuple(c.name for c in features_of(schema)) == NAMES


def test_two_features_of_one_name_are_refused():
    column = Column(name="hour", kind=Kind.DENSE, dtype="float32", side=Side.REQUEST)
    twice = Schema(tables={"requests": (column,), "impressions": (replace(column, side=Side.AD),)})

    with pytest.raises(Unusable, match="two features are called hour"):
        features_of(twice)


@pytest.mark.parametrize("name", NAMES)
def test_a_predictor_that_reads_one_feature_loses_by_that_one_alone(test, name):
    data = evaluated(explained(name, test.data), "click")
    ways = permutation(Reads(name), data, seed=3), ablation(Reads(name), data)

    for losses in ways:
        assert {other for other, loss in losses.items() if loss != (0, 0)} == {name}
        assert 0.45 < losses[name].auc < 0.55
    assert ways[1][name].auc == pytest.approx(0.5, abs=1e-9)  # what is missing is the same everywhere


@pytest.mark.parametrize("name", [name for name in NAMES if name != "slot"])
def test_shuffled_values_are_the_same_values_in_another_order(test, schema, name):
    data = evaluated(test.data, "click")
    feature = next(c for c in features_of(schema) if c.name == name)
    values = values_of(data, feature)
    order = np.random.default_rng(0).permutation(len(values))
    other = values.take(order) if isinstance(values, Jagged) else values[order]

    got = values_of(replace(data, batch=with_values(data, feature, other)), feature)

    if isinstance(values, Jagged):
        got, values = got.padded(9), values.padded(9)
    assert np.array_equal(got, values[order])
    assert not np.array_equal(got, values)


def test_the_loss_of_a_shuffle_is_that_worked_out_by_hand(fitted, test):
    data = evaluated(test.data, "click")
    before, _ = fitted(GBDT).logits(test.data.batch)
    rows = test.data.shown
    wide = test.data.batch.row.shape

    lost = []
    for seed in range(30):
        cross = test.data.batch.cross.copy()
        cross[rows] = np.random.default_rng(seed).permutation(cross[rows])
        after, _ = fitted(GBDT).logits(replace(test.data.batch, cross=cross))
        lost.append(
            roc_auc_score(test.data.click[rows], before[rows]) - roc_auc_score(test.data.click[rows], after[rows])
        )

    got = permutation(fitted(GBDT), data, seed=0, repeats=4)["known_orders"].auc
    assert wide == (4_000, 3)
    assert got == pytest.approx(np.mean(lost), abs=4 * np.std(lost) / np.sqrt(4))


@both
@each_task
def test_planted_features_come_first_and_noise_is_worth_nothing(fitted, test, config, task):
    data, planted = evaluated(test.data, task), PLANTED[task]
    ways = [permutation(fitted(config), data, seed=1), ablation(fitted(config), data)]

    for losses in ways:
        assert first(aucs(losses), len(planted)) == planted
        assert min(losses[name].auc for name in planted) > 0.01
        assert min(losses[name].log_loss for name in planted) > 0
        assert max(abs(losses[name].auc) for name in NOISE) < 0.006


@each_task
def test_planted_features_have_the_largest_integrated_gradients(fitted, test, task):
    importance = integrated_gradients(fitted(MLP), evaluated(test.data, task), most=400).importance()

    assert tuple(importance) == NAMES
    assert first(importance, len(PLANTED[task])) == PLANTED[task]
    assert max(importance[name] for name in NOISE) < 0.6 * min(importance[name] for name in PLANTED[task])


def test_what_lightgbm_does_not_see_is_worth_exactly_nothing(fitted, test):
    data = evaluated(test.data, "click")

    for losses in (permutation(fitted(GBDT), data, seed=1), ablation(fitted(GBDT), data)):
        assert {losses[name] for name in ("history", "visited", "store", "text", "visual")} == {(0, 0)}


def test_a_seed_gives_one_shuffle(fitted, test):
    data = evaluated(test.data, "click")
    one, same, other = (permutation(fitted(GBDT), data, seed=seed, repeats=1) for seed in (1, 1, 2))

    assert one == same
    assert one["known_orders"] != other["known_orders"]


@both
@each_task
def test_only_what_teaches_the_task_is_evaluated(fitted, test, config, task):
    data, rows = evaluated(test.data, task), test.data.taught_by(task)
    places = np.nonzero(rows)

    whole = fitted(config).logits(test.data.batch)[("click", "conversion").index(task)]

    assert np.array_equal(data.label, test.data.label(task)[rows])
    assert np.array_equal(data.logits(fitted(config)), whole[rows])
    assert np.array_equal(data.slot, places[1])
    assert np.array_equal(np.unique(places[0])[data.request], places[0])


def test_labels_of_one_class_and_other_tasks_are_refused(test):
    with pytest.raises(Unusable, match="importance for conversions needs labels of both classes: 0 of"):
        evaluated(replace(test.data, conversion=np.zeros_like(test.data.conversion)), "conversion")
    with pytest.raises(Unusable, match="tasks click, conversion, not for cart"):
        evaluated(test.data, "cart")


@pytest.mark.parametrize(
    "config",
    [MLP, EVERY_POOL, *(LINE_UP[name].model_copy(update=SMALL) for name in ("wide_deep", "dcnv2", "dhen", "mmoe"))],
    ids=["mlp", "every pool", "wide_deep", "dcnv2", "dhen", "mmoe"],
)
def test_attributions_add_up_to_the_logit_less_the_baselines(fitted, test, config):
    data = evaluated(test.data, "click")
    network = fitted(config)
    found = integrated_gradients(network, data, most=60)

    gap = found.values.sum(axis=1) - (found.logit - found.baseline)
    served = data.logits(network)[np.unique(np.linspace(0, len(data.label) - 1, 60).astype(int))]
    assert np.abs(gap).max() < 1e-3
    assert np.abs(found.logit - served).max() < 1e-4
    assert np.ptp(found.baseline) < 1e-5
    assert np.abs(found.values).mean(axis=0).min() > 0


def test_a_feature_at_its_baseline_has_no_attribution(fitted, test):
    data = evaluated(test.data, "click")
    found = integrated_gradients(fitted(MLP), data, most=300)
    own = np.unique(np.linspace(0, len(data.label) - 1, 300).astype(int))
    batch = data.batch.take(data.request[own])
    nothing = {
        "region": batch.categorical[:, 1] == -1, "history": np.diff(batch.lists[0].offsets) == 0, "slot": data.slot[own] == 0
    }  # fmt: skip

    for name, at in nothing.items():
        values = found.values[:, NAMES.index(name)]
        assert (values[at] == 0).all() and (values[~at] != 0).all()
    assert nothing["slot"].sum() > 50 < nothing["region"].sum()


def test_attributions_do_not_depend_on_how_many_are_asked_for(fitted, test):
    data = evaluated(test.data.take(np.arange(300)), "click")
    few, all_ = (integrated_gradients(fitted(MLP), data, most=most) for most in (131, 10_000))
    own = np.unique(np.linspace(0, len(data.label) - 1, 131).astype(int))

    assert len(all_.values) == len(data.label)
    assert np.abs(few.values - all_.values[own]).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lightgbm", "integrated gradients are of networks, lightgbm is none"),
        ("two_tower", "of networks with layers above user and ad, two_tower has none"),
        ("din", "lists that are pooled alone, din looks at the ad too"),
        ("adsformer", "lists that are pooled alone, adsformer looks at the ad too"),
    ],
)
def test_what_has_no_integrated_gradients_is_refused(train, test, name, words):
    config = LINE_UP[name].model_copy(update={"trees": 2} if name == "lightgbm" else {"epochs": 1})

    assert words in obstacle(config)
    with pytest.raises(Unusable, match="integrated gradients"):
        integrated_gradients(
            fit(train.data.between(0, 5_000), config, seed=1, threads=1), evaluated(test.data, "click")
        )


def test_ranks_go_by_importance_then_log_loss_then_order(schema):
    columns = features_of(schema)[:4]
    names = [c.name for c in columns]
    by = dict(zip(names, (0.0, 0.3, 0.0, 0.0), strict=True))
    log_loss = dict(zip(names, (0.0, 0.1, 0.2, 0.0), strict=True))

    rows = ranked(columns, {"permutation": by, "other": by}, {"permutation": log_loss})

    assert [row.rank["permutation"] for row in rows] == [3, 1, 2, 4]
    assert [row.rank["other"] for row in rows] == [2, 1, 3, 4]
    assert [(row.feature, row.kind) for row in rows] == [(c.name, c.kind) for c in columns]


def test_a_subset_has_the_kept_columns_and_no_others(test):
    keep = {"region", "visited", "ad_cvr", "visual", "slot"}
    few = restricted(test.data, keep)
    batch, whole = few.batch, test.data.batch

    assert {c.name for c in features_of(few.schema)} == keep
    assert few.schema == Subset(source=test.data, keep=frozenset(keep)).schema
    assert np.array_equal(batch.categorical, whole.categorical[:, 1:])
    assert batch.dense.shape == (len(batch), 0) and batch.cross.shape == (*batch.row.shape, 0)
    assert batch.lists == (whole.lists[1],)
    assert batch.ads.categorical.shape == (len(whole.ads.categorical), 0)
    assert np.array_equal(batch.ads.dense, whole.ads.dense[:, 1:])
    assert np.array_equal(batch.ads.vector, whole.ads.vector[:, 3:])
    assert np.array_equal(batch.slot, whole.slot)
    assert few.items == {}
    assert few.click is test.data.click


def test_a_kept_list_keeps_its_category_for_the_vocabulary_but_not_its_values(test):
    few = restricted(test.data, {"history", "text"})

    assert {c.name for c in features_of(few.schema)} == {"history", "store", "text", "slot"}
    assert (few.batch.ads.categorical == -1).all()
    assert np.array_equal(few.items["store"], test.data.items["store"][:, :3])
    assert (few.batch.slot == 0).all()


def test_a_subset_of_all_features_is_the_source(test):
    whole, batch = restricted(test.data, NAMES), test.data.batch

    assert whole.schema == test.data.schema
    for name in ("categorical", "dense", "cross", "slot"):
        assert np.array_equal(getattr(whole.batch, name), getattr(batch, name))
    for name in ("categorical", "dense", "vector"):
        assert np.array_equal(getattr(whole.batch.ads, name), getattr(batch.ads, name))


def test_a_name_that_is_no_feature_is_refused(test):
    with pytest.raises(Unusable, match="month is no feature of the log; there are hour, region"):
        Subset(source=test.data, keep=frozenset({"hour", "month"}))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("config", [GBDT, EVERY_POOL], ids=lambda config: config.kind)
@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_one_feature_scores_a_row_the_same_in_any_batch(train, test, config, name):
    few = Subset(source=train.data.between(0, 20_000), keep=frozenset({name}))
    predictor = fit(few, config, seed=1, threads=1)
    batch = restricted(test.data, {name}).batch.rows(0, 300)

    whole = predictor.logits(batch)

    for cuts in ([0, 1, 200, 300],):
        parts = [predictor.logits(batch.rows(a, b)) for a, b in pairwise(cuts)]
        for task in range(2):
            assert np.array_equal(np.concatenate([part[task] for part in parts]), whole[task])


@both
def test_trained_again_on_the_planted_features_a_model_keeps_its_auc(train, test, config):
    def auc(keep):
        return kept_auc(train.data, test.data, config, keep, task="click", seed=1, threads=1)

    whole, planted, two = auc(NAMES), auc(PLANTED["click"]), auc({"known_orders", "ad_ctr"})
    others = auc(set(NAMES[:5]) - PLANTED["click"])

    assert planted.estimate > whole.estimate - 0.01
    assert two.low > others.high + 0.05
    assert whole.low < whole.estimate < whole.high
    assert abs(others.estimate - 0.5) < 0.03


def test_a_model_with_patience_is_validated_on_the_kept_features(train, test):
    config = MLP.model_copy(update={"patience": 1})

    found = kept_auc(
        train.data, test.data, config, {"known_orders"}, task="click", seed=1, threads=1, validation=test.data
    )

    assert found.low > 0.6


def test_settings_of_columns_that_are_gone_are_left_out(train):
    config = NetworkConfig(
        kind="network", scalings={"ad_ctr": "log", "user_clicks": "log"},
        sequences=(MeanConfig(), LastConfig(lists=("visited",)), MeanConfig(lists=("visited", "history"))),
    )  # fmt: skip
    left = restricted(train.data, {"ad_ctr", "history"}).schema

    got = restricted_config(config, left)

    assert got.scalings == {"ad_ctr": "log"}
    assert got.sequences == (MeanConfig(), MeanConfig(lists=("history",)))
    assert restricted_config(config, train.data.schema) == config
    assert restricted_config(GBDT, left) == GBDT
