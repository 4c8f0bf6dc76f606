"""Assignment: which arm serves a request, and whose doings are counted together.

A unit is what is split at random, or what keeps together what is: a user, a block of time, a campaign. Every design is read on a
table with a row per unit, or, where a unit can be in several arms, with a row per stage, arm and unit.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from synth import draws
from synth.draws import Cause
from synth.traffic import session_of
from synth.types import DAY_MS, IdArray, IntArray, Requests

MINUTE_MS = 60_000
_RowOf = Callable[[IntArray, IntArray, IdArray, IdArray], IntArray]
_Requested = Callable[[Requests], IdArray]


class Rows(NamedTuple):
    """How counters are laid out."""

    unit: Literal["user", "visit", "block", "campaign"]  # visit: a row has the visits of a user that an arm served
    n: int
    of: _RowOf  # user, time_ms, arm, campaign, (m,) each -> (m,) row, -1 where it is not read


class Assignment(NamedTuple):
    """A design: the arm of every request, and how it is read."""

    shares: tuple[tuple[float, ...], ...]  # (stages, arms) expected shares of the units
    of_request: _Requested  # (n,) position of the arm whose rules serve it
    rows: Rows
    of_unit: IdArray | None = None  # (units,) position of the arm, -1 in none; None where a unit can be in several
    of_campaign: IdArray | None = None  # (c,) position of the arm that predicts and bids for its ads
    of_account: IdArray | None = (
        None  # (U,) position of the arm whose part of the budgets pays; None where none is split
    )
    group: IdArray | None = None  # (U,) cluster of each user, the unit; None where rows are units

    @property
    def arms(self) -> int:
        """How many there are."""
        return len(self.shares[0])


def everyone(n_users: int) -> Assignment:
    """All in arm 0."""
    of_user = np.zeros(n_users, np.int32)
    return Assignment(((1.0,),), lambda requests: of_user[requests.user], _by_user(n_users), of_user)


def split_users(n_users: int, shares: Sequence[float], seed: int, *, budgets: bool = False) -> Assignment:
    """Users split at random, each by its own draw; if `budgets`, every campaign's budget with them.

    With its budgets an arm is a market of its own (Liu, Mao & Kang 2021, budget-split design).

    Raises:
        ValueError: If the shares are not positive or do not add up to 1.
    """
    of_user = draws.choose(checked(shares), draws.uniform(seed, Cause.ASSIGNMENT, np.arange(n_users)))
    account = of_user if budgets else None
    return Assignment(
        (tuple(shares),), lambda requests: of_user[requests.user], _by_user(n_users), of_user, of_account=account
    )


def split_visits(n_users: int, shares: Sequence[float], seed: int, *, sessions: bool) -> Assignment:
    """Sessions or requests split at random, each by its own draw; a user can be in every arm."""
    shares, n_arms = checked(shares), len(shares)

    def of_request(requests: Requests) -> IdArray:
        key = session_of(requests.id) if sessions else requests.id
        return draws.choose(shares, draws.uniform(seed, Cause.ASSIGNMENT, key, 1))

    rows = Rows("visit", n_arms * n_users, lambda user, time_ms, arm, campaign: arm.astype(np.int64) * n_users + user)
    return Assignment((shares,), of_request, rows)


def ramp(
    n_users: int, shares: Sequence[float], stages: Sequence[tuple[int, float]], first_day: int, seed: int
) -> Assignment:
    """Users split at random, with shares that rise from stage to stage: who has left control stays in its arm.

    Args:
        shares: Of the arms, control first; in a stage the others have its share together, in proportion to theirs.
        stages: Days and that share, of each stage.
        first_day: When the first stage begins.
    """
    own = np.asarray(checked(shares))
    n_arms, last = len(own), np.cumsum([days for days, _ in stages])
    among = draws.choose(own[1:] / own[1:].sum(), draws.uniform(seed, Cause.ASSIGNMENT, np.arange(n_users), 1)) + 1
    enters = draws.uniform(seed, Cause.ASSIGNMENT, np.arange(n_users))
    share = np.array([share for _, share in stages])
    by_stage = tuple((1 - s, *(s * own[1:] / own[1:].sum())) for s in share)

    def stage_of(time_ms: IntArray) -> IntArray:
        return np.minimum(np.searchsorted(last, time_ms // DAY_MS - first_day, side="right"), len(last) - 1)

    def of_request(requests: Requests) -> IdArray:
        inside = enters[requests.user] < share[stage_of(requests.time_ms)]
        return np.where(inside, among[requests.user], 0).astype(np.int32)

    def row(user: IntArray, time_ms: IntArray, arm: IdArray, campaign: IdArray) -> IntArray:
        return (stage_of(time_ms) * n_arms + arm) * n_users + user

    return Assignment(by_stage, of_request, Rows("user", len(share) * n_arms * n_users, row))


def switchback(
    n_users: int,
    shares: Sequence[float],
    first_day: int,
    days: int,
    block_minutes: int,
    burn_in_minutes: int,
    seed: int,
) -> Assignment:
    """All traffic in one arm at a time: blocks of time are split at random, in exact shares up to rounding.

    Raises:
        ValueError: If an arm is left with fewer than two blocks.
    """
    start, block = first_day * DAY_MS, block_minutes * MINUTE_MS
    n = days * DAY_MS // block
    of_block = in_shares(checked(shares), n, seed, "blocks of time")

    def row(user: IntArray, time_ms: IntArray, arm: IdArray, campaign: IdArray) -> IntArray:
        since = time_ms - start
        read = (since >= 0) & (since % block >= burn_in_minutes * MINUTE_MS)
        return np.where(read, since // block, -1)

    return Assignment(
        (tuple(shares),),
        lambda requests: of_block[(requests.time_ms - start) // block],
        Rows("block", n, row),
        of_block,
    )


def split_clusters(cluster: IdArray, shares: Sequence[float], seed: int) -> Assignment:
    """Users of one cluster (U,), such as a region, in one arm; clusters are split in exact shares up to rounding.

    Raises:
        ValueError: If an arm is left with fewer than two clusters.
    """
    of_cluster = in_shares(checked(shares), int(cluster.max()) + 1, seed, "clusters")
    of_user = of_cluster[cluster]
    return Assignment(
        (tuple(shares),), lambda requests: of_user[requests.user], _by_user(len(cluster)), of_cluster, group=cluster
    )


def split_campaigns(n_campaigns: int, shares: Sequence[float], seed: int) -> Assignment:
    """Each campaign in one arm, which predicts and bids for its ads; ads of all arms meet in the same auctions.

    Raises:
        ValueError: If an arm is left with fewer than two campaigns.
    """
    of_campaign = in_shares(checked(shares), n_campaigns, seed, "campaigns")
    rows = Rows("campaign", n_campaigns, lambda user, time_ms, arm, campaign: campaign.astype(np.int64))
    return Assignment(
        (tuple(shares),), lambda requests: np.zeros(len(requests), np.int32), rows, of_campaign, of_campaign=of_campaign
    )


def in_shares(shares: Sequence[float], n: int, seed: int, what: str) -> IdArray:
    """(n,) arms of few units: in exact shares up to rounding, in the order of a draw each.

    Raises:
        ValueError: See `sizes_of`.
    """
    sizes = sizes_of(shares, n, what)
    order = np.argsort(draws.uniform(seed, Cause.ASSIGNMENT, np.arange(n), 2), kind="stable")
    out = np.empty(n, np.int32)
    out[order] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return out


def sizes_of(shares: Sequence[float], n: int, what: str) -> IntArray:
    """(arms,) how many of n units each arm has, in exact shares up to rounding.

    Raises:
        ValueError: If an arm is left with fewer than two of them, which no interval can be had of.
    """
    sizes = np.diff(np.rint(np.cumsum(shares) * n).astype(np.int64), prepend=0)
    if sizes.min() < 2:
        raise ValueError(f"shares of {n} {what} leave an arm {sizes.min()}, each must have 2 at least")
    return sizes


def checked(shares: Sequence[float]) -> tuple[float, ...]:
    """Raises ValueError if shares are not positive or do not add up to 1."""
    if any(not share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares are {tuple(shares)}, they must be positive and add up to 1")
    return tuple(shares)


def _by_user(n_users: int) -> Rows:
    return Rows("user", n_users, lambda user, time_ms, arm, campaign: user.astype(np.int64))
