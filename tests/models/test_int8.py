"""Dense layers in 8 bits, against the integers and against the layers that they replace."""

import numpy as np
import pytest
import torch
from torch import nn

from models.int8 import Int8Linear, observed, quantisable
from models.serving import has_fast_int8

bytes_only = pytest.mark.skipif(
    not has_fast_int8(torch.device("cpu")), reason="this processor has no products of bytes"
)


def test_ranges_are_the_least_and_the_greatest_input_of_all_calls_and_hold_zero():
    layer = nn.Linear(16, 16)

    with observed({"a": layer}) as ranges:
        layer(torch.full((2, 16), 3.0))
        layer(torch.linspace(1, 5, 32).view(2, 16))
    layer(torch.full((2, 16), -9.0))

    assert ranges == {"a": (0.0, 5.0)}


def test_narrow_layers_stay_as_they_are():
    layers = nn.Sequential(nn.Linear(15, 32), nn.Linear(32, 15), nn.Linear(16, 16), nn.ReLU())

    assert list(quantisable(layers)) == ["2"]


def layer_and_inputs(inputs: int, outputs: int) -> tuple[nn.Linear, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(inputs, outputs).requires_grad_(False)
    layer.weight.copy_(torch.randn(outputs, inputs, generator=generator))
    layer.bias.copy_(torch.randn(outputs, generator=generator))
    return layer, torch.randn(300, inputs, generator=generator) + 0.7


@bytes_only
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (17, 48), (429, 256)])
def test_the_product_is_that_of_the_integers(inputs, outputs):
    """With a scale of 1 and no bias a float32 holds the sum of integers exactly."""
    layer, x = layer_and_inputs(inputs, outputs)
    layer.weight.copy_((layer.weight * 40).round().clamp(-127, 127))
    layer.weight[:, 0] = 127  # so that a weight's scale is 1
    layer.bias.zero_()
    x = x * 40

    product = Int8Linear(layer, -100.0, 155.0)(x).numpy()

    nearest = np.floor(x.numpy() + np.float32(0.5)).astype(np.int64)
    levels = np.clip(nearest, -100, 155)
    assert (levels != nearest).any()
    assert np.array_equal(product, levels @ layer.weight.numpy().astype(np.int64).T)


@bytes_only
@pytest.mark.parametrize("shape", [(-1,), (20, -1), (5, 3, -1)], ids=["one row", "rows", "tokens"])
def test_a_layer_of_bytes_is_within_its_rounding_of_the_layer(shape):
    layer, x = layer_and_inputs(64, 48)
    x = x[: 1 if len(shape) == 1 else 20 if len(shape) == 2 else 15].reshape(*shape[:-1], 64)
    least, greatest = float(x.min()), float(x.max())
    step, weight_step = (greatest - least) / 253, layer.weight.abs().amax(dim=1) / 127

    ours, exact = Int8Linear(layer, least - step, greatest + step)(x), layer(x)

    assert ours.shape == exact.shape
    assert ours.dtype == torch.float32
    of_inputs = (layer.weight.abs() + weight_step.unsqueeze(1) / 2).sum(dim=1) * step / 2
    rounding = of_inputs + x.abs().sum(dim=-1, keepdim=True) * weight_step / 2 + 1e-4
    assert (abs(ours - exact) <= rounding).all()
    assert abs(ours - exact).max() > 0


@bytes_only
def test_inputs_beyond_the_observed_range_are_cut_to_it():
    layer, x = layer_and_inputs(32, 16)
    bytes_ = Int8Linear(layer, 0.0, 1.0)

    assert torch.equal(bytes_(x * 1e6), bytes_((x > 0).float()))


@bytes_only
def test_plain_operators_give_what_the_fast_ones_give():
    layer, x = layer_and_inputs(37, 48)
    bytes_ = Int8Linear(layer, -1.5, 2.5)

    for own in (x, x.view(100, 3, 37), x[:1]):
        assert torch.allclose(bytes_(own), bytes_.by_plain_operators(own), atol=1e-5)
