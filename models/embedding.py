"""One table for all embeddings, and an optimiser that touches only the rows that a batch looked up.

A dense optimiser visits every row at every step, so its cost grows with the table; here it grows with the batch.
"""

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


class EmbeddingTable(nn.Module):
    """Rows of embeddings. Autograd ends at what was looked up: in training each look-up is kept for `RowAdam`."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(rows, width), std=0.05), requires_grad=False)
        self.looked_up: list[tuple[Tensor, Tensor]] = []

    def forward(self, ids: Tensor) -> Tensor:
        """The rows (..., d) of `ids` (...); in autocast of its type, so that gradients of them are too."""
        found = nn.functional.embedding(ids, self.weight)
        if torch.is_autocast_enabled(found.device.type):
            found = found.to(torch.get_autocast_dtype(found.device.type))
        if self.training and torch.is_grad_enabled():
            found.requires_grad_()
            self.looked_up.append((ids, found))
        return found


class RowAdam:
    """Adam (Kingma & Ba 2015) on the rows with a gradient: a row's moments rest while nobody looks it up.

    As torch.optim.SparseAdam. On the processor each thread owns every n-th row and adds up its gradients in the order of the
    look-ups, so the result is the same to the bit for any number of threads.

    Use as a context: it keeps threads.
    """

    def __init__(self, table: EmbeddingTable, threads: int) -> None:
        self.table, self.threads, self.steps = table, threads, 0
        weight = table.weight
        self.mean, self.square = torch.zeros_like(weight), torch.zeros_like(weight)
        self._total = np.zeros(weight.shape, np.float32) if not weight.is_cuda else None
        self._marked = np.zeros(len(weight), np.bool_)
        self._touched = np.empty((threads, -(-len(weight) // threads)), np.int32)
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move the rows that were looked up since the last step against their gradients, and forget the look-ups."""
        seen = [(ids, found.grad.float()) for ids, found in self.table.looked_up if found.grad is not None]
        self.table.looked_up.clear()
        if torch.distributed.is_initialized():
            seen = [of_all(*one) for one in seen]
        self.steps += 1
        size = learning_rate * (1 - _BETA2**self.steps) ** 0.5 / (1 - _BETA1**self.steps)
        if self._total is None:
            self._scatter(seen, size)
        else:
            self._own(seen, size)

    def _scatter(self, seen: list[tuple[Tensor, Tensor]], size: float) -> None:
        """With torch's own operators, on any device."""
        width = self.table.weight.shape[1]
        ids = torch.cat([i.reshape(-1) for i, _ in seen])
        rows, place = torch.unique(ids, return_inverse=True)
        gradient = torch.zeros(len(rows), width, device=ids.device)
        gradient.index_add_(0, place, torch.cat([g.reshape(-1, width) for _, g in seen]))
        mean = self.mean[rows].lerp_(gradient, 1 - _BETA1)
        square = self.square[rows].lerp_(gradient.square(), 1 - _BETA2)
        self.mean[rows], self.square[rows] = mean, square
        # epsilon stands beside the root of the raw moment, as in SparseAdam
        self.table.weight[rows] -= size * mean / (square.sqrt() + _EPS)

    def _own(self, seen: list[tuple[Tensor, Tensor]], size: float) -> None:
        """By kernels, each thread on its own rows."""
        width = self.table.weight.shape[1]
        arrays = [(i.to(torch.int32).reshape(-1).numpy(), g.contiguous().view(-1, width).numpy()) for i, g in seen]
        weight, mean, square = (t.numpy() for t in (self.table.weight, self.mean, self.square))

        def work(part: int) -> None:
            count = 0
            for ids, gradient in arrays:
                count = _add(ids, gradient, self._total, self._marked, self._touched[part], count, part, self.threads)
            _move(self._touched[part, :count], self._total, self._marked, weight, mean, square, np.float32(size))

        list(self._pool.map(work, range(self.threads)))


def of_all(ids: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Look-ups and gradients of all processes, one after the other: the mean of gradients is what each of them then applies."""
    width, world = gradient.shape[-1], torch.distributed.get_world_size()
    ids, gradient = ids.reshape(-1), gradient.reshape(-1, width) / world
    counts = [torch.zeros(1, dtype=torch.int64, device=ids.device) for _ in range(world)]
    torch.distributed.all_gather(counts, torch.tensor([len(ids)], device=ids.device))
    sizes = [int(count) for count in counts]
    # the last column holds the id's bits
    every = [torch.zeros(max(sizes), width + 1, device=ids.device) for _ in sizes]
    own = torch.zeros_like(every[0])
    own[: len(ids), :width], own[: len(ids), width] = gradient, ids.to(torch.int32).view(torch.float32)
    torch.distributed.all_gather(every, own)
    whole = torch.cat([part[:size] for part, size in zip(every, sizes, strict=True)])
    return whole[:, width].contiguous().view(torch.int32), whole[:, :width]


@njit(cache=True, nogil=True, fastmath=False)
def _add(
    ids: Ids,
    gradient: Floats,
    total: Floats,
    marked: NDArray[np.bool_],
    touched: Ids,
    count: int,
    part: int,
    parts: int,
) -> int:
    """Add gradients to the rows that are `part` modulo `parts`; their list grows to the count that is returned."""
    for i in range(ids.size):
        row = ids[i]
        if row % parts != part:
            continue
        if not marked[row]:
            marked[row] = True
            touched[count] = row
            count += 1
        for d in range(gradient.shape[1]):
            total[row, d] += gradient[i, d]
    return count


@njit(cache=True, nogil=True)
def _move(
    rows: Ids, total: Floats, marked: NDArray[np.bool_], weight: Floats, mean: Floats, square: Floats, size: np.float32
) -> None:
    keep1, keep2 = np.float32(_BETA1), np.float32(_BETA2)
    new1, new2, eps = np.float32(1 - _BETA1), np.float32(1 - _BETA2), np.float32(_EPS)
    for row in rows:
        marked[row] = False
        for d in range(weight.shape[1]):
            g = total[row, d]
            total[row, d] = 0
            mean[row, d] = keep1 * mean[row, d] + new1 * g
            square[row, d] = keep2 * square[row, d] + new2 * g * g
            weight[row, d] -= size * mean[row, d] / (np.sqrt(square[row, d]) + eps)
