"""What is refused at the border, in one line."""

import difflib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tokenize import TokenError
from zipfile import BadZipFile

# what numpy raises of an npy or npz file that is missing, damaged or lacks an array
DAMAGED = OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error, TokenError


class Refused(Exception):
    """Input that cannot be worked with; the message is one line with name, rule, value and place."""


@contextmanager
def refusing(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn a room's refusal of user input into `Refused`; other errors are ours and pass."""
    try:
        yield
    except kinds as error:
        raise Refused(f"{what}: {error}") from error


def known(name: str, names: Iterable[str], complaint: str) -> str:
    """The name, if it is one of the names; else `Refused` with the complaint and the nearest of them."""
    there = list(names)
    if name not in there:
        (near,) = difflib.get_close_matches(name, there, n=1, cutoff=0.0)
        raise Refused(f"{complaint}, did you mean {near}?")
    return name
