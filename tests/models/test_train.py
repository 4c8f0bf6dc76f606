"""The training loop: what a seed fixes, what data can teach, and what is left as it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from blocks import Blocks
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from models.config import MlpConfig, NetworkConfig, TwoTowerConfig
from models.data import Batch, Dataset
from models.errors import Unusable
from models.log import LogWindow
from models.sampling import keep_negatives
from models.schema import Kind, Schema, Side
from models.scoring import Network, load_network
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


def state(model: Network) -> dict[str, torch.Tensor]:
    return model.net.state_dict()


def same(a: Network, b: Network) -> bool:
    return all(torch.equal(value, state(b)[name]) for name, value in state(a).items())


def without_seconds(model: Network) -> list[dict]:
    return [{key: value for key, value in note.items() if key != "seconds"} for note in model.training]


class Interrupted(Exception):
    pass


class After:
    """Raises once so many steps were made."""

    def __init__(self, steps: int):
        self.left = steps

    def __call__(self, share: float) -> None:
        self.left -= 1
        if not self.left:
            raise Interrupted


DROPPING = MlpConfig(hidden=16, dropout=0.3)
RESUMED = {
    "plain": QUICK.model_copy(update={"epochs": 2}),
    "patience": QUICK.model_copy(update={"epochs": 3, "patience": 2, "learning_rate": 5e-2}),
    "dropout, sampled, lists alone": NetworkConfig.model_validate(
        QUICK.model_dump()
        | {
            "epochs": 2, "negatives_kept": 0.5, "crossing": [{"modules": [DROPPING]}], "tokens": 2, "token_width": 16,
            "self_supervised": [{"kind": "masked"}],
        }
    ),
    "two towers": TwoTowerConfig(kind="two_tower", tower=(16,), vector=16, epochs=2, batch_requests=128),
}  # fmt: skip


@pytest.mark.parametrize("steps", [1, 5, 8, 10, 14, 15])
@pytest.mark.parametrize("name", RESUMED)
def test_an_interrupted_training_goes_on_to_the_same_bits(train, test, tmp_path, name, steps):
    """Three blocks of 500 requests, four batches each (fewer if sampled): epochs end after twelve."""
    source, later = Blocks(train.data.between(0, 15_000), 3), test.data.between(0, 5_000)
    settings = {"seed": 3, "threads": 1, "validation": later}
    whole = fit_network(source, RESUMED[name], **settings)

    with pytest.raises(Interrupted):
        fit_network(source, RESUMED[name], **settings, checkpoint=tmp_path / "kept", progress=After(steps))
    torch.rand(7)  # whatever the global generator has done meanwhile
    resumed = fit_network(source, RESUMED[name], **settings, checkpoint=tmp_path / "kept")

    assert same(resumed, whole)
    assert without_seconds(resumed) == without_seconds(whole)


def test_a_resumed_training_learns_no_block_twice(train, tmp_path):
    source = Blocks(train.data.between(0, 15_000), 3)
    with pytest.raises(Interrupted):
        fit_network(source, QUICK, seed=3, threads=1, checkpoint=tmp_path / "kept", progress=After(5))
    shares: list[float] = []

    model = fit_network(source, QUICK, seed=3, threads=1, checkpoint=tmp_path / "kept", progress=shares.append)

    assert shares == pytest.approx([step / 12 for step in range(5, 13)])
    assert [(note["epoch"], note["block"]) for note in model.training] == [(0, 0), (0, 1), (0, 2)]


def test_a_checkpoint_of_a_finished_training_is_that_training(train, tmp_path):
    data, shares = train.data.between(0, 5_000), []
    whole = fit_network(data, QUICK, seed=3, threads=1, checkpoint=tmp_path / "kept")

    again = fit_network(data, QUICK, seed=3, threads=1, checkpoint=tmp_path / "kept", progress=shares.append)

    assert same(again, whole) and not shares


def test_dropout_is_drawn_by_the_seed(train):
    data, config = train.data.between(0, 5_000), RESUMED["dropout, sampled, lists alone"]
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = fit_network(data, config, seed=5, threads=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)

    assert same(first, fit_network(data, config, seed=5, threads=1))


@pytest.fixture
def checkpoint(train, tmp_path) -> Path:
    fit_network(train.data.between(0, 3_000), QUICK, seed=3, threads=1, checkpoint=tmp_path / "kept")
    return tmp_path / "kept"


@pytest.mark.parametrize(
    ("config", "seed", "log"),
    [
        (QUICK.model_copy(update={"learning_rate": 1e-3}), 3, slice(0, 300)),
        (QUICK, 4, slice(0, 300)),
        (QUICK, 3, slice(300, 600)),
        (QUICK, 3, slice(0, 400)),
    ],
)
def test_a_checkpoint_of_another_config_seed_or_log_is_refused(train, checkpoint, config, seed, log):
    data = train.data.take(np.arange(log.start, log.stop))

    with pytest.raises(Unusable, match=f"^checkpoint {checkpoint} is of another config, seed or log$"):
        fit_network(data, config, seed=seed, threads=1, checkpoint=checkpoint)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "state.safetensors").write_bytes((folder / "state.safetensors").read_bytes()[:500]),
        lambda folder: (folder / "state.safetensors").write_bytes(b""),
        lambda folder: (folder / "state.safetensors").unlink(),
        lambda folder: (folder / "progress.json").unlink(),
        lambda folder: (folder / "progress.json").write_text("{"),
        lambda folder: (folder / "progress.json").write_text("[]"),
        lambda folder: (folder / "progress.json").write_text("{}"),
        lambda folder: (folder / "progress.json").write_bytes(b"\xff\xfe"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_refused_in_one_line(train, checkpoint, damage):
    damage(checkpoint)

    with pytest.raises(Unusable, match=f"^checkpoint {checkpoint} is damaged: [^\n]+$"):
        fit_network(train.data.between(0, 3_000), QUICK, seed=3, threads=1, checkpoint=checkpoint)


def test_patience_without_later_days_is_refused(train):
    config = QUICK.model_copy(update={"patience": 2})

    with pytest.raises(Unusable, match=r"^patience is 2, but there are no later days to validate on$"):
        fit_network(train.data, config, seed=1, threads=1)


def mean_loss(model: Network, data: Dataset) -> float:
    return log_loss(data.click[data.shown], expit(model.logits(data.batch)[0][data.shown].astype(float)))


def test_training_goes_on_from_yesterdays_network(train, schema, tmp_path):
    first, second = train.data.between(0, 40_000), train.data.between(40_000, 50_000)
    yesterday = fit_network(first, QUICK.model_copy(update={"epochs": 4}), seed=1, threads=1)
    yesterday.save(tmp_path)
    slow = yesterday.config.model_copy(update={"learning_rate": 1e-9})
    read = load_network(tmp_path, schema)

    today = fit_network(second, read.config, seed=2, threads=1, start=read)
    fresh = fit_network(second, read.config, seed=2, threads=1)
    yesterday.config = slow
    unmoved = fit_network(second, slow, seed=2, threads=1, start=yesterday)

    assert today.training[0]["loss_click"] < fresh.training[0]["loss_click"] - 0.05
    assert today.shape == yesterday.shape
    for name in ("inputs.known", "inputs.ad_mean", "inputs.cross_scale", "inputs.items_store"):
        assert torch.equal(state(today)[name], state(yesterday)[name])
        assert not torch.equal(state(fresh)[name], state(yesterday)[name]) or name == "inputs.items_store"
    for name, value in state(unmoved).items():
        assert torch.allclose(value, state(yesterday)[name], atol=1e-6)
    assert equal(
        read.logits(second.batch), load_network(tmp_path, schema).logits(second.batch)
    )  # what it began from stays


def test_a_start_of_another_config_or_schema_is_refused(train, schema):
    data = train.data.between(0, 3_000)
    start = fit_network(data, QUICK, seed=1, threads=1)

    with pytest.raises(Unusable, match=r"^the network to go on from has another config$"):
        fit_network(data, QUICK.model_copy(update={"epochs": 2}), seed=1, threads=1, start=start)
    cuisine = replace(schema.columns(Kind.CATEGORICAL, Side.AD)[0], cardinality=6)
    tables = schema.tables | {
        "impressions": tuple(cuisine if c.name == "cuisine" else c for c in schema.tables["impressions"])
    }
    with pytest.raises(
        Unusable, match=r"^the network to go on from is of another schema: cuisine was .* 5 and is .* 6$"
    ):
        fit_network(replace(data, schema=Schema(tables=tables)), QUICK, seed=1, threads=1, start=start)


def test_a_day_with_more_slots_than_those_before_can_be_learned_from(train):
    data = train.data.between(0, 3_000)
    two = replace(
        data, batch=replace(data.batch, row=data.batch.row[:, :2], cross=data.batch.cross[:, :2], slot=data.batch.slot[:2]),
        click=data.click[:, :2], conversion=data.conversion[:, :2],
    )  # fmt: skip

    for config in (QUICK, RESUMED["two towers"]):
        start = fit_network(two, config, seed=1, threads=1)
        deeper = [
            start.logits(replace(data.batch, slot=np.array(slot)))[0] for slot in ([0, 1, 1], [0, 1, 2], [0, 1, 9])
        ]
        assert np.array_equal(deeper[0], deeper[1]) and np.array_equal(deeper[0], deeper[2])
        assert fit_network(data, config, seed=1, threads=1, start=start).shape == start.shape


def test_patience_stops_and_gives_back_the_best_epoch(train, test):
    """A rate so high that it soon learns the training days by heart."""
    data, later = train.data.between(0, 5_000), test.data.between(0, 10_000)
    config = QUICK.model_copy(update={"epochs": 12, "patience": 2, "learning_rate": 4e-2})

    model = fit_network(data, config, seed=1, threads=1, validation=later)

    losses = [note["validation_loss"] for note in model.training]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 12
    shown, clicked = later.shown, later.click & later.shown
    click, conversion = (expit(x.astype(float)) for x in model.logits(later.batch))
    total = log_loss(later.click[shown], click[shown]) * shown.sum()
    total += log_loss(later.conversion[clicked], conversion[clicked]) * clicked.sum()
    assert total / shown.sum() == pytest.approx(losses[best], abs=2e-3)
    assert abs(losses[-1] - losses[best]) > 0.01


def test_without_patience_later_days_change_nothing(train, test):
    data = train.data.between(0, 3_000)
    config = QUICK.model_copy(update={"epochs": 2})

    plain, validated = (
        fit_network(data, config, seed=1, threads=1, validation=later) for later in (None, test.data.between(0, 2_000))
    )

    assert same(plain, validated)


@pytest.fixture(scope="module")
def rare(planted) -> tuple[Dataset, Dataset]:
    """Two logs in which about one ad in twelve is clicked."""
    logs = []
    for n, seed in ((12_000, 7), (8_000, 8)):
        log = planted(n, seed)
        rng = np.random.default_rng(seed)
        click = log.data.click & (rng.random(log.click.shape) < 0.25)
        conversion = click & (rng.random(click.shape) < log.conversion)
        logs.append(replace(log.data, click=click, conversion=conversion))
    return logs[0], logs[1]


def test_forecasts_after_sampling_have_the_rates_of_all_rows_and_conversions_their_own(rare):
    data, later = rare
    config = QUICK.model_copy(update={"negatives_kept": 0.1, "epochs": 3})

    model = fit_network(data, config, seed=1, threads=1)

    click, conversion = (expit(x.astype(float)) for x in model.logits(later.batch))
    shown, clicked = later.shown, later.click
    for p, label, rows in ((click, later.click, shown), (conversion, later.conversion, clicked)):
        # of the labels it learned from and of those it is held against
        error = np.sqrt(label[rows].mean() * (1 - label[rows].mean()) * (2 / rows.sum()))
        assert abs(p[rows].mean() - label[rows].mean()) < 4 * error + 0.05 * label[rows].mean()
    assert sum(note["requests"] for note in model.training if note["epoch"] == 0) < 0.6 * len(data.batch)
    assert roc_auc_score(later.click[shown], click[shown]) > 0.7


def test_held_out_days_are_sampled_as_the_training_days_are(rare):
    """Else their loss is that of a rate of clicks that the network is not to know."""
    data, later = rare
    settings = {"negatives_kept": 0.1, "epochs": 2, "patience": 2, "task_weight": {"conversion": 0.0}}

    model = fit_network(data, QUICK.model_copy(update=settings), seed=1, threads=1, validation=later)

    kept = keep_negatives(later.click, later.shown, 0.1, seed=1)
    learned = model.logits(later.batch)[0].astype(float) - np.log(0.1)  # before the rate of all rows is put back
    best = min(note["validation_loss"] for note in model.training)
    assert best == pytest.approx(log_loss(later.click[kept], expit(learned[kept])), rel=0.01)


def test_the_loss_over_the_entire_space_is_of_all_that_was_shown(train):
    data = train.data.between(0, 5_000)
    update = {
        "conversions_from": "impressions",
        "learning_rate": 1e-9,
        "batch_requests": 500,
        "task_weight": {"conversion": 2.0},
    }

    model = fit_network(data, QUICK.model_copy(update=update), seed=1, threads=1)

    click, conversion = (expit(logit[data.shown].astype(float)) for logit in model.logits(data.batch))
    expected = log_loss((data.click & data.conversion)[data.shown], click * conversion)
    assert model.training[0]["loss_conversion"] == pytest.approx(2 * expected, rel=0.01)
    assert model.training[0]["loss_click"] == pytest.approx(log_loss(data.click[data.shown], click), rel=0.01)


def test_entire_space_learns_conversion_given_click_of_all_ads_where_clicks_are_selective(planted):
    """Who clicks is who would buy: a conversion's logit has the click's, so clicked rows buy more often than all would."""
    logs = []
    for n, seed in ((20_000, 11), (6_000, 12)):
        log = planted(n, seed)
        rng = np.random.default_rng(seed)
        z = (log.data.batch.cross[:, :, 0] + log.data.batch.ads.dense[log.data.batch.row, 0]).astype(float)
        p_click, p_conversion = expit(1.5 * z - 1.0), expit(1.0 * z - 1.0)
        click = log.data.shown & (rng.random(z.shape) < p_click)
        conversion = click & (rng.random(z.shape) < p_conversion)
        logs.append((replace(log.data, click=click, conversion=conversion), p_conversion))
    (data, _), (later, truth) = logs
    config = QUICK.model_copy(update={"conversions_from": "impressions", "epochs": 3})

    model = fit_network(data, config, seed=1, threads=1)

    p, shown = expit(model.logits(later.batch)[1].astype(float)), later.shown
    assert truth[later.click].mean() > truth[shown].mean() + 0.15  # selective indeed
    assert p[shown].mean() == pytest.approx(truth[shown].mean(), abs=0.02)
    for rows in (later.click, shown & ~later.click):
        assert p[rows].mean() == pytest.approx(truth[rows].mean(), abs=0.03)


def test_a_task_without_weight_leaves_its_head_as_it_was_and_teaches_the_others_nothing(train):
    data = train.data.between(0, 5_000)
    config = QUICK.model_copy(update={"tasks": ("click", "conversion", "cart"), "task_weight": {"cart": 0.0}})
    turned = replace(data, further=data.further | {"cart": data.click & ~data.further["cart"]})

    model, other = (fit_network(log, config, seed=1, threads=1) for log in (data, turned))
    still = fit_network(data, config.model_copy(update={"learning_rate": 1e-12}), seed=1, threads=1)
    weighed = [
        fit_network(log, config.model_copy(update={"task_weight": {"cart": 1.0}}), seed=1, threads=1)
        for log in (data, turned)
    ]

    assert same(model, other)
    head = "heads.layers.0.weight"
    assert torch.equal(state(model)[head][2], state(still)[head][2])
    assert not torch.allclose(state(model)[head][:2], state(still)[head][:2])
    assert not same(*weighed)


def test_a_task_counts_by_its_weight(train):
    data = train.data.between(0, 5_000)

    one, three = (
        fit_network(
            data, QUICK.model_copy(update={"task_weight": {"click": w}, "learning_rate": 1e-9}), seed=1, threads=1
        )
        for w in (1.0, 3.0)
    )

    assert three.training[0]["loss_click"] == pytest.approx(3 * one.training[0]["loss_click"], rel=1e-4)
    assert three.training[0]["loss_conversion"] == pytest.approx(one.training[0]["loss_conversion"], rel=1e-4)


def test_several_blocks_teach_as_well_as_one(train, test):
    later, config = test.data, QUICK.model_copy(update={"epochs": 3})

    one, five = (
        mean_loss(fit_network(Blocks(train.data, count), config, seed=1, threads=1), later) for count in (1, 5)
    )

    assert five == pytest.approx(one, abs=0.006)
    assert one < 0.95 * log_loss(later.click[later.shown], np.full(later.shown.sum(), later.click[later.shown].mean()))


def test_training_through_a_log_window_reads_the_blocks_of_the_log(long_log):
    log = long_log(6, 60)
    source = LogWindow(
        folder=log,
        snapshot_ms=10 * 3_600_000,
        start_ms=0,
        stop_ms=6 * 3_600_000,
        tasks=("cart",),
        block_impressions=200,
    )
    config = QUICK.model_copy(update={"tasks": ("click", "conversion", "cart"), "epochs": 2})

    model = fit_network(source, config, seed=1, threads=1)

    assert [(note["epoch"], note["block"]) for note in model.training] == [(e, b) for e in range(2) for b in range(3)]
    assert sum(note["requests"] for note in model.training) == 2 * 360


def test_what_was_noted_is_a_table_that_is_saved_and_read_back(train, test, schema, tmp_path):
    config = QUICK.model_copy(update={"epochs": 2, "patience": 1, "tasks": ("click", "conversion", "cart")})
    model = fit_network(Blocks(train.data.between(0, 4_000), 2), config, seed=1, threads=1, validation=test.data)
    model.save(tmp_path)

    table, read = pd.read_csv(tmp_path / "training.csv"), pd.DataFrame(load_network(tmp_path, schema).training)

    assert table[["epoch", "block", "requests"]].values.tolist() == [[0, 0, 200], [0, 1, 200], [1, 0, 200], [1, 1, 200]]
    assert table["validation_loss"].notna().tolist() == [False, True, False, True]
    assert {"loss_click", "loss_conversion", "loss_cart", "loss_self_supervised", "seconds"} <= set(table.columns)
    pd.testing.assert_frame_equal(read, pd.DataFrame(model.training))


def renamed(schema: Schema) -> Schema:
    """With the two categories of requests in turn, of which the sizes may be alike."""
    request, time, hour, region, *others = schema.tables["requests"]
    return Schema(tables=schema.tables | {"requests": (request, time, region, hour, *others)})


def test_a_network_of_another_schema_is_refused_with_the_first_column_that_differs(train, schema, tmp_path):
    fit_network(train.data.between(0, 3_000), QUICK, seed=1, threads=1).save(tmp_path)

    with pytest.raises(
        Unusable, match=f"^the network in {tmp_path} is of another schema: hour was .* and is region .*$"
    ):
        load_network(tmp_path, renamed(schema))
    fewer = Schema(tables={name: columns for name, columns in schema.tables.items() if name != "stores"})
    with pytest.raises(Unusable, match="is of another schema: text was text vector ad 3 and is not there"):
        load_network(tmp_path, fewer)


def test_a_folder_that_holds_no_network_or_a_damaged_one_is_refused_in_one_line(train, schema, write_log, tmp_path):
    with pytest.raises(Unusable, match=r"^the network in .* cannot be read: [^\n]*network.json[^\n]*$"):
        load_network(write_log(), schema)
    folder = tmp_path / "model"
    folder.mkdir()
    fit_network(train.data.between(0, 3_000), QUICK, seed=1, threads=1).save(folder)

    def refused() -> None:
        with pytest.raises(Unusable, match=f"^the network in {folder} cannot be read: [^\n]+$"):
            load_network(folder, schema)

    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for damaged in (b"", whole[: len(whole) // 2] if path.suffix != ".csv" else b"", b"\xff\x00" * 40):
            path.write_bytes(damaged)
            refused()
        path.unlink()
        refused()
        path.write_bytes(whole)
    saved = json.loads((folder / "network.json").read_text())
    saved["shape"]["values"]["hour"] -= 1
    (folder / "network.json").write_text(json.dumps(saved))
    refused()
