"""What a scenario says of its world: sizes, laws and the marginals that an analyst of the market knows."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Strict(BaseModel):
    """A section of a scenario: no unknown keys, no change after reading, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)


class PopulationConfig(Strict):
    """Who visits."""

    users: Count
    regions: Count = Field(20, description="markets; a user sees only the stores of the own region")
    segments: Count = Field(12, description="groups of users with similar taste")
    cohort_accuracy: Share = Field(0.8, description="share of users whose logged cohort is their true segment")
    platform_share: tuple[Share, ...] = Field((0.55, 0.35, 0.10), description="iOS, Android, web; adds up to 1")
    requests_per_day: Positive = Field(description="mean requests per user and day")
    activity_sigma: NonNegative = Field(0.8, description="sigma of the lognormal of activity over users")
    taste_spread: NonNegative = Field(0.6, description="spread of tastes inside a segment, segments being spread by 1")
    history_stores: Positive = Field(6.0, description="mean stores that a user had ordered from before the start")
    history_capacity: int = Field(16, ge=1, le=64, description="most stores remembered per user")

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        if abs(sum(self.platform_share) - 1) > 1e-9:
            raise ValueError(f"platform_share adds up to {sum(self.platform_share):g}, it must add up to 1")
        if self.history_stores > self.history_capacity:
            raise ValueError(
                f"history_stores is {self.history_stores:g}, more than history_capacity {self.history_capacity}"
            )
        return self


class CatalogueConfig(Strict):
    """What there is to order."""

    stores: Count
    cuisines: int = Field(30, ge=1, le=64)
    basket_usd: Positive = Field(description="mean value of an order")
    basket_sigma: NonNegative = Field(0.4, description="sigma of the lognormal of order values at one store")
    price_sigma: NonNegative = Field(0.3, description="sigma of the lognormal of price levels over stores")
    popularity_sigma: NonNegative = Field(1.0, description="sigma of the lognormal of popularity over stores")


class CampaignConfig(Strict):
    """Who advertises. Each store belongs to at most one campaign; an ad is one store of one campaign."""

    count: Count
    stores_per_campaign: int = Field(5, ge=1)
    cpa_share: NonNegative = 0.50
    ocpm_share: NonNegative = 0.25
    cpc_share: NonNegative = 0.15
    cpm_share: NonNegative = 0.10
    take_rate: Share = Field(0.2, description="mean value of an order to its advertiser, as a share of the basket")
    value_sigma: NonNegative = Field(0.35, description="sigma of the lognormal of that value over campaigns")
    daily_budget_usd: Positive = Field(description="mean daily budget of a campaign")
    budget_sigma: NonNegative = Field(0.8, description="sigma of the lognormal of budgets over campaigns")

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = self.cpa_share + self.ocpm_share + self.cpc_share + self.cpm_share
        if abs(total - 1) > 1e-9:
            raise ValueError(f"cpa_share, ocpm_share, cpc_share and cpm_share add up to {total:g}, not to 1")
        return self


class TrafficConfig(Strict):
    """When users come. The scenario starts at midnight on a Monday."""

    hour_weight: Annotated[tuple[NonNegative, ...], Field(min_length=24, max_length=24)]
    weekday_weight: Annotated[tuple[NonNegative, ...], Field(min_length=7, max_length=7)] = (1.0,) * 7

    @model_validator(mode="after")
    def _someone_comes(self) -> Self:
        if sum(self.hour_weight) == 0 or sum(self.weekday_weight) == 0:
            raise ValueError("hour_weight and weekday_weight each need a positive entry")
        return self


class FeedConfig(Strict):
    """Where ads stand and how well they are seen."""

    slot_effect: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]
    candidates: Count = Field(50, description="ads retrieved per request")

    @model_validator(mode="after")
    def _slots(self) -> Self:
        if self.slot_effect[0] != 1:
            raise ValueError(f"slot_effect starts with {self.slot_effect[0]:g}, the first slot's effect is 1")
        if any(b > a for a, b in zip(self.slot_effect, self.slot_effect[1:], strict=False)):
            raise ValueError("slot_effect rises, it must fall from slot to slot")
        if len(self.slot_effect) > self.candidates:
            raise ValueError(f"slots are {len(self.slot_effect)}, more than the {self.candidates} candidates")
        return self


class DelayPoint(Strict):
    """One point of the distribution of the time from click to order."""

    hours: Positive
    share: Share = Field(description="share of orders placed by then")


class MarginalsConfig(Strict):
    """Observable figures of the market under its first ranker; the world's intercepts are solved for them."""

    ctr: Share = Field(description="clicks per ad impression")
    cvr: Share = Field(description="orders per click, however late")
    repurchase_positives: Share = Field(description="share of ordering impressions whose user knew the store")
    repurchase_negatives: Share = Field(description="the same share among the other impressions")
    delay: Annotated[tuple[DelayPoint, ...], Field(min_length=3, max_length=3)] = Field(
        description="three points; solved by a mixture of two exponentials"
    )
    long_click_share: Share = Field(0.6, description="long clicks per click")
    hide_rate: Share = Field(0.002, description="hides per impression")


class TasteConfig(Strict):
    """How much each cause moves the logit of a click (and of an order)."""

    match: NonNegative = Field(0.9, description="taste x style, standard deviation in logits")
    click_appeal: NonNegative = Field(0.5, description="store's click appeal, standard deviation")
    purchase_appeal: NonNegative = Field(0.5, description="store's purchase appeal, standard deviation")
    appeal_correlation: float = Field(0.4, ge=-1, le=1, description="of click appeal and purchase appeal")
    daypart: NonNegative = Field(0.4, description="cuisine x part of the day, standard deviation")
    price: NonNegative = Field(0.4, description="price level x price sensitivity")


class WorldConfig(Strict):
    """The whole world."""

    population: PopulationConfig
    catalogue: CatalogueConfig
    campaigns: CampaignConfig
    traffic: TrafficConfig
    feed: FeedConfig
    marginals: MarginalsConfig
    taste: TasteConfig = TasteConfig()

    @model_validator(mode="after")
    def _enough_stores(self) -> Self:
        advertised = self.campaigns.count * self.campaigns.stores_per_campaign
        if advertised > self.catalogue.stores:
            raise ValueError(
                f"campaigns need {advertised} stores (count x stores_per_campaign), the catalogue has "
                f"{self.catalogue.stores}"
            )
        if self.population.regions > self.catalogue.stores:
            raise ValueError(f"regions are {self.population.regions}, more than the {self.catalogue.stores} stores")
        return self
