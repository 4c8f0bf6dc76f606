"""A fit in the terminal: what was found, with intervals, and what the log cannot tell."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_fit(console: Console, content: dict[str, Any]) -> None:
    """One table of estimates, one of defaults; profiles and curves as they stand in the file."""
    rows = content["estimates"]
    if (shown := content["impressions"]) is not None:
        console.print(f"\n{shown['rows']:,} impressions, {shown['clicks']:,} clicks", highlight=False)
    found = _table("Fitted", ("value", "low", "high", "events"), ("setting",), ("unit",))
    for row in rows:
        if row["value"] is not None:
            ends = (_figure(row["value"]), _figure(row["low"]), _figure(row["high"]), f"{row['events']:,}")
            found.add_row(_short(row["name"]), *ends, row["unit"])
    console.print(found)
    left = _table("Left at the default", (), ("setting", "why"), ())
    for name, why in _folded([(row["name"], row["why"]) for row in rows if row["value"] is None]):
        left.add_row(name, why)
    if left.row_count:
        console.print()
        console.print(left)


def _table(title: str, numbers: tuple[str, ...], first: tuple[str, ...], last: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for name in first:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    for name in last:
        table.add_column(name)
    return table


def _folded(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The entries of a list that have one reason, in one row."""
    found: dict[tuple[str, str], int] = {}
    for name, why in rows:
        key = _short(name).partition("[")[0], why
        found[key] = found.get(key, 0) + 1
    return [(f"{name} ({n})" if n > 1 else name, why) for (name, why), n in found.items()]


def _short(name: str) -> str:
    return name.removeprefix("world.")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
