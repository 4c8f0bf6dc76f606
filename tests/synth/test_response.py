"""Response: what happens has the probabilities that the truth states, and an ad gets the same answer whatever stands beside."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from synth.affinity import NEVER
from synth.fatigue import Fatigue, fatigue_at
from synth.response import respond
from synth.types import CART, CHECKOUT, DAY_MS, SIGN_UP, Requests
from synth.world import World, populate, rebuild

PLAUSIBLE = 1e-4


@pytest.fixture(scope="module")
def happened(answered) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By outcome: where it was possible, where it happened, and with which probability."""
    o, t = answered
    cart, checkout, sign_up = (o.delay_ms[:, :, event] >= 0 for event in (CART, CHECKOUT, SIGN_UP))
    unclicked = o.examined & ~o.clicked
    there = t.examination > 0
    return {
        "click": (there, o.clicked, t.examination * t.click),
        "click of the seen": (o.examined, o.clicked, t.click),
        "long click": (o.clicked & ~cart, o.long_clicked, t.long_click),
        "cart": (o.clicked, cart, t.cart),
        "checkout": (o.clicked & cart, checkout, t.checkout),
        "sign-up": (o.clicked, sign_up, t.sign_up),
        "hide": (unclicked, o.hidden, t.hide),
        "post-view": (unclicked, checkout, t.post_view),
    }


OUTCOMES = ["click", "click of the seen", "long click", "cart", "checkout", "sign-up", "hide", "post-view"]


@pytest.fixture(scope="module")
def pairs(world, minds, requests, visits, shown, by_hand):
    """Rows and slots with an ad, and the logits of the law for them."""
    row, slot = np.nonzero(shown >= 0)
    user, store = requests.user[row], world.population.ads.store[shown[row, slot]]
    return (row, slot), by_hand(world, minds, user, store, requests.time_ms[row], visits.need[row])


def test_the_truth_is_that_of_the_formulas_written_out(world, minds, requests, answered, pairs):
    """Plain numpy for every pair; the kernel's truth is single precision."""
    (row, slot), (click, order, own, known) = pairs
    x, t = world.intercepts, answered[1]
    own = own + x.habit * known
    tired = 0.15 * minds.fatigue.level[requests.user[row]] * 0.5 ** (requests.time_ms[row] / DAY_MS / 7.0)

    expected = {
        "click": expit(x.click + click + own - tired), "long_click": expit(x.long_click + 0.5 * click + own),
        "hide": expit(x.hide - click - own), "cart": expit(x.cart + order + own), "checkout": expit(x.checkout + order),
        "sign_up": np.where(known, 0.0, expit(x.sign_up + order)), "post_view": expit(x.post_view + order + own),
    }  # fmt: skip
    for name, p in expected.items():
        np.testing.assert_allclose(getattr(t, name)[row, slot], p, rtol=2e-5, err_msg=name)
    assert np.array_equal(t.known[row, slot], known)


def test_every_mechanism_is_at_work_in_the_market_that_is_tested(minds, requests, pairs, world):
    (row, _), (click, order, own, known) = pairs

    assert 0.05 < known.mean() < 0.5
    assert (requests.time_ms[row] > DAY_MS).mean() > 0.2
    assert minds.fatigue.level.std() > 1
    assert own[known].std() > 0.3 and own[~known].std() > 0.3
    assert click.std() > 1 and order.std() > 0.5
    assert (world.population.stores.launch_ms > 0).any()


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcomes_happen_with_the_probabilities_of_the_truth(happened, errors, name):
    possible, did, p = happened[name]

    assert possible.sum() > 1_000
    assert errors(did[possible], p[possible]) < 4


@pytest.mark.parametrize("name", OUTCOMES)
def test_probabilities_hold_among_the_likely_and_among_the_unlikely(happened, errors, name):
    possible, did, p = happened[name]
    order = np.argsort(p[possible], kind="stable")

    for part in np.array_split(order, 4):
        if p[possible][part].max() > 0:
            assert errors(did[possible][part], p[possible][part]) < 4


