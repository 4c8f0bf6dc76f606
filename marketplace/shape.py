"""Shapes of the JSON files of a run folder: one from another version or a damaged one is refused by name."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from marketplace.errors import Refused

Share = Annotated[float, Field(ge=0, le=1)]


class Effect(BaseModel):
    """A metric read in two arms."""

    metric: str
    control: float | None
    treatment: float | None
    lift: float | None
    low: float | None
    high: float | None
    p_value: float | None
    why: str
    se: float | None
    variance_ratio: float | None


class ArmEffect(Effect):
    """An effect in an arm."""

    arm: str


class Described(ArmEffect):
    """An effect, with what its metric is."""

    group: str
    unit: str
    good: Literal["up", "down", ""]
    role: Literal["goal", "guardrail", ""]


class Reading(Described):
    """A row of the readout: an effect beside the truth."""

    p_holm: float | None
    p_benjamini_hochberg: float | None
    stopped_day: int | None
    true_lift: float | None
    bias: float | None
    covered: bool | None


class Exposed(Described):
    """An effect among units that saw an ad under test, or would have."""

    units: list[int]


class PartReading(ArmEffect):
    """An effect in a part of the test, beside what is true of that part."""

    segment: str
    part: str
    true_lift: float | None
    covered: bool | None


class Look(BaseModel):
    """A lift as it stood at the end of a day of the test; the valid interval allows for looking every day."""

    arm: str
    metric: str
    day: int
    lift: float | None
    low: float | None
    high: float | None
    valid_low: float | None
    valid_high: float | None


class SplitCount(BaseModel):
    """How many units came to each arm."""

    segment: str
    part: str
    unit: str
    units: list[int]
    shares: list[Share]
    by_chance: bool


class Split(SplitCount):
    """The sample ratio check."""

    p_value: float | None
    alarm: bool


class ServedArm(BaseModel):
    """An arm of the experiment."""

    name: str
    share: Share
    model: str


class Experiment(BaseModel):
    """Who was in which arm, and how the test was read."""

    design: str
    adjust: str
    monitor: str
    arms: list[ServedArm]
    ramp: list[dict[str, float]]


class Pacing(BaseModel):
    """Columns of one length, a value per hour."""

    hour: list[int]
    spent_usd: list[float]
    planned_usd: list[float]
    multiplier: list[float]

    @model_validator(mode="after")
    def _level(self) -> Self:
        if len({len(column) for column in (self.hour, self.spent_usd, self.planned_usd, self.multiplier)}) > 1:
            raise ValueError("columns differ in length")
        return self


class Bin(BaseModel):
    """A bin of a calibration curve."""

    arm: str
    task: str
    bin: int
    predicted: Share
    real: Share
    n: int


class Curse(BaseModel):
    """Predicted over true, among the candidates of an arm's auctions and among their winners, with ends of intervals."""

    arm: str
    task: str
    auctions: int
    competed: int
    won: int
    candidates: float | None
    candidates_low: float | None
    candidates_high: float | None
    winners: float | None
    winners_low: float | None
    winners_high: float | None
    curse: float | None
    curse_low: float | None
    curse_high: float | None


class Score(BaseModel):
    """A model's offline scores on one task and part of a cohort; of cohort "" the part is all."""

    model: str
    kind: str
    task: str
    cohort: str
    segment: str
    correct: str
    true_calibration: float | None
    effective_share: float | None
    notes: list[str]
    rows: int
    positives: int
    auc: float | None
    auc_low: float | None = None  # of an older run
    auc_high: float | None = None
    pr_auc: float | None
    log_loss: float | None
    norm_bce: float | None
    calibration: float | None
    calibration_p_value: float | None
    ece: float | None
    ece_null: float | None
    gauc: float | None
    commonest: float | None
    effective_scores: float | None


class Obtained(BaseModel):
    """A marginal of the solved world."""

    name: str
    asked: float
    obtained: float


class Marginal(Obtained):
    """The same, beside what the log shows."""

    logged: float | None


class StageRow(BaseModel):
    """What a stage took; a rate where it served requests."""

    stage: str
    wall_s: float
    requests: int | None
    requests_per_s: int | None


class ArmLoad(BaseModel):
    """What the requests of an arm asked of its rankers, see `marketplace.load`."""

    requests: int
    retrieved: int
    late: int
    reused: int
    predicted: list[int]
    predicted_after_bids: list[int]


