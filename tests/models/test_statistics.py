"""What is known of a log before training, against numpy on the whole of it."""

from dataclasses import replace

import numpy as np
import pytest
from blocks import Blocks
from hypothesis import given
from hypothesis import strategies as st

from models.config import NetworkConfig
from models.data import Dataset
from models.errors import Unusable
from models.jagged import Jagged
from models.schema import Side
from models.statistics import fingerprint, log_scaled, statistics_of, vocabulary

CONFIG = NetworkConfig(kind="network", scalings={"known_orders": "log", "ad_cvr": "log"})


@pytest.fixture(scope="module")
def data(planted) -> Dataset:
    """Far from the origin, so that a sum of squares would lose what varies."""
    log = planted(3_000, 4).data
    return replace(log, batch=replace(log.batch, dense=log.batch.dense + np.float32(30_000)))


def signed_log(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.log(1 + np.abs(x))


@pytest.mark.parametrize("blocks", [1, 2, 7])
def test_spreads_are_those_of_numpy_on_the_whole(data, blocks):
    spread = statistics_of(Blocks(data, blocks), CONFIG).spread

    batch, row = data.batch, data.batch.row[data.shown]
    ads = np.hstack((batch.ads.dense, batch.ads.vector))[row].astype(float)
    ads[:, 1] = signed_log(ads[:, 1])
    for side, x in (
        (Side.REQUEST, batch.dense.astype(float)), (Side.AD, ads), (Side.CROSS, signed_log(batch.cross[data.shown].astype(float)))
    ):  # fmt: skip
        assert spread[side].mean == pytest.approx(x.mean(axis=0), rel=1e-6, abs=1e-6)
        assert spread[side].deviation == pytest.approx(x.std(axis=0), rel=1e-4)
        assert spread[side].least == pytest.approx(x.min(axis=0), rel=1e-6)
        assert spread[side].most == pytest.approx(x.max(axis=0), rel=1e-6)


@pytest.mark.parametrize("blocks", [1, 2, 7])
def test_counts_are_of_requests_shown_ads_and_lists(data, blocks):
    counts = statistics_of(Blocks(data, blocks), CONFIG).counts

    batch, shown = data.batch, data.batch.row[data.shown]
    for name, size, values in (
        ("hour", 24, batch.categorical[:, 0]),
        ("region", 4, np.concatenate((batch.categorical[:, 1], batch.lists[1].values))),
        ("cuisine", 5, batch.ads.categorical[shown, 0]),
        ("store", 100, np.concatenate((batch.ads.categorical[shown, 1], batch.lists[0].values))),
    ):
        assert counts[name].tolist() == [(values == v).sum() for v in range(size)]


def test_sizes_are_those_of_the_largest_block(data):
    wide = Jagged.packed(np.where(np.arange(3_000)[:, None] == 2_900, np.zeros((1, 9), int), -1))
    log = replace(data, batch=replace(data.batch, lists=(wide, data.batch.lists[1])))

    statistics = statistics_of(Blocks(log, 3), CONFIG)

    assert statistics.longest == (9, 3)
    assert statistics.n_slots == 3
    assert statistics.requests == (1_000, 1_000, 1_000)


def test_values_outside_a_category_are_counted_nowhere(data):
    categorical = data.batch.categorical.copy()
    categorical[:5, 0] = [24, 500, -1, 24, -1]
    log = replace(data, batch=replace(data.batch, categorical=categorical))

    assert statistics_of(log, CONFIG).counts["hour"].sum() == (np.isin(categorical[:, 0], range(24))).sum()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["dense", "cross", "ads"])
def test_a_number_that_is_not_finite_is_refused_by_its_name(data, part, value):
    batch = data.batch
    if part == "ads":
        dense = batch.ads.dense.copy()
        dense[batch.row[data.shown][0], 1] = value
        batch = replace(batch, ads=replace(batch.ads, dense=dense))
    else:
        changed = getattr(batch, part).copy()
        changed[tuple(np.argwhere(data.shown)[0])[: 1 if part == "dense" else 2]] = value
        batch = replace(batch, **{part: changed})
    name = {"dense": "user_clicks", "cross": "known_orders", "ads": "ad_cvr"}[part]

    with pytest.raises(Unusable, match=f"^{name} is not a finite number in all rows$"):
        statistics_of(replace(data, batch=batch), CONFIG)


