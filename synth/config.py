"""What a scenario says of its world: sizes, laws and the marginals that an analyst of the market knows.

A weight or share of 0 switches its mechanism off.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]
Portion = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, lt=2**31)]
Positive = Annotated[float, Field(ge=1e-6, le=1e9)]
NonNegative = Annotated[float, Field(ge=0, le=1e9)]
Rate = Annotated[float, Field(ge=1e-9, lt=1)]
Rare = Annotated[float, Field(ge=0, lt=1)]  # 0, or a rate
Spread = Annotated[float, Field(ge=0, le=10)]  # of a logarithm or a logit
Days = Annotated[float, Field(ge=0.01, le=36_500)]
Usd = Annotated[float, Field(ge=1e-4, le=1e6)]

MOST_PLATFORMS, MOST_COHORTS = 8, 48  # bits of an audience


class Strict(BaseModel):
    """A section of a scenario: no unknown keys, no change after reading, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)


def _adds_up(name: str, shares: tuple[float, ...]) -> None:
    if abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"{name} adds up to {sum(shares):g}, it must add up to 1")


class PopulationConfig(Strict):
    """Who visits."""

    users: Count
    regions: Count = Field(20, description="markets; a user sees only the stores of the own region")
    segments: int = Field(12, ge=1, le=MOST_COHORTS, description="groups of users with similar taste")
    cohort_accuracy: Share = Field(0.8, description="share of users whose logged cohort is their true segment")
    platform_share: Annotated[tuple[Share, ...], Field(min_length=2, max_length=MOST_PLATFORMS)] = Field(
        (0.55, 0.35, 0.10), description="iOS, Android, web; adds up to 1"
    )
    activity_sigma: Spread = Field(1.0, description="sigma of the lognormal of activity over users")
    taste_spread: NonNegative = Field(0.6, description="spread of tastes inside a segment, segments being spread by 1")

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        _adds_up("platform_share", self.platform_share)
        return self


class CatalogueConfig(Strict):
    """What there is to order: stores in a taxonomy of cuisines and their dishes."""

    stores: Count
    cuisines: int = Field(30, ge=1, le=64)
    dishes_per_cuisine: int = Field(4, ge=1, le=64)
    basket_sigma: Spread = Field(0.4, description="sigma of the lognormal of order values at one store")
    price_sigma: Spread = Field(0.3, description="sigma of the lognormal of price levels over stores")
    popularity_sigma: Spread = Field(1.0, description="sigma of the lognormal of popularity over stores")
    rating_noise: NonNegative = Field(0.7, description="standard deviation of the rating around the true quality, 1")


class ContentConfig(Strict):
    """What text and pictures tell of a store: vectors that are noisy views of its hidden style."""

    text: int = Field(8, ge=1, le=256, description="dimensions")
    visual: int = Field(4, ge=1, le=256, description="dimensions; pictures also show the click appeal")
    text_noise: NonNegative = Field(0.5, description="standard deviation, that of the signal being 1")
    visual_noise: NonNegative = 0.7


class CampaignConfig(Strict):
    """Who advertises. Each store belongs to at most one campaign; an ad is one store of one campaign."""

    count: Count
    stores_per_campaign: int = Field(5, ge=1)
    cpa_share: Portion = 0.50
    ocpm_share: Portion = 0.25
    cpc_share: Portion = 0.15
    cpm_share: Portion = 0.10
    value_share: Portion = Field(0.0, description="bid for the value of orders (ROAS), charged per impression")
    click_goal_share: Portion = Field(0.0, description="of oCPM campaigns, those that aim at clicks")
    cart_goal_share: Portion = Field(0.0, description="of CPA and oCPM campaigns, those that aim at add-to-cart")
    sign_up_goal_share: Portion = Field(0.0, description="of CPA and oCPM campaigns, those that aim at sign-ups")
    sign_up_worth: Positive = Field(1.0, description="value of a sign-up to an advertiser, in orders")
    take_rate: Share = Field(0.2, description="mean value of an order to its advertiser, as a share of the basket")
    value_sigma: Spread = Field(0.35, description="sigma of the lognormal of that value over campaigns")
    daily_budget_usd: Usd = Field(description="mean daily budget of a campaign")
    budget_sigma: Spread = Field(0.8, description="sigma of the lognormal of budgets over campaigns")
    flighted_share: Portion = Field(0.1, description="campaigns that run and pause in turn")
    flight_days: int = Field(7, ge=1, le=36_500, description="length of a run, and of a pause")
    daypart_share: Portion = Field(0.1, description="campaigns that run in half of the parts of the day only")
    platform_share: Portion = Field(0.05, description="campaigns that leave one platform out")
    cohort_share: Portion = Field(0.1, description="campaigns that address half of the cohorts only")

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        shares = self.cpa_share, self.ocpm_share, self.cpc_share, self.cpm_share, self.value_share
        _adds_up("cpa_share, ocpm_share, cpc_share, cpm_share and value_share together", shares)
        goals = self.click_goal_share + self.cart_goal_share + self.sign_up_goal_share
        if goals > 1:
            raise ValueError(f"click_goal_share, cart_goal_share and sign_up_goal_share are {goals:g}, more than 1")
        return self


