"""Delayed feedback inside training: what a model predicts over what is true, of snapshots and of streams."""

import numpy as np
import pytest
from blocks import Blocks
from latecomers import Latecomers
from scipy.special import expit

from models.config import CorrectConfig, GbdtConfig, NetworkConfig, TwoTowerConfig
from models.corrections import lessons_of
from models.data import Dataset
from models.delayed import METHODS, Weibull
from models.errors import Unusable
from models.predictor import calibrated, fit, lessons_for, load_model, save_model

KINDS = {
    "lightgbm": GbdtConfig(kind="lightgbm", trees=30, leaves=8, min_rows_per_leaf=40),
    "network": NetworkConfig(kind="network", hidden=(16,), batch_requests=256, epochs=2),
    "two_tower": TwoTowerConfig(kind="two_tower", tower=(16,), vector=16, batch_requests=256, epochs=2),
}
every_kind = pytest.mark.parametrize("kind", ["lightgbm", "network", pytest.param("two_tower", marks=pytest.mark.deep)])
WINDOW_H, WAIT_H, MEAN_H, SCALE_H, SHAPE = 72.0, 6.0, 30.0, 20.0, 0.6
STREAMS = [name for name, method in METHODS.items() if method.streams]


def exponential(rng: np.random.Generator, shape: tuple[int, ...], mean_h: float = MEAN_H) -> np.ndarray:
    """Hours, all within the window."""
    return -mean_h * np.log1p(rng.random(shape) * np.expm1(-WINDOW_H / mean_h))


