"""The market: a scenario's world, solved for the figures that the scenario states of it, and the arms that serve it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from marketplace.arm import Arm, CacheRule, Fallback, Shuffle, mechanism_of, withheld_by
from marketplace.assignment import MINUTE_MS, everyone
from marketplace.cascade import Cascade, Predict
from marketplace.errors import Refused
from marketplace.record import Tick
from marketplace.runs import read_json, write_json
from marketplace.scenario import FIRST_RANKER, ArmConfig, Scenario
from marketplace.schema import log_schema
from marketplace.shape import WorldFile
from marketplace.simulate import simulate
from marketplace.state import new_state
from models.bias import online_bias
from models.calibrators import Platt
from models.config import CorrectConfig
from models.linear import Linear, weights
from models.predictor import Model
from synth.affinity import Intercepts
from synth.marginals import Marginal, Solved
from synth.traffic import weekday_factor
from synth.types import IdArray, Requests, Truth, Visits
from synth.world import Seen, World, build, populate, rebuild

WORLD = "world.json"
_QUICK, _WHOLE = 80_000, 250_000  # most requests of the pilots that marginals are solved on


def open_market(scenario: Scenario) -> World:
    """Draw the world and solve it for its marginals, under the first ranker, the budgets and the pacing of the scenario.

    Raises:
        Impossible: If no world has these marginals.
    """
    population = populate(scenario.world, scenario.seed)
    return build(population, (partial(_pilot, scenario, _QUICK), partial(_pilot, scenario, _WHOLE)))


def _pilot(scenario: Scenario, most: int, world: World) -> Seen:
    """Run the market's first days, as many of the log's as bring `most` requests.

    All users come, for budgets are paced the more evenly the more there are; only if one day is too many, the first of them
    with their part of the budgets.
    """
    config, n_users = world.population.config, len(world.population.users.region)
    daily = config.marginals.sessions_per_day * config.traffic.requests_per_session
    users = min(n_users, int(most / daily) + 1)
    days = max(1, min(scenario.calendar.log_days, int(most / (daily * users))))
    small = rebuild(world.population.first(users), world.solved, [])
    seen = _Shown()
    state = new_state(scenario, small, budget_share=users / n_users)
    simulate(scenario, small, (first_ranker(scenario),), everyone(users), state, seen, first_day=0, days=days)
    return Seen(
        requests=Requests.stack(seen.requests), visits=Visits.stack(seen.visits), ad=np.concatenate(seen.ad),
        truth=Truth.stack(seen.truth), user_days=users * float(weekday_factor(config.traffic)[np.arange(days) % 7].sum()),
    )  # fmt: skip


class _Shown:
    """A recorder that keeps what was shown to whom."""

    def __init__(self) -> None:
        self.requests: list[Requests] = []
        self.visits: list[Visits] = []
        self.ad: list[IdArray] = []
        self.truth: list[Truth] = []

    def tick(self, tick: Tick) -> None:
        self.requests.append(tick.scored.requests)
        self.visits.append(tick.scored.visits)
        self.ad.append(tick.shown.ad)
        self.truth.append(tick.shown.truth)

    def end_day(self, day: int) -> None:
        """A pilot keeps no days."""


def first_ranker(scenario: Scenario) -> Arm:
    """The arm that the log is collected under.

    Raises:
        Unusable: If a weight names no dense feature of the log.
    """
    shuffle = Shuffle(scenario.log.randomised_share, scenario.seed)
    return model_arm(scenario, FIRST_RANKER, first_model(scenario))._replace(shuffle=shuffle)


def first_model(scenario: Scenario) -> Model:
    """The simple ranker of the log.

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
    return Model(predictor=linear, kind="linear", click=certain, conversion=certain)


def served_arms(scenario: Scenario, models: Mapping[str, Model]) -> tuple[Arm, ...]:
    """The experiment's arms, control first; `models` has all that are trained, by name."""
    n_campaigns = scenario.world.campaigns.count
    ranker = first_ranker(scenario)._replace(shuffle=Shuffle())

    def predict_of(which: str) -> Predict:
        return ranker.predict if which == FIRST_RANKER else models[which].predict

    def served(name: str, config: ArmConfig) -> Arm:
        which = str(config.model)
        if which == FIRST_RANKER:
            arm = ranker._replace(name=name)
        else:
            arm = model_arm(scenario, name, models[which], scenario.models[which].correct)
        withheld, stages, cache = withheld_by(config, n_campaigns), config.cascade, config.cache
        return arm._replace(
            mechanism=mechanism_of(scenario.auction_of(config), scenario.world.feed.slot_effect),
            bid_factor=config.bid_factor,
            withheld=withheld if withheld.any() else None,
            cascade=None if stages is None else Cascade(
                predict_of(stages.light), stages.retrieved, stages.ranked, stages.auctioned
            ),
            cache=None if cache is None else CacheRule(round(cache.ttl_minutes * MINUTE_MS), cache.key),
            fallback=Fallback(predict_of(config.fallback), config.late_share, scenario.seed) if config.late_share else None,
        )  # fmt: skip

    return tuple(served(name, config) for name, config in scenario.arms.items())


def model_arm(scenario: Scenario, name: str, model: Model, correct: CorrectConfig | None = None) -> Arm:
    """The arm that a model serves; what is corrected `online` is, where its config is given."""
    mechanism = mechanism_of(scenario.auction, scenario.world.feed.slot_effect)
    bias = None
    if correct is not None and correct.online == "campaign":
        bias = online_bias(prior=correct.online_prior, half_life=correct.online_half_life)
    return Arm(name, model.predict, mechanism, model.predictor.device, bias=bias)


def save_world(world: World, folder: Path) -> None:
    """Write what was solved for; the rest is drawn again from the scenario."""
    folder.mkdir(parents=True, exist_ok=True)
    solved = {
        "solved": world.solved._asdict() | {"intercepts": world.intercepts._asdict()},
        "marginals": [marginal._asdict() for marginal in world.marginals],
    }  # fmt: skip
    write_json(folder / WORLD, solved)


def load_world(scenario: Scenario, folder: Path) -> World:
    """Draw the scenario's world and set what `save_world` wrote.

    Raises:
        Refused: If the file is missing or damaged.
    """
    solved = read_json(folder / WORLD, WorldFile)
    try:
        marginals = [Marginal(**marginal) for marginal in solved["marginals"]]
        intercepts = Intercepts(**solved["solved"].pop("intercepts"))
        slot_effect = tuple(solved["solved"].pop("slot_effect"))
        return rebuild(
            populate(scenario.world, scenario.seed),
            Solved(intercepts=intercepts, slot_effect=slot_effect, **solved["solved"]),
            marginals,
        )
    except TypeError as error:  # an intercept of another name
        raise Refused(f"{folder / WORLD} is damaged: {error}") from error