@pytest.mark.parametrize("slot", range(4))
def test_clicks_of_every_slot_happen_with_examination_times_attraction(answered, errors, slot):
    o, t = answered

    assert errors(o.clicked[:, slot], (t.examination * t.click)[:, slot]) < 4


def test_outcomes_do_not_happen_where_they_cannot(answered):
    o, _ = answered
    cart, checkout, sign_up = (o.delay_ms[:, :, event] >= 0 for event in (CART, CHECKOUT, SIGN_UP))

    assert not (o.clicked & ~o.examined).any()
    assert not (o.long_clicked & ~o.clicked).any()
    assert not (o.hidden & (o.clicked | ~o.examined)).any()
    assert not ((cart | sign_up) & ~o.clicked).any()
    assert not (checkout & ~o.examined).any()
    assert not (checkout & o.clicked & ~cart).any()  # after a click, an order goes through the cart
    assert (checkout & ~o.clicked).any()  # post-view


def test_every_cart_is_filled_in_a_long_click_and_not_every_long_click_fills_one(answered):
    o, _ = answered
    cart = o.delay_ms[:, :, CART] >= 0

    assert o.long_clicked[cart].all()
    assert (o.long_clicked & ~cart).sum() > 1_000


def test_clicks_are_long_as_often_as_carts_and_long_clicks_without_a_cart_together(answered, errors):
    o, t = answered

    assert errors(o.long_clicked[o.clicked], (t.cart + (1 - t.cart) * t.long_click)[o.clicked]) < 4


def test_a_cart_is_drawn_whether_or_not_the_click_would_have_been_long(answer):
    """Short clicks but for carts: as many long clicks as carts, which are half."""
    o, t = answer(np.zeros((20_000, 1)), long_click=NEVER, cart=0.0)

    assert np.array_equal(o.long_clicked, o.delay_ms[:, :, CART] >= 0)
    assert o.long_clicked.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(20_000))
    assert not t.long_click.any()


def test_half_of_what_moves_a_click_moves_a_long_click_and_fatigue_does_not(world, minds, requests, answered, pairs):
    """An appeal to the eye of one logit more: half a logit of a long click."""
    (row, slot), _ = pairs
    p = world.population
    tastes = p.tastes._replace(store_click_appeal=p.tastes.store_click_appeal + np.float32(1.0))
    shown = np.full(answered[0].clicked.shape, -1)
    shown[row, slot] = 0
    store = np.where(shown < 0, -1, np.arange(4) * 4 + p.users.region[requests.user][:, None]).astype(np.int32)
    need, slow = np.full(len(requests), -1, np.int32), np.ones(store.shape, np.float32)

    before, after = (
        respond(requests, need, store, slow, minds.habits, minds.fatigue, t, world.laws)[1] for t in (p.tastes, tastes)
    )

    for name, moved in (("click", 1.0), ("long_click", 0.5), ("hide", -1.0), ("cart", 0.0), ("checkout", 0.0)):
        was, now = (getattr(t, name)[row, slot].astype(float) for t in (before, after))
        np.testing.assert_allclose(now, expit(logit(was) + moved), atol=2e-6, err_msg=name)


def test_nobody_signs_up_to_a_store_known_already(answered):
    o, t = answered

    assert not t.sign_up[t.known].any()
    assert not (o.delay_ms[:, :, SIGN_UP] >= 0)[t.known].any()


def test_a_cart_never_comes_after_its_checkout(answered):
    delay = answered[0].delay_ms
    both = (delay[:, :, CART] >= 0) & (delay[:, :, CHECKOUT] >= 0)

    assert both.sum() > 500
    assert (delay[both][:, CART] <= delay[both][:, CHECKOUT]).all()


def test_values_belong_to_checkouts_and_to_nothing_else(answered):
    o, _ = answered

    assert np.array_equal(o.value_micros > 0, o.delay_ms[:, :, CHECKOUT] >= 0)


