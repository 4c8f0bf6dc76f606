"""The row-wise optimiser against torch's own."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.embedding import EmbeddingTable, RowAdam

ROWS, WIDTH = 50, 16


def table() -> EmbeddingTable:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EmbeddingTable(ROWS, WIDTH)


def lookups(steps: int) -> list[tuple[Tensor, Tensor]]:
    """Two look-ups a step, with many repeats in each and between them; rows 40 and up stay alone."""
    rng = np.random.default_rng(0)
    return [
        (
            torch.from_numpy(rng.integers(40, size=(30, 3)).astype(np.int32)),
            torch.from_numpy(rng.integers(20, size=25).astype(np.int32)),
        )
        for _ in range(steps)
    ]


def loss(first: Tensor, second: Tensor) -> Tensor:
    """Differs by place, so that repeats of a row have different gradients."""
    return (first.sin() * torch.arange(3.0).unsqueeze(1)).sum() + (
        second.square() * torch.arange(25.0).unsqueeze(1)
    ).mean()


def trained(threads: int, steps: int, *, own_kernels: bool = True) -> np.ndarray:
    net = table().train()
    with RowAdam(net, threads) as optimiser:
        if not own_kernels:
            optimiser._total = None
        for step, (a, b) in enumerate(lookups(steps)):
            loss(net(a), net(b)).backward()
            optimiser.step(0.1 / (1 + step))
    return net.weight.numpy().copy()


def by_torch(steps: int) -> np.ndarray:
    weight = torch.nn.Parameter(table().weight.clone(), requires_grad=True)
    optimiser = torch.optim.SparseAdam([weight])
    for step, (a, b) in enumerate(lookups(steps)):
        optimiser.param_groups[0]["lr"] = 0.1 / (1 + step)
        optimiser.zero_grad()
        loss(*(torch.nn.functional.embedding(ids, weight, sparse=True) for ids in (a, b))).backward()
        optimiser.step()
    return weight.detach().numpy()


@pytest.mark.parametrize("own_kernels", [True, False])
@pytest.mark.parametrize("steps", [1, 20])
def test_rows_move_as_under_torchs_sparse_adam(own_kernels, steps):
    assert trained(1, steps, own_kernels=own_kernels) == pytest.approx(by_torch(steps), abs=2e-5)


def test_any_number_of_threads_gives_the_same_table():
    one = trained(1, 20)

    for threads in (2, 3, 7):
        assert np.array_equal(trained(threads, 20), one)


def test_rows_that_nobody_looked_up_stay():
    before, after = table().weight.numpy(), trained(2, 20)

    assert np.array_equal(after[40:], before[40:])
    assert (after[:20] != before[:20]).all(axis=1).all()


def test_a_look_up_counts_in_one_step_only():
    net = table().train()
    with RowAdam(net, 1) as optimiser:
        net(torch.tensor([3], dtype=torch.int32)).sum().backward()
        optimiser.step(0.1)
        once = net.weight.clone()
        net(torch.tensor([5], dtype=torch.int32)).sum().backward()
        optimiser.step(0.1)

    assert torch.equal(net.weight[3], once[3])
    assert not torch.equal(net.weight[5], once[5])


def test_scoring_keeps_no_look_up():
    net = table()
    with torch.no_grad():
        net.train()(torch.tensor([3]))
    net.eval()(torch.tensor([3]))

    assert net.looked_up == []
