"""What a row teaches, where its label cannot be taken as it is: a weight as a positive and one as a negative.

The loss of a row is -(positive log p + negative log(1 - p)). A plain label is (1, 0) or (0, 1). A correction gives other weights,
which may depend on what the model predicts at present; they are held constant in a step, as in an EM algorithm or in importance
weighting by the model itself.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]


class Weights(NamedTuple):
    """Of rows (m,), at least 0 unless said otherwise."""

    positive: FloatArray
    negative: FloatArray

    @property
    def total(self) -> FloatArray:
        """(m,) what the row counts for."""
        return self.positive + self.negative


def plain(label: NDArray[np.bool_]) -> Weights:
    """Labels as they are."""
    positive = label.astype(np.float64)
    return Weights(positive, 1.0 - positive)


def effective_rows(weight: FloatArray) -> float:
    """How many rows of equal weight would tell as much: (sum w)^2 / sum w^2 (Kish 1965); 0 of none.

    Args:
        weight: (m,) not all 0.
    """
    square = float(np.square(weight, dtype=np.float64).sum())
    return float(weight.sum(dtype=np.float64)) ** 2 / square if square else 0.0
