"""Queues: recursions job by job, closed forms, a twin that steps through whole seconds, and cases worked by hand."""

from itertools import chain
from math import factorial, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from stepped import Stepped

from marketplace.queueing import Outage, Station, run_stations

TIMES = st.floats(0, 10)


def station(service, **settings):
    """A station whose batches take as long as the longest of their requests."""
    taken = [float(s) for s in service]
    return Station(name="desk", service_s=lambda requests: max(taken[i] for i in requests), **settings)


def visit(arrived, service, **settings):
    """What comes of one station alone."""
    return run_stations(np.array(arrived, float), [station(service, **settings)]).visits[0]


def waits(arrived, service, workers):
    """Waits at one host, first come first served, by Kiefer & Wolfowitz (1955); by Lindley for one worker."""
    load = np.zeros(workers)  # seconds until each worker would be free, rising
    waited = np.empty(len(arrived))
    for i, gap in enumerate(np.diff(arrived, prepend=0.0)):
        load = np.maximum(load - gap, 0.0)
        waited[i] = load[0]
        load[0] += service[i]
        load.sort()
    return waited


def erlang_c_wait(workers, load):
    """Mean wait in M/M/c with services of mean 1 (Erlang 1917)."""
    full = load**workers / factorial(workers) * workers / (workers - load)
    waiting = full / (sum(load**k / factorial(k) for k in range(workers)) + full)
    return waiting / (workers - load)


# --- whole seconds, stepped through one by one -----------------------------------------------------------------------


@st.composite
def outages(draw, hosts):
    """Up to three per host, in whole seconds; one may begin as another ends."""
    some = []
    for host in range(hosts):
        end = 0
        for gap, length, lossy in draw(
            st.lists(st.tuples(st.integers(0, 6), st.integers(1, 5), st.booleans()), max_size=3)
        ):
            some.append(Outage(host, end + gap, length, lossy))
            end += gap + length
    return draw(st.permutations(some))


@st.composite
def desks(draw):
    """Arrivals, service times and a station, all in whole seconds."""
    gap = draw(st.lists(st.integers(0, 3), min_size=1, max_size=14))
    n, hosts, workers = len(gap), draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, None]))
    each = {"min_size": n, "max_size": n}
    service = draw(st.lists(st.integers(1, 7), **each))
    host = draw(st.none() | st.lists(st.integers(0, hosts - 1), **each))
    needed = draw(st.none() | st.lists(st.booleans(), **each))
    return np.cumsum(gap), service, station(
        service, hosts=hosts, workers=workers, batch=draw(st.integers(1, 3)) if workers else 1,
        timeout_s=draw(st.just(inf) | st.integers(1, 9)), outages=draw(outages(hosts)),
        slow=np.array(draw(st.lists(st.sampled_from([1.0, 1.0, 2.0]), min_size=hosts, max_size=hosts))),
        host=None if host is None else np.array(host), needed=None if needed is None else np.array(needed),
    )  # fmt: skip


@given(desks())
def test_a_station_does_what_its_twin_does_that_looks_every_second(desk):
    arrived, service, s = desk
    twin = Stepped(arrived, service, s)

    found = run_stations(arrived.astype(float), [s]).visits[0]

    np.testing.assert_array_equal(found.came_s, twin.came)
    np.testing.assert_array_equal(found.began_s, twin.began)
    np.testing.assert_array_equal(found.left_s, twin.left)
    np.testing.assert_array_equal(found.fallback, twin.fallback)
    assert (found.batches, found.busy_s, found.area_s) == (twin.batches, twin.busy, twin.area)


# --- one queue: recursions and closed forms --------------------------------------------------------------------------


@given(jobs=st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=40), workers=st.integers(1, 4))
def test_waits_follow_the_recursions_job_by_job(jobs, workers):
    gap, service = np.array(jobs).T
    arrived = np.cumsum(gap)

    found = visit(arrived, service, workers=workers)

    np.testing.assert_allclose(found.began_s - found.came_s, waits(arrived, service, workers), atol=1e-6)
    np.testing.assert_allclose(found.left_s - found.began_s, service, atol=1e-9)
    np.testing.assert_allclose(found.came_s, arrived, rtol=1e-15)
    assert found.busy_s == pytest.approx(service.sum(), rel=1e-12)


