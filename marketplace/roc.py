"""ROC: how a run's models rank the log's last day, as the curves that the AUC and the PR-AUC sum up."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.roc import ranking
from synth.types import BoolArray

ROC = "roc.json"  # in the folder of models


def roc_rows(
    name: str, kind: str, correct: str, predicted: Mapping[str, np.ndarray], targets: Mapping[str, tuple[BoolArray, BoolArray]]
) -> list[dict[str, Any]]:  # fmt: skip
    """Curves of a model, one per task of which there are positives and negatives.

    Args:
        name: Of the model.
        kind: Of the model.
        correct: What is corrected.
        predicted: By task, (n, s) probabilities.
        targets: By task, (n, s) labels, and which impressions count.
    """
    rows = []
    for task, (label, chosen) in targets.items():
        own = label[chosen]
        if own.any() and not own.all():
            found = ranking(predicted[task][chosen].astype(np.float64), own)
            about = {"model": name, "kind": kind, "correct": correct, "task": task, "positive_share": float(own.mean())}
            rows.append(about | {of: values.tolist() for of, values in found._asdict().items()})
    return rows
