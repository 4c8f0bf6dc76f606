"""The chart of a Pareto search."""

from typing import Any

import plotly.graph_objects as go

from marketplace import words
from marketplace.charts import BLUE, GREEN, QUIET, VERMILION, styled

_LOOK = {"base": (GREEN, "square", 11), "trial": (BLUE, "circle", 9), "verified": (VERMILION, "diamond", 11)}


def pareto_chart(content: dict[str, Any]) -> go.Figure:
    """AUC against speed: what is predicted of all proposals, what was measured of the trained, and the verified front."""
    rows, proposals, space = content["rows"], content["proposals"], content["space"]
    figure = go.Figure()
    figure.add_scatter(
        x=[row["rows_per_s"] for row in proposals], y=[row["auc"] for row in proposals], mode="markers",
        name="proposed, predicted", marker={"color": QUIET, "size": 4, "opacity": 0.35},
        text=[words.architecture(_settings(row, space), space) for row in proposals],
        hovertemplate="%{text}<br>predicted AUC %{y:.4f}, %{x:,.0f} candidates/s<extra>proposed</extra>",
    )  # fmt: skip
    front = sorted((row for row in rows if row["front"]), key=lambda row: row["rows_per_s"])
    figure.add_scatter(
        x=[row["rows_per_s"] for row in front], y=[row["auc"][0] for row in front], mode="lines",
        line={"color": QUIET, "width": 2, "shape": "vh"}, name="verified front", hoverinfo="skip",
    )  # fmt: skip
    for origin, (colour, symbol, size) in _LOOK.items():
        own = [row for row in rows if row["origin"] == origin]
        if not own:
            continue
        figure.add_scatter(
            x=[row["rows_per_s"] for row in own], y=[row["auc"][0] for row in own], mode="markers",
            name=f"{origin}, 95% interval", marker={"color": colour, "symbol": symbol, "size": size},
            error_y={
                "type": "data", "symmetric": False, "array": [row["auc"][2] - row["auc"][0] for row in own],
                "arrayminus": [row["auc"][0] - row["auc"][1] for row in own], "thickness": 1, "width": 3,
            },
            text=[f"{row['name']}: {words.architecture(row['settings'], space)}" for row in own],
            hovertemplate="%{text}<br>AUC %{y:.4f}, %{x:,.0f} candidates/s<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="candidates scored per second on one thread", type="log", dtick="D2", tickformat="~s")
    figure.update_yaxes(title=f"AUC of {words.task(content['task'])} on the log's last day", tickformat=".3f")
    return styled(figure, height=560)


def _settings(row: dict[str, Any], space: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: values[at] for (name, values), at in zip(space.items(), row["choice"], strict=True)}
