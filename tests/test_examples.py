"""The gallery prints what stands beside it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_prints_what_is_kept_beside_it(example):
    found = subprocess.run([sys.executable, str(example)], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout == example.with_suffix(".out").read_text()
