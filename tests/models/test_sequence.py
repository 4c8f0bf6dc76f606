"""Sequence encoders against their formulas written out, request by request and target by target, in numpy."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from models.config import AdsformerConfig, BstConfig, DinConfig, LastConfig, MeanConfig, SequenceConfig
from models.sequence.adsformer import Adsformer
from models.sequence.bst import Bst
from models.sequence.din import Din
from models.sequence.lists import Lists
from models.sequence.pooling import Last, Mean

N, K, H, D, PLACES = 5, 3, 6, 16, 8
LENGTHS = [6, 0, 3, 1, 6]
DIN = DinConfig(hidden=16)
BST = BstConfig(layers=2, heads=4, feed_forward=32)
ADSFORMER = AdsformerConfig(heads=2, feed_forward=32)
ADSFORMER_MEAN = ADSFORMER.model_copy(update={"pool": "mean"})
TARGET_AWARE = [DIN, BST, ADSFORMER, ADSFORMER_MEAN]
ORDERED = [BST, ADSFORMER, ADSFORMER_MEAN]
POOLS = [Mean(), Mean(PLACES), Mean(4), Last(2)]
CLASSES = {DinConfig: Din, BstConfig: Bst, AdsformerConfig: Adsformer}


def name(config) -> str:
    return "-".join(str(value) for value in config.model_dump().values())


def drawn(module: nn.Module) -> nn.Module:
    """The module with every weight drawn, so that a part which starts at zero or one counts too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = module.double().eval()
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.4)
    return module


def pooled(module: nn.Module, events: torch.Tensor, filled: torch.Tensor) -> torch.Tensor:
    """A pool of lists given in padded form."""
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), filled.sum(dim=1).cumsum(0)])
    places = len(module.places) if isinstance(module, Mean) and module.places is not None else PLACES
    lists = Lists.of(torch.arange(int(offsets[-1])), offsets, places)
    return module(events[filled][lists.values], lists)


def made(config, places: int = PLACES) -> nn.Module:
    return drawn(CLASSES[type(config)](D, places, config))


@pytest.fixture
def target() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(N, K, D)))


@pytest.fixture
def events() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(size=(N, H, D)))


@pytest.fixture
def filled() -> torch.Tensor:
    return torch.arange(H) < torch.tensor(LENGTHS).unsqueeze(1)


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    return {key: value.detach().numpy() for key, value in module.state_dict().items()}


def line(w: dict[str, np.ndarray], layer: str, x: np.ndarray) -> np.ndarray:
    return w[f"{layer}.weight"] @ x + w[f"{layer}.bias"]


