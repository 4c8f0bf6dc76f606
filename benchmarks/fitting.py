"""Fitting a large log: seconds and peak memory of every part. `python benchmarks/fitting.py --rows 50000000`.

The log is made by DuckDB in another process, so that its memory does not count.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, it would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import subprocess
import time
from tempfile import TemporaryDirectory

import duckdb

from fitting.estimates import estimates_of
from fitting.source import connected, files, open_log

DAYS, SLOTS, PAGES, SESSIONS = 14, 4, 2, 10  # pages of a session; sessions of a user

MADE = """
COPY (
    WITH page AS (
        SELECT range AS request, range // {pages} AS session,
            ({users} * pow({session_u}, 2.5))::BIGINT AS "user",
            (hash(range // {pages} * 8 + 2) % {days} * 86400000
                + greatest(hash(range // {pages} * 8 + 3) % 24, hash(range // {pages} * 8 + 4) % 24) * 3600000
                + hash(range // {pages} * 8 + 5) % 3000000 + range % {pages} * (hash(range * 8 + 6) % 90000))::BIGINT AS came
        FROM range({first}, {stop})
    ), shown AS (
        SELECT *, (hash((request * 64 + slot) * 8) % 5000)::INTEGER AS item, {u1} AS u, {u2} AS v, {u3} AS w, {u4} AS x
        FROM page, (SELECT range AS slot FROM range({slots}))
    ), clicked AS (
        SELECT *, u < 0.06 / (1 + slot) * (0.5 + item % 11 / 10.0) AS click,
            (came + 2000 - ln(w) * (CASE WHEN x < 0.5 THEN 3e6 ELSE 1.5e8 END))::BIGINT AS ordered
        FROM shown
    ), known AS (SELECT *, click AND v < 0.2 AND ordered < {days} * 86400000 AS bought FROM clicked)
    SELECT came AS time_ms, item, click, "user", session, request, slot::SMALLINT AS slot, request % 10 = 0 AS randomised,
        item // 10 AS campaign, x < 0.3 AS known, CASE WHEN click THEN came + 1000 END AS click_ms,
        CASE WHEN bought THEN ordered END AS checkout_ms, 0.01 + w AS bid_usd, 0.002 + v / 100 AS price_usd,
        CASE WHEN bought THEN 20 + 30 * x + item % 7 END AS basket_usd
    FROM known
) TO '{file}' (FORMAT parquet)
"""
_UNIT = "(hash((request * 64 + slot) * 8 + {k}) + 1.0) / 1.8446744073709556e19"  # one integer hashed for each draw


def make(folder: Path, rows: int, parts: int = 10) -> None:
    pages = rows // SLOTS // parts
    draws = {f"u{k}": _UNIT.format(k=k) for k in range(1, 5)}
    session_u = f"(hash(range // {PAGES} * 8 + 1) / 1.8446744073709556e19)"
    for part in range(parts):
        with duckdb.connect(config={"threads": 2}) as con:
            con.execute(
                MADE.format(
                    pages=PAGES, users=rows // SLOTS // PAGES // SESSIONS, session_u=session_u, days=DAYS, slots=SLOTS,
                    first=part * pages, stop=(part + 1) * pages, file=folder / f"part-{part}.parquet", **draws,
                )
            )  # fmt: skip


def peak_mib(*, reset: bool = False) -> float:
    """Largest resident set since the last reset (Linux)."""
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--make", type=Path)
    asked = parser.parse_args()
    if asked.make:
        make(asked.make, asked.rows)
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, __file__, "--rows", str(asked.rows), "--make", name], check=True)
        size = sum(part.stat().st_size for part in folder.iterdir()) / 2**20
        print(f"{asked.rows:,} rows, {size:,.0f} MiB of Parquet, DuckDB within {asked.memory}, 2 threads")
        table: list[dict[str, float | str]] = []
        started = {"at": time.perf_counter()}

        def progress(what: str, share: float) -> None:
            if share == 0.0:
                peak_mib(reset=True)
                started["at"] = time.perf_counter()
                return
            table.append(
                {"part": what, "s": round(time.perf_counter() - started["at"], 1), "peak_mib": round(peak_mib())}
            )
            print(f"{what:<12} {table[-1]['s']:>8} s {table[-1]['peak_mib']:>8} MiB", flush=True)

        with connected(memory=asked.memory) as con:
            progress("open", 0.0)
            log = open_log(con, {"impressions": files(con, [folder])})
            progress("open", 1.0)
            estimates_of(log, progress)
        print(json.dumps(table))


if __name__ == "__main__":
    main()
