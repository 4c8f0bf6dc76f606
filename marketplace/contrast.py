"""Contrast: two runs side by side, by what was set and what came of it."""

import json
from typing import Any

Rows = list[dict[str, Any]]


def setting_rows(first: dict[str, Any], second: dict[str, Any]) -> Rows:
    """Settings in which two scenarios differ.

    Args:
        first: Of the one, as `scenario.json` has it.
        second: Of the other.

    Returns:
        Rows with `setting`, the key with a dot before each name below another, and the values `first` and `second` as JSON,
        None where a scenario lacks the key; a list is one value.
    """
    one, other = _flat(first), _flat(second)
    return [
        {"setting": key, "first": one.get(key), "second": other.get(key)}
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key)
    ]


def readout_rows(first: Rows, second: Rows) -> Rows:
    """Readings of two tests, metric by metric of each arm.

    Args:
        first: Rows of a report's readout.
        second: Of the other's.

    Returns:
        Rows with `arm`, `metric`, `unit`, `role`, and for both runs `lift`, `low`, `high` and `true_lift`, named
        `first_lift` and so on; `difference` and `true_difference` are the second's lifts less the first's.
    """
    rows = _joined(first, second, ("arm", "metric"), ("unit", "role"), ("lift", "low", "high", "true_lift"))
    for row in rows:
        row["difference"] = _less(row["second_lift"], row["first_lift"])
        row["true_difference"] = _less(row["second_true_lift"], row["first_true_lift"])
    return rows


def model_rows(first: Rows, second: Rows) -> Rows:
    """Offline AUC in two runs, by model, task and part of a cohort, with the `kind` of both models and the `difference`."""
    rows = _joined(first, second, ("model", "task", "cohort", "segment"), (), ("kind", "auc"))
    for row in rows:
        row["difference"] = _less(row["second_auc"], row["first_auc"])
    return rows


def cost_rows(first: dict[str, Any], second: dict[str, Any]) -> Rows:
    """What the arms of two runs cost to serve.

    Args:
        first: As `serving.json` has it.
        second: Of the other run.

    Returns:
        Rows with `arm`, `figure`, `unit`, the values `first` and `second`, and the `ratio` of the second to the first.
    """
    one, other = ({arm["arm"]: _figures(arm) for arm in priced["arms"]} for priced in (first, second))
    rows = []
    for arm in dict.fromkeys([*one, *other]):
        for figure, unit in _FIGURES.items():
            a, b = (own.get(arm, {}).get(figure) for own in (one, other))
            ratio = b / a if a and b else None
            rows.append({"arm": arm, "figure": figure, "unit": unit, "first": a, "second": b, "ratio": ratio})
    return rows


_FIGURES = {
    "cost": "USD per million requests", "cost a year": "USD", "training": "USD a year", "hosts": "with spares",
    "p50": "ms", "p99": "ms", "late": "share of requests", "candidates": "retrieved per request",
}  # fmt: skip


def _figures(arm: dict[str, Any]) -> dict[str, Any]:
    """Of the topology that the arm is priced with, where there is one."""
    fleet = next((fleet for fleet in arm["fleets"] if fleet["topology"] == arm["topology"]), None)
    found = {
        "cost": arm["usd_per_million"], "cost a year": arm["usd_per_year"], "training": arm["training_usd_per_year"],
        "candidates": arm["retrieved"],
    }  # fmt: skip
    if fleet is not None:
        hosts = sum(stage["needed"] + stage["spare"] for stage in fleet["hosts"])
        found |= {"hosts": hosts, "p50": fleet["p50_ms"], "p99": fleet["p99_ms"], "late": fleet["late"]}
    return found


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    """Values as JSON by their keys."""
    found: dict[str, str] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}": json.dumps(value)}
    return found


def _joined(first: Rows, second: Rows, keys: tuple[str, ...], same: tuple[str, ...], own: tuple[str, ...]) -> Rows:
    """A row for each key of either, in their order; `same` is taken from the run that has it, `own` from both."""

    def keyed(rows: Rows) -> dict[tuple[str, ...], dict[str, Any]]:
        return {tuple(row[key] for key in keys): row for row in rows}

    one, other = keyed(first), keyed(second)
    rows = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key, {}), other.get(key, {})
        row = dict(zip(keys, key, strict=True)) | {name: (a or b)[name] for name in same}
        row |= {f"first_{name}": a.get(name) for name in own}
        rows.append(row | {f"second_{name}": b.get(name) for name in own})
    return rows


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