@given(jobs=st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=40), pick=st.randoms(use_true_random=False))
def test_hosts_that_requests_are_drawn_for_are_queues_of_their_own(jobs, pick):
    gap, service = np.array(jobs).T
    arrived, host = np.cumsum(gap), np.array([pick.randrange(3) for _ in jobs])

    found = visit(arrived, service, hosts=3, host=host)

    for own in (host == 0, host == 1, host == 2):
        wait = (found.began_s - found.came_s)[own]
        np.testing.assert_allclose(wait, waits(arrived[own], service[own], 1), atol=1e-6)


def drawn(kind, n, seed):
    """Gaps between arrivals, service times, workers and the mean wait that a formula gives."""
    rng = np.random.default_rng(seed)
    if kind == "M/G/1, lognormal":
        load, sigma = 0.6, 1.0
        service = rng.lognormal(-(sigma**2) / 2, sigma, n)  # mean 1, mean square e^(sigma^2)
        return (
            rng.exponential(1 / load, n),
            service,
            1,
            load * np.exp(sigma**2) / 2 / (1 - load),
        )  # Pollaczek, Khinchine
    workers, load = {"M/M/2": (2, 1.8), "M/M/10": (10, 8.0)}[kind]
    return rng.exponential(1 / load, n), rng.exponential(1.0, n), workers, erlang_c_wait(workers, load)


KINDS = ["M/M/2", "M/M/10", "M/G/1, lognormal"]


def test_the_formulas_give_the_figures_that_textbooks_print():
    assert erlang_c_wait(2, 1.8) == pytest.approx(4.263, abs=5e-4)
    assert erlang_c_wait(10, 8.0) == pytest.approx(0.2046, abs=5e-5)
    assert erlang_c_wait(1, 0.5) == 1.0  # rho / (1 - rho)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_waits_are_those_of_the_formulas(kind):
    warm, n, runs = 4_000, 10_000, 12  # 4,000 jobs are ten relaxation times or more
    means = []
    for seed in range(runs):
        gap, service, workers, exact = drawn(kind, n, seed)
        found = visit(np.cumsum(gap), service, workers=workers)
        means.append((found.began_s - found.came_s)[warm:].mean())

    error = np.std(means, ddof=1) / np.sqrt(runs)
    assert abs(np.mean(means) - exact) < 4 * error


@pytest.mark.deep
@pytest.mark.parametrize("kind", KINDS)
def test_mean_waits_are_those_of_the_formulas_within_3_percent_over_runs_of_a_million_jobs(kind):
    means = []  # of batches of 20,000; one run's mean has a standard error of 2% in the worst kind, eight runs' of 0.7%
    for seed in range(8):
        gap, service, workers, exact = drawn(kind, 1_000_000, seed)
        found = visit(np.cumsum(gap), service, workers=workers)
        means.extend((found.began_s - found.came_s).reshape(50, -1).mean(1))

    assert abs(np.mean(means) - exact) < 4 * np.std(means, ddof=1) / np.sqrt(len(means))
    assert np.mean(means) == pytest.approx(exact, rel=0.03)


# --- several stations ------------------------------------------------------------------------------------------------


@st.composite
def networks(draw):
    """Arrivals and up to four stations with anything in them, times in quarters of a second, so that many coincide."""
    gap = draw(st.lists(st.integers(0, 6), min_size=1, max_size=30))
    n, stations = len(gap), []
    pick = np.random.default_rng(draw(st.integers(0, 2**32)))
    for position in range(draw(st.integers(1, 4))):
        hosts, workers = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, None]))
        stations.append(station(
            pick.integers(0, 12, n) / 4, hosts=hosts, workers=workers, batch=draw(st.integers(1, 3)) if workers else 1,
            after=tuple(range(position)) if draw(st.booleans()) else (position - 1,) if position and draw(st.booleans()) else (),
            needed=draw(st.sampled_from([None, pick.random(n) < 0.5])), timeout_s=draw(st.sampled_from([inf, 0.75, 2.0])),
            host=draw(st.sampled_from([None, pick.integers(0, hosts, n)])), outages=draw(outages(hosts)),
            slow=pick.choice([1.0, 1.5], hosts),
        ))  # fmt: skip
    return np.cumsum(gap) / 4, stations


