"""Online bias in the market: factors by hand, a campaign that is over-predicted by 2, and what must not show."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ticks import Ticks

from marketplace.arm import Arm
from marketplace.assignment import everyone
from marketplace.comparison import corrected
from marketplace.market import load_world, model_arm
from marketplace.online import new_online
from marketplace.record import LogRecorder
from marketplace.schema import log_schema
from marketplace.serve import Scored
from marketplace.simulate import simulate
from marketplace.state import load_state
from marketplace.training import said, train
from models.bias import online_bias
from models.config import CorrectConfig, GbdtConfig
from models.data import Predictions
from models.predictor import load_model
from synth.types import DAY_MS

ONLINE = CorrectConfig(online="campaign", online_prior=10.0, online_half_life=48.0)
OFFLINE = ONLINE.model_copy(update={"calibrate": "isotonic"})
SLOT_EFFECT = np.array([1.0, 0.5])


def scored(raw, campaign, arm) -> Scored:
    raw = np.array(raw, np.float32)
    nothing, campaign = np.empty(0), np.array(campaign, np.int32)
    return Scored(
        requests=nothing, visits=nothing, arm=np.array(arm), retrieved=campaign, ad=campaign, campaign=campaign, line=campaign,
        account=campaign, side=np.broadcast_to(np.array(arm)[:, None], campaign.shape),
        batch=nothing, raw_pctr=raw, pctr=raw, pcvr=raw, randomised=nothing, late=np.zeros(raw.shape, bool), n_slots=2,
    )  # fmt: skip


def shown(column, campaign, clicked, arm=0):
    """Winners by slot; -1 is an empty slot."""
    outcomes = SimpleNamespace(clicked=np.array(clicked, bool))
    return SimpleNamespace(
        column=np.array(column),
        ad=np.array(campaign),
        campaign=np.array(campaign),
        outcomes=outcomes,
        arm=np.broadcast_to(np.array(arm)[..., None], (len(column), 1)),
    )


def arms(bias=None):
    mine = Arm("mine", lambda batch: None, lambda *_: None, bias=bias or online_bias(prior=2.0, half_life=10.0))
    return mine, mine._replace(name="plain", bias=None)


def test_the_factor_is_real_over_expected_in_the_slots_by_hand():
    """Campaign 0: 1 click of 0.4 + 0.5 x 0.6 expected, so (1 + 2) / (0.7 + 2); campaign 1: (0 + 2) / (0.8 + 2)."""
    online = new_online(arms(), 3)
    first = scored([[0.4, 0.8], [0.1, 0.6]], [[0, 1], [2, 0]], [0, 0])

    online.count(first, shown([[0, -1], [1, -1]], [[0, -1], [0, -1]], [[1, 0], [0, 0]]), np.array([1.0, 0.5]))
    online.count(first, shown([[1, -1], [-1, -1]], [[1, -1], [-1, -1]], [[0, 0], [0, 0]]), SLOT_EFFECT)
    assert online.correct(first).pctr == pytest.approx(first.raw_pctr)  # nothing is published yet
    online.publish()

    factor = [3 / 3.0, 2 / 2.8, 1.0]
    assert online.factor[0] == pytest.approx([*factor, 1.0])
    assert online.correct(first).pctr == pytest.approx(
        np.array([[0.4 * factor[0], 0.8 * factor[1]], [0.1, 0.6 * factor[0]]])
    )


def test_a_fallbacks_predictions_are_neither_learnt_from_nor_corrected_by_hand():
    """As above without the second request: campaign 0 has 1 click of 0.4 expected, so (1 + 2) / (0.4 + 2)."""
    online = new_online(arms(), 3)
    late = np.array([[False, False], [True, True]])
    first = replace(scored([[0.4, 0.8], [0.1, 0.6]], [[0, 1], [2, 0]], [0, 0]), late=late)

    online.count(first, shown([[0, -1], [1, -1]], [[0, -1], [0, -1]], [[1, 0], [0, 0]]), SLOT_EFFECT)
    online.publish()

    assert online.factor[0] == pytest.approx([3 / 2.4, 1.0, 1.0, 1.0])
    assert online.correct(first).pctr == pytest.approx(np.array([[0.5, 0.8], [0.1, 0.6]]))


def test_an_arm_learns_from_its_own_ads_alone_and_one_without_bias_is_left_alone():
    online = new_online(arms(), 1)
    both = scored([[0.5], [0.5]], [[0], [0]], [0, 1])

    online.count(both, shown([[-1], [0]], [[-1], [0]], [[0], [1]], (0, 1)), SLOT_EFFECT[:1])
    online.publish()
    assert online.factor[0, 0] == 1.0
    online.count(both, shown([[0], [0]], [[0], [0]], [[0], [1]], (0, 1)), SLOT_EFFECT[:1])
    online.publish()

    assert online.correct(both).pctr[:, 0] == pytest.approx([0.5 * 2 / 2.5, 0.5])
    none = new_online((arms()[1],), 1)
    assert none.correct(both) is both


def test_the_factor_goes_to_real_over_expected_of_the_model_itself_and_stays_there():
    """The model says 0.4 where 0.2 is true: were the corrected 0.2 what is expected, the factor would go back to 1."""
    online = new_online(arms(online_bias(prior=0.5, half_life=20.0)), 1)
    clicked = (np.arange(100) % 5 == 0)[:, None]
    for _ in range(200):
        now = online.correct(scored(np.full((100, 1), 0.4), np.zeros((100, 1), int), np.zeros(100, int)))
        online.count(now, shown(np.zeros((100, 1), int), np.zeros((100, 1), int), clicked), SLOT_EFFECT[:1])
        online.publish()

    assert online.factor[0, 0] == pytest.approx(0.5, abs=1e-3)
    assert now.pctr == pytest.approx(np.full((100, 1), 0.2), abs=1e-3)


def test_no_candidate_is_left_alone_and_no_probability_is_above_1():
    online = new_online(arms(), 2)
    online.factor[0, :2] = 2.0

    got = online.correct(scored([[0.7, 0.3]], [[1, -1]], [0])).pctr

    assert got.tolist() == [[1.0, pytest.approx(0.3)]]
    assert got.dtype == np.float32


@pytest.fixture(scope="module")
def market(finished, tiny):
    world = load_world(tiny, finished.folder / "truth")
    control = load_model(finished.folder / "models" / "control")

    def run(arm, recorder, days=4, **pace):
        state = load_state(tiny, world, finished.folder / "state")
        first = tiny.calendar.log_days
        users = everyone(tiny.world.population.users)
        return simulate(tiny, world, (arm,), users, state, recorder, first_day=first, days=days, **pace)

    return world, control, run


def calibration(ticks: Ticks, campaign: int) -> tuple[float, int]:
    """Expected, as it was served, over real clicks of a campaign's ads after the first day; and those clicks."""
    expected, real = 0.0, 0
    start = min(int(t.scored.requests.time_ms[0]) for t in ticks.ticks if len(t.scored.requests)) + DAY_MS
    for tick in ticks.ticks:
        own = (tick.shown.campaign == campaign) & (tick.scored.requests.time_ms >= start)[:, None]
        row, slot = np.nonzero(own)
        effect = np.array([1.0, 0.7, 0.5])[slot]
        expected += float((effect * tick.scored.pctr[row, tick.shown.column[row, slot]]).sum())
        real += int(tick.shown.outcomes.clicked[row, slot].sum())
    return expected / max(real, 1), real


