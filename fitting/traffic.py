"""Traffic: when users come, how often, and for how many pages."""

from functools import partial

import numpy as np

from fitting.activity import Activity, activity_of
from fitting.checks import DAY_MS, HOUR_MS, Facts, weekday0
from fitting.clusters import Totals, totals
from fitting.interval import missing, on_logs
from fitting.quadrature import FloatArray, IntArray
from fitting.source import Log, reading
from fitting.types import Estimate

PAUSE_MS = 30 * 60_000  # that ends a session, where the log does not name sessions
_HOURS, _DAYS = "world.traffic.hour_weight", "world.traffic.weekday_weight"


def traffic(log: Log, facts: Facts) -> list[Estimate]:
    """All that is known of traffic: hour and weekday profile, sessions per user, requests per session, pauses.

    Args:
        log: With impressions, a traffic table, or both; the profile is the table's where there is one.
        facts: Of the impressions.
    """
    unit = _visits(log)
    found = table_profile(log) if "traffic" in log.columns else _profile(log, facts, unit)
    return found + (_sessions(log, facts) if log.has("user") else _no_sessions(log))


def overlap(facts: Facts) -> tuple[IntArray, FloatArray]:
    """Calendar hours that the log covers: their hour of the week, 0 being Monday's first, and the share of each covered."""
    first, last = facts.first_ms // HOUR_MS, facts.last_ms // HOUR_MS
    hour = np.arange(first, last + 1, dtype=np.int64)
    covered = np.minimum(facts.last_ms + 1, (hour + 1) * HOUR_MS) - np.maximum(facts.first_ms, hour * HOUR_MS)
    return (hour + 24 * weekday0(facts.first_ms)) % 168, covered / HOUR_MS


def _visits(log: Log) -> str:
    """Make the views `requests` and, where users are known, `visits` (sessions); the best unit of traffic by name."""
    names = [f'"{name}"' for name in ("user", "session") if log.has(name)]
    if log.has("request"):
        whose = '"user", ' if log.has("user") else ""
        others = "".join(f", any_value({name}) AS {name}" for name in names)
        requests = f"SELECT min(time_ms) AS time_ms{others} FROM impressions GROUP BY {whose}request"
    elif names:
        requests = f"SELECT DISTINCT time_ms, {', '.join(names)} FROM impressions"
    else:
        requests = "SELECT time_ms FROM impressions"
    with reading("impressions"):
        log.con.execute(f"CREATE OR REPLACE TEMP TABLE requests AS {requests}")
        if not names:
            return "requests"
        whose = ", ".join(names)
        if not log.has("session"):
            log.con.execute(
                'CREATE OR REPLACE TEMP TABLE requests AS SELECT *, sum(opens) OVER (PARTITION BY "user" ORDER BY time_ms) AS '
                'session FROM (SELECT *, CASE WHEN time_ms - lag(time_ms) OVER (PARTITION BY "user" ORDER BY time_ms) <= '
                f"{PAUSE_MS} THEN 0 ELSE 1 END AS opens FROM requests)"
            )
            whose = '"user", session'
        log.con.execute(
            f"CREATE OR REPLACE TEMP TABLE visits AS SELECT {whose}, min(time_ms) AS time_ms, max(time_ms) - min(time_ms) AS "
            f"lasts, count(*) AS pages FROM requests GROUP BY {whose}"
        )
    return "visits"


