"""Heads, towers and losses of several tasks, against their formulas written out in numpy and in many digits."""

from itertools import product

import mpmath
import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy.special import expit
from torch import nn

from models.config import MmoeConfig, SharedBottomConfig, TowersConfig
from models.multitask import Towers, entire_space, product_logit, task_losses

B, W = 5, 24
TASKS = ("click", "conversion", "cart")
CONFIGS = [
    SharedBottomConfig(),
    SharedBottomConfig(hidden=(32, 16)),
    MmoeConfig(experts=3, expert=32),
    MmoeConfig(experts=4, expert=16, hidden=(48, 32)),
]
EXTREME = [-200.0, -60.0, -20.0, -1.0, 0.0, 1.0, 20.0, 60.0, 200.0]


def name(config) -> str:
    return "-".join(str(value) for value in config.model_dump().values())


def made(config, tasks=TASKS) -> Towers:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        towers = Towers(W, tasks, config).double()
        for parameter in towers.parameters():
            nn.init.normal_(parameter, std=0.4)
    return towers


@pytest.fixture
def x() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(B, W)))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def written_out(towers: Towers, config, row: np.ndarray, task: int) -> float:
    """The logit of one row and task."""
    w = {key: value.numpy() for key, value in towers.state_dict().items()}
    if isinstance(config, MmoeConfig):
        experts = np.split(relu(w["mixture.experts.weight"] @ row + w["mixture.experts.bias"]), config.experts)
        gate = np.exp(np.split(w["mixture.gates.weight"], len(TASKS))[task] @ row)
        row = sum(share * expert for share, expert in zip(gate / gate.sum(), experts, strict=True))
    last = len(config.hidden)
    for layer in range(last):
        row = relu(w[f"layers.{layer}.weight"][task] @ row + w[f"layers.{layer}.bias"][task])
    return (w[f"layers.{last}.weight"][task] @ row + w[f"layers.{last}.bias"][task]).item()


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_towers_written_out(config, x):
    towers = made(config)

    logit = towers(x).detach().numpy()

    assert logit.shape == (B, len(TASKS))
    for i, task in product(range(B), range(len(TASKS))):
        assert logit[i, task] == pytest.approx(written_out(towers, config, x[i].numpy(), task))


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_gradients_are_those_of_finite_differences_and_reach_every_weight(config, x):
    towers = made(config)

    assert torch.autograd.gradcheck(towers, (x.requires_grad_(),), eps=1e-6, atol=1e-5)
    towers(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in towers.parameters())


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_a_tower_does_not_move_the_logits_of_other_tasks(config, x):
    towers = made(config)
    before = towers(x)
    with torch.no_grad():
        for layer in towers.layers:
            layer.weight[1] += 1.0

    after = towers(x)

    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert (after[:, 1] != before[:, 1]).all()


def test_a_mixture_of_one_expert_is_a_shared_bottom(x):
    mmoe, shared = made(MmoeConfig(experts=1, expert=16, hidden=(32,))), made(SharedBottomConfig(hidden=(32,)))
    one = mmoe.mixture.experts
    shared.layers = mmoe.layers

    assert torch.allclose(mmoe(x), shared(one(x).relu()))


