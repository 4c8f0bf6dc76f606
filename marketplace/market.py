"""The market: a scenario's world, solved for the figures that the scenario states of it, and the arms that serve it."""

from pathlib import Path

import numpy as np

from marketplace.assignment import everyone
from marketplace.errors import Refused
from marketplace.record import Tick
from marketplace.runs import read_json, write_json
from marketplace.scenario import Scenario
from marketplace.schema import log_schema
from marketplace.serve import Arm, mechanism_of
from marketplace.simulate import simulate
from marketplace.state import new_state
from models.calibration import Platt
from models.linear import Linear, weights
from models.predictor import Model
from synth.affinity import Intercepts
from synth.marginals import Marginal
from synth.types import IdArray, Requests
from synth.world import World, build, populate, rebuild

WORLD = "world.json"
_PILOT_REQUESTS = 40_000  # on the day that the marginals are solved on


def open_market(scenario: Scenario) -> World:
    """Draw the world and solve it for its marginals, under the first ranker, the budgets and the pacing of the scenario.

    Raises:
        Impossible: If no world has these marginals.
    """
    population = populate(scenario.world, scenario.seed)
    n_users = scenario.world.population.users
    users = min(n_users, int(_PILOT_REQUESTS / scenario.world.population.requests_per_day) + 1)
    arms = (first_ranker(scenario),)

    def pilot(world: World) -> tuple[Requests, IdArray]:
        seen = _Shown()
        state = new_state(scenario, population, budget_share=users / n_users)
        simulate(scenario, world, arms, everyone(n_users), state, seen, first_day=0, days=1, users=users)
        return Requests.stack(seen.requests), np.concatenate(seen.ad)

    return build(population, pilot)


class _Shown:
    """A recorder that keeps what was shown to whom."""

    def __init__(self) -> None:
        self.requests: list[Requests] = []
        self.ad: list[IdArray] = []

    def tick(self, tick: Tick) -> None:
        self.requests.append(tick.scored.requests)
        self.ad.append(tick.shown.ad)

    def end_day(self, day: int) -> None:
        """A pilot keeps no days."""


def first_ranker(scenario: Scenario) -> Arm:
    """The arm that the log is collected under.

    Raises:
        Unusable: If a weight names no dense feature of the log.
    """
    config = scenario.first_ranker
    schema = log_schema(scenario.world)
    linear = Linear(
        click=weights(schema, config.click.intercept, config.click.weights),
        conversion=weights(schema, config.conversion.intercept, config.conversion.weights),
    )
    certain = Platt(1.0, 0.0)
    model = Model(predictor=linear, kind="linear", click=certain, conversion=certain)
    return model_arm(scenario, "first_ranker", model)


def model_arm(scenario: Scenario, name: str, model: Model) -> Arm:
    """The arm that a model serves."""
    mechanism = mechanism_of(scenario.auction, scenario.world.feed.slot_effect)
    return Arm(name, model.predict, mechanism, model.predictor.device)


def save_world(world: World, folder: Path) -> None:
    """Write what was solved for; the rest is drawn again from the scenario."""
    folder.mkdir(parents=True, exist_ok=True)
    solved = {
        "intercepts": world.intercepts._asdict(), "familiar": world.familiar,
        "marginals": [marginal._asdict() for marginal in world.marginals],
    }  # fmt: skip
    write_json(folder / WORLD, solved)


def load_world(scenario: Scenario, folder: Path) -> World:
    """Draw the scenario's world and set what `save_world` wrote.

    Raises:
        Refused: If the file is missing or damaged.
    """
    solved = read_json(folder / WORLD)
    try:
        marginals = [Marginal(**marginal) for marginal in solved["marginals"]]
        return rebuild(
            populate(scenario.world, scenario.seed), Intercepts(**solved["intercepts"]), solved["familiar"], marginals
        )
    except (KeyError, TypeError) as error:
        raise Refused(f"{folder / WORLD} is damaged: {error}") from error
