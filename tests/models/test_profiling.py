"""Scoring curves: what is called, with what, how often, and what a point says; no time is asserted."""

from dataclasses import replace
from itertools import pairwise, permutations

import lightgbm
import numpy as np
import pytest
import torch

from models.calibrators import Platt
from models.config import GbdtConfig, NetworkConfig
from models.errors import Unusable
from models.gbdt import fit_gbdt
from models.predictor import Model
from models.profiling import Point, Timed, curve_of, curves_of, in_turn, scoring_curve, sized, torch_threads
from models.scoring import PAIRS
from models.serving import has_fast_int8
from models.train import fit_network

BYTES = has_fast_int8(torch.device("cpu")) and not torch.cuda.is_available()
FORMS = [
    "float32",
    "bfloat16",
    pytest.param("int8", marks=pytest.mark.skipif(not BYTES, reason="no products of bytes")),
]
NETWORK = {"kind": "network", "hidden": (32, 16), "batch_requests": 128, "learning_rate": 8e-3, "serving": "float32"}
K = 3  # slots of the planted log


@pytest.fixture(scope="module")
def network(train):
    predictor = fit_network(train.data, NetworkConfig.model_validate(NETWORK), seed=1, threads=1)
    return Model(predictor=predictor, kind="network", click=Platt(0.9, -0.1), conversion=Platt(1.0, 0.0))


@pytest.fixture(scope="module")
def trees(train):
    config = GbdtConfig(kind="lightgbm", trees=10, leaves=8, min_rows_per_leaf=40)
    predictor = fit_gbdt(train.data, config, seed=1, threads=1)
    return Model(predictor=predictor, kind="lightgbm", click=Platt(1.0, 0.0), conversion=Platt(1.0, 0.0))


