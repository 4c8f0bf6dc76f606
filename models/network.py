"""A multi-task network: click and conversion heads over shared embeddings, its first layer split by side.

The first layer's sum has a part of the request (computed once for its k candidates), a part of the ad (computed once per
published table of ads) and a part of the pair; only the last, and the layers above, cost per candidate. User and ad also meet as
an elementwise product of two vectors, as in product-based networks (Qu et al. 2016).

Where there is a crossing, that sum is what every input is projected to: tokens (b, t, d), which the crossing's layers take, and
dense layers after them. Where there is none, the sum is the first dense layer.

A list enters as a mean of its values' embeddings, which are those of the column that they are categories of. In an ordered list a
place weighs what was learned for it, so that what happened last may count for more.
"""

import json
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.config import NetworkConfig
from models.data import AdTable, Batch, Float32Array
from models.dhen import dhen
from models.embedding import EmbeddingTable
from models.errors import Unusable
from models.schema import Column, Kind, Schema, Side

_CHUNK = 128  # requests scored at once, always as many: a row's last bits then never depend on its company
_LINEAR = 16  # columns of the first layer that go to the heads unbent, if the network is wide
_NEVER = -1e9  # logit of a free place; not minus infinity, of which an empty list would make NaN
_WEIGHTS, _SHAPE = "network.safetensors", "network.json"


