"""Integrated gradients of a network: how each feature moves the logit away from that of an impression nothing is known of.

They are taken where features enter the layers: embeddings, scaled numbers, pooled lists, the slot's effect. A feature's
attribution is the sum over its width, so those of one impression add up to its logit less the baseline's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.config import GbdtConfig, LastConfig, MeanConfig, ModelConfig, NetworkConfig, VectorsConfig
from models.data import Float32Array, IntArray
from models.errors import Unusable
from models.importance import SLOT, TASKS, Evaluated, features_of
from models.network import Net
from models.predictor import Predictor
from models.schema import Kind, Schema, Side
from models.scoring import Network
from models.sequence.lists import Lists

_STEPS, _MOST_STEPS = 64, 65_536
_AT_ONCE = 8_192  # steps of all impressions together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribution:
    """Of m impressions."""

    features: tuple[str, ...]  # F in the order of the schema, the slot last
    values: Float32Array  # (m, F) what each feature adds to the logit
    logit: Float32Array  # (m,) of the impressions
    baseline: Float32Array  # (m,) of an impression of which nothing is known

    def importance(self) -> dict[str, float]:
        """Mean absolute attribution by feature."""
        return dict(zip(self.features, np.abs(self.values).mean(axis=0).tolist(), strict=True))


def obstacle(config: ModelConfig) -> str | None:
    """Why there are no integrated gradients of a predictor of this config; None if there are."""
    if isinstance(config, GbdtConfig):
        return "integrated gradients are of networks, lightgbm is none"
    if not isinstance(config, NetworkConfig):
        return f"integrated gradients are of networks with layers above user and ad, {config.kind} has none"
    for part in config.sequences:
        if not isinstance(part, MeanConfig | LastConfig | VectorsConfig):
            return f"integrated gradients need lists that are pooled alone, {part.kind} looks at the ad too"
    return None


def integrated_gradients(
    predictor: Predictor, data: Evaluated, *, most: int = 1_000, tolerance: float = 1e-3,
    progress: Callable[[float], None] = lambda share: None,
) -> Attribution:  # fmt: skip
    """Attribute logits to features along the straight path from a baseline (Sundararajan, Taly & Yan 2017), by captum.

    The baseline has missing categories, numbers at 0 after their scaling (the training mean of standardised ones), empty
    lists and the top slot, so a category with one value only is credited with what tells that value from a missing one. The
    layers are those in float32, whatever the network is served in.

    The integral is a sum over midpoints. ReLUs make its error fall with the number of steps only, so impressions whose
    attributions do not add up are done again with four times the steps.

    Args:
        predictor: A network whose lists are pooled.
        data: What it is evaluated on.
        most: Impressions to attribute, evenly spread over those that there are.
        tolerance: By which an impression's attributions may miss its logit less the baseline's.
        progress: Called with the share of the impressions that are done.

    Raises:
        Unusable: If the predictor has no integrated gradients, or they do not add up with the most steps.
    """
    if not isinstance(predictor, Network) or not isinstance(predictor.net, Net):
        raise Unusable("integrated gradients are of networks with layers above user and ad, this predictor is none")
    why = obstacle(predictor.config)
    if why:
        raise Unusable(why)
    from captum.attr import IntegratedGradients  # noqa: PLC0415, slow to import

    net, head = predictor.net, predictor.heads[TASKS.index(data.task)]

    def forward(request: Tensor, ad: Tensor, cross: Tensor, effect: Tensor) -> Tensor:
        sides = [net.request_part(request)], [net.ad_part(ad).unsqueeze(1)]
        return net.meet(*sides, cross.unsqueeze(1), effect.unsqueeze(1))[:, 0, head]

    method = IntegratedGradients(forward)
    names = tuple(c.name for c in features_of(data.schema))
    of = _members(net, data.schema, predictor.shape.items, names)
    rows = np.unique(np.linspace(0, len(data.label) - 1, most).astype(int))
    values = np.zeros((len(rows), len(names)), np.float32)
    logit, baseline = np.empty((2, len(rows)), np.float32)
    left, steps = np.arange(len(rows)), _STEPS
    while left.size:
        if steps > _MOST_STEPS:
            raise Unusable(
                f"integrated gradients of {len(left)} impressions do not add up to {tolerance} in {_MOST_STEPS} steps"
            )
        for own in np.array_split(left, -(-len(left) * steps // _AT_ONCE)):
            with torch.no_grad():
                entered = _entered(net, predictor.shape.places, data, rows[own])
                nothing = _unknown(net, entered)
                logit[own], baseline[own] = forward(*entered).numpy(), forward(*nothing).numpy()
            found = method.attribute(entered, nothing, n_steps=steps, method="riemann_middle")
            values[own] = (torch.cat(found, dim=1).detach() @ of).numpy()
        left = left[np.abs(values[left].sum(axis=1) - (logit[left] - baseline[left])) > tolerance]
        progress(1 - len(left) / len(rows))
        steps *= 4
    return Attribution(features=names, values=values, logit=logit, baseline=baseline)


def _entered(net: Net, places: tuple[int, ...], data: Evaluated, rows: IntArray) -> tuple[Tensor, ...]:
    """What enters the layers of the impressions at `rows` (m,): request, ad, pair and slot, (m, .) each."""
    batch, ads = data.batch.take(data.request[rows]), data.batch.ads
    cross = data.batch.cross[data.batch.row >= 0][rows]
    lists = [
        Lists.of(torch.from_numpy(own.values), torch.from_numpy(own.offsets), longest)
        for own, longest in zip(batch.lists, places, strict=True)
    ]
    request, _ = net.of_requests(torch.from_numpy(batch.categorical), torch.from_numpy(batch.dense), lists)
    ad, _ = net.inputs.ad(*(torch.from_numpy(part[rows]) for part in (ads.categorical, ads.dense, ads.vector)))
    slot = torch.from_numpy(data.slot[rows]).clamp(max=net.seen_slots - 1)
    return request, ad, net.inputs.scaled(Side.CROSS, torch.from_numpy(cross)), net.slot_part(slot)


def _unknown(net: Net, entered: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """As much of impressions of which nothing is known: missing categories and the top slot, zeros elsewhere."""
    inputs = net.inputs
    out = [torch.zeros_like(part) for part in entered]
    for part, starts in zip(out, (inputs.request_starts, inputs.ad_starts), strict=False):
        embedded = inputs.table(inputs.known[starts - 1]).flatten()
        part[:, : len(embedded)] = embedded
    out[3] += net.slot_part.weight[0]
    return tuple(out)


def _members(net: Net, schema: Schema, items: dict[str, int], names: tuple[str, ...]) -> Tensor:
    """(W, F) 1 where an entry of what `_entered` gives, all parts beside one another, is of a feature."""

    def of(kind: Kind, side: Side, width: int) -> list[tuple[str, int]]:
        return [(c.name, c.width or width) for c in schema.columns(kind, side)]

    d, lists = net.inputs.width, net.inputs.lists
    spans = [
        *of(Kind.CATEGORICAL, Side.REQUEST, d), *of(Kind.DENSE, Side.REQUEST, 1),
        *((lists[i].name, d) for i in net.pool_of), *((lists[i].name, items[lists[i].values_of]) for i in net.vectors_of),
        *of(Kind.CATEGORICAL, Side.AD, d), *of(Kind.DENSE, Side.AD, 1), *of(Kind.VECTOR, Side.AD, 1),
        *of(Kind.DENSE, Side.CROSS, 1), (SLOT.name, net.first),
    ]  # fmt: skip
    feature = [names.index(name) for name, width in spans for _ in range(width)]
    return nn.functional.one_hot(torch.tensor(feature), len(names)).float()