def test_nothing_happens_in_an_empty_slot(answered, shown):
    for columns in answered:
        for name in columns.__dataclass_fields__:
            assert not (getattr(columns, name)[shown < 0] > 0).any(), name
    assert (answered[0].delay_ms[shown < 0] == -1).all()


def test_order_values_are_lognormal_with_mean_basket_times_price_level(answer):
    value = answer(np.zeros((20_000, 1)))[0].value_micros[:, 0] / 1e6

    z = (np.log(value) - (np.log(32.0) + 0.25 - 0.4**2 / 2)) / 0.4
    assert stats.kstest(z, "norm").pvalue > PLAUSIBLE


def test_what_follows_a_click_is_drawn_apart(answer):
    """Every chance a half; a cart's checkout is looked at among carts, a long click where there is none."""
    n = 20_000
    o, _ = answer(np.zeros((n, 1)), long_click=0.0, cart=0.0, checkout=0.0, sign_up=0.0)
    cart, checkout, sign_up = (o.delay_ms[:, 0, event] >= 0 for event in (CART, CHECKOUT, SIGN_UP))

    for rows, one, other in (
        (np.ones(n, bool), cart, sign_up), (~cart, o.long_clicked[:, 0], sign_up), (cart, checkout, sign_up)
    ):  # fmt: skip
        assert abs(np.corrcoef(one[rows], other[rows])[0, 1]) < 4 / np.sqrt(rows.sum())
    assert o.long_clicked[~cart, 0].mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt((~cart).sum()))


def test_a_hide_and_an_order_after_a_view_are_drawn_apart(answer):
    o, _ = answer(np.zeros((20_000, 1)), click=-60.0, hide=0.0, post_view=0.0)

    r = np.corrcoef(o.hidden[:, 0], o.delay_ms[:, 0, CHECKOUT] >= 0)[0, 1]
    assert abs(r) < 4 / np.sqrt(20_000)


def test_value_and_delay_of_an_order_are_uncorrelated(answer):
    o, _ = answer(np.zeros((20_000, 1)))

    assert abs(stats.spearmanr(o.delay_ms[:, 0, CHECKOUT], o.value_micros[:, 0]).statistic) < 4 / np.sqrt(20_000)


def test_clicks_on_two_ads_of_one_request_are_drawn_apart(answer):
    clicked = answer(np.tile([0, 1], (20_000, 1)), click=0.0)[0].clicked

    assert abs(np.corrcoef(clicked.T)[0, 1]) < 4 / np.sqrt(20_000)


# The answer to an ad is its own


def equal(before, after, rows) -> None:
    for a, b in zip(before, after, strict=True):
        for name in a.__dataclass_fields__:
            assert np.array_equal(getattr(a, name)[rows], getattr(b, name)[rows]), name


def test_an_ad_gets_the_same_answer_whatever_is_shown_in_the_other_slots(
    answered, world, minds, requests, visits, shown
):
    other = shown.copy()
    other[:, [1, 3]] = (other[:, [1, 3]] + 31) % 120
    other[::2, 2] = -1

    equal(answered, world.respond(requests, visits.need, other, minds), other == shown)


def test_an_ad_that_is_looked_at_in_two_slots_is_answered_alike_there(world, minds, requests, visits, shown):
    turned = np.roll(shown, 1, axis=1)
    (first, truth), (second, _) = (world.respond(requests, visits.need, ad, minds) for ad in (shown, turned))

    again = np.roll(np.arange(4), 1)
    both = first.examined[:, again] & second.examined
    assert both.sum() > 5_000
    for name in ("clicked", "long_clicked", "hidden", "delay_ms", "value_micros"):
        assert np.array_equal(getattr(first, name)[:, again][both], getattr(second, name)[both]), name
    assert truth.click.any()


