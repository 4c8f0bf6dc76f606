"""Tables of what serving costs, as the terminal and the page show them."""

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from marketplace import words

PASSED_ON = {
    "retrieved": "retrieval", "ranked": "light ranker", "auctioned": "model", "shown": "auction, budgets and pacing"
}  # fmt: skip


class Sheet(NamedTuple):
    """A table of text: the first columns of it, `names`, are words, the others figures."""

    title: str
    names: tuple[str, ...]
    figures: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def serving_sheets(content: dict[str, Any]) -> list[Sheet]:
    """Of a report: the platform under each arm, its dollars and what they buy, and what the arms' stages pass on."""
    priced = content.get("serving")
    if priced is None:
        return []
    return [_platform(priced), _dollars(priced, content.get("worth", [])), *_recall(priced["arms"])]


def capacity_command(folder: str, changes: dict[str, Any]) -> str:
    """The command line that prices a run's platform again under other settings."""
    own = (f"--set {shlex.quote(f'serving.{name}={value}')}" for name, value in changes.items())
    return " ".join(["marketplace capacity", shlex.quote(folder), *own])


def reasons(content: dict[str, Any]) -> list[str]:
    """Why arms have no price, a line each."""
    arms = (content.get("serving") or {"arms": []})["arms"]
    return [f"{arm['arm']}: {arm['why']}" for arm in arms if arm["why"]]


def _platform(priced: dict[str, Any]) -> Sheet:
    peak, target = words.figure(priced["peak_requests_per_s"]), words.figure(priced["target_p99_ms"])
    title = (
        f"Serving: each arm for {words.figure(priced['scale'])} times the market, {peak} requests/s at the peak, p99 within "
        f"{target} ms"
    )
    rows = [
        (
            arm["arm"] if own else "", fleet["topology"],
            _hosts(fleet) if own else "the same",
            ", ".join(f"{host['utilisation']:.0%}" for host in fleet["hosts"]) or words.DASH,
            *(f"{fleet[name]:.1f}" for name in ("p50_ms", "p99_ms", "p999_ms")),
            words.percent(fleet["late"], sign=False), f"{fleet['predictions']:.2f}",
        )
        for arm in priced["arms"] for fleet in arm["fleets"] for own in [fleet["topology"] == arm["topology"]]
    ]  # fmt: skip
    figures = "busy", "p50 ms", "p99 ms", "p99.9 ms", "late", "scored/request"
    return Sheet(title, ("arm", "bidding, prediction", "hosts + spare"), figures, rows)


def _hosts(fleet: dict[str, Any]) -> str:
    """Of each ranker, those needed and those to spare; the kind of host once, if it is the same."""
    hosts = fleet["hosts"]
    same = len({host["host"] for host in hosts}) == 1
    parts = [
        (f"{host['stage']} " if len(hosts) > 1 else "") + f"{host['needed']} + {host['spare']}"
        + ("" if same else f" {host['host']}")
        for host in hosts
    ]  # fmt: skip
    return ", ".join(parts) + (f" {hosts[0]['host']}" if same else "") if hosts else words.DASH


def _dollars(priced: dict[str, Any], worth: list[dict[str, Any]]) -> Sheet:
    """What an arm costs, and what it costs and brings more than control."""
    beside = {row["arm"]: row for row in worth}
    more = (
        "extra_usd", "extra_conversions", "usd_per_extra_conversion", "true_extra_conversions", "true_usd_per_extra_conversion"
    )  # fmt: skip
    rows = [
        (
            arm["arm"], *(words.figure(arm[name]) for name in ("usd_per_million", "usd_per_year", "training_usd_per_year")),
            *(words.figure(beside[arm["arm"]][name]) if arm["arm"] in beside else words.DASH for name in more),
        )
        for arm in priced["arms"]
    ]  # fmt: skip
    figures = (
        "USD/M requests", "USD/year", "training", "extra USD/year", "extra conversions", "USD each", "true extra", "true USD each"
    )  # fmt: skip
    return Sheet(
        "Dollars, and what they buy in a year beside control, by the test and in truth", ("arm",), figures, rows
    )


def _recall(arms: list[dict[str, Any]]) -> list[Sheet]:
    """Stages that dropped some; a stage that passed on all that it was given is not there."""
    cells = []
    for arm in arms:
        before = None
        for row in arm["recall"]:
            if row["recall"] != before:
                sure = f"{1.96 * row['se']:.1%}"
                cells.append(
                    (arm["arm"], PASSED_ON[row["stage"]], f"{row['recall']:.1%}", sure, words.count(row["requests"]))
                )
            before = row["recall"]
    if not cells:
        return []
    title = "Recall of the ads truly worth the most, as many as there are slots: the share that each stage passed on"
    return [Sheet(title, ("arm", "passed on by"), ("recall", "±", "requests"), cells)]
