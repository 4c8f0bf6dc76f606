"""The dashboard in a browser: every view on finished, damaged and unfinished runs, what is filtered, and a run that is started.

`SCREENSHOTS=FOLDER` keeps a picture of every view there, and `SHOWN=RUN` takes them of that run instead of the tests' tiny one.
"""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pandas as pd
import pytest
from opened import report_of, whole

from marketplace import words
from marketplace.held import held
from marketplace.runs import STAGING

CHROMIUM = next(filter(None, (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))), None)
VIEWS = "readout", "truth", "models", "auction", "pacing", "users", "cost", "compare", "runs", "run"
OF_ALL_RUNS = "compare", "runs", "run"
SCENARIOS = Path(__file__).parents[2] / "scenarios"
SHOWN = Path(os.environ["SHOWN"]).resolve() if "SHOWN" in os.environ else None
NAME = SHOWN.name if SHOWN else "tiny-first"  # of the run that is looked at
WAIT_MS = 20_000
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip
SEARCHED = (
    "_stcore/health",
    "_stcore/host-config",
)  # where a page below the first looks for its server; 404 is its answer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def places(tmp_path_factory, finished):
    """Runs folders: one with a finished run, one that is empty, one with a damaged run, one with a run under way."""
    root = tmp_path_factory.mktemp("browser")
    for name in ("runs", "empty", "damaged", "running"):
        (root / name).mkdir()
    whole(SHOWN or finished.folder, root / "runs", NAME)
    whole(finished.folder, root / "runs", "tiny-other")
    whole(finished.folder, root / "damaged", "bad")
    (root / "damaged" / "bad" / "report.json").write_text('{"readout": [')
    for path in (root / "damaged" / "bad" / "simulations").rglob("*.parquet"):
        path.unlink()
        path.write_bytes(b"PAR1")
    under_way = root / "running" / f"{STAGING}0"
    under_way.mkdir()
    shutil.copy(finished.folder / "scenario.json", under_way)
    with held(under_way):
        yield root


@pytest.fixture(scope="module")
def served(places):
    """Address of a dashboard on a runs folder, each started once and stopped at the end."""
    servers: dict[str, tuple[subprocess.Popen[bytes], str]] = {}

    def address(name):
        if name not in servers:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            command = [sys.executable, "-P", "-m", "marketplace.cli", "dashboard", name]
            process = subprocess.Popen(
                [*command, f"--port={port}", f"--scenarios={SCENARIOS}"],
                cwd=places, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            servers[name] = process, f"http://127.0.0.1:{port}"
            until(lambda: answers(f"http://127.0.0.1:{port}/_stcore/health"), "the server to answer")
        return servers[name][1]

    yield address
    for process, _ in servers.values():
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page whose console must stay free of errors."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1100}, accept_downloads=True)
    own, errors = context.new_page(), []
    own.on("pageerror", lambda error: errors.append(str(error)))
    own.on("console", lambda message: errors.append(message.text) if is_error(message) else None)
    own.set_default_timeout(WAIT_MS)
    yield own
    context.close()
    assert not errors


def is_error(message):
    return message.type == "error" and not message.location["url"].endswith(SEARCHED)


def answers(address):
    try:
        return urlopen(address, timeout=1).status == 200
    except OSError:
        return False


def until(done, what):
    deadline = time.monotonic() + WAIT_MS / 1000
    while not done():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.1)


def visit(page, address):
    """Open an address and wait until the script behind it has run to its end."""
    page.goto(address)
    settle(page)


def settle(page):
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.locator("[data-testid=stSkeleton]").first.wait_for(state="hidden")
    assert page.locator("[data-testid=stException]").count() == 0


def text_of(page):
    return page.locator("[data-testid=stMain]").inner_text()


def csv(page, file):
    """What the button of that file downloads."""
    with page.expect_download() as coming:
        page.locator(f".st-key-download-{file.replace('.', '-')} button").click()
    return pd.read_csv(io.BytesIO(Path(coming.value.path()).read_bytes()))


@pytest.mark.parametrize("view", VIEWS)
def test_a_finished_run_is_shown_in_every_view(page, served, view, tmp_path):
    visit(page, f"{served('runs')}/{'' if view == 'readout' else view}?run={NAME}")

    assert page.locator("[data-testid=stAlertContentError]").count() == 0
    assert page.locator("[data-testid=stDataFrame], .js-plotly-plot, [data-testid=stButton]").count() > 0
    page.wait_for_timeout(500)  # a chart is drawn in steps
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"{view}.png", full_page=True)
    assert (folder / f"{view}.png").stat().st_size > 10_000


@pytest.mark.parametrize("state", ["empty", "damaged", "running"])
def test_a_view_without_a_sound_run_says_why(page, served, state):
    for view in VIEWS:
        visit(page, f"{served(state)}/{'' if view == 'readout' else view}")

        said = text_of(page)
        if view == "run":
            assert "No job has been started yet" in said
        elif view == "runs":
            assert {"empty": "There is no run", "damaged": "1 of 1 runs", "running": "1 of 1 runs"}[state] in said
        elif view == "compare":
            assert "it takes two" in said
        elif state == "damaged":
            assert "report.json" in said
        else:
            assert "There is no finished run" in said


def test_the_readout_is_what_opens_first_and_one_click_away_from_every_view(page, served, places):
    visit(page, served("runs"))
    first = page.get_by_role("heading", level=2).first.inner_text()
    newest = parse_qs(urlsplit(page.url).query)["run"][0]
    visit(page, f"{served('runs')}/runs")
    page.get_by_role("link", name="Readout").click()
    page.get_by_text("CPA in control").wait_for()

    assert first == words.headline(report_of(places / "runs", newest))
    assert first in text_of(page)


def test_a_filter_changes_the_numbers_to_those_of_the_report(page, served, places):
    rows = pd.DataFrame(report_of(places / "runs", NAME)["readout"])
    visit(page, f"{served('runs')}/?run={NAME}")
    page.get_by_text("Guardrail", exact=True).click()
    own = rows[rows.role == "guardrail"]
    until(lambda: list(csv(page, f"{NAME}-readout.csv")["metric"]) == list(own.metric), "the filter to be applied")

    shown = csv(page, f"{NAME}-readout.csv")
    assert shown["lift"].to_numpy() == pytest.approx(own.lift.to_numpy(float), nan_ok=True)


def test_a_run_is_started_watched_and_opened(page, served, places):
    visit(page, f"{served('empty')}/run?of=tiny.toml&command=simulate&seed=7&set=world.population.users%3D300")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("is done").wait_for(timeout=6 * WAIT_MS)
    with page.context.expect_page() as opening:
        page.get_by_role("link", name="Open tiny").click()
    shown = opening.value
    shown.set_default_timeout(WAIT_MS)
    settle(shown)

    (run,) = (path.name for path in (places / "empty").iterdir() if not path.name.startswith("."))
    assert words.headline(report_of(places / "empty", run)) in text_of(shown).replace("\n", " ")
