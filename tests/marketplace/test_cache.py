"""The score cache: used again while young, whatever the ticks, and as stale as its time to live allows."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ticks import Ticks
from trials import other_ranker, served

from marketplace.arm import Arm, CacheRule, Fallback
from marketplace.assignment import everyone, split_campaigns
from marketplace.cache import Caches
from marketplace.serve import Scored
from synth.traffic import session_of

HOUR = 3_600_000
COHORT = np.array([0, 0, 1], np.int32)


def tick(rows):
    """Requests (user, time, ads, predictions, late) with as many candidates each."""
    user, time, ad, p, late = (np.array(column) for column in zip(*rows, strict=True))
    p, ad = p.astype(np.float32), ad.astype(np.int32)
    requests = SimpleNamespace(id=np.arange(len(rows)) << 20, user=user.astype(np.int32), time_ms=time)
    return Scored(
        requests=_Sized(requests), visits=None, arm=np.zeros(len(rows), np.int32), retrieved=ad, ad=ad, campaign=ad, line=ad,
        account=ad, side=np.zeros(ad.shape, np.int32), batch=None, raw_pctr=p, pctr=p, pcvr=p / 2,
        randomised=None, late=np.repeat(late.astype(np.bool_)[:, None], ad.shape[1], axis=1), n_slots=1,
    )  # fmt: skip


class _Sized:
    def __init__(self, columns):
        self.__dict__.update(vars(columns))

    def __len__(self):
        return len(self.user)


def caches(ttl_ms, key="user"):
    return Caches((Arm("mine", None, None, cache=CacheRule(ttl_ms, key)),), COHORT)


def test_a_prediction_is_used_again_while_it_is_younger_than_its_time_by_hand():
    """Made at 0 and to live for 100 ms: used at 99, made anew at 100, which is used at 150 though the first is gone."""
    served_, reused = caches(100).serve(
        tick([(0, 0, [5], [0.1], 0), (0, 99, [5], [0.2], 0), (0, 100, [5], [0.3], 0), (0, 150, [5], [0.4], 0)])
    )

    assert served_.pctr[:, 0].tolist() == pytest.approx([0.1, 0.1, 0.3, 0.3])
    assert served_.pcvr[:, 0].tolist() == pytest.approx([0.05, 0.05, 0.15, 0.15])
    assert reused[:, 0].tolist() == [False, True, False, True]


def test_users_and_ads_are_apart_and_those_of_a_cohort_share():
    rows = [(0, 0, [5, 6], [0.1, 0.2], 0), (1, 1, [5, 7], [0.3, 0.4], 0), (2, 2, [5, -1], [0.5, 0.6], 0)]
    by_user, by_cohort = (caches(100, key).serve(tick(rows)) for key in ("user", "cohort"))

    assert not by_user[1].any()
    assert by_cohort[1].tolist() == [[False, False], [True, False], [False, False]]
    assert by_cohort[0].pctr[1].tolist() == pytest.approx([0.1, 0.4])


def test_what_comes_too_late_is_not_kept_and_falls_back_only_where_nothing_is_kept():
    cache = caches(100)
    served_, reused = cache.serve(
        tick([(0, 0, [5], [0.9], 1), (0, 10, [5], [0.1], 0), (0, 20, [5], [0.9], 1), (0, 30, [5], [0.2], 0)])
    )

    assert served_.pctr[:, 0].tolist() == pytest.approx([0.9, 0.1, 0.1, 0.1])
    assert reused[:, 0].tolist() == [False, False, True, True]
    assert served_.late[:, 0].tolist() == [True, False, False, False]
    assert cache.kept[0].time_ms.tolist() == [10]


two_ads = st.lists(st.integers(0, 3), min_size=2, max_size=2, unique=True)
requests = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40), two_ads, st.booleans()), min_size=1, max_size=25
)  # fmt: skip


@given(
    rows=requests, cuts=st.sets(st.integers(1, 24)), ttl=st.integers(1, 200), key=st.sampled_from(["user", "cohort"])
)
def test_any_ticks_serve_what_a_dictionary_would(rows, cuts, ttl, key):
    times = np.cumsum([gap for _, gap, _, _ in rows])
    p = np.linspace(0.01, 0.99, 2 * len(rows)).reshape(-1, 2).astype(np.float32)
    own = [(u, t, ads, p_, late) for (u, _, ads, late), t, p_ in zip(rows, times.tolist(), p, strict=True)]
    cache, got = caches(ttl, key), []
    ends = sorted({c for c in cuts if c < len(own)} | {len(own)})
    for start, stop in zip([0, *ends], ends, strict=False):
        served_, reused = cache.serve(tick(own[start:stop]))
        got += zip(served_.pctr.ravel().tolist(), reused.ravel().tolist(), strict=True)
    kept, expected = {}, []
    for user, time, ads, p_, late in own:
        for ad, value in zip(ads, p_, strict=True):
            place = (COHORT[user] if key == "cohort" else user, ad)
            if place in kept and time - kept[place][0] < ttl:
                expected.append((kept[place][1], True))
            else:
                expected.append((float(value), False))
                if not late:
                    kept[place] = time, float(value)
    assert got == expected


def run(tiny, world, arm, **settings):
    ticks = Ticks()
    result = served(tiny, world, (arm,), everyone(tiny.world.population.users), ticks, days=1, **settings)
    return ticks.ticks, result


def test_in_a_market_an_hour_of_cache_serves_old_predictions_and_a_millisecond_none(tiny, world, ranker):
    plain, _ = run(tiny, world, ranker)
    young, result = run(tiny, world, ranker._replace(cache=CacheRule(1, "user")))
    old, cached = run(tiny, world, ranker._replace(cache=CacheRule(HOUR, "session")))

    assert all(
        (a.scored.pctr == b.scored.pctr).all() and (a.shown.ad == b.shown.ad).all()
        for a, b in zip(plain, young, strict=True)
    )
    assert result.load.of(0)["reused"] == 0
    load = cached.load.of(0)
    made = np.arange(len(load["predicted"])) @ load["predicted"]
    assert load["reused"] > 0.1 * made
    first = {}  # what was predicted of a session and ad before
    for t in old:
        for i, session in enumerate(session_of(t.scored.requests.id)):
            for ad, p in zip(t.scored.ad[i], t.scored.raw_pctr[i], strict=True):
                if ad >= 0:
                    time, value = first.setdefault((session, ad), (t.scored.requests.time_ms[i], p))
                    assert value == p or t.scored.requests.time_ms[i] - time >= HOUR


def test_cache_and_fallback_do_not_depend_on_how_ticks_are_cut(tiny, world, ranker):
    arm = ranker._replace(cache=CacheRule(6 * HOUR, "user"), fallback=Fallback(other_ranker(tiny).predict, 0.3, 5))
    (ticks, result), (other, again) = (run(tiny, world, arm, tick_requests=size) for size in (29, 4096))
    shown = [np.concatenate([t.shown.ad for t in part]) for part in (ticks, other)]

    assert (shown[0] == shown[1]).all()
    assert result.load.of(0) == again.load.of(0)


def test_so_many_requests_get_the_fallbacks_scores(tiny, world, ranker):
    """Within 4 standard errors of a binomial law."""
    other = other_ranker(tiny)
    ticks, result = run(tiny, world, ranker._replace(fallback=Fallback(other.predict, 0.3, 5)))
    load = result.load.of(0)

    assert load["late"] / load["requests"] == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / load["requests"]))
    for t in ticks[:20]:
        late, there = t.scored.late.any(axis=1), t.scored.ad >= 0
        for own, arm in ((late, other), (~late, ranker)):
            if own.any():
                p = arm.predict(t.scored.batch.take(np.flatnonzero(own))).click
                assert (t.scored.pctr[own][there[own]] == p[there[own]]).all()


def test_where_arms_meet_in_one_auction_one_that_is_late_does_not_make_the_other_late(tiny, world, ranker):
    cached = ranker._replace(cache=CacheRule(HOUR, "user"))
    late = other_ranker(tiny)._replace(fallback=Fallback(ranker.predict, 0.3, 5))
    halves = split_campaigns(tiny.world.campaigns.count, (0.5, 0.5), 5)
    ticks = Ticks()
    result = served(tiny, world, (cached, late), halves, ticks, days=1)

    assert result.load.of(0)["late"] == 0 < result.load.of(1)["late"]
    for t in ticks.ticks:
        assert (t.scored.side[t.scored.late & (t.scored.ad >= 0)] == 1).all()
