"""Settings of the predictors, apart from the libraries that run them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=16, multiple_of=16)]  # other widths would score a row differently in another place
Dropout = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Frozen; a name that is not a setting is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GbdtConfig(Settings):
    """LightGBM."""

    kind: Literal["lightgbm"]
    trees: Count = 60
    leaves: Annotated[int, Field(ge=2)] = 31
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.12
    min_rows_per_leaf: Count = 100


class MlpConfig(Settings):
    """Two dense layers over all tokens beside one another."""

    kind: Literal["mlp"] = "mlp"
    hidden: Width = 256
    dropout: Dropout = 0.0


class FmConfig(Settings):
    """Factorisation machine: the sum of all pairs' elementwise products."""

    kind: Literal["fm"] = "fm"


class DotConfig(Settings):
    """Dot products of all pairs, as in DLRM."""

    kind: Literal["dot"] = "dot"


class ProductConfig(Settings):
    """Product layer of PNN: the tokens themselves, and inner or outer products."""

    kind: Literal["product"] = "product"
    product: Literal["inner", "outer"] = "inner"


class CrossConfig(Settings):
    """Cross layers of DCN (`vector`) or DCN v2 (`matrix`, or two matrices of `rank`)."""

    kind: Literal["cross"] = "cross"
    weight: Literal["vector", "matrix"] = "matrix"
    rank: Width | None = None
    layers: Count = 2

    @model_validator(mode="after")
    def _rank_is_of_a_matrix(self) -> Self:
        if self.rank is not None and self.weight == "vector":
            raise ValueError("rank is of weight 'matrix' only")
        return self


class SenetConfig(Settings):
    """Squeeze and excitation of tokens, then bilinear products of all pairs, as in FiBiNET."""

    kind: Literal["senet"] = "senet"
    reduction: Count = 2
    bilinear: bool = True


class MaskNetConfig(Settings):
    """Mask blocks, beside one another or one after the other."""

    kind: Literal["masknet"] = "masknet"
    blocks: Count = 2
    hidden: Width = 256
    arrangement: Literal["parallel", "serial"] = "parallel"
    dropout: Dropout = 0.0


class TransformerConfig(Settings):
    """Self-attention among the tokens."""

    kind: Literal["transformer"] = "transformer"
    layers: Count = 1
    heads: Count = 1
    feed_forward: Width = 128
    dropout: Dropout = 0.0


class HstuConfig(Settings):
    """Pointwise gated attention among the tokens."""

    kind: Literal["hstu"] = "hstu"
    layers: Count = 1
    heads: Count = 1


ModuleConfig = Annotated[
    MlpConfig | FmConfig | DotConfig | ProductConfig | CrossConfig | SenetConfig | MaskNetConfig | TransformerConfig
    | HstuConfig,
    Field(discriminator="kind"),
]  # fmt: skip


class LayerConfig(Settings):
    """One layer of a DHEN: modules over the same tokens, ensembled."""

    modules: Annotated[tuple[ModuleConfig, ...], Field(min_length=1)]
    ensemble: Literal["sum", "concat"] = "sum"


def _layer(*modules: ModuleConfig) -> LayerConfig:
    return LayerConfig(modules=modules)


CROSSINGS: dict[str, tuple[LayerConfig, ...]] = {
    "none": (),
    "mlp": (_layer(MlpConfig()),),
    "dlrm": (_layer(DotConfig()),),
    "deepfm": (_layer(FmConfig(), MlpConfig()),),
    "pnn": (_layer(ProductConfig()),),
    "dcn": (_layer(CrossConfig(weight="vector")),),
    "dcnv2": (_layer(CrossConfig()),),
    "senet": (_layer(SenetConfig()),),
    "masknet": (_layer(MaskNetConfig()),),
    "transformer": (_layer(TransformerConfig()),),
    "hstu": (_layer(HstuConfig()),),
    "dhen": (_layer(MlpConfig(), TransformerConfig()), _layer(MlpConfig(), MaskNetConfig())),
}
"""Crossings by the name of the network that is known for them."""


def _named(value: object) -> object:
    """The layers behind a name."""
    if isinstance(value, str):
        if value not in CROSSINGS:
            raise ValueError(f"{value!r} is no crossing: {', '.join(CROSSINGS)}, or a list of layers")
        return CROSSINGS[value]
    return value


class NetworkConfig(Settings):
    """Multi-task network."""

    kind: Literal["network"]
    embedding: Width = 16
    crossing: Annotated[tuple[LayerConfig, ...], BeforeValidator(_named)] = ()
    tokens: Count = 8  # what every input is projected to, where there is a crossing
    token_width: Width = 32
    wide: bool = False  # a linear path from the inputs to the logits, beside the deep one
    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = (128, 64)
    epochs: Count = 1
    batch_requests: Count = 512
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2

    @model_validator(mode="after")
    def _heads_share_a_token(self) -> Self:
        for layer in self.crossing:
            for module in layer.modules:
                if isinstance(module, TransformerConfig | HstuConfig) and self.token_width % module.heads:
                    raise ValueError(f"token_width {self.token_width} must be a multiple of heads {module.heads}")
        return self


ModelConfig = Annotated[GbdtConfig | NetworkConfig, Field(discriminator="kind")]
