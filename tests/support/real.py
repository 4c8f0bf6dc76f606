"""Real logs, where they are at hand: in the folder AD_MARKETPLACE_DATA, or shared/data in or beside the repository."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def real(name: str) -> Path:
    """A file of real data; the test that asks for it is skipped where there is none."""
    given = os.environ.get("AD_MARKETPLACE_DATA")
    folders = [Path(given)] if given else [_ROOT / "shared" / "data", _ROOT.parent / "shared" / "data"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    pytest.skip(
        f"{name} is not at hand: set AD_MARKETPLACE_DATA to a folder that has it (docs/formats.md says where to get it)"
    )