class Net(nn.Module):
    """The layers. Dense inputs and content vectors are standardised by buffers that travel with the weights.

    Args:
        schema: Of the log that it is trained on.
        config: Widths of the layers.
        n_slots: Slots with an effect of their own.
        lengths: Of each list column, the places that get a weight if it is ordered.

    Raises:
        Unusable: If a list's values are categories of no column.
    """

    request_rows: Tensor  # (Rc,) of the first value of each category
    ad_rows: Tensor  # (Ac,)

    def __init__(self, schema: Schema, config: NetworkConfig, n_slots: int, lengths: tuple[int, ...]) -> None:
        super().__init__()
        lists = schema.columns(Kind.LIST, Side.REQUEST)
        request = schema.columns(Kind.CATEGORICAL, Side.REQUEST)
        ad = schema.columns(Kind.CATEGORICAL, Side.AD)
        d = config.embedding
        self.token_width = config.token_width if config.crossing else 0
        self.crossing = dhen(config.crossing, config.tokens, config.token_width)
        bottom = config.tokens * config.token_width if config.crossing else config.hidden[0]
        self.linear_width = _LINEAR if config.wide else 0
        first = bottom + self.linear_width
        widths = {side: len(schema.columns(Kind.DENSE, side)) for side in (Side.REQUEST, Side.AD, Side.CROSS)}
        widths[Side.AD] += sum(c.width for c in schema.columns(Kind.VECTOR, Side.AD))
        # each category's rows follow those of the one before; its first row is "missing"
        self.first_row: dict[str, int] = {}
        rows = 0
        for c in (*request, *ad):
            self.first_row[c.name] = rows
            rows += c.cardinality + 1
        self.table = EmbeddingTable(rows, d)
        for side, columns in (("request", request), ("ad", ad)):
            starts = torch.tensor([self.first_row[c.name] for c in columns], dtype=torch.int32)
            self.register_buffer(f"{side}_rows", starts + 1, persistent=False)
        self.list_rows = [_first_row(c, self.first_row) + 1 for c in lists]
        # logits of an ordered list's places; equal at first, so that training starts from the mean
        self.places = nn.ParameterList(
            torch.zeros(length if c.ordered else 0) for c, length in zip(lists, lengths, strict=True)
        )
        for side, width in widths.items():
            self.register_buffer(f"{side}_mean", torch.zeros(width))
            self.register_buffer(f"{side}_scale", torch.ones(width))
        request_width = d * (len(request) + len(lists)) + widths[Side.REQUEST]
        ad_width = d * len(ad) + widths[Side.AD]
        self.request_part = nn.Linear(request_width, first)
        self.ad_part = nn.Linear(ad_width, first, bias=False)
        self.cross_part = nn.Linear(widths[Side.CROSS] + d, first, bias=False)
        self.slot_part = nn.Embedding(n_slots, first)
        self.user_vector = nn.Linear(request_width, d)
        self.ad_vector = nn.Linear(ad_width, d)
        widths_up = (bottom, *config.hidden) if config.crossing else config.hidden
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths_up))
        self.heads = nn.Linear(widths_up[-1] + self.linear_width, 2)  # click, conversion given click
        nn.init.normal_(self.slot_part.weight, std=0.05)

    def standard(self, side: Side, values: Tensor) -> Tensor:
        """Dense inputs of one side with mean 0 and deviation 1 over the training log."""
        mean, scale = getattr(self, f"{side}_mean"), getattr(self, f"{side}_scale")
        return (values - mean) * scale

    def request(self, categorical: Tensor, dense: Tensor, lists: list[Tensor]) -> tuple[Tensor, Tensor]:
        """First-layer part (n, h) and vector (n, d) of requests."""
        ids = [categorical + self.request_rows, *(v + first for v, first in zip(lists, self.list_rows, strict=True))]
        own, *others = self.table(torch.cat(ids, dim=1)).split([i.shape[1] for i in ids], dim=1)
        pooled = [_pooled(e, v, places) for e, v, places in zip(others, lists, self.places, strict=True)]
        x = torch.cat([own.flatten(1), *pooled, self.standard(Side.REQUEST, dense)], dim=1)
        return self.request_part(x), self.user_vector(x)

    def ad(self, categorical: Tensor, dense: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """First-layer part (A, h) and vector (A, d) of ads."""
        embedded = self.table(categorical + self.ad_rows).flatten(1)
        x = torch.cat([embedded, self.standard(Side.AD, torch.cat([dense, vector], dim=1))], dim=1)
        return self.ad_part(x), self.ad_vector(x)

    def pair(self, request: tuple[Tensor, Tensor], ad: tuple[Tensor, Tensor], cross: Tensor, slot: Tensor) -> Tensor:
        """Logits (n, k, 2) of requests (n, .), their candidates' ads (n, k, .), cross features (n, k, X) and slots (k,)."""
        meeting = torch.cat([self.standard(Side.CROSS, cross).to(ad[1].dtype), request[1].unsqueeze(1) * ad[1]], dim=2)
        first = self.cross_part(meeting).add_(ad[0]).add_(request[0].unsqueeze(1)).add_(self.slot_part(slot))
        deep, linear = first.split([first.shape[2] - self.linear_width, self.linear_width], dim=2)
        if self.token_width:
            deep = self.crossing(deep.flatten(0, 1).unflatten(1, (-1, self.token_width))).flatten(1).view_as(deep)
        else:
            deep = torch.relu(deep)
        for layer in self.hidden:
            deep = torch.relu(layer(deep))
        top = torch.cat([deep, linear], dim=2)
        with torch.autocast(top.device.type, enabled=False):
            return nn.functional.linear(top.float(), self.heads.weight.float(), self.heads.bias.float())


class Network:
    """A trained network that scores batches."""

    def __init__(self, net: Net, config: NetworkConfig, n_slots: int) -> None:
        self.net, self.config, self.n_slots = net, config, n_slots
        self._device = best_device()
        self._scoring = _for_scoring(net, self._device)
        self._ads: tuple[AdTable, tuple[Tensor, Tensor]] | None = None

    @property
    def device(self) -> str:
        """What it runs on, "cpu" or "cuda"."""
        return self._device.type

    @torch.inference_mode()
    def logits(self, batch: Batch) -> tuple[Float32Array, Float32Array]:
        """(n, k) logits of click and of conversion given click."""
        n, k = batch.row.shape
        part, vector = self._ad_parts(batch.ads)
        out = np.empty((n, k, 2), np.float32)
        slot = self._tensor(batch.slot)
        for start in range(0, n, _CHUNK):
            rows = batch.rows(start, start + _CHUNK)
            size = len(rows)
            request = self._scoring.request(
                self._tensor(rows.categorical, _CHUNK),
                self._tensor(rows.dense, _CHUNK),
                [self._tensor(values, _CHUNK) for values in rows.lists],
            )
            place = self._tensor(rows.row, _CHUNK).clamp(min=0)
            request = request[0].to(part.dtype), request[1].to(part.dtype)
            ads = nn.functional.embedding(place, part), nn.functional.embedding(place, vector)
            logit = self._scoring.pair(request, ads, self._tensor(rows.cross, _CHUNK), slot)
            out[start : start + size] = logit[:size].cpu().numpy()
        return np.ascontiguousarray(out[:, :, 0]), np.ascontiguousarray(out[:, :, 1])

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors and the shape as JSON."""
        save_file(self.net.state_dict(), folder / _WEIGHTS)
        lengths = [len(places) for places in self.net.places]
        shape = {"config": self.config.model_dump(), "n_slots": self.n_slots, "lengths": lengths}
        (folder / _SHAPE).write_text(json.dumps(shape, indent=1) + "\n")

    def _tensor(self, array: np.ndarray, rows: int = 0) -> Tensor:
        """The array on the device, filled up with zeros to `rows`."""
        if len(array) < rows:
            array = np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _ad_parts(self, ads: AdTable) -> tuple[Tensor, Tensor]:
        cached = self._ads
        if cached is None or cached[0] is not ads:
            part, vector = self._scoring.ad(
                self._tensor(ads.categorical), self._tensor(ads.dense), self._tensor(ads.vector)
            )
            dtype = self._scoring.cross_part.weight.dtype
            cached = self._ads = ads, (part.to(dtype), vector.to(dtype))
        return cached[1]


def load_network(folder: Path, schema: Schema) -> Network:
    """Read what `Network.save` wrote."""
    shape = json.loads((folder / _SHAPE).read_text())
    config = NetworkConfig.model_validate(shape["config"])
    net = Net(schema, config, shape["n_slots"], tuple(shape["lengths"]))
    net.load_state_dict(load_file(folder / _WEIGHTS))
    return Network(net, config, shape["n_slots"])


def _first_row(column: Column, first_row: dict[str, int]) -> int:
    """First row of the category that a list's values are of."""
    if column.values_of not in first_row:
        raise Unusable(
            f"list {column.name} holds values of {column.values_of}, which is no category of requests or ads"
        )
    return first_row[column.values_of]


def _pooled(embedded: Tensor, values: Tensor, places: Tensor) -> Tensor:
    """Mean (n, d) of the embeddings (n, H, d) of lists (n, H), by place where `places` (L,) has logits; zeros if empty."""
    filled = values >= 0
    if not len(places):
        return (embedded * filled.unsqueeze(-1)).sum(dim=1) / filled.sum(dim=1, keepdim=True).clamp(min=1)
    seen = min(len(places), values.shape[1])
    filled, embedded = filled[:, :seen], embedded[:, :seen]
    logit = places[:seen].expand(filled.shape).masked_fill(~filled, _NEVER)
    weight = torch.softmax(logit, dim=1) * filled  # nothing of an empty list, whose free places share the softmax
    return (embedded * weight.unsqueeze(-1)).sum(dim=1)


def best_device() -> torch.device:
    """CUDA where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 there."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _for_scoring(net: Net, device: torch.device) -> Net:
    """A copy whose per-candidate layers run in bfloat16 where that is fast; sides and heads stay float32."""
    scoring = deepcopy(net).to(device).eval()
    if has_fast_bf16(device):
        for layer in (scoring.cross_part, scoring.slot_part, scoring.crossing, scoring.hidden):
            layer.to(torch.bfloat16)
    return scoring
