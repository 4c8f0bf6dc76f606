"""Selection inside training: conversions of clicks that are no sample of the impressions, and what weights make of them."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit

from models.config import CorrectConfig, GbdtConfig, NetworkConfig, TwoTowerConfig
from models.data import Batch, Dataset
from models.predictor import calibrated, fit, lessons_for

KINDS = {
    "lightgbm": GbdtConfig(kind="lightgbm", trees=40, leaves=2, min_rows_per_leaf=40, learning_rate=0.3),
    "network": NetworkConfig(kind="network", hidden=(16,), batch_requests=256, epochs=2),
    "two_tower": TwoTowerConfig(kind="two_tower", tower=(16,), vector=16, batch_requests=256, epochs=2),
}
every_kind = pytest.mark.parametrize("kind", ["lightgbm", "network", pytest.param("two_tower", marks=pytest.mark.deep)])
CLICK = np.array([0.1, 0.5])  # by the pair's sign
CONVERSION = np.array([[0.7, 0.2], [0.1, 0.7]])  # by the ad's sign and the pair's: no sum of the two


def selected(planted, n: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Who clicks decides, with the ad, on who converts; and the probabilities of that."""
    data, rng = planted(n, seed).data, np.random.default_rng(seed)
    pair = (data.batch.cross[:, :, 0] > 0).astype(int)
    ad = (data.batch.ads.dense[data.batch.row, 1] > 0).astype(int)
    click = data.shown & (rng.random(pair.shape) < CLICK[pair])
    p = CONVERSION[ad, pair]
    return replace(data, click=click, conversion=click & (rng.random(pair.shape) < p)), p


@pytest.fixture(scope="module")
def days(planted) -> tuple[Dataset, Dataset, np.ndarray]:
    """To train on, later ones, and the later ones' probabilities of a conversion after a click."""
    return selected(planted, 12_000, 7)[0], *selected(planted, 6_000, 8)


def config_of(kind: str, **correct):
    return KINDS[kind].model_copy(update={"correct": CorrectConfig(**correct)})


def learn(config, data, later):
    lessons = lessons_for(data, config, seed=1, threads=1)
    predictor = fit(data, config, seed=1, threads=1, lessons=lessons)
    return (*calibrated(predictor, config, later, lessons), lessons)


