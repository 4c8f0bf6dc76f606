"""Record: how a tick becomes rows of the log and of the truth file."""

import hashlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np

from marketplace.log import TRUTH, Writer
from marketplace.serve import Offers, Scored
from marketplace.tick import Placed, Shown
from models.schema import Kind, Schema, Side
from synth import draws
from synth.content import Content
from synth.draws import Cause
from synth.traffic import session_of
from synth.types import BoolArray, FloatArray, IntArray, Truth


class Tick(NamedTuple):
    """A tick that is over."""

    scored: Scored
    offers: Offers
    shown: Shown
    placed: Placed
    multiplier: FloatArray  # (accounts,)
    displaced: BoolArray  # (n,) the organic order did not come, for one after an ad
    truth_of: Callable[[IntArray], Truth]  # by rows (m,): of all candidates, (m, k); while the tick is noted


class Recorder(Protocol):
    """Takes note of a simulation as it goes."""

    def tick(self, tick: Tick) -> None:
        """A tick is over."""

    def end_day(self, day: int) -> None:
        """All ticks of a day are over."""


class NoRecord:
    """A recorder that keeps nothing."""

    def tick(self, tick: Tick) -> None:
        """A tick is over."""

    def end_day(self, day: int) -> None:
        """A day is over."""


class LogRecorder:
    """Writes `log/`, with what a platform knows, and `truth/`, with what it does not, into a folder.

    A context: leaving it waits for the files.
    """

    def __init__(self, folder: Path, schema: Schema, content: Content, candidate_share: float, seed: int) -> None:
        self.candidate_share, self.seed = candidate_share, seed
        self.log, self.truth = Writer(folder / "log", schema), Writer(folder / "truth", TRUTH)
        self.log.write_once("stores", {"store": np.arange(len(content.text))} | content._asdict())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.log.close(wait=kind is None)
        self.truth.close(wait=kind is None)

    def tick(self, tick: Tick) -> None:
        """Append a tick to the log, and the probabilities behind it to the truth file."""
        sold = np.nonzero(tick.shown.ad >= 0)
        _requests(self.log, tick.scored)
        _impressions(self.log, tick, sold)
        _conversions(self.log, tick.placed)
        _organic(self.log, tick)
        _candidates(self.log, self.truth, tick, self.candidate_share, self.seed)
        truth = tick.shown.truth
        self.truth.add(
            "impressions",
            {
                "request": tick.scored.requests.id[sold[0]], "slot": sold[1], "ad": tick.shown.ad[sold],
                "examined": tick.shown.outcomes.examined[sold],
                **{f.name: getattr(truth, f.name)[sold] for f in fields(truth)},
            },
        )  # fmt: skip
        visits = tick.scored.visits
        self.truth.add(
            "requests",
            {
                "request": tick.scored.requests.id, "need": visits.need, "organic": 1 - np.prod(1 - visits.chance, axis=1),
                "organic_store": visits.ordered, "displaced": tick.displaced,
            },
        )  # fmt: skip

    def end_day(self, day: int) -> None:
        """Hand the day's rows to the files."""
        self.log.end_day(day)
        self.truth.end_day(day)

    def digest(self) -> str:
        """Of every row of the finished days, log and truth."""
        return hashlib.sha256((self.log.digest() + self.truth.digest()).encode()).hexdigest()


def _names(schema: Schema, kind: Kind, side: Side) -> list[str]:
    return [c.name for c in schema.columns(kind, side)]


def _requests(log: Writer, scored: Scored) -> None:
    requests, batch = scored.requests, scored.batch
    lists = _names(log.schema, Kind.LIST, Side.REQUEST)
    categorical = _names(log.schema, Kind.CATEGORICAL, Side.REQUEST)
    dense = _names(log.schema, Kind.DENSE, Side.REQUEST)
    log.add(
        "requests",
        {
            "request": requests.id, "time_ms": requests.time_ms, "user": requests.user, "session": session_of(requests.id),
            "arm": scored.arm, "randomised": scored.randomised, **dict(zip(categorical, batch.categorical.T, strict=True)),
            **dict(zip(dense, batch.dense.T, strict=True)), **dict(zip(lists, batch.lists, strict=True)),
        },
    )  # fmt: skip


