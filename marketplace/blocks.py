"""Plots of block characters, for terminals without colour: at most 60 columns wide, unless names are very long."""

from collections.abc import Sequence

_UP, _ACROSS = " ▁▂▃▄▅▆▇█", " ▏▎▍▌▋▊▉█"
_LINE, _LEAST, _MOST = 60, 10, 30  # columns of a line, and of the longest bar in it


def bars(values: dict[str, float], texts: Sequence[str]) -> str:
    """One bar across per line, with its name before and its text behind."""
    top, margin = max([*values.values(), 1e-12]), max(map(len, values))
    wide = min(_MOST, max(_LEAST, _LINE - 5 - margin - max(map(len, texts))))
    lines = []
    for (name, value), text in zip(values.items(), texts, strict=True):
        bar = _filled(value / top * wide, wide, _ACROSS)
        lines.append(f"  {name:>{margin}} ▕{bar} {text}".rstrip())
    return "\n".join(lines)


def skyline(values: Sequence[float], names: Sequence[str], top: str, height: int = 5) -> str:
    """Bars side by side, two columns each; `top` tells the height of the highest, `names` stand below, "" for none."""
    highest, margin = max([*values, 1e-12]), len(top)
    columns = [_filled(value / highest * height, height, _UP) for value in values]
    lines = []
    for row in reversed(range(height)):
        label = top if row == height - 1 else ""
        lines.append(f"  {label:>{margin}} ▕" + "".join(column[row] * 2 for column in columns).rstrip())
    below = "".join(f"{name:<2}" for name in names).rstrip()
    return "\n".join([*lines, f"  {'':>{margin}}  {below}"])


def _filled(size: float, places: int, eighths: str) -> str:
    """`places` characters of which `size` are full, to an eighth."""
    n = round(size * 8)
    return "".join(eighths[min(max(n - 8 * place, 0), 8)] for place in range(places))
