"""Held: whether the process that works in a folder is still there, by a lock that ends with it.

The number of a process is given again after its end, and says nothing across machines; a lock does not outlive its holders.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"  # the file's name, in the folder


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Hold a folder while the block runs, and while any process runs that was given the descriptor; wait for other holders.

    Yields:
        The descriptor, to be passed on.

    Raises:
        OSError: If the folder cannot be written to, or its file system has no locks.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether someone holds it; nobody does where there is no lock."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
