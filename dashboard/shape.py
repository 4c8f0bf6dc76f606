"""Shape: what a report must hold to be shown; a file from another version or a damaged one is refused by name."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

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


class Reading(Effect):
    """A row of the readout: an effect beside the truth."""

    group: str
    unit: str
    good: Literal["up", "down", ""]
    true_lift: float | None
    covered: bool | None


class Split(BaseModel):
    """The sample ratio check."""

    users: list[int]
    p_value: float
    alarm: bool


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


class Score(BaseModel):
    """A model's offline scores on one task and segment."""

    model: str
    kind: str
    task: str
    segment: str
    rows: int
    positives: int
    auc: float | None
    pr_auc: float | None
    norm_bce: float | None
    calibration: float | None
    ece: float | None
    ece_null: float | None


class Marginal(BaseModel):
    """A figure of the market."""

    name: str
    asked: float
    obtained: float
    logged: float | None


class Report(BaseModel):
    """What the views read; the fields with a default may be absent, as they come with an A/B or an A/A."""

    scenario: str
    description: str
    seed: int
    log_days: int
    test_days: int
    models: list[Score]
    marginals: list[Marginal]
    readout: list[Reading] = []
    srm: Split | None = None
    pacing: Pacing | None = None
    calibration: list[Bin] = []
    aa: list[Effect] = []


_REPORT, _SCORES = TypeAdapter(Report), TypeAdapter(list[Score])


def check_report(content: Any, where: str) -> None:
    """Raises `Refused` where a view would miss something in a report."""
    _check(_REPORT, content, where)


def check_scores(content: Any, where: str) -> None:
    """Raises `Refused` where a view would miss something in the offline table."""
    _check(_SCORES, content, where)


def _check(shape: TypeAdapter[Any], content: Any, where: str) -> None:
    try:
        shape.validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise Refused(
            f"{where} is damaged or of another version: {place}: {first['msg'].lower()} ({error.error_count()} such)"
        ) from None
