"""Crossing modules against their formulas written out, token by token, in numpy."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from models.config import (
    CROSSINGS,
    CrossConfig,
    DotConfig,
    FmConfig,
    HstuConfig,
    LayerConfig,
    MaskNetConfig,
    MlpConfig,
    NetworkConfig,
    ProductConfig,
    SenetConfig,
    TransformerConfig,
)
from models.crossing.attention import attend
from models.crossing.fm import pair_sum
from models.dhen import Layer, crossing, dhen

B, T, D = 5, 6, 16
MODULES = [
    MlpConfig(hidden=32),
    FmConfig(),
    DotConfig(),
    ProductConfig(),
    ProductConfig(product="outer"),
    CrossConfig(layers=3),
    CrossConfig(weight="vector", layers=3),
    CrossConfig(rank=16),
    SenetConfig(),
    SenetConfig(bilinear=False),
    MaskNetConfig(hidden=32, blocks=3),
    MaskNetConfig(hidden=32, blocks=3, arrangement="serial"),
    TransformerConfig(layers=2, heads=4),
    HstuConfig(layers=2, heads=4),
]


def name(config) -> str:
    return "-".join(str(value) for value in config.model_dump().values())


def made(config) -> nn.Module:
    """The module with every weight drawn, so that a part which starts at zero or one counts too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = crossing(config, T, D).double().eval()
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.4)
    return module


@pytest.fixture
def x() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(B, T, D)))


