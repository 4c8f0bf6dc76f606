"""What an auction returns, and how dollars become micros."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]  # int64 unless said otherwise
IdArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

MICROS = 1_000_000
FORGIVEN = 4 * float(np.finfo(np.float64).eps)  # what a value just below a whole micro may lack, as a share of it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """Who is shown where, and what a billable event there costs; slot 0 on top, empty slots hold -1 and 0."""

    winner: IntArray  # (n, s) column of the winning candidate, or -1
    price_micros: IntArray  # (n, s) micros of USD per billable event


def sold(winner: IntArray, price_usd: FloatArray) -> Allocation:
    """The allocation of the slots to `winner` (n, s) at `price_usd` (n, s), which counts where somebody won."""
    return Allocation(winner=winner, price_micros=to_micros(np.where(winner >= 0, price_usd, 0.0)))


def to_micros(usd: FloatArray | float) -> IntArray:
    """Micros of USD, rounded down.

    A value a few units of the last place below a whole micro counts as that micro: 0.29 USD is 290,000, however the decimal
    is stored.
    """
    micros = np.asarray(usd, np.float64) * MICROS
    above = np.ceil(micros)
    return np.where(above - micros <= FORGIVEN * micros, above, np.floor(micros)).astype(np.int64)
