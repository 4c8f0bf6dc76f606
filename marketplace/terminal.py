"""The report in the terminal."""

from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from marketplace import words

_STYLE = {"better": "bold green", "worse": "bold red", "": ""}


def print_report(console: Console, content: dict[str, Any]) -> None:
    """Everything but the charts."""
    console.print()
    console.print(Text(words.headline(content), style="bold"))
    for name, text in words.summary(content).items():
        console.print(Text(f"  {name}: {text}"))
    parts = []
    if "readout" in content:
        parts.append(_readout(content["readout"]))
    parts += [_models(content["models"]), _marginals(content["marginals"])]
    if "aa" in content:
        parts.append(_aa(content["aa"]))
    parts.append(_stages(content["stages"]))
    console.print(Group(*(Padding(part, (1, 0, 0, 0)) for part in parts)))


def print_models(console: Console, rows: list[dict[str, Any]]) -> None:
    """The offline table alone."""
    console.print()
    console.print(_models(rows))


def _table(title: str, text: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for name in text:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _readout(rows: list[dict[str, Any]]) -> Table:
    columns = "control", "treatment", "lift", "95% interval", "p", "true lift", "covered"
    table = _table("Readout: lift of treatment over control, beside the true lift", ("metric",), columns)
    for row in rows:
        table.add_row(
            row["metric"], words.figure(row["control"]), words.figure(row["treatment"]),
            Text(words.percent(row["lift"]), style=_STYLE[words.verdict(row)]),
            words.interval(row["low"], row["high"]) if not row["why"] else Text(row["why"], style="dim"),
            words.p_value(row["p_value"]), words.percent(row["true_lift"]),
            Text(words.covered(row["covered"]), style="bold red" if row["covered"] is False else ""),
        )  # fmt: skip
    return table


def _models(rows: list[dict[str, Any]]) -> Table:
    columns = "rows", "positives", "AUC", "PR-AUC", "Norm-BCE", "pred/real", "ECE", "ECE null"
    table = _table("Models, on the log's last day, labels as known by then", ("model", "task", "segment"), columns)
    for row in rows:
        scores = (words.figure(row[name]) for name in ("auc", "pr_auc", "norm_bce", "calibration", "ece", "ece_null"))
        table.add_row(
            f"{row['model']} ({row['kind']})", row["task"], row["segment"], f"{row['rows']:,}", f"{row['positives']:,}",
            *scores,
        )  # fmt: skip
    return table


def _marginals(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "The market: what the scenario asks, and what it got", ("marginal",), ("asked", "solved", "in the log")
    )
    for row in rows:
        table.add_row(row["name"], *(words.figure(row[name]) for name in ("asked", "obtained", "logged")))
    return table


def _aa(rows: list[dict[str, Any]]) -> Table:
    table = _table("A/A: control against itself", ("metric",), ("lift", "95% interval", "p"))
    for row in rows:
        table.add_row(
            row["metric"],
            words.percent(row["lift"]),
            words.interval(row["low"], row["high"]),
            words.p_value(row["p_value"]),
        )
    return table


def _stages(rows: list[dict[str, Any]]) -> Table:
    table = _table("Time", ("stage",), ("requests", "seconds", "requests/s"))
    for row in rows:
        table.add_row(
            row["stage"], words.count(row["requests"]), f"{row['wall_s']:.1f}", words.count(row["requests_per_s"])
        )
    return table