@pytest.mark.parametrize("model", ["pbm", "cascade"])
def test_answers_do_not_depend_on_the_batch(world, minds, requests, visits, shown, changed, model):
    world = rebuild(populate(changed(feed={"model": model}), world.population.seed), world.solved, [])
    whole = world.respond(requests, visits.need, shown, minds)
    order = np.random.default_rng(2).permutation(len(requests))

    for rows in (order[:5_000], order[5_000:5_001], order[5_001:]):
        part = world.respond(requests.take(rows), visits.need[rows], shown[rows], minds)
        for a, b in zip(whole, part, strict=True):
            for name in a.__dataclass_fields__:
                assert np.array_equal(getattr(a, name)[rows], getattr(b, name)), name


def test_respond_changes_no_mind(world, minds, requests, visits, shown):
    before = minds.copy()

    world.respond(requests, visits.need, shown, minds)

    for was, now in zip((*before.habits, *before.fatigue), (*minds.habits, *minds.fatigue), strict=True):
        assert np.array_equal(was, now)


def test_another_seed_answers_otherwise(world, minds, requests, visits, shown, answered):
    tastes = world.population.tastes._replace(luck=np.uint64(12))
    store, slow = world.population.store_of(shown), np.ones(shown.shape, np.float32)

    again, _ = respond(requests, visits.need, store, slow, minds.habits, minds.fatigue, tastes, world.laws)

    assert (again.clicked != answered[0].clicked).mean() > 0.01


# Switches: a weight of 0 takes its mechanism out altogether

SWITCHES = {  # the scenario's section and key; what the mechanism reads; how to disturb that
    "match": ("taste", "match", lambda t: t._replace(user_taste=-t.user_taste)),
    "need": ("intent", "weight", lambda t: t._replace(dish_style=-t.dish_style)),
    "price": ("taste", "price", lambda t: t._replace(user_price_sensitivity=-t.user_price_sensitivity)),
    "interaction": ("interaction", "weight", lambda t: t._replace(mix=t.mix._replace(user=-t.mix.user))),
    "drift of appeal": ("drift", "appeal", lambda t: t._replace(drift=t.drift._replace(appeal_ms=3e8))),
    "season": ("drift", "season", lambda t: t._replace(drift=t.drift._replace(cos_phase=-t.drift.cos_phase))),
    "exploration": ("habit", "exploration", lambda t: t._replace(user_exploration=-t.user_exploration)),
    "novelty": ("habit", "novelty", lambda t: t._replace(store_launch_ms=np.minimum(t.store_launch_ms, 1))),
    "renewal": ("habit", "renewal", lambda t: t._replace(appetite=t.appetite._replace(period_ms=1e8))),
    "habit's daypart": ("habit", "daypart", lambda t: t._replace(user_daypart=(t.user_daypart + 3) % 6)),
}


def truth_of(world: World, minds, requests: Requests, need, shown, disturb=lambda t: t) -> list[np.ndarray]:
    p = world.population
    slow = np.ones(shown.shape, np.float32)
    truth = respond(
        requests, need, p.store_of(shown), slow, minds.habits, minds.fatigue, disturb(p.tastes), world.laws
    )[1]
    return [getattr(truth, name) for name in truth.__dataclass_fields__]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("mechanism", SWITCHES)
def test_a_weight_of_zero_takes_the_mechanism_out_to_the_bit(world, minds, requests, visits, shown, changed, mechanism):
    section, key, disturb = SWITCHES[mechanism]
    off = rebuild(populate(changed(**{section: {key: 0.0}}), world.population.seed), world.solved, [])
    asked = (minds, requests.rows(0, 3_000), visits.need[:3_000], shown[:3_000])

    assert same(truth_of(off, *asked), truth_of(off, *asked, disturb))
    assert not same(truth_of(world, *asked), truth_of(world, *asked, disturb))
    assert not same(truth_of(world, *asked), truth_of(off, *asked))


