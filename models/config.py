"""Settings of the predictors, apart from the libraries that run them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class GbdtConfig(BaseModel):
    """LightGBM."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["lightgbm"]
    trees: Annotated[int, Field(ge=1)] = 60
    leaves: Annotated[int, Field(ge=2)] = 31
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.12
    min_rows_per_leaf: Annotated[int, Field(ge=1)] = 100


Width = Annotated[int, Field(ge=16, multiple_of=16)]  # other widths would score a row differently in another place


class NetworkConfig(BaseModel):
    """Multi-task network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["network"]
    embedding: Width = 16
    hidden: tuple[Width, Width] = (128, 64)
    epochs: Annotated[int, Field(ge=1)] = 1
    batch_requests: Annotated[int, Field(ge=1)] = 512
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2


ModelConfig = Annotated[GbdtConfig | NetworkConfig, Field(discriminator="kind")]