@given(networks())
def test_requests_come_when_they_have_left_what_is_before_and_none_is_lost(network):
    arrived, stations = network

    flow = run_stations(arrived, stations)

    passed = []  # when each station is behind a request
    for s, v in zip(stations, flow.visits, strict=True):
        ready = np.max([passed[before] for before in s.after], axis=0) if s.after else arrived
        comes = np.full(len(arrived), True) if s.needed is None else s.needed
        np.testing.assert_array_equal(v.came_s, np.where(comes, ready, nan))
        assert np.isfinite(v.left_s[comes]).all()
        assert np.isnan(v.left_s[~comes]).all() and not v.fallback[~comes].any()
        passed.append(np.where(comes, v.left_s, ready))
    np.testing.assert_array_equal(flow.left_s, np.max(passed, axis=0))
    np.testing.assert_array_equal(flow.arrived_s, arrived)


@given(networks())
def test_fallbacks_are_those_who_stayed_as_long_as_the_time_out_and_no_other(network):
    arrived, stations = network

    for s, v in zip(stations, run_stations(arrived, stations).visits, strict=True):
        stayed = v.left_s - v.came_s
        assert not (stayed > s.timeout_s + 1e-9).any()
        np.testing.assert_allclose(stayed[v.fallback], s.timeout_s, atol=1e-9)
        dropped = np.isnan(v.began_s) & ~np.isnan(v.came_s)
        assert (v.fallback | ~dropped).all()
        begun = ~np.isnan(v.began_s)
        assert (v.came_s[begun] <= v.began_s[begun]).all() and (v.began_s[begun] <= v.left_s[begun]).all()


@given(networks())
def test_littles_law_holds_at_every_station(network):
    arrived, stations = network

    for v in run_stations(arrived, stations).visits:
        assert v.area_s == pytest.approx(np.nansum(v.left_s - v.came_s), rel=1e-9, abs=1e-12)


@given(networks())
def test_a_run_is_a_function_of_its_arguments(network):
    one, other = run_stations(*network), run_stations(*network)

    assert one.left_s.tobytes() == other.left_s.tobytes()


def crowd(n):
    """A flow of n requests through a delay, a batched station with time-outs and outages, and slow hosts."""
    rng = np.random.default_rng(11)
    arrived = np.cumsum(rng.exponential(0.001, n))
    end = float(arrived[-1])
    pauses = [Outage(int(h), at, 0.2, bool(h)) for h in range(2) for at in np.arange(1.0 + h, end, 2.5)]
    stations = [
        station(rng.exponential(0.005, n), workers=None),
        Station(name="rank", service_s=lambda some: 0.002 + 0.0003 * len(some), hosts=2, batch=8, timeout_s=0.1, after=(0,),
                outages=pauses),
        station(rng.lognormal(-6, 1, n), hosts=3, workers=2, slow=np.array([1.0, 1.0, 1.5]), after=(1,),
                needed=rng.random(n) < 0.9),
    ]  # fmt: skip
    return run_stations(arrived, stations)


@pytest.mark.parametrize("n", [20_000, pytest.param(1_000_000, marks=pytest.mark.deep)])
def test_littles_law_holds_in_a_long_run(n):
    flow = crowd(n)

    assert 0 < flow.visits[1].fallback.mean() < 0.5
    for v in flow.visits:
        assert v.area_s == pytest.approx(np.nansum(v.left_s - v.came_s), rel=1e-9)


MEANS_S = np.array([0.001, 0.002, 0.003])


def in_a_row(t):
    """Share of sums of three exponentials that are below t."""
    weights = [np.prod([m / (m - other) for other in MEANS_S if other != m]) for m in MEANS_S]
    return 1 - np.sum(weights * np.exp(-t / MEANS_S))


