"""Before: what users did in the log, the past that a test's reading is adjusted by."""

from pathlib import Path

import duckdb
import numpy as np

from marketplace.counters import NAMES
from marketplace.errors import DAMAGED, Refused
from synth.types import CHECKOUT, BoolArray, FloatArray
from synth.world import Population

_FILE = Path("state") / "before.npy"  # in a run folder
_TESTED = [NAMES.index(name) for name in ("exposures", "tested_orders", "tested_gmv_usd")]


def save_before(table: FloatArray, folder: Path) -> None:
    """Write what users did (U, len(NAMES)) into the run's folder."""
    np.save(folder / _FILE, table)


def load_before(folder: Path, tested: BoolArray, population: Population) -> FloatArray:
    """(U, len(NAMES)) what users did in a run's log.

    A log does not depend on the experiment, and can be taken over by another one: what concerns the campaigns under test is
    counted anew.

    Args:
        folder: Of the run.
        tested: (c,) campaigns whose ads some arm withholds.
        population: Of the run.

    Raises:
        Refused: If a file is missing or damaged.
    """
    path = folder / _FILE
    try:
        before: FloatArray = np.load(path, allow_pickle=False)
    except DAMAGED as error:
        raise Refused(f"{path} is missing or damaged: {error}") from None
    if before.ndim != 2 or before.shape[1] != len(NAMES):
        raise Refused(f"{path} is of another version: it has columns {before.shape[1:]}, not {len(NAMES)}")
    before[:, _TESTED] = _of_tested(folder / "log", tested, population) if tested.any() else np.nan
    return before


def _of_tested(log: Path, tested: BoolArray, population: Population) -> FloatArray:
    """(U, 3) exposures to ads of the campaigns under test, none withheld in the log; orders at their stores; USD of them."""
    ads = population.ads
    own_ad = tested[ads.campaign]
    own_store = np.zeros(len(population.stores.region), np.bool_)
    own_store[ads.store[own_ad]] = True
    out = np.zeros((len(population.users.region), 3))
    seen = _columns("SELECT user, ad FROM read_parquet(?)", log / "impressions")
    ordered = _columns(
        f"SELECT user, ad, value_micros FROM read_parquet(?) WHERE event = {CHECKOUT}", log / "conversions"
    )
    unasked = _columns("SELECT user, store, value_micros FROM read_parquet(?)", log / "organic")
    np.add.at(out[:, 0], seen["user"], own_ad[seen["ad"]])
    for orders, store in ((ordered, ads.store[ordered["ad"]]), (unasked, unasked["store"])):
        np.add.at(out[:, 1], orders["user"], own_store[store])
        np.add.at(out[:, 2], orders["user"], own_store[store] * orders["value_micros"])
    out[:, 2] /= 1e6
    return out


def _columns(query: str, table: Path) -> dict[str, np.ndarray]:
    try:
        with duckdb.connect() as db:
            return db.execute(query, [str(table / "*.parquet")]).fetchnumpy()
    except duckdb.Error as error:
        raise Refused(f"{table} is damaged: {str(error).splitlines()[0]}") from error
