"""State: all that a simulation carries from one moment to the next, in memory and on disk."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from auction import to_micros
from auction.pacing import Pacer, dual_descent, hard_stop, pace, pid, throttling, unpaced
from marketplace.errors import DAMAGED, Refused
from marketplace.features import Features, new_features
from marketplace.ledger import Ledger, open_ledger
from marketplace.orders import ORDER, Orders, no_orders
from marketplace.scenario import PacingConfig, Scenario
from synth.fatigue import Fatigue
from synth.habits import Habits
from synth.types import FloatArray
from synth.world import Minds, World

_FILE = "state.npz"
_COUNTERS = (
    "user_clicks",
    "user_impressions",
    "ad_clicks",
    "ad_examined",
    "ad_orders",
    "store_orders",
    "views",
    "session",
    "searches",
    "clicks",
)


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """All that a simulation carries from one moment to the next."""

    minds: Minds
    features: Features
    ledger: Ledger
    pacing: FloatArray  # (c,) or (c, things remembered), state of the pacer
    orders: Orders  # placed later than now

    def copy(self) -> "State":
        """Independent of the original from here on."""
        return State(
            minds=self.minds.copy(), features=self.features.copy(), ledger=self.ledger.copy(),
            pacing=self.pacing.copy(), orders=self.orders.copy(),
        )  # fmt: skip

    def of_first(self, users: int) -> "State":
        """For the first users alone, with their part of the budgets and the orders that they have placed; moves on with it."""
        share = users / len(self.minds.habits.store)
        ledger = replace(
            self.ledger,
            daily=np.floor(share * self.ledger.daily).astype(np.int64),
            remaining=np.floor(share * self.ledger.remaining).astype(np.int64),
        )
        return replace(self, ledger=ledger, orders=self.orders[self.orders["user"] < users])


def new_state(scenario: Scenario, world: World, budget_share: float = 1.0) -> State:
    """The market on its first morning, with `budget_share` of every budget."""
    population = world.population
    return State(
        minds=world.minds(),
        features=new_features(population, scenario.features.smoothing),
        ledger=open_ledger(to_micros(budget_share * population.campaigns.daily_budget_usd)),
        pacing=pacer_of(scenario.pacing).init(len(population.campaigns.bid_usd)),
        orders=no_orders(),
    )


def pacer_of(config: PacingConfig) -> Pacer:
    """The scenario's pacer, ready to run."""
    makers: dict[str, Callable[[], Pacer]] = {
        "dual": lambda: dual_descent(step=config.step),
        "pid": lambda: pid(kp=config.kp, ki=config.ki, kd=config.kd, lowest=config.lowest),
        "pace": lambda: pace(lowest=config.lowest),
        "throttling": lambda: throttling(step=config.step, lowest=config.lowest),
        "hard_stop": hard_stop,
        "none": unpaced,
    }
    return makers[config.pacer]()


def save_state(state: State, folder: Path) -> None:
    """Write the state between two days to a new folder."""
    folder.mkdir()
    state.features.publish()
    np.savez(
        folder / _FILE,
        **{f"habits_{name}": column for name, column in state.minds.habits._asdict().items()},
        **{f"fatigue_{name}": column for name, column in state.minds.fatigue._asdict().items()},
        **{f"history_{name}": column for name, column in state.features.history._asdict().items()},
        remaining=state.ledger.remaining, pacing=state.pacing, orders=state.orders,
        **{name: getattr(state.features, name) for name in _COUNTERS},
    )  # fmt: skip


def load_state(scenario: Scenario, world: World, folder: Path) -> State:
    """Read a state that `save_state` wrote, for the same scenario.

    Raises:
        Refused: If it is missing, damaged or of another market.
    """
    state, population = new_state(scenario, world), world.population
    try:
        with np.load(folder / _FILE, allow_pickle=False) as saved:
            arrays = dict(saved)
        state.minds = Minds(
            Habits(*(arrays[f"habits_{name}"] for name in Habits._fields)),
            Fatigue(*(arrays[f"fatigue_{name}"] for name in Fatigue._fields)),
        )
        state.features.history = Habits(*(arrays[f"history_{name}"] for name in Habits._fields))
        for name in _COUNTERS:
            setattr(state.features, name, arrays[name])
        state.ledger.remaining, state.pacing, state.orders = arrays["remaining"], arrays["pacing"], arrays["orders"]
    except DAMAGED as error:
        raise Refused(f"{folder / _FILE} is missing or damaged: {error}") from None
    if state.orders.dtype != ORDER:
        raise Refused(f"{folder / _FILE} is of another version: its orders have other columns")
    if state.minds.habits.store.shape != population.habits.store.shape:
        raise Refused(f"{folder / _FILE} is of a market with {len(state.minds.habits.store)} users")
    state.features.seen.append(np.arange(len(state.minds.habits.store), dtype=np.int32))
    state.features.publish()
    return state
