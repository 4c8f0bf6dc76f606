"""Requests through a platform: hand-worked times, laws of what is drawn, and the fewest hosts against trying all."""

from dataclasses import replace
from math import ceil, erf, exp, sqrt

import numpy as np
import pytest
from scipy import stats

from marketplace.capacity import Curve, Demand, Ranker, arrivals, curve, rows_of, serve, smallest_fleet, stations, times
from marketplace.servers import CurveConfig, LawConfig, ServingConfig

N, SEED = 2_000, 3


def constant(ms):
    return LawConfig(law="constant", mean_ms=ms)


def platform(**settings):
    return ServingConfig.model_validate({"fetch": constant(4), "bidding": constant(6), "sample_requests": N} | settings)


def ranker(name="model", ms=2.0, per_row=0.0, rows=10, workers=2, n=N):
    """A batch takes `ms`, and `per_row` more for each candidate."""
    line = Curve((1, 1001), ((ms + per_row) / 1e3, (ms + 1001 * per_row) / 1e3))
    return Ranker(name=name, curve=line, rows=np.full(n, rows), workers=workers)


def demand(rate=100.0, topology="sequential", light=None, model=None, n=N):
    return Demand(
        arrived_s=arrivals(n, rate, SEED), rate=rate, light=light, model=model or ranker(n=n), topology=topology, seed=SEED
    )  # fmt: skip


def test_a_curve_is_flat_before_its_points_linear_between_and_goes_on_beyond():
    found = Curve((10, 20, 40), (1.0, 3.0, 4.0)).at(np.array([1, 10, 15, 30, 40, 60]))

    assert found.tolist() == pytest.approx([1.0, 1.0, 2.0, 3.5, 4.0, 5.0])


def test_a_point_that_was_timed_faster_than_a_smaller_one_is_taken_for_noise():
    assert curve([1, 2, 3], [1.0, 0.9, 1.2]).seconds == (1.0, 1.0, 1.2)


def test_requests_come_as_a_poisson_process():
    gaps = np.diff(arrivals(20_000, 50.0, SEED), prepend=0.0)

    assert stats.kstest(gaps, "expon", args=(0, 1 / 50)).pvalue > 0.001
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / sqrt(len(gaps))


def test_candidates_per_request_are_drawn_as_often_as_they_were_counted():
    rows = rows_of([1, 0, 3, 4], 20_000, SEED)

    assert stats.chisquare(np.bincount(rows)[[0, 2, 3]], 20_000 * np.array([1, 3, 4]) / 8).pvalue > 0.001
    assert not (rows == 1).any()


@pytest.mark.parametrize(
    ("law", "cdf"),
    [
        (LawConfig(law="exponential", mean_ms=3), lambda x: 1 - exp(-x / 3)),
        (LawConfig(mean_ms=3, sigma=0.8), lambda x: 0.5 + erf((np.log(x / 3) + 0.32) / 0.8 / sqrt(2)) / 2),
    ],
)
def test_times_follow_their_law_with_its_mean_and_its_99th_percentile(law, cdf):
    ms = 1e3 * times(law, 20_000, SEED, 0)

    assert stats.kstest(ms, np.vectorize(cdf)).pvalue > 0.001
    assert ms.mean() == pytest.approx(3.0, abs=4 * ms.std() / sqrt(len(ms)))
    assert cdf(law.p99_ms) == pytest.approx(0.99)
    assert (times(law, 100, SEED, 0) != times(law, 100, SEED, 1)).all()


@pytest.mark.parametrize(("topology", "ms"), [("sequential", 4 + 6 + 8), ("parallel", 4 + 8)])
def test_without_waits_a_request_takes_the_sum_of_its_stages_or_the_longer_of_two(topology, ms):
    found = serve(demand(topology=topology, model=ranker(ms=8)), None, platform())

    assert list(found.ms.values()) == pytest.approx([ms] * 4)


def test_a_light_ranker_comes_before_bidding_in_both_topologies():
    light = ranker("light", ms=5)
    for topology, ms in (("sequential", 4 + 5 + 6 + 8), ("parallel", 4 + 5 + 8)):
        own = demand(topology=topology, light=light, model=ranker(ms=8))
        assert [station.name for station in stations(own, None, platform())] == ["fetch", "light", "bidding", "model"]
        assert serve(own, None, platform()).ms["p50"] == pytest.approx(ms)


