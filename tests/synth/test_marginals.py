"""Marginals: the intercepts give the figures asked for, and what cannot be had is refused in words."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit

from synth.config import DelayPoint, MarginalsConfig
from synth.marginals import Exposure, expose, solve, solve_delay, within
from synth.response import DelayLaw

DELAY = ({"hours": 1, "share": 0.35}, {"hours": 24, "share": 0.5}, {"hours": 336, "share": 0.87})


def points(*pairs: tuple[float, float]) -> tuple[DelayPoint, ...]:
    return tuple(DelayPoint(hours=hours, share=share) for hours, share in pairs)


def marginals(**changes) -> MarginalsConfig:
    figures = {"ctr": 0.06, "cvr": 0.2, "repurchase_positives": 0.6, "repurchase_negatives": 0.3, "delay": DELAY}
    return MarginalsConfig.model_validate(figures | changes)


def impressions(known_share: float, m: int = 20_000) -> Exposure:
    """m impressions in slots of effect 1, 0.75 and 0.5, with logits that spread by 0.9 and are higher for known stores."""
    rng = np.random.default_rng(4)
    known = rng.random(m) < known_share
    click = rng.normal(0.3 * known, 0.9)
    return Exposure(
        examination=np.resize([1.0, 0.75, 0.5], m), click=click, conversion=rng.normal(0.4 * click, 0.5), known=known
    )


def test_delays_of_criteos_logs_are_the_mixture_worked_out_by_hand():
    law = solve_delay(points((1, 0.35), (24, 0.5), (336, 0.87)))

    assert law.fast_share == pytest.approx(0.4454, abs=5e-5)
    assert law.fast_mean_h == pytest.approx(0.6596, abs=5e-5)
    assert law.slow_mean_h == pytest.approx(9.6506 * 24, rel=1e-4)


@settings(deadline=None, derandomize=True)
@given(
    share=st.floats(0.1, 0.9), fast=st.floats(0.1, 5.0), ratio=st.floats(10.0, 500.0), first=st.floats(0.5, 1.5),
    rise=st.floats(1.6, 10.0), last=st.floats(0.5, 1.5),
)  # fmt: skip
def test_a_mixture_is_found_again_from_three_of_its_points(share, fast, ratio, first, rise, last):
    law = DelayLaw(share, fast, fast * ratio)
    hours = [first * fast, first * fast * rise, last * law.slow_mean_h]
    assume(hours[1] * 1.5 < hours[2])

    found = solve_delay(points(*((h, within(law, h)) for h in hours)))

    assert [within(found, h) for h in hours] == pytest.approx([within(law, h) for h in hours], abs=1e-8)
    assert found.fast_mean_h < found.slow_mean_h


def test_share_within_hours_is_the_distribution_function_of_the_mixture():
    law = DelayLaw(fast_share=0.25, fast_mean_h=1.0, slow_mean_h=10.0)

    assert within(law, 10.0) == pytest.approx(0.25 * (1 - np.exp(-10)) + 0.75 * (1 - np.exp(-1)))
    assert within(law, 0.0) == 0


@pytest.mark.parametrize(
    "pairs",
    [
        ((1, 0.35), (24, 0.3), (336, 0.87)),  # the share falls
        ((1, 0.35), (1, 0.5), (336, 0.87)),  # the hours stand still
        ((24, 0.35), (1, 0.5), (336, 0.87)),
        ((1, 0.1), (2, 0.5), (3, 0.9)),  # orders come faster and faster: no mixture of exponentials does that
    ],
)
def test_impossible_delay_points_are_refused_with_their_values(pairs):
    with pytest.raises(ValueError, match="delay points") as refused:
        solve_delay(points(*pairs))

    for number in np.ravel(pairs):
        assert f"{number:g}" in str(refused.value)


def figures(exposure: Exposure, intercepts) -> dict[str, float]:
    """The six figures, from their definitions in the glossary."""
    habit = np.where(exposure.known, intercepts.habit, 0.0)
    click = exposure.examination * expit(intercepts.click + exposure.click + habit)
    order = click * expit(intercepts.conversion + exposure.conversion + habit)
    long_click = click * expit(intercepts.long_click + exposure.conversion + habit)
    hide = (exposure.examination - click) * expit(intercepts.hide - exposure.click - habit)
    return {
        "ctr": click.mean(),
        "cvr": order.sum() / click.sum(),
        "repurchase_positives": order @ exposure.known / order.sum(),
        "repurchase_negatives": (1 - order) @ exposure.known / (1 - order).sum(),
        "long_click_share": long_click.sum() / click.sum(),
        "hide_rate": hide.mean(),
    }


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    ctr=st.floats(0.005, 0.3), cvr=st.floats(0.02, 0.5), positives=st.floats(0.25, 0.75), long=st.floats(0.2, 0.9),
    hide=st.floats(0.0005, 0.02),
)  # fmt: skip
def test_solved_intercepts_give_the_figures_asked_for(ctr, cvr, positives, long, hide):
    exposure = impressions(0.35)
    orders = ctr * cvr  # what share of the others is known follows from what share of all and of the ordered is
    negatives = (exposure.known.mean() - orders * positives) / (1 - orders)
    asked = marginals(
        ctr=ctr, cvr=cvr, repurchase_positives=positives, repurchase_negatives=negatives, long_click_share=long,
        hide_rate=hide,
    )  # fmt: skip

    intercepts, _, obtained = solve(lambda intercepts, familiar: exposure, asked)

    got = figures(exposure, intercepts)
    for marginal in obtained:
        assert marginal.asked == getattr(asked, marginal.name)
        assert got[marginal.name] == pytest.approx(marginal.asked, rel=0.01)
        assert got[marginal.name] == pytest.approx(marginal.obtained, rel=1e-6)
    assert len(obtained) == 6


def test_the_share_of_familiar_stores_is_moved_until_the_repurchase_shares_hold():
    asked = marginals()
    wanted = 0.012 * 0.6 + 0.988 * 0.3  # share of all impressions whose user knew the store

    _, familiar, obtained = solve(lambda intercepts, familiar: impressions(0.4 * familiar), asked)

    assert familiar == pytest.approx(wanted / 0.4, rel=0.03)
    assert all(m.obtained == pytest.approx(m.asked, rel=0.01) for m in obtained)


def test_a_ctr_above_the_share_of_ads_looked_at_is_refused():
    with pytest.raises(ValueError, match=r"ctr is 0\.8, but only 0\.75 of the impressions"):
        solve(lambda intercepts, familiar: impressions(0.3), marginals(ctr=0.8))


def test_a_hide_rate_above_the_share_of_ads_seen_and_not_clicked_is_refused():
    with pytest.raises(ValueError, match=r"hide_rate is 0\.7, but only 0\.69 of impressions"):
        solve(lambda intercepts, familiar: impressions(0.3), marginals(hide_rate=0.7))


def test_repurchase_shares_that_the_users_histories_cannot_give_are_refused():
    with pytest.raises(ValueError, match=r"repurchase_negatives is 0\.3, but users know only 0\.1"):
        solve(lambda intercepts, familiar: impressions(0.1 * familiar), marginals())


def test_repurchase_shares_are_refused_where_nobody_knows_a_store():
    with pytest.raises(ValueError, match="repurchase"):
        solve(lambda intercepts, familiar: impressions(0.0), marginals())


def test_an_exposure_skips_empty_slots_and_knows_who_ordered_where(population):
    store = np.array([[-1, 5], [7, 9]], np.int32)
    habits = population.habits.copy()
    habits.store[:] = -1
    habits.store[3, 2] = 9
    user, time_ms = np.array([2, 3], np.int32), np.array([0, 0])

    got = expose(population.tastes, habits, user, time_ms, store, np.array([1.0, 0.5]))

    assert got.examination.tolist() == [0.5, 1.0, 0.5]
    assert got.known.tolist() == [False, False, True]
    assert len(got.click) == len(got.conversion) == 3