def _impressions(log: Writer, tick: Tick, sold: tuple[IntArray, ...]) -> None:
    row, slot = sold
    scored, shown = tick.scored, tick.shown
    requests, batch, ads = scored.requests, scored.batch, scored.batch.ads
    at = row, shown.column[sold]
    ad = shown.ad[sold]
    categorical = _names(log.schema, Kind.CATEGORICAL, Side.AD)
    dense = _names(log.schema, Kind.DENSE, Side.AD)
    cross = _names(log.schema, Kind.DENSE, Side.CROSS)
    log.add(
        "impressions",
        {
            "request": requests.id[row], "time_ms": requests.time_ms[row], "user": requests.user[row],
            "arm": shown.arm[sold], "slot": slot, "ad": ad,
            **dict(zip(categorical, ads.categorical[ad].T, strict=True)),
            **dict(zip(dense, ads.dense[ad].T, strict=True)),
            **dict(zip(cross, batch.cross[at].T, strict=True)),
            "pctr": scored.pctr[at], "pcvr": scored.pcvr[at], "bid_usd": tick.offers.bid[at], "quality": tick.offers.quality[at],
            "multiplier": tick.multiplier[shown.account[sold]], "price_micros": shown.price_micros[sold],
            "billed_micros": shown.billed_micros[sold], "unbilled_micros": shown.unbilled_micros[sold],
            "clicked": shown.outcomes.clicked[sold], "long_clicked": shown.outcomes.long_clicked[sold],
            "hidden": shown.outcomes.hidden[sold],
        },
    )  # fmt: skip


def _conversions(log: Writer, placed: Placed) -> None:
    same = (
        "request", "time_ms", "user", "arm", "ad", "campaign", "event", "shown_ms", "click_ms", "attributed", "value_micros",
    )  # fmt: skip
    log.add(
        "conversions",
        {name: placed.orders[name] for name in same}
        | {"billed_micros": placed.billed_micros, "unbilled_micros": placed.unbilled_micros},
    )


def _organic(log: Writer, tick: Tick) -> None:
    """Orders that follow no ad."""
    requests, visits = tick.scored.requests, tick.scored.visits
    own = (visits.ordered >= 0) & ~tick.displaced
    log.add(
        "organic",
        {
            "request": requests.id[own], "time_ms": requests.time_ms[own], "user": requests.user[own],
            "store": visits.ordered[own], "value_micros": visits.value_micros[own],
        },
    )  # fmt: skip


def _candidates(log: Writer, truth: Writer, tick: Tick, share: float, seed: int) -> None:
    """The whole auction of a share of the requests, drawn by request, and what each candidate would have brought."""
    scored, shown = tick.scored, tick.shown
    chosen = np.flatnonzero(draws.uniform(seed, Cause.LOG_SAMPLE, scored.requests.id) < share)
    slot = np.full(scored.ad[chosen].shape, -1, np.int16)
    row, place = np.nonzero(shown.ad[chosen] >= 0)
    slot[row, shown.column[chosen][row, place]] = place
    pick, rank = np.nonzero(scored.ad[chosen] >= 0)
    at = chosen[pick], rank
    log.add(
        "candidates",
        {
            "request": scored.requests.id[at[0]], "time_ms": scored.requests.time_ms[at[0]], "rank": rank,
            "ad": scored.ad[at], "pctr": scored.pctr[at], "pcvr": scored.pcvr[at], "bid_usd": tick.offers.bid[at],
            "quality": tick.offers.quality[at], "multiplier": tick.multiplier[scored.account[at]], "slot": slot[pick, rank],
        },
    )  # fmt: skip
    real = tick.truth_of(chosen)
    given_look_or_click = "click", "cart", "checkout", "sign_up"
    truth.add(
        "candidates",
        {"request": scored.requests.id[at[0]], "rank": rank}
        | {name: getattr(real, name)[pick, rank] for name in given_look_or_click},
    )