def test_a_batch_takes_what_the_curve_says_of_all_its_candidates():
    """Of a worker that is busy for 100 ms, the three requests that wait are scored at once: 2 + .1 x 60 = 8 ms."""
    own = Demand(
        arrived_s=np.array([0.0, 0.001, 0.002, 0.003]), rate=1.0, light=None, topology="parallel", seed=SEED,
        model=Ranker(name="model", curve=Curve((1, 1001), (0.0021, 0.1021)), rows=np.array([980, 10, 20, 30]), workers=1),
    )  # fmt: skip
    config = platform(fetch=constant(1e-3), bidding=constant(1e-3), batch_requests=4)
    from marketplace.queueing import run_stations  # noqa: PLC0415

    flow = run_stations(own.arrived_s, stations(own, (1,), config))
    assert flow.left_s.tolist() == pytest.approx([0.1, *[0.108] * 3], abs=1e-5)


def test_what_takes_longer_than_the_timeout_is_answered_by_then_with_a_fallback():
    own = demand(model=ranker(ms=8))
    slow, fast = (serve(own, None, platform(timeout_ms=ms, most_late=0.5)) for ms in (7.9, 8.1))

    assert (slow.late, slow.ms["p99"]) == (1.0, pytest.approx(4 + 6 + 7.9))
    assert (fast.late, fast.ms["p99"]) == (0.0, pytest.approx(18))


def test_a_request_whose_scores_are_all_cached_does_not_wait_for_the_model():
    half = Ranker(name="model", curve=Curve((1, 2), (0.05, 0.05)), rows=np.arange(N) % 2, workers=2)
    found = serve(demand(model=half), None, platform(target_p99_ms=100.0))

    assert (found.ms["p50"], found.ms["p99"]) == (pytest.approx(10, abs=51), pytest.approx(60))


@pytest.mark.parametrize("rate", [500.0, 2_000.0, 9_000.0])
def test_the_fleet_is_the_smallest_of_all_that_are_tried_one_by_one(rate):
    config, own = platform(target_p99_ms=16.0, batch_requests=1), demand(rate, model=ranker(ms=2))
    found = smallest_fleet(own, config)
    least = int(rate * 0.002 / 2) + 1
    by_hand = next(n for n in range(least, 99) if serve(own, (n,), config).ms["p99"] <= 16.0)

    assert found.hosts == (by_hand,)
    assert found.latency.ms["p99"] <= 16.0
    assert found.latency.utilisation["model"] == pytest.approx(rate * 0.002 / 2 / by_hand, rel=0.15)


def test_each_stage_has_no_more_hosts_than_the_target_needs():
    own = demand(3_000.0, light=ranker("light", ms=1, n=N), model=ranker(ms=3))
    config = platform(target_p99_ms=24.0, batch_requests=1)
    found = smallest_fleet(own, config)

    assert found.latency.ms["p99"] <= 24.0
    for which in (0, 1):
        fewer = [n - (i == which) for i, n in enumerate(found.hosts)]
        least = own.rankers[which].least_hosts(own.rate, 1)
        assert fewer[which] < least or serve(own, fewer, config).ms["p99"] > 24.0


def test_more_candidates_take_more_hosts_and_a_faster_format_fewer():
    config = platform(target_p99_ms=30.0)

    def hosts(rows, per_row):
        return smallest_fleet(demand(20_000.0, model=ranker(ms=0.3, per_row=per_row, rows=rows)), config).hosts[0]

    by_rows = [hosts(rows, 0.01) for rows in (50, 100, 200, 400)]
    by_format = [hosts(200, per_row) for per_row in (0.02, 0.01, 0.005)]
    assert by_rows == sorted(by_rows) and by_rows[0] < by_rows[-1]
    assert by_format == sorted(by_format, reverse=True) and by_format[0] > by_format[-1]


def test_a_target_below_what_stages_take_alone_cannot_be_met_and_says_so():
    found = smallest_fleet(demand(model=ranker(ms=8)), platform(target_p99_ms=17.9))

    assert found.hosts == ()
    assert "cannot be met" in found.why and "18 ms" in found.why
    late = smallest_fleet(demand(model=ranker(ms=8)), platform(timeout_ms=7.0, target_p99_ms=90.0))
    assert late.hosts == () and "100.00% are late" in late.why