def times(arm: Arm, factor: float, campaign: int) -> Arm:
    """The arm, but for one campaign's predicted clicks."""

    def predict(batch):
        predicted = arm.predict(batch)
        own = np.append(batch.ads.categorical[:, 1], -1)[batch.row] == campaign
        click = predicted.click * np.where(own, np.float32(factor), np.float32(1.0))
        return Predictions(click.astype(np.float32), predicted.conversion)

    return arm._replace(predict=predict)


def test_a_campaign_that_is_over_predicted_by_2_is_calibrated_with_it_and_not_without(tiny, market):
    _, control, run = market
    plain, mended = (model_arm(tiny, "control", control, correct) for correct in (CorrectConfig(), ONLINE))
    seen = Ticks()
    run(plain, seen)
    campaign = max(range(tiny.world.campaigns.count), key=lambda c: calibration(seen, c)[1])
    factor = 2.0 / calibration(seen, campaign)[0]
    without, with_it = Ticks(), Ticks()

    run(times(plain, factor, campaign), without)
    run(times(mended, factor, campaign), with_it)

    assert plain.bias is None
    assert calibration(without, campaign)[0] == pytest.approx(2.0, rel=0.15)
    assert calibration(with_it, campaign)[0] == pytest.approx(1.0, abs=0.15)
    assert calibration(with_it, campaign)[1] > 200


def test_online_bias_does_not_show_how_ticks_are_cut_nor_how_many_threads_there_are(tiny, market, tmp_path):
    world, control, run = market
    mended, digests = model_arm(tiny, "control", control, ONLINE), []
    for name, tick, threads in (("a", 10_000, 2), ("b", 37, 1), ("c", 500, 2)):
        with LogRecorder(
            tmp_path / name, log_schema(tiny.world), world.population.content, 0.05, tiny.seed
        ) as recorder:
            run(mended, recorder, days=1, tick_requests=tick, threads=threads)
            digests.append(recorder.digest())
    with LogRecorder(tmp_path / "plain", log_schema(tiny.world), world.population.content, 0.05, tiny.seed) as recorder:
        run(mended._replace(bias=None), recorder, days=1)

    assert digests[0] == digests[1] == digests[2] != recorder.digest()


def test_a_model_that_is_corrected_online_alone_is_trained_once(tiny, finished, tmp_path):
    small = GbdtConfig(kind="lightgbm", trees=3, correct=ONLINE)
    both = {"control": small, "treatment": small.model_copy(update={"correct": OFFLINE})}
    scenario = tiny.model_copy(update={"models": both})

    rows = train(scenario, finished.folder / "log", tmp_path, threads=1, progress=lambda what, share: None)

    assert list(dict.fromkeys((row["model"], row["correct"]) for row in rows)) == [
        ("control", "online=campaign"), ("treatment", "calibrate=isotonic,online=campaign"), ("treatment, uncorrected", ""),
    ]  # fmt: skip


def test_it_is_named_among_corrections_and_its_settings_with_it():
    config = GbdtConfig(kind="lightgbm", correct=ONLINE)

    assert said(config.correct) == "online=campaign"
    found = corrected({"mlp": GbdtConfig(kind="lightgbm")}, "online=campaign,online_prior=20")
    assert found["mlp+online=campaign"].correct.online_prior == 20.0
