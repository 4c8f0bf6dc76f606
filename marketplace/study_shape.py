"""Shapes of what `marketplace design`, `aa` and `power` leave in a run folder."""

from typing import Literal

from pydantic import BaseModel

STUDY, EQUAL, POWER = "study.json", "aa.json", "power.json"


class About(BaseModel):
    """What a metric is."""

    metric: str
    group: str
    unit: str
    good: Literal["up", "down", ""]
    role: Literal["goal", "guardrail", ""]


class DesignRow(About):
    """A metric of an arm under a design, over all fortnights; where nothing was read, `why` says so."""

    design: str
    arm: str
    fortnights: int
    equal: int
    rejected: int
    why: str
    lift: float | None
    true_lift: float | None
    true_low: float | None
    true_high: float | None
    bias: float | None
    bias_low: float | None
    bias_high: float | None
    se: float | None
    spread: float | None
    covered: int | None
    days_needed: int | None


class Replication(BaseModel):
    """A metric of an arm under a design in one fortnight."""

    luck: int
    design: str
    arm: str
    metric: str
    lift: float | None
    low: float | None
    high: float | None
    p_value: float | None
    se: float | None
    true_lift: float | None


class StudyFile(BaseModel):
    """Designs compared over fortnights of one market."""

    scenario: str
    seed: int
    seeds: int
    users: int | None
    test_days: int
    designs: list[str]
    rows: list[DesignRow]
    replications: list[Replication]


class EqualRow(BaseModel):
    """What splits of equal arms by a design say of a metric."""

    design: str
    metric: str
    runs: int
    rejected: int
    least: int
    most: int
    distance: float | None
    critical: float | None
    coverage: float | None
    passed: bool | None
    why: str


class EqualFile(BaseModel):
    """Equal arms, split again and again."""

    scenario: str
    seed: int
    runs: int
    rows: list[EqualRow]


class ForeseenRow(About):
    """What a test would find of a metric."""

    arm: str
    value: float | None
    why: str
    minimum_effect: float | None
    beyond_log: bool
    days_needed: int | None
    days_beyond_log: bool


class PowerFile(BaseModel):
    """What a test would find, from the log."""

    scenario: str
    seed: int
    design: str
    log_days: int
    test_days: int
    shares: dict[str, float]
    lift: float | None
    power: float
    rows: list[ForeseenRow]
