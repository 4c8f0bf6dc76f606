"""Adapters: public data sets as views of the standard tables, one file per format."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import duckdb

from fitting.adapters import avazu, cdnow, criteo_attribution, criteo_delayed, ipinyou, open_bandit, traffic_share


class Adapter(NamedTuple):
    """A format."""

    about: str
    source: str  # where a user gets the data, and its licence
    tables: tuple[
        str, ...
    ]  # standard tables that it gives; clicks are impressions of which the clicked ones alone are logged
    opens: Callable[[duckdb.DuckDBPyConnection, tuple[Path, ...]], dict[str, str]]  # standard table -> view


_CRITEO = "https://ailab.criteo.com/ressources/ (registration; CC BY-NC-SA 4.0)"
FORMATS: dict[str, Adapter] = {
    "open_bandit": Adapter(
        "Open Bandit Dataset: recommendations in three places of a fashion shop, small or full, CSV or Parquet",
        "https://research.zozo.com/data.html (CC BY 4.0); small: Python package obp", ("impressions",), open_bandit.opens,
    ),
    "cdnow": Adapter(
        "CDNOW: purchases of 23,570 customers in 78 weeks, text",
        "https://www.brucehardie.com/datasets/; Python package lifetimes (MIT)", ("purchases",), cdnow.opens,
    ),
    "traffic_share": Adapter(
        "traffic shares of a classifieds site by region, weekday and hour, CSV",
        "https://github.com/avito-tech/bat-autobidding-benchmark (MIT)", ("traffic",), traffic_share.opens,
    ),
    "criteo_attribution": Adapter(
        "Criteo Attribution Modeling for Bidding: impressions, clicks, conversions of 30 days, tab-separated",
        _CRITEO, ("impressions", "purchases"), criteo_attribution.opens,
    ),
    "criteo_delayed": Adapter(
        "Criteo's conversion logs: clicks and the conversions that follow them, tab-separated",
        _CRITEO, ("clicks",), criteo_delayed.opens,
    ),
    "ipinyou": Adapter(
        "iPinYou: impressions, clicks and conversions on ad exchanges, tab-separated, bzip2",
        "https://contest.ipinyou.com (for research)", ("impressions",), ipinyou.opens,
    ),
    "avazu": Adapter(
        "Avazu: ten days of impressions of mobile ads, CSV",
        "https://www.kaggle.com/c/avazu-ctr-prediction (rules of the competition)", ("impressions",), avazu.opens,
    ),
}  # fmt: skip
