"""Pools that know no target: the mean of all events, and of the last ones."""

import torch
from torch import Tensor, nn

from models.sequence.lists import Lists


class Mean(nn.Module):
    """Mean of the events; if `places` > 0, by weights that are learned for the places, and events past them do not count.

    A place's weight is e to the power of its logit. All are equal at first.
    """

    def __init__(self, places: int = 0) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(places)) if places else None

    def forward(self, events: Tensor, lists: Lists) -> Tensor:
        """Events (L, d) to (n, d); zeros where a list is empty."""
        if self.places is None:
            return weighed(events, events.new_ones(len(events), dtype=torch.float32), lists)
        return weighed(events, (self.places - self.places.max().detach()).exp()[lists.place], lists)


class Last(nn.Module):
    """Mean of the last events, as the baseline of adSformers (Awad et al. 2023)."""

    def __init__(self, events: int) -> None:
        super().__init__()
        self.events = events

    def forward(self, events: Tensor, lists: Lists) -> Tensor:
        """Events (L, d) to (n, d); zeros where a list is empty."""
        return weighed(events, (lists.place < self.events).to(torch.float32), lists)


def weighed(events: Tensor, weight: Tensor, lists: Lists) -> Tensor:
    """Mean (n, d) of events (L, d) by their weights (L,); zeros of an empty list."""
    with torch.autocast(events.device.type, enabled=False):
        events = events.to(torch.promote_types(events.dtype, torch.float32))
        total = lists.total(torch.cat([events * weight.unsqueeze(1), weight.unsqueeze(1)], dim=1))
        return total[:, :-1] / total[:, -1:].clamp(min=1e-30)
