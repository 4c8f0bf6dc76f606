"""What each feature of a log is worth to a trained predictor, measured without training again.

A feature's values are shuffled, or made missing, and the predictor is asked again: it loses what it had from them. Both see the
predictor through its logits alone. Where features stand in for one another, each loses little; `subset` trains again instead.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from zlib import crc32

import numpy as np
from sklearn.metrics import roc_auc_score

from models.data import AdTable, Batch, BoolArray, Dataset, Float32Array, IntArray
from models.errors import Unusable
from models.jagged import Jagged
from models.predictor import Predictor
from models.schema import Column, Kind, Schema, Side

TASKS = ("click", "conversion")
SLOT = Column(name="slot", kind=Kind.CATEGORICAL, dtype="int32", side=Side.CROSS)
_SEEN = (
    (Kind.CATEGORICAL, Side.REQUEST), (Kind.DENSE, Side.REQUEST), (Kind.LIST, Side.REQUEST), (Kind.CATEGORICAL, Side.AD),
    (Kind.DENSE, Side.AD), (Kind.VECTOR, Side.AD), (Kind.DENSE, Side.CROSS),
)  # fmt: skip
Progress = Callable[[float], None]


class Loss(NamedTuple):
    """What a predictor loses without a feature; 0 if it does not use it, below 0 if it does better."""

    auc: float  # by which the AUC falls
    log_loss: float  # nats per impression, by which the log loss of the uncalibrated logits rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One feature by every method."""

    feature: str
    side: Side
    kind: Kind
    importance: dict[str, float]  # by method: loss of AUC, or mean absolute attribution to the logit
    log_loss: dict[str, float]  # rise of the log loss, of the methods that measure it
    rank: dict[str, int]  # by method, from 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluated:
    """The m impressions that a task is evaluated on, and no others."""

    schema: Schema
    task: str
    batch: Batch  # its table of ads has one row per impression, in the order of `label`
    label: BoolArray  # (m,)

    @property
    def request(self) -> IntArray:
        """(m,) row of each impression's request."""
        return np.nonzero(self.batch.row >= 0)[0]

    @property
    def slot(self) -> IntArray:
        """(m,) of each impression."""
        return self.batch.slot[np.nonzero(self.batch.row >= 0)[1]]

    def logits(self, predictor: Predictor, batch: Batch | None = None) -> Float32Array:
        """(m,) of the task, with the features of another batch if one is given."""
        batch = self.batch if batch is None else batch
        return predictor.logits(batch)[TASKS.index(self.task)][self.batch.row >= 0]


def features_of(schema: Schema) -> tuple[Column, ...]:
    """All features that models may see, in the order of the schema, and the slot.

    Raises:
        Unusable: If two have one name.
    """
    found = (*(c for table in schema.tables.values() for c in table if (c.kind, c.side) in _SEEN), SLOT)
    names = [c.name for c in found]
    for name in names:
        if names.count(name) > 1:
            raise Unusable(f"two features are called {name}: their importance cannot be told apart")
    return found


def evaluated(data: Dataset, task: str) -> Evaluated:
    """What a task is evaluated on: clicks on the shown ads, conversions on the clicked ones.

    Raises:
        Unusable: If the task is another, or its labels are of one class.
    """
    if task not in TASKS:
        raise Unusable(f"importance is measured for the tasks {', '.join(TASKS)}, not for {task}")
    chosen = data.taught_by(task)
    rows = np.flatnonzero(chosen.any(axis=1))
    chosen, label = chosen[rows], data.label(task)[rows][chosen[rows]]
    if label.all() or not label.any():
        raise Unusable(
            f"importance for {task}s needs labels of both classes: {label.sum()} of {label.size} are positive"
        )
    batch = data.batch.take(rows)
    own, row = batch.row[chosen], np.full(chosen.shape, -1, np.int32)
    row[chosen] = np.arange(len(own))
    ads = AdTable(categorical=batch.ads.categorical[own], dense=batch.ads.dense[own], vector=batch.ads.vector[own])
    return Evaluated(schema=data.schema, task=task, batch=replace(batch, ads=ads, row=row), label=label)


def permutation(
    predictor: Predictor, data: Evaluated, *, seed: int, repeats: int = 3, progress: Progress = lambda share: None
) -> dict[str, Loss]:
    """Mean loss over `repeats` shuffles of each feature (Breiman 2001, Random forests, Machine Learning 45).

    Requests swap their features and lists, impressions those of their ads, of the pair, and their slots. A shuffle is a
    function of seed, repeat and the feature's name alone.

    Returns:
        By feature, in the order of the schema.
    """

    def shuffle(feature: Column) -> Iterator[Float32Array]:
        def order(n: int, repeat: int) -> IntArray:
            return np.random.default_rng([seed, repeat, crc32(feature.name.encode())]).permutation(n)

        if feature == SLOT:
            at, m = _by_slot(predictor, data), np.arange(len(data.label))
            yield from (at[data.slot[order(len(m), i)], m] for i in range(repeats))
            return
        values = values_of(data, feature)
        for i in range(repeats):
            swapped = order(len(values), i)
            other = values.take(swapped) if isinstance(values, Jagged) else values[swapped]
            yield data.logits(predictor, with_values(data, feature, other))

    return _losses(predictor, data, shuffle, progress)