def out(config, x: torch.Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    module = made(config)
    weights = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    return module(x).detach().numpy(), weights


def line(w: dict[str, np.ndarray], layer: str, x: np.ndarray) -> np.ndarray:
    return w[f"{layer}.weight"] @ x + w.get(f"{layer}.bias", 0.0)


def norm(w: dict[str, np.ndarray], layer: str, x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{layer}.weight"] + w[f"{layer}.bias"]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def pair_dots(row: np.ndarray) -> np.ndarray:
    return np.array([a @ b for a, b in combinations(row, 2)]) / np.sqrt(D)


@pytest.mark.parametrize("config", MODULES, ids=name)
def test_a_module_gives_tokens_for_tokens_and_passes_gradients_to_all_its_weights(config, x):
    module = made(config)
    x.requires_grad_()

    y = module(x)
    y.square().sum().backward()

    assert y.shape == x.shape
    assert x.grad is not None and (x.grad != 0).any(dim=(0, 2)).all()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize("config", MODULES, ids=name)
def test_gradients_are_those_of_finite_differences(config, x):
    module = made(config)

    assert torch.autograd.gradcheck(lambda row: module(row).sum(dim=2), (x[:2].requires_grad_(),), eps=1e-6, atol=1e-4)


@pytest.mark.parametrize("config", MODULES, ids=name)
def test_a_row_does_not_depend_on_its_company(config, x):
    module = made(config)

    assert torch.allclose(module(x)[2:3], module(x[2:3]), atol=1e-12)


def test_mlp_written_out(x):
    y, w = out(MlpConfig(hidden=32), x)

    for row, got in zip(x.numpy(), y, strict=True):
        assert got.ravel() == pytest.approx(line(w, "outer", relu(line(w, "inner", row.ravel()))))


def test_fm_is_the_sum_of_all_pairs_products(x):
    y, w = out(FmConfig(), x)

    for row, total, got in zip(x.numpy(), pair_sum(x).numpy(), y, strict=True):
        by_hand = sum(a * b for a, b in combinations(row, 2))
        assert total == pytest.approx(by_hand)
        assert got.ravel() == pytest.approx(line(w, "outer", by_hand))


def test_the_sum_of_pairs_by_hand():
    assert pair_sum(torch.tensor([[[1.0, 2.0], [3.0, 5.0], [7.0, 0.0]]])).tolist() == [[3 + 7 + 21, 10 + 0 + 0]]


def test_dot_written_out(x):
    y, w = out(DotConfig(), x)

    for row, got in zip(x.numpy(), y, strict=True):
        assert got.ravel() == pytest.approx(line(w, "outer", pair_dots(row)))


def test_product_layers_written_out(x):
    inner, w_inner = out(ProductConfig(), x)
    outer, w_outer = out(ProductConfig(product="outer"), x)

    for i, row in enumerate(x.numpy()):
        total = row.sum(axis=0)
        assert inner[i].ravel() == pytest.approx(line(w_inner, "outer", np.concatenate((row.ravel(), pair_dots(row)))))
        both = np.concatenate((row.ravel(), np.outer(total, total).ravel()))
        assert outer[i].ravel() == pytest.approx(line(w_outer, "outer", both))


def test_cross_layers_written_out(x):
    vector, wv = out(CrossConfig(weight="vector", layers=3), x)
    matrix, wm = out(CrossConfig(layers=3), x)
    low, wl = out(CrossConfig(rank=16, layers=1), x)

    for i, row in enumerate(x.numpy().reshape(B, -1)):
        last = row
        for step in range(3):
            last = row * line(wv, f"steps.{step}.weight", last) + wv[f"steps.{step}.bias"] + last
        assert vector[i].ravel() == pytest.approx(last)
        last = row
        for step in range(3):
            last = row * line(wm, f"steps.{step}.weight", last) + last
        assert matrix[i].ravel() == pytest.approx(last)
        reduced = line(wl, "steps.0.weight.1", line(wl, "steps.0.weight.0", row))
        assert low[i].ravel() == pytest.approx(row * reduced + row)


@pytest.mark.parametrize("weight", ["vector", "matrix"])
def test_each_cross_layer_adds_one_order(weight, x):
    """Along a line through 0 the output is a polynomial of degree layers + 1: its next difference is 0, its last is not."""
    module = made(CrossConfig(weight=weight, layers=3))
    along = torch.stack([module(step * x) for step in range(6)]).detach().numpy()

    assert np.abs(np.diff(along, 5, axis=0)).max() < 1e-6 * np.abs(along).max()
    assert np.abs(np.diff(along, 4, axis=0)).max() > 1e-3 * np.abs(along).max()


def test_senet_written_out(x):
    y, w = out(SenetConfig(), x)
    plain, w_plain = out(SenetConfig(bilinear=False), x)

    for i, row in enumerate(x.numpy()):
        weighed = row * relu(line(w, "excite", relu(line(w, "squeeze", row.mean(axis=1)))))[:, None]
        products = np.concatenate([line(w, "bilinear", a) * b for a, b in combinations(weighed, 2)])
        assert y[i].ravel() == pytest.approx(weighed.ravel() + line(w, "outer", products))
        alone = relu(line(w_plain, "excite", relu(line(w_plain, "squeeze", row.mean(axis=1)))))
        assert plain[i] == pytest.approx(row * alone[:, None])


@pytest.mark.parametrize("arrangement", ["parallel", "serial"])
def test_mask_blocks_written_out(arrangement, x):
    y, w = out(MaskNetConfig(hidden=32, blocks=3, arrangement=arrangement), x)

    def block(i: int, guide: np.ndarray, own: np.ndarray) -> np.ndarray:
        mask = line(w, f"blocks.{i}.project", relu(line(w, f"blocks.{i}.aggregate", guide)))
        return relu(norm(w, f"blocks.{i}.norm", line(w, f"blocks.{i}.dense", mask * own)))

    for row, got in zip(x.numpy(), y, strict=True):
        own = np.concatenate([norm(w, "norm", token) for token in row])
        if arrangement == "serial":
            for i in range(3):
                own = block(i, row.ravel(), own)
        else:
            own = np.concatenate([block(i, row.ravel(), own) for i in range(3)])
        assert got.ravel() == pytest.approx(line(w, "outer", own))


def test_a_transformer_block_written_out_for_one_head(x):
    y, w = out(TransformerConfig(feed_forward=32), x)

    for row, got in zip(x.numpy(), y, strict=True):
        q, k, v = np.split(
            np.array([line(w, "blocks.0.queries_keys_values", norm(w, "blocks.0.before", t)) for t in row]), 3, axis=1
        )
        weight = np.exp(q @ k.T / np.sqrt(D))
        mixed = row + np.array([line(w, "blocks.0.mix", a) for a in weight / weight.sum(axis=1, keepdims=True) @ v])
        for token, expected in zip(got, mixed, strict=True):
            inner = relu(line(w, "blocks.0.inner", norm(w, "blocks.0.between", expected)))
            assert token == pytest.approx(expected + line(w, "blocks.0.outer", inner))


def test_an_hstu_block_written_out_for_two_heads(x):
    y, w = out(HstuConfig(heads=2), x)

    for row, got in zip(x.numpy(), y, strict=True):
        parts = silu(np.array([line(w, "blocks.0.parts", norm(w, "blocks.0.before", t)) for t in row]))
        gate, *heads = np.split(parts, 4, axis=1)
        half = [[np.split(part, 2, axis=1)[h] for part in heads] for h in range(2)]
        attended = np.hstack([silu(q @ k.T) / T @ v for q, k, v in half])
        for i in range(T):
            assert got[i] == pytest.approx(
                row[i] + line(w, "blocks.0.mix", norm(w, "blocks.0.after", attended[i]) * gate[i])
            )


@pytest.mark.parametrize("config", [TransformerConfig(layers=2, heads=4), HstuConfig(layers=2, heads=4)], ids=name)
def test_attention_does_not_know_the_order_of_tokens(config, x):
    module, order = made(config), torch.tensor([3, 1, 5, 0, 2, 4])

    assert torch.allclose(module(x[:, order]), module(x)[:, order], atol=1e-12)


def test_equal_tokens_share_the_attention_of_softmax_evenly():
    v = torch.randn(1, 1, 4, 3)

    assert torch.allclose(
        attend(torch.ones(1, 1, 4, 2), torch.ones(1, 1, 4, 2), v), v.mean(dim=2, keepdim=True).expand_as(v)
    )


@pytest.mark.parametrize("ensemble", ["sum", "concat"])
def test_a_layer_norms_its_ensemble_and_its_input(ensemble, x):
    config = LayerConfig(modules=(FmConfig(), CrossConfig(), HstuConfig()), ensemble=ensemble)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layer = Layer(config, T, D).double()
    y = layer(x).detach()
    outputs = [member(x).detach() for member in layer.members]

    if ensemble == "sum":
        together = sum(outputs)
    else:
        together = torch.einsum("ij,bjd->bid", layer.mix.weight.detach(), torch.cat(outputs, dim=1))
    for row, got in zip((together + x).numpy(), y.numpy(), strict=True):
        for token, expected in zip(got, row, strict=True):
            assert token == pytest.approx((expected - expected.mean()) / np.sqrt(expected.var() + 1e-5))


def test_layers_follow_one_another(x):
    net = dhen(CROSSINGS["dhen"], T, D).double()

    assert torch.equal(net(x), net[1](net[0](x)))


def test_a_crossing_is_named_or_spelled_out():
    named = NetworkConfig(kind="network", crossing="dhen")
    spelled = NetworkConfig.model_validate(
        {
            "kind": "network",
            "crossing": [
                {"modules": [{"kind": "mlp"}, {"kind": "transformer"}]},
                {"modules": [{"kind": "mlp"}, {"kind": "masknet"}]},
            ],
        }
    )

    assert named == spelled
    assert NetworkConfig.model_validate(named.model_dump()) == named


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"crossing": "dcnv3"}, "'dcnv3' is no crossing: none, mlp, dlrm"),
        ({"crossing": [{"modules": []}]}, "at least 1 item"),
        (
            {"crossing": [{"modules": [{"kind": "cross", "weight": "vector", "rank": 16}]}]},
            "rank is of weight 'matrix' only",
        ),
        (
            {"crossing": [{"modules": [{"kind": "transformer", "heads": 3}]}]},
            "token_width 32 must be a multiple of heads 3",
        ),
        ({"crossing": [{"modules": [{"kind": "mlp", "width": 3}]}]}, "width"),
        ({"hidden": []}, "at least 1 item"),
    ],
)
def test_settings_that_make_no_network_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        NetworkConfig.model_validate({"kind": "network"} | setting)