@pytest.mark.parametrize(
    ("section", "key", "array"),
    [
        ("taste", "daypart", "daypart"), ("taste", "click_appeal", "store_click_appeal"),
        ("taste", "purchase_appeal", "store_purchase_appeal"), ("taste", "quality", "store_purchase_appeal"),
    ],
)  # fmt: skip
def test_an_appeal_of_weight_zero_is_zero_everywhere(world, changed, section, key, array):
    keys = {key: 0.0} | ({"purchase_appeal": 0.0} if key == "quality" else {"quality": 0.0})
    off = populate(changed(**{section: keys}), world.population.seed)

    assert not getattr(off.tastes, array).any()
    assert getattr(world.population.tastes, array).any()


def test_the_quality_of_a_store_tells_in_orders_and_not_in_clicks(world, minds, requests, visits, shown, changed):
    off = rebuild(populate(changed(taste={"quality": 0.0}), world.population.seed), world.solved, [])
    with_, without = (w.respond(requests, visits.need, shown, minds)[1] for w in (world, off))

    for name in ("click", "long_click", "hide"):
        assert np.array_equal(getattr(with_, name), getattr(without, name)), name
    for name in ("cart", "checkout", "sign_up", "post_view"):
        assert not np.array_equal(getattr(with_, name), getattr(without, name)), name


def test_needs_tell_nothing_where_intent_has_no_weight(world, minds, requests, visits, shown, changed):
    off = rebuild(populate(changed(intent={"weight": 0.0}), world.population.seed), world.solved, [])
    other = (visits.need + 7) % 24

    for w, alike in ((off, True), (world, False)):
        assert same(*(truth_of(w, minds, requests, need, shown) for need in (visits.need, other))) == alike


def test_a_need_of_nothing_wants_no_style_and_least_of_all_that_of_the_last_dish(world, minds, requests, visits, shown):
    nothing = truth_of(world, minds, requests, np.full_like(visits.need, -1), shown)[1]
    off = rebuild(world.population, world.solved, [])
    tastes = off.population.tastes._replace(intent=0.0)

    assert np.array_equal(nothing, truth_of(off, minds, requests, visits.need, shown, lambda t: tastes)[1])


def test_fatigue_tells_nothing_where_blindness_has_no_weight(world, minds, requests, visits, shown, changed):
    off = rebuild(populate(changed(fatigue={"blindness": 0.0}), world.population.seed), world.solved, [])
    fresh = minds._replace(fatigue=Fatigue(np.zeros(2_000), np.zeros(2_000, np.int64)))

    for w, alike in ((off, True), (world, False)):
        assert same(*(truth_of(w, mind, requests, visits.need, shown) for mind in (minds, fresh))) == alike


def test_fatigue_takes_logits_from_clicks_and_from_nothing_else(world, minds, requests, visits, shown, answered):
    more = minds._replace(fatigue=Fatigue(minds.fatigue.level + 2.0, minds.fatigue.since_ms))
    fresh, tired = answered[1], world.respond(requests, visits.need, shown, more)[1]

    added = 0.15 * 2.0 * 0.5 ** (requests.time_ms / DAY_MS / 7.0)
    row, slot = np.nonzero(shown >= 0)
    expected = expit(logit(fresh.click[row, slot].astype(float)) - added[row])
    np.testing.assert_allclose(tired.click[row, slot], expected, atol=1e-6)
    for name in ("examination", "long_click", "hide", "cart", "checkout", "sign_up", "post_view"):
        assert np.array_equal(getattr(fresh, name), getattr(tired, name)), name
    assert fatigue_at(more.fatigue, world.laws.tiring, 3, 0) == more.fatigue.level[3]


@pytest.mark.parametrize(("name", "event"), [("sign_up", SIGN_UP), ("post_view", CHECKOUT)])
def test_what_the_scenario_leaves_out_never_happens(answer, name, event):
    o, t = answer(np.zeros((3_000, 1)), **{name: NEVER}, **({"click": -60.0} if name == "post_view" else {}))

    assert not getattr(t, name).any()
    assert (o.delay_ms[:, :, event] == -1).all()
