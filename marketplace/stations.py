"""What requests wait for: stations of hosts and their outages, what comes of them, and which of them are refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import NamedTuple

import numpy as np

from auction.checks import index, number, positive, whole
from synth.types import BoolArray, FloatArray, IntArray


class Outage(NamedTuple):
    """A host that is down for a while, `length_s` from `start_s` on."""

    host: int
    start_s: float
    length_s: float
    lossy: bool  # a failure: what the host holds begins again at another one that is up; else a pause: it goes on where it stood


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Station:
    """Hosts that serve requests, and who is sent to them.

    A worker serves a batch at a time. A free one takes those that wait on its host, up to `batch`, first come first, and
    waits for no more. A request is answered at the latest `timeout_s` after it came, with a fallback: it is dropped if its
    service has not begun by then, else served in vain.
    """

    name: str
    service_s: Callable[[Sequence[int]], float]  # positions of a batch's requests -> seconds
    hosts: int = 1
    workers: int | None = 1  # per host; None: as many as come at once, a pure delay
    batch: int = 1  # most requests of a batch; 1 in a pure delay
    after: tuple[int, ...] = ()  # earlier stations that a request must have left before it comes here; () on arrival
    needed: BoolArray | None = None  # (n,) requests that come here, others pass at once; None: all
    host: IntArray | None = None  # (n,) that a request is sent to; None: one with the fewest requests, in turn
    timeout_s: float = inf
    slow: FloatArray | None = None  # (hosts,) factor of service times
    outages: Sequence[Outage] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visit:
    """What came of a station: (n,) each, NaN where a request did not come."""

    came_s: FloatArray
    began_s: FloatArray  # the service that was not lost to a failure; NaN where dropped
    left_s: FloatArray  # answered, by service or by fallback: so long it is at the station
    fallback: BoolArray  # answered by time-out
    batches: int  # begun, those lost to a failure among them
    busy_s: float  # worked by all workers together, also in vain; pauses do not count
    area_s: float  # integral over the run of the number of requests at the station, kept event by event


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """What came of a run."""

    arrived_s: FloatArray  # (n,)
    left_s: FloatArray  # (n,) the last of its stations left
    visits: tuple[Visit, ...]  # by station


def check_arrivals(arrived_s: FloatArray) -> None:
    """Refuse arrivals that are not one after the other.

    Raises:
        ValueError: If they are not (n,), or one is negative, not finite, or before the one that precedes it.
    """
    if np.ndim(arrived_s) != 1:
        raise ValueError(f"arrived_s has shape {np.shape(arrived_s)}, it must be (n,)")
    number("arrived_s", arrived_s, low=0.0)
    falls = np.flatnonzero(np.diff(arrived_s) < 0)
    if falls.size:
        i = int(falls[0]) + 1
        raise ValueError(f"arrived_s[{i}] is {arrived_s[i]}, it must not fall from the one before, {arrived_s[i - 1]}")


def check_station(station: Station, position: int, n: int) -> None:
    """Refuse a station that could not be run.

    Args:
        position: Of the station among all.
        n: Requests.

    Raises:
        ValueError: With the station's name, the field, the rule and the value.
    """
    own = f"{station.name}."
    whole(f"{own}hosts", station.hosts)
    whole(f"{own}batch", station.batch)
    if station.workers is not None:
        whole(f"{own}workers", station.workers)
    elif station.batch != 1:
        raise ValueError(f"{own}batch is {station.batch}, it must be 1 where workers are None: nobody waits there")
    for before in station.after:
        if not 0 <= before < position:
            raise ValueError(f"{own}after has {before}, it must have stations before its own position, {position}")
    positive(f"{own}timeout_s", station.timeout_s)
    if station.needed is not None and (station.needed.shape != (n,) or station.needed.dtype != np.bool_):
        raise ValueError(f"{own}needed is {station.needed.dtype} {station.needed.shape}, it must be bool ({n},)")
    if station.host is not None:
        if station.host.shape != (n,) or station.host.dtype.kind not in "iu":
            raise ValueError(f"{own}host is {station.host.dtype} {station.host.shape}, it must be whole numbers ({n},)")
        comes = True if station.needed is None else station.needed
        index(f"{own}host", np.where(comes, station.host, 0), low=0, stop=station.hosts)
    if station.slow is not None:
        if np.shape(station.slow) != (station.hosts,):
            raise ValueError(
                f"{own}slow has shape {np.shape(station.slow)}, it must be ({station.hosts},), one per host"
            )
        number(f"{own}slow", station.slow, low=0.0, strict=True)
    check_outages(f"{own}outages", station.outages, station.hosts)


def check_outages(name: str, outages: Sequence[Outage], hosts: int) -> None:
    """Refuse outages of hosts that are not there, that overlap, or that never end.

    Raises:
        ValueError: With the name, the rule and the value.
    """
    for outage in outages:
        if not 0 <= outage.host < hosts:
            raise ValueError(f"{name} has host {outage.host}, it must be >= 0 and < {hosts}")
        number(f"{name}.start_s", outage.start_s, low=0.0)
        number(f"{name}.length_s", outage.length_s, low=0.0, strict=True)
    for one, other in pairwise(sorted(outages)):
        if one.host == other.host and other.start_s < one.start_s + one.length_s:
            raise ValueError(
                f"{name} of host {one.host} overlap, at {other.start_s} s: the one before must have ended, at "
                f"{one.start_s + one.length_s} s"
            )
