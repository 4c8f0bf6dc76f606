"""Charts of a run's models: how they rank, how they learnt, what they are too sure of, and what features are worth to them."""

from itertools import cycle
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from marketplace import words
from marketplace.charts import ARMS, QUIET, styled
from marketplace.learning import VALIDATION, Learning

_SYMBOLS = "circle", "diamond", "square", "cross", "triangle-up"  # beside the colour, to tell models apart
_MARGINS = 110  # pixels of a chart without its rows
SHOWN_FEATURES = 20


def auc_chart(scores: list[dict[str, Any]], task: str, cohort: str) -> go.Figure:
    """AUC of a task with its 95% interval, of all impressions and of each part of a cohort, by model.

    Args:
        scores: Of the offline table.
        task: One of its tasks.
        cohort: One of its cohorts; "" for all impressions alone.
    """
    rows = [row for row in scores if row["task"] == task and row["cohort"] in ("", cohort) and row["auc"] is not None]
    parts = list(dict.fromkeys(row["segment"] for row in rows))
    models = list(dict.fromkeys(words.model(row) for row in rows))
    figure = go.Figure()
    figure.add_vline(x=0.5, line_color=QUIET, line_width=1, line_dash="dash")
    for place, (model, colour, symbol) in enumerate(zip(models, cycle(ARMS), cycle(_SYMBOLS), strict=False)):
        own = [row for row in rows if words.model(row) == model]
        aside = (
            0.24 * (place - (len(models) - 1) / 2) / max((len(models) - 1) / 2, 1)
        )  # so that intervals do not overlap
        ends = [(row.get("auc_low"), row.get("auc_high")) for row in own]
        figure.add_scatter(
            x=[row["auc"] for row in own], y=[parts.index(row["segment"]) + aside for row in own], mode="markers", name=model,
            marker={"color": colour, "symbol": symbol, "size": 9},
            error_x={
                "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
                "array": [0 if high is None else high - row["auc"] for row, (_, high) in zip(own, ends, strict=True)],
                "arrayminus": [0 if low is None else row["auc"] - low for row, (low, _) in zip(own, ends, strict=True)],
            },
            customdata=[[row["segment"], row["rows"], row["positives"]] for row in own],
            hovertemplate="%{customdata[0]}: AUC %{x:.4f}<br>%{customdata[2]:,} of %{customdata[1]:,} rows",
        )  # fmt: skip
    figure.update_xaxes(title=f"AUC of {task}; 0.5 is chance", tickformat=".2f")
    figure.update_yaxes(
        title=cohort, tickvals=list(range(len(parts))), ticktext=parts, range=[len(parts) - 0.5, -0.5], zeroline=False
    )
    return styled(figure, height=_MARGINS + 20 * max(len(models), 2) * max(len(parts), 1))


