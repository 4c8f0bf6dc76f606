"""Tags: words that people put on a finished run, in a file of their own beside what the run left."""

import json
from pathlib import Path

from marketplace.errors import Refused
from marketplace.runs import inside, read_json, write_whole

TAGS = "tags.json"
LONGEST = 40  # characters of a tag


def tags_in(text: str) -> list[str]:
    """Tags written with commas between them, in order of the alphabet, each once.

    Raises:
        Refused: If one is longer than 40 characters or has a character that cannot be printed.
    """
    tags = sorted({tag.strip() for tag in text.split(",")} - {""})
    for tag in tags:
        if len(tag) > LONGEST or not tag.isprintable():
            raise Refused(f"tag {tag!r}: a tag is one line of {LONGEST} characters at most")
    return tags


def read_tags(folder: Path) -> list[str]:
    """Tags of a run folder; none where nobody has put any.

    Raises:
        Refused: If the file of tags is damaged, or a link that leads out of the run.
    """
    path = folder / TAGS
    return read_json(inside(folder, path), list[str]) if path.exists() else []


def write_tags(folder: Path, tags: list[str]) -> None:
    """Put these tags on a run in place of those that it has; who reads at the same time sees the old ones or the new.

    Raises:
        Refused: If the folder cannot be written to.
    """
    write_whole(folder / TAGS, json.dumps(tags) + "\n")
