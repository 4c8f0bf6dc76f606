"""Predictors: one interface, a way to train each kind, and the calibrated model that is deployed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.calibration import Platt, fit_platt
from models.config import GbdtConfig, ModelConfig, NetworkConfig, TwoTowerConfig
from models.data import Batch, Dataset, Float32Array, Predictions, Source
from models.errors import Unusable
from models.gbdt import fit_gbdt, load_gbdt
from models.schema import Schema, load_schema
from models.scoring import Network, load_network
from models.train import fit_network

_CARD = "model.json"


class Predictor(Protocol):
    """Anything that scores batches."""

    @property
    def device(self) -> str:
        """What it runs on, "cpu" or "cuda"."""
        ...

    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click given examination and of conversion given click."""
        ...


class Saved(Predictor, Protocol):
    """A predictor that can be written to a folder."""

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        ...

    def save(self, folder: Path) -> None:
        """Write it to an existing folder."""
        ...


_FIT: dict[type, Callable[..., Saved]] = {
    GbdtConfig: fit_gbdt, NetworkConfig: fit_network, TwoTowerConfig: fit_network
}  # fmt: skip
_LOAD: dict[str, Callable[[Path, Schema], Saved]] = {
    "lightgbm": load_gbdt, "network": load_network, "two_tower": load_network
}  # fmt: skip


def fit(
    data: Source, config: ModelConfig, *, seed: int, threads: int,
    progress: Callable[[float], None] = lambda share: None, validation: Dataset | None = None,
    start: Predictor | None = None, checkpoint: Path | None = None,
) -> Saved:  # fmt: skip
    """Train the kind of predictor that `config` names.

    Args:
        data: The log to learn from.
        config: Of the predictor.
        seed: Of all that is drawn.
        threads: CPU threads.
        progress: Called with the share of the work done.
        validation: Later days, for a config with a `patience`.
        start: A network of the same config to go on from.
        checkpoint: Folder that a network's training keeps its state in, and goes on from.

    Raises:
        Unusable: If the log holds too little to learn from, or there is nothing to go on from.
    """
    more: dict[str, Any] = {"validation": validation, "start": start, "checkpoint": checkpoint}
    if isinstance(config, GbdtConfig):
        if start is not None:
            raise Unusable("lightgbm cannot go on from an earlier model: train it on all days")
        more = {}
    elif start is not None and not isinstance(start, Network):
        raise Unusable("a network cannot go on from lightgbm")
    return _FIT[type(config)](data, config, seed=seed, threads=threads, progress=progress, **more)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A predictor with the calibration of its two tasks: what is deployed."""

    predictor: Predictor
    kind: str
    click: Platt
    conversion: Platt

    def predict(self, batch: Batch) -> Predictions:
        """Calibrated probabilities, (n, k) each."""
        click, conversion = self.predictor.logits(batch)
        return Predictions(click=self.click(click), conversion=self.conversion(conversion))


def save_model(model: Model, predictor: Saved, schema: Schema, folder: Path) -> None:
    """Write a trained model to a new folder."""
    folder.mkdir(parents=True)
    predictor.save(folder)
    schema.save(folder)
    card = {
        "kind": model.kind,
        "click": model.click._asdict(),
        "conversion": model.conversion._asdict(),
        "sha256": {path.name: _digest(path) for path in sorted(folder.iterdir())},
    }
    (folder / _CARD).write_text(json.dumps(card, indent=1) + "\n")


def calibrated(predictor: Predictor, kind: str, data: Dataset) -> Model:
    """Calibrate on `data`, which the predictor has not been trained on."""
    click, conversion = predictor.logits(data.batch)
    return Model(
        predictor=predictor,
        kind=kind,
        click=fit_platt(click[data.shown], data.click[data.shown]),
        conversion=fit_platt(conversion[data.click], data.conversion[data.click]),
    )


def load_model(folder: Path) -> Model:
    """Read a model that `Model.save` wrote.

    Raises:
        Unusable: If the folder holds no readable model.
    """
    try:
        card = json.loads((folder / _CARD).read_text())
        for name, digest in card["sha256"].items():
            if _digest(folder / name) != digest:
                raise Unusable(f"{folder / name} is damaged: it is not the file that was saved")
        predictor = _LOAD[card["kind"]](folder, load_schema(folder))
        return Model(
            predictor=predictor, kind=card["kind"], click=Platt(**card["click"]), conversion=Platt(**card["conversion"])
        )
    except FileNotFoundError as error:
        raise Unusable(f"{folder} holds no whole model: {Path(error.filename).name} is missing") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise Unusable(f"{folder / _CARD} is damaged: {error}") from None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
