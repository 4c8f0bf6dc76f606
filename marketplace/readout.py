"""Readout: every metric of every arm against control, beside the truth, as the experiment asks for it to be read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from marketplace.arm import tested_campaigns
from marketplace.designs import Reading
from marketplace.errors import known
from marketplace.metrics import METRICS, QUANTILES, Metric
from marketplace.scenario import Scenario
from marketplace.sequential import mixture_p_value, monitor
from marketplace.stats import Effect, adjusted, effect, true_lift
from synth.traffic import weekday_factor
from synth.types import FloatArray

Row = dict[str, Any]
INCREMENTAL = ("tested_orders", "tested_GMV", "organic_orders", "total_GMV", "return_rate")


def readout(days: Sequence[Reading], worlds: Mapping[str, Reading], scenario: Scenario) -> tuple[list[Row], list[Row]]:
    """The table at the end of the test, and its lifts as they stood at the end of each day.

    Args:
        days: Readings of the test, day by day.
        worlds: Last readings of the worlds with one arm for everyone, by arm; those that were run.

    Returns:
        A row per arm and metric; and one per arm, metric and day.
    """
    arms = list(scenario.arms)
    rows, by_day = [], []
    for position, arm in enumerate(arms[1:], start=1):
        own = [
            _row(metric, [day.effect(metric, position) for day in days], scenario)
            | {"true_lift": _truth(metric, worlds, arms[0], arm)}
            for metric in metrics_of(scenario)
        ]
        for row in own:
            by_day += [{"arm": arm, "metric": row["metric"]} | look for look in row.pop("looks")]
        ps = [row["p_value"] for row in own]
        for row, holm, share in zip(own, adjusted(ps, "holm"), adjusted(ps, "benjamini_hochberg"), strict=True):
            rows.append({"arm": arm} | row | {"p_holm": holm, "p_benjamini_hochberg": share} | _against_truth(row))
    return rows, by_day


def exposed_rows(last: Reading, scenario: Scenario) -> list[Row]:
    """Incrementality: users who saw an ad of a campaign under test against those who would have, had none been withheld.

    Who would have is known from the auctions that were held with the withheld ads (ghost ads; Johnson, Lewis & Nubbemeyer
    2017). Users whom no such ad would have reached cannot have been changed by one, and are left out of both arms. Worlds with
    one arm for everyone reach different users, so there is no truth of these alone; that of all users is in the readout.
    """
    if last.exposed is None:
        return []
    control, *others = last.exposed
    return [
        {"arm": arm, "units": [control.units, moments.units]} | described(metric.name)
        | effect(metric, control, moments)._asdict()
        for arm, moments in zip(list(scenario.arms)[1:], others, strict=True)
        for metric in metrics_of(scenario)
        if metric.name in INCREMENTAL
    ]  # fmt: skip


def metrics_of(scenario: Scenario) -> list[Metric]:
    """The metric table of an experiment: those of campaigns under test only where an arm withholds some."""
    tested = tested_campaigns(scenario).any()
    return [metric for metric in METRICS if tested or not metric.numerator.startswith("tested_")]


def metrics_named(names: Sequence[str], scenario: Scenario) -> list[Metric]:
    """Metrics of an experiment by their names, all where none are given.

    Raises:
        Refused: If there is no such metric.
    """
    there = {metric.name: metric for metric in metrics_of(scenario)}
    for name in names:
        known(name, there, f"--metric {name!r}: there is none of that name")
    return [there[name] for name in names] or list(there.values())


def described(metric: str) -> Row:
    """What a metric is, for a row of a table."""
    own = next(m for m in (*METRICS, *QUANTILES) if m.name == metric)
    return {"metric": own.name, "group": own.group, "unit": own.unit, "good": own.good, "role": own.role}


def information(scenario: Scenario) -> FloatArray:
    """(days,) share of the test's expected traffic that has come by the end of each of its days."""
    first, days = scenario.calendar.log_days, scenario.calendar.test_days
    traffic = weekday_factor(scenario.world.traffic)[np.arange(first, first + days) % 7]
    share: FloatArray = np.cumsum(traffic) / traffic.sum()
    share[-1] = 1.0
    return share


def _row(metric: Metric, effects: list[Effect], scenario: Scenario) -> Row:
    """A metric at the end of the test, with its looks; where it is read every day, the interval allows for it."""
    own, last = scenario.experiment, effects[-1]
    lift, se = (
        np.array([np.nan if e.se is None else x for e, x in zip(effects, column, strict=True)], dtype=float)
        for column in ([np.log1p(e.lift) if e.se is not None and e.lift is not None else 0.0 for e in effects],
                       [e.se for e in effects])
    )  # fmt: skip
    look = monitor(own.monitor, lift, se, information(scenario), own.msprt_scale)
    row = described(metric.name) | last._asdict() | {"stopped_day": None}
    if own.monitor != "fixed" and last.low is not None:
        valid = own.monitor == "msprt"
        row |= {
            "low": float(np.expm1(look.low[-1])), "high": float(np.expm1(look.high[-1])),
            "p_value": float(mixture_p_value(lift, se, own.msprt_scale)[-1]) if valid else None,
            "stopped_day": look.stopped + 1 if look.stopped >= 0 else None,
        }  # fmt: skip
    return row | {
        "looks": [
            {
                "day": day, "lift": e.lift, "low": e.low, "high": e.high,
                "valid_low": _lift(low), "valid_high": _lift(high),
            }
            for day, (e, low, high) in enumerate(zip(effects, look.low, look.high, strict=True), start=1)
        ]
    }  # fmt: skip


def _truth(metric: Metric, worlds: Mapping[str, Reading], control: str, arm: str) -> float | None:
    if control not in worlds or arm not in worlds:
        return None
    before, after = (worlds[name].arms for name in (control, arm))
    if not isinstance(before, list) or not isinstance(after, list):
        return None
    return true_lift(metric, before[0], after[0])


def _against_truth(row: Row) -> Row:
    truth = row["true_lift"]
    if truth is None or row["lift"] is None:
        return {"bias": None, "covered": None}
    bias = (1 + row["lift"]) / (1 + truth) - 1 if truth > -1 else None
    return {"bias": bias, "covered": holds(row["low"], row["high"], truth)}


def holds(low: float | None, high: float | None, truth: float | None) -> bool | None:
    """Whether an interval holds the truth; None where either is missing."""
    return None if low is None or high is None or truth is None else low <= truth <= high


def _lift(log: float) -> float | None:
    """Of the log of a ratio; None where it is not finite: an end that does not bind, also the lower one, which would be -100%."""
    return float(np.expm1(log)) if np.isfinite(log) else None
