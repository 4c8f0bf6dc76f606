"""Self-supervised losses: their numbers by hand, what they may see, and a planted transition that they find."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from models.config import MaskedConfig, NextActionConfig, SelfSupervisedConfig
from models.sequence.selfsupervised import Masked, NextAction, Reader, chosen, info_nce, loss

N, H, D, ITEMS, PLACES = 6, 5, 16, 12, 7
LENGTHS = [5, 0, 3, 1, 2, 5]
LOSSES = [NextActionConfig(positives=6, negatives=4), MaskedConfig(positives=6, negatives=4, masked_share=0.5)]


def made(config, width: int = D) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kind = NextAction if config.kind == "next_action" else Masked
        module = kind(width, PLACES, config).double()
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.4)
    return module


def seed(value: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(value)


@pytest.fixture
def ids() -> torch.Tensor:
    free = np.arange(H) >= np.array(LENGTHS)[:, None]
    return torch.from_numpy(np.where(free, -1, np.random.default_rng(1).integers(ITEMS, size=(N, H))))


@pytest.fixture
def events() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(size=(N, H, D)))


def test_info_nce_by_hand():
    positive, negative = torch.tensor([2.0, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])

    by_hand = (np.log(np.exp(2) + np.exp(1) + 1) - 2 + np.log(3)) / 2
    assert float(info_nce(positive, negative)) == pytest.approx(by_hand)


def test_the_gradient_of_info_nce_is_the_softmax_less_the_label():
    logit = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)

    info_nce(logit[:, 0], logit[:, 1:]).backward()

    expected = (torch.softmax(logit.detach(), dim=1) - torch.tensor([1.0, 0, 0, 0, 0])) / 4
    assert torch.allclose(logit.grad, expected)


def test_a_loss_of_two_items_by_hand():
    """Items 7 and 3 fill 1 and 3 of 4 places. Of the event 7 each negative is a 3, or a 7 that does not count."""
    ids = torch.tensor([[7, 3], [3, 3]])
    events = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    config = NextActionConfig(negatives=5, temperature=0.5)
    state = torch.tensor([[3.0, 4.0]])  # cosines 0.6 with 7, 0.8 with 3

    got = loss(state, ids, events, torch.tensor([0]), torch.tensor([0]), config, seed(3))

    drawn_3 = int((torch.rand(1, 5, generator=seed(3)) * 4).long().ne(0).sum())
    others = drawn_3 * np.exp(0.8 / 0.5) / (5 * 0.75)
    assert 0 < drawn_3 < 5
    assert float(got) == pytest.approx(np.log(np.exp(0.6 / 0.5) + others) - 0.6 / 0.5, rel=1e-5)


def test_with_many_negatives_the_loss_is_that_of_the_full_softmax(ids):
    table = torch.from_numpy(np.random.default_rng(3).normal(size=(ITEMS, D)))
    state = torch.from_numpy(np.random.default_rng(4).normal(size=(2, D)))
    row, place = torch.tensor([0, 2]), torch.tensor([1, 0])
    config = NextActionConfig(negatives=200_000, temperature=1.0)

    got = loss(state, ids, table[ids.clamp(min=0)], row, place, config, seed())

    unit, present = nn.functional.normalize(table, dim=1), torch.unique(ids[ids >= 0])
    logit = nn.functional.normalize(state, dim=1) @ unit[present].T
    label = torch.searchsorted(present, ids[row, place])
    assert float(got) == pytest.approx(float(nn.functional.cross_entropy(logit, label)), abs=0.01)


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
def test_gradients_are_those_of_finite_differences(config, ids, events):
    module = made(config)

    assert torch.autograd.gradcheck(lambda e: module(ids, e, seed(1)), (events.requires_grad_(),))


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
def test_gradients_reach_the_events_that_fill_lists_and_all_weights(config, ids, events):
    module = made(config.model_copy(update={"positives": 100, "negatives": 50}))

    module(ids, events.requires_grad_(), seed(2)).backward()

    assert ((events.grad != 0).any(dim=2) == (ids >= 0)).all()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
def test_free_places_do_not_matter(config, ids, events):
    module = made(config)
    other = torch.where((ids >= 0).unsqueeze(2), events, 7.0)

    assert torch.equal(module(ids, other, seed()), module(ids, events, seed()))


def test_more_free_places_do_not_matter_to_a_state(ids, events):
    at = torch.tensor([0, 2, 4]), torch.tensor([1, 0, 0])
    longer_ids, longer = nn.functional.pad(ids, (0, 2), value=-1), nn.functional.pad(events, (0, 0, 0, 2))
    following, masked = (made(config) for config in LOSSES)
    hidden = torch.zeros(N, H, dtype=torch.bool).index_put_(at, torch.tensor(True))

    assert torch.allclose(following.states(longer_ids, longer, *at), following.states(ids, events, *at))
    assert torch.allclose(
        masked.states(longer_ids, longer, nn.functional.pad(hidden, (0, 2)), *at),
        masked.states(ids, events, hidden, *at),
    )


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
@pytest.mark.parametrize("lengths", [[0] * N, [1] * N], ids=["empty", "one event each"])
def test_nothing_to_predict_costs_nothing_and_still_has_a_gradient(config, lengths, ids, events):
    short = ids.masked_fill(torch.arange(H) >= torch.tensor(lengths).unsqueeze(1), -1)

    cost = made(config)(short, events.requires_grad_(), seed())
    cost.backward()

    assert cost.item() == 0
    assert not events.grad.any()


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
def test_a_loss_in_bfloat16_is_near_that_in_float64_and_finite_in_its_gradients(config, ids, events):
    exact = made(config)(ids, events, seed())
    events = events.float().requires_grad_()
    module = made(config).float()

    with torch.autocast("cpu", torch.bfloat16):
        cost = module(ids, events, seed())
    cost.backward()

    assert cost.dtype == torch.float32
    assert cost.item() == pytest.approx(exact.item(), rel=0.05)
    assert events.grad.isfinite().all()


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
def test_a_loss_depends_on_the_generator_alone(config, ids, events):
    module = made(config)

    assert torch.equal(module(ids, events, seed(1)), module(ids, events, seed(1)))
    assert not torch.equal(module(ids, events, seed(1)), module(ids, events, seed(2)))


def test_positives_are_places_without_replacement():
    places = torch.tensor([[True, False, True], [False, True, True]])

    def pairs(most: int) -> list[tuple[int, int]]:
        row, place = chosen(places, most, seed())
        return list(zip(row.tolist(), place.tolist(), strict=True))

    assert sorted(pairs(10)) == [(0, 0), (0, 2), (1, 1), (1, 2)]
    assert len(set(pairs(3))) == 3


def test_the_next_action_is_predicted_from_older_events_alone(ids, events):
    module = made(LOSSES[0])
    row, place = torch.tensor([0, 5]), torch.tensor([1, 2])
    before = module.states(ids, events, row, place)

    for j in range(H):
        changed = events.clone()
        changed[:, j] = changed[:, j].flip(1)
        same = (module.states(ids, changed, row, place) == before).all(dim=1)
        assert same.tolist() == [j <= 1, j <= 2]


def test_a_later_event_moves_no_state(ids, events):
    """Not even by being there."""
    module = made(LOSSES[0])
    row = torch.tensor([2])
    later_ids, later = torch.cat([ids[:, :1], ids], dim=1), torch.cat([events[:, :1], events], dim=1)

    assert torch.allclose(
        module.states(later_ids, later, row, torch.tensor([2])), module.states(ids, events, row, torch.tensor([1]))
    )


def test_a_masked_event_is_predicted_from_the_others_that_are_not_hidden(ids, events):
    module = made(LOSSES[1])
    hidden = torch.zeros(N, H, dtype=torch.bool)
    hidden[0, [1, 3]] = True
    at = torch.tensor([0]), torch.tensor([1])
    before = module.states(ids, events, hidden, *at)

    for j in range(H):
        changed = events.clone()
        changed[0, j] = changed[0, j].flip(0)
        assert torch.equal(module.states(ids, changed, hidden, *at), before) == (j in (1, 3))


def test_the_reader_written_out(events):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reader = Reader(D, PLACES).double()
        for parameter in reader.parameters():
            nn.init.normal_(parameter, std=0.4)
    w = {key: value.detach().numpy() for key, value in reader.state_dict().items()}
    at, visible = torch.tensor([1, 4, 0]), torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]) > 0
    y = reader(events[:3], at, visible).detach().numpy()

    def line(layer: str, x: np.ndarray) -> np.ndarray:
        return w[f"{layer}.weight"] @ x + w[f"{layer}.bias"]

    def norm(layer: str, x: np.ndarray) -> np.ndarray:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{layer}.weight"] + w[f"{layer}.bias"]

    for own, here, seen, got in zip(events[:3].numpy(), at.tolist(), visible.tolist(), y, strict=True):
        query, attended = line("query", norm("before", own[here])), []
        for head, part in enumerate(np.split(np.arange(D), 2)):
            total, weights = np.zeros(D // 2), 0.0
            for j in range(H):
                if seen[j]:
                    key, value = np.split(line("keys_values", norm("before", own[j])), 2)
                    weight = np.exp(query[part] @ key[part] / np.sqrt(D / 2) + w["lag"][PLACES - 1 + j - here, head])
                    total, weights = total + weight * value[part], weights + weight
            attended.append(total / weights)
        x = own[here] + line("mix", np.concatenate(attended))
        assert got == pytest.approx(x + line("outer", np.maximum(line("inner", norm("between", x)), 0)))


@pytest.mark.parametrize(
    "config", [NextActionConfig(positives=256), MaskedConfig(positives=256, masked_share=0.3)], ids=lambda c: c.kind
)
def test_a_planted_transition_is_found(config):
    """Item i is followed by next[i] nine times in ten, else by any: the embeddings and the reader learn which."""
    items, rng = 30, np.random.default_rng(5)
    following = rng.permutation(items)
    lists = np.empty((2_000, PLACES), np.int64)
    lists[:, -1] = rng.integers(items, size=len(lists))
    for j in range(PLACES - 2, -1, -1):
        stray = rng.random(len(lists)) < 0.1
        lists[:, j] = np.where(stray, rng.integers(items, size=len(lists)), following[lists[:, j + 1]])
    ids, generator = torch.from_numpy(lists), seed(6)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = (NextAction if config.kind == "next_action" else Masked)(D, PLACES, config)
        table = nn.Embedding(items, D)
    optimiser = torch.optim.Adam([*module.parameters(), *table.parameters()], lr=1e-2)
    for step in range(150):
        batch = ids[(step % 8) * 250 :][:250]
        optimiser.zero_grad()
        module(batch, table(batch), generator).backward()
        optimiser.step()

    chain = torch.empty(items, PLACES, dtype=torch.int64)  # one of each item, without strays
    chain[:, -1] = torch.arange(items)
    for j in range(PLACES - 2, -1, -1):
        chain[:, j] = torch.from_numpy(following)[chain[:, j + 1]]
    at = torch.arange(items), torch.full((items,), 3)
    with torch.no_grad():
        if config.kind == "next_action":
            state = module.states(chain, table(chain), *at)
        else:
            hidden = (torch.arange(PLACES) == 3).expand(items, PLACES)
            state = module.states(chain, table(chain), hidden, *at)
        found = (state @ nn.functional.normalize(table.weight, dim=1).T).argmax(dim=1)
    recall = (found == chain[:, 3]).float().mean().item()
    print("recall", recall)
    assert recall > 0.8


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
def test_settings_survive_a_round_trip(config):
    assert TypeAdapter(SelfSupervisedConfig).validate_python(config.model_dump()) == config


@pytest.mark.parametrize(
    "setting",
    [{"kind": "next_action", "masked_share": 0.2}, {"kind": "masked", "weight": 0}, {"kind": "masked", "negatives": 0}],
)
def test_settings_that_make_no_loss_are_refused(setting):
    with pytest.raises(ValidationError):
        TypeAdapter(SelfSupervisedConfig).validate_python(setting)
