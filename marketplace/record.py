"""Record: how a tick becomes rows of the log and of the truth file."""

import numpy as np

from marketplace.log import Writer
from marketplace.scenario import Scenario
from marketplace.serve import Scored
from marketplace.tick import Placed, Shown
from models.schema import Kind, Schema, Side
from synth import draws
from synth.draws import Cause
from synth.types import FloatArray, IntArray


def record_tick(
    log: Writer, truth: Writer, candidate_share: float, seed: int, scored: Scored, shown: Shown, placed: Placed,
    multiplier: FloatArray,
) -> None:  # fmt: skip
    """Append a tick to the log, and the probabilities behind it to the truth file."""
    sold = np.nonzero(shown.ad >= 0)
    _requests(log, scored)
    _impressions(log, scored, shown, multiplier, sold)
    _conversions(log, placed)
    _candidates(log, candidate_share, seed, scored, shown, multiplier)
    truth.add(
        "impressions",
        {
            "request": scored.requests.id[sold[0]], "slot": sold[1], "ad": shown.ad[sold],
            "examination": shown.truth.examination[sold], "click": shown.truth.click[sold],
            "conversion": shown.truth.conversion[sold],
        },
    )  # fmt: skip


def _names(schema: Schema, kind: Kind, side: Side) -> list[str]:
    return [c.name for c in schema.columns(kind, side)]


def _requests(log: Writer, scored: Scored) -> None:
    requests, batch = scored.requests, scored.batch
    (history,) = _names(log.schema, Kind.LIST, Side.REQUEST)
    categorical = _names(log.schema, Kind.CATEGORICAL, Side.REQUEST)
    dense = _names(log.schema, Kind.DENSE, Side.REQUEST)
    log.add(
        "requests",
        {
            "request": requests.id, "time_ms": requests.time_ms, "user": requests.user, "arm": scored.arm,
            **dict(zip(categorical, batch.categorical.T, strict=True)), **dict(zip(dense, batch.dense.T, strict=True)),
            history: batch.history,
        },
    )  # fmt: skip


def _impressions(
    log: Writer, scored: Scored, shown: Shown, multiplier: FloatArray, sold: tuple[IntArray, IntArray]
) -> None:
    row, slot = sold
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
            "arm": scored.arm[row], "slot": slot, "ad": ad,
            **dict(zip(categorical, ads.categorical[ad].T, strict=True)),
            **dict(zip(dense, ads.dense[ad].T, strict=True)),
            **dict(zip(cross, batch.cross[at].T, strict=True)),
            "pctr": scored.pctr[at], "pcvr": scored.pcvr[at], "bid_usd": shown.bid[at], "quality": shown.quality[at],
            "multiplier": multiplier[shown.campaign[sold]], "price_micros": shown.price_micros[sold],
            "billed_micros": shown.billed_micros[sold], "unbilled_micros": shown.unbilled_micros[sold],
            "clicked": shown.outcomes.clicked[sold], "long_clicked": shown.outcomes.long_clicked[sold],
            "hidden": shown.outcomes.hidden[sold],
        },
    )  # fmt: skip


def _conversions(log: Writer, placed: Placed) -> None:
    same = "request", "time_ms", "user", "arm", "ad", "campaign", "click_ms", "attributed", "value_micros"
    log.add(
        "conversions",
        {name: placed.orders[name] for name in same}
        | {"billed_micros": placed.billed_micros, "unbilled_micros": placed.unbilled_micros},
    )


def _candidates(
    log: Writer, share: float, seed: int, scored: Scored, shown: Shown, multiplier: FloatArray
) -> None:
    """The whole auction of a share of the requests, drawn by request."""
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
            "ad": scored.ad[at], "pctr": scored.pctr[at], "pcvr": scored.pcvr[at], "bid_usd": shown.bid[at],
            "quality": shown.quality[at], "multiplier": multiplier[scored.campaign[at]], "slot": slot[pick, rank],
        },
    )  # fmt: skip
