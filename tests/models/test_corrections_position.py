"""Position inside training: what a model says of the top slot and of the others, where slots decide on looks or add to logits."""

from dataclasses import replace

import numpy as np
import pytest
from feeds import Feed
from pydantic import ValidationError
from scipy.special import expit, logit

from models.config import CorrectConfig, GbdtConfig, NetworkConfig, TwoTowerConfig
from models.corrections import lessons_of
from models.data import Batch
from models.errors import Unusable
from models.predictor import calibrated, fit, lessons_for, load_model, save_model

KINDS = {
    "lightgbm": GbdtConfig(kind="lightgbm", trees=60, leaves=8, min_rows_per_leaf=40),
    "network": NetworkConfig(kind="network", hidden=(16,), batch_requests=256, epochs=3),
    "two_tower": TwoTowerConfig(kind="two_tower", tower=(16,), vector=16, batch_requests=256, epochs=3),
}
every_kind = pytest.mark.parametrize("kind", ["lightgbm", "network", pytest.param("two_tower", marks=pytest.mark.deep)])
LOOKS, ADDED = [1.0, 0.6, 0.3], [0.0, -0.6, -1.5]
POSITIONS = ("feature", "ignored", "tower", "pal", "ipw")


@pytest.fixture(scope="module")
def feeds(planted) -> dict[str, tuple[Feed, Feed]]:
    """Days to train on and a later one: slots that multiply or add; ads in any order, or one request in five in any."""

    def feed(n: int, seed: int, kind: str, shuffled: float) -> Feed:
        found = planted(n, seed)
        on_top = expit(logit(found.click) + 0.6 * np.arange(3))
        return Feed.of(
            found.data, on_top, LOOKS if kind == "product" else ADDED, kind=kind, shuffled=shuffled, seed=seed
        )

    return {
        f"{kind} {shuffled:g}": (feed(12_000, 7, kind, shuffled), feed(6_000, 8, kind, shuffled))
        for kind, shuffled in (("product", 1.0), ("product", 0.2), ("additive", 1.0), ("additive", 0.2))
    }


def config_of(kind: str, **correct):
    return KINDS[kind].model_copy(update={"correct": CorrectConfig(**correct)})


def learn(config, data, later):
    lessons = lessons_for(data, config, seed=1, threads=1)
    predictor = fit(data, config, seed=1, threads=1, lessons=lessons)
    return calibrated(predictor, config, later, lessons)[0], predictor


def in_slot(batch: Batch, slot: int) -> Batch:
    """All candidates as if in one slot."""
    return replace(batch, slot=np.full_like(batch.slot, slot))


def on_top(model, feed: Feed) -> float:
    """Mean of what is predicted for the top slot over that of the truth."""
    shown = feed.data.shown
    return float(model.predict(in_slot(feed.data.batch, 0)).click[shown].sum() / feed.on_top[shown].sum())


def where_shown(model, feed: Feed, truth: np.ndarray) -> list[float]:
    """The same of each slot as it was shown."""
    p, shown = model.predict(feed.data.batch).click, feed.data.shown
    return [float(p[rows, s].sum() / truth[rows, s].sum()) for s, rows in enumerate(shown.T)]


@every_kind
@pytest.mark.parametrize("position", ["pal", "ipw"])
def test_where_ads_are_in_any_order_examination_is_found_and_the_top_slot_is_calibrated(feeds, kind, position):
    data, later = feeds["product 1"]

    model, predictor = learn(config_of(kind, position=position), data.data, later.data)

    assert model.slots.kind == "product"
    assert model.slots.values == pytest.approx(LOOKS, abs=0.05)
    assert on_top(model, later) == pytest.approx(1, abs=0.05)
    assert where_shown(model, later, later.on_top * LOOKS) == pytest.approx([1, 1, 1], abs=0.08)
    shown, bare = later.data.shown, expit(predictor.logits(in_slot(later.data.batch, 0))[0].astype(float))
    assert bare[shown].sum() / later.on_top[shown].sum() == pytest.approx(1, abs=0.07)  # before any calibration


