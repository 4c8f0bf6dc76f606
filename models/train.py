"""The training loop of networks: one pass over shuffled batches unless told otherwise."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models.config import NetworkConfig
from models.data import Dataset, IdArray
from models.embedding import RowAdam
from models.errors import Unusable
from models.network import Net, Network, best_device, has_fast_bf16
from models.schema import Side


def fit_network(
    data: Dataset,
    config: NetworkConfig,
    *,
    seed: int,
    threads: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Network:
    """Train click (over shown ads) and conversion given click (over clicked ones) together.

    The loss is the sum over the two tasks of their mean binary cross-entropy, weighed by their rows: an order weighs as much
    as a click.

    Args:
        seed: Of the initial weights and of the shuffle.
        threads: CPU threads.
        progress: Called with the share of the work done.

    Raises:
        Unusable: If there is no click, or no conversion, to learn from.
    """
    for task, label, rows in (("clicks", data.click, data.shown), ("conversions", data.conversion, data.click)):
        y = label[rows]
        if y.all() or not y.any():
            raise Unusable(f"cannot learn {task}: {int(y.sum())} of {len(y)} rows are positive")
    device = best_device()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = Net(data.schema, config, data.batch.row.shape[1], tuple(map(_longest, data.batch.lists)))
        _standardise(net, data)
        net.to(device).train()
        with RowAdam(net.table, threads) as embeddings:
            _descend(net, embeddings, data, config, seed, device, progress)
    finally:
        torch.set_num_threads(before)
    return Network(net.cpu().eval(), config, data.batch.row.shape[1])


def _longest(values: IdArray) -> int:
    """The last place that any list (n, H) fills, counted from 1; at least 1."""
    return int(np.flatnonzero((values >= 0).any(axis=0)).max(initial=0)) + 1


def _standardise(net: Net, data: Dataset) -> None:
    """Mean and scale of every dense input and content vector, over the shown ads."""
    shown, ads = data.shown, data.batch.ads
    blocks = {
        Side.REQUEST: data.batch.dense, Side.AD: np.hstack((ads.dense, ads.vector))[data.batch.row[shown]],
        Side.CROSS: data.batch.cross[shown],
    }  # fmt: skip
    for side, values in blocks.items():
        spread = values.std(axis=0)
        getattr(net, f"{side}_mean").copy_(torch.from_numpy(values.mean(axis=0)))
        getattr(net, f"{side}_scale").copy_(torch.from_numpy(1 / np.where(spread > 1e-6, spread, 1.0)))


def _descend(
    net: Net, embeddings: RowAdam, data: Dataset, config: NetworkConfig, seed: int, device: torch.device,
    progress: Callable[[float], None],
) -> None:  # fmt: skip
    batch = data.batch

    def tensors(*arrays: np.ndarray) -> list[Tensor]:
        return [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]

    lists = tensors(*batch.lists)
    held = tensors(
        batch.slot, batch.categorical, batch.dense, batch.row, batch.cross, batch.ads.categorical, batch.ads.dense,
        batch.ads.vector, data.click, data.conversion,
    )  # fmt: skip
    dense = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(dense, lr=config.learning_rate, fused=True)
    steps = config.epochs * -(-len(batch) // config.batch_requests)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    shuffle = torch.Generator().manual_seed(seed)
    done = 0
    for _ in range(config.epochs):
        order = torch.randperm(len(batch), generator=shuffle).to(device)
        for rows in order.split(config.batch_requests):  # type: ignore[no-untyped-call]
            with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device)):
                loss = _loss(net, rows, lists, *held)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            embeddings.step(float(schedule.get_last_lr()[0]))
            schedule.step()
            done += 1
            progress(done / steps)


def _loss(
    net: Net, rows: Tensor, lists: list[Tensor], slot: Tensor, categorical: Tensor, dense: Tensor, row: Tensor,
    cross: Tensor, ad_categorical: Tensor, ad_dense: Tensor, ad_vector: Tensor, click: Tensor, conversion: Tensor,
) -> Tensor:  # fmt: skip
    place = row[rows]
    shown = place >= 0
    at = place.clamp(min=0)
    n, k = at.shape
    request = net.request(categorical[rows], dense[rows], [values[rows] for values in lists])
    part, vector = net.ad(*(values[at].flatten(0, 1) for values in (ad_categorical, ad_dense, ad_vector)))
    logit = net.pair(request, (part.view(n, k, -1), vector.view(n, k, -1)), cross[rows], slot)
    clicked = click[rows]
    click_loss = nn.functional.binary_cross_entropy_with_logits(logit[..., 0][shown], clicked[shown].float())
    chosen = conversion[rows][clicked].float()
    order_loss = nn.functional.binary_cross_entropy_with_logits(logit[..., 1][clicked], chosen, reduction="sum")
    return click_loss + order_loss / shown.sum().clamp(min=1)
