"""Down-sampling of negatives, and the shift that undoes it (He et al. 2014, Practical lessons from predicting clicks on ads)."""

from math import log

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]

_PER_COUNT = 4  # numbers that one step of Philox's counter gives


def recalibrated(logit: Float32Array, keep: float) -> Float32Array:
    """Logits of all rows from those of a model that was trained on every positive and a share `keep` of the negatives.

    q = p / (p + (1 - p) / keep), which in logits is a shift by log(keep): the order of rows stays.

    Raises:
        ValueError: If keep is not within (0, 1].
    """
    return logit + log(_share(keep))


def keep_negatives(label: BoolArray, shown: BoolArray, keep: float, *, seed: int, start: int = 0) -> BoolArray:
    """Which rows to train on: every shown positive, and each shown negative with probability `keep`.

    The draw of a row is a function of seed, its place in the log and its slot alone (Philox, Salmon et al. 2011), so that a log
    taken in parts keeps the same rows, and a smaller share keeps a subset of what a larger one does.

    Args:
        label: (n, s) of each request and slot.
        shown: (n, s) whether there is an ad.
        keep: Share of negatives, within (0, 1].
        seed: Key of the draws, >= 0.
        start: Place in the log of the first of these n requests.

    Returns:
        (n, s).

    Raises:
        ValueError: If keep is not within (0, 1].
    """
    skipped, within = divmod(start * label.shape[1], _PER_COUNT)
    draws = np.random.Generator(np.random.Philox(key=seed).advance(skipped)).random(within + label.size)
    return shown & (label | (draws[within:].reshape(label.shape) < _share(keep)))


def _share(keep: float) -> float:
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}: it must be within (0, 1]")
    return keep
