"""Small logs in the standard columns."""

import duckdb
import numpy as np
import pandas as pd

from marketplace.realism import Opened
from synth.types import DAY_MS, HOUR_MS


def opened(impressions, purchases=None) -> Opened:
    con = duckdb.connect()
    views = {}
    for table, rows in {"impressions": impressions, "purchases": purchases}.items():
        if rows is not None:
            frame = pd.DataFrame(rows)
            con.register(f"given_{table}", frame)
            con.execute(f"CREATE TABLE {table} AS SELECT * FROM given_{table}")
            views[table] = table
    return Opened(con, views)


def market(rng, users=400, *, first_user=0, rate=0.1, morning=0.0, days=14):
    """Users of different activity, 20 items, clicks by slot; `morning` moves that share of the impressions to 9 h."""
    n = rng.poisson(rng.gamma(2, 10, users))
    user = np.repeat(np.arange(users) + first_user, n)
    hour = np.where(rng.random(len(user)) < morning, 9, rng.integers(0, 24, len(user)))
    slot = rng.integers(0, 2, len(user))
    time_ms = rng.integers(0, days, len(user)) * DAY_MS + hour * HOUR_MS + rng.integers(0, HOUR_MS, len(user))
    item = np.minimum(rng.geometric(0.2, len(user)), 20)
    return {
        "time_ms": time_ms, "user": user, "item": item, "slot": slot,
        "click": rng.random(len(user)) < np.where(slot == 0, rate, rate / 2),
    }  # fmt: skip