def side_by_side(t):
    """Share of maxima of three exponentials that are below t."""
    return np.prod(1 - np.exp(-t / MEANS_S))


@pytest.mark.parametrize("n", [40_000, pytest.param(1_000_000, marks=pytest.mark.deep)])
@pytest.mark.parametrize(("cdf", "published", "after"), [
    (in_a_row, 0.01820, [(), (0,), (1,)]), (side_by_side, 0.01409, [(), (), ()]),
])  # fmt: skip
def test_p99_of_three_stages_is_that_of_their_sum_or_maximum_and_not_the_sum_of_p99s(cdf, published, after, n):
    exact = optimize.brentq(lambda t: cdf(t) - 0.99, 0, 1)
    assert exact == pytest.approx(published, abs=5e-6)
    density = (cdf(exact + 1e-6) - cdf(exact - 1e-6)) / 2e-6
    service = np.random.default_rng(3).exponential(MEANS_S[:, None], (3, n))

    arrived = np.arange(n) * 1e-4
    flow = run_stations(arrived, [station(service[i], workers=None, after=after[i]) for i in range(3)])

    found = np.quantile(flow.left_s - arrived, 0.99)
    assert abs(found - exact) < 4 * np.sqrt(0.99 * 0.01 / n) / density
    assert found < 0.75 * sum(np.quantile(v.left_s - v.came_s, 0.99) for v in flow.visits)


@pytest.mark.parametrize("service_s", [0.0001, 0.0005])
def test_a_pause_shows_in_p999_of_an_open_loop_and_hides_from_a_client_that_waits(service_s):
    # Who comes x s into the pause of 1 s waits 1 - x for its end and service_s for each of the 1,000 x that came before:
    # 1 - (1 - rho) x, rho = 1,000 service_s. That falls with x and goes on falling until it is 0, at x = 1 / (1 - rho). One
    # in 1,000 of 100 s come with x < 0.1, so 99.9% wait less than 0.9 + 0.1 rho: 0.91 s where a service takes 0.1 ms.
    every, pause = 0.001, Outage(0, 40.0, 1.0, False)
    arrived = np.arange(100_000) * every
    rho = service_s / every

    found = visit(arrived, np.full(arrived.size, service_s), outages=[pause])

    read = np.quantile(found.left_s - found.came_s, 0.999)
    spacing = (1 - rho) * every  # by which the waits of two that come one after the other differ
    assert read == pytest.approx(0.9 + 0.1 * rho + service_s, abs=2 * spacing)
    if service_s == 0.0001:
        assert read == pytest.approx(0.91, abs=0.001)
    assert np.quantile(waiting_client(every, service_s, pause), 0.999) == pytest.approx(service_s)


def waiting_client(every, service_s, pause):
    """Seconds that a client reads who sends its next request when it would, or when the last one has been answered."""
    now, read = 0.0, []
    while now < 100:
        begins = pause.start_s + pause.length_s if pause.start_s <= now < pause.start_s + pause.length_s else now
        read.append(begins + service_s - now)
        now = max(now + every, begins + service_s)
    return read


# --- batches, time-outs, hosts, outages: worked by hand ----------------------------------------------------------------


def test_a_free_worker_takes_what_waits_up_to_a_batch_and_waits_for_no_more():
    found = visit([0, 1, 1, 1, 1, 5], [2] * 6, batch=3)

    assert found.began_s.tolist() == [0, 2, 2, 2, 4, 6]
    assert found.left_s.tolist() == [2, 4, 4, 4, 6, 8]
    assert (found.batches, found.busy_s, found.area_s) == (4, 8, 2 + 3 * 3 + 5 + 3)


def test_a_batch_is_served_as_one():
    asked = []
    s = Station(name="rank", service_s=lambda some: asked.append(list(some)) or 1.0 + len(some), batch=4)

    found = run_stations(np.array([0.0, 0.5, 0.5, 0.5]), [s]).visits[0]

    assert asked == [[0], [1, 2, 3]]
    assert found.left_s.tolist() == [2, 6, 6, 6]


