"""Charts of what an experiment reads, and of how it and other designs stand to the truth."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from marketplace.charts import BLUE, CONTROL, PURPLE, QUIET, TRUTH, VERMILION, styled

Row = dict[str, Any]
_BAND = "rgba(43, 140, 196, 0.2)"  # BLUE
_ACROSS = 3  # small charts beside one another


def days_chart(rows: list[Row], by_day: list[Row]) -> go.Figure:
    """Lifts of an arm at the end of each day, a small chart per metric.

    Args:
        rows: Of the readout, the metrics to be drawn.
        by_day: Looks at the arm; the band is the interval as if this were the only look, bars are the intervals that allow for
            all looks, where they may be read.
    """
    figure = _small([row["metric"] for row in rows])
    for place, row in enumerate(rows):
        days = [look for look in by_day if look["metric"] == row["metric"] and look["lift"] is not None]
        more = {"row": place // _ACROSS + 1, "col": place % _ACROSS + 1, "showlegend": place == 0}
        _band([look for look in days if look["low"] is not None], figure, more)
        figure.add_scatter(
            x=[look["day"] for look in days], y=[look["lift"] for look in days], mode="lines+markers", line={"color": CONTROL},
            name="lift so far", hovertemplate="day %{x}: %{y:.2%}<extra></extra>", **more,
        )  # fmt: skip
        read = [look for look in days if look["valid_low"] is not None]
        figure.add_scatter(
            x=[look["day"] for look in read], y=[look["lift"] for look in read], mode="markers", marker={"color": CONTROL},
            error_y=_error(read, "valid_low", "valid_high"), name="95% interval where it may be read", hoverinfo="skip", **more,
        )  # fmt: skip
        if row["true_lift"] is not None and days:
            figure.add_scatter(
                x=[days[0]["day"], days[-1]["day"]], y=[row["true_lift"]] * 2, mode="lines",
                line={"color": TRUTH, "dash": "dash"}, name="true lift", hovertemplate="true: %{y:.2%}<extra></extra>", **more,
            )  # fmt: skip
    figure.update_yaxes(tickformat=".0%", zeroline=True)
    figure.update_yaxes(title="lift over control", col=1)
    figure.update_xaxes(dtick=1, title="day of the test")
    lines = -(-max(len(rows), 1) // _ACROSS)
    return styled(figure, height=120 + 240 * lines).update_layout(legend_y=1 + 0.12 / lines)


def truth_chart(readout: list[Row]) -> go.Figure:
    """Each metric's lift as read, with its 95% interval, against the true lift; on the line a reading is right.

    Intervals that are far wider than the points lie apart are cut at the frame.
    """
    known = [row for row in readout if row["covered"] is not None]
    line = _frame(known, 0.1)
    figure = go.Figure()
    figure.add_scatter(
        x=line, y=line, mode="lines", name="read as it is", line={"color": QUIET, "dash": "dash"}, hoverinfo="skip"
    )
    for held, name, colour, symbol in (
        (True, "interval holds the truth", BLUE, "circle"), (False, "interval misses it", VERMILION, "x")
    ):  # fmt: skip
        own = [row for row in known if row["covered"] is held]
        figure.add_scatter(
            x=[row["true_lift"] for row in own], y=[row["lift"] for row in own], mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 8}, error_y=_error(own, "low", "high"),
            text=[row["metric"] for row in own], hovertemplate="%{text}: read %{y:.2%}, true %{x:.2%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="true lift over control", tickformat=".0%")
    figure.update_yaxes(title="lift as the test reads it", tickformat=".0%", range=line)
    return styled(figure, height=480)


def bias_chart(rows: list[Row]) -> go.Figure:
    """Bias of each design with its 95% interval over fortnights, for one metric of one arm."""
    known = [row for row in rows if row["bias"] is not None]
    figure = go.Figure()
    figure.add_vline(x=0, line_color=QUIET, line_width=1)
    for biased, name, colour, symbol in (
        (False, "may be 0", BLUE, "circle"), (True, "95% interval leaves out 0", VERMILION, "x")
    ):  # fmt: skip
        own = [row for row in known if is_biased(row) is biased]
        spread = [row for row in own if row["bias_low"] is not None]
        figure.add_scatter(
            x=[row["bias"] for row in own], y=[row["design"] for row in own], mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 9},
            error_x=_error(own, "bias_low", "bias_high", "bias") if len(spread) == len(own) else None,
            hovertemplate="%{y}: %{x:.2%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="bias of the reading, relative to the truth", tickformat=".1%")
    designs = [row["design"] for row in known][::-1]
    figure.update_yaxes(title="design", type="category", categoryorder="array", categoryarray=designs)
    return styled(figure, height=130 + 32 * len(known))


def is_biased(row: Row) -> bool:
    """Whether the interval of a design's bias leaves out 0."""
    return row["bias_low"] is not None and not row["bias_low"] <= 0 <= row["bias_high"]


