"""Progress of a command in a file, for who watches it from another process: a line of JSON per step."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from marketplace.errors import Refused

PROGRESS = "MARKETPLACE_PROGRESS"  # the variable of the environment that names the file
_STEP = 0.01  # of the share done, below which no line is written


@contextmanager
def progress_to(path: Path) -> Iterator[Callable[[str, float], None]]:
    """A function that takes what is being done and the share of it that is done, and appends it to a file.

    A line is `{"what": ..., "share": ..., "s": ...}`, with the seconds since the start.

    Raises:
        Refused: If the file cannot be written.
    """
    started, told = perf_counter(), dict[str, float]()
    try:
        file = path.open("a", buffering=1)  # who watches sees every line at once
    except OSError as error:
        raise Refused(f"{PROGRESS} {path}: {error.strerror}") from error
    with file:

        def progress(what: str, share: float) -> None:
            if what in told and share < 1 and share - told[what] < _STEP:
                return
            told[what] = share
            file.write(json.dumps({"what": what, "share": share, "s": round(perf_counter() - started, 2)}) + "\n")

        yield progress


def bars_of(path: Path) -> list[dict[str, Any]]:
    """How far each piece of work is, in the order in which they began.

    Returns:
        Rows with `what`, `share` in 0 to 1, `began_s` and `s`, seconds since the start of the command. None where there is no
        file; a last line that is not whole, and lines that are not of this shape, are left out.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    bars: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            step = json.loads(line)
            what, share, s = str(step["what"]), float(step["share"]), float(step["s"])
        except (ValueError, TypeError, KeyError):
            continue
        bar = bars.setdefault(what, {"what": what, "began_s": s})
        bar |= {"share": min(max(share, 0.0), 1.0), "s": s}
    return list(bars.values())
