"""Stages of ranking: what each passes on, what must not change, and what is passed on of the best by the truth."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ticks import Ticks
from trials import other_ranker, served

from marketplace.assignment import everyone, split_users
from marketplace.bids import campaign_terms, worth
from marketplace.cascade import Cascade, best, only
from marketplace.chances import attention_of, conversion_chance
from marketplace.recall import STAGES, new_recall, truly_best
from marketplace.serve import score
from marketplace.state import new_state

ROWS, K = 4, 7


@given(
    worth_=arrays(np.float64, (ROWS, K), elements=st.integers(0, 3).map(float)),
    there=arrays(np.bool_, (ROWS, K)),
    keep=st.integers(1, K + 2),
)
def test_the_best_are_those_that_python_sorts_first_and_ties_go_to_the_lower_column(worth_, there, keep):
    kept = best(worth_, there, keep)
    for row in range(ROWS):
        columns = sorted((c for c in range(K) if there[row, c]), key=lambda c: (-worth_[row, c], c))
        assert np.flatnonzero(kept[row]).tolist() == sorted(columns[:keep])


@given(ad=arrays(np.int32, (ROWS, K), elements=st.integers(0, 99)), kept=arrays(np.bool_, (ROWS, K)))
def test_what_is_kept_stands_in_the_order_of_its_columns_with_nothing_behind_it(ad, kept):
    width = max(int(kept.sum(axis=1).max()), 1)
    out = only(ad, kept, width)
    for row in range(ROWS):
        own = ad[row, kept[row]].tolist()
        assert out[row].tolist() == own + [-1] * (width - len(own))


def test_recall_is_the_share_of_the_best_that_a_stage_passed_on_by_hand():
    """Of requests of two, one and no best ads: retrieval passes on both and the one, the light ranker one and none."""
    recall = new_recall(1)
    best_ = np.array([[4, 9], [7, -1], [-1, -1]])
    retrieved = np.array([[9, 4, 1], [7, 2, -1], [3, -1, -1]])
    ranked = np.array([[9, 1], [2, -1], [3, -1]])
    nothing = np.full((3, 1), -1)
    recall.count(np.zeros(3, int), best_, (retrieved, ranked, ranked[:, :1], nothing))
    rows = {row["stage"]: row for row in recall.of(0)}

    assert [rows[stage]["recall"] for stage in STAGES] == [1.0, 0.25, 0.25, 0.0]
    assert rows["ranked"]["se"] == pytest.approx(0.25 / np.sqrt(2))  # of .5 and 0
    assert all(row["requests"] == 2 for row in rows.values())  # the third has no best ad


@pytest.fixture(scope="module")
def days(tiny, world, ranker):
    """A day under some arms, tick by tick."""
    everybody = everyone(tiny.world.population.users)

    def run(*arms, assignment=everybody, **settings):
        ticks = Ticks()
        result = served(tiny, world, arms, assignment, ticks, days=1, **settings)
        return ticks.ticks, result

    return run


def shown_in(ticks):
    return np.concatenate([tick.shown.ad for tick in ticks])


@pytest.fixture(scope="module")
def staged(tiny, ranker):
    """Ten ads are retrieved, a light ranker that thinks otherwise passes on six, the first ranker four."""
    return ranker._replace(cascade=Cascade(other_ranker(tiny).predict, 10, 6, 4))


def test_a_cascade_that_drops_nothing_changes_nothing(tiny, ranker, days):
    usual = tiny.world.feed.candidates
    (before, _), (after, _) = (
        days(ranker),
        days(ranker._replace(cascade=Cascade(other_ranker(tiny).predict, *[usual] * 3))),
    )

    assert (shown_in(before) == shown_in(after)).all()
    assert all((a.scored.ad == b.scored.ad).all() for a, b in zip(before, after, strict=True))


def test_a_light_ranker_that_is_the_model_itself_drops_what_the_model_would_have_dropped(ranker, days):
    light = ranker._replace(cascade=Cascade(ranker.predict, 20, 5, 5))
    fine = ranker._replace(cascade=Cascade(ranker.predict, 20, 20, 5))
    (one, _), (other, _) = days(light), days(fine)

    assert (shown_in(one) == shown_in(other)).all()
    assert sum((tick.scored.ad >= 0).sum() for tick in one) < sum((tick.scored.retrieved >= 0).sum() for tick in one)


def test_each_stage_passes_on_some_of_what_it_was_given_and_no_more_than_it_may(staged, days):
    ticks, result = days(staged)
    dropped = 0
    for tick in ticks:
        scored, shown = tick.scored, tick.shown
        sets = [scored.retrieved, scored.batch.row, scored.ad, shown.ad]
        for wide, narrow, most in zip(sets, sets[1:], (6, 4, 3), strict=False):
            inside = (narrow[:, :, None] == wide[:, None, :]).any(axis=2)
            assert (inside | (narrow < 0)).all()
            assert ((narrow >= 0).sum(axis=1) <= most).all()
            dropped += (wide >= 0).sum() - (narrow >= 0).sum()
    assert dropped > 1_000
    shares = [row["recall"] for row in result.recall.of(0)]
    assert shares == sorted(shares, reverse=True) and 0 < shares[-1] < shares[0] <= 1


def test_arms_with_and_without_stages_do_in_one_test_what_they_do_alone(tiny, ranker, staged, days):
    split = split_users(tiny.world.population.users, (0.5, 0.5), 3)
    mixed, alone = [
        t for t, _ in (days(ranker, staged, assignment=split, tick_requests=500), days(staged, tick_requests=500))
    ]
    first, other = mixed[0].scored, alone[0].scored  # nothing has been felt yet
    own = first.arm == 1

    assert (first.requests.id == other.requests.id).all() and own.any() and not own.all()
    assert (first.ad[own, :6] == other.ad[own]).all() and (first.ad[own, 6:] == -1).all()
    assert ((first.ad[~own] >= 0).sum(axis=1) > 6).any()


@pytest.mark.parametrize("size", [37, 4096])
def test_stages_do_not_depend_on_how_ticks_are_cut(staged, days, size):
    (ticks, result), (other, again) = days(staged), days(staged, tick_requests=size)

    assert (shown_in(ticks) == shown_in(other)).all()
    assert [list(row.values()) for row in result.recall.of(0)] == [list(row.values()) for row in again.recall.of(0)]
    assert result.load.of(0) == again.load.of(0)


def test_the_truly_best_are_those_of_all_eligible_ads_that_a_loop_finds(tiny, world, ranker):
    state, terms = new_state(tiny, world), campaign_terms(tiny, world)
    requests = world.requests_on(0, state.minds).rows(0, 300)
    visits, pool = world.browse(requests, state.minds), world.population.pool(np.ones(len(terms.ad_campaign), np.bool_))
    with ThreadPoolExecutor(1) as threads:
        scored = score(
            requests, visits, state.features.see(requests, visits), everyone(tiny.world.population.users), (ranker,), world,
            state.minds, (pool,), state.features, terms, threads, 1, Counter(),
        )  # fmt: skip
    rows = np.array([3, 77, 150, 299])
    found = truly_best(tiny, world, state.minds, scored, rows, (pool,), terms)
    slots = len(world.population.slot_effect)
    for row, best_ in zip(rows, found, strict=True):
        users, user = world.population.users, requests.user[row]
        bits = (1 << int(users.platform[user])) | (1 << (8 + int(users.cohort[user])))
        stores = world.population.stores.region[world.population.ads.store]
        audience = world.population.campaigns.audience[terms.ad_campaign]
        ads = np.flatnonzero((stores == users.region[user]) & (audience & bits == bits))
        values = []
        for ad in ads:
            one = np.array([[ad]], np.int32)
            truth = world.chances(requests.rows(row, row + 1), visits.need[row : row + 1], one, state.minds)
            campaign = terms.ad_campaign[[ad]]
            click = attention_of(tiny)[requests.surface[row]] * truth.click
            conversion = conversion_chance(tiny, world, campaign, truth.cart[0], truth.checkout[0], truth.sign_up[0])
            values.append(
                worth(campaign[None], one, click.astype(np.float32), conversion[None].astype(np.float32), terms)[0, 0]
            )
        assert best_.tolist() == ads[np.argsort(-np.array(values), kind="stable")][:slots].tolist()