def ablation(predictor: Predictor, data: Evaluated, *, progress: Progress = lambda share: None) -> dict[str, Loss]:
    """Loss when a feature is missing: a category -1, a list empty, a number or vector its mean, the slot the top one.

    Returns:
        By feature, in the order of the schema.
    """

    def without(feature: Column) -> Iterator[Float32Array]:
        if feature == SLOT:
            yield data.logits(predictor, replace(data.batch, slot=np.zeros_like(data.batch.slot)))
            return
        yield data.logits(predictor, with_values(data, feature, missing(values_of(data, feature), feature)))

    return _losses(predictor, data, without, progress)


def values_of(data: Evaluated, feature: Column) -> Float32Array | IntArray | Jagged:
    """A feature's values (n, w) of requests, or (m, w) of impressions; n lists of a list."""
    batch, place = data.batch, _place(data.schema, feature)
    if feature.kind is Kind.LIST:
        return batch.lists[place.start]
    if feature.side is Side.CROSS:
        return batch.cross[batch.row >= 0][:, place]
    of = batch.ads if feature.side is Side.AD else batch
    values: Float32Array | IntArray = getattr(of, feature.kind)[:, place]
    return values


def with_values(data: Evaluated, feature: Column, values: Float32Array | IntArray | Jagged) -> Batch:
    """The batch with other values of a feature, as `values_of` gives them."""
    batch, place = data.batch, _place(data.schema, feature)
    if isinstance(values, Jagged):
        lists = list(batch.lists)
        lists[place.start] = values
        return replace(batch, lists=tuple(lists))
    if feature.side is Side.CROSS:
        cross, (request, column) = batch.cross.copy(), np.nonzero(batch.row >= 0)
        cross[request, column, place] = values
        return replace(batch, cross=cross)
    of = batch.ads if feature.side is Side.AD else batch
    array = getattr(of, feature.kind).copy()
    array[:, place] = values
    changed = replace(of, **{str(feature.kind): array})
    return replace(batch, ads=changed) if isinstance(changed, AdTable) else changed


def missing(values: Float32Array | IntArray | Jagged, feature: Column) -> Float32Array | IntArray | Jagged:
    """As many values that say nothing."""
    if isinstance(values, Jagged):
        return Jagged(values=values.values[:0], offsets=np.zeros_like(values.offsets))
    if feature.kind is Kind.CATEGORICAL:
        return np.full_like(values, -1)
    return np.broadcast_to(values.mean(axis=0, dtype=np.float64), values.shape).astype(np.float32)


def ranked(
    features: Sequence[Column],
    importance: Mapping[str, Mapping[str, float]],
    log_loss: Mapping[str, Mapping[str, float]],
) -> list[Ranked]:
    """Features with their ranks: by importance, equal ones by the log loss, and then as they come.

    Args:
        features: In an order of which nothing else depends.
        importance: By method and feature.
        log_loss: The same, of the methods that measure it.
    """
    rank: dict[str, dict[str, int]] = {}
    for method, of in importance.items():
        second = log_loss.get(method, {})
        order = sorted((c.name for c in features), key=lambda name: (-of[name], -second.get(name, 0.0)))
        rank[method] = {name: i for i, name in enumerate(order, start=1)}
    return [
        Ranked(
            feature=c.name, side=c.side, kind=c.kind,
            importance={method: of[c.name] for method, of in importance.items()},
            log_loss={method: of[c.name] for method, of in log_loss.items()},
            rank={method: of[c.name] for method, of in rank.items()},
        )
        for c in features
    ]  # fmt: skip


def _losses(
    predictor: Predictor, data: Evaluated, changed: Callable[[Column], Iterator[Float32Array]], progress: Progress
) -> dict[str, Loss]:
    """Mean loss by feature over the logits (m,) that `changed` gives for it."""
    whole = _quality(data.logits(predictor), data.label)
    out: dict[str, Loss] = {}
    features = features_of(data.schema)
    for i, feature in enumerate(features, start=1):
        found = np.array([_quality(logit, data.label) for logit in changed(feature)])
        auc, log_loss = (found - whole).mean(axis=0)
        out[feature.name] = Loss(auc=0.0 - float(auc), log_loss=float(log_loss))
        progress(i / len(features))
    return out


def _quality(logit: Float32Array, label: BoolArray) -> tuple[float, float]:
    """AUC, and log loss in nats per row."""
    z = logit.astype(np.float64)
    return float(roc_auc_score(label, z)), float((np.logaddexp(0, z) - label * z).mean())


def _by_slot(predictor: Predictor, data: Evaluated) -> Float32Array:
    """(s, m) logits of the impressions as if all were in slot 0, 1, ..."""
    slots = range(int(data.slot.max()) + 1)
    return np.stack([data.logits(predictor, replace(data.batch, slot=np.full_like(data.batch.slot, s))) for s in slots])


def _place(schema: Schema, feature: Column) -> slice:
    """Where a feature stands among those of its kind and side, a vector being as wide as it is."""
    start = 0
    for column in schema.columns(feature.kind, feature.side):
        if column.name == feature.name:
            break
        start += column.width or 1
    return slice(start, start + (feature.width or 1))