def replications_chart(rows: list[Row], designs: list[str]) -> go.Figure:
    """Reading and truth of each fortnight for one metric of one arm, a small chart per design, the least truth first.

    Intervals that are far wider than the points lie apart are cut at the frame.
    """
    known = [row for row in rows if row["low"] is not None and row["true_lift"] is not None]
    figure = _small(designs, shared_yaxes="all")
    for place, design in enumerate(designs):
        more = {"row": place // _ACROSS + 1, "col": place % _ACROSS + 1, "showlegend": place == 0}
        own = sorted((row for row in known if row["design"] == design), key=lambda row: (row["true_lift"], row["luck"]))
        for held, name, colour, symbol in (
            (True, "reading, interval holds the truth", BLUE, "circle"), (False, "reading, interval misses it", VERMILION, "x")
        ):  # fmt: skip
            at = [i for i, row in enumerate(own, start=1) if (row["low"] <= row["true_lift"] <= row["high"]) is held]
            read = [own[i - 1] for i in at]
            figure.add_scatter(
                x=at, y=[row["lift"] for row in read], mode="markers", name=name, error_y=_error(read, "low", "high"),
                marker={"color": colour, "symbol": symbol, "size": 6}, text=[row["luck"] for row in read],
                hovertemplate="seed %{text}: read %{y:.2%}<extra></extra>", **more,
            )  # fmt: skip
        figure.add_scatter(
            x=list(range(1, len(own) + 1)), y=[row["true_lift"] for row in own], mode="markers", name="true lift",
            marker={"color": TRUTH, "symbol": "diamond-open", "size": 8, "line": {"width": 2}},
            hovertemplate="true %{y:.2%}<extra></extra>", **more,
        )  # fmt: skip
    figure.update_yaxes(tickformat=".0%", range=_frame(known, 0.5))
    figure.update_yaxes(title="lift over control", col=1)
    figure.update_xaxes(title="fortnight, by its truth")
    lines = -(-max(len(designs), 1) // _ACROSS)
    return styled(figure, height=120 + 260 * lines).update_layout(legend_y=1 + 0.12 / lines)


def equal_chart(rows: list[Row]) -> go.Figure:
    """How often equal arms were told apart at 5%, metric by metric, in the range of those that keep their promise."""
    read = [row for row in rows if row["runs"]][::-1]
    figure = go.Figure()
    figure.add_vline(x=0.05, line_color=QUIET, line_width=1, line_dash="dash")
    figure.add_bar(
        base=[row["least"] / row["runs"] for row in read], x=[(row["most"] - row["least"]) / row["runs"] for row in read],
        y=[row["metric"] for row in read], orientation="h", width=0.5, marker_color="rgba(136, 136, 136, 0.35)",
        name="range of a kept promise", hoverinfo="skip",
    )  # fmt: skip
    for kept, name, colour, symbol in ((True, "kept", BLUE, "circle"), (False, "not kept", VERMILION, "x")):
        own = [row for row in read if row["passed"] is kept]
        figure.add_scatter(
            x=[row["rejected"] / row["runs"] for row in own], y=[row["metric"] for row in own], mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 8}, hovertemplate="%{y}: %{x:.2%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="share of splits with p < 5%", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=[row["metric"] for row in read])
    return styled(figure, height=110 + 22 * len(read))


def power_chart(rows: list[Row]) -> go.Figure:
    """The least lift that the test would find, metric by metric."""
    known = [row for row in rows if row["minimum_effect"] is not None][::-1]
    figure = go.Figure()
    for beyond, name, colour in (
        (False, "read from the log", BLUE),
        (True, "the log is shorter than the test", PURPLE),
    ):
        own = [row for row in known if row["beyond_log"] is beyond]
        figure.add_bar(
            x=[row["minimum_effect"] for row in own], y=[row["metric"] for row in own], orientation="h", name=name,
            marker_color=colour, hovertemplate="%{y}: %{x:.2%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="least lift that is found, of either sign", tickformat=".0%")
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=[row["metric"] for row in known])
    return styled(figure, height=110 + 22 * len(known)).update_layout(barmode="overlay")


def _small(titles: list[str], **more: Any) -> go.Figure:
    lines, columns = -(-max(len(titles), 1) // _ACROSS), min(_ACROSS, max(len(titles), 1))
    return make_subplots(
        lines, columns, subplot_titles=titles, vertical_spacing=min(0.5 / lines, 0.3), horizontal_spacing=0.08, **more
    )


def _frame(rows: list[Row], more: float) -> list[float]:
    """Ends of an axis that holds all readings and truths, and a part more on either side."""
    ends = [x for row in rows for x in (row["lift"], row["true_lift"])] or [0.0]
    reach = (max(ends) - min(ends)) * more or 0.01
    return [min(ends) - reach, max(ends) + reach]


def _band(looks: list[Row], figure: go.Figure, more: Row) -> None:
    """Between two lines that are not seen."""
    days = [look["day"] for look in looks]
    plain = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(x=days, y=[look["low"] for look in looks], **plain | more | {"showlegend": False})
    figure.add_scatter(
        x=days, y=[look["high"] for look in looks], fill="tonexty", fillcolor=_BAND, name="95% interval of one look",
        **plain | more,
    )  # fmt: skip


def _error(rows: list[Row], low: str, high: str, middle: str = "lift") -> Row:
    return {
        "type": "data", "symmetric": False, "array": [row[high] - row[middle] for row in rows],
        "arrayminus": [row[middle] - row[low] for row in rows], "thickness": 1,
    }  # fmt: skip
