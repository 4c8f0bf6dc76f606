"""Attention among a list's events and a target, for many targets of one list."""

import torch
from torch import Tensor, nn

NEVER = -1e9  # logit of a free place; not minus infinity, of which an empty list would make NaN

Parts = tuple[Tensor, Tensor, Tensor]  # queries, keys and values


class Block(nn.Module):
    """LN(x + attention(x)), then LN(x + W LeakyReLU(V x)), over [target, events] of each of a request's k targets.

    What attends to events and target is its attention to events alone, moved towards the target's value by
    sigmoid(logit of the target - logsumexp of the events' logits). The former is the same for all targets as long as the events
    are, so events come as (n, 1, h, d) before the first block, which gives (n, k, h, d).
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        self.between, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, events: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """(n, k, 1, d), (n, 1 or k, h, d) and (n, h) to (n, k, 1, d) and (n, k, h, d)."""
        of_target, of_events = self.parts(target), self.parts(events)
        mixed = [among(query, of_events, of_target, filled) for query, _, _ in (of_target, of_events)]
        return self.rest(target, mixed[0]), self.rest(events, mixed[1])

    def parts(self, x: Tensor) -> Parts:
        """Queries, keys and values (n, g, t, heads, d / heads) each of (n, g, t, d)."""
        query, key, value = self.queries_keys_values(x).unflatten(3, (3, self.heads, -1)).unbind(3)
        return query, key, value

    def rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        """What follows the heads' outputs, place by place."""
        x = self.between(x + self.dropout(self.mix(mixed.flatten(3))))
        return self.after(x + self.dropout(self.outer(nn.functional.leaky_relu(self.inner(x)))))


def among(query: Tensor, events: Parts, target: Parts, filled: Tensor) -> Tensor:
    """Softmax attention to the filled events (n, h) and the target, (n, g, places, heads, e) each; g of 1 is for all k."""
    _, key, value = events
    logit = logits(query, key).masked_fill(~filled[:, None, None, None], NEVER)
    to_events = torch.einsum("ngtas,ngsae->ngtae", torch.softmax(logit, dim=4).to(value.dtype), value)
    _, key, value = target
    weight = torch.sigmoid(logits(query, key) - torch.logsumexp(logit, dim=4, keepdim=True))
    return torch.lerp(to_events, value, weight.to(value.dtype))


def logits(query: Tensor, key: Tensor) -> Tensor:
    """(n, g, t, heads, e) and (n, g, s, heads, e) to (n, g, t, heads, s)."""
    return torch.einsum("ngtae,ngsae->ngtas", query, key) * query.shape[4] ** -0.5


def positions(width: int, places: int) -> nn.Parameter:
    """(1 + places, d) of the target and of the events; drawn as embeddings are."""
    return nn.Parameter(nn.init.normal_(torch.empty(1 + places, width), std=0.05))


def placed(target: Tensor, events: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Targets (n, k, d) and events (n, h, d) with their positions, as the first block takes them."""
    return (target + position[0]).unsqueeze(2), (events + position[1 : 1 + events.shape[1]]).unsqueeze(1)
