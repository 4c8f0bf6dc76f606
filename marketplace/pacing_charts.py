"""Charts of bid multipliers and of budgets that ran out."""

import plotly.graph_objects as go

from marketplace.charts import CONTROL, TREATMENT, styled
from marketplace.slices import Rows
from synth.types import DAY_MS

_BANDS = (("q10", "q90", "10% to 90%", 0.15), ("q25", "q75", "25% to 75%", 0.3))
_RGB = "43, 140, 196"  # CONTROL


def band_chart(rows: Rows, one: Rows | None = None, *, name: str = "") -> go.Figure:
    """Quantiles of the bid multiplier over accounts, and the multiplier of one campaign.

    Args:
        rows: Of `pacing_slices.multiplier_band`.
        one: Of `pacing_slices.spend_by_step`.
        name: Of the campaign.
    """
    days = [row["start_ms"] / DAY_MS for row in rows]
    figure = go.Figure()
    for low, high, label, opacity in _BANDS:
        figure.add_scatter(
            x=days, y=[row[low] for row in rows], mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip"
        )
        figure.add_scatter(
            x=days, y=[row[high] for row in rows], mode="lines", line={"width": 0}, fill="tonexty", hoverinfo="skip",
            fillcolor=f"rgba({_RGB}, {opacity})", name=label,
        )  # fmt: skip
    figure.add_scatter(
        x=days, y=[row["q50"] for row in rows], mode="lines", name="median", line={"color": CONTROL},
        hovertemplate="day %{x:.2f}: %{y:.3f}",
    )  # fmt: skip
    if one:
        figure.add_scatter(
            x=[row["start_ms"] / DAY_MS for row in one], y=[row["multiplier"] for row in one], mode="lines", name=name,
            line={"color": TREATMENT, "width": 1.5}, hovertemplate="day %{x:.2f}: %{y:.3f}",
        )  # fmt: skip
    figure.update_xaxes(title="day since the start", dtick=1)
    figure.update_yaxes(title="share of the full bid", range=[0, 1.05], tickformat=".0%")
    return styled(figure, height=320)


def exhausted_chart(rows: Rows) -> go.Figure:
    """Share of the budgets that are gone by the end of each hour."""
    figure = go.Figure()
    figure.add_scatter(
        x=[(row["hour"] + 1) / 24 for row in rows], y=[row["share"] for row in rows], mode="lines", name="budget gone",
        line={"color": TREATMENT, "shape": "vh"}, fill="tozeroy", fillcolor="rgba(213, 94, 0, 0.15)",
        hovertemplate="day %{x:.2f}: %{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="day since the start", dtick=1)
    figure.update_yaxes(title="share of budgets", tickformat=".0%", range=[0, 1.02])
    return styled(figure, height=280)
