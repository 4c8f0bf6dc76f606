"""Scenarios: a TOML file, overridden by key=value, becomes a validated description of a market and an experiment."""

import difflib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError, model_validator

from marketplace.assignment import sizes_of
from marketplace.errors import Refused
from marketplace.servers import CostConfig, Name, ServingConfig, TopologyName
from models.config import GbdtConfig, ModelConfig, NetworkConfig
from synth.config import Count, NonNegative, Positive, Strict, WorldConfig

DesignName = Literal["users", "sessions", "requests", "advertisers", "budgets", "switchback", "clusters"]
DESIGN_NAMES = get_args(DesignName)
CacheKey = Literal["user", "session", "cohort"]
MechanismName = Literal["gsp", "first_price", "vcg", "second_price"]
CONTROL, FIRST_RANKER = "control", "first_ranker"  # names of an arm, and of a model that is not trained


class CalendarConfig(Strict):
    """How long the log is collected under the first ranker, and how long the test runs."""

    log_days: int = Field(
        7, ge=3, le=365, description="the last but one calibrates the models, the last evaluates them"
    )
    test_days: int = Field(7, ge=1, le=365)


class AuctionConfig(Strict):
    """How slots are sold."""

    mechanism: MechanismName = Field(
        "gsp", description="second_price for one slot only; vcg and second_price for squash 1 only"
    )
    squash: float = Field(1.0, ge=0, le=1)
    reserve_cpm_usd: NonNegative = Field(0.0, description="least price of an impression, for CPM campaigns")
    reserve_cpc_usd: NonNegative = Field(0.0, description="least price of a click")
    reserve_cpa_usd: NonNegative = Field(0.0, description="least price of a conversion")
    reserve_ocpm_usd: NonNegative = Field(0.0, description="least price of an impression, for oCPM campaigns")
    attribution_days: Positive = Field(7.0, description="a conversion is attributed up to so long after the click")
    view_attribution_days: NonNegative = Field(
        0.0, description="and up to so long after an ad that was seen and not clicked; 0 is never"
    )


class PacingConfig(Strict):
    """How budgets are spread over the day."""

    pacer: Literal["dual", "pid", "pace", "throttling", "hard_stop", "none"] = Field(
        "dual", description="pace for first_price only; hard_stop counts charges still to come, none does not"
    )
    interval_minutes: int = Field(30, ge=1, le=240)
    step: Positive = Field(
        2.0,
        description="dual, throttling: change of mu, or of the probability, for one daily budget spent ahead of plan",
    )
    kp: NonNegative = Field(0.1, description="pid: gain of the change of the relative error")
    ki: Positive = Field(0.2, description="pid: gain of the relative error, once per interval")
    kd: NonNegative = Field(0.0, description="pid: gain of the second difference of the relative error")
    lowest: float = Field(0.01, gt=0, le=1, description="pid, pace, throttling: least multiplier or probability")

    @model_validator(mode="after")
    def _divides_a_part_of_the_day(self) -> Self:
        if 240 % self.interval_minutes:  # schedules change with the part of the day
            raise ValueError(
                f"interval_minutes is {self.interval_minutes}, it must divide the 240 of a part of the day"
            )
        return self


class FeaturesConfig(Strict):
    """How fresh the features are that models see."""

    publish_minutes: int = Field(60, ge=1, description="how often aggregates and histories are published")
    smoothing: Positive = Field(200.0, description="impressions that the market's mean weighs in an ad's rates")


class WeightsConfig(Strict):
    """A logit with given weights."""

    intercept: float
    weights: dict[str, float] = Field({}, description="by name of a dense feature")


class FirstRankerConfig(Strict):
    """The simple ranker that the log is collected under."""

    click: WeightsConfig
    conversion: WeightsConfig


Withhold = Annotated[
    Annotated[Literal["none", "all"], Tag("word")] | Annotated[list[Annotated[int, Field(ge=0)]], Tag("ids")],
    Discriminator(lambda given: "ids" if isinstance(given, list) else "word"),  # so that one rule is quoted, not both
]


class CascadeConfig(Strict):
    """Ranking in stages, each of which passes on the candidates that are worth the most to it."""

    light: str = Field(description="light ranker: a name in [models], such as one of kind two_tower, or first_ranker")
    retrieved: Count = Field(600, description="candidates that retrieval passes on, instead of world.feed.candidates")
    ranked: Count = Field(100, description="of those, by the light ranker: the arm's model scores them")
    auctioned: Count = Field(50, description="of those, by the arm's model")

    @model_validator(mode="after")
    def _narrows(self) -> Self:
        if not self.retrieved >= self.ranked >= self.auctioned:
            raise ValueError(
                f"retrieved, ranked and auctioned are {self.retrieved}, {self.ranked} and {self.auctioned}, they must not rise"
            )
        return self


