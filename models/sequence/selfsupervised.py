"""Losses that learn embeddings from the lists alone: an event told from others by its list (van den Oord et al. 2018).

Next action and masked events as in Zhuang et al. (2025). Of each batch only some events are predicted, and only their states are
computed, so that the cost has a bound whatever the lists' lengths.
"""

import torch
from torch import Tensor, nn

from models.config import InfoNceConfig, MaskedConfig, NextActionConfig
from models.sequence.block import NEVER

_HEADS = 2  # so that the event before and the event after can be told apart


class NextAction(nn.Module):
    """Predicts an event from the older ones of its list."""

    def __init__(self, width: int, places: int, config: NextActionConfig) -> None:
        super().__init__()
        self.config = config
        self.reader = Reader(width, places)

    def forward(self, ids: Tensor, events: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of ids (n, h), -1 where a place is free, and their embeddings (n, h, d); 0 if no event has an older one."""
        after = ids[:, :-1].masked_fill(ids[:, 1:] < 0, -1)
        row, place = chosen(after >= 0, self.config.positives, generator)
        return loss(self.states(ids, events, row, place), ids, events, row, place, self.config, generator)

    def states(self, ids: Tensor, events: Tensor, row: Tensor, place: Tensor) -> Tensor:
        """(p, d) what the list `row` (p,) says, before the event at `place` (p,), of that event."""
        older = torch.arange(ids.shape[1], device=ids.device) > place.unsqueeze(1)
        return self.reader(events[row], place + 1, older & (ids[row] >= 0))


class Masked(nn.Module):
    """Predicts hidden events from the others of their list, as BERT4Rec (Sun et al. 2019)."""

    def __init__(self, width: int, places: int, config: MaskedConfig) -> None:
        super().__init__()
        self.config = config
        self.reader = Reader(width, places)
        self.mask = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.05))

    def forward(self, ids: Tensor, events: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of ids (n, h), -1 where a place is free, and their embeddings (n, h, d); 0 if nothing is hidden."""
        filled = ids >= 0
        hidden = filled & (_uniform(ids.shape, ids.device, generator) < self.config.masked_share)
        told = hidden & (filled & ~hidden).any(dim=1, keepdim=True)
        row, place = chosen(told, self.config.positives, generator)
        return loss(self.states(ids, events, hidden, row, place), ids, events, row, place, self.config, generator)

    def states(self, ids: Tensor, events: Tensor, hidden: Tensor, row: Tensor, place: Tensor) -> Tensor:
        """(p, d) what the list `row` (p,), without its events that are `hidden` (n, h), says of that at `place` (p,)."""
        seen = torch.where(hidden[row].unsqueeze(2), self.mask.to(events.dtype), events[row])
        return self.reader(seen, place, ids[row] >= 0)


class Reader(nn.Module):
    """A transformer block, normed before each part, of which only one place's output is computed.

    A place's logit has a part of its lag behind the reading place, by head (Raffel et al. 2020). Lags, unlike places, do not tell
    how many events came later.
    """

    def __init__(self, width: int, places: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.keys_values = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.lag = nn.Parameter(torch.zeros(2 * places - 1, _HEADS))
        self.mix = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, events: Tensor, at: Tensor, visible: Tensor) -> Tensor:
        """Lists (p, h, d), the place (p,) to read each at and the places (p, h) seen from there, itself one, to (p, d)."""
        normed, every = self.before(events), torch.arange(len(at), device=at.device)
        key, value = self.keys_values(normed).unflatten(2, (2, _HEADS, -1)).unbind(2)
        query = self.query(normed[every, at]).unflatten(1, (_HEADS, -1))
        lag = torch.arange(events.shape[1], device=at.device) - at.unsqueeze(1)
        logit = torch.einsum("pae,phae->pha", query, key) * key.shape[3] ** -0.5 + self.lag[lag + len(self.lag) // 2]
        weight = torch.softmax(logit.masked_fill(~visible.unsqueeze(2), NEVER), dim=1).to(value.dtype)
        x = events[every, at] + self.mix(torch.einsum("pha,phae->pae", weight, value).flatten(1))
        return x + self.outer(self.inner(self.between(x)).relu())


def chosen(places: Tensor, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Row and place (p,) of at most `most` of the `places` (n, h) that are True, drawn without replacement."""
    row, place = places.nonzero(as_tuple=True)
    order = torch.randperm(len(row), generator=generator, device=generator.device)[:most].to(row.device)
    return row[order], place[order]


def loss(
    state: Tensor, ids: Tensor, events: Tensor, row: Tensor, place: Tensor, config: InfoNceConfig,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """InfoNCE of states (p, d) whose events are at `row` and `place` (p,), against events drawn from the whole batch.

    An item's chance q to be drawn is its share of the batch's events. Negatives are logits less log(m q), so the sum over them
    estimates that over all other items of the batch, and the loss that of the full softmax (Khrylchenko et al. 2025).
    """
    if not len(row):
        return 0.0 * events.sum()
    row_of, place_of = (ids >= 0).nonzero(as_tuple=True)
    drawn = (_uniform((len(row), config.negatives), ids.device, generator) * len(row_of)).long()
    own = ids[row, place]
    drawn_row, drawn_place = row_of[drawn], place_of[drawn]
    other = ids[drawn_row, drawn_place]
    share = torch.bincount(ids[row_of, place_of]).to(events.dtype) / len(row_of)
    # not in bfloat16, whose steps are as large as what tells events apart; cosines leave the embeddings' norms to the main loss
    with torch.autocast(events.device.type, enabled=False):
        direction = nn.functional.normalize(events, dim=2, eps=1e-6)
        state = nn.functional.normalize(state.to(events.dtype), dim=1, eps=1e-6) / config.temperature
        positive = (state * direction[row, place]).sum(dim=1)
        negative = (direction[drawn_row, drawn_place] @ state.unsqueeze(2)).squeeze(2)
        corrected = negative - (config.negatives * share[other]).log()
        return info_nce(positive, corrected.masked_fill(other == own.unsqueeze(1), NEVER))


def info_nce(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean over p of -log softmax of logits (p,) against those of negatives (p, m)."""
    return (torch.logsumexp(torch.cat([positive.unsqueeze(1), negative], dim=1), dim=1) - positive).mean()


def _uniform(shape: tuple[int, ...], device: torch.device, generator: torch.Generator) -> Tensor:
    """Draws in [0, 1) on the device, the same wherever that is if the generator is."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)
