"""A log of which a model sees some features only, and what a model is worth that was trained on those.

Importance is judged by it: the better of two rankings keeps more of the AUC when a model is trained again on its first features.
"""

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from models.config import ModelConfig
from models.data import AdTable, BoolArray, Dataset, Float32Array, IdArray, Source
from models.errors import Unusable
from models.importance import SLOT, evaluated, features_of
from models.predictor import fit
from models.schema import Column, Kind, Schema, Side
from models.scores import Interval, auc_interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Subset:
    """A source whose other features are not there; see `restricted`.

    Raises:
        Unusable: If a name is no feature of the source.
    """

    source: Source
    keep: frozenset[str]

    def __post_init__(self) -> None:
        known = [c.name for c in features_of(self.source.schema)]
        for name in sorted(self.keep):
            if name not in known:
                raise Unusable(f"{name} is no feature of the log; there are {', '.join(known)}")

    @cached_property
    def schema(self) -> Schema:
        """Of the features that are kept."""
        return restricted_schema(self.source.schema, self.keep)

    def blocks(self) -> Iterator[Dataset]:
        """The source's blocks with those features."""
        return (restricted(block, self.keep) for block in self.source.blocks())


def restricted_schema(schema: Schema, keep: Collection[str]) -> Schema:
    """A schema without its other features. The category that a kept list holds values of stays, for its vocabulary."""
    needed = {c.values_of for c in schema.columns(Kind.LIST, Side.REQUEST) if c.name in keep}

    def stays(c: Column) -> bool:
        return c.side is Side.NONE or c.name in keep or (c.kind is Kind.CATEGORICAL and c.name in needed)

    return Schema(tables={name: tuple(c for c in columns if stays(c)) for name, columns in schema.tables.items()})


def restricted(data: Dataset, keep: Collection[str]) -> Dataset:
    """A dataset without its other features.

    Their columns are gone from schema and arrays; a category that stays for a kept list's sake is missing everywhere. Without the
    slot all impressions are in the top one, and without an item's content vectors so are those of lists.
    """
    schema, batch = data.schema, data.batch
    left = restricted_schema(schema, keep)

    def categorical(values: IdArray, side: Side) -> IdArray:
        stay = {c.name for c in left.columns(Kind.CATEGORICAL, side)}
        columns = schema.columns(Kind.CATEGORICAL, side)
        known = np.array([c.name in keep for c in columns], np.bool_)
        return np.where(known, values, np.int32(-1))[:, [c.name in stay for c in columns]]

    def numbers(values: Float32Array, kind: Kind, side: Side) -> Float32Array:
        return values[..., _kept(schema.columns(kind, side), keep)]

    lists = zip(batch.lists, schema.columns(Kind.LIST, Side.REQUEST), strict=True)
    own = replace(
        batch,
        categorical=categorical(batch.categorical, Side.REQUEST),
        dense=numbers(batch.dense, Kind.DENSE, Side.REQUEST),
        lists=tuple(values for values, c in lists if c.name in keep),
        ads=AdTable(
            categorical=categorical(batch.ads.categorical, Side.AD),
            dense=numbers(batch.ads.dense, Kind.DENSE, Side.AD),
            vector=numbers(batch.ads.vector, Kind.VECTOR, Side.AD),
        ),
        cross=numbers(batch.cross, Kind.DENSE, Side.CROSS),
        slot=batch.slot if SLOT.name in keep else np.zeros_like(batch.slot),
    )
    return replace(data, schema=left, batch=own, items=_items(data, left, keep))


def restricted_config(config: ModelConfig, schema: Schema) -> ModelConfig:
    """A config without the scalings and the parts for lists that the schema has no column for."""
    numbers = [c.name for side in (Side.REQUEST, Side.AD, Side.CROSS) for c in schema.columns(Kind.DENSE, side)]
    lists = [c.name for c in schema.columns(Kind.LIST, Side.REQUEST)]
    update: dict[str, Any] = {}
    if hasattr(config, "scalings"):
        update["scalings"] = {name: own for name, own in config.scalings.items() if name in numbers}
    for field in ("sequences", "self_supervised"):
        parts = []
        for part in getattr(config, field, ()):
            of = tuple(name for name in part.lists if name in lists)
            parts += [part.model_copy(update={"lists": of})] if of or not part.lists else []
        if hasattr(config, field):
            update[field] = tuple(parts)
    return config.model_copy(update=update)


def kept_auc(
    source: Source, evaluation: Dataset, config: ModelConfig, keep: Collection[str], *, task: str, seed: int, threads: int,
    validation: Dataset | None = None,
) -> Interval:  # fmt: skip
    """AUC of a predictor that is trained and evaluated on some features only, with its 95% interval.

    Args:
        source: The log to learn from.
        evaluation: Later impressions.
        config: Of the predictor.
        keep: Names of the features.
        task: "click" or "conversion".
        seed: Of the training.
        threads: CPU threads.
        validation: Later days, for a config with a `patience`.

    Raises:
        Unusable: If a name is no feature, or there is too little to learn from or to evaluate on.
    """
    few = Subset(source=source, keep=frozenset(keep))
    with warnings.catch_warnings():
        # a side without a feature has a layer of width 0
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        predictor = fit(
            few, restricted_config(config, few.schema), seed=seed, threads=threads,
            validation=None if validation is None else restricted(validation, keep),
        )  # fmt: skip
    data = evaluated(restricted(evaluation, keep), task)
    return auc_interval(data.logits(predictor).astype(np.float64), data.label)


def _items(data: Dataset, left: Schema, keep: Collection[str]) -> dict[str, Float32Array]:
    """Content vectors by category of those that are kept, where the category stays."""
    categories = {c.name for side in (Side.REQUEST, Side.AD) for c in left.columns(Kind.CATEGORICAL, side)}
    out = {}
    for key, *others in data.schema.tables.values():
        kept = _kept(tuple(c for c in others if c.kind is Kind.VECTOR and c.side is Side.AD), keep)
        if kept.any() and key.name in data.items and key.name in categories:
            out[key.name] = data.items[key.name][:, kept]
    return out


def _kept(columns: tuple[Column, ...], keep: Collection[str]) -> BoolArray:
    """(F,) True for the entries of kept columns, a vector being as wide as it is."""
    return np.array([c.name in keep for c in columns for _ in range(c.width or 1)], np.bool_)