def test_requests_that_come_at_one_moment_are_taken_together():
    assert visit([1, 1, 1], [2] * 3, batch=2, workers=2).batches == 2
    stations = [station([3] * 3, batch=3), station([1] * 3, batch=3, after=(0,))]

    flow = run_stations(np.array([0.0, 1.0, 2.0]), stations)

    assert flow.visits[1].came_s.tolist() == [3, 6, 6]
    assert flow.visits[1].batches == 2
    assert flow.left_s.tolist() == [4, 7, 7]


@given(
    jobs=st.lists(st.tuples(TIMES, st.floats(0.01, 5)), min_size=1, max_size=40),
    batch=st.integers(1, 4), workers=st.integers(1, 3),
)  # fmt: skip
def test_batches_are_no_larger_than_allowed_first_come_first_and_no_worker_idles_while_requests_wait(
    jobs, batch, workers
):
    gap, service = np.array(jobs).T
    asked = []
    s = Station(
        name="rank",
        service_s=lambda some: asked.append(list(some)) or float(service[some].sum()),
        batch=batch,
        workers=workers,
    )

    found = run_stations(np.cumsum(gap), [s]).visits[0]

    assert max(map(len, asked)) <= batch
    assert list(chain(*asked)) == list(range(len(service)))
    spans = [(found.began_s[some[0]], found.left_s[some[0]]) for some in asked]
    for (began, _), some in zip(spans, asked, strict=True):
        came = found.came_s[some[0]]
        busy = [
            sum(start <= at < end for start, end in spans) for at in (came, *(e for _, e in spans if came <= e < began))
        ]
        assert began == came or min(busy) == workers  # while the first of a batch waits, all workers are busy


def test_who_is_late_gets_a_fallback_dropped_if_not_begun_and_else_served_in_vain():
    stations = [station([4] * 4, timeout_s=5), station([1] * 4, workers=None, after=(0,))]

    flow = run_stations(np.array([0.0, 1.0, 2.0, 3.0]), stations)

    found = flow.visits[0]
    assert found.left_s.tolist() == [
        4,
        6,
        7,
        8,
    ]  # the second is served until 8; a worker free at 8 is too late for the last
    np.testing.assert_array_equal(found.began_s, [0, 4, nan, nan])
    assert found.fallback.tolist() == [False, True, True, True]
    assert (found.batches, found.busy_s, found.area_s) == (2, 8, 4 + 5 + 5 + 5)
    assert flow.visits[1].came_s.tolist() == [4, 6, 7, 8]
    assert flow.left_s.tolist() == [5, 7, 8, 9]


def test_a_service_that_ends_as_the_time_is_out_has_answered():
    found = visit([0, 1], [5, 1], timeout_s=5)

    assert found.left_s.tolist() == [5, 6]
    assert found.fallback.tolist() == [False, False]


def test_a_batch_has_no_room_for_those_dropped():
    asked = []
    s = Station(name="rank", service_s=lambda some: asked.append(list(some)) or 4.0, batch=2, timeout_s=4.5)

    run_stations(np.array([0.0, 0.5, 1.0, 4.0, 5.0, 5.0]), [s])

    assert asked == [[0], [1, 2], [3, 4]]  # at 8.0, where the sixth has to wait; it is dropped at 9.5


def test_a_request_goes_to_the_host_with_the_fewest_the_first_of_them():
    found = visit([0, 1, 2, 3, 6.5], [10, 5, 1, 1, 1], hosts=2, slow=np.array([1.0, 1.0]))

    # to hosts 0, 1, 0 (both have one), 1, then 1 again: it has one left, the first host two
    assert found.began_s.tolist() == [0, 1, 10, 6, 7]


def test_a_host_is_not_charged_for_those_who_were_timed_out_there():
    found = visit([0, 0.5, 2, 4], [1, 10, 4, 1], hosts=2, timeout_s=3)

    # to hosts 0, 1, 0; the second gets a fallback at 3.5, is served in vain, and the fourth waits behind it in vain
    np.testing.assert_array_equal(found.began_s, [0, 0.5, 2, nan])
    assert found.left_s.tolist() == [1, 3.5, 5, 7]


