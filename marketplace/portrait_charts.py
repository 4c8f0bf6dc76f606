"""Charts of a world's portrait, each with its title and one sentence that says what to see."""

from itertools import pairwise
from typing import Any, NamedTuple

import plotly.graph_objects as go

from marketplace import words
from marketplace.charts import BLUE, GREEN, GREY, PURPLE, VERMILION, styled

_COLOURS = BLUE, VERMILION, GREEN, PURPLE, GREY
_DASHES = "solid", "dash", "dot", "dashdot"
_WEEKDAYS = "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"
_HEIGHT = 340


class Chart(NamedTuple):
    """A figure and what is written around it."""

    title: str
    caption: str
    figure: go.Figure


def portrait_charts(content: dict[str, Any]) -> list[Chart]:
    """All charts of a portrait, in the order of the page."""
    return [
        _hours(content["traffic"]), _weekdays(content["traffic"]), _activity(content["activity"]),
        _examination(content["examination"]), _delays(content["delays"]), _appeal(content["appeal"]),
        _prices(content["prices"]), _quality(content["prices"]), _known(content["habits"]),
        _appetite(content["appetite"]), _views(content["need"]), _need(content["need"]), _drift(content["drift"]),
        _candidates(content["candidates"]), _bids(content["campaigns"]), _budgets(content["campaigns"]),
    ]  # fmt: skip


def _hours(traffic: dict[str, Any]) -> Chart:
    figure = go.Figure()
    figure.add_bar(x=list(range(24)), y=traffic["hour"], name="requests", marker_color=BLUE)
    figure.add_scatter(
        x=list(range(24)), y=traffic["hour_asked"], name="sessions asked for", mode="lines", line={"color": VERMILION}
    )
    _axes(figure, "hour of the day", "share of the week's requests", percent="y")
    figure.update_xaxes(dtick=3)
    caption = "Requests of a week by the hour they come in, beside the profile that the scenario sets for sessions."
    return Chart("Traffic by hour", caption, styled(figure, height=_HEIGHT))


def _weekdays(traffic: dict[str, Any]) -> Chart:
    figure = go.Figure(go.Bar(x=_WEEKDAYS, y=traffic["weekday"], marker_color=BLUE))
    _axes(figure, "day of the first week", "requests")
    caption = "Requests of each day, by users as tired of ads as on the first morning."
    return Chart("Traffic by weekday", caption, styled(figure, height=_HEIGHT))


def _activity(activity: dict[str, Any]) -> Chart:
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], name="all alike", mode="lines", line={"color": GREY, "dash": "dash"}, hoverinfo="skip"
    )
    figure.add_scatter(
        x=activity["users"], y=activity["requests"], name="expected requests", mode="lines", line={"color": BLUE}
    )
    _axes(figure, "share of users, the least active first", "share of requests", percent="xy")
    caption = (
        f"The most active 10% of users make {activity['top_tenth']:.0%} of the requests "
        f"(Gini coefficient {activity['gini']:.2f})."
    )
    return Chart("Activity of users", caption, styled(figure, height=_HEIGHT))


def _examination(rows: list[dict[str, Any]]) -> Chart:
    figure = go.Figure()
    surfaces = list(dict.fromkeys(row["surface"] for row in rows))
    for row in rows:
        platforms = ", ".join(str(platform) for platform in row["platforms"])
        figure.add_scatter(
            x=list(range(1, len(row["effect"]) + 1)), y=row["effect"], mode="lines+markers",
            name=f"{row['surface']}, platform {platforms}",
            line={
                "color": _COLOURS[surfaces.index(row["surface"]) % len(_COLOURS)],
                "dash": _DASHES[row["platforms"][0] % len(_DASHES)],
            },
            marker={"symbol": row["platforms"][0], "size": 8},
        )  # fmt: skip
    _axes(figure, "slot, from the top", "probability of a look", percent="y")
    figure.update_xaxes(dtick=1)
    figure.update_yaxes(range=[0, 1.05])
    caption = (
        "How likely each slot is looked at if nothing above it is clicked; colour is the surface, mark the platform."
    )
    return Chart("Examination by slot", caption, styled(figure, height=_HEIGHT))