def test_requests_without_candidates_are_no_load():
    """20,000 requests/s of which a tenth comes to the model, for 2 ms of one of 2 workers: 2 hosts' work, not 20."""
    own = Ranker(
        name="model", curve=Curve((1, 2), (0.002, 0.002)), rows=np.where(np.arange(N) % 10 == 0, 50, 0), workers=2
    )
    config = platform(target_p99_ms=20.0, batch_requests=1)
    found = smallest_fleet(demand(20_000.0, model=own), config)

    assert own.least_hosts(20_000.0, 1) == 3 and found.hosts == (3,)
    assert replace(own, rows=np.zeros(N, int)).least_hosts(20_000.0, 1) == 1


@pytest.mark.parametrize(
    "broken", [{"slow_hosts": 0.1, "slow_factor": 10.0}, {"failures_per_minute": 600.0, "repair_s": 0.001}]
)
def test_a_target_that_slow_or_failing_hosts_break_however_many_there_are_ends_the_search_with_a_reason(broken):
    own, config = demand(2_000.0, model=ranker(ms=8)), platform(target_p99_ms=20.0, **broken)
    found = smallest_fleet(own, config)

    assert found.hosts == () and found.latency.ms["p99"] > 20.0
    assert "cannot be met" in found.why and "times the hosts of the load" in found.why


def test_slow_hosts_are_as_many_as_asked_for_and_take_as_much_longer():
    config = platform(slow_hosts=0.25, slow_factor=3.0)
    (own,) = [s for s in stations(demand(), (8,), config) if s.name == "model"]

    assert own.slow.tolist() == [3.0, 3.0] + [1.0] * 6
    assert serve(demand(500.0), (8,), config).ms["p99"] > serve(demand(500.0), (8,), platform()).ms["p99"]


def test_hosts_fail_as_often_as_asked_for_and_nothing_is_lost():
    """30 failures a minute of each of 6 hosts in some 40 s: 120 expected, within 4 standard deviations of a Poisson law."""
    config = platform(failures_per_minute=30.0, repair_s=0.05)
    own = demand(100.0)
    (model,) = [s for s in stations(own, (6,), config) if s.name == "model"]
    minutes, down = own.arrived_s[-1] / 60, sum(o.length_s for o in model.outages) / 60
    expected = 30.0 * (6 * minutes - down)

    assert abs(len(model.outages) - expected) < 4 * sqrt(expected)
    assert all(outage.lossy for outage in model.outages)
    found = serve(own, (6,), config)
    assert found.ms["p50"] == pytest.approx(12.0) and found.ms["p999"] > 12.0


def test_a_run_repeats_to_the_bit():
    config = platform(failures_per_minute=5.0, fetch={"mean_ms": 4}, bidding={"mean_ms": 6})

    assert serve(demand(2_000.0), (3,), config) == serve(demand(2_000.0), (3,), config)


def test_the_load_alone_needs_more_hosts_than_its_share_of_workers():
    """1,000 requests/s of 10 candidates at 2 + .1 x 10 = 3 ms: 3 workers; in batches of 16, (2 + 16) / 16 = 1.125 ms each."""
    own = ranker(ms=2, per_row=0.1, workers=2)

    assert own.least_hosts(1_000.0, 1) == int(3.0 / 2) + 1
    assert own.least_hosts(4_000.0, 16) == ceil(4.5 / 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": (1, 10), "ms": (1,)}, "at least 2"),
        ({"rows": (1, 10, 20), "ms": (1, 2)}, "a curve must have no holes"),
        ({"rows": (1, 10, 5), "ms": (1, 2, 3)}, "rows goes from 10 to 5, it must rise"),
        ({"rows": (1, 10), "ms": (2, 1)}, "ms goes from 2 to 1, it must not fall"),
        ({"rows": (1, 10), "ms": (1, float("nan"))}, "finite"),
        ({"rows": (0, 10), "ms": (1, 2)}, "greater than 0"),
    ],
)
def test_a_curve_with_holes_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        CurveConfig(**given)


TOO_SLOW = (
    {"fetch": constant(60)}, {"bidding": LawConfig(law="exponential", mean_ms=11)},
    {"curve": CurveConfig(rows=(1, 2), ms=(51, 52))},
)  # fmt: skip


@pytest.mark.parametrize("given", TOO_SLOW)
def test_a_target_that_one_stage_alone_breaks_is_refused_before_any_work(given):
    with pytest.raises(ValueError, match="target_p99_ms is 50, it cannot be met"):
        platform(**given)