class CacheConfig(Strict):
    """Predictions that are used again for a while."""

    ttl_minutes: Positive = Field(description="a prediction is used again while it is younger")
    key: CacheKey = Field("user", description="whose requests share the predictions for an ad")


class ArmConfig(Strict):
    """What a side of the experiment does its own way."""

    share: float | None = Field(
        None, gt=0, lt=1, description="of the units; by default an equal part of what the other arms leave"
    )
    model: str | None = Field(
        None,
        description="a name in [models], or first_ranker; by default that of the arm's name, else the control arm's",
    )
    bid_factor: Positive = Field(1.0, description="all bids times this")
    mechanism: MechanismName | None = Field(None, description="instead of auction.mechanism")
    squash: float | None = Field(None, ge=0, le=1, description="instead of auction.squash")
    withhold: Withhold = Field(
        "none", description="campaigns whose ads are not shown, though they take part in the auctions (ghost ads)"
    )
    cascade: CascadeConfig | None = Field(None, description="by default the model ranks all that is retrieved")
    cache: CacheConfig | None = Field(None, description="by default every prediction is made anew")
    late_share: float = Field(
        0.0, ge=0, lt=1, description="of requests whose predictions come too late: they get those of fallback"
    )
    fallback: str = Field(FIRST_RANKER, description="a name in [models], or first_ranker")
    topology: TopologyName | None = Field(None, description="instead of serving.topology")


class StageConfig(Strict):
    """A stage of a ramp."""

    days: Count
    share: float = Field(gt=0, lt=1, description="of all arms but control together, in proportion to their shares")


class ExperimentConfig(Strict):
    """Who is in which arm, and how the test is read."""

    design: DesignName = Field(
        "users", description="what is split at random; budgets: users, and every campaign's budget with them"
    )
    arms: dict[Name, ArmConfig] = Field(
        {},
        description="control comes first; every model is an arm of its own name, unless it is only a light ranker or fallback of "
        "arms; others are named here",
    )
    block_minutes: int = Field(240, ge=1, description="switchback: length of a block of time")
    burn_in_minutes: int = Field(0, ge=0, description="switchback: first part of a block, which is not read")
    cluster: Literal["region", "cohort"] = Field("region", description="clusters: users of one are in one arm")
    ramp: list[StageConfig] = Field(
        [], description="users: shares that rise from stage to stage; the arms' own if empty"
    )
    adjust: Literal["none", "cuped", "strata"] = Field(
        "none", description="by what units did in the log: CUPED, or post-stratification by how active they were"
    )
    monitor: Literal["fixed", "pocock", "obrien_fleming", "msprt"] = Field(
        "fixed", description="how intervals allow for being read every day; fixed: they are read once, at the end"
    )
    msprt_scale: Positive = Field(0.05, description="msprt: standard deviation of the lifts that are expected")

    @model_validator(mode="after")
    def _reads_what_it_splits(self) -> Self:
        if self.ramp and self.design != "users":
            raise ValueError(f"ramp has {len(self.ramp)} stages, design must be users, not {self.design}")
        shares = [stage.share for stage in self.ramp]
        if shares != sorted(shares):
            raise ValueError(f"ramp has shares {', '.join(f'{s:g}' for s in shares)}, they must not fall")
        if self.burn_in_minutes >= self.block_minutes:
            raise ValueError(
                f"burn_in_minutes is {self.burn_in_minutes}, it must be under block_minutes, {self.block_minutes}"
            )
        if self.adjust != "none" and (self.ramp or self.design not in ("users", "budgets", "clusters")):
            design = "a ramp" if self.ramp else self.design
            raise ValueError(f"adjust is {self.adjust}, it must be none for {design}: a unit's past is not known there")
        if self.adjust == "strata" and self.design == "clusters":
            raise ValueError("adjust is strata, it must be none or cuped for clusters: they are too few for strata")
        return self


class LogConfig(Strict):
    """What is logged beside what is served anyway."""

    randomised_share: float = Field(
        0.0, ge=0, le=1, description="share of requests whose winners the first ranker puts in the slots at random"
    )
    candidate_share: float = Field(0.01, ge=0, le=1, description="share of requests whose whole auction is logged")


DESIGNS = ("ab", "aa")  # simulations beside those of one arm for everyone

_COSTS = {"serving", "cost"}
_TESTS = {"experiment", *_COSTS}
_LATER = {"log": {"models", *_TESTS}, "models": _TESTS, "curves": _TESTS, "simulations": _COSTS}