class TrafficConfig(Strict):
    """When users come. The scenario starts at midnight on a Monday."""

    hour_weight: Annotated[tuple[NonNegative, ...], Field(min_length=24, max_length=24)]
    weekday_weight: Annotated[tuple[NonNegative, ...], Field(min_length=7, max_length=7)] = (1.0,) * 7
    regularity: Portion = Field(0.4, description="share of a user's sessions that fall into the user's usual daypart")
    requests_per_session: Annotated[float, Field(ge=1, le=8)] = Field(2.0, description="mean ad requests of a session")
    page_seconds: Positive = Field(60.0, description="mean time between the requests of a session")

    @model_validator(mode="after")
    def _someone_comes(self) -> Self:
        if sum(self.hour_weight) == 0 or sum(self.weekday_weight) == 0:
            raise ValueError("hour_weight and weekday_weight each need a positive entry")
        return self


class SurfaceConfig(Strict):
    """A place where ads stand."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    share: Share | Literal[1] = Field(1, description="of the requests")
    attention: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="probability that its top slot is looked at"
    )


class FeedConfig(Strict):
    """Where ads stand and how well they are seen."""

    slot_effect: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1, max_length=255)]
    surfaces: Annotated[tuple[SurfaceConfig, ...], Field(min_length=1)] = (SurfaceConfig(name="feed"),)
    platform_depth: tuple[Annotated[float, Field(ge=0.05, le=20)], ...] | None = Field(
        None, description="per platform, the power that the slot effects are raised to: below 1 it looks further down"
    )
    model: Literal["pbm", "cascade"] = Field(
        "pbm", description="pbm: slots are looked at independently; cascade: one after the other from the top"
    )
    stop_after_click: Portion = Field(0.6, description="cascade: probability that a click ends the scan")
    candidates: Count = Field(50, description="ads retrieved per request")

    @model_validator(mode="after")
    def _slots(self) -> Self:
        if self.slot_effect[0] != 1:
            raise ValueError(f"slot_effect starts with {self.slot_effect[0]:g}, the first slot's effect is 1")
        if any(b > a for a, b in zip(self.slot_effect, self.slot_effect[1:], strict=False)):
            raise ValueError("slot_effect rises, it must fall from slot to slot")
        if len(self.slot_effect) > self.candidates:
            raise ValueError(f"slots are {len(self.slot_effect)}, more than the {self.candidates} candidates")
        _adds_up("the share of surfaces", tuple(surface.share for surface in self.surfaces))
        names = [surface.name for surface in self.surfaces]
        if len(set(names)) < len(names):
            raise ValueError(f"surfaces are {', '.join(names)}, each needs a name of its own")
        return self

    def depths(self, n_platforms: int) -> tuple[float, ...]:
        """The power that each platform's users raise slot effects to."""
        return self.platform_depth or (1.0,) * n_platforms


class RetrievalConfig(Strict):
    """How well candidates are chosen among the eligible ads."""

    quality: Portion = Field(0.5, description="correlation of the query vector with the user's taste; 0 is chance")
    query_weight: NonNegative = Field(4.0, description="score of an ad of the dish searched for; half for its cuisine")


class DelayPoint(Strict):
    """One point of the distribution of the time from click to order."""

    hours: Positive
    share: Share = Field(description="share of orders placed by then")


CRITEO_DELAYS = (
    DelayPoint(hours=1, share=0.35), DelayPoint(hours=24, share=0.50), DelayPoint(hours=336, share=0.87)
)  # fmt: skip