def _delays(delays: dict[str, Any]) -> Chart:
    figure = go.Figure()
    for (event, share), colour in zip(delays["events"].items(), _COLOURS, strict=False):
        figure.add_scatter(x=delays["hours"], y=share, name=event, mode="lines", line={"color": colour})
    figure.add_scatter(
        x=[point["hours"] for point in delays["asked"]], y=[point["share"] for point in delays["asked"]], mode="markers",
        name="asked of checkouts", marker={"color": VERMILION, "size": 11, "symbol": "diamond-open", "line": {"width": 2}},
    )  # fmt: skip
    _axes(figure, "time since the click", "share of events placed", percent="y")
    marks = {1 / 60: "1 min", 10 / 60: "10 min", 1: "1 h", 6: "6 h", 24: "1 d", 168: "7 d", 720: "30 d"}
    figure.update_xaxes(type="log", tickvals=list(marks), ticktext=list(marks.values()))
    caption = (
        "Distribution functions of the time from click to event, the mean over campaigns, through the points asked for."
    )
    return Chart("Delays of events", caption, styled(figure, height=_HEIGHT))


def _appeal(appeal: dict[str, Any]) -> Chart:
    figure = _scatter(appeal["click"], appeal["purchase"])
    _axes(figure, "click appeal, logits", "purchase appeal, logits")
    caption = (
        f"Each point is a store; the correlation over all stores is {words.two_decimals(appeal['correlation'])}, "
        f"asked for is {words.two_decimals(appeal['asked'])}."
    )
    return Chart("What draws clicks and what sells", caption, styled(figure, height=_HEIGHT))


def _prices(prices: dict[str, Any]) -> Chart:
    figure = go.Figure(_bars(prices["level"], "stores", BLUE))
    _axes(figure, "price level of a store, 1 being the middle", "share of stores", percent="y")
    caption = (
        f"Price levels of stores; their logs have a correlation of {words.two_decimals(prices['quality_and_price'])} "
        "with the quality."
    )
    return Chart("Price levels", caption, styled(figure, height=_HEIGHT))


def _quality(prices: dict[str, Any]) -> Chart:
    figure = _scatter(prices["quality"], prices["rating"])
    _axes(figure, "true quality, standard deviations", "rating that users see")
    caption = (
        f"The rating shows the hidden quality with a correlation of {words.two_decimals(prices['quality_and_rating'])}; "
        f"quality and the log of popularity have {words.two_decimals(prices['quality_and_popularity'])}."
    )
    return Chart("Quality and its stars", caption, styled(figure, height=_HEIGHT))


def _known(habits: dict[str, Any]) -> Chart:
    figure = go.Figure(go.Bar(x=habits["stores"], y=habits["share"], marker_color=BLUE))
    _axes(figure, "stores ordered from before the start", "share of users", percent="y")
    caption = f"Users know {habits['mean']:.2f} stores on average, {habits['asked']:g} are asked for."
    return Chart("Known stores", caption, styled(figure, height=_HEIGHT))


def _appetite(appetite: dict[str, Any]) -> Chart:
    figure = go.Figure()
    for curve, dash in zip(appetite["curves"], ("dot", "solid", "dash"), strict=False):
        for place, colour, label in (("in_daypart", BLUE, "usual daypart"), ("elsewhere", VERMILION, "other daypart")):
            figure.add_scatter(
                x=appetite["days"], y=curve[place], name=f"{label}, period {curve['period_days']:.1f} d", mode="lines",
                line={"color": colour, "dash": dash},
            )  # fmt: skip
    _axes(figure, "days since the last order there", "logits of a click and of an order")
    caption = (
        "What a habit adds in its usual part of the day and outside of it, for habits whose period is the lower quartile "
        "(dotted), the median and the upper quartile (dashed)."
    )
    return Chart("Appetite of a habit", caption, styled(figure, height=_HEIGHT + 60))


def _views(need: dict[str, Any]) -> Chart:
    figure = go.Figure()
    for kind, colour in zip(need["views"], (BLUE, GREEN, GREY), strict=True):
        figure.add_bar(
            y=["stores by chance", "stores looked at"], x=[need["chance"][kind], need["views"][kind]], name=kind,
            orientation="h", marker_color=colour,
        )  # fmt: skip
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    _axes(figure, "share", "", percent="x")
    caption = (
        "Whether the stores that users look at before a request are of the dish they need, beside stores of the region by "
        f"popularity; {need['known_share']:.0%} of the views go to known stores."
    )
    return Chart("Stores looked at", caption, styled(figure, height=_HEIGHT))


