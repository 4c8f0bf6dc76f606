"""Parts: a report's tables and charts, as every view places them."""

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.load import Shown
from marketplace import words

_COLOURS = {
    "light": {"better": "#00734f", "worse": "#b34700", "miss": "#fbe5d6"},
    "dark": {"better": "#5fd3a6", "worse": "#ff9e64", "miss": "#5a3418"},
}


class Column(NamedTuple):
    """A column of a table: the field of each row, or a function of the row, and how its values are written."""

    label: str
    field: str | Callable[[dict[str, Any]], Any]
    written: Callable[[Any], str] = words.figure
    help: str = ""
    text: bool = False
    width: int | None = None  # pixels; as wide as its first rows need by default


def colour(name: str) -> str:
    """The colour of better, worse or miss that can be read on the reader's background."""
    return _COLOURS["dark" if st.context.theme.type == "dark" else "light"][name]


def plain(text: str) -> str:
    """Text of a run's own, such as a name or a path, with nothing in it read as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|$~:<>&])", r"\\\1", text)


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
    """Show rows in words, sortable by their figures, with a button that downloads the figures.

    Args:
        rows: Of a report.
        columns: What to show of them.
        file: Name of the download, without its ending.
        style: CSS of the cells of a row, by column label.
        height: In pixels; by default that of all rows.
    """
    shown = pd.DataFrame({c.label: [_value(row, c) for row in rows] for c in columns})
    written: dict[Any, Any] = {c.label: _written(c) for c in columns if not c.text}
    css = pd.DataFrame([{c.label: "" for c in columns} | style(row) for row in rows], columns=shown.columns)
    config: dict[Any, Any] = {
        c.label: st.column_config.Column(width=c.width, help=c.help or None, alignment="left" if c.text else "right")
        for c in columns
    }
    st.dataframe(
        shown.style.format(written).apply(lambda _: css, axis=None),
        hide_index=True, placeholder=words.DASH, height=height, column_config=config,
    )  # fmt: skip
    st.download_button(
        "Download CSV", pd.DataFrame(rows).to_csv(index=False), f"{file}.csv", "text/csv", on_click="ignore"
    )


def chart(figure: go.Figure) -> None:
    """Draw a figure in the reader's theme and the page's own font."""
    st.plotly_chart(figure.update_layout(font_family=None), config={"displayModeBar": False})


def _value(row: dict[str, Any], column: Column) -> Any:
    return row[column.field] if isinstance(column.field, str) else column.field(row)


def _written(column: Column) -> Callable[[Any], str]:
    return lambda value: words.DASH if pd.isna(value) else column.written(value)