def test_a_host_is_not_charged_for_those_it_lost():
    found = visit([0, 0.5, 4], [1, 10, 1], hosts=2, outages=[Outage(1, 2, 1, True)])

    assert found.began_s.tolist() == [0, 2, 4]  # to hosts 0, 1 and then 0, and 1


def test_who_is_lost_and_timed_out_at_one_moment_is_counted_once():
    found = visit(
        [0, 0.5, 4], [1, 10, 1], hosts=2, timeout_s=2, outages=[Outage(1, 2.5, 1, True)], slow=np.array([1.0, 2.0])
    )

    assert found.left_s.tolist() == [1, 2.5, 6]  # both hosts are empty at 4, and it is the slow one's turn


def test_who_is_timed_out_without_a_host_is_sent_to_none():
    down = [Outage(0, 0, 3, True), Outage(1, 0, 3, True)]

    found = visit([0, 4], [1, 1], hosts=2, timeout_s=2, outages=down, slow=np.array([1.0, 2.0]))

    assert found.left_s.tolist() == [2, 5]  # both hosts are empty at 4, and the first one is not slow


def test_hosts_with_equally_many_requests_take_turns():
    found = visit([0, 2, 4, 6], [1, 1, 1, 1], hosts=3, slow=np.array([1.0, 1.5, 0.5]))

    assert found.left_s.tolist() == [1, 3.5, 4.5, 7]


def test_a_slow_host_takes_its_factor_longer():
    found = visit([0, 0, 0], [1.0, 1.5, 2.0], hosts=3, slow=np.array([1.0, 3.0, 0.5]))

    assert found.left_s.tolist() == [1.0, 4.5, 1.0]
    assert found.busy_s == 1.0 + 4.5 + 1.0


def test_a_pause_stops_work_where_it_stands():
    found = visit([0, 1, 4], [2, 4, 1], outages=[Outage(0, 7, 1, False), Outage(0, 3, 3, False)])

    # the second: 2 to 3, 6 to 7, 8 to 10
    assert found.began_s.tolist() == [0, 2, 10]
    assert found.left_s.tolist() == [2, 10, 11]
    assert found.busy_s == 7


def test_a_paused_host_keeps_who_is_drawn_for_it_and_others_avoid_it():
    pause = [Outage(0, 1, 5, False)]

    assert visit([2, 3], [1, 1], hosts=2, outages=pause, host=np.array([0, 0])).began_s.tolist() == [6, 7]
    assert visit([2, 3], [2, 2], hosts=2, outages=pause).began_s.tolist() == [2, 4]
    assert visit([0], [1], hosts=2, outages=[Outage(0, 0, 5, False)]).began_s.tolist() == [0]


