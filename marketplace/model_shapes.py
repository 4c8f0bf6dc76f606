"""Shapes of what a run folder holds of its models beside the offline table."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from marketplace.shape import Share

Ends = Annotated[list[float], Field(min_length=3, max_length=3)]  # estimate, low, high


class RocCurve(BaseModel):
    """Columns of one length, a value per cut, see `models.roc.Ranking`."""

    model: str
    kind: str
    correct: str
    task: str
    positive_share: Share
    cut: list[Share]
    false_positive_rate: list[Share]
    recall: list[Share]
    precision: list[Share]

    @model_validator(mode="after")
    def _level(self) -> Self:
        if len({len(column) for column in (self.cut, self.false_positive_rate, self.recall, self.precision)}) > 1:
            raise ValueError("columns differ in length")
        return self


class RankedFeature(BaseModel):
    """What a feature is worth, by method."""

    feature: str
    side: str
    kind: str
    importance: dict[str, float]
    log_loss: dict[str, float]
    rank: dict[str, int]


class Kept(BaseModel):
    """A model trained again on the first features of an order."""

    order: str
    features: int
    auc: Ends


class Importance(BaseModel):
    """What features are worth to a model."""

    model: str
    task: str
    methods: Annotated[list[str], Field(min_length=1)]
    rows: int
    positives: int
    auc: Ends
    features: list[RankedFeature]
    kept: list[Kept]

    @model_validator(mode="after")
    def _ranked(self) -> Self:
        for method in self.methods:
            if any(method not in row.importance or method not in row.rank for row in self.features):
                raise ValueError(f"a feature has no {method}")
        return self


class Tried(BaseModel):
    """An architecture that was trained."""

    name: str
    origin: str
    settings: dict[str, Any]
    front: bool
    auc: Ends
    auc_less_base: Ends | None
    auc_less_faster: Ends | None
    rows_per_s: Annotated[float, Field(gt=0)]
    parameters: int
    train_rows_per_s: float


class Proposed(BaseModel):
    """An architecture that was predicted."""

    choice: list[int]
    auc: float
    rows_per_s: Annotated[float, Field(gt=0)]
    front: bool


class Promise(BaseModel):
    """What was predicted of a verified architecture, beside what came."""

    name: str
    promised_front: bool
    front: bool
    auc_predicted: Ends
    auc: float
    auc_held: bool
    rows_per_s_predicted: Ends
    rows_per_s: float
    rows_per_s_held: bool


class Failed(BaseModel):
    """An architecture that could not be trained."""

    name: str
    settings: dict[str, Any]
    why: str


class Trust(BaseModel):
    """How well a goal of trials is predicted from the others."""

    rmse: float
    spread: float
    r2: float | None
    rank: float | None


class Trusts(BaseModel):
    """The same of both goals."""

    auc: Trust
    log_rows_per_s: Trust


class Search(BaseModel):
    """A search over architectures."""

    task: str
    seeds: int
    trials: int
    space: dict[str, Annotated[list[Any], Field(min_length=1)]]
    combinations: int
    do_not_fit: int
    trust: Trusts
    speed_repeats: float
    gain: float | None
    rows: list[Tried]
    failed: list[Failed]
    proposals: list[Proposed]
    promises: list[Promise]

    @model_validator(mode="after")
    def _in_space(self) -> Self:
        sizes = [len(values) for values in self.space.values()]
        for row in self.proposals:
            if len(row.choice) != len(sizes) or any(not 0 <= at < n for at, n in zip(row.choice, sizes, strict=True)):
                raise ValueError("a proposal is not of the space")
        settings = [row.settings for row in self.rows] + [row.settings for row in self.failed]
        if any(set(own) - set(self.space) for own in settings):
            raise ValueError("a setting is not of the space")
        return self
