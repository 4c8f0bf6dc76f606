"""Charts of a real log beside a simulated one."""

from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from marketplace.charts import ARMS, BLUE, QUIET, VERMILION, styled

_RATES = "click_rates"


def realism_charts(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A chart with its title and caption for every statistic that could be read, and one of what the classifier used."""
    charts = []
    for head in content["statistics"]:
        rows = [row for row in content["rows"] if row["statistic"] == head["name"]]
        if not rows:
            continue
        figure = _by_hour(rows, head["unit"]) if head["name"] == _RATES else _figures(rows, head["unit"])
        caption = (
            f"{head['outside']} of {head['figures']} figures lie outside their interval, "
            f"{0.05 * head['figures']:.1f} would by sampling alone."
        )
        charts.append({"title": head["title"], "caption": caption, "figure": figure})
    if content["discriminator"]["features"]:
        caption = "Fall of the classifier's AUC when a feature is shuffled, with 95% intervals."
        charts.append({"title": "What tells the logs apart", "caption": caption, "figure": _importance(content)})
    return charts


def _figures(rows: list[dict[str, Any]], unit: str) -> go.Figure:
    figure = go.Figure()
    figure.add_scatter(
        x=[row["figure"] for row in rows], y=[row["simulated"] for row in rows], mode="markers",
        name="simulated, and where a log of the same market would lie", error_y=_error(rows),
        marker={"color": BLUE, "size": 8}, hovertemplate="%{x}: %{y:.4f}<extra>simulated</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[row["figure"] for row in rows], y=[row["real"] for row in rows], mode="markers", name="real",
        marker={"color": VERMILION, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
        hovertemplate="%{x}: %{y:.4f}<extra>real</extra>",
    )  # fmt: skip
    figure.update_xaxes(type="category")
    figure.update_yaxes(title=unit, rangemode="tozero", tickformat=".1~%")
    return styled(figure, height=360)


def _by_hour(rows: list[dict[str, Any]], unit: str) -> go.Figure:
    """Click rates over the day, a colour per slot."""
    figure = go.Figure()
    slots = dict.fromkeys(row["figure"].split(", ")[1] for row in rows)
    for slot, colour in zip(slots, cycle(ARMS), strict=False):
        own = [row for row in rows if row["figure"].endswith(f", {slot}")]
        hours = [int(row["figure"].split()[0]) for row in own]
        figure.add_scatter(
            x=hours, y=[row["simulated"] for row in own], mode="lines", name=f"{slot}, simulated", line={"color": colour},
            error_y=_error(own) | {"thickness": 1, "width": 2}, hovertemplate="%{x} h: %{y:.4f}<extra>simulated</extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=hours, y=[row["real"] for row in own], mode="markers", name=f"{slot}, real",
            marker={"color": colour, "size": 8, "symbol": "diamond-open", "line": {"width": 2}},
            hovertemplate="%{x} h: %{y:.4f}<extra>real</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="hour of the day", dtick=3)
    figure.update_yaxes(title=unit, rangemode="tozero", tickformat=".1~%")
    return styled(figure, height=420)


def _importance(content: dict[str, Any]) -> go.Figure:
    rows = content["discriminator"]["features"][::-1]
    figure = go.Figure()
    figure.add_vline(x=0, line_color=QUIET, line_width=1)
    figure.add_scatter(
        x=[row["loss"][0] for row in rows], y=[row["feature"] for row in rows], mode="markers",
        error_x={
            "type": "data", "symmetric": False, "array": [row["loss"][2] - row["loss"][0] for row in rows],
            "arrayminus": [row["loss"][0] - row["loss"][1] for row in rows],
        },
        marker={"color": BLUE, "size": 8}, showlegend=False, hovertemplate="%{y}: %{x:.4f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="fall of the AUC")
    return styled(figure, height=90 + 28 * len(rows))


def _error(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "array": [row["high"] - row["simulated"] for row in rows],
        "arrayminus": [row["simulated"] - row["low"] for row in rows],
    }  # fmt: skip