def test_what_lies_in_empty_slots_may_be_anything(data):
    cross = np.where(data.shown[:, :, None], data.batch.cross, np.nan)
    spread = statistics_of(replace(data, batch=replace(data.batch, cross=cross)), CONFIG).spread

    assert np.isfinite(spread[Side.CROSS].mean).all()


@pytest.mark.parametrize("task", ["click", "conversion", "cart"])
@pytest.mark.parametrize("value", [False, True])
def test_a_task_of_one_class_is_refused_with_its_counts(data, task, value):
    config = CONFIG.model_copy(update={"tasks": ("click", "conversion", "cart")})
    taught = (data.shown if task == "click" else data.click & data.shown).sum()
    log = (
        replace(data, further=data.further | {task: np.full_like(data.click, value)})
        if task == "cart"
        else replace(data, **{task: np.full_like(data.click, value)})
    )

    with pytest.raises(
        Unusable, match=rf"^cannot learn {task}s: {taught if value else 0} of {taught} rows are positive$"
    ):
        statistics_of(log, config)


def test_a_task_that_the_log_does_not_have_is_refused(data):
    config = CONFIG.model_copy(update={"tasks": ("click", "conversion", "sign_up")})

    with pytest.raises(Unusable, match="no label for the task sign_up; there are click, conversion, cart, organic"):
        statistics_of(data, config)


def test_a_scaling_of_an_unknown_column_is_refused_with_those_there_are(data):
    config = CONFIG.model_copy(update={"scalings": {"cuisine": "log"}})

    with pytest.raises(
        Unusable,
        match=r"^scalings names cuisine, which is no dense feature; there are user_clicks, ad_ctr, ad_cvr, known_orders$",
    ):
        statistics_of(data, config)


def test_the_log_keeps_the_sign_and_leaves_other_columns():
    x = np.array([[0.0, 5.0], [np.e - 1, -5.0], [1 - np.e, 7.0]], np.float32)

    assert log_scaled(x, np.array([True, False])) == pytest.approx(np.array([[0, 5], [1, -5], [-1, 7]]), abs=1e-6)


@pytest.mark.parametrize(
    ("most", "least", "kept"),
    [(9, 1, [3, 1, 4, 0]), (9, 2, [3, 1, 4]), (2, 1, [3, 1]), (1, 8, [3]), (9, 9, []), (9, 5, [3, 1, 4]), (3, 6, [3])],
)
def test_a_vocabulary_is_of_the_commonest_values_that_are_common_enough(most, least, kept):
    """Values 0 to 4 were seen 1, 5, 0, 8 and 5 times; of equally common ones the first comes first."""
    assert vocabulary(np.array([1, 5, 0, 8, 5]), most, least).tolist() == kept


@given(counts=st.lists(st.integers(0, 6), min_size=1, max_size=12), most=st.integers(1, 12), least=st.integers(1, 7))
def test_no_value_outside_a_vocabulary_is_commoner_than_one_inside(counts, most, least):
    kept = vocabulary(np.array(counts), most, least).tolist()

    others = [n for v, n in enumerate(counts) if v not in kept]
    assert len(kept) == min(most, sum(n >= least for n in counts))
    assert min((counts[v] for v in kept), default=7) >= max([n for n in others if n >= least], default=0)


def test_fingerprints_tell_logs_apart_and_know_one_again(data):
    one, again = (fingerprint(statistics_of(Blocks(data, 2), CONFIG)) for _ in range(2))
    category = data.batch.categorical.copy()
    category[0, 0] = (category[0, 0] + 2) % 24
    others = [
        replace(data, batch=replace(data.batch, categorical=category)),
        replace(data, batch=replace(data.batch, dense=data.batch.dense * 2)),
        replace(data, conversion=data.conversion & (np.arange(len(data.batch)) > 3)[:, None]),
    ]

    assert one == again
    assert one not in [fingerprint(statistics_of(Blocks(log, 2), CONFIG)) for log in others]
    assert one != fingerprint(statistics_of(Blocks(data, 3), CONFIG))
