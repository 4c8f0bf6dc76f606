"""Dense layers in 8 bits: inputs by one calibrated scale per layer, weights by one per output, sums in 32-bit integers.

The product of unsigned and signed bytes is oneDNN's, the only one that it has in fast form (avx512_vnni, amx). Scales are set
beforehand, never by the batch at hand, so that a row comes out the same in any company.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

Ranges = dict[str, tuple[float, float]]  # least and greatest input of a layer, by its name; 0 lies between them

_LEVELS, _WEIGHT_LEVELS = 255, 127  # steps from the least to the greatest input; steps from 0 to the greatest weight
_MIDDLE = 128  # unsigned bytes less this are signed ones
_NARROW = 16  # layers with fewer inputs or outputs have little to gain


class Int8Linear(nn.Module):
    """A dense layer whose product is of bytes; inputs and outputs are float32.

    An input x stands as round(x / scale) + zero within 0 to 255: what is beyond the observed range is cut.

    Args:
        layer: Of float32.
        least: Least input that was observed, at most 0.
        greatest: Greatest input that was observed, at least 0.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None
    shift: Tensor
    no_shift: Tensor

    def __init__(self, layer: nn.Linear, least: float, greatest: float) -> None:
        super().__init__()
        self.scale = max(greatest - least, 1e-12) / _LEVELS
        self.zero = round(-least / self.scale)
        weight = layer.weight.detach()
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / _WEIGHT_LEVELS
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight", (weight / scale.unsqueeze(1)).round().to(torch.int8))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.register_buffer("no_shift", torch.zeros(len(weight), dtype=torch.int64))
        shift = (_MIDDLE - self.zero) * self.weight.sum(dim=1, dtype=torch.int32)  # what moving the zero of inputs adds
        self.register_buffer("shift", shift)
        # in the order that oneDNN reads it: an opaque tensor, which can be neither saved nor compiled with
        self.packed = torch.ops.onednn.qlinear_prepack(self.weight, None)

    def forward(self, x: Tensor) -> Tensor:
        """(..., i) to (..., o)."""
        if torch.compiler.is_compiling():
            return self.by_plain_operators(x)
        return torch.ops.onednn.qlinear_pointwise(
            self.levels(x), self.scale, self.zero, self.packed, self.weight_scale, self.no_shift, self.bias, 1.0, 0,
            torch.float32, "none", [], "",
        )  # fmt: skip

    def levels(self, x: Tensor) -> Tensor:
        """Inputs as bytes, in one pass: torch's own operators take four, which are as long as the product."""
        x = x.contiguous()
        out = torch.empty(x.shape, dtype=torch.uint8)
        _levels(x.numpy().ravel(), np.float32(1 / self.scale), np.float32(self.zero + 0.5), out.numpy().ravel())
        return out

    def by_plain_operators(self, x: Tensor) -> Tensor:
        """The same to the last bits of float32, by operators that a program can be compiled from or saved with."""
        level = x.mul(1 / self.scale).add(self.zero + 0.5).clamp(0, _LEVELS).floor()
        rows = level.sub(_MIDDLE).to(torch.int8).flatten(0, -2)  # this operator takes signed bytes only
        total = torch._int_mm(rows, self.weight.t()) + self.shift
        out = total * (self.scale * self.weight_scale)
        return (out if self.bias is None else out + self.bias).view(*x.shape[:-1], -1)


def quantisable(module: nn.Module) -> dict[str, nn.Linear]:
    """The dense layers in a module that are wide enough to gain from bytes, by their names."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and min(layer.in_features, layer.out_features) >= _NARROW
    }


@contextmanager
def observed(layers: dict[str, nn.Linear]) -> Iterator[Ranges]:
    """Ranges of what enters the layers within the context."""
    ranges: Ranges = dict.fromkeys(layers, (0.0, 0.0))

    def watch(name: str) -> Any:
        def before(layer: nn.Module, inputs: tuple[Tensor]) -> None:
            least, greatest = (float(x) for x in inputs[0].aminmax())
            ranges[name] = min(least, ranges[name][0]), max(greatest, ranges[name][1])

        return before

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        yield ranges
    finally:
        for hook in hooks:
            hook.remove()


@njit(cache=True, nogil=True, error_model="numpy")
def _levels(x: NDArray[np.float32], inverse: np.float32, shift: np.float32, out: NDArray[np.uint8]) -> None:
    for i in range(x.size):
        level = min(max(x[i] * inverse + shift, np.float32(0)), np.float32(_LEVELS))
        out[i] = np.uint8(np.int32(level))