class StageRecall(BaseModel):
    """What a stage of ranking passed on of the truly best ads."""

    stage: str
    requests: int
    recall: Share
    se: float


class MeasuredCurve(BaseModel):
    """How long a ranker takes by the candidates of a batch."""

    model: str
    candidates: int
    device: str
    rows: list[int]
    ms: list[float]


class HiredHosts(BaseModel):
    """Hosts of a stage of ranking."""

    stage: str
    host: str
    needed: int
    spare: int
    utilisation: float
    usd_per_year: float


class FleetRow(BaseModel):
    """A topology on its hosts; without any, how it would do if nobody waited."""

    topology: str
    predictions: float
    late: Share
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    hosts: list[HiredHosts]


class PricedArm(BaseModel):
    """An arm as if it served the whole platform."""

    arm: str
    model: str
    topology: str
    retrieved: float
    reused: Share
    late_share: Share
    recall: list[StageRecall]
    fleets: list[FleetRow]
    training_usd_per_year: float | None
    usd_per_year: float | None
    usd_per_million: float | None
    why: str


class Priced(BaseModel):
    """The platform under every arm."""

    scale: float
    peak_requests_per_s: float
    requests_per_year: float
    conversions_per_year: float
    target_p99_ms: float
    arms: list[PricedArm]


class Worth(BaseModel):
    """What an arm costs and brings more than control, a year."""

    arm: str
    extra_usd: float | None
    extra_conversions: float | None
    true_extra_conversions: float | None
    usd_per_extra_conversion: float | None
    true_usd_per_extra_conversion: float | None


class Report(BaseModel):
    """What the views read; the fields with a default may be absent, as they come with an A/B or an A/A."""

    scenario: str
    description: str
    seed: int
    log_days: int
    test_days: int
    models: list[Score]
    marginals: list[Marginal]
    stages: list[StageRow]
    experiment: Experiment
    readout: list[Reading] = []
    by_day: list[Look] = []
    quantiles: list[Described] = []
    exposed: list[Exposed] = []
    srm: list[Split] = []
    pacing: Pacing | None = None
    calibration: list[Bin] = []
    winners_curse: list[Curse] = []
    segments: list[PartReading] = []
    aa: list[ArmEffect] = []
    serving: Priced | None = None
    worth: list[Worth] = []


class Speed(BaseModel):
    """What a simulation came to."""

    digest: str
    requests: int
    wall_s: float
    requests_per_s: int
    cpu_s: dict[str, float]


class LogStage(Speed):
    """The log's, and what solving the market took."""

    market_s: float


class ModelsStage(BaseModel):
    """What training took."""

    train_s: dict[str, float]
    threads: int = 2


class Stages(BaseModel):
    """The finished ones."""

    model_config = ConfigDict(extra="forbid")

    log: LogStage = None  # type: ignore[assignment]  # absent, never null
    models: ModelsStage = None  # type: ignore[assignment]
    simulations: dict[str, Speed] = {}
    curves: dict[str, Any] = None  # type: ignore[assignment]
    report: dict[str, Any] = {}
    study: dict[str, Any] = {}
    aa: dict[str, Any] = {}
    power: dict[str, Any] = {}
    pareto: dict[str, Any] = {}
    realism: dict[str, Any] = {}
    importance: dict[str, Any] = {}


class Manifest(BaseModel):
    """What a run is; `files` has the size in bytes of every file of it."""

    scenario: str
    seed: int
    command: str
    started: str
    wall_s: float
    stages: Stages
    files: dict[str, int]


class ArmResult(BaseModel):
    """What serving an arm took."""

    name: str
    device: str
    requests: int
    predict_s: float
    load: ArmLoad
    recall: list[StageRecall]


class SimulationResult(BaseModel):
    """What the report needs of a simulation beside its log."""

    arms: list[ArmResult]
    splits: list[SplitCount]
    quantiles: list[ArmEffect]


class SolvedWorld(BaseModel):
    """Everything that was solved."""

    intercepts: dict[str, float]
    familiar: float
    slot_effect: list[float]
    visits: float
    basket_usd: float


class WorldFile(BaseModel):
    """What makes a population the world of a run."""

    solved: SolvedWorld
    marginals: list[Obtained]


def check(shape: Any, content: Any, where: str) -> None:
    """Raises `Refused`, with the first offender, where content read from a file is not of the shape."""
    try:
        TypeAdapter(shape).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise Refused(
            f"{where} is damaged or of another version: {place}: {first['msg'].lower()} ({error.error_count()} such)"
        ) from None