def test_layers_start_as_dense_layers_of_their_input_do():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = Towers(400, TASKS, SharedBottomConfig(hidden=(64,))).layers[0]

    for weights in (layer.weight, layer.bias):
        assert weights.abs().max().item() == pytest.approx(1 / 20, rel=0.02)
    assert layer.weight.std().item() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_heads_stay_in_32_bits_among_layers_of_16(config, x):
    """Logits that bfloat16 rounds would be multiples of 2**-7 near 1."""
    towers = made(config).float()
    low = made(config).float()
    low.layers[:-1].bfloat16()
    if low.mixture is not None:
        low.mixture.bfloat16()

    exact = towers(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = towers(x.float())
    for logit in (mixed, low(x.bfloat16())):
        assert logit.dtype == torch.float32
        assert not torch.equal(logit, logit.bfloat16().float())
        assert torch.allclose(logit, exact, atol=0.05 * exact.abs().max().item())


def test_heads_over_32_bits_are_the_same_under_autocast(x):
    towers = made(SharedBottomConfig()).float()
    exact = towers(x.float())

    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(towers(x.float()), exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_logits_of_a_row_do_not_depend_on_its_place_or_on_threads(config, dtype):
    towers = made(config).to(dtype).eval()
    rows = torch.from_numpy(np.random.default_rng(2).normal(size=(384, W))).to(dtype)
    order = torch.from_numpy(np.random.default_rng(3).permutation(384))

    whole = towers(rows)

    assert torch.equal(towers(rows[order]), whole[order])
    torch.set_num_threads(2)  # the fixture puts it back
    assert torch.equal(towers(rows), whole)


def test_settings_are_told_apart_by_their_kind():
    adapter = TypeAdapter(TowersConfig)

    for config in CONFIGS:
        assert adapter.validate_python(config.model_dump()) == config
    for wrong in ({"kind": "mmoe", "experts": 0}, {"kind": "shared_bottom", "hidden": [20]}, {"kind": "shared"}):
        with pytest.raises(ValueError):
            adapter.validate_python(wrong)


def test_losses_by_hand():
    """Of four shown rows two were clicked; p of a click 0.5 and of an order 0.25 everywhere, one order."""
    logit = torch.tensor([[0.0, -np.log(3)]] * 4, dtype=torch.float64)
    label = torch.tensor([[1, 1], [1, 0], [0, 0], [0, 1]])
    mask = torch.tensor([[1, 1], [1, 1], [1, 0], [1, 0]])

    losses = task_losses(logit, label * mask, (1 - label) * mask, torch.tensor([1.0, 0.5]), torch.tensor(4))

    assert losses.tolist() == pytest.approx([np.log(2), 0.5 * (np.log(4) + np.log(4 / 3)) / 4])


def test_losses_written_out():
    rng = np.random.default_rng(4)
    logit, label, mask = rng.normal(size=(50, 3)), rng.random((50, 3)) < 0.3, rng.random((50, 3)) < [1, 0.5, 0.1]
    weight = np.array([1.0, 2.0, 0.3])
    p = expit(logit)
    expected = [
        weight[t] * -sum(np.log(p[i, t] if label[i, t] else 1 - p[i, t]) for i in range(50) if mask[i, t]) / 50
        for t in range(3)
    ]

    got = task_losses(*map(torch.from_numpy, (logit, label & mask, ~label & mask, weight)), torch.tensor(50))
    assert got.numpy() == pytest.approx(expected)


def test_a_row_may_weigh_as_both_and_more_than_once():
    """Weights 2 and 0.5 at p = 1/4."""
    logit = torch.full((1, 1), -np.log(3), dtype=torch.float64)

    loss = task_losses(logit, torch.tensor([[2.0]]), torch.tensor([[0.5]]), torch.ones(1), torch.tensor(1))

    assert loss.tolist() == pytest.approx([2 * np.log(4) + 0.5 * np.log(4 / 3)])


def test_losses_of_rows_that_count_for_no_task_and_of_no_rows_are_zero():
    one, nothing = torch.ones(3, 2), torch.empty(0, 2)

    assert task_losses(60 * one, 0 * one, 0 * one, torch.ones(2), torch.tensor(3)).tolist() == [0, 0]
    assert task_losses(nothing, nothing, nothing, torch.ones(2), torch.tensor(1)).tolist() == [0, 0]


def test_gradients_of_the_losses_are_those_of_finite_differences():
    rng = np.random.default_rng(5)
    logit = torch.from_numpy(3 * rng.normal(size=(6, 2))).requires_grad_()
    label, mask = (torch.from_numpy(rng.integers(0, 2, (6, 2)).astype(float)) for _ in range(2))

    weight, rows = torch.tensor([1.0, 0.3]).double(), torch.tensor(6.0)
    assert torch.autograd.gradcheck(
        lambda z: task_losses(z, 2 * label * mask, mask - label * mask, weight, rows), (logit,)
    )
    for y in (label[:, 0], label[:, 1]):
        assert torch.autograd.gradcheck(lambda z, y=y: entire_space(z[:, 0], z[:, 1], y, y), (logit,))


def exact(y: int) -> tuple[np.ndarray, np.ndarray]:
    """In 200 digits, over all pairs of extreme logits: the loss of the entire space, and its slope in the click's logit."""
    losses, slopes = [], []
    with mpmath.workdps(200):
        for a, b in product(EXTREME, EXTREME):
            p, q = (1 / (1 + mpmath.exp(-mpmath.mpf(z))) for z in (a, b))
            losses.append(float(-mpmath.log(p * q if y else 1 - p * q)))
            slopes.append(float(p - 1 if y else p * q * (1 - p) / (1 - p * q)))
    return np.array(losses), np.array(slopes)


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize(("dtype", "rel", "least"), [(torch.float64, 1e-12, 0.0), (torch.float32, 1e-4, 1e-37)])
def test_the_loss_of_the_entire_space_is_right_at_any_logits(dtype, rel, least, y):
    """Relative to its own size, be that 1e-174, or 1e-37 in 32 bits, which hold few digits of what is less."""
    a, b = (torch.tensor(z, dtype=dtype).requires_grad_() for z in zip(*product(EXTREME, EXTREME), strict=True))
    expected, slope = exact(y)

    loss = entire_space(a, b, torch.ones_like(a), torch.full_like(a, y))
    loss.sum().backward()

    assert loss.detach().numpy() == pytest.approx(expected, rel=rel, abs=least)
    assert a.grad.numpy() == pytest.approx(slope, rel=rel, abs=least)
    assert torch.isfinite(b.grad).all()


def test_a_click_that_is_certain_leaves_the_cross_entropy_of_the_conversion():
    logit = torch.linspace(-20, 20, 41, dtype=torch.float64)
    y = torch.arange(41) % 2

    loss = entire_space(torch.full_like(logit, 60), logit, torch.ones(41), y)

    plain = nn.functional.binary_cross_entropy_with_logits(logit, y.double(), reduction="none")
    assert torch.allclose(loss, plain, rtol=1e-12)


def test_a_conversion_without_a_click_is_a_negative():
    z = torch.tensor([0.3])
    one, zero = torch.ones(1), torch.zeros(1)

    assert entire_space(z, z, zero, one) == entire_space(z, z, one, zero) == entire_space(z, z, zero, zero)
    assert entire_space(z, z, one, one) != entire_space(z, z, one, zero)


def test_the_logit_of_a_product_by_hand():
    """0.5 x 0.5 = 1 / 4, odds 1 : 3; 0.8 x 0.75 = 0.6, odds 3 : 2."""
    a, b = torch.tensor([0.0, np.log(4)]), torch.tensor([0.0, np.log(3)])

    assert product_logit(a, b).tolist() == pytest.approx([-np.log(3), np.log(1.5)])


def test_labels_may_be_flags():
    click, conversion = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    z = torch.tensor([0.3, -0.2, 0.1])

    assert torch.equal(entire_space(z, z, click, conversion), entire_space(z, z, click.float(), conversion.float()))
