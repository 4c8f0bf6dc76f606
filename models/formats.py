"""Formats that a trained model can be served in, by name."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal, NamedTuple

from torch._dynamo.exc import TorchDynamoException
from torch._inductor.utils import fresh_cache

from models.config import Serving, TwoTowerConfig
from models.data import Batch, Float32Array
from models.errors import Unusable
from models.export import Exported, export_network
from models.predictor import Model, Predictor
from models.profiling import sized, torch_threads
from models.scoring import Network

PLAIN: Literal["float32"] = "float32"  # that the others are compared with


class Ready(NamedTuple):
    """A model in a format, which has scored."""

    model: Model
    seconds: float  # from the model as it was loaded to its first scores in calls of every size


def _as_served(network: Network, sample: Batch, *, serving: Serving, compile: bool = False) -> Predictor:
    unknown = serving == "int8" and not network.ranges
    return network.served(serving, compile=compile, sample=sample if unknown else None)


def _as_exported(network: Network, sample: Batch) -> Predictor:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"
        export_network(network.served(PLAIN), path)
        return Exported(path, network.shape.places)


_OF_NETWORK: dict[str, Callable[[Network, Batch], Predictor]] = {
    "float32": partial(_as_served, serving="float32"),
    "bfloat16": partial(_as_served, serving="bfloat16"),
    "int8": partial(_as_served, serving="int8"),
    "float32-compiled": partial(_as_served, serving="float32", compile=True),
    "bfloat16-compiled": partial(_as_served, serving="bfloat16", compile=True),
    "int8-compiled": partial(_as_served, serving="int8", compile=True),
    "exported": _as_exported,
}


def formats_of(model: Model) -> tuple[str, ...]:
    """Names of the formats that a model of this kind has, whether or not this machine can run them."""
    return tuple(_ways(model.predictor))


def ready(model: Model, form: str, sample: Batch, batch: Batch, requests: Sequence[int], *, threads: int) -> Ready:
    """Make a model ready in a format, up to its first scores in calls of every size, and time that.

    Args:
        model: As it was trained.
        form: One of `formats_of` the model.
        sample: Requests that the ranges of int8 are observed on, where the network was trained without.
        batch: At least as many requests as the largest size; nothing is taken from an earlier day's compilation.
        requests: Sizes of calls.
        threads: CPU threads.

    Raises:
        Unusable: If the machine cannot run that, with the reason in one line.
    """
    with torch_threads(threads), fresh_cache():
        started = perf_counter()
        made = replace(model, predictor=_ways(model.predictor)[form](sample))
        try:
            for n in requests:
                sized(made, n, batch.row.shape[1], threads).predict(batch.rows(0, n))
        except TorchDynamoException as error:
            raise Unusable(f"it could not be compiled: {str(error).splitlines()[0]}") from None
        return Ready(made, perf_counter() - started)


def clicks(model: Model, batch: Batch, requests: int, *, threads: int) -> Float32Array:
    """(n, k) probabilities of a click, by a model that is served in calls of so many requests."""
    with torch_threads(threads):
        return sized(model, requests, batch.row.shape[1], threads).predict(batch).click


def in_float32(model: Model, sample: Batch) -> Model | None:
    """The model that its other formats are compared with; None for a kind that has none."""
    way = _ways(model.predictor).get(PLAIN)
    return None if way is None else replace(model, predictor=way(sample))


def _ways(predictor: Predictor) -> dict[str, Callable[[Batch], Predictor]]:
    """How a predictor is brought into each of its formats, with a sample."""
    if not isinstance(predictor, Network):
        return {"trees": lambda sample: predictor}
    if isinstance(predictor.config, TwoTowerConfig):
        return {PLAIN: lambda sample: predictor}
    return {form: partial(way, predictor) for form, way in _OF_NETWORK.items()}
