"""Exports: rows and figures as the bytes of a file, for who goes on with them elsewhere."""

import io
import json
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    """Rows in full precision as CSV, with a header."""
    return pd.DataFrame(rows).to_csv(index=False).encode()


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    """Rows as Parquet; a column of several kinds of values, which Parquet has no type for, holds them as JSON."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def html_of(figure: go.Figure) -> bytes:
    """A figure as one page that needs nothing beside it."""
    return figure.to_html(include_plotlyjs=True, full_html=True).encode()


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else json.dumps(value) for value in values])