class Clock:
    """Time that passes in calls alone, as long as they are told to take."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, iter(seconds)

    def __call__(self):
        return self.now

    def predict(self, batch):
        self.now += next(self.seconds)


def numbered(batch):
    """The batch, whose requests can be told apart."""
    return replace(batch, dense=np.arange(len(batch), dtype=np.float32)[:, None])


def test_the_sizes_asked_for_are_measured_in_their_order(test):
    points = scoring_curve(lambda batch: None, test.data.batch, [16, 1, 5], budget_s=0.0, least_calls=7)

    assert [(p.requests, p.rows, p.calls) for p in points] == [(16, 16 * K, 7), (1, K, 7), (5, 5 * K, 7)]
    assert all(p.seconds > 0 for p in points)


def test_a_point_is_the_median_of_the_calls_that_did_not_warm_up(test, monkeypatch):
    clock = Clock([64.0, 64.0, 8.0, 1.0, 2.0, 32.0, 4.0])
    monkeypatch.setattr("models.profiling.perf_counter", clock)

    assert scoring_curve(clock.predict, test.data.batch, [2], budget_s=0.0) == [Point(2, 2 * K, 4.0, 5)]


def test_each_size_takes_about_its_budget_and_no_size_takes_that_of_another(test, monkeypatch):
    """Rounds of 2.5 / 5 = 0.5 s: two calls of 0.25 s, or one of 4 s."""
    clock = Clock([])
    monkeypatch.setattr("models.profiling.perf_counter", clock)

    def predict(batch):
        clock.now += 0.25 if len(batch) == 1 else 4.0

    assert scoring_curve(predict, test.data.batch, [1, 9], budget_s=2.5) == [
        Point(1, K, 0.25, 10), Point(9, 9 * K, 4.0, 5)
    ]  # fmt: skip


def test_sizes_are_called_in_turn_round_by_round(test):
    seen = []
    scoring_curve(lambda batch: seen.append(len(batch)), test.data.batch, [1, 4], budget_s=0.0, least_calls=6)

    assert seen == [1, 1, 4, 4] + [1, 4] * 6


@pytest.mark.parametrize("n", [1, 3, 7, 10])
def test_calls_take_other_requests_of_the_batch_until_there_are_no_more(test, n):
    batch, seen = numbered(test.data.batch.rows(0, 10)), []
    scoring_curve(lambda some: seen.append(some.dense[:, 0].tolist()), batch, [n], budget_s=0.0, least_calls=20)

    whole = 10 // n
    assert seen == [list(range(i % whole * n, (i % whole + 1) * n)) for i in range(22)]


@pytest.mark.parametrize(
    ("requests", "least", "words"),
    [
        ([4, 11], 5, "a call has 11 requests, it must be 1 to 10, those of the batch"),
        ([0], 5, "a call has 0 requests"),
        ([], 5, "0 calls, each at least 5 times"),
        ([1], 0, "1 calls, each at least 0 times"),
    ],
)
def test_what_cannot_be_timed_is_refused_before_a_call(test, requests, least, words):
    with pytest.raises(Unusable, match=words):
        scoring_curve(pytest.fail, test.data.batch.rows(0, 10), requests, least_calls=least)


def test_the_share_done_rises_to_one(test):
    shares = []
    in_turn([Timed(len, 1), Timed(len, 2)], test.data.batch, budget_s=0.0, progress=shares.append)

    assert shares == pytest.approx([i / 12 for i in range(1, 13)])


def test_models_are_timed_in_turn_and_told_apart(network, trees, test, monkeypatch):
    calls = []
    real = Model.predict
    monkeypatch.setattr(Model, "predict", lambda self, b: calls.append((self.kind, len(b))) or real(self, b))

    curves = curves_of([network, trees], test.data.batch, [2, 6], budget_s=0.0, least_calls=3)

    assert [[(p.requests, p.rows, p.calls) for p in own] for own in curves] == [[(2, 2 * K, 3), (6, 6 * K, 3)]] * 2
    assert calls[8:] == [(kind, n) for _ in range(3) for kind in ("network", "lightgbm") for n in (2, 6)]


def rows_scored(model, requests, batch):
    """Requests of each block that a network scores."""
    seen = []
    predictor = model.predictor.in_blocks(PAIRS)
    predictor._pair = lambda request, ads, cross, slot: (
        seen.append(len(cross)) or model.predictor._pair(request, ads, cross, slot)
    )
    sized(replace(model, predictor=predictor), requests, K).predict(batch.rows(0, requests))
    return seen


@pytest.mark.parametrize(("requests", "blocks"), [(1, [1]), (40, [40]), (2133, [2133]), (2135, [1068, 1068])])
def test_a_network_scores_no_more_than_the_requests_of_a_call(network, test, requests, blocks):
    assert rows_scored(network, requests, test.data.batch) == blocks  # 6,400 candidates are 2,133 requests of three


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("requests", [1, 7, 200])
def test_blocks_of_their_own_size_give_the_probabilities_of_the_whole(network, train, test, form, requests):
    """To the last bits of sums in float32; in bfloat16 and bytes, where those may decide a rounding, to a step of 8 bits."""
    predictor = network.predictor.served(form, sample=train.data.batch if form == "int8" else None)
    served, batch = replace(network, predictor=predictor), test.data.batch.rows(0, 200)

    whole, parts = served.predict(batch), sized(served, requests, K).predict(batch)

    for ours, theirs in zip(parts, whole, strict=True):
        assert ours == pytest.approx(theirs, abs=2**-18 if form == "float32" else 2**-8)


@pytest.mark.parametrize("form", FORMS)
def test_within_one_size_of_blocks_a_row_does_not_depend_on_its_company(network, train, test, form):
    predictor = network.predictor.served(form, sample=train.data.batch if form == "int8" else None).in_blocks(20 * K)
    batch = test.data.batch.rows(0, 90)
    whole = predictor.logits(batch)

    for cuts in ([0, 1, 90], [0, 20, 50, 90]):
        parts = [predictor.logits(batch.rows(a, b)) for a, b in pairwise(cuts)]
        for of_parts, of_whole in zip(zip(*parts, strict=True), whole, strict=True):
            assert np.array_equal(np.concatenate(of_parts), of_whole)


def test_blocks_of_another_size_leave_the_network_as_it_was(network):
    other = network.predictor.in_blocks(60)

    assert (other.pairs, network.predictor.pairs) == (60, PAIRS)
    assert other.net is network.predictor.net and other.scoring is network.predictor.scoring


@pytest.mark.parametrize("order", list(permutations([1, 2, 3], 2)))
def test_torch_has_the_threads_asked_for_in_a_call_and_its_own_afterwards(network, test, monkeypatch, order):
    inside, before = order
    torch.set_num_threads(before)  # the fixture puts it back
    seen = set()
    real = Model.predict
    monkeypatch.setattr(Model, "predict", lambda self, b: seen.add(torch.get_num_threads()) or real(self, b))

    curve_of(network, test.data.batch, [1], threads=inside, budget_s=0.0)

    assert seen == {inside}
    assert torch.get_num_threads() == before


def test_threads_are_put_back_when_a_call_fails(network, test, monkeypatch):
    def fails(self, batch):
        raise ZeroDivisionError

    monkeypatch.setattr(Model, "predict", fails)
    with pytest.raises(ZeroDivisionError):
        curve_of(network, test.data.batch, [1], threads=3)
    assert torch.get_num_threads() == 1
    with pytest.raises(ZeroDivisionError), torch_threads(2):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 1


def test_trees_are_scored_on_the_threads_asked_for_and_say_the_same(trees, test, monkeypatch):
    seen = []
    real = lightgbm.Booster.predict

    def watched(self, x, **settings):
        seen.append(settings["num_threads"])
        return real(self, x, **settings)

    monkeypatch.setattr(lightgbm.Booster, "predict", watched)
    batch = test.data.batch.rows(0, 50)
    alone, both = trees.predict(batch), sized(trees, 50, K, threads=2).predict(batch)
    assert seen == [1, 1, 2, 2]
    assert all(np.array_equal(a, b) for a, b in zip(alone, both, strict=True))
    seen.clear()
    curve_of(trees, batch, [1], threads=2, budget_s=0.0)
    assert set(seen) == {2}
