"""Tags of a run: what is written is read, whole, and the run itself stays as it was."""

import shutil

import pytest

from marketplace.errors import Refused
from marketplace.runs import open_run
from marketplace.tags import TAGS, read_tags, tags_in, write_tags


def test_tags_are_split_at_commas_stripped_sorted_and_each_there_once():
    assert tags_in(" beta, alpha ,,beta, two words ") == ["alpha", "beta", "two words"]
    assert tags_in("") == tags_in(" , ") == []


@pytest.mark.parametrize("text", ["x" * 41, "a\nb", "a\0b", "fine, not\u202efine"])
def test_a_tag_that_is_long_or_cannot_be_printed_is_refused(text):
    with pytest.raises(Refused, match="a tag is one line of 40 characters at most"):
        tags_in(text)


def test_what_is_written_is_read_and_takes_the_place_of_what_was_there(tmp_path):
    assert read_tags(tmp_path) == []
    write_tags(tmp_path, ["é", "b"])
    write_tags(tmp_path, ["é"])

    assert read_tags(tmp_path) == ["é"]
    assert [path.name for path in tmp_path.iterdir()] == [TAGS]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]", b"5", b"\xff"])
def test_a_damaged_file_of_tags_is_refused_by_name(tmp_path, content):
    (tmp_path / TAGS).write_bytes(content)

    with pytest.raises(Refused, match=r"tags\.json is damaged"):
        read_tags(tmp_path)


def test_a_folder_that_is_not_there_cannot_be_tagged(tmp_path):
    with pytest.raises(Refused, match="No such file"):
        write_tags(tmp_path / "gone", ["a"])


def test_a_tagged_run_opens_as_before_and_its_tags_are_no_file_of_it(finished, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(finished.folder / "manifest.json", tmp_path / "run")
    write_tags(tmp_path / "run", ["kept"])

    assert open_run(tmp_path / "run").manifest == finished.manifest
    assert TAGS not in finished.manifest["files"]


def test_tags_that_are_a_link_out_of_the_run_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere.json").write_text('["secret"]')
    (tmp_path / "run" / TAGS).symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(Refused, match="leads out of the run"):
        read_tags(tmp_path / "run")