def _profile(log: Log, facts: Facts, unit: str) -> list[Estimate]:
    """Weights by hour and by weekday: visits over the time that the log covers, the mean weight being 1."""
    at, covered = overlap(facts)
    hours_seen = np.bincount(at % 24, covered, 24).astype(np.float64)
    if (hours_seen == 0).any():
        why = f"the log covers {int((hours_seen > 0).sum())} of the 24 hours of the day"
        return [missing(f"{_HOURS}[{h}]", "mean is 1", why) for h in range(24)] + _no_weekdays(why)
    shift = 24 * weekday0(facts.first_ms)
    hour = f"(time_ms // {HOUR_MS}) % 24"
    day = f"((time_ms // {HOUR_MS} + {shift}) % 168) // 24"
    what = {"visits": "session starts", "requests": "requests"}[unit]
    if log.has("user"):
        weights, how = _weights, "sandwich, users as clusters"
    else:
        excess, freedom = _excess(log, unit, facts)
        weights = partial(_quasi, excess=excess, freedom=freedom)
        how = f"Poisson, variance times {excess:.3g} by the scatter of days and hours"
    cluster = '"user"' if log.has("user") else "0"
    by_hour = totals(log, unit, cluster, hour, 24)
    found = weights(_HOURS, by_hour, hours_seen, f"{what} over hours covered; {how}")
    weight = np.array([estimate.value for estimate in found])
    days_seen = np.bincount(at // 24, covered * weight[at % 24], 7).astype(np.float64)
    if (days_seen == 0).any():
        return found + _no_weekdays(f"the log covers {int((days_seen > 0).sum())} of the 7 weekdays")
    by_day = totals(log, unit, cluster, day, 7)
    return found + weights(_DAYS, by_day, days_seen, f"{what} over days covered, by their hours; {how}")


def _excess(log: Log, unit: str, facts: Facts) -> tuple[float, float]:
    """Pearson's chi-square of visits by day and hour over its degrees of freedom, at least 1; and these."""
    first = facts.first_ms // DAY_MS
    counts = np.zeros((facts.last_ms // DAY_MS - first + 1, 24))
    for day, hour, n in log.con.execute(
        f"SELECT time_ms // {DAY_MS} - {first}, (time_ms // {HOUR_MS}) % 24, count(*) FROM {unit} GROUP BY ALL"
    ).fetchall():
        counts[day, hour] = n
    counts = counts[1:-1] if len(counts) > 3 else counts  # the first and the last day may be parts of one
    fitted = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    there = fitted > 0
    freedom = max((counts.any(axis=1).sum() - 1) * (counts.any(axis=0).sum() - 1), 1)
    return max(float(((counts - fitted)[there] ** 2 / fitted[there]).sum() / freedom), 1.0), float(freedom)


def _no_weekdays(why: str) -> list[Estimate]:
    return [missing(f"{_DAYS}[{day}]", "mean is 1", why) for day in range(7)]


def _weights(name: str, found: Totals, seen: FloatArray, method: str) -> list[Estimate]:
    """Rates over their mean. A cluster with rates r_c moves weight w by (K r_c - w sum(r_c)) / sum(r)."""
    n = len(seen)
    rate, by_cluster = found.rows / seen, found.cluster_rows / seen
    weight = n * rate / rate.sum()
    error = found.error((n * by_cluster - weight * by_cluster.sum(axis=1, keepdims=True)) / rate.sum())
    return _each(name, found, seen, error, method, found.freedom)


def _quasi(name: str, found: Totals, seen: FloatArray, method: str, *, excess: float, freedom: float) -> list[Estimate]:
    """The same of counts that are independent, their variance being a multiple of their mean."""
    n = len(seen)
    rate = found.rows / seen
    slope = (n * np.eye(n) - (n * rate / rate.sum())[:, None]) / rate.sum()
    error = np.sqrt(np.square(slope) @ (excess * found.rows / seen**2))
    return _each(name, found, seen, error, method, freedom)


def _each(name: str, found: Totals, seen: FloatArray, error: FloatArray, method: str, freedom: float) -> list[Estimate]:
    n = len(seen)
    rate = found.rows / seen
    weight = n * rate / rate.sum()
    return [
        on_logs(
            f"{name}[{k}]", float(weight[k]), float(error[k]), int(found.rows[k]), "mean is 1", method, freedom=freedom
        )
        if found.rows[k]
        else Estimate(
            f"{name}[{k}]",
            0.0,
            0.0,
            float(3.0 / seen[k] * n / rate.sum()),
            0,
            "mean is 1",
            f"{method}; none seen: rule of three",
        )
        for k in range(n)
    ]


def table_profile(log: Log) -> list[Estimate]:
    """Weights of a table of shares; regions are its clusters, without them there is no interval."""
    regions = log.has("region", table="traffic")
    cluster, source = ('"region"' if regions else "0"), "traffic"
    found = []
    for name, key, n in ((_HOURS, "hour", 24), (_DAYS, "weekday", 7)):
        by = totals(log, source, cluster, key, n, rows="share")
        method = "traffic table; sandwich, regions as clusters" if regions else "traffic table, which has no counts"
        rows = _weights(name, by, np.ones(n), method)
        if len(by.cluster_rows) < 2:
            rows = [row._replace(low=None, high=None) for row in rows]
        found += [row._replace(events=0) for row in rows]
    return found


def _sessions(log: Log, facts: Facts) -> list[Estimate]:
    """How active users are, and what a session is."""
    how = "sessions" if log.has("session") else "sessions, ended by pauses of 30 minutes"
    by = totals(log, "visits", '"user"', "0", 1, rows="1", value="pages")
    sessions, pages = by.rows[0], by.value[0]
    mean = pages / sessions
    error = by.error((by.cluster_value - mean * by.cluster_rows) / sessions)[0]
    longer = totals(
        log, "(SELECT * FROM visits WHERE pages > 1)", '"user"', "0", 1, rows="pages - 1", value="lasts / 1e3"
    )
    found = [
        on_logs(
            "world.traffic.requests_per_session", mean, error, int(sessions), "requests",
            f"mean over {how}; sandwich, users as clusters", freedom=by.freedom,
        )
        if error > 0
        else missing("world.traffic.requests_per_session", "requests", "every session has as many requests", events=int(sessions))
    ]  # fmt: skip
    pause = longer.value[0] / longer.rows[0] if longer.rows[0] else 0.0
    if pause > 0 and len(longer.cluster_rows) > 1:
        error = longer.error((longer.cluster_value - pause * longer.cluster_rows) / longer.rows[0])[0]
        found.append(
            on_logs(
                "world.traffic.page_seconds", pause, error, int(longer.rows[0]), "seconds",
                f"mean time between requests of {how}; sandwich, users as clusters", freedom=longer.freedom,
            )
        )  # fmt: skip
    else:
        found.append(missing("world.traffic.page_seconds", "seconds", "no session has requests at two times"))
    counts = np.array(
        log.con.execute(
            'SELECT n, count(*) FROM (SELECT count(*) AS n FROM visits GROUP BY "user") GROUP BY n ORDER BY n'
        ).fetchall()
    )
    days = (facts.last_ms - facts.first_ms + 1) / DAY_MS
    return found + activity_of(Activity(counts[:, 0], counts[:, 1], days), how)


def _no_sessions(log: Log) -> list[Estimate]:
    why = "the log has no column user"
    return [
        missing(name, unit, why)
        for name, unit in (
            ("world.traffic.requests_per_session", "requests"), ("world.traffic.page_seconds", "seconds"),
            ("world.marginals.sessions_per_day", "per user and day"), ("world.population.activity_sigma", ""),
            ("world.population.users", "users"),
        )
    ]  # fmt: skip
