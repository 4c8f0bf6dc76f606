"""A trained network as a predictor: the same logits for a row whatever its batch, and the ads' side computed once per table."""

import json
from copy import copy
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.config import NetworkConfig, Serving, TwoTowerConfig
from models.data import AdTable, Batch, Float32Array, Source
from models.errors import Unusable
from models.inputs import Shape, features
from models.int8 import Ranges, observed
from models.network import Net
from models.sampling import recalibrated
from models.schema import Schema
from models.sequence.lists import Lists
from models.serving import for_scoring, pair_of, per_candidate, serving_format
from models.two_tower import TwoTower

PAIRS = 6400  # candidates scored at once, always as many: a row's last bits then never depend on its company
_SAMPLE = 8192  # requests that the ranges of int8 are observed on
_WEIGHTS, _SHAPE, _TRAINING = "network.safetensors", "network.json", "training.csv"
_CONFIG: TypeAdapter[NetworkConfig | TwoTowerConfig] = TypeAdapter(NetworkConfig | TwoTowerConfig)


class Network:
    """A trained network that scores batches.

    Attributes:
        net: Its layers, in float32.
        training: What was noted while it was trained, one row per epoch and block.
        ranges: Of what enters the layers that int8 replaces; empty where they were not observed.
        scoring: A copy of the layers in the format that they are served in.
        dtype: Of what the sides give to the layers per candidate.
        pairs: Candidates scored at once; a smaller batch is filled up to them.
        heads: Places of click and conversion among the tasks.
        slots: What a slot does to a click, where the logits are those of the top one.

    Raises:
        Unusable: If the machine cannot serve what the config asks for.
    """

    def __init__(
        self, net: Net | TwoTower, config: NetworkConfig | TwoTowerConfig, shape: Shape, training: list[dict[str, Any]],
        ranges: Ranges | None = None,
    ) -> None:  # fmt: skip
        self.net, self.config, self.shape, self.training, self.ranges = net, config, shape, training, ranges or {}
        self._device = best_device()
        self.scoring = for_scoring(net, config, self._device, self.ranges)
        self._pair = pair_of(self.scoring, config)
        self.dtype = torch.bfloat16 if serving_format(config, self._device) == "bfloat16" else torch.float32
        self.pairs = PAIRS
        self._ads: tuple[AdTable, list[Tensor]] | None = None
        self.heads = [config.tasks.index(task) for task in ("click", "conversion")]
        self.slots = net.slots.curve()

    @property
    def device(self) -> str:
        """What it runs on, "cpu" or "cuda"."""
        return self._device.type

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        return sum(p.numel() for p in self.net.parameters())

    @torch.inference_mode()
    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click and of conversion given click."""
        n, k = batch.row.shape
        parts = self._ad_parts(batch.ads)
        out = np.empty((n, k, 2), np.float32)
        slot = self._tensor(batch.slot[:1] if (batch.slot == batch.slot[:1]).all() else batch.slot)
        size = max(1, self.pairs // max(k, 1))
        for start in range(0, n, size):
            rows = batch.rows(start, start + size)
            request, _ = self.scoring.request(
                self._tensor(rows.categorical, size), self._tensor(rows.dense, size),
                [self._lists(v.values, v.offsets, size, places) for v, places in zip(rows.lists, self.shape.places, strict=True)],
            )  # fmt: skip
            place = self._tensor(rows.row, size).clamp(min=0)
            ads = [nn.functional.embedding(place, part) for part in parts]
            request = [part.to(parts[0].dtype) if part.is_floating_point() else part for part in request]
            logit = self._pair(request, ads, self._tensor(rows.cross, size), slot)
            out[start : start + size] = logit[: len(rows), :, self.heads].cpu().numpy()
        click = recalibrated(out[:, :, 0], self.config.negatives_kept)
        return np.ascontiguousarray(click), np.ascontiguousarray(out[:, :, 1])

    def served(self, serving: Serving, *, compile: bool = False, sample: Batch | None = None) -> "Network":
        """The same network in another format; in int8 with the ranges of `sample`, or else those that it was trained with.

        Raises:
            Unusable: If the machine cannot serve that, there are no ranges, or the network has one format only.
        """
        if isinstance(self.config, TwoTowerConfig):
            raise Unusable("a two-tower network is served in float32 only: its candidates cost one dot product each")
        ranges = self.ranges if sample is None else ranges_of(self.net, self.config, self.shape, sample)
        config = self.config.model_copy(update={"serving": serving, "compile": compile})
        return Network(self.net, config, self.shape, self.training, ranges)

    def in_blocks(self, pairs: int) -> "Network":
        """The same network, with so many candidates scored at once; blocks of another size may change a row's last bits."""
        other = copy(self)
        other.pairs = pairs
        return other

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, the shape as JSON and the course of the training as CSV."""
        save_file(self.net.state_dict(), folder / _WEIGHTS)
        shape = {
            "config": self.config.model_dump(), "shape": self.shape._asdict(), "columns": self.net.inputs.columns,
            "ranges": self.ranges,
        }  # fmt: skip
        (folder / _SHAPE).write_text(json.dumps(shape, indent=1) + "\n")
        pd.DataFrame(self.training).to_csv(folder / _TRAINING, index=False)

    def _tensor(self, array: np.ndarray, rows: int = 0) -> Tensor:
        """The array on the device, filled up with zeros to `rows`."""
        if len(array) < rows:
            array = np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])
        return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(self._device)

    def _lists(self, values: np.ndarray, offsets: np.ndarray, rows: int, places: int) -> Lists:
        """Lists on the device, with empty ones up to `rows`."""
        whole = np.concatenate([offsets, np.full(rows + 1 - len(offsets), offsets[-1])])
        return Lists.of(self._tensor(values), self._tensor(whole), places)

    def _ad_parts(self, ads: AdTable) -> list[Tensor]:
        cached = self._ads
        if cached is None or cached[0] is not ads:
            parts = self.scoring.ad(self._tensor(ads.categorical), self._tensor(ads.dense), self._tensor(ads.vector))
            cached = self._ads = ads, [part.to(self.dtype) for part in parts]
        return cached[1]


def load_network(folder: Path, schema: Schema) -> Network:
    """Read what `Network.save` wrote.

    Raises:
        Unusable: If the folder holds no readable network, or one of another schema.
    """
    try:
        saved = json.loads((folder / _SHAPE).read_text())
        config = _CONFIG.validate_python(saved["config"])
        shape = Shape(**saved["shape"])
        shape = shape._replace(places=tuple(shape.places))
        refuse_other_schema(f"the network in {folder}", saved["columns"], schema)
        net = new_net(schema, config, shape)
        net.load_state_dict(load_file(folder / _WEIGHTS))
        noted = pd.read_csv(folder / _TRAINING).to_dict("records")
        ranges = {name: (least, greatest) for name, (least, greatest) in saved["ranges"].items()}
    except Unusable:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise Unusable(f"the network in {folder} cannot be read: {str(error).splitlines()[0]}") from None
    return Network(net, config, shape, [{str(name): value for name, value in row.items()} for row in noted], ranges)


def refuse_other_schema(what: str, columns: list[list[Any]], schema: Schema) -> None:
    """Columns that are not as they were when a network was made.

    Raises:
        Unusable: If there are any, with the first.
    """
    for old, new in zip_longest(columns, features(schema)):
        if old != new:
            name = (old or new)[0]
            raise Unusable(f"{what} is of another schema: {name} was {_said(old)} and is {_said(new)}")


def _said(column: list[Any] | None) -> str:
    return "not there" if column is None else " ".join(str(value) for value in column if value)


def ranges_of(net: Net | TwoTower, config: NetworkConfig | TwoTowerConfig, shape: Shape, sample: Batch) -> Ranges:
    """Least and greatest input of each layer that int8 replaces, while the network scores a sample in float32."""
    plain = Network(net, config.model_copy(update={"serving": "float32", "compile": False}), shape, [])
    with observed(per_candidate(plain.scoring)) as ranges:
        plain.logits(sample)
    return ranges


def last_of(source: Source) -> Batch:
    """Requests of the last block, evenly spread, to observe ranges with."""
    *_, last = source.blocks()
    return last.batch.take(np.unique(np.linspace(0, len(last.batch) - 1, _SAMPLE).astype(int)))


def new_net(schema: Schema, config: NetworkConfig | TwoTowerConfig, shape: Shape) -> Net | TwoTower:
    """The layers that a config names, with weights as they are drawn."""
    if isinstance(config, TwoTowerConfig):
        return TwoTower(schema, config, shape)
    return Net(schema, config, shape)


def best_device() -> torch.device:
    """CUDA where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
