"""How well forecasts rank: the ROC curve and precision against recall, thinned to the cuts that draw them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from models.errors import Unusable

FloatArray = NDArray[np.float64]


class Ranking(NamedTuple):
    """Cuts of a ranking, (c,) each, the strictest first: what is picked has a forecast of at least `cut`."""

    cut: FloatArray  # probability, falling
    false_positive_rate: FloatArray  # share of the negatives that is picked, 1 at the last cut
    recall: FloatArray  # share of the positives that is picked, 1 at the last cut
    precision: FloatArray  # share of what is picked that is positive, the rate of positives at the last cut


def ranking(p: FloatArray, label: NDArray[np.bool_], *, cuts: int = 50) -> Ranking:
    """At most `cuts` cuts of forecasts (m,), chosen so that recall + false positive rate rises by much the same between them.

    Both rise with every cut, so that between two cuts that are dx and dy apart the ROC curve stays in a box of dx by dy. Straight
    lines, from 0, then miss its area, the AUC, by dx dy / 2 summed over the boxes at most: 0.01 for 50 cuts of forecasts without
    ties, and far less as a rule.

    Raises:
        Unusable: If all rows are of one class.
    """
    positives = int(label.sum())
    negatives = label.size - positives
    if not positives or not negatives:
        raise Unusable(f"a ranking needs rows of both classes: {positives} of {label.size} are positive")
    wrong, right, cut = (
        values[1:] for values in roc_curve(label, p, drop_intermediate=False)
    )  # the first picks nothing
    least = np.arange(1, cuts) * 2 / cuts
    chosen = np.unique(np.append(np.searchsorted(wrong + right, least), len(cut) - 1))
    wrong, right = wrong[chosen], right[chosen]
    return Ranking(cut[chosen], wrong, right, right * positives / (right * positives + wrong * negatives))
