"""What is refused at the border, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refused(Exception):
    """Input that cannot be worked with; the message is one line with name, rule, value and place."""


@contextmanager
def refusing(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn a room's refusal of user input into `Refused`; other errors are ours and pass."""
    try:
        yield
    except kinds as error:
        raise Refused(f"{what}: {error}") from error
