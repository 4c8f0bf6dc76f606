"""Charts of what serving takes: milliseconds, hosts, dollars, and what the dollars bring."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from marketplace.charts import ARMS, BLUE, CONTROL, GREEN, GREY, PURPLE, QUIET, TRUTH, VERMILION, styled
from marketplace.serving_words import PASSED_ON

Row = dict[str, Any]
_QUANTILES = {"p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99", "p999_ms": "p99.9"}
_MARKS = "circle", "square", "diamond", "triangle-up", "cross"


def latency_chart(priced: Row) -> go.Figure:
    """Percentiles end to end of each arm under both topologies, beside the target of the p99."""
    fleets = [(arm, fleet) for arm in priced["arms"] for fleet in arm["fleets"]]
    places = [[arm["arm"] for arm, _ in fleets], [fleet["topology"] for _, fleet in fleets]]
    figure = go.Figure()
    for (field, name), colour in zip(_QUANTILES.items(), (GREY, BLUE, VERMILION, PURPLE), strict=True):
        figure.add_bar(
            x=places, y=[fleet[field] for _, fleet in fleets], name=name, marker_color=colour,
            hovertemplate="%{x}: %{y:.1f} ms<extra>" + name + "</extra>",
        )  # fmt: skip
    target = priced["target_p99_ms"]
    figure.add_hline(y=target, line_color=QUIET, line_dash="dash", annotation_text=f"p99 target, {target:g} ms")
    figure.update_xaxes(title="arm, and how bidding and prediction follow one another")
    figure.update_yaxes(title="ms from request to answer", rangemode="tozero")
    return styled(figure, height=380)


def hosts_chart(priced: Row) -> go.Figure:
    """Hosts of each arm by stage of ranking, those needed and those to spare."""
    hired = hosts(priced)
    stages = list(dict.fromkeys(row["stage"] for row in hired))
    figure = go.Figure()
    for stage, colour in zip(stages, cycle((BLUE, VERMILION)), strict=False):
        own = [row for row in hired if row["stage"] == stage]
        for part, pattern in (("needed", ""), ("spare", "/")):
            figure.add_bar(
                x=[row["arm"] for row in own], y=[row[part] for row in own], name=f"{stage}, {part}",
                marker={"color": colour, "pattern": {"shape": pattern}}, text=[row["host"] for row in own], textposition="none",
                hovertemplate="%{x}: %{y} %{text}<extra>" + f"{stage}, {part}</extra>",
            )  # fmt: skip
    figure.update_xaxes(title="arm", type="category")
    figure.update_yaxes(title="hosts", rangemode="tozero")
    return styled(figure, height=380).update_layout(barmode="stack")


def hosts(priced: Row) -> list[Row]:
    """Hosts of each arm under its own topology, a row per stage of ranking."""
    return [
        {"arm": arm["arm"], "model": arm["model"], "topology": fleet["topology"]} | host
        for arm in priced["arms"]
        for fleet in arm["fleets"]
        if fleet["topology"] == arm["topology"]
        for host in fleet["hosts"]
    ]


def dollars_chart(priced: Row) -> go.Figure:
    """Dollars a year of each arm: hosts by stage of ranking, and training."""
    hired = hosts(priced)
    parts = [
        (f"hosts, {stage}", {row["arm"]: row["usd_per_year"] for row in hired if row["stage"] == stage})
        for stage in dict.fromkeys(row["stage"] for row in hired)
    ]
    parts.append(("training", {arm["arm"]: arm["training_usd_per_year"] for arm in priced["arms"]}))
    figure = go.Figure()
    for (name, usd), colour in zip(parts, cycle((BLUE, VERMILION, PURPLE)), strict=False):
        figure.add_bar(
            x=list(usd), y=list(usd.values()), name=name, marker_color=colour,
            hovertemplate="%{x}: $%{y:,.0f}<extra>" + name + "</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="arm", type="category")
    figure.update_yaxes(title="USD per year", rangemode="tozero", tickformat=",")
    return styled(figure, height=380).update_layout(barmode="stack")


def worth_chart(worth: list[Row], readout: list[Row], metric: str) -> go.Figure:
    """What each arm costs more than control in a year against its lift of a metric, as read and in truth."""
    lifts = {row["arm"]: row for row in readout if row["metric"] == metric}
    known = [row for row in worth if row["extra_usd"] is not None and lifts[row["arm"]]["lift"] is not None]
    read = [row for row in known if lifts[row["arm"]]["low"] is not None]
    true = [row for row in known if lifts[row["arm"]]["true_lift"] is not None]
    figure = go.Figure()
    figure.add_hline(y=0, line_color=QUIET, line_width=1)
    figure.add_vline(x=0, line_color=QUIET, line_width=1)
    figure.add_scatter(
        x=[row["extra_usd"] for row in read], y=[lifts[row["arm"]]["lift"] for row in read], mode="markers+text",
        text=[row["arm"] for row in read], textposition="middle left", name="lift as read, 95% interval",
        marker={"color": CONTROL, "size": 9},
        error_y={
            "type": "data", "symmetric": False,
            "array": [lifts[row["arm"]]["high"] - lifts[row["arm"]]["lift"] for row in read],
            "arrayminus": [lifts[row["arm"]]["lift"] - lifts[row["arm"]]["low"] for row in read],
        },
        hovertemplate="%{text}: $%{x:,.0f} a year more, read %{y:.2%}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[row["extra_usd"] for row in true], y=[lifts[row["arm"]]["true_lift"] for row in true], mode="markers",
        text=[row["arm"] for row in true], name="true lift",
        marker={"color": TRUTH, "size": 11, "symbol": "diamond-open", "line": {"width": 2}},
        hovertemplate="%{text}: $%{x:,.0f} a year more, true %{y:.2%}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="USD a year more than control", tickformat=",", rangemode="tozero")
    figure.update_yaxes(title=f"lift of {metric} over control", tickformat=".1%", rangemode="tozero")
    return styled(figure, height=380)


def scoring_chart(curves: Sequence[Row]) -> go.Figure:
    """Measured milliseconds of a call on one worker by the candidates in it, both on log axes."""
    figure = go.Figure()
    for row, colour, mark in zip(curves, cycle(ARMS), cycle(_MARKS), strict=False):
        name = f"{row['model']}, {row['candidates']} candidates a request, {row['device']}"
        figure.add_scatter(
            x=row["rows"], y=row["ms"], mode="lines+markers", name=name, line={"color": colour}, marker={"symbol": mark},
            hovertemplate="%{x} candidates: %{y:.3g} ms<extra>" + row["model"] + "</extra>",
        )  # fmt: skip
    sizes = sorted({n for row in curves for n in row["rows"]})
    figure.update_xaxes(title="candidates in a call", type="log", tickvals=sizes)
    figure.update_yaxes(
        title="ms of a call", type="log", tickvals=[d * 10.0**e for e in range(-3, 5) for d in (1, 2, 5)]
    )
    return styled(figure, height=380)


def recall_chart(arms: list[Row]) -> go.Figure:
    """Of the truly best ads, the share that each stage passed on, with its 95% interval, arm by arm."""
    figure = go.Figure()
    for arm, colour in zip(
        (arm for arm in arms if arm["recall"]), cycle((BLUE, VERMILION, PURPLE, GREEN)), strict=False
    ):
        figure.add_bar(
            x=[PASSED_ON[row["stage"]] for row in arm["recall"]], y=[row["recall"] for row in arm["recall"]], name=arm["arm"],
            marker_color=colour, error_y={"type": "data", "array": [1.96 * row["se"] for row in arm["recall"]]},
            hovertemplate="%{x}: %{y:.1%}<extra>" + arm["arm"] + "</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="passed on by")
    figure.update_yaxes(title="share of the truly best ads", tickformat=".0%", range=[0, 1.05])
    return styled(figure, height=380)
