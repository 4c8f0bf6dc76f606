"""Sessions: each lives for a need, which shows in what the user searches for and looks at before an ad is shown."""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from synth.affinity import Tastes
from synth.config import IntentConfig
from synth.draws import Cause, uniform1
from synth.drift import season, turn
from synth.items import Shelf
from synth.types import Float32Array, daypart_of

_PAGE_MASK = 31  # of a request's id: its page within the session


class Intent(NamedTuple):
    """The laws of needs and of what shows of them."""

    switch: float
    views: float
    focus: float
    search: float
    familiar_views: float


def intent_of(config: IntentConfig, familiar_views: float) -> Intent:
    """The scenario's laws."""
    return Intent(config.switch, config.views, config.focus, config.search, familiar_views)


@register_jitable
def need_of(
    tastes: Tastes, intent: Intent, shelf: Shelf, cuisine_style: Float32Array, region: int, user: int, request: int,
    time_ms: int,
) -> int:  # fmt: skip
    """The dish that a user is after at a request; -1 where the region has nothing.

    A session's need is drawn at its first page and, with probability `switch`, anew at each later one. The cuisine has weight
    exp(match x taste . style / sqrt(d) + daypart + season), if the region has it; the dish, that of its stores' popularity.
    The weights are those of the request's own time, so where a session runs on into the next part of the day the need may
    change without a switch.
    """
    page = request & _PAGE_MASK
    start = request - page
    while page > 0 and uniform1(tastes.luck, Cause.NEED_SWITCH, start + page, 0) >= intent.switch:
        page -= 1
    n_cuisines, dims = cuisine_style.shape
    part = daypart_of(time_ms)
    total = np.empty(n_cuisines + 1)
    total[0] = 0.0
    turned = turn(tastes.drift, time_ms)
    for c in range(n_cuisines):
        group = region * shelf.n_dishes + c * tastes.siblings
        fit = np.float32(0.0)
        for d in range(dims):
            fit += tastes.user_taste[user, d] * cuisine_style[c, d]
        weight = np.exp(tastes.match * fit + tastes.daypart[part, c] + season(tastes.drift, c, turned))
        total[c + 1] = total[c] + (weight if shelf.start[group + tastes.siblings] > shelf.start[group] else 0.0)
    if total[n_cuisines] == 0.0:
        return -1
    at = uniform1(tastes.luck, Cause.NEED, start + page, 0) * total[n_cuisines]
    cuisine = np.searchsorted(total[1:n_cuisines], at, side="right")
    first = region * shelf.n_dishes + cuisine * tastes.siblings
    low = shelf.total[shelf.start[first]]
    high = shelf.total[shelf.start[first + tastes.siblings]]
    at = low + uniform1(tastes.luck, Cause.NEED_DISH, start + page, 0) * (high - low)
    dish = 0
    while dish < tastes.siblings - 1 and shelf.total[shelf.start[first + dish + 1]] <= at:
        dish += 1
    return cuisine * tastes.siblings + dish
