"""A runs folder with one finished run, and a way to open the dashboard on it."""

import sys

import pytest
from opened import copy_json, opened


@pytest.fixture(autouse=True)
def own_main(monkeypatch):
    """Put back what AppTest replaces: processes that later tests spawn would run the dashboard as their main module."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def runs(tmp_path, finished):
    """One finished run, called good: its JSON files."""
    copy_json(finished.folder, tmp_path / "runs" / "good")
    return tmp_path / "runs"


@pytest.fixture
def see(runs, monkeypatch):
    """Open a view on the runs folder, or on another one, by an address."""

    def look(view="readout", folder=runs, **address):
        return opened(monkeypatch, view, folder, **address)

    return look