@pytest.mark.parametrize("kind", ["lightgbm", "network"])  # two towers do not see what the order is by
@pytest.mark.parametrize("position", ["pal", "ipw"])
def test_where_better_ads_stand_higher_examination_is_found_all_the_same(feeds, kind, position):
    data, later = feeds["product 0.2"]
    shown = data.data.shown
    rate = [data.data.click[rows, s].mean() for s, rows in enumerate(shown.T)]
    assert rate[2] / rate[0] < 0.2  # what clicks alone would say

    model, _ = learn(config_of(kind, position=position), data.data, later.data)

    assert model.slots.values == pytest.approx(LOOKS, abs=0.06)
    assert on_top(model, later) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(("kind", "shuffled"), [(kind, 1.0) for kind in KINDS] + [("lightgbm", 0.2), ("network", 0.2)])
def test_a_tower_finds_what_slots_add(feeds, kind, shuffled):
    data, later = feeds[f"additive {shuffled:g}"]

    model, _ = learn(config_of(kind, position="tower"), data.data, later.data)

    # what two towers do not see blurs the slots' logits too
    expected = np.array(ADDED) * (0.8 if kind == "two_tower" else 1.0)
    assert model.slots.kind == "additive"
    assert model.slots.values == pytest.approx(expected, abs=0.25)
    assert on_top(model, later) == pytest.approx(1, abs=0.07)
    assert where_shown(model, later, expit(logit(later.on_top) + ADDED)) == pytest.approx([1, 1, 1], abs=0.08)


@every_kind
def test_where_slots_are_ignored_the_top_one_is_low_by_the_mean_examination(feeds, kind):
    data, later = feeds["product 1"]

    model, _ = learn(config_of(kind, position="ignored"), data.data, later.data)

    assert model.slots is None
    assert on_top(model, later) == pytest.approx(np.mean(LOOKS), abs=0.03)
    assert np.array_equal(*(model.predict(in_slot(later.data.batch, s)).click for s in (0, 2)))


@every_kind
@pytest.mark.parametrize("position", POSITIONS)
def test_a_lower_slot_is_predicted_as_the_form_says(feeds, kind, position):
    data, later = feeds["product 1"]
    model, _ = learn(config_of(kind, position=position), data.data.take(np.arange(3_000)), later.data)
    batch, shown = later.data.batch, later.data.shown

    top, third, beyond = (model.predict(in_slot(batch, s)) for s in (0, 2, 9))

    assert np.array_equal(third.conversion, top.conversion) or position == "feature"
    assert np.array_equal(beyond.click, third.click) or position == "feature"  # trees and layers may do as they like
    if model.slots is not None and model.slots.kind == "product":
        assert third.click[shown] == pytest.approx(model.slots.values[2] * top.click[shown], rel=1e-5)
    if position == "tower":
        moved = model.click.slope * model.slots.values[2]
        assert logit(third.click[shown].astype(float)) - logit(top.click[shown].astype(float)) == pytest.approx(
            np.full(shown.sum(), moved), abs=1e-3
        )
    assert (third.click < top.click).mean() > 0.9 or position == "ignored"


@every_kind
@pytest.mark.parametrize("position", POSITIONS)
def test_a_saved_model_predicts_as_before(feeds, kind, position, schema, tmp_path):
    data, later = feeds["product 1"]
    model, predictor = learn(config_of(kind, position=position), data.data.take(np.arange(6_000)), later.data)

    save_model(model, predictor, schema, tmp_path / "model")

    back = load_model(tmp_path / "model")
    for slot in (None, 0, 1, 2, 7):
        batch = later.data.batch if slot is None else in_slot(later.data.batch, slot)
        assert np.array_equal(back.predict(batch).click, model.predict(batch).click)
        assert np.array_equal(back.predict(batch).conversion, model.predict(batch).conversion)


@every_kind
@pytest.mark.parametrize("position", POSITIONS)
def test_a_later_day_may_have_more_slots(feeds, kind, position):
    data, later = feeds["product 1"]
    batch = data.data.batch
    two = replace(
        data.data, batch=replace(batch, row=batch.row[:, :2], cross=batch.cross[:, :2], slot=batch.slot[:2]),
        click=data.data.click[:, :2], conversion=data.data.conversion[:, :2],
    ).take(np.arange(2_000))  # fmt: skip

    model, _ = learn(config_of(kind, position=position), two, later.data)

    assert model.predict(later.data.batch).click.shape == later.data.shown.shape