@given(
    jobs=st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=30),
    pauses=st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 5)), max_size=4), workers=st.integers(1, 3),
)  # fmt: skip
def test_pauses_conserve_work(jobs, pauses, workers):
    gap, service = np.array(jobs).T
    out, end = [], 0.0
    for wait, length in pauses:
        out.append(Outage(0, end + wait, length, False))
        end += wait + length + 1e-6

    found = visit(np.cumsum(gap), service, workers=workers, outages=out)

    assert found.busy_s == pytest.approx(service.sum(), rel=1e-12)
    stood = [sum(max(0.0, min(e, o.start_s + o.length_s) - max(b, o.start_s)) for o in out)
             for b, e in zip(found.began_s, found.left_s, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found.left_s - found.began_s, service + stood, atol=1e-9)


def test_what_a_failed_host_holds_begins_again_at_another():
    # to hosts 0, 1, 0, and once host 0 has failed to host 1: its own first, then who was in service, then who waited
    found = visit([0, 1, 2, 4], [4, 4, 4, 1], hosts=2, outages=[Outage(0, 3, 100, True)])

    assert found.began_s.tolist() == [5, 1, 9, 13]
    assert found.left_s.tolist() == [9, 5, 13, 14]
    assert (found.batches, found.busy_s) == (5, 3 + 4 + 4 + 4 + 1)
    assert not found.fallback.any()


def test_who_is_drawn_for_a_failed_host_goes_to_another():
    found = visit([1, 2, 12], [3, 3, 3], hosts=2, host=np.array([0, 0, 0]), outages=[Outage(0, 0, 10, True)])

    assert found.began_s.tolist() == [1, 4, 12]


def test_a_service_that_ends_as_its_host_fails_has_ended():
    found = visit([0, 1], [3, 1], hosts=1, outages=[Outage(0, 3, 2, True)])

    assert found.left_s.tolist() == [3, 6]
    assert found.began_s.tolist() == [0, 5]


def test_a_failure_takes_the_beginning_of_a_service_with_it():
    # begun at 0, lost at 3; the time is out at 4, before the host is up again
    found = visit([0], [5], timeout_s=4, outages=[Outage(0, 3, 2, True)])

    assert np.isnan(found.began_s).all()
    assert (found.left_s.tolist(), found.fallback.tolist(), found.busy_s, found.batches) == ([4], [True], 3, 1)


def test_a_service_in_vain_is_not_begun_again():
    found = visit([0], [9], hosts=2, timeout_s=2, outages=[Outage(0, 3, 2, True)])

    assert (found.began_s.tolist(), found.left_s.tolist(), found.busy_s, found.batches) == ([0], [2], 3, 1)


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("host", [None, np.array([0, 0])])
def test_requests_wait_for_the_first_host_that_comes_up_where_all_are_down(lossy, host):
    down = [Outage(0, 0, 10, True), Outage(1, 2, 2, lossy)]

    found = visit([3, 3.5], [1, 1], hosts=2, outages=down, host=host)

    assert found.began_s.tolist() == [4, 5]


def test_hosts_that_come_up_together_share_those_who_waited():
    found = visit([0, 0, 0], [1] * 3, hosts=2, outages=[Outage(0, 0, 2, True), Outage(1, 0, 2, False)])

    assert found.began_s.tolist() == [2, 2, 3]


def test_a_pure_delay_serves_all_at_once_and_can_be_paused():
    assert visit([0, 0, 1], [3, 1, 1], workers=None).left_s.tolist() == [3, 1, 2]
    found = visit([0, 3], [3, 1], workers=None, outages=[Outage(0, 2, 2, False)])
    assert found.left_s.tolist() == [5, 5]
    assert found.began_s.tolist() == [0, 4]


def test_stations_are_passed_by_those_that_do_not_need_them():
    # 0 -> (1 and 2 side by side) -> 3; the second request needs 1 only, the third needs neither
    stations = [
        station([1, 1, 1], workers=None),
        station([5, 5, 5], workers=None, after=(0,), needed=np.array([True, True, False])),
        station([2, 2, 2], workers=None, after=(0,), needed=np.array([True, False, False])),
        station([1, 1, 1], workers=None, after=(2, 1)),
    ]

    flow = run_stations(np.array([0.0, 10.0, 20.0]), stations)

    np.testing.assert_array_equal(flow.visits[2].came_s, [1, nan, nan])
    assert flow.visits[3].came_s.tolist() == [6, 16, 21]
    assert flow.left_s.tolist() == [7, 17, 22]


def test_a_request_has_left_when_it_has_left_all_stations():
    stations = [station([9, 1], workers=None), station([1, 9], workers=None)]

    assert run_stations(np.array([0.0, 1.0]), stations).left_s.tolist() == [9, 10]


def test_there_may_be_no_requests_or_no_stations():
    assert run_stations(np.zeros(0), [station([])]).visits[0].left_s.size == 0
    assert run_stations(np.ones(2), []).left_s.tolist() == [1, 1]


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hosts": 0}, r"desk\.hosts is 0"),
        ({"workers": 0}, r"desk\.workers is 0"),
        ({"batch": 0}, r"desk\.batch is 0"),
        ({"workers": None, "batch": 2}, r"desk\.batch is 2, it must be 1 where workers are None"),
        ({"after": (1,)}, r"desk\.after has 1, it must have stations before its own position, 1"),
        ({"after": (2,)}, r"desk\.after has 2"),
        ({"after": (-1,)}, r"desk\.after has -1"),
        ({"needed": np.array([True])}, r"desk\.needed is bool \(1,\), it must be bool \(3,\)"),
        ({"needed": np.array([1, 0, 1])}, r"desk\.needed is int64 \(3,\), it must be bool \(3,\)"),
        ({"hosts": 2, "host": np.array([0, 1, 2])}, r"desk\.host\[2\] is 2, it must be >= 0 and < 2"),
        ({"hosts": 2, "host": np.array([0, -1, 0])}, r"desk\.host\[1\] is -1"),
        ({"hosts": 2, "host": np.array([0, 1])}, r"desk\.host is int64 \(2,\), it must be whole numbers \(3,\)"),
        ({"hosts": 2, "host": np.array([0, 1, 1.0])}, r"desk\.host is float64"),
        ({"timeout_s": 0}, r"desk\.timeout_s is 0, it must be > 0"),
        ({"timeout_s": nan}, r"desk\.timeout_s is nan, it must be > 0"),
        ({"slow": np.ones(2)}, r"desk\.slow has shape \(2,\), it must be \(1,\)"),
        ({"slow": np.zeros(1)}, r"desk\.slow\[0\] is 0.0, it must be finite and > 0"),
        ({"slow": np.array([nan])}, r"desk\.slow\[0\] is nan"),
        ({"outages": [Outage(1, 0, 1, True)]}, r"desk\.outages has host 1, it must be >= 0 and < 1"),
        ({"outages": [Outage(-1, 0, 1, True)]}, r"desk\.outages has host -1"),
        ({"outages": [Outage(0, -1, 1, True)]}, r"desk\.outages\.start_s is -1.0, it must be finite and >= 0"),
        ({"outages": [Outage(0, 1, 0, True)]}, r"desk\.outages\.length_s is 0.0, it must be finite and > 0"),
        ({"outages": [Outage(0, 1, inf, False)]}, r"desk\.outages\.length_s is inf"),
        (
            {"outages": [Outage(0, 4, 1, True), Outage(0, 1, 3.5, False)]},
            r"desk\.outages of host 0 overlap, at 4 s: .* 4.5 s",
        ),
    ],
)
def test_a_station_that_could_not_be_run_is_refused_by_name(settings, said):
    with pytest.raises(ValueError, match=said):
        run_stations(np.zeros(3), [station([1] * 3), station([1] * 3, **settings)])