def norm(w: dict[str, np.ndarray], layer: str, x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{layer}.weight"] + w[f"{layer}.bias"]


def block(w: dict[str, np.ndarray], prefix: str, heads: int, x: np.ndarray) -> np.ndarray:
    """Plain self-attention among tokens (t, d), then the feed-forward, each with a residual and a norm after it."""
    q, k, v = np.split(np.array([line(w, f"{prefix}.queries_keys_values", token) for token in x]), 3, axis=1)
    out = []
    for i, token in enumerate(x):
        attended = []
        for at in np.split(np.arange(D), heads):
            weight = np.exp([q[i, at] @ key[at] / np.sqrt(len(at)) for key in k])
            attended.append(sum(a * value[at] for a, value in zip(weight / weight.sum(), v, strict=True)))
        y = norm(w, f"{prefix}.between", token + line(w, f"{prefix}.mix", np.concatenate(attended)))
        inner = line(w, f"{prefix}.inner", y)
        out.append(norm(w, f"{prefix}.after", y + line(w, f"{prefix}.outer", np.where(inner > 0, inner, 0.01 * inner))))
    return np.array(out)


def tokens(w: dict[str, np.ndarray], target: np.ndarray, events: np.ndarray) -> np.ndarray:
    return np.array([target, *events]) + w["position"][: 1 + len(events)]


def lists(target: torch.Tensor, events: torch.Tensor):
    """Each request and target with the events that fill its list."""
    for i, length in enumerate(LENGTHS):
        for j in range(K):
            yield i, j, target[i, j].numpy(), events[i, :length].numpy()


@pytest.mark.parametrize("config", TARGET_AWARE, ids=name)
def test_an_encoder_gives_what_it_says_and_passes_gradients_to_all_its_weights(config, target, events, filled):
    module = made(config, places=H)
    target.requires_grad_()
    events.requires_grad_()

    y = module(target, events, filled)
    y.pow(3).sum().backward()

    assert y.shape == (N, K, module.out)
    assert ((events.grad != 0).any(dim=2) == filled).all()
    assert (target.grad != 0).any(dim=2)[filled[:, 0]].all()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize("config", TARGET_AWARE, ids=name)
def test_gradients_are_those_of_finite_differences(config, target, events, filled):
    module = made(config)
    x = target[:3, :2].requires_grad_(), events[:3].requires_grad_()

    assert torch.autograd.gradcheck(lambda t, e: module(t, e, filled[:3]).square().sum(dim=2), x, eps=1e-6, atol=1e-4)


@pytest.mark.parametrize("pool", POOLS, ids=repr)
def test_gradients_of_pools_are_those_of_finite_differences(pool, events, filled):
    module = drawn(pool)

    assert torch.autograd.gradcheck(lambda e: pooled(module, e, filled), (events.requires_grad_(),))


@pytest.mark.parametrize("config", TARGET_AWARE, ids=name)
def test_a_row_does_not_depend_on_its_company(config, target, events, filled):
    module = made(config)
    y = module(target, events, filled)

    assert torch.allclose(module(target[2:3], events[2:3], filled[2:3]), y[2:3], atol=1e-12)
    assert torch.allclose(module(target[:, 1:2], events, filled), y[:, 1:2], atol=1e-12)


@pytest.mark.parametrize("config", TARGET_AWARE, ids=name)
def test_free_places_do_not_matter(config, target, events, filled):
    module = made(config)
    y = module(target, events, filled)
    other = torch.where(filled.unsqueeze(2), events, 7.0)

    assert torch.allclose(module(target, other, filled), y, atol=1e-12)
    assert torch.allclose(module(target[1:4], events[1:4, :3], filled[1:4, :3]), y[1:4], atol=1e-12)
    assert torch.allclose(module(target[1:2], events[1:2, :0], filled[1:2, :0]), y[1:2], atol=1e-12)


@pytest.mark.parametrize("pool", POOLS, ids=repr)
def test_a_pool_of_an_empty_list_is_zero_and_of_a_list_does_not_depend_on_its_company(pool, events, filled):
    module = drawn(pool)
    y = pooled(module, events, filled)

    assert torch.allclose(pooled(module, events[1:4], filled[1:4]), y[1:4], atol=1e-12)
    assert not y[1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", TARGET_AWARE, ids=name)
def test_empty_lists_have_an_output_and_gradients_in_either_precision(config, dtype, target, events, filled):
    module = made(config).float().train()
    target, events = target.float().requires_grad_(), events.float().requires_grad_()

    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = module(target, events, filled & False)
        some = module(target, events, filled)
    (y.float().square().sum() + some.float().square().sum()).backward()

    assert y.isfinite().all() and some.isfinite().all()
    for tensor in (target, events, *module.parameters()):
        assert tensor.grad.isfinite().all()
    exact = made(config)(target.double(), events.double(), filled)
    assert torch.allclose(some.double(), exact, rtol=0.1, atol=0.2 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("config", TARGET_AWARE, ids=name)
def test_an_encoder_runs_with_its_weights_in_bfloat16(config, target, events, filled):
    module = made(config).bfloat16()

    assert module(target.bfloat16(), events.bfloat16(), filled).dtype == torch.bfloat16


@pytest.mark.parametrize("config", TARGET_AWARE, ids=name)
def test_another_target_is_another_output(config, target, events, filled):
    module = made(config)
    y = module(target, events, filled)
    other = target.clone()
    other[:, 1] += 1.0

    changed = (module(other, events, filled) != y).any(dim=2)

    assert changed[filled[:, 0], 1].all()
    assert not changed[:, [0, 2]].any()


@pytest.mark.parametrize("encode", [Mean(), made(DIN)], ids=repr)
def test_means_and_din_do_not_know_the_order_of_events(encode, target, events):
    full, order = torch.ones(N, H, dtype=torch.bool), torch.tensor([3, 1, 5, 0, 2, 4])

    def encoded(events: torch.Tensor) -> torch.Tensor:
        return pooled(encode, events, full) if isinstance(encode, Mean) else encode(target, events, full)

    assert torch.allclose(encoded(events[:, order]), encoded(events), atol=1e-12)


@pytest.mark.parametrize("config", ORDERED, ids=name)
def test_transformers_know_the_order_of_events_by_positions_alone(config, target, events):
    module, full = made(config), torch.ones(N, H, dtype=torch.bool)
    order = torch.tensor([3, 1, 5, 0, 2, 4])

    def own(shuffled: torch.Tensor) -> torch.Tensor:
        return module(target, shuffled, full)[:, :, :D]  # of BST the target's place, the others move with their events

    assert (own(events[:, order]) - own(events)).abs().amax(dim=2).min() > 1e-3
    nn.init.zeros_(module.position)
    assert torch.allclose(own(events[:, order]), own(events), atol=1e-12)


def test_the_mean_by_hand():
    events = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [50.0, 50.0]], [[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]])
    filled = torch.tensor([[True, True, False], [False, False, False]])

    assert pooled(Mean(), events, filled).tolist() == [[2.0, 4.0], [0.0, 0.0]]
    weighed = Mean(3)
    assert pooled(weighed, events, filled).tolist() == [[2.0, 4.0], [0.0, 0.0]]
    with torch.no_grad():
        weighed.places.copy_(torch.tensor([3.0, 1.0, 5.0]).log())
    assert pooled(weighed, events, filled)[0].tolist() == pytest.approx([1.5, 3.0])
    assert not pooled(weighed, events, filled)[1].any()


def test_a_mean_by_places_counts_no_event_past_them(events, filled):
    first = pooled(drawn(Mean(4)), events[:, :4], filled[:, :4])
    assert torch.allclose(pooled(drawn(Mean(4)), events, filled), first)


def test_last_is_the_mean_of_the_most_recent_events(events, filled):
    y = pooled(Last(2), events, filled)

    for i, length in enumerate(LENGTHS):
        recent = events[i, : min(length, 2)]
        assert y[i].tolist() == pytest.approx(recent.mean(dim=0).tolist() if length else [0.0] * D)


def test_last_forgets_what_is_older(events, filled):
    older = events.clone()
    older[:, 5:] = 3.0

    assert torch.equal(pooled(Last(5), older, filled), pooled(Last(5), events, filled))
    assert not torch.equal(pooled(Last(6), older, filled), pooled(Last(6), events, filled))


def test_din_written_out(target, events, filled):
    module = made(DIN)
    y, w = module(target, events, filled).detach().numpy(), weights(module)

    for i, j, t, own in lists(target, events):
        total = np.zeros(D)
        for e in own:
            inner = line(w, "inner", np.concatenate((e, t, e - t, e * t)))
            total += line(w, "outer", np.where(inner > 0, inner, w["slope"] * inner)) * e
        assert y[i, j] == pytest.approx(total)


def test_bst_written_out(target, events, filled):
    module = made(BST)
    y, w = module(target, events, filled).detach().numpy(), weights(module)

    for i, j, t, own in lists(target, events):
        x = tokens(w, t, own)
        for layer in range(2):
            x = block(w, f"blocks.{layer}", 4, x)
        assert y[i, j] == pytest.approx(np.concatenate((x.ravel(), np.zeros((PLACES - len(own)) * D))))


@pytest.mark.parametrize("config", [ADSFORMER, ADSFORMER_MEAN], ids=name)
def test_adsformer_written_out(config, target, events, filled):
    module = made(config)
    y, w = module(target, events, filled).detach().numpy(), weights(module)

    for i, j, t, own in lists(target, events):
        x = block(w, "block", 2, tokens(w, t, own))
        assert y[i, j] == pytest.approx(x.max(axis=0) if config.pool == "max" else x.mean(axis=0))


@pytest.mark.parametrize("config", [MeanConfig(), LastConfig(events=3), *TARGET_AWARE], ids=name)
def test_settings_survive_a_round_trip(config):
    assert TypeAdapter(SequenceConfig).validate_python(config.model_dump()) == config
