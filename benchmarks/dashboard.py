"""The dashboard on a large run: how long a first view and each filter take, and how much memory.

    python benchmarks/dashboard.py RUN SCRATCH [--impressions 10_000_000] [--rounds 3] [--browser CHROMIUM] [--json FILE]

RUN is a finished run folder, such as one of the tiny scenario. Its A/B is copied again and again into a run folder below
SCRATCH, with other users and on later days, until it has as many impressions; a folder that is there is taken as it is. Then
the views are opened without a browser (Streamlit's AppTest), in a new process per round; medians are printed. "opened" is the
first sight of a page, "first view" that of the process, imports included; the others change one choice. Seconds are those of
the server; with --browser also until a page with nothing in its cache shows its first figures in Chromium. CPU seconds are of
all threads: where they are above the others, cores worked at the same time.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# run as a file, its neighbour auction.py would be found first under the name of the package
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import multiprocessing
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from urllib.request import urlopen

import duckdb
from rich.console import Console
from rich.table import Table
from streamlit.testing.v1 import AppTest

from synth.types import DAY_MS

_APP = Path(__file__).parents[1] / "dashboard" / "app.py"
_LARGE = "large"  # name of the run that is made
_FIRST_S, _FILTER_S, _MEMORY_MIB = 2.0, 1.0, 2_048.0  # what is aimed at
# the choices of each view that are changed one after the other: kind of widget, key, value
_CHOICES = {
    "auction": (
        ("segmented_control", "figure", "price"), ("segmented_control", "side", "treatment"),
        ("segmented_control", "part", "Slots"), ("segmented_control", "part", "Campaigns"), ("segmented_control", "most", "all"),
        ("segmented_control", "part", "Bid landscape"), ("selectbox", "campaign", 7),
        ("segmented_control", "part", "One request"), ("segmented_control", "side", "control"),
    ),
    "pacing": (("selectbox", "campaign", "7"),),
    "users": (
        ("segmented_control", "side", "treatment"), ("segmented_control", "about", "Times"),
        ("segmented_control", "of_week", "orders after ads"), ("segmented_control", "about", "Delays"),
        ("selectbox", "follow", "1 d"), ("segmented_control", "about", "Activity"), ("segmented_control", "about", "One user"),
    ),
}  # fmt: skip
_SEEN = {  # of each view, what is waited for in a browser
    "readout": "CPA in control", "auction": "share of its impressions", "pacing": "USD per hour", "users": "share of all",
}  # fmt: skip
_BLOCKS = 7  # of the test's days, one after the other
# a request's id holds its user from bit 24 on and its day from bit 12 on, its session's from 19 and 7 on (`synth.traffic`)
_SHIFTS = {
    "request": "request + (($copy * $users) << 24) + ($days << 12)",
    "session": "session + (($copy * $users) << 19) + ($days << 7)",
    "user": "CAST(user + $copy * $users AS INTEGER)",
    "time_ms": f"time_ms + $days * {DAY_MS}",
    "shown_ms": f"shown_ms + $days * {DAY_MS}",
    "click_ms": f"IF(click_ms < 0, click_ms, click_ms + $days * {DAY_MS})",
    "weekday": "CAST((weekday + $days) % 7 AS INTEGER)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--impressions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--browser", help="path of Chromium")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    target = args.scratch / _LARGE
    if not target.exists():
        enlarged(args.run, target, args.impressions)
    with duckdb.connect() as db:
        parts = str(target / "simulations/ab/log/impressions/*.parquet")
        ((there,),) = db.execute("SELECT count(*) FROM read_parquet(?)", [parts]).fetchall()
    context = multiprocessing.get_context("spawn")
    rounds = []
    for _ in range(args.rounds):
        with context.Pool(1) as pool:
            rounds.append(pool.apply(looked_at, (args.scratch,)))
    rows = [
        {name: median(row[name] for row in same) if name.endswith("_s") else same[0][name] for name in same[0]}
        for same in zip(*(seen for seen, _ in rounds), strict=True)
    ]
    peak = max(mib for _, mib in rounds)
    if args.browser:
        seen = [in_browser(args.scratch, args.browser) for _ in range(args.rounds)]
        rows += [
            {"view": view, "what": "in Chromium", "wall_s": median(one[view] for one in seen), "cpu_s": float("nan")}
            for view in seen[0]
        ]
    table = Table("view", "what", "seconds", "CPU seconds", "", title=f"{there:,} impressions", box=None)
    for row in rows:
        late = row["wall_s"] > (_FIRST_S if row["what"] in ("first view", "in Chromium") else _FILTER_S)
        table.add_row(row["view"], row["what"], f"{row['wall_s']:.2f}", f"{row['cpu_s']:.2f}", "LATE" if late else "")
    Console().print(table)
    Console().print(f"peak memory {peak:,.0f} MiB" + (", TOO MUCH" if peak > _MEMORY_MIB else ""))
    if args.json:
        args.json.write_text(json.dumps({"impressions": there, "rows": rows, "peak_mib": peak}, indent=1) + "\n")


def looked_at(runs: Path) -> tuple[list[dict[str, str | float]], float]:
    """Seconds that a first view, each page and each choice take, and the peak of the process's memory in MiB."""
    sys.argv = ["app.py", str(runs)]
    at = AppTest.from_file(str(_APP), default_timeout=600)
    rows = [_timed("", "first view", at.run)]
    for view, choices in _CHOICES.items():
        rows.append(_timed(view, "opened", at.switch_page(f"views/{view}.py").run))
        for kind, key, value in choices:
            rows.append(_timed(view, f"{key}: {value}", getattr(at, kind)(key=key).set_value(value).run))
            if at.exception or at.error:
                raise RuntimeError(
                    f"{view}, {key}: {value}: {[problem.value for problem in (*at.exception, *at.error)]}"
                )
    return rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_browser(runs: Path, chromium: str) -> dict[str, float]:
    """Seconds until each view shows its figures, in a new browser on a server that has just started."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-m", "marketplace.cli", "dashboard", str(runs), f"--port={port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(f"http://127.0.0.1:{port}/_stcore/health"):
            time.sleep(0.05)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            seconds = {}
            for view, text in _SEEN.items():
                page = browser.new_context().new_page()
                begun = perf_counter()
                page.goto(f"http://127.0.0.1:{port}/{'' if view == 'readout' else view}")
                page.get_by_text(text).first.wait_for()
                seconds[view] = perf_counter() - begun
            browser.close()
            return seconds
    finally:
        server.terminate()
        server.wait()


def _answers(address: str) -> bool:
    try:
        return bool(urlopen(address, timeout=1).status == 200)
    except OSError:
        return False


def _timed(view: str, what: str, run: Callable[[], AppTest]) -> dict[str, str | float]:
    wall, cpu = perf_counter(), process_time()
    run()
    return {"view": view, "what": what, "wall_s": perf_counter() - wall, "cpu_s": process_time() - cpu}


def enlarged(source: Path, target: Path, impressions: int) -> None:
    """Make a run folder whose A/B has at least so many impressions, out of a smaller run's."""
    scenario = json.loads((source / "scenario.json").read_text())
    first, days = (scenario["calendar"][name] for name in ("log_days", "test_days"))
    users = scenario["world"]["population"]["users"]
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("simulations", "models", "state"))
    ab = source / "simulations" / "ab"
    with duckdb.connect() as db:
        there = db.execute("SELECT count(*) FROM read_parquet(?)", [str(ab / "log/impressions/*.parquet")]).fetchall()
        copies = -(-impressions // (there[0][0] * _BLOCKS))
        for part in sorted(ab.glob("*/*/*.parquet")):
            _copied(db, part, target / part.parent.relative_to(source), first, days, users, copies)
        spending = target / "simulations" / "ab" / "spending.parquet"
        db.execute(
            f"COPY (SELECT * REPLACE (start_ms + block * {days * DAY_MS} AS start_ms) "
            f"FROM read_parquet('{ab / spending.name}'), range({_BLOCKS}) t(block)) TO '{spending}'"
        )
    for name in ("log/schema.json", "truth/schema.json", "result.json", "readings.npz"):
        shutil.copy(ab / name, target / "simulations" / "ab" / name)
    scenario["calendar"]["test_days"] = days * _BLOCKS
    scenario["world"]["population"]["users"] = users * copies
    (target / "scenario.json").write_text(json.dumps(scenario))
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["stages"]["simulations"] = {"ab": manifest["stages"]["simulations"]["ab"]}
    (target / "manifest.json").write_text(json.dumps(manifest))


def _copied(
    db: duckdb.DuckDBPyConnection, part: Path, folder: Path, first: int, days: int, users: int, copies: int
) -> None:
    """Copy a table's part of a day for each block of days; a part that is of no day once."""
    folder.mkdir(parents=True, exist_ok=True)
    if not part.stem.startswith("day="):
        shutil.copy(part, folder)
        return
    columns = [row[0] for row in db.execute(f"DESCRIBE SELECT * FROM read_parquet('{part}')").fetchall()]
    shifted = {name: shift for name, shift in _SHIFTS.items() if name in columns}
    order = "time_ms, request" if "time_ms" in columns else "request"
    for block in range(_BLOCKS):
        day = int(part.stem.removeprefix("day=")) + block * days
        if part.parent.name == "impressions" and "bid_usd" in columns:  # as a real log, few values come twice
            shifted |= {name: f"{name} * (1 + 1e-9 * ({block} + {_BLOCKS} * copy))" for name in ("bid_usd", "quality")}
        replace = ", ".join(f"{shift} AS {name}" for name, shift in shifted.items())
        for name, value in {"$copy": "copy", "$users": str(users), "$days": str(block * days)}.items():
            replace = replace.replace(name, value)
        db.execute(
            f"COPY (SELECT * EXCLUDE copy REPLACE ({replace}) FROM read_parquet('{part}'), range({copies}) t(copy) "
            f"ORDER BY {order}) TO '{folder}/day={day:04d}.parquet' (COMPRESSION zstd, ROW_GROUP_SIZE 1048576)"
        )


if __name__ == "__main__":
    main()
