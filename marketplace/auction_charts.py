"""Charts of a simulation's auctions."""

from itertools import accumulate, cycle
from math import log10

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from marketplace.charts import ARMS, CONTROL, QUIET, TREATMENT, TRUTH, styled
from marketplace.slices import Rows

UNITS = {
    "bid": "bid, USD per billable event",
    "price": "price, USD per billable event",
    "bid eCPM": "bid, USD per thousand looks",
    "price eCPM": "price, USD per thousand looks",
}
_SYMBOLS = {"shown": "circle", "outbid": "circle-open", "below its reserve": "x", "withheld": "square-open"}


def spread_chart(rows: Rows, by: str, figure: str) -> go.Figure:
    """How a figure is spread over the impressions of each pricing or slot, on a logarithmic axis.

    Args:
        rows: Of `auction_slices.distribution`; those that are 0 have no place on the axis.
        by: The field that tells the lines apart.
        figure: What is spread, of `UNITS`.
    """
    chart = go.Figure()
    names = sorted({row[by] for row in rows}, key=str)
    for name, colour in zip(names, cycle(ARMS), strict=False):
        own = [row for row in rows if row[by] == name]
        whole, bins = sum(row["n"] for row in own), sorted({(row["low"], row["high"]) for row in own if row["low"] > 0})
        share = [sum(row["n"] for row in own if row["low"] == low) / whole for low, _ in bins]
        chart.add_scatter(
            x=[(low * high) ** 0.5 for low, high in bins], y=share, mode="lines", name=f"{by} {name}",
            line={"color": colour, "shape": "hvh"}, hovertemplate="about $%{x:.3g}: %{y:.1%}",
        )  # fmt: skip
    chart.update_xaxes(title=UNITS[figure], type="log", range=_span(rows))
    chart.update_yaxes(title="share of its impressions", tickformat=".0%", rangemode="tozero")
    return styled(chart, height=380)


def _span(rows: Rows) -> list[float] | None:
    """Ends of the axis, as powers of ten: all but a thousandth of the impressions on either side."""
    own = sorted((row["low"], row["high"], row["n"]) for row in rows if row["low"] > 0)
    reached = list(accumulate(n for *_, n in own))
    inside = [
        bin
        for bin, n in zip(own, reached, strict=True)
        if reached[-1] <= 1000 * n and 1000 * (n - bin[2]) <= 999 * reached[-1]
    ]
    return [log10(inside[0][0]), log10(inside[-1][1])] if inside else None


def slots_chart(rows: Rows, arms: list[str]) -> go.Figure:
    """Share of the requests in which each slot is sold, by arm."""
    figure = go.Figure()
    for arm in sorted({row["arm"] for row in rows}):
        own = [row for row in rows if row["arm"] == arm]
        figure.add_bar(
            x=[row["slot"] for row in own], y=[row["filled"] for row in own], name=arms[arm], marker_color=ARMS[arm % len(ARMS)],
            hovertemplate="slot %{x}: %{y:.2%}",
        )  # fmt: skip
    figure.update_xaxes(title="slot, 0 on top", dtick=1)
    figure.update_yaxes(title="share of requests in which it is sold", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=320)


def campaigns_chart(rows: Rows, arms: list[str]) -> go.Figure:
    """Spend of each campaign, a colour per arm."""
    names = list(dict.fromkeys(str(row["campaign"]) for row in rows))
    figure = go.Figure()
    for arm in sorted({row["arm"] for row in rows}):
        own = [row for row in rows if row["arm"] == arm]
        figure.add_bar(
            x=[str(row["campaign"]) for row in own], y=[row["spend_usd"] for row in own], name=arms[arm],
            marker_color=ARMS[arm % len(ARMS)], hovertemplate="campaign %{x}: $%{y:,.2f}",
        )  # fmt: skip
    figure.update_xaxes(title="campaign", type="category", categoryorder="array", categoryarray=names)
    figure.update_yaxes(title="spend, USD", tickformat=",", rangemode="tozero")
    return styled(figure, height=360).update_layout(barmode="stack")


def landscape_chart(rows: Rows) -> go.Figure:
    """Auctions won, mean price, and clicks and spend against a factor of a campaign's bids; 1 is what it bid."""
    panels = {
        "won": ("auctions won", "share", ".0%"), "price_usd": ("mean price", "USD per billable event", ""),
        "clicks": ("clicks expected", "per 1,000 auctions", ""), "spend_usd": ("spend expected", "USD per 1,000 auctions", ""),
    }  # fmt: skip
    figure = make_subplots(
        2, 2, subplot_titles=[panel[0] for panel in panels.values()], shared_xaxes=True, vertical_spacing=0.14
    )
    factors = [row["factor"] for row in rows]
    for place, (name, (title, unit, written)) in enumerate(panels.items()):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        figure.add_scatter(
            x=factors, y=[row[name] for row in rows], mode="lines+markers", name=title, showlegend=False,
            line={"color": CONTROL}, marker={"size": 5}, hovertemplate="bids x %{x:.3g}: %{y:.4g}<extra></extra>", **where,
        )  # fmt: skip
        figure.add_vline(x=1, line_color=QUIET, line_width=1, line_dash="dash", **where)
        figure.update_yaxes(title=unit, rangemode="tozero", tickformat=written, **where)
    marks = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]
    figure.update_xaxes(type="log", tickvals=marks, ticktext=["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    figure.update_xaxes(title="bids times", row=2)
    return styled(figure, height=520)


def candidates_chart(rows: Rows, slots: int) -> go.Figure:
    """What candidates of a request bid per thousand looks, in the order of their scores, beside the same by the true chance.

    Args:
        rows: Of `one_request.replay`.
        slots: That the request has.
    """
    own = [row for row in rows if row["place"] is not None]
    figure = go.Figure()
    for state in dict.fromkeys(row["state"] for row in own):
        some = [row for row in own if row["state"] == state]
        figure.add_scatter(
            x=[row["place"] for row in some], y=[row["ecpm_usd"] for row in some], mode="markers", name=f"predicted, {state}",
            marker={"color": TREATMENT if state == "shown" else CONTROL, "size": 9, "symbol": _SYMBOLS.get(state, "circle-open")},
            customdata=[row["ad"] for row in some], hovertemplate="ad %{customdata}: $%{y:,.2f}",
        )  # fmt: skip
    figure.add_scatter(
        x=[row["place"] for row in own], y=[row["true_ecpm_usd"] for row in own], mode="markers", name="true",
        marker={"color": TRUTH, "size": 9, "symbol": "diamond-open", "line": {"width": 2}},
        customdata=[row["ad"] for row in own], hovertemplate="ad %{customdata}: $%{y:,.2f}",
    )  # fmt: skip
    figure.add_vline(x=slots + 0.5, line_color=QUIET, line_width=1, line_dash="dash")
    figure.update_xaxes(title="place by score; those left of the line fit into the slots", dtick=5, tick0=0)
    figure.update_yaxes(title="USD per thousand looks", tickformat=",", rangemode="tozero")
    return styled(figure, height=380)