class Scenario(Strict):
    """A market and an experiment on it."""

    name: Name
    description: str = ""
    seed: int = Field(ge=0, lt=2**63)
    world: WorldConfig
    calendar: CalendarConfig = CalendarConfig()
    auction: AuctionConfig = AuctionConfig()
    pacing: PacingConfig = PacingConfig()
    features: FeaturesConfig = FeaturesConfig()
    first_ranker: FirstRankerConfig
    log: LogConfig = LogConfig()
    models: dict[Name, ModelConfig] = Field({})
    experiment: ExperimentConfig = ExperimentConfig()
    serving: ServingConfig = ServingConfig()
    cost: CostConfig = CostConfig()

    def settings_of(self, stage: str) -> dict[str, Any]:
        """What the result of a stage ("log", "models", "curves" or "simulations") depends on."""
        settings = self.model_dump(mode="json", exclude={"name", "description", *_LATER[stage]})
        if stage != "simulations":
            del settings["calendar"]["test_days"]
        else:  # shares and models that are given and those that are understood are the same
            settings["experiment"]["arms"] = {
                name: arm.model_dump(mode="json", exclude={"topology"}) for name, arm in self.arms.items()
            }
        return settings

    @property
    def arms(self) -> dict[str, ArmConfig]:
        """All arms, control first, with their shares and models."""
        named = self.experiment.arms
        helping = {name for arm in named.values() for key, name in _models_of(arm).items() if key != "model"}
        own = [name for name in self.models if name not in helping]
        given = {CONTROL: ArmConfig(), **dict.fromkeys(own, ArmConfig())} | named
        shares = [arm.share for arm in given.values()]
        rest = 1.0 - sum(share for share in shares if share is not None)
        default, usual = rest / max(shares.count(None), 1), given[CONTROL].model or CONTROL
        return {
            name: arm.model_copy(
                update={
                    "share": default if arm.share is None else arm.share,
                    "model": arm.model or (name if name in self.models else usual),
                }
            )
            for name, arm in given.items()
        }  # fmt: skip

    @property
    def simulations(self) -> tuple[str, ...]:
        """Of the experiment: the test, the same test of equal arms, and a world for each arm."""
        return (*DESIGNS, *self.arms)

    @property
    def trained(self) -> list[str]:
        """Names of the models that arms serve and that are trained."""
        served = [name for arm in self.arms.values() for name in _models_of(arm).values()]
        return list(dict.fromkeys(name for name in served if name != FIRST_RANKER))

    def auction_of(self, arm: ArmConfig) -> AuctionConfig:
        """The auction as an arm holds it."""
        own = {"mechanism": arm.mechanism, "squash": arm.squash}
        return self.auction.model_copy(update={name: value for name, value in own.items() if value is not None})

    @model_validator(mode="after")
    def _sells_what_there_is(self) -> Self:
        slots = len(self.world.feed.slot_effect)
        for name, arm in self.arms.items():
            auction = self.auction_of(arm)
            where = f"experiment.arms.{name}" if arm.mechanism or arm.squash is not None else "auction"
            if auction.mechanism == "second_price" and slots > 1:
                raise ValueError(f"{where}.mechanism is second_price, it must be another one where slots are {slots}")
            if auction.mechanism in ("vcg", "second_price") and auction.squash != 1:
                raise ValueError(f"{where}.squash is {auction.squash:g}, it must be 1 under {auction.mechanism}")
            if self.pacing.pacer == "pace" and auction.mechanism != "first_price":
                raise ValueError(
                    f"pacing.pacer is pace, {where}.mechanism must be first_price, not {auction.mechanism}"
                )
        return self

    @model_validator(mode="after")
    def _has_arms_to_split(self) -> Self:
        arms = self.arms
        if len(arms) < 2:
            helping = [f"{name} only helps it" for name in self.models if name not in arms]
            why = f" ({', '.join(helping)})" if helping else ""
            raise ValueError(f"experiment.arms has control only{why}, it must have another arm")
        for name, arm in arms.items():
            if name in DESIGNS:
                raise ValueError(f"experiment.arms.{name}: an arm must not be named {' or '.join(DESIGNS)}")
            for key, model in (_models_of(arm) | {"fallback": arm.fallback}).items():
                if model != FIRST_RANKER and model not in self.models:
                    raise ValueError(
                        f"experiment.arms.{name}.{key} is {model}, it must be one of "
                        f"{', '.join([*self.models, FIRST_RANKER])}"
                    )
            outside = (
                [c for c in arm.withhold if c >= self.world.campaigns.count] if isinstance(arm.withhold, list) else []
            )
            if outside:
                raise ValueError(
                    f"experiment.arms.{name}.withhold has campaign {outside[0]}, they are 0 to {self.world.campaigns.count - 1}"
                )
        shares = [float(arm.share or 0.0) for arm in arms.values()]
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            written = ", ".join(f"{name} {share:g}" for name, share in zip(arms, shares, strict=True))
            raise ValueError(f"experiment.arms have shares {written}, they must be positive and add up to 1")
        return self

    @model_validator(mode="after")
    def _has_time_for_its_design(self) -> Self:
        own, days = self.experiment, self.calendar.test_days
        if own.ramp and sum(stage.days for stage in own.ramp) != days:
            raise ValueError(
                f"experiment.ramp has stages of {sum(stage.days for stage in own.ramp)} days, they must be the "
                f"{days} of calendar.test_days"
            )
        if own.design == "switchback":
            for name in ("block_minutes", "burn_in_minutes"):
                if getattr(own, name) % self.pacing.interval_minutes:
                    raise ValueError(
                        f"experiment.{name} is {getattr(own, name)}, it must be a multiple of pacing.interval_minutes, "
                        f"{self.pacing.interval_minutes}: nothing that is decided once per interval can switch within"
                    )
            if days * 1440 % own.block_minutes:
                raise ValueError(
                    f"experiment.block_minutes is {own.block_minutes}, it must divide the {days} days of the test"
                )
        if own.design == "advertisers":
            for name, arm in self.arms.items():
                for key in ("mechanism", "squash", "withhold", "cascade"):
                    if getattr(arm, key) not in (None, "none", []):
                        raise ValueError(
                            f"experiment.arms.{name}.{key} is {getattr(arm, key)}, it must not be set where experiment.design is "
                            "advertisers: arms meet in one auction"
                        )
        return self

    @model_validator(mode="after")
    def _has_units_for_every_arm(self) -> Self:
        own, world = self.experiment, self.world
        units = {
            "switchback": (self.calendar.test_days * 1440 // own.block_minutes, "blocks of time"),
            "clusters": (
                world.population.regions if own.cluster == "region" else world.population.segments,
                "clusters",
            ),
            "advertisers": (world.campaigns.count, "campaigns"),
        }
        if own.design in units:
            try:
                sizes_of([float(arm.share or 0.0) for arm in self.arms.values()], *units[own.design])
            except ValueError as error:
                raise ValueError(f"experiment.design is {own.design}: {error}") from None
        return self

    @model_validator(mode="after")
    def _publishes_between_intervals(self) -> Self:
        if 1440 % self.features.publish_minutes or self.features.publish_minutes % self.pacing.interval_minutes:
            raise ValueError(
                f"features.publish_minutes is {self.features.publish_minutes}, it must be a multiple of "
                f"pacing.interval_minutes, {self.pacing.interval_minutes}, and divide a day of 1440"
            )
        return self


def _models_of(arm: ArmConfig) -> dict[str, str]:
    """Names of the models that an arm serves, by their settings."""
    found = {"model": str(arm.model)}
    if arm.cascade is not None:
        found["cascade.light"] = arm.cascade.light
    if arm.late_share > 0:
        found["fallback"] = arm.fallback
    return found


def load_scenario(path: Path, overrides: Iterable[str] = (), seed: int | None = None) -> Scenario:
    """Read a scenario file (TOML, or the JSON that a run keeps) and lay `key=value` overrides over it.

    Raises:
        Refused: If the file cannot be read, a key is unknown (the nearest is offered) or a value breaks its rule.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise Refused(f"scenario {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"scenario {path} is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"scenario {path}: {error}") from error
    if not isinstance(tree, dict):
        raise Refused(f"scenario {path}: it holds a {type(tree).__name__}, not settings")
    for override in overrides:
        _lay_over(tree, override)
    if seed is not None:
        tree["seed"] = seed
    try:
        return Scenario.model_validate(tree)
    except ValidationError as error:
        raise Refused(f"scenario {path}: {_first_line(error)}") from error


def _lay_over(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise Refused(f"--set {override!r}: write key=value, such as auction.squash=0.5")
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except (tomllib.TOMLDecodeError, ValueError):  # text without quotes; or of lines that set more than one value
        value = text
    *parents, leaf = key.strip().split(".")
    for depth, parent in enumerate(parents):
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise Refused(f"--set {override!r}: {'.'.join(parents[: depth + 1])} is a value, not a section")
    tree[leaf] = value


_TAGS = "lightgbm", "network", "word", "ids"  # of what a setting can be, in pydantic's places


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = [part for part in first["loc"] if part not in _TAGS]
    where = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _names(first["loc"][:-1]), n=1, cutoff=0.0)
        return f"unknown key {where}" + (f", did you mean {near[0]}?" if near else "")
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {message}{shown}{more}" if where else f"{message}{more}"


def _names(place: tuple[int | str, ...]) -> list[str]:
    """Names of the keys allowed in the section at `place`."""
    section: Any = Scenario
    kinds = {"lightgbm": GbdtConfig, "network": NetworkConfig}
    for part in place:
        if part in kinds:
            section = kinds[str(part)]
        elif get_origin(section) is dict:
            section = get_args(section)[1]
        elif isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = section.model_fields[str(part)].annotation
    if isinstance(section, type) and issubclass(section, BaseModel):
        return list(section.model_fields)
    return []
