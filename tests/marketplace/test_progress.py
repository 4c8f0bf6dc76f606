"""Progress in a file: who reads it at any time sees how far each piece of work is."""

import json

import pytest

from marketplace.errors import Refused
from marketplace.progress import bars_of, progress_to


def test_bars_come_in_the_order_in_which_work_began_each_with_its_last_share(tmp_path):
    with progress_to(tmp_path / "p") as progress:
        for what, share in (("log", 0.0), ("log", 0.5), ("train", 0.0), ("log", 1.0), ("train", 0.25)):
            progress(what, share)
        bars = bars_of(tmp_path / "p")  # while it is open

    assert [(bar["what"], bar["share"]) for bar in bars] == [("log", 1.0), ("train", 0.25)]
    assert all(0 <= bar["began_s"] <= bar["s"] for bar in bars)
    assert bars[0]["began_s"] <= bars[1]["began_s"]


def test_small_steps_are_not_written_but_the_last_one_is(tmp_path):
    with progress_to(tmp_path / "p") as progress:
        for step in range(10_001):
            progress("log", step / 10_000)

    lines = (tmp_path / "p").read_text().splitlines()
    assert 50 < len(lines) <= 102
    assert json.loads(lines[-1])["share"] == 1.0


def test_a_line_that_is_not_whole_and_lines_of_another_shape_are_left_out(tmp_path):
    good = '{"what": "log", "share": 0.5, "s": 2.0}'
    (tmp_path / "p").write_text(f'[]\n5\n{{"what": "x"}}\n{good}\n{{"what": "log", "share": "y", "s": 3}}\n{good[:20]}')

    assert bars_of(tmp_path / "p") == [{"what": "log", "share": 0.5, "began_s": 2.0, "s": 2.0}]


def test_a_share_outside_0_to_1_is_drawn_at_the_end_that_it_is_beyond(tmp_path):
    (tmp_path / "p").write_text('{"what": "a", "share": 1.5, "s": 1}\n{"what": "b", "share": -1, "s": 1}\n')

    assert [bar["share"] for bar in bars_of(tmp_path / "p")] == [1.0, 0.0]


def test_no_file_is_no_progress_yet(tmp_path):
    assert bars_of(tmp_path / "none") == []


def test_a_file_that_cannot_be_written_is_refused_by_name(tmp_path):
    with (
        pytest.raises(Refused, match=r"MARKETPLACE_PROGRESS .*none/p: No such file"),
        progress_to(tmp_path / "none" / "p"),
    ):
        pass
