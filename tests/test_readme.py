"""The README's own commands, run on the tiny market, and documents that must list what there is."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from marketplace.metrics import METRICS
from marketplace.scenario import load_scenario
from marketplace.schema import log_schema

ROOT = Path(__file__).parents[1]
TINY = ROOT / "scenarios" / "tiny.toml"
PORT = 8763


def readme_commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return [re.sub(r"\s+#.*", "", line[2:]) for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder where the commands run one after the other."""
    return tmp_path_factory.mktemp("newcomer")


@pytest.mark.parametrize("command", [c for c in readme_commands() if c.startswith("marketplace")])
def test_a_command_of_the_readme_works(place, command):
    runs = sorted(place.glob("runs/tiny-*"), key=lambda path: path.stat().st_mtime)
    words = command.replace("scenarios/delivery.toml", str(TINY)).split()
    words = [re.sub(r"^RUN(?=/|$)", lambda _: str(runs[-1]), word) for word in words]
    call = [sys.executable, "-m", "marketplace.cli", *words[1:]]
    if words[1] == "dashboard":
        opens(place, call)
        return

    done = subprocess.run(call, cwd=place, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout


def opens(place: Path, call: list[str]) -> None:
    """The dashboard answers on the loopback address."""
    server = subprocess.Popen([*call, "--port", str(PORT)], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/_stcore/health", timeout=1) as answer:
                    assert answer.read() == b"ok"
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the dashboard did not answer within 30 s")
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for command in readme_commands():
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, re.M), command


def test_the_refusal_shown_in_the_readme_is_the_one_given():
    call = [sys.executable, "-m", "marketplace.cli", "compare", "scenarios/delivery.toml"]
    done = subprocess.run(
        [*call, "--set", "world.population.usres=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )

    assert done.returncode == 2
    assert done.stderr.strip() in (ROOT / "README.md").read_text()


def test_every_metric_is_documented():
    text = (ROOT / "docs" / "metrics.md").read_text()

    assert not [m.name for m in METRICS if f"| {m.name} | {m.group} | {m.numerator}" not in text]


def test_every_column_of_the_log_is_documented():
    text = (ROOT / "docs" / "log.md").read_text()
    columns = [c for table in log_schema(load_scenario(TINY).world).tables.values() for c in table]

    assert not [c.name for c in columns if f"| {c.name} | {c.dtype} | {c.kind} | {c.side} | {c.unit} |" not in text]


def test_links_between_documents_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text().replace("\n", " ")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"