@pytest.mark.parametrize(
    ("arrived", "said"),
    [
        ([0, -1], r"arrived_s\[1\] is -1.0, it must be finite and >= 0"),
        ([nan], r"arrived_s\[0\] is nan"),
        ([0, inf], r"arrived_s\[1\] is inf"),
        ([0, 2, 1], r"arrived_s\[2\] is 1.0, it must not fall from the one before, 2.0"),
        ([[0, 1]], r"arrived_s has shape \(1, 2\), it must be \(n,\)"),
    ],
)
def test_arrivals_that_are_not_one_after_the_other_are_refused(arrived, said):
    with pytest.raises(ValueError, match=said):
        visit(arrived, [1] * 3)


@pytest.mark.parametrize("bad", [-1.0, nan, inf])
def test_a_service_time_that_is_none_is_refused_when_it_is_returned(bad):
    with pytest.raises(ValueError, match=rf"desk\.service_s of requests \[1\] is {bad}, it must be finite and >= 0"):
        visit([0, 1], [1, bad])


def test_outages_of_two_hosts_or_one_after_the_other_are_no_overlap():
    down = [Outage(0, 0, 2, True), Outage(1, 1, 2, True), Outage(0, 2, 2, False)]

    assert visit([2], [1], hosts=2, outages=down).began_s.tolist() == [3]


def test_hosts_of_requests_that_do_not_come_are_not_looked_at():
    found = visit([0, 0], [1, 1], host=np.array([0, -1]), needed=np.array([True, False]))

    np.testing.assert_array_equal(found.left_s, [1, nan])
