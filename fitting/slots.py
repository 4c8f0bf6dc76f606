"""The slot curve: how likely a look at each slot is, over that at the top one."""

import numpy as np

from fitting.clusters import Totals, cluster_of, totals
from fitting.interval import missing, on_logs
from fitting.quadrature import FloatArray
from fitting.source import Log, reading
from fitting.types import Estimate
from models.errors import Unusable
from models.propensity import propensities_harvested

SLOT_EFFECT = "world.feed.slot_effect"
_MOST_ROWS = 2_000_000  # of units that were shown in several slots
_UNIT = "of slot 0"


def slots(log: Log) -> list[Estimate]:
    """The curve, by the best means that the log has.

    Rows of randomised slots give ratios of click rates. Where the policy's probabilities are logged, all rows do, each
    weighted by their inverse (self-normalised). Without either, what was shown in several slots is compared with itself
    (harvested interventions, `models.propensity`): a user's item, or an item where users are not known. Where no item was
    in two slots, nothing tells the slot from the item.
    """
    if not log.has("slot"):
        return [missing(f"{SLOT_EFFECT}[0]", _UNIT, "the log has no column slot")]
    (n,) = log.con.execute("SELECT max(slot) + 1 FROM impressions").fetchall()[0]
    if n == 1:
        return [Estimate(f"{SLOT_EFFECT}[0]", 1.0, 1.0, 1.0, 0, _UNIT, "there is one slot; the reference")]
    if log.has("randomised") and _any(log, "randomised"):
        found = _ratios(
            log, "(SELECT * FROM impressions WHERE randomised)", "1", n, "click rates where slots were randomised"
        )
    elif log.has("propensity") and _any(log, "propensity IS NOT NULL"):
        found = _ratios(
            log, "(SELECT * FROM impressions WHERE propensity IS NOT NULL)", "1 / propensity", n,
            "click rates, rows weighted by 1 / propensity",
        )  # fmt: skip
    else:
        found = _harvested(log, n)
    return found


def _any(log: Log, test: str) -> bool:
    with reading("impressions"):
        return bool((log.con.execute(f"SELECT count_if({test}) FROM impressions").fetchall()[0])[0])


def _ratios(log: Log, source: str, weight: str, n: int, what: str) -> list[Estimate]:
    """Weighted click rates over that of slot 0. With R = r_s / r_0, a cluster moves log R by its residuals over the clicks."""
    cluster, called = cluster_of(log)
    found = totals(log, source, cluster, "slot", n, rows=weight, value=f"CASE WHEN click THEN {weight} ELSE 0 END")
    clicks = totals(log, source, "0", "slot", n, value="click::INTEGER").value
    if not clicks[0]:
        return [missing(f"{SLOT_EFFECT}[{s}]", _UNIT, "slot 0 has no clicks", events=int(clicks[s])) for s in range(n)]
    rate = found.value / np.maximum(found.rows, 1e-300)
    method = f"{what}, over slot 0's; sandwich on logarithms, {called} as clusters"
    residual = (found.cluster_value - rate * found.cluster_rows) / np.maximum(found.value, 1e-300)
    error = found.error(residual - residual[:, :1])
    return [_reference(clicks[0], method)] + [
        _slot(s, rate[s] / rate[0], error[s], clicks, found, method) for s in range(1, n)
    ]


def _slot(slot: int, value: float, error: float, clicks: FloatArray, found: Totals, method: str) -> Estimate:
    """With no clicks, the upper end is where three were to be expected."""
    name = f"{SLOT_EFFECT}[{slot}]"
    if not found.rows[slot]:
        return missing(name, _UNIT, f"slot {slot} has no such impressions")
    if not clicks[slot]:
        most = 3.0 / clicks[0] * found.rows[0] / found.rows[slot]
        return Estimate(name, 0.0, 0.0, float(most), 0, _UNIT, f"{method}; no clicks: rule of three")
    return on_logs(name, float(value), float(value * error), int(clicks[slot] + clicks[0]), _UNIT, method)


def _reference(clicks: float, method: str) -> Estimate:
    return Estimate(f"{SLOT_EFFECT}[0]", 1.0, 1.0, 1.0, int(clicks), _UNIT, f"the reference of: {method}")


def _harvested(log: Log, n: int) -> list[Estimate]:
    unit, called = (
        ('hash("user", item)', "a user's item") if log.has("user") else ("hash(item)", "an item, by all users")
    )
    with reading("impressions"):
        (most,) = log.con.execute(
            "SELECT max(k) FROM (SELECT count(DISTINCT slot) AS k FROM impressions GROUP BY item)"
        ).fetchall()[0]
        if most < 2:
            return [missing(f"{SLOT_EFFECT}[{s}]", _UNIT, "no item was ever shown in two slots") for s in range(n)]
        log.con.execute(
            f"CREATE OR REPLACE TEMP TABLE moved AS SELECT unit, slot, n, c FROM (SELECT *, count(*) OVER (PARTITION BY unit) "
            f"AS k, sum(c) OVER (PARTITION BY unit) AS all_c FROM (SELECT {unit} AS unit, slot, count(*) AS n, "
            f"count_if(click) AS c FROM impressions GROUP BY ALL)) WHERE k > 1 AND all_c > 0"
        )
        (rows,) = log.con.execute("SELECT coalesce(sum(n), 0) FROM moved").fetchall()[0]
        keep = max(-(-int(rows) // _MOST_ROWS), 1)
        cells = log.con.execute(f"SELECT unit, slot, n, c FROM moved WHERE unit % {keep} = 0").fetchnumpy()
    times = cells["n"].astype(np.int64)
    place = np.repeat(np.arange(len(times)), times)
    click = np.arange(len(place)) - (np.cumsum(times) - times)[place] < cells["c"][place]
    slot, clicks = cells["slot"][place].astype(np.int64), int(cells["c"].sum())
    try:  # any two slots of a unit count, so each slot is a ranker of its own
        found = propensities_harvested(cells["unit"][place], slot, click, slot, n)
    except Unusable as error:
        return [
            missing(f"{SLOT_EFFECT}[{s}]", _UNIT, f"harvested interventions: {error}", events=clicks) for s in range(n)
        ]
    method = f"harvested interventions: {called} in two slots (Agarwal et al. 2019); sandwich, units as clusters"
    by_slot = np.bincount(cells["slot"], cells["c"], n)
    return [_reference(by_slot[0], method)] + [
        on_logs(
            f"{SLOT_EFFECT}[{s}]",
            float(found.value[s]),
            float(found.error[s]),
            int(by_slot[0] + by_slot[s]),
            _UNIT,
            method,
        )
        for s in range(1, n)
    ]
