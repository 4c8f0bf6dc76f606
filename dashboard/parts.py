"""Parts: a report's tables and charts, as every view places them."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.load import Shown
from marketplace import exports, words
from marketplace.errors import Refused

_COLOURS = {
    "light": {"better": "#00734f", "worse": "#b34700", "miss": "#fbe5d6"},
    "dark": {"better": "#5fd3a6", "worse": "#ff9e64", "miss": "#5a3418"},
}
_PARQUET = "application/vnd.apache.parquet"


class Column(NamedTuple):
    """A column of a table: the field of each row, or a function of the row, and how its values are written."""

    label: str
    field: str | Callable[[dict[str, Any]], Any]
    written: Callable[[Any], str] = words.figure
    help: str = ""
    text: bool = False
    width: int | None = None  # pixels; as wide as its first rows need by default
    link: str = ""  # what to read where the value is an address


def colour(name: str) -> str:
    """The colour of better, worse or miss that can be read on the reader's background."""
    return _COLOURS["dark" if st.context.theme.type == "dark" else "light"][name]


def plain(text: str) -> str:
    """Text of a run's own, such as a name or a path, with nothing in it read as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|$~:<>&])", r"\\\1", text)


def whole_number(what: str, typed: object, below: int) -> int:
    """The number that a reader or an address gives.

    Raises:
        Refused: If it is none, or not below that.
    """
    text = str(typed)
    if not text.isdecimal() or len(text) > len(str(below)) or int(text) >= below:
        raise Refused(f"{what} {text[:40]!r}: a {what} is a whole number below {below:,}")
    return int(text)


def choice(label: str, names: list[str], key: str, first: str) -> str | None:
    """A selector that stands in the address even at its first value, so that a link means the same when newer runs come."""
    if key not in st.query_params and key not in st.session_state:
        st.session_state[key] = st.query_params[key] = first
    return st.selectbox(label, names, index=None, placeholder="Choose one", key=key, bind="query-params")


def view(show: Callable[[str, dict[str, Any]], None], needs: str) -> None:
    """Show the chosen run's report, or say that it lacks what a view needs.

    Args:
        show: Draws, from the run's name and its report.
        needs: The key of a report that it draws.
    """
    shown: Shown = st.session_state["shown"]
    if shown.lacks:
        st.info(plain(shown.lacks))
    if shown.report.get(needs):
        show(shown.run, shown.report)
    elif not shown.lacks:
        st.info(plain(f"The report of run {shown.run} has no {needs}."))


def table(
    rows: list[dict[str, Any]],
    columns: tuple[Column, ...],
    file: str,
    style: Callable[[dict[str, Any]], dict[str, str]] = lambda row: {},
    height: Literal["content"] | int = "content",
) -> None:
    """Show rows in words, sortable by their figures, with buttons that download the figures.

    Args:
        rows: Of a report.
        columns: What to show of them.
        file: Name of the downloads, without its ending; no two tables of a view share one.
        style: CSS of the cells of a row, by column label.
        height: In pixels; by default that of all rows.
    """
    shown = pd.DataFrame({c.label: [_value(row, c) for row in rows] for c in columns})
    written: dict[Any, Any] = {c.label: _written(c) for c in columns if not c.text}
    css = pd.DataFrame([{c.label: "" for c in columns} | style(row) for row in rows], columns=shown.columns)
    st.dataframe(
        shown.style.format(written).apply(lambda _: css, axis=None),
        hide_index=True, placeholder=words.DASH, height=height, column_config={c.label: _config(c) for c in columns},
    )  # fmt: skip
    with st.container(horizontal=True):
        _download("Download CSV", partial(exports.csv_of, rows), f"{file}.csv", "text/csv")
        _download("Download Parquet", partial(exports.parquet_of, rows), f"{file}.parquet", _PARQUET)


def chart(figure: go.Figure, file: str) -> None:
    """Draw a figure in the reader's theme and the page's own font, with a button that downloads it as a page.

    Args:
        figure: The chart.
        file: Name of the download, without its ending; no two charts of a view share one.
    """
    figure.update_layout(font_family=None)
    st.plotly_chart(figure, config={"displayModeBar": False}, key=f"chart {file}")
    _download("Download chart", partial(exports.html_of, figure), f"{file}.html", "text/html")


def _download(label: str, made: Callable[[], bytes], file: str, kind: str) -> None:
    """A button whose file is made when it is asked for."""
    st.download_button(label, made, file, kind, key=f"download {file}", on_click="ignore", type="tertiary")


def _config(column: Column) -> Any:
    if column.link:
        return st.column_config.LinkColumn(
            width=column.width, help=column.help or None, display_text=column.link, alignment="left"
        )
    return st.column_config.Column(
        width=column.width, help=column.help or None, alignment="left" if column.text else "right"
    )


def _value(row: dict[str, Any], column: Column) -> Any:
    return row[column.field] if isinstance(column.field, str) else column.field(row)


def _written(column: Column) -> Callable[[Any], str]:
    return lambda value: words.DASH if pd.isna(value) else column.written(value)
