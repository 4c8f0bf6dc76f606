"""Settings of the predictors, apart from the libraries that run them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=16, multiple_of=16)]  # other widths would score a row differently in another place
Dropout = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Frozen; a name that is not a setting is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Positive = Annotated[float, Field(gt=0)]


class CorrectConfig(Settings):
    """What is done about labels that are late, clicks that depend on the slot, and conversions that are known of clicks only.

    `online` is done while a model serves: predicted clicks are multiplied by a factor of the campaign, which follows real over
    expected clicks of the ads that the arm has shown (`models.bias.online_bias`). Only clicks are, for they are known at once:
    conversions come late. It changes nothing that is trained or scored offline.
    """

    delay: Literal["none", "window", "dfm", "dfm_weibull", "fsiw", "fnw", "fnc", "es_dfm", "defer", "oracle"] = "none"
    delay_by: str = "goal"  # category of ads whose values have delays of their own; "" is none
    window_hours: Positive = 168.0  # from a click to a conversion that counts
    wait_hours: Positive = 24.0  # before a label is read, by window, es_dfm and defer
    position: Literal["feature", "ignored", "tower", "pal", "ipw"] = "feature"
    least_propensity: Annotated[float, Field(gt=0, le=1)] = (
        0.05  # a lower one counts as this; of ipw, and of a selection
    )
    selection: Literal["none", "ipw", "dr"] = "none"
    calibrate: Literal["none", "platt", "temperature", "beta", "isotonic", "segment"] = "platt"
    calibrate_by: str = "campaign"  # category of ads that `segment` is by
    online: Literal["none", "campaign"] = "none"
    online_prior: Positive = 50.0  # expected clicks that a factor of 1 counts for
    online_half_life: Positive = 24.0  # publishings of features after which a click counts half

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.selection == "dr" and self.delay != "none":
            raise ValueError(f"selection dr takes labels as they are: delay must be none, got {self.delay}")
        return self


class GbdtConfig(Settings):
    """LightGBM."""

    kind: Literal["lightgbm"]
    correct: CorrectConfig = CorrectConfig()
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


class OfLists(Settings):
    """A part of a network that is for some of the log's lists: those named, or all that suit it."""

    lists: tuple[str, ...] = ()


class MeanConfig(OfLists):
    """Mean of a list's events; of an ordered list, by learned weights of its places."""

    kind: Literal["mean"] = "mean"


class LastConfig(OfLists):
    """Mean of the last events of ordered lists."""

    kind: Literal["last"] = "last"
    events: Count = 5


class VectorsConfig(OfLists):
    """Mean of the content vectors of a list's values, which are not learned."""

    kind: Literal["vectors"] = "vectors"


class DinConfig(OfLists):
    """Deep interest network: each event weighed by a small network that sees it and the target."""

    kind: Literal["din"] = "din"
    hidden: Width = 32


class BstConfig(OfLists):
    """Behaviour sequence transformer: blocks over the events and the target, all places beside one another."""

    kind: Literal["bst"] = "bst"
    layers: Count = 1
    heads: Count = 1
    feed_forward: Width = 64
    dropout: Dropout = 0.0


class AdsformerConfig(OfLists):
    """adSformer: one block over the target and the events, then a pool over places."""

    kind: Literal["adsformer"] = "adsformer"
    heads: Count = 1
    feed_forward: Width = 64
    dropout: Dropout = 0.0
    pool: Literal["max", "mean"] = "max"


SequenceConfig = Annotated[
    MeanConfig | LastConfig | VectorsConfig | DinConfig | BstConfig | AdsformerConfig, Field(discriminator="kind")
]


class InfoNceConfig(OfLists):
    """What the self-supervised losses share: how much they count, and against what they tell an event apart."""

    weight: Positive = 0.002  # alpha of the total loss; per list it is some ten times the loss of clicks
    positives: Count = 1024  # events to predict per batch, fewer if it has fewer
    negatives: Count = 20  # per positive
    temperature: Positive = 0.1


class NextActionConfig(InfoNceConfig):
    """Predict an event from the older ones."""

    kind: Literal["next_action"] = "next_action"


class MaskedConfig(InfoNceConfig):
    """Predict hidden events from the others of their list."""

    kind: Literal["masked"] = "masked"
    masked_share: Annotated[float, Field(gt=0, lt=1)] = 0.2


SelfSupervisedConfig = Annotated[NextActionConfig | MaskedConfig, Field(discriminator="kind")]


class SharedBottomConfig(Settings):
    """A tower of dense layers per task over one representation; without layers, a linear head."""

    kind: Literal["shared_bottom"] = "shared_bottom"
    hidden: tuple[Width, ...] = ()


class MmoeConfig(Settings):
    """Multi-gate mixture of experts: each task's tower stands on its own mix of shared dense layers."""

    kind: Literal["mmoe"] = "mmoe"
    experts: Count = 4
    expert: Width = 64
    hidden: tuple[Width, ...] = ()


TowersConfig = Annotated[SharedBottomConfig | MmoeConfig, Field(discriminator="kind")]
Scaling = Literal["standard", "min_max", "log"]
Serving = Literal["auto", "float32", "bfloat16", "int8"]
Task = Literal["click", "conversion", "long_click", "cart", "checkout", "sign_up", "organic"]