class MarginalsConfig(Strict):
    """Observable figures of the market under its first ranker; the world's intercepts are solved for them."""

    ctr: Rate = Field(description="clicks per ad impression")
    cvr: Rate = Field(description="checkouts (orders) per click, however late")
    cart_rate: Share | None = Field(
        None,
        description="add-to-carts per click, between cvr and long_click_share; by default the root of their product",
    )
    sign_up_rate: Rare = Field(
        0.0, description="sign-ups per click; whoever knows the store at the click does not sign up"
    )
    post_view_rate: Rare = Field(0.0, description="orders after an ad was seen and not clicked, per impression")
    repurchase_positives: Share = Field(0.676, description="share of ordering impressions whose user knew the store")
    repurchase_negatives: Share = Field(0.343, description="the same share among the other impressions")
    delay: Annotated[tuple[DelayPoint, ...], Field(min_length=3, max_length=3)] = Field(
        CRITEO_DELAYS, description="three points from click to order; solved by a mixture of two exponentials"
    )
    long_click_share: Share = Field(
        0.6, description="long clicks (30 s) per click; a click that leads to a cart is one"
    )
    hide_rate: Rate = Field(0.002, description="hides per impression")
    sessions_per_day: Positive = Field(description="mean sessions per user and day")
    basket_usd: Usd = Field(description="mean value of an order that follows an ad click")
    organic_share: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of orders that follow no ad")

    @model_validator(mode="after")
    def _funnel_narrows(self) -> Self:
        if not self.cvr < self.carts < self.long_click_share:
            raise ValueError(
                f"long_click_share {self.long_click_share:g}, cart_rate {self.carts:g} and cvr {self.cvr:g} must fall in "
                "this order"
            )
        return self

    @property
    def carts(self) -> float:
        """Add-to-carts per click."""
        return self.cart_rate if self.cart_rate is not None else (self.cvr * self.long_click_share) ** 0.5


class TasteConfig(Strict):
    """How much each cause moves the logit of a click (and of an order)."""

    match: NonNegative = Field(0.9, description="taste x style, standard deviation in logits")
    click_appeal: NonNegative = Field(0.5, description="store's click appeal, standard deviation")
    purchase_appeal: NonNegative = Field(0.5, description="store's purchase appeal, standard deviation")
    appeal_correlation: float = Field(0.4, ge=-1, le=1, description="of click appeal and purchase appeal")
    quality: NonNegative = Field(0.3, description="store's quality, on orders, standard deviation")
    daypart: NonNegative = Field(0.4, description="cuisine x part of the day, standard deviation")
    price: NonNegative = Field(0.4, description="price level x price sensitivity")


class InteractionConfig(Strict):
    """User x item x context, of low rank and not additive."""

    weight: NonNegative = Field(0.4, description="standard deviation in logits")
    rank: int = Field(4, ge=1, le=16)


class IntentConfig(Strict):
    """The need that a session lives for, and what the user looks at before an ad is shown."""

    weight: NonNegative = Field(0.9, description="style of the needed dish x style, standard deviation in logits")
    switch: Portion = Field(0.3, description="probability that the need is another one on the next page")
    views: Annotated[float, Field(ge=0, le=4)] = Field(
        2.0, description="mean stores looked at before each ad request; Poisson, and of more than 4 only 4 are kept"
    )
    focus: Portion = Field(0.8, description="share of views that look for the need")
    search: Portion = Field(0.3, description="probability that the need is searched for in words")


class HabitConfig(Strict):
    """Stores that a user orders from again and again."""

    history_stores: Positive = Field(
        6.0,
        description="mean stores that a user had ordered from before; grows with the root of activity; Poisson, and of more "
        "than history_capacity only as many are kept",
    )
    history_capacity: int = Field(16, ge=1, le=64, description="most stores remembered per user")
    period_days: Days = Field(7.0, description="median time in which the appetite for a store comes back")
    period_sigma: Spread = Field(0.6, description="sigma of its lognormal over users and stores")
    renewal: NonNegative = Field(1.0, description="logits that an order takes away, and that come back")
    daypart: NonNegative = Field(0.8, description="logits of the habit's usual part of the day")
    exploration: NonNegative = Field(0.4, description="standard deviation over users of the logit of unknown stores")
    novelty: NonNegative = Field(0.3, description="logits of a store launched today, for users new to it")
    novelty_days: Days = Field(14.0, description="time in which novelty wears off, mean")
    familiar_views: Portion = Field(0.3, description="share of organic views that go to a known store")

    @model_validator(mode="after")
    def _history_fits(self) -> Self:
        if self.history_stores > self.history_capacity:
            raise ValueError(
                f"history_stores is {self.history_stores:g}, more than history_capacity {self.history_capacity}"
            )
        return self


