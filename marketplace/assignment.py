"""Assignment: which arm serves a request."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from synth import draws
from synth.draws import Cause
from synth.types import IdArray, Requests


class Assignment(NamedTuple):
    """A design: the arm of every request, and the arm that each user is read in."""

    of_request: Callable[[Requests], IdArray]  # (n,) position of the arm
    of_user: IdArray  # (U,)
    shares: tuple[float, ...]  # expected share of users in each arm


def everyone(n_users: int) -> Assignment:
    """All in arm 0."""
    of_user = np.zeros(n_users, np.int32)
    return Assignment(lambda requests: of_user[requests.user], of_user, (1.0,))


def split_users(n_users: int, shares: Sequence[float], seed: int) -> Assignment:
    """Users split at random, each by its own draw.

    Raises:
        ValueError: If the shares are not positive or do not add up to 1.
    """
    if any(not share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares are {tuple(shares)}, they must be positive and add up to 1")
    u = draws.uniform(seed, Cause.ASSIGNMENT, np.arange(n_users))
    of_user = np.searchsorted(np.cumsum(shares)[:-1], u, side="right").astype(np.int32)
    return Assignment(lambda requests: of_user[requests.user], of_user, tuple(shares))