class TrainedConfig(Settings):
    """What all networks share: how they take a log in, and how they are trained."""

    embedding: Width = 16
    vocabulary: Count = 1_000_000  # most values of a category with an embedding of their own, the commonest
    least_count: Count = 2  # rarer values share the embedding of what is not in the vocabulary, so that it learns
    places: Count = 50  # of a list that are looked at
    scaling: Scaling = "standard"
    scalings: dict[str, Scaling] = {}  # of single dense columns
    tasks: tuple[Task, ...] = ("click", "conversion")
    task_weight: dict[Task, Annotated[float, Field(ge=0)]] = {}  # 1 for what is not named
    conversions_from: Literal["clicks", "impressions"] = "clicks"  # "impressions" is ESMM
    correct: CorrectConfig = CorrectConfig()
    negatives_kept: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of impressions without a click that teach
    epochs: Count = 1
    patience: Count | None = None  # epochs without a better loss on held-out days before training stops
    batch_requests: Count = 512
    learning_rate: Positive = 1e-2  # at first, falling to 0 along a cosine
    embedding_learning_rate: Positive | None = None  # the same by default
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the training in which the rates rise from 0

    @model_validator(mode="after")
    def _serves_click_and_conversion(self) -> Self:
        missing = {"click", "conversion"} - set(self.tasks)
        if missing or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks must hold click and conversion, and each once, got {', '.join(self.tasks)}")
        unknown = set(self.task_weight) - set(self.tasks)
        if unknown:
            raise ValueError(f"task_weight names {', '.join(sorted(unknown))}, which is none of tasks")
        return self

    @model_validator(mode="after")
    def _corrects_what_it_learns_from(self) -> Self:
        correct = self.correct
        if self.conversions_from == "impressions" and (correct.delay, correct.selection) != ("none", "none"):
            raise ValueError("conversions_from impressions (ESMM) needs correct.delay and correct.selection to be none")
        if self.negatives_kept < 1 and (correct.position in ("pal", "ipw") or correct.selection == "dr"):
            raise ValueError("negatives_kept must be 1 with correct.position pal or ipw, and with correct.selection dr")
        return self


class TwoTowerConfig(TrainedConfig):
    """Two towers that meet in a dot product per task: the light ranker of a cascade."""

    kind: Literal["two_tower"]
    tower: tuple[Width, ...] = (128,)
    vector: Width = 32  # per task


class NetworkConfig(TrainedConfig):
    """Multi-task network."""

    kind: Literal["network"]
    sequences: tuple[SequenceConfig, ...] = (MeanConfig(),)
    self_supervised: tuple[SelfSupervisedConfig, ...] = ()
    crossing: Annotated[tuple[LayerConfig, ...], BeforeValidator(_named)] = ()
    tokens: Count = 8  # what every input is projected to, where there is a crossing
    token_width: Width = 32
    wide: bool = False  # a linear path from the inputs to the logits, beside the deep one
    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = (128, 64)
    towers: TowersConfig = SharedBottomConfig()
    compile: bool = False  # by torch.compile: the crossing in training, what runs per candidate in scoring
    serving: Serving = "auto"  # auto: bfloat16 where the processor has it

    @model_validator(mode="after")
    def _heads_share_a_width(self) -> Self:
        for layer in self.crossing:
            for module in layer.modules:
                if isinstance(module, TransformerConfig | HstuConfig) and self.token_width % module.heads:
                    raise ValueError(f"token_width {self.token_width} must be a multiple of heads {module.heads}")
        for part in self.sequences:
            if isinstance(part, BstConfig | AdsformerConfig) and self.embedding % part.heads:
                raise ValueError(f"embedding {self.embedding} must be a multiple of heads {part.heads}")
        return self


ModelConfig = Annotated[GbdtConfig | NetworkConfig | TwoTowerConfig, Field(discriminator="kind")]


def _network(**settings: object) -> NetworkConfig:
    return NetworkConfig.model_validate({"kind": "network"} | settings)


LINE_UP: dict[str, GbdtConfig | NetworkConfig | TwoTowerConfig] = {
    "lightgbm": GbdtConfig(kind="lightgbm"),
    "mlp": _network(),
    "wide_deep": _network(wide=True),
    **{name: _network(crossing=name) for name in CROSSINGS if name not in ("none", "mlp")},
    "last": _network(sequences=(LastConfig(),)),
    "din": _network(sequences=(MeanConfig(), DinConfig())),
    "bst": _network(sequences=(MeanConfig(), BstConfig())),
    "adsformer": _network(sequences=(AdsformerConfig(), VectorsConfig(), MeanConfig()), crossing="dcnv2"),
    "esmm": _network(conversions_from="impressions"),
    "mmoe": _network(towers=MmoeConfig()),
    "next_action": _network(self_supervised=(NextActionConfig(),)),
    "masked": _network(self_supervised=(MaskedConfig(),)),
    "two_tower": TwoTowerConfig(kind="two_tower"),
}
"""Every predictor by its name, with default widths."""
