"""iPinYou: bids, impressions, clicks and conversions of nine advertisers on ad exchanges (Liao, Peng, Liu & Shen 2014, iPinYou
global RTB bidding algorithm competition dataset, ADKDD).

Tab-separated, no header, one file per day and kind, its name beginning with imp, clk or conv (bids that won nothing have no
outcome and are not read), plain, gzip or bzip2. A bid id joins them.

    timestamp        time_ms, click_ms, checkout_ms   YYYYMMDDHHMMSSmmm, China's time, kept as it is: hours are the user's
    creative         item
    advertiser       campaign
    iPinYou id       user
    ad slot id       (not used)  it names the place on a site, and no order
    bid, paid price  bid_usd, price_usd   fen per thousand impressions, scaled by the publisher; 1 USD = 6.15 CNY (2013)
"""

import re
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import csv

from fitting.adapters.files import bare, listed, make_view
from fitting.errors import Unfit

_COLUMNS = (
    "bid", "stamp", "kind", "user", "agent", "ip", "region", "city", "exchange", "domain", "url", "hidden_url", "place", "width",
    "height", "visibility", "format", "floor", "creative", "bidding", "paying", "landing", "advertiser", "tags",
)  # fmt: skip
_USD = 1 / (100 * 1000 * 6.15)  # of a fen per thousand impressions
_KINDS = "imp", "clk", "conv"


def opens(con: duckdb.DuckDBPyConnection, paths: tuple[Path, ...]) -> dict[str, str]:
    """Views of the logs of impressions, and of clicks and conversions where they are given."""
    listed(paths)
    by_kind = {kind: tuple(p for p in paths if re.match(rf"{kind}\b", p.name)) for kind in _KINDS}
    if not by_kind["imp"]:
        raise Unfit(f"{paths[0]}: not ipinyou: there is no log of impressions, a file whose name begins with imp.")
    source = {kind: _source(con, kind, files) for kind, files in by_kind.items() if files}
    first = {
        kind: f"LEFT JOIN (SELECT bid, min(stamp) AS stamp FROM {source[kind]} GROUP BY bid) {kind} ON {kind}.bid = imp.bid"
        for kind in ("clk", "conv") if kind in source
    }  # fmt: skip
    click = f"clk.bid IS NOT NULL AS click, {_ms('clk')} AS click_ms" if "clk" in source else "false AS click"
    conversion = f", {_ms('conv')} AS checkout_ms" if "conv" in source else ""
    select = f"""
        SELECT {_ms("imp")} AS time_ms, imp.creative AS item, imp.advertiser AS campaign, nullif(imp.user, 'null') AS user,
            CAST(imp.bidding AS DOUBLE) * {_USD!r} AS bid_usd, CAST(imp.paying AS DOUBLE) * {_USD!r} AS price_usd,
            {click}{conversion}
        FROM {source["imp"]} imp {" ".join(first.values())}
    """
    return {"impressions": make_view(con, "ipinyou", "impressions", select)}


def _ms(table: str) -> str:
    """A stamp as milliseconds: its seconds parsed, its last three digits added."""
    stamp = f"{table}.stamp"
    return f"epoch_ms(strptime({stamp}[1:14], '%Y%m%d%H%M%S')) + CAST({stamp}[15:17] AS BIGINT)"


def _source(con: duckdb.DuckDBPyConnection, kind: str, files: tuple[Path, ...]) -> str:
    packed = tuple(path for path in files if path.suffix == ".bz2")
    if not packed:
        return bare(con, files, "ipinyou", _COLUMNS)
    if len(packed) < len(files):
        raise Unfit(f"{files[0]}: logs of one kind must be all bzip2 or none")
    return _unpacked(con, kind, packed)


def _unpacked(con: duckdb.DuckDBPyConnection, kind: str, files: tuple[Path, ...]) -> str:
    """A temporary table of bzip2 text, which DuckDB does not read: filled batch by batch, spilt by DuckDB where it is large."""
    table = f"ipinyou_{kind}"
    con.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({', '.join(f'{column} VARCHAR' for column in _COLUMNS)})")
    options = {
        "read_options": csv.ReadOptions(column_names=_COLUMNS),
        "parse_options": csv.ParseOptions(delimiter="\t", quote_char=False),
        "convert_options": csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string())),
    }
    for path in files:
        try:
            with pa.input_stream(str(path), compression="bz2") as stream, csv.open_csv(stream, **options) as reader:
                for batch in reader:
                    con.register("batch_of_rows", pa.Table.from_batches([batch]))
                    con.execute(f"INSERT INTO {table} SELECT * FROM batch_of_rows")
        except (pa.ArrowInvalid, OSError) as error:
            raise Unfit(f"{path}: not ipinyou: {str(error).splitlines()[0]}") from error
    con.unregister("batch_of_rows")
    return table