def roc_chart(curves: list[dict[str, Any]], task: str) -> go.Figure:
    """Share of the positives against share of the negatives that a cut picks; the area below is the AUC."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="chance", line={"color": QUIET, "dash": "dash"}, hoverinfo="skip"
    )
    for curve, colour in zip(_of(curves, task), cycle(ARMS), strict=False):
        figure.add_scatter(
            x=[0, *curve["false_positive_rate"]], y=[0, *curve["recall"]], customdata=[None, *curve["cut"]],
            mode="lines", name=words.model(curve), line={"color": colour, "width": 2},
            hovertemplate="picked from p = %{customdata:.4f}<br>%{y:.1%} of positives, %{x:.1%} of negatives",
        )  # fmt: skip
    figure.update_xaxes(title="false positive rate: share of the negatives", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title="recall: share of the positives", tickformat=".0%", range=[0, 1.01])
    return styled(figure, height=420)


def precision_chart(curves: list[dict[str, Any]], task: str) -> go.Figure:
    """Share of what a cut picks that is positive, against the share of the positives that it picks; of a task with curves."""
    figure = go.Figure()
    own = _of(curves, task)
    rate = own[0]["positive_share"]
    figure.add_scatter(
        x=[0, 1], y=[rate, rate], mode="lines", name="chance", line={"color": QUIET, "dash": "dash"}, hoverinfo="skip"
    )
    for curve, colour in zip(own, cycle(ARMS), strict=False):
        figure.add_scatter(
            x=curve["recall"], y=curve["precision"], customdata=curve["cut"], mode="lines", name=words.model(curve),
            line={"color": colour, "width": 2},
            hovertemplate="picked from p = %{customdata:.4f}<br>%{y:.2%} of the picked, %{x:.1%} of all positives",
        )  # fmt: skip
    figure.update_xaxes(title="recall: share of the positives", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title="precision: share of the picked", tickformat=".2~%", rangemode="tozero")
    return styled(figure, height=420)


def curse_chart(rows: list[dict[str, Any]], task: str) -> go.Figure:
    """Predicted over true probabilities of a task: of all candidates that competed, and of the winners; 1 is the truth."""
    own = [row for row in rows if row["task"] == task]
    figure = go.Figure()
    figure.add_vline(x=1, line_color=QUIET, line_dash="dash", line_width=2)
    looks = (
        ("candidates", "all that competed", ARMS[0], "circle", -0.12),
        ("winners", "winners", ARMS[1], "diamond", 0.12),
    )
    for name, label, colour, symbol, aside in looks:
        known = [(place, row) for place, row in enumerate(own) if row[f"{name}_low"] is not None]
        figure.add_scatter(
            x=[row[name] for _, row in known], y=[place + aside for place, _ in known], mode="markers",
            name=f"{label}, 95% interval", marker={"color": colour, "symbol": symbol, "size": 10},
            error_x={
                "type": "data", "symmetric": False, "array": [row[f"{name}_high"] - row[name] for _, row in known],
                "arrayminus": [row[name] - row[f"{name}_low"] for _, row in known],
            },
            customdata=[row["arm"] for _, row in known], hovertemplate="%{customdata}: %{x:.3f}",
        )  # fmt: skip
    figure.update_xaxes(title=f"predicted over true probability of {task}; 1 is calibrated", tickformat=".2f")
    figure.update_yaxes(
        title="arm", tickvals=list(range(len(own))), ticktext=[row["arm"] for row in own], range=[len(own) - 0.5, -0.5],
        zeroline=False,
    )  # fmt: skip
    return styled(figure, height=_MARGINS + 60 * max(len(own), 1))


def learning_chart(found: Learning) -> go.Figure:
    """Mean loss of each block against the epochs done by its end, a panel per task; the held-out days' loss where noted."""
    panels, titles = found.losses, [loss_name(name) for name in found.losses]
    models = list(dict.fromkeys(row["model"] for row in found.rows))
    figure = make_subplots(1, max(len(panels), 1), subplot_titles=titles, horizontal_spacing=0.09)
    for at, name in enumerate(panels, start=1):
        for model, colour, symbol in zip(models, cycle(ARMS), cycle(_SYMBOLS), strict=False):
            own = [row for row in found.rows if row["model"] == model and row[name] is not None]
            figure.add_scatter(
                x=[row["epochs"] for row in own], y=[row[name] for row in own], mode="lines+markers", name=model,
                line={"color": colour}, marker={"color": colour, "symbol": symbol}, legendgroup=model, showlegend=at == 1,
                customdata=[[row["epoch"], row["block"], row["requests"]] for row in own],
                hovertemplate="epoch %{customdata[0]}, block %{customdata[1]}: %{y:.5f}<br>%{customdata[2]:,} requests",
                row=1, col=at,
            )  # fmt: skip
    figure.update_xaxes(title="epochs done", rangemode="tozero")
    figure.update_yaxes(title="mean loss, nats per ad shown", tickformat=".3~f", col=1)
    return styled(figure, height=380).update_layout(legend_y=1.12)


def loss_name(name: str) -> str:
    """A loss of a training in words."""
    return "held-out days, all tasks" if name == VALIDATION else name.replace("_", " ")


def importance_chart(content: dict[str, Any], method: str) -> go.Figure:
    """What the first features of a method are worth by it, the most important on top."""
    rows = sorted(content["features"], key=lambda row: row["rank"][method])[:SHOWN_FEATURES]
    sides = list(dict.fromkeys(row["side"] for row in content["features"]))
    figure = go.Figure()
    for side, colour in zip(sides, cycle(ARMS), strict=False):
        own = [row for row in rows if row["side"] == side]
        figure.add_bar(
            x=[row["importance"][method] for row in own], y=[row["feature"] for row in own], orientation="h", name=side,
            marker={"color": colour}, customdata=[[row["kind"], row["rank"][method]] for row in own],
            hovertemplate="%{y} (%{customdata[0]}), number %{customdata[1]}: %{x:.5f}",
        )  # fmt: skip
    gradients = method == "integrated_gradients"
    figure.update_xaxes(
        title="mean absolute attribution to the logit" if gradients else "loss of AUC without the feature"
    )
    figure.update_yaxes(title="feature", categoryorder="array", categoryarray=[row["feature"] for row in rows[::-1]])
    return styled(figure, height=_MARGINS + 22 * len(rows))


def kept_chart(content: dict[str, Any]) -> go.Figure:
    """AUC of the model trained again on the first features of each order, with its 95% interval."""
    figure = go.Figure()
    orders = dict.fromkeys(row["order"] for row in content["kept"])
    for order, colour, symbol in zip(orders, cycle(ARMS), cycle(_SYMBOLS), strict=False):
        own = [row for row in content["kept"] if row["order"] == order]
        figure.add_scatter(
            x=[row["features"] for row in own], y=[row["auc"][0] for row in own], mode="lines+markers",
            name=order.replace("_", " "),
            error_y={
                "type": "data", "symmetric": False, "array": [row["auc"][2] - row["auc"][0] for row in own],
                "arrayminus": [row["auc"][0] - row["auc"][1] for row in own], "thickness": 1,
            },
            line={"color": colour}, marker={"color": colour, "symbol": symbol, "size": 8},
            hovertemplate="first %{x} features: AUC %{y:.4f}",
        )  # fmt: skip
    figure.update_xaxes(title="features kept", rangemode="tozero")
    figure.update_yaxes(title=f"AUC of {words.task(content['task'])}, log's last day", tickformat=".3f")
    return styled(figure, height=380)


def _of(curves: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    return [curve for curve in curves if curve["task"] == task]
