"""Scenarios: a TOML file, overridden by key=value, becomes a validated description of a market and an experiment."""

import difflib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from marketplace.errors import Refused
from models.config import GbdtConfig, ModelConfig, NetworkConfig
from synth.config import Count, NonNegative, Positive, Share, Strict, WorldConfig


class CalendarConfig(Strict):
    """How long the log is collected under the first ranker, and how long the test runs."""

    log_days: int = Field(
        7, ge=3, le=365, description="the last but one calibrates the models, the last evaluates them"
    )
    test_days: int = Field(7, ge=1, le=365)


class AuctionConfig(Strict):
    """How slots are sold."""

    mechanism: Literal["gsp", "first_price", "vcg", "second_price"] = Field(
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


class ModelsConfig(Strict):
    """What the arms predict with."""

    control: ModelConfig
    treatment: ModelConfig


class ExperimentConfig(Strict):
    """How the test is read."""

    treatment_share: Share = 0.5


class CostConfig(Strict):
    """What serving costs. Defaults: t3.2xlarge, 8 vCPU; g4dn.12xlarge, 4 GPUs (on demand)."""

    cpu_host_usd_per_hour: Positive = 0.334
    cpu_host_cores: Count = 8
    gpu_host_usd_per_hour: Positive = 3.912
    gpu_host_gpus: Count = 4


class LogConfig(Strict):
    """What is logged beside what is served anyway."""

    randomised_share: float = Field(
        0.0, ge=0, le=1, description="share of requests whose winners the first ranker puts in the slots at random"
    )
    candidate_share: float = Field(0.01, ge=0, le=1, description="share of requests whose whole auction is logged")


_LATER = {"log": {"models", "experiment", "cost"}, "models": {"experiment", "cost"}, "simulations": {"cost"}}


class Scenario(Strict):
    """A market and an experiment on it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    description: str = ""
    seed: int = Field(ge=0, lt=2**63)
    world: WorldConfig
    calendar: CalendarConfig = CalendarConfig()
    auction: AuctionConfig = AuctionConfig()
    pacing: PacingConfig = PacingConfig()
    features: FeaturesConfig = FeaturesConfig()
    first_ranker: FirstRankerConfig
    log: LogConfig = LogConfig()
    models: ModelsConfig
    experiment: ExperimentConfig = ExperimentConfig()
    cost: CostConfig = CostConfig()

    def settings_of(self, stage: str) -> dict[str, Any]:
        """What the result of a stage ("log", "models" or "simulations") depends on."""
        settings = self.model_dump(mode="json", exclude={"name", "description", *_LATER[stage]})
        if stage != "simulations":
            del settings["calendar"]["test_days"]
        return settings

    @model_validator(mode="after")
    def _sells_what_there_is(self) -> Self:
        mechanism, slots = self.auction.mechanism, len(self.world.feed.slot_effect)
        if mechanism == "second_price" and slots > 1:
            raise ValueError(f"auction.mechanism is second_price, it must be another one where slots are {slots}")
        if mechanism in ("vcg", "second_price") and self.auction.squash != 1:
            raise ValueError(f"auction.squash is {self.auction.squash:g}, it must be 1 under {mechanism}")
        if self.pacing.pacer == "pace" and mechanism != "first_price":
            raise ValueError(f"pacing.pacer is pace, auction.mechanism must be first_price, not {mechanism}")
        return self

    @model_validator(mode="after")
    def _publishes_between_intervals(self) -> Self:
        if 1440 % self.features.publish_minutes or self.features.publish_minutes % self.pacing.interval_minutes:
            raise ValueError(
                f"features.publish_minutes is {self.features.publish_minutes}, it must be a multiple of "
                f"pacing.interval_minutes, {self.pacing.interval_minutes}, and divide a day of 1440"
            )
        return self


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


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = [part for part in first["loc"] if part not in ("lightgbm", "network")]
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
        elif isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = section.model_fields[str(part)].annotation
    if isinstance(section, type) and issubclass(section, BaseModel):
        return list(section.model_fields)
    return []