@every_kind
@pytest.mark.parametrize("position", ["tower", "pal"])
def test_slots_that_share_no_ad_are_refused(feeds, kind, position):
    """An ad for each slot: sixty ads, of which a store is one's own, twenty to a slot."""
    data = feeds["product 1"][0].data
    ads = replace(data.batch.ads, categorical=np.stack([np.zeros(60), np.arange(60)], axis=1).astype(np.int32))
    apart = np.where(data.shown, data.batch.row % 20 + 20 * np.arange(3), -1).astype(np.int32)
    held = replace(data, batch=replace(data.batch, ads=ads, row=apart))
    together = replace(data, batch=replace(data.batch, ads=ads))

    with pytest.raises(Unusable, match="told from relevance: slot 0 and slot 1 and slot 2 share no ad"):
        lessons_for(held, config_of(kind, position=position), seed=1, threads=1)
    lessons_for(together, config_of(kind, position=position), seed=1, threads=1)


def test_measured_slots_need_randomised_requests(feeds):
    data, correct = feeds["product 1"][0].data, CorrectConfig(position="ipw")

    with pytest.raises(Unusable, match=r"this log does not say which are \(log.randomised_share\)"):
        lessons_of(replace(data, randomised=None), correct)
    with pytest.raises(Unusable, match="no request of these days has them"):
        lessons_of(replace(data, randomised=np.zeros_like(data.randomised)), correct)


def test_measured_slots_are_those_of_the_randomised_requests_alone(feeds):
    data = feeds["product 0.2"][0].data
    rows = data.randomised
    rate = [(data.click & data.shown)[rows, s].sum() / data.shown[rows, s].sum() for s in range(3)]

    lessons = lessons_of(data, CorrectConfig(position="ipw"))

    assert lessons.propensity == pytest.approx(np.array(rate) / rate[0], rel=1e-6)
    assert lessons.propensity == pytest.approx(LOOKS, abs=0.06)
    facts = lessons.get("click").facts(data)
    clicked, missed = facts[data.click], facts[data.shown & ~data.click]
    assert clicked.sum(axis=1) == pytest.approx(np.ones(len(clicked)))
    assert clicked[:, 0] == pytest.approx(1 / lessons.propensity[np.nonzero(data.click)[1]], rel=1e-6)
    assert (missed == [0, 1]).all()


def test_a_slot_that_no_randomised_request_fills_is_refused(feeds):
    data = feeds["product 1"][0].data
    row = data.batch.row.copy()
    row[data.randomised & (np.arange(len(row)) % 5 > 0), 2] = -1
    held = replace(
        data, batch=replace(data.batch, row=row), click=data.click & (row >= 0), randomised=np.arange(len(row)) % 5 > 0
    )

    with pytest.raises(Unusable, match="every slot must have an impression: slot 2 has none"):
        lessons_of(held, CorrectConfig(position="ipw"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"negatives_kept": 0.5, "correct": {"position": "pal"}},
            "negatives_kept must be 1 with correct.position pal or ipw",
        ),
        (
            {"negatives_kept": 0.5, "correct": {"position": "ipw"}},
            "negatives_kept must be 1 with correct.position pal or ipw",
        ),
        ({"conversions_from": "impressions", "correct": {"delay": "dfm"}}, r"\(ESMM\) needs correct.delay"),
        ({"conversions_from": "impressions", "correct": {"selection": "ipw"}}, r"\(ESMM\) needs correct.delay"),
    ],
)
@pytest.mark.parametrize("kind", [NetworkConfig, TwoTowerConfig])
def test_corrections_that_do_not_go_with_what_is_learned_are_refused(kind, settings, said):
    name = "network" if kind is NetworkConfig else "two_tower"

    with pytest.raises(ValidationError, match=said):
        kind(kind=name, **settings)


@pytest.mark.parametrize("kind", ["network", "two_tower"])
def test_a_tower_learned_of_some_of_the_negatives_is_that_of_all(feeds, kind):
    """Adding to the logit, it is left by the sampling as it is; the top's rate is put back."""
    data, later = feeds["additive 1"]
    config = config_of(kind, position="tower").model_copy(update={"negatives_kept": 0.5})

    model, predictor = learn(config, data.data, later.data)

    assert model.slots.values == pytest.approx(np.array(ADDED), abs=0.4)
    shown, bare = later.data.shown, expit(predictor.logits(in_slot(later.data.batch, 0))[0].astype(float))
    assert bare[shown].sum() / later.on_top[shown].sum() == pytest.approx(1, abs=0.08)
    assert on_top(model, later) == pytest.approx(1, abs=0.07)