def pilot_of(config, data: Dataset, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the same model without the selection, trained by hand."""
    plain = config.model_copy(update={"correct": config.correct.model_copy(update={"selection": "none"})})
    click, conversion = fit(data, plain, seed=1, threads=1).logits(batch)
    return expit(click), expit(conversion)


def over_truth(model, data: Dataset, p: np.ndarray) -> list[float]:
    """Mean conversion predicted over that of the truth, over all impressions, of ads of either sign."""
    predicted = model.predict(data.batch).conversion
    sign = data.batch.ads.dense[data.batch.row, 1] > 0
    return [float(predicted[rows].sum() / p[rows].sum()) for rows in (data.shown & ~sign, data.shown & sign)]


@pytest.mark.parametrize("calibrate", ["none", "platt"])
def test_of_all_impressions_sums_of_stumps_are_right_with_weights_and_wrong_without(days, calibrate):
    """Stumps cannot hold both cells, and without weights they hold the one that clicks."""
    data, later, p = days
    plain, ipw, dr = (
        over_truth(learn(config_of("lightgbm", selection=name, calibrate=calibrate), data, later)[0], later, p)
        for name in ("none", "ipw", "dr")
    )

    assert max(np.abs(np.array(plain) - 1)) > 0.2
    assert ipw == pytest.approx([1, 1], abs=0.08)
    assert dr == pytest.approx([1, 1], abs=0.08)


@every_kind
def test_clicked_rows_are_weighted_by_one_over_the_pilots_probability(days, kind):
    data, _, _ = days
    config = config_of(kind, selection="ipw", least_propensity=0.12)
    click, _ = pilot_of(config, data, data.batch)

    lesson = lessons_for(data, config, seed=1, threads=1).get("conversion")

    facts, rows = lesson.facts(data), data.click
    inverse = 1 / np.maximum(click[rows], 0.12)
    assert np.array_equal(lesson.rows(data), rows)
    assert facts[rows][:, 2] == pytest.approx(inverse, rel=1e-5)
    assert not facts[~rows].any()
    weights = lesson.weights(np.full(rows.sum(), 0.3), facts[rows])
    assert weights.positive == pytest.approx(inverse * data.conversion[rows], rel=1e-5)
    assert weights.negative == pytest.approx(inverse * ~data.conversion[rows], rel=1e-5)


@every_kind
def test_every_impression_has_what_the_pilot_imputes_and_clicks_the_residual_too(days, kind):
    data, _, _ = days
    config = config_of(kind, selection="dr")
    click, imputed = pilot_of(config, data, data.batch)

    lesson = lessons_for(data, config, seed=1, threads=1).get("conversion")

    shown = data.shown
    label = lesson.facts(data)[shown]
    residual = data.click * (data.conversion - imputed) / np.maximum(click, 0.05)
    assert np.array_equal(lesson.rows(data), shown)
    assert label[:, 0].mean() == pytest.approx(imputed[shown].mean() + residual[shown].mean(), rel=1e-4)
    assert label[:, 0] == pytest.approx((imputed + residual)[shown], abs=1e-4)
    assert label.sum(axis=1) == pytest.approx(np.ones(shown.sum()), abs=1e-4)
    assert label[:, 0].max() > 1 and label[:, 0].min() < 0


@every_kind
def test_the_pilot_predicts_for_the_slot_where_an_ad_was_shown(days, kind):
    """With a position of its own, clicks at the top are not the clicks that select."""
    data, _, _ = days
    hidden = replace(data, click=data.click & (np.random.default_rng(1).random(data.click.shape) < [1.0, 0.6, 0.3]))
    held = replace(hidden, conversion=data.conversion & hidden.click)
    config = config_of(kind, selection="ipw", position="pal", least_propensity=1e-3)

    inverse = lessons_for(held, config, seed=1, threads=1).get("conversion").facts(held)[..., 2]

    # over a slot's clicks 1 / p adds up to its impressions
    for slot in range(3):
        assert inverse[:, slot].sum() == pytest.approx(
            held.shown[:, slot].sum(), rel=0.25
        )  # of the top slot alone they would be 0.6 and 0.3 of it


def test_weights_below_nothing_never_reach_a_calibration(days):
    data, later, _ = days
    config = config_of("lightgbm", selection="dr")

    model, effective, lessons = learn(config, data, later)

    lesson = lessons.get("conversion")
    assert (lesson.facts(later) < 0).any()
    assert (lesson.bounded.facts(later) >= 0).all()
    by_clicks = lessons_for(data, config_of("lightgbm", selection="ipw"), seed=1, threads=1).get("conversion")
    assert np.array_equal(lesson.bounded.facts(later), by_clicks.facts(later))
    size = np.abs(lesson.facts(later)[later.shown].astype(float)).sum(axis=1)
    assert effective["conversion"] == pytest.approx(size.sum() ** 2 / np.square(size).sum() / len(size), rel=1e-5)
    rows, inverse = later.click, lesson.bounded.facts(later)[later.click][:, 2].astype(float)
    p = model.predict(later.batch).conversion[rows].astype(float)
    assert (p * inverse).sum() == pytest.approx((later.conversion[rows] * inverse).sum(), rel=1e-3)


@every_kind
@pytest.mark.parametrize("selection", ["ipw", "dr"])
def test_weights_leave_fewer_rows_effective(days, kind, selection):
    data, later, _ = days

    _, effective, _ = learn(config_of(kind, selection=selection), data, later)

    assert 0.2 < effective["conversion"] < 0.999
    assert "click" not in effective


def test_a_selection_goes_with_a_correction_of_delays(days):
    """Weights of both are multiplied."""
    data, _, _ = days
    delay = np.where(data.conversion, 3_600_000, -1)
    timed = replace(data, time_ms=np.arange(len(delay)) * 20_000, delay_ms=delay, snapshot_ms=10**9)
    both, late, selection = (
        lessons_for(timed, config_of("lightgbm", delay_by="", **own), seed=1, threads=1).get("conversion")
        for own in ({"delay": "fsiw", "selection": "ipw"}, {"delay": "fsiw"}, {"selection": "ipw"})
    )
    p, rows = np.full(timed.click.sum(), 0.3), timed.click

    got = both.weights(p, both.facts(timed)[rows])

    inverse = selection.facts(timed)[rows][:, 2]
    for mine, alone in zip(got, late.weights(p, late.facts(timed)[rows]), strict=True):
        assert mine == pytest.approx(alone * inverse, rel=1e-6)


def test_doubly_robust_labels_and_a_correction_of_delays_are_refused():
    with pytest.raises(ValidationError, match="selection dr takes labels as they are: delay must be none, got fsiw"):
        CorrectConfig(selection="dr", delay="fsiw")
    with pytest.raises(ValidationError, match=r"negatives_kept must be 1 .* with correct\.selection dr"):
        NetworkConfig(kind="network", negatives_kept=0.5, correct=CorrectConfig(selection="dr"))
