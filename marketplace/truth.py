"""The truth behind logged impressions: what each would have brought, had a model known everything."""

from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from marketplace.chances import attention_of, conversion_chance
from marketplace.errors import Refused
from marketplace.market import load_world
from marketplace.scenario import Scenario
from models.data import Dataset
from models.schema import Kind, Side
from synth.types import FloatArray


class Rates(NamedTuple):
    """Probabilities (n, s), 0 where no ad was shown."""

    click: FloatArray  # in the slot where it was
    click_on_top: FloatArray  # in the top slot, which is what an auction bids on
    conversion: FloatArray  # attributed to the ad in the end, given a click


def true_rates(scenario: Scenario, run: Path, data: Dataset) -> Rates:
    """Of the impressions of a part of a run's log.

    Args:
        scenario: The run's.
        run: Its folder.
        data: Whole requests of its log, in the order of time.

    Raises:
        Refused: If the truth is missing or is of other impressions.
    """
    first, last = int(data.time_ms[0]), int(data.time_ms[-1])
    try:
        with duckdb.connect() as db:
            found = db.execute(
                """SELECT t.examination, t.click, t.cart, t.checkout, t.sign_up, i.campaign
                FROM read_parquet(?) t JOIN read_parquet(?) i ON i.request = t.request AND i.slot = t.slot
                WHERE i.time_ms >= ? AND i.time_ms <= ? ORDER BY i.time_ms, i.request, i.slot""",
                [str(run / "truth/impressions/*.parquet"), str(run / "log/impressions/*.parquet"), first, last],
            ).fetchnumpy()
    except duckdb.Error as error:
        raise Refused(f"the truth of {run} is damaged: {str(error).splitlines()[0]}") from error
    if len(found["click"]) != data.shown.sum():
        raise Refused(f"the truth of {run} has {len(found['click'])} impressions, its log {data.shown.sum()}")
    world = load_world(scenario, run / "truth")
    conversion = conversion_chance(
        scenario, world, found["campaign"], found["cart"], found["checkout"], found["sign_up"]
    )
    surfaces = [c.name for c in data.schema.columns(Kind.CATEGORICAL, Side.REQUEST)].index("surface")
    attention = attention_of(scenario)[data.batch.categorical[:, surfaces]]
    on_top = np.broadcast_to(attention[:, None], data.shown.shape)[data.shown]

    def spread(values: FloatArray) -> FloatArray:
        out = np.zeros(data.shown.shape)
        out[data.shown] = values
        return out

    return Rates(spread(found["examination"] * found["click"]), spread(on_top * found["click"]), spread(conversion))
