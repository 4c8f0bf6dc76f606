"""How a trained network is made ready to score.

Only what runs per candidate has a format: the sides, which run once per request and once per table of ads, and the heads stay
float32.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from models.config import NetworkConfig, TwoTowerConfig
from models.errors import Unusable
from models.int8 import Int8Linear, Ranges, quantisable
from models.network import Net
from models.two_tower import TwoTower

Config = NetworkConfig | TwoTowerConfig
_SHAPES = 64  # numbers of candidates per request that one network is compiled for
Pair = Callable[[list[Tensor], list[Tensor], Tensor, Tensor], Tensor]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 there."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def has_fast_int8(device: torch.device) -> bool:
    """Whether there are products of bytes that add up in 32 bits."""
    return device.type == "cpu" and bool(torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported())


def has_compiler() -> bool:
    """Whether there is the C++ compiler that torch.compile calls."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415, as slow to import as torch itself
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def serving_format(config: Config, device: torch.device) -> str:
    """What the layers per candidate run in: "float32", "bfloat16" or "int8".

    Raises:
        Unusable: If the machine cannot run what the config asks for.
    """
    if isinstance(config, TwoTowerConfig):
        return "float32"
    if config.compile and device.type == "cpu" and not has_compiler():
        raise Unusable("compile is true, which needs a C++ compiler such as g++; there is none")
    if config.serving == "int8" and not has_fast_int8(device):
        raise Unusable(
            f"serving is int8, which needs a processor with products of bytes (VNNI); this {device.type} has none"
        )
    if config.serving == "auto":
        return "bfloat16" if has_fast_bf16(device) else "float32"
    return config.serving


def for_scoring(net: Net | TwoTower, config: Config, device: torch.device, ranges: Ranges) -> Net | TwoTower:
    """A copy whose layers per candidate are in the format that serving asks for.

    Raises:
        Unusable: If the machine cannot run it, or a layer's range is not known.
    """
    scoring = deepcopy(net).to(device).eval().requires_grad_(False)
    form = serving_format(config, device)
    if not isinstance(scoring, Net):
        return scoring
    if form == "bfloat16":
        for layer in (scoring.cross_part, scoring.slot_part, scoring.crossing, scoring.encoders, scoring.hidden):
            layer.to(torch.bfloat16)
    elif form == "int8":
        for name, layer in per_candidate(scoring).items():
            if name not in ranges:
                raise Unusable(f"serving is int8, but the range of what enters {name} was not observed")
            scoring.set_submodule(name, Int8Linear(layer, *ranges[name]))
    return scoring


def per_candidate(net: Net | TwoTower) -> dict[str, nn.Linear]:
    """The dense layers that int8 replaces, by their names in the network; encoders of lists, heads and narrow ones stay."""
    wide = quantisable(net)
    return {name: layer for name, layer in wide.items() if name.split(".")[0] in ("cross_part", "crossing", "hidden")}


def pair_of(scoring: Net | TwoTower, config: Config) -> Pair:
    """What runs per candidate; compiled for one shape at a time, if the config says so."""
    if isinstance(config, NetworkConfig) and config.compile:
        return torch.compile(  # type: ignore[call-overload]
            scoring.pair, dynamic=False, fullgraph=True, recompile_limit=_SHAPES, isolate_recompiles=True
        )
    return scoring.pair
