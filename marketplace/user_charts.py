"""Charts of what users did."""

from itertools import cycle

import plotly.graph_objects as go

from marketplace.charts import ARMS, CONTROL, GREEN, GREY, PURPLE, QUIET, TREATMENT, TRUTH, styled
from marketplace.slices import Rows
from synth.types import DAY_MS

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HOURS = {1 / 60: "1 min", 10 / 60: "10 min", 1: "1 h", 6: "6 h", 24: "1 d", 72: "3 d", 168: "7 d", 720: "30 d"}
_LOOKS = {
    "request": (GREY, "line-ns-open"), "shown": (GREY, "circle-open"), "clicked": (CONTROL, "circle"),
    "hidden": (TREATMENT, "x"), "cart": (PURPLE, "triangle-up"), "checkout": (GREEN, "star"),
    "sign_up": (PURPLE, "square"), "organic order": (TREATMENT, "star-open"),
}  # fmt: skip


def familiar_chart(rows: Rows, field: str, names: list[str], title: str) -> go.Figure:
    """Share of impressions, of clicks and of orders in each bin of how well users knew the store.

    Args:
        rows: With impressions, clicks and orders.
        field: The field that tells bins apart.
        names: Of the bins, in order.
        title: Of the axis.
    """
    figure = go.Figure()
    for kind, colour in (("impressions", GREY), ("clicks", CONTROL), ("orders", GREEN)):
        whole = sum(row[kind] for row in rows)
        own = [sum(row[kind] for row in rows if row[field] == name) for name in names]
        figure.add_bar(
            x=names, y=[n / whole if whole else 0 for n in own], name=kind, marker_color=colour, customdata=own,
            hovertemplate="%{x}: %{y:.1%}, %{customdata:,}",
        )  # fmt: skip
    figure.update_xaxes(title=title, type="category")
    figure.update_yaxes(title="share of all", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=340)


def week_chart(rows: Rows, field: str, title: str) -> go.Figure:
    """A figure by weekday and hour, as shades."""
    there = [day for day in range(7) if any(row["weekday"] == day for row in rows)]
    value = {(row["weekday"], row["hour"]): row[field] for row in rows}
    figure = go.Figure()
    figure.add_heatmap(
        x=list(range(24)), y=[WEEKDAYS[day] for day in there], z=[[value.get((day, h), 0) for h in range(24)] for day in there],
        colorscale="Cividis", colorbar={"title": title}, hovertemplate="%{y} %{x}:00: %{z:,.4g}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="hour of the day", dtick=2)
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=320)


def day_chart(rows: Rows) -> go.Figure:
    """Share of a day's requests and orders that come in each hour, beside what the scenario expects of sessions."""
    figure = go.Figure()
    kinds = {
        "requests": ("requests", CONTROL), "ad_orders": ("orders after ads", GREEN),
        "organic_orders": ("orders without ads", TREATMENT), "share": ("sessions expected", QUIET),
    }  # fmt: skip
    for field, (name, colour) in kinds.items():
        own = [sum(row[field] for row in rows if row["hour"] == hour) for hour in range(24)]
        if whole := sum(own):
            figure.add_scatter(
                x=list(range(24)), y=[n / whole for n in own], mode="lines", name=name, hovertemplate="%{x}:00: %{y:.2%}",
                line={"color": colour, "dash": "dot" if field == "share" else "solid"},
            )  # fmt: skip
    figure.update_xaxes(title="hour of the day", dtick=2)
    figure.update_yaxes(title="share of a day's", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=320)


def delay_chart(rows: Rows) -> go.Figure:
    """Share of each event that came by a time after the click, beside the law of the world."""
    figure = go.Figure()
    for event, colour in zip(dict.fromkeys(row["event"] for row in rows), cycle(ARMS), strict=False):
        own = [row for row in rows if row["event"] == event]
        hours = [row["hours"] for row in own]
        figure.add_scatter(
            x=hours, y=[row["share"] for row in own], mode="lines", name=f"{event}, log", line={"color": colour},
            hovertemplate="%{x:.3g} h: %{y:.1%}",
        )  # fmt: skip
        figure.add_scatter(
            x=hours, y=[row["law"] for row in own], mode="lines", name=f"{event}, law",
            line={"color": colour, "dash": "dot"}, hovertemplate="%{x:.3g} h: %{y:.1%}",
        )  # fmt: skip
    figure.update_xaxes(title="time since the click", type="log", tickvals=list(_HOURS), ticktext=list(_HOURS.values()))
    figure.update_yaxes(title="share of those that come in time", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=400)


def activity_chart(rows: Rows, most: int = 30) -> go.Figure:
    """Users by their number of sessions, and the law of the scenario; more than `most` sessions stand together."""
    figure = go.Figure()
    names = [str(k) for k in range(most)] + [f"{most}+"]
    for field, name, colour in (("users", "users", CONTROL), ("expected_users", "expected", TRUTH)):
        own = [sum(row[field] for row in rows if min(row["sessions"], most) == k) for k in range(most + 1)]
        if field == "users":
            figure.add_bar(x=names, y=own, name=name, marker_color=colour, hovertemplate="%{x} sessions: %{y:,}")
        else:
            figure.add_scatter(
                x=names, y=own, mode="markers", name=name, hovertemplate="%{x} sessions: %{y:,.0f}",
                marker={"color": colour, "symbol": "diamond-open", "size": 9, "line": {"width": 2}},
            )  # fmt: skip
    figure.update_xaxes(title="sessions in the simulation", type="category")
    figure.update_yaxes(title="users", tickformat=",", rangemode="tozero")
    return styled(figure, height=360)


def history_chart(rows: Rows) -> go.Figure:
    """What a user did and saw, a row per kind of event, by time."""
    figure = go.Figure()
    for what, (colour, symbol) in _LOOKS.items():
        own = [row for row in rows if row["what"] == what]
        if own:
            figure.add_scatter(
                x=[row["time_ms"] / DAY_MS for row in own], y=[what.replace("_", "-")] * len(own), mode="markers", name=what,
                marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 1.5, "color": colour}},
                customdata=["" if row["store"] is None else f", store {row['store']}" for row in own],
                hovertemplate="day %{x:.3f}%{customdata}<extra>%{y}</extra>", showlegend=False,
            )  # fmt: skip
    figure.update_xaxes(title="day since the start", dtick=1)
    figure.update_yaxes(autorange="reversed")
    return styled(figure, height=120 + 34 * len(figure.data))
