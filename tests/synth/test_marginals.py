"""Marginals: the solved world gives the figures asked for, and what cannot be had is refused in a line that names the key."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit

from synth.affinity import Intercepts
from synth.config import MarginalsConfig, WorldConfig
from synth.errors import Impossible
from synth.marginals import Exposure, Solved, solve
from synth.types import Truth
from synth.world import populate, rebuild

M = 6_000
FULL = {
    "ctr": 0.06, "cvr": 0.2, "cart_rate": 0.5, "sign_up_rate": 0.05, "post_view_rate": 0.004, "repurchase_positives": 0.6,
    "repurchase_negatives": 0.3, "long_click_share": 0.7, "hide_rate": 0.003, "sessions_per_day": 0.8, "basket_usd": 30.0,
    "organic_share": 0.4,
}  # fmt: skip


def marginals(**changes) -> MarginalsConfig:
    return MarginalsConfig.model_validate(FULL | changes)


class Market:
    """A market of M impressions in slots of effect 1, 0.75 and 0.5, whose logits spread and are higher for known stores.

    It answers the intercepts, the share of familiar stores, the visits and the basket that it is asked with, and nothing else.
    """

    def __init__(self, known: Callable[[float], float] = lambda familiar: 0.35, m: int = M, bias: float = 0.0) -> None:
        self.known, self.m, self.bias, self.calls = known, m, bias, 0

    def __call__(self, solved: Solved) -> Exposure:
        self.calls += 1
        rng, m, x = np.random.default_rng(4), self.m, solved.intercepts
        known = rng.random(m) < self.known(solved.familiar)
        click, buy = rng.normal(0.3 * known + self.bias, 0.9), rng.normal(0.3 * known, 0.5, m)
        habit = x.habit * known
        n = m // 3
        seen, wish = rng.random((n, 2)) < 0.3, rng.normal(0, 0.7, (n, 2))
        chance = expit(x.organic + wish + x.habit * seen)
        chance[::5, 1] = 0.0  # one view only
        p = {
            "examination": np.resize([1.0, 0.75, 0.5], m), "click": expit(x.click + click + habit),
            "long_click": expit(x.long_click + buy + habit), "hide": expit(x.hide - click - habit),
            "cart": expit(x.cart + buy + habit), "checkout": expit(x.checkout + buy),
            "sign_up": np.where(known, 0.0, expit(x.sign_up + buy)), "post_view": expit(x.post_view + buy + habit),
        }  # fmt: skip
        return Exposure(
            truth=Truth(**{name: part.astype(np.float32) for name, part in p.items()}, known=known),
            request=np.arange(m) // 3, log_price=rng.normal(0, 0.3, m), campaign=(np.arange(m) % 7).astype(np.int32),
            slot=np.arange(m) % 3, chance=chance, known=seen, sessions=round(10_000 * solved.visits), user_days=15_000.0,
        )  # fmt: skip


def figures(exposure: Exposure, solved: Solved, substitution: float) -> dict[str, float]:
    """The figures from their definitions, from what a pilot of the solved market shows."""
    t, known = exposure.truth, exposure.truth.known
    click = t.examination.astype(float) * t.click
    order, unclicked = click * t.cart * t.checkout, t.examination - click
    seen = unclicked * t.post_view
    none = np.ones(len(exposure.chance))  # probability that no ad of the request leads to an order
    np.multiply.at(none, exposure.request, 1 - order - seen)
    organic = ((1 - np.prod(1 - exposure.chance, axis=1)) * (none + (1 - substitution) * (1 - none))).sum()
    return {
        "ctr": click.mean(), "cvr": order.sum() / click.sum(), "carts": click @ t.cart / click.sum(),
        "sign_up_rate": click @ t.sign_up / click.sum(), "post_view_rate": seen.mean(),
        "repurchase_positives": order @ known / order.sum(),
        "repurchase_negatives": (1 - order) @ known / (1 - order).sum(),
        "long_click_share": click @ t.long_click / click.sum(), "hide_rate": (unclicked * t.hide).mean(),
        "sessions_per_day": exposure.sessions / exposure.user_days,
        "basket_usd": solved.basket_usd * (order @ np.exp(exposure.log_price)) / order.sum(),
        "organic_share": organic / (organic + order.sum() + seen.sum()),
    }  # fmt: skip


@settings(max_examples=25)
@given(
    ctr=st.floats(0.005, 0.3), cvr=st.floats(0.02, 0.4), further=st.floats(0.1, 0.9), positives=st.floats(0.25, 0.75),
    long=st.floats(0.2, 0.9), hide=st.floats(0.0005, 0.02), sign_up=st.floats(0.001, 0.3), post_view=st.floats(1e-5, 0.02),
    organic=st.floats(0.05, 0.6), sessions=st.floats(0.1, 5.0), basket=st.floats(1.0, 200.0), substitution=st.floats(0, 1),
)  # fmt: skip
def test_every_figure_asked_for_is_obtained_where_the_market_does_not_react(
    ctr, cvr, further, positives, long, hide, sign_up, post_view, organic, sessions, basket, substitution
):
    market = Market()
    orders = ctr * cvr  # what share of the others is known follows from what share of all and of the ordered is
    known = market(Solved(Intercepts(*[0.0] * 9), 0.5, 1.0, 1.0)).truth.known.mean()
    asked = marginals(
        ctr=ctr, cvr=cvr, cart_rate=cvr + (1 - cvr) * further, repurchase_positives=positives, long_click_share=long,
        repurchase_negatives=(known - orders * positives) / (1 - orders), hide_rate=hide, sign_up_rate=sign_up,
        post_view_rate=post_view, organic_share=organic, sessions_per_day=sessions, basket_usd=basket,
    )  # fmt: skip

    solved, obtained, exposure = solve([market], asked, substitution)

    got = figures(market(solved), solved, substitution)
    assert [m.name for m in obtained] == [*[*got][:9], "organic_share", "sessions_per_day", "basket_usd"]
    for m in obtained:
        assert m.asked == getattr(asked, m.name), m.name
        assert got[m.name] == pytest.approx(m.asked, rel=0.01), m.name
        assert got[m.name] == pytest.approx(m.obtained, rel=1e-5), m.name
    assert market.calls <= 6
    assert len(exposure.request) == M


def test_figures_that_do_not_react_are_obtained_in_the_first_rounds_almost_exactly():
    asked = marginals(repurchase_negatives=0.345)
    market = Market()

    _, obtained, _ = solve([market], asked, 0.5)

    for m in obtained:
        if m.name not in ("repurchase_negatives", "sessions_per_day", "basket_usd"):
            assert m.obtained == pytest.approx(m.asked, rel=1e-4), m.name


def test_the_share_of_familiar_stores_is_moved_until_the_repurchase_shares_hold():
    asked = marginals()
    wanted = 0.012 * 0.6 + 0.988 * 0.3  # share of all impressions whose user knew the store

    solved, obtained, _ = solve([Market(lambda familiar: 0.4 * familiar)], asked, 0.5)

    assert solved.familiar == pytest.approx(wanted / 0.4, rel=0.04)
    assert all(m.obtained == pytest.approx(m.asked, rel=0.01) for m in obtained)


def test_visits_and_baskets_are_moved_until_they_are_those_asked_for():
    market = Market(lambda familiar: 0.4 * familiar)

    solved, _, _ = solve([market], marginals(sessions_per_day=1.6), 0.5)

    assert solved.visits == pytest.approx(1.6 / (10 / 15), rel=0.01)
    assert figures(market(solved), solved, 0.5)["basket_usd"] == pytest.approx(30.0, rel=0.01)


def test_the_last_pilot_counts_and_the_quick_one_comes_first():
    quick, whole = (Market(lambda familiar: 0.4 * familiar, bias=bias) for bias in (1.0, 0.0))

    solved, obtained, _ = solve([quick, whole], marginals(), 0.5)

    assert quick.calls >= 1
    assert figures(whole(solved), solved, 0.5)["ctr"] == pytest.approx(0.06, rel=0.01)
    assert figures(quick(solved), solved, 0.5)["ctr"] > 0.1
    assert next(m.obtained for m in obtained if m.name == "ctr") == pytest.approx(0.06, rel=0.01)


def test_figures_that_are_not_asked_for_are_switched_off_and_not_reported():
    asked = marginals(sign_up_rate=0.0, post_view_rate=0.0, organic_share=0.0)

    solved, obtained, exposure = solve([Market(lambda familiar: 0.4 * familiar)], asked, 0.5)

    assert {m.name for m in obtained}.isdisjoint({"sign_up_rate", "post_view_rate", "organic_share"})
    assert len(obtained) == 9
    for name in ("sign_up", "post_view"):
        assert not getattr(exposure.truth, name).any()
    assert not exposure.chance.any()
    assert solved.intercepts.organic < -100


def test_a_market_that_never_settles_is_reported_as_it_is():
    """Visits that do not answer: ten rounds, then asked and obtained side by side."""

    class Deaf(Market):
        def __call__(self, solved: Solved) -> Exposure:
            return super().__call__(solved._replace(visits=1.0))

    market = Deaf(lambda familiar: 0.4 * familiar)
    _, obtained, _ = solve([market], marginals(sessions_per_day=2.0), 0.5)

    sessions = next(m for m in obtained if m.name == "sessions_per_day")
    assert (sessions.asked, sessions.obtained) == (2.0, pytest.approx(2 / 3))
    assert market.calls == 10


# What cannot be had


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"ctr": 0.8}, r"^marginals\.ctr is 0\.8, but only 0\.75 of the impressions are looked at.*feed\.slot_effect$"),
        ({"hide_rate": 0.7}, r"^marginals\.hide_rate is 0\.7, in this world it can be at most 0\.69$"),
        ({"sign_up_rate": 0.9}, r"^marginals\.sign_up_rate is 0\.9, in this world it can be at most 0\.\d+$"),
        ({"post_view_rate": 0.7}, r"^marginals\.post_view_rate is 0\.7, in this world it can be at most 0\.69$"),
        ({"organic_share": 0.9999}, r"^marginals\.organic_share is 0\.9999, in this world it can be at most 0\.\d+$"),
    ],
)
def test_a_figure_above_what_the_market_can_show_is_refused_in_a_line_with_its_key(changes, line):
    with pytest.raises(Impossible, match=line) as refused:
        solve([Market(lambda familiar: 0.4 * familiar)], marginals(**changes), 0.5)

    assert "\n" not in str(refused.value)


def test_repurchase_shares_that_the_users_histories_cannot_give_are_refused():
    line = r"^marginals\.repurchase_negatives is 0\.3, but users know only 0\.1.* raise world\.habit\.history_stores.*$"
    with pytest.raises(Impossible, match=line):
        solve([Market(lambda familiar: 0.1 * familiar)], marginals(), 0.5)


def test_repurchase_shares_are_refused_where_nobody_has_a_history():
    with pytest.raises(Impossible, match=r"^marginals\.repurchase_negatives is 0\.3, but users know only 0 of"):
        solve([Market(lambda familiar: 0.0)], marginals(), 0.5)


def test_a_pilot_that_shows_no_ad_is_refused_with_what_could_help():
    with pytest.raises(Impossible, match=r"no ad at all: raise campaigns\.daily_budget_usd"):
        solve([Market(m=0)], marginals(), 0.5)


def set_at(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(tree)
    *parents, leaf = path.split(".")
    inner = changed
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[leaf] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("marginals.cvr", 0, "cvr"), ("marginals.cvr", 1, "cvr"), ("marginals.ctr", 0, "ctr"),
        ("marginals.ctr", 1, "ctr"), ("marginals.cart_rate", 0.2, "cart_rate is 0.2, it must be above cvr, 0.2"),
        ("marginals.cart_rate", 0.1, "cart_rate is 0.1, it must be above cvr, 0.2"),
        ("marginals.repurchase_positives", 1, "repurchase_positives"),
        ("marginals.repurchase_negatives", 1, "repurchase_negatives"), ("marginals.organic_share", 1, "organic_share"),
        ("marginals.sign_up_rate", 1, "sign_up_rate"), ("marginals.hide_rate", 0, "hide_rate"),
        ("marginals.sessions_per_day", 0, "sessions_per_day"), ("marginals.basket_usd", -1, "basket_usd"),
        ("feed.slot_effect", [1.0, 1.2], "slot_effect"), ("feed.slot_effect", [1.0, 0.5, 0.6], "slot_effect rises"),
        ("feed.slot_effect", [0.9, 0.5], "slot_effect starts with 0.9"), ("feed.slot_effect", [1.0] * 9, "slots are 9"),
        ("feed.platform_depth", [1.0, 1.0], "feed.platform_depth has 2 entries"),
        ("feed.surfaces", [{"name": "feed", "share": 0.7}], "share of surfaces"),
        ("feed.candidates", 31, "feed.candidates is 31"), ("population.regions", 121, "population.regions are 121"),
        ("population.platform_share", [0.5, 0.4], "platform_share adds up to 0.9"),
        ("population.segments", 49, "segments"),
        ("catalogue.stores", 100, "campaigns need 120 stores"), ("campaigns.cpa_share", 0.6, "cpa_share"),
        ("campaigns.cart_goal_share", 0.6, None), ("intent.views", 0, "organic_share is above 0, then intent.views"),
        ("traffic.hour_weight", [0] * 24, "hour_weight"), ("traffic.weekday_weight", [0] * 7, "weekday_weight"),
        ("traffic.requests_per_session", 0.5, "requests_per_session"),
        ("habit.history_stores", 9, "history_stores is 9, more than history_capacity 8"),
        ("marginals.clicks", 0.1, "clicks"),
    ],
)  # fmt: skip
def test_an_impossible_scenario_is_refused_in_one_line_with_its_key(tree, path, value, words):
    changed = set_at(tree, path, value)
    if words is None:  # two goals that add up to more than 1
        changed, words = set_at(changed, "campaigns.click_goal_share", 0.6), "cart_goal_share"

    with pytest.raises(ValidationError) as refused:
        WorldConfig.model_validate(changed)

    (error,) = refused.value.errors()
    line = f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
    assert words in line
    assert "\n" not in line


def numbers(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all numbers of a scenario."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from numbers(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from numbers(value, (*path, i))
    elif isinstance(tree, int | float):
        yield path


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_number_of_a_scenario_may_be_nan_or_infinite(config, bad):
    whole = config.model_dump(mode="json")
    paths = list(numbers(whole))

    assert len(paths) > 120
    for path in paths:
        tree = copy.deepcopy(whole)
        inner = tree
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = bad
        with pytest.raises(ValidationError) as refused:
            WorldConfig.model_validate(tree)
        assert refused.value.errors()[0]["loc"][: len(path)] == path


def test_delay_points_that_do_not_rise_are_refused(tree):
    points = [{"hours": 1, "share": 0.45}, {"hours": 24, "share": 0.4}, {"hours": 96, "share": 0.92}]
    population = populate(WorldConfig.model_validate(set_at(tree, "marginals.delay", points)), 11)

    with pytest.raises(Impossible, match=r"^marginals\.delay must rise.*0\.4 within 24 h.*$"):
        rebuild(population, Solved(Intercepts(*[0.0] * 9), 0.5, 1.0, 30.0), [])


def test_users_who_come_too_often_are_refused(tree):
    line = r"^marginals\.sessions_per_day 20 and population\.activity_sigma 0\.8 bring a user \d+ times a day, at most 70.*$"
    with pytest.raises(Impossible, match=line):
        populate(WorldConfig.model_validate(set_at(tree, "marginals.sessions_per_day", 20)), 11)