def weibull(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    whole = -np.expm1(-((WINDOW_H / SCALE_H) ** SHAPE))
    return SCALE_H * (-np.log1p(-rng.random(shape) * whole)) ** (1 / SHAPE)


def two_speeds(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.45, exponential(rng, shape, 1.0), exponential(rng, shape, 60.0))


LAWS = {"exponential": exponential, "weibull": weibull, "two speeds": two_speeds}


def by_then(hours: np.ndarray) -> np.ndarray:
    """Share of the conversions of `exponential` that come within hours."""
    return np.expm1(-np.minimum(hours, WINDOW_H) / MEAN_H) / np.expm1(-WINDOW_H / MEAN_H)


@pytest.fixture(scope="module")
def late(planted) -> dict[str, Latecomers]:
    """Four days of clicks, by the law of their delays."""
    found = planted(24_000, 7)
    return {name: Latecomers.of(found.data, found.conversion, 96, law) for name, law in LAWS.items()}


def config_of(kind: str, **correct):
    settings = {"delay_by": "", "window_hours": WINDOW_H, "wait_hours": WAIT_H} | correct
    return KINDS[kind].model_copy(update={"correct": CorrectConfig(**settings)})


def learn(config, data, later, start=None):
    """A calibrated model, the effective shares of its calibration, and the bare predictor."""
    lessons = lessons_for(data, config, seed=1, threads=1)
    predictor = fit(data, config, seed=1, threads=1, lessons=lessons, start=start)
    return (*calibrated(predictor, config, later, lessons), predictor)


def over_truth(predicted: np.ndarray, data: Dataset, p: np.ndarray, of: np.ndarray | None = None) -> float:
    """Mean of what is predicted for clicks over that of the truth; of some clicks only, where they are given."""
    rows = data.click if of is None else data.click & of
    return float(predicted[rows].sum(dtype=float) / p[rows].sum())


CASES = [
    ("exponential", "window"), ("exponential", "dfm"), ("exponential", "fsiw"), ("weibull", "dfm_weibull"),
    ("two speeds", "window"), ("two speeds", "fsiw"),
]  # fmt: skip


@pytest.mark.parametrize(("law", "method"), CASES)
@every_kind
def test_a_snapshot_corrected_gives_the_rate_of_conversions_that_come_in_the_end(late, kind, law, method):
    """Clicks of three days teach, those of the last calibrate: not half of their conversions have come."""
    (data, before), (later, p) = late[law].at(96, 0, 72), late[law].at(96, 72, 96)

    model, _, predictor = learn(config_of(kind, delay=method), data, later)

    bare = expit(predictor.logits(data.batch)[1].astype(float))
    assert over_truth(bare, data, before) == pytest.approx(1, abs=0.05)
    assert over_truth(model.predict(later.batch).conversion, later, p) == pytest.approx(1, abs=0.08)


@every_kind
def test_labels_as_they_stand_give_what_has_come_by_then(late, kind):
    """A third of the last day's, nine in ten of the days before: the law of the delays over the clicks' ages."""
    (data, before), (later, p) = late["exponential"].at(96, 0, 72), late["exponential"].at(96, 72, 96)

    model, effective, predictor = learn(config_of(kind, delay="none"), data, later)

    day, older = by_then(np.linspace(0, 24, 2_000)).mean(), by_then(np.linspace(24, 96, 2_000)).mean()
    assert day < 0.4
    bare = expit(predictor.logits(data.batch)[1].astype(float))
    assert over_truth(bare, data, before) == pytest.approx(older, abs=0.03)
    assert over_truth(model.predict(later.batch).conversion, later, p) == pytest.approx(day, abs=0.03)
    assert effective == {}


@every_kind
def test_final_labels_need_no_correction(late, kind):
    world = late["exponential"]
    (data, before), (later, p) = (world.at(1e6, *days) for days in ((0, 72), (72, 96)))

    model, effective, predictor = learn(config_of(kind, delay="oracle"), data, later)

    bare = expit(predictor.logits(data.batch)[1].astype(float))
    assert over_truth(bare, data, before) == pytest.approx(1, abs=0.05)
    assert over_truth(model.predict(later.batch).conversion, later, p) == pytest.approx(1, abs=0.04)
    assert effective == {}


def test_one_law_of_exponential_form_is_wrong_of_two_speeds(late):
    """Why there is a law free of form."""
    world = late["two speeds"]
    (data, p), (later, _) = world.at(96, 0, 72), world.at(96, 72, 96)

    low, right = (
        learn(config_of("lightgbm", delay=name, calibrate="none"), data, later)[0].predict(data.batch).conversion
        for name in ("dfm", "fsiw")
    )

    assert over_truth(low, data, p) < over_truth(right, data, p) - 0.03


@pytest.fixture(scope="module")
def two_goals(planted) -> tuple[Latecomers, np.ndarray]:
    """Ads of cuisine 0, whose conversions are slow, among others; and which are such."""
    found = planted(24_000, 9)
    slow = found.data.batch.ads.categorical[found.data.batch.row, 0] == 0

    def law(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.where(slow, exponential(rng, shape, 60.0), exponential(rng, shape, 4.0))

    return Latecomers.of(found.data, found.conversion, 96, law), slow


@pytest.mark.parametrize("method", ["window", "dfm", "fsiw"])
def test_categories_with_delays_of_their_own_are_corrected_each_by_its_law(two_goals, method):
    world, slow = two_goals
    (data, before), (later, _) = world.at(96, 24, 84), world.at(96, 84, 96)
    own, pooled = (
        learn(config_of("lightgbm", delay=method, delay_by=by, calibrate="none"), data, later)[2]
        for by in ("cuisine", "")
    )
    of_slow = slow[np.isin(world.data.time_ms, data.time_ms)]

    def ratio(predictor, of: np.ndarray) -> float:
        return over_truth(expit(predictor.logits(data.batch)[1].astype(float)), data, before, of)

    assert ratio(own, of_slow) == pytest.approx(1, abs=0.1)
    assert ratio(own, ~of_slow) == pytest.approx(1, abs=0.04)
    assert ratio(pooled, of_slow) < ratio(own, of_slow) - 0.05


def test_a_category_of_few_conversions_has_the_law_of_all(two_goals):
    """Below 200 conversions of its own."""
    world, _ = two_goals
    data, _ = world.at(12, 0, 12)
    by_cuisine, pooled = (
        lessons_of(data, config_of("lightgbm", delay="fsiw", delay_by=by).correct).get("conversion").facts(data)
        for by in ("cuisine", "")
    )
    cuisine = data.batch.ads.categorical[data.batch.row, 0]
    came = np.bincount(cuisine[data.click & data.conversion], minlength=5)
    few = np.isin(cuisine, np.flatnonzero(came < 200)) & data.click

    assert few.any() and (came >= 200).any()
    assert np.array_equal(by_cuisine[few], pooled[few])
    assert not np.array_equal(by_cuisine[data.click], pooled[data.click])


def test_delays_by_what_is_no_category_of_ads_are_refused_with_those_there_are(late):
    data, _ = late["exponential"].at(96, 0, 72)

    with pytest.raises(
        Unusable, match=r'correct\.delay_by is goal, which is no category of ads; there are cuisine, store, or ""'
    ):
        lessons_of(data, CorrectConfig(delay="fsiw"))


def test_a_log_without_times_of_conversions_is_refused(train):
    with pytest.raises(Unusable, match="needs the times of conversions, which this log does not give"):
        lessons_of(train.data, CorrectConfig(delay="fsiw", delay_by=""))


@pytest.fixture(scope="module")
def flowing(planted) -> Latecomers:
    """A week of clicks."""
    found = planted(28_000, 8)
    return Latecomers.of(found.data, found.conversion, 168, exponential)


@pytest.mark.parametrize("method", STREAMS)
@every_kind
def test_a_stationary_stream_corrected_gives_the_rate_of_conversions_that_come_in_the_end(flowing, kind, method):
    """Three days teach, with the conversions that came in since of clicks made before; the next day calibrates."""
    (data, _), (later, _) = flowing.stream(72, 144, WINDOW_H), flowing.stream(144, 168, WINDOW_H)
    today, p = flowing.at(168, 144, 168)

    model, effective, predictor = learn(config_of(kind, delay=method), data, later)

    bare = expit(predictor.logits(today.batch)[1].astype(float))
    inside = (
        (p / (1 + p))[today.click].sum() / p[today.click].sum() if method == "fnc" else 1.0
    )  # a positive was a negative
    assert over_truth(bare, today, p) == pytest.approx(inside, abs=0.08)
    assert over_truth(model.predict(today.batch).conversion, today, p) == pytest.approx(1, abs=0.06)
    assert 0.5 < effective["conversion"] < 1


def test_a_stream_read_without_correction_is_low(flowing):
    (data, _), (later, p) = flowing.at(144, 72, 144), flowing.at(168, 144, 168)

    model = learn(config_of("lightgbm", delay="none"), data, later)[0]

    assert over_truth(model.predict(later.batch).conversion, later, p) < 0.45


@pytest.mark.parametrize("method", STREAMS)
def test_a_network_that_goes_on_day_by_day_keeps_the_rate(flowing, method):
    config = config_of("network", delay=method, calibrate="none")
    days = [flowing.stream(start, start + 24, WINDOW_H)[0] for start in (72, 96, 120, 144)]
    today, p = flowing.at(168, 144, 168)
    network = None
    for data in days[:3]:
        model, _, network = learn(config, data, days[3], start=network)

    assert over_truth(model.predict(today.batch).conversion, today, p) == pytest.approx(1, abs=0.1)


def test_what_a_stream_holds_of_the_time_before_teaches_no_clicks(flowing):
    data, _ = flowing.stream(72, 144, WINDOW_H)
    old = data.time_ms < data.since_ms

    assert old.any() and data.click[old].any() and not (data.shown[old] & ~data.click[old]).any()
    assert not data.taught_by("click")[old].any()
    lesson = lessons_of(data, config_of("lightgbm", delay="es_dfm").correct).get("conversion")
    assert lesson.facts(data)[old][..., :2].sum() > 0


def test_a_very_young_snapshot_leaves_few_effective_rows(late):
    """Clicks of minutes and hours: those few whose conversions have come count for many."""
    world = late["exponential"]
    (data, _), (later, _) = world.at(96, 0, 72), world.at(96, 93, 96)

    young, plain = (learn(config_of("lightgbm", delay=name), data, later)[1] for name in ("fsiw", "none"))

    assert young["conversion"] < 0.2
    assert plain == {}


@pytest.mark.parametrize(
    ("kind", "method"), [(kind, "fnc") for kind in KINDS] + [("lightgbm", name) for name in METHODS]
)
def test_a_saved_model_of_any_method_predicts_as_before(flowing, schema, tmp_path, kind, method):
    config = config_of(kind, delay=method)
    quick = {"trees": 5} if kind == "lightgbm" else {"epochs": 1}
    data, later = flowing.stream(72, 84, WINDOW_H)[0], flowing.stream(84, 96, WINDOW_H)[0]
    model, _, predictor = learn(config.model_copy(update=quick), data, later)

    save_model(model, predictor, schema, tmp_path / "model")

    before, after = model.predict(later.batch), load_model(tmp_path / "model").predict(later.batch)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("method", ["dfm", "defer"])
@pytest.mark.parametrize("kind", ["network", "two_tower"])
def test_an_interrupted_training_goes_on_to_the_same_bits(flowing, tmp_path, kind, method):
    config = config_of(kind, delay=method, position="pal")
    source = Blocks(flowing.stream(72, 96, WINDOW_H)[0], 3)

    def interrupt(share: float) -> None:
        if share > 0.26:  # in the second block of the first of two epochs
            raise Interrupted

    def trained(**more):
        lessons = lessons_for(source, config, seed=1, threads=1)
        return fit(source, config, seed=3, threads=1, lessons=lessons, **more)

    whole = trained()
    with pytest.raises(Interrupted):
        trained(checkpoint=tmp_path / "kept", progress=interrupt)
    resumed = trained(checkpoint=tmp_path / "kept")

    first, second = (network.logits(source.data.batch) for network in (whole, resumed))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert np.array_equal(whole.slots.values, resumed.slots.values)


@pytest.mark.parametrize("method", ["fsiw", "es_dfm"])
def test_lessons_of_blocks_are_those_of_the_whole(flowing, method):
    """Laws are of the log, not of a block."""
    data, _ = flowing.stream(72, 96, WINDOW_H)
    correct = config_of("lightgbm", delay=method).correct
    whole = lessons_of(data, correct).get("conversion").facts(data)

    parts = [lessons_of(Blocks(data, 3), correct).get("conversion").facts(block) for block in Blocks(data, 3).blocks()]

    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", ["network", "two_tower"])
def test_logits_of_a_row_do_not_depend_on_its_batch(flowing, kind):
    data, _ = flowing.stream(72, 96, WINDOW_H)
    model, _, _ = learn(config_of(kind, delay="fnc", position="pal"), data, data)

    whole = model.predict(data.batch)
    parts = [model.predict(data.batch.rows(a, b)) for a, b in ((0, 1), (1, 900), (900, len(data.batch)))]

    for task, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(np.concatenate(pieces), task)


def test_the_law_that_is_found_is_the_one_that_was_planted(late):
    """Read from the facts: the share that has come of clicks by their age."""
    data, _ = late["weibull"].at(96, 0, 96)
    share = lessons_of(data, config_of("lightgbm", delay="dfm_weibull").correct).get("conversion").facts(data)[..., 2]

    age_h = np.broadcast_to((data.snapshot_ms - data.time_ms)[:, None] / 3_600_000, data.click.shape)[data.click]
    assert share[data.click] == pytest.approx(Weibull(SCALE_H, SHAPE, WINDOW_H).by(age_h), abs=0.03)
