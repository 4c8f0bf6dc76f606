"""Charts of a report's content, as Plotly figures; colours that colour-blind readers can tell apart (Okabe & Ito).

Their blue is lightened and their purple darkened, so that every colour has a contrast of 3 or more on white and on black.
"""

from itertools import cycle
from typing import Any

import plotly.graph_objects as go

BLUE, VERMILION, GREEN, PURPLE, GREY = "#2B8CC4", "#D55E00", "#009E73", "#C06C9B", "#888888"
CONTROL, TREATMENT, TRUTH, QUIET = BLUE, VERMILION, GREEN, GREY
ARMS = CONTROL, TREATMENT, PURPLE, GREEN, GREY  # in order; further ones begin again
_DASH = {"spent_usd": "solid", "planned_usd": "dot"}


def lift_chart(readout: list[dict[str, Any]], by: str = "metric") -> go.Figure:
    """Each reading with its 95% interval, and the true lift beside it; a line per metric, or per value of another field."""
    rows = [row for row in readout if row["lift"] is not None and row["metric"] != "infra_cost"][::-1]
    names = [row[by] for row in rows]
    read = [row for row in rows if row["low"] is not None]
    figure = go.Figure()
    figure.add_vline(x=0, line_color=QUIET, line_width=1)
    figure.add_scatter(
        x=[row["lift"] for row in read],
        y=[row[by] for row in read],
        error_x={
            "type": "data", "symmetric": False, "array": [row["high"] - row["lift"] for row in read],
            "arrayminus": [row["lift"] - row["low"] for row in read],
        },
        mode="markers", name="A/B reading, 95% interval", marker={"color": CONTROL, "size": 8},
        hovertemplate="%{y}: %{x:.2%}<extra>read</extra>",
    )  # fmt: skip
    known = [row for row in rows if row["true_lift"] is not None]
    figure.add_scatter(
        x=[row["true_lift"] for row in known], y=[row[by] for row in known], mode="markers", name="true lift",
        marker={"color": TRUTH, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
        hovertemplate="%{y}: %{x:.2%}<extra>true</extra>",
    )  # fmt: skip
    figure.update_xaxes(title="lift over control", tickformat=".1%")
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names)
    return styled(figure, height=90 + 26 * len(names))


def calibration_chart(calibration: list[dict[str, Any]], task: str) -> go.Figure:
    """Predicted against real probability of the impressions that each arm won; what is calibrated lies in the arm's band.

    The band is what 95% of a perfect model's shares fall in, each bin by itself. The variance of a share is taken for that at the
    bin's mean p, p (1 - p) / n, which is no less than its own; the share for normal, which is rough where n p is below about 10.
    """
    rows = [row for row in calibration if row["task"] == task and row["n"] > 0]
    top = max((max(row["predicted"], row["real"]) for row in rows), default=1.0) * 1.05
    figure = go.Figure()
    figure.add_scatter(
        x=[0, top], y=[0, top], mode="lines", name="calibrated", line={"color": QUIET, "dash": "dash"}, hoverinfo="skip"
    )
    for arm, colour in zip(dict.fromkeys(row["arm"] for row in rows), cycle(ARMS), strict=False):
        own = [row for row in rows if row["arm"] == arm]
        half = [1.96 * (row["predicted"] * (1 - row["predicted"]) / row["n"]) ** 0.5 for row in own]
        band = [min(row["predicted"] + up, 1.0) for row, up in zip(own, half, strict=True)]
        band += [max(row["predicted"] - down, 0.0) for row, down in zip(own[::-1], half[::-1], strict=True)]
        along = [row["predicted"] for row in own]
        figure.add_scatter(
            x=along + along[::-1], y=band, mode="lines", fill="toself", fillcolor=colour, opacity=0.25, line={"width": 0},
            legendgroup=arm, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=along, y=[row["real"] for row in own], mode="markers+lines", name=arm, legendgroup=arm,
            marker={"color": colour, "size": 7}, line={"color": colour, "width": 1},
            hovertemplate="predicted %{x:.4f}<br>real %{y:.4f}",
        )  # fmt: skip
    figure.update_xaxes(title=f"predicted probability of {task}", tickformat=".2~%")
    figure.update_yaxes(title="share that happened", tickformat=".2~%")
    return styled(figure, height=420)


def pacing_chart(pacing: dict[str, list[float]]) -> go.Figure:
    """Spend and plan of all campaigns by hour."""
    days = [hour / 24 for hour in pacing["hour"]]
    figure = go.Figure()
    for name, colour, label in (("planned_usd", QUIET, "plan"), ("spent_usd", CONTROL, "spend")):
        figure.add_scatter(
            x=days, y=pacing[name], mode="lines", name=label, line={"color": colour, "dash": _DASH[name]},
            hovertemplate="day %{x:.2f}: $%{y:,.0f} an hour",
        )  # fmt: skip
    figure.update_xaxes(title="day since the start", dtick=1)
    figure.update_yaxes(title="USD per hour", rangemode="tozero", tickformat=",")
    return styled(figure, height=360)


def multiplier_chart(pacing: dict[str, list[float]]) -> go.Figure:
    """Mean bid multiplier of the campaigns by hour; at 1 a campaign bids in full."""
    figure = go.Figure()
    figure.add_scatter(
        x=[hour / 24 for hour in pacing["hour"]], y=pacing["multiplier"], mode="lines", name="bid multiplier",
        line={"color": CONTROL}, hovertemplate="day %{x:.2f}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="day since the start", dtick=1)
    figure.update_yaxes(title="share of the full bid", range=[0, 1.05], tickformat=".0%")
    return styled(figure, height=280)


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """The look that all figures share."""
    return figure.update_layout(
        height=height, margin={"l": 10, "r": 10, "t": 30, "b": 10}, template="plotly_white",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, font={"family": "system-ui, sans-serif"},
    )  # fmt: skip