def _need(need: dict[str, Any]) -> Chart:
    rows = dict(reversed(need["requests"].items()))
    figure = go.Figure(go.Bar(y=list(rows), x=list(rows.values()), orientation="h", marker_color=BLUE))
    _axes(figure, "share of requests", "", percent="x")
    caption = "The plainest sign of the need that a request leaves: words, or else a store looked at, or none."
    return Chart("What shows the need", caption, styled(figure, height=_HEIGHT))


def _drift(drift: dict[str, Any]) -> Chart:
    figure = go.Figure()
    for store, (logits, colour) in enumerate(zip(drift["stores"], _COLOURS, strict=False)):
        figure.add_scatter(x=drift["days"], y=logits, name=f"store {store}", mode="lines", line={"color": colour})
    figure.add_scatter(
        x=drift["days"],
        y=drift["cuisine"],
        name="season of cuisine 0",
        mode="lines",
        line={"color": GREY, "dash": "dash"},
    )
    _axes(figure, "day since the start", "logits of a click")
    figure.update_xaxes(dtick=7)
    caption = "What the calendar adds to the click appeal of a few stores, and to every store of one cuisine."
    return Chart("Drift and season", caption, styled(figure, height=_HEIGHT))


def _bids(campaigns: dict[str, Any]) -> Chart:
    bids = campaigns["bids"]
    figure = go.Figure(
        go.Box(
            x=[f"{bid['pricing']}<br>{bid['unit'].replace(' per ', ' per<br>')}" for bid in bids],
            lowerfence=[bid["low"] for bid in bids], q1=[bid["q1"] for bid in bids],
            median=[bid["median"] for bid in bids], q3=[bid["q3"] for bid in bids],
            upperfence=[bid["high"] for bid in bids], line={"color": BLUE},
        )
    )  # fmt: skip
    _axes(figure, "", "bid, in the unit named below")
    figure.update_xaxes(tickangle=0)
    figure.update_yaxes(type="log", dtick=1)
    caption = (
        "Bids from the lowest to the highest, with quartiles, on a scale of logs, for each pricing has its own unit."
    )
    return Chart("Bids by pricing", caption, styled(figure, height=_HEIGHT))


def _budgets(campaigns: dict[str, Any]) -> Chart:
    budget = campaigns["budget_usd"]
    names = [f"{low:,.0f}" for low in budget["edges"][:-1]]
    figure = go.Figure(go.Bar(x=list(range(len(names))), y=budget["share"], marker_color=BLUE))
    _axes(figure, "daily budget, USD, lower end of the bar", "share of campaigns", percent="y")
    figure.update_xaxes(tickvals=list(range(0, len(names), 3)), ticktext=names[::3])
    caption = "Daily budgets of campaigns in bars of equal ratio."
    return Chart("Daily budgets", caption, styled(figure, height=_HEIGHT))


def _candidates(candidates: dict[str, Any]) -> Chart:
    figure = go.Figure()
    for (name, found), colour in zip(candidates["groups"].items(), (GREY, BLUE, VERMILION), strict=True):
        mean = candidates["mean"][name]
        edges = found["edges"]
        figure.add_scatter(
            x=edges[:-1], y=found["share"], name=f"{name}, mean {words.two_decimals(mean)}", mode="lines",
            line={"color": colour, "shape": "hv"},
        )  # fmt: skip
    _axes(figure, "fit of taste and style, standard deviations", "share of ads", percent="y")
    caption = (
        f"Of {candidates['eligible_per_request']:.1f} ads that a request at noon might get, "
        f"{candidates['retrieved_per_request']:.1f} are retrieved; the further right, the better they fit."
    )
    return Chart("Candidates", caption, styled(figure, height=_HEIGHT))


def _axes(figure: go.Figure, x: str, y: str, *, percent: str = "") -> None:
    figure.update_xaxes(title=x, tickformat=".0%" if "x" in percent else None)
    figure.update_yaxes(title=y, tickformat=".0~%" if "y" in percent else None)


def _scatter(x: list[float], y: list[float]) -> go.Figure:
    return go.Figure(go.Scattergl(x=x, y=y, mode="markers", marker={"color": BLUE, "size": 5, "opacity": 0.6}))


def _bars(histogram: dict[str, list[float]], name: str, colour: str) -> go.Bar:
    edges = histogram["edges"]
    return go.Bar(
        x=edges[:-1], y=histogram["share"], width=[b - a for a, b in pairwise(edges)], offset=0,
        name=name, marker_color=colour,
    )  # fmt: skip
