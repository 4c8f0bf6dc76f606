"""Click rates, cohorts, and how far rates are spread over users, items and days."""

from collections.abc import Sequence

import numpy as np

from fitting.checks import DAY_MS, HOUR_MS, Facts
from fitting.clusters import cluster_of, totals
from fitting.cure import Cure
from fitting.interval import missing, on_logits
from fitting.source import Log, reading
from fitting.spread import Counts, spread_of
from fitting.types import Estimate

_MOST_UNITS = 200_000  # whose spread is looked at; more are drawn by a hash
_LEAST_LOOK = 1e-3
_LEAST_SHARE = 0.05  # an order that came at once counts for twenty at most
_LATE = ("long_click_share", "share of clicks"), ("hide_rate", "per impression")


def rates(log: Log, facts: Facts, curve: Sequence[Estimate] = (), law: Cure | None = None) -> list[Estimate]:
    """Clicks per impression, repurchase shares of orders and of the rest, and spreads of click and order rates.

    Args:
        log: Opened.
        facts: Of the impressions.
        curve: Estimates of the slots' effects; where they are not known, click rates by slot serve instead.
        law: Delays of orders, so that orders still to come are allowed for.
    """
    return [_ctr(log, facts), *_cohorts(log, facts, law), *_spreads(log, curve), *_unlogged()]


def _ctr(log: Log, facts: Facts) -> Estimate:
    cluster, called = cluster_of(log)
    by = totals(log, "impressions", cluster, "0", 1, value="click::INTEGER")
    rate = facts.clicks / facts.rows
    error = by.error((by.cluster_value - rate * by.cluster_rows) / facts.rows)[0]
    return on_logits(
        "world.marginals.ctr", rate, error, facts.clicks, "clicks per impression",
        f"clicks over impressions; sandwich, {called} as clusters", freedom=by.freedom,
    )  # fmt: skip


def _cohorts(log: Log, facts: Facts, law: Cure | None) -> list[Estimate]:
    """Share of users who knew the store, of impressions that led to an order and of the others.

    What users know grows, and of late clicks fewer orders have come. So where the law of delays is known an order counts
    1 / F(age), F(age) being the share of orders that come within the time since its click (inverse probability of censoring).
    """
    names = "world.marginals.repurchase_positives", "world.marginals.repurchase_negatives"
    if not log.has("known", "checkout_ms"):
        there = [name for name in ("known", "checkout_ms") if not log.has(name)]
        return [missing(name, "share of impressions", f"the log has no column {there[0]}") for name in names]
    cluster, called = cluster_of(log)
    weight = "1.0" if law is None else _weight(log, facts, law)
    source = "(SELECT * FROM impressions WHERE known IS NOT NULL)"
    key = "(checkout_ms IS NULL)::INTEGER"
    by = totals(log, source, cluster, key, 2, rows=weight, value=f"CASE WHEN known THEN {weight} ELSE 0 END")
    events = totals(log, source, "0", key, 2).rows
    found = []
    for k, name in enumerate(names):
        rows, known = by.rows[k], by.value[k]
        if not 0 < known < rows:
            why = f"of {events[k]:g} impressions {'all' if known else 'none'} are known"
            found.append(missing(name, "share of impressions", why, events=int(events[k])))
            continue
        share = known / rows
        error = by.error((by.cluster_value[:, [k]] - share * by.cluster_rows[:, [k]]) / rows)[0]
        late = "so far" if law is None else "so far, each over the share that comes within its age"
        what = (f"with an order {late}", "without an order so far")[k]
        found.append(
            on_logits(
                name, share, error, int(events[k]), "share of impressions",
                f"known among impressions {what}; sandwich, {called} as clusters", freedom=by.freedom,
            )
        )  # fmt: skip
    return found


def _weight(log: Log, facts: Facts, law: Cure) -> str:
    """SQL of 1 / F(age) of a row with an order, 1 of one without."""
    since = "coalesce(click_ms, time_ms)" if log.has("click_ms") else "time_ms"
    hours = f"(({facts.end_ms} - {since}) / {HOUR_MS}.0)"
    parts = (law.fast_share, law.fast_mean_h), (1 - law.fast_share, law.slow_mean_h)
    share = " + ".join(f"{weight!r} * (1 - exp(-{hours} / {mean!r}))" for weight, mean in parts)
    return f"CASE WHEN checkout_ms IS NULL THEN 1.0 ELSE 1 / greatest({share}, {_LEAST_SHARE}) END"


def _spreads(log: Log, curve: Sequence[Estimate]) -> list[Estimate]:
    """Spread of the click rate (its slots taken into account) and of orders per click, by unit."""
    found = []
    looks = _looks(log, curve) if log.has("slot") else "1.0"
    rates = [("ctr", "clicks per look", "impressions", "click", looks)]
    if log.has("checkout_ms"):
        clicked = "(SELECT * FROM impressions WHERE click)"
        rates.append(("cvr", "orders so far per click", clicked, "checkout_ms IS NOT NULL", "1.0"))
    for rate, words, source, hit, look in rates:
        for unit, key in (("user", '"user"'), ("item", "item"), ("day", f"(time_ms // {DAY_MS})")):
            name = f"spread.{rate}.{unit}"
            if unit == "user" and not log.has("user"):
                found.append(missing(name, "logits", "the log has no column user"))
            elif (rate, unit) == ("cvr", "day"):
                found.append(missing(name, "logits", "orders still to come make late days differ from early ones"))
            else:
                found += spread_of(name, counted(log, source, key, hit, look), f"{words}, by {unit}")
    return found


def _looks(log: Log, curve: Sequence[Estimate]) -> str:
    """SQL of the effect of a row's slot, the largest being 1."""
    values = [estimate.value for estimate in curve]
    if values and None not in values:
        effect = np.array(values, np.float64)
    else:
        with reading("impressions"):
            rows = log.con.execute(
                "SELECT slot, (count_if(click) + 0.5) / (count(*) + 1.0) FROM impressions GROUP BY slot"
            ).fetchall()
        effect = np.ones(max(slot for slot, _ in rows) + 1)
        for slot, rate in rows:
            effect[slot] = rate
    effect = np.maximum(effect / effect.max(), _LEAST_LOOK)
    return "CASE slot " + " ".join(f"WHEN {slot} THEN {value!r}" for slot, value in enumerate(effect.tolist())) + " END"


def counted(log: Log, source: str, key: str, hit: str, look: str) -> Counts:
    """Trials and successes of each unit, equal ones together.

    Args:
        log: Opened.
        source: What SQL reads.
        key: SQL of the unit.
        hit: SQL of a success.
        look: SQL of the factor of a row, within (0, 1]; a unit's is the mean of its rows, to three digits.
    """
    with reading("impressions"):
        (units,) = log.con.execute(f"SELECT approx_count_distinct({key}) FROM {source}").fetchall()[0]
        keep = max(-(-units // _MOST_UNITS), 1)
        cells = log.con.execute(
            "SELECT n, k, look, count(*) AS units FROM ("
            f"SELECT count(*) AS n, count_if({hit}) AS k, greatest(round(avg({look}), 3), {_LEAST_LOOK}) AS look "
            f"FROM {source} WHERE hash({key}) % {keep} = 0 GROUP BY {key}) GROUP BY ALL"
        ).fetchnumpy()
    return Counts(*(np.asarray(cells[name], np.float64) for name in ("n", "k", "units", "look")))


def _unlogged() -> list[Estimate]:
    return [missing(f"world.marginals.{name}", unit, "no standard column tells it") for name, unit in _LATE]
