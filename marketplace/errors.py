"""What is refused at the border, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refused(Exception):
    """Input that cannot be worked with; the message is one line with name, rule, value and place."""


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn a room's ValueError about user input, or the system's refusal of a file, into `Refused`."""
    try:
        yield
    except ValueError as error:
        raise Refused(f"{what}: {error}") from error
    except OSError as error:
        raise Refused(f"{what}: {error.filename or ''}: {error.strerror or error}") from error