class FatigueConfig(Strict):
    """Poor ads tire: a tired user looks past ads and comes back less."""

    blindness: NonNegative = Field(0.15, description="logits of a click lost per unit of fatigue")
    leaving: NonNegative = Field(0.03, description="log of the visits lost per unit of fatigue")
    half_life_days: Days = Field(7.0, description="time in which half of it is forgotten")
    hide_weight: NonNegative = Field(5.0, description="a hide tires as much as so many ads that were seen in vain")
    relief: NonNegative = Field(2.0, description="a long click takes away the fatigue of so many")
    gain: NonNegative = Field(0.05, description="fatigue of an ad that was seen in vain, for a rested user")
    limit: Positive = Field(5.0, description="the most that a user can tire; gains fall to 0 on the way")


class LifetimeConfig(Strict):
    """How users go away and come back. All are there at the start; a user is there, or away, for whole days."""

    leaving_per_day: NonNegative = Field(
        0.0, description="mean rate at which a user who is there goes away; 0: nobody does"
    )
    leaving_shape: Annotated[float, Field(ge=0.05, le=1e3)] = Field(
        1.0, description="shape of its gamma over users: the smaller, the more they differ"
    )
    away_days: Days = Field(365.0, description="mean time until a user who is away comes back")


class DriftConfig(Strict):
    """What changes with the calendar."""

    appeal: NonNegative = Field(0.3, description="standard deviation of a store's slowly changing click appeal")
    appeal_days: Days = Field(7.0, description="time between the points that it is drawn at")
    season: NonNegative = Field(0.2, description="amplitude of a cuisine's season, logits")
    season_days: Days = Field(28.0, description="length of the season")
    launch_share: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="stores not open at the start")
    launch_days: Days = Field(14.0, description="time over which they open")


class DelayConfig(Strict):
    """How delays differ by campaign and by type of event."""

    campaign_sigma: Spread = Field(0.3, description="sigma over campaigns of the lognormal of the slow part")
    cart_minutes: Positive = Field(10.0, description="mean time from click to add-to-cart")
    sign_up_hours: Positive = Field(6.0, description="mean time from click to sign-up")


class OrganicConfig(Strict):
    """What users order without ads."""

    substitution: Portion = Field(
        0.5, description="probability that an order after an ad takes the place of the visit's organic order"
    )


class WorldConfig(Strict):
    """The whole world."""

    population: PopulationConfig
    catalogue: CatalogueConfig
    campaigns: CampaignConfig
    traffic: TrafficConfig
    feed: FeedConfig
    marginals: MarginalsConfig
    retrieval: RetrievalConfig = RetrievalConfig()
    taste: TasteConfig = TasteConfig()
    interaction: InteractionConfig = InteractionConfig()
    content: ContentConfig = ContentConfig()
    intent: IntentConfig = IntentConfig()
    habit: HabitConfig = HabitConfig()
    fatigue: FatigueConfig = FatigueConfig()
    lifetime: LifetimeConfig = LifetimeConfig()
    drift: DriftConfig = DriftConfig()
    delay: DelayConfig = DelayConfig()
    organic: OrganicConfig = OrganicConfig()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        ads, stores = self.campaigns.count * self.campaigns.stores_per_campaign, self.catalogue.stores
        if ads > stores:
            raise ValueError(f"campaigns need {ads} stores (count x stores_per_campaign), the catalogue has {stores}")
        regions = self.population.regions
        if regions > ads:
            raise ValueError(f"population.regions are {regions}, more than the {ads} ads: a region would have none")
        if self.feed.candidates * regions > ads:
            raise ValueError(
                f"feed.candidates is {self.feed.candidates}, more than the {ads // regions} ads that a region has "
                f"({ads} ads in {regions} regions)"
            )
        depth, platforms = self.feed.platform_depth, len(self.population.platform_share)
        if depth is not None and len(depth) != platforms:
            raise ValueError(f"feed.platform_depth has {len(depth)} entries, there are {platforms} platforms")
        return self

    @model_validator(mode="after")
    def _orders_without_views(self) -> Self:
        if self.marginals.organic_share > 0 and self.intent.views == 0:
            raise ValueError("marginals.organic_share is above 0, then intent.views must be, too")
        return self
