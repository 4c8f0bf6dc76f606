"""The columns of this marketplace's log."""

from models.schema import Column, Kind, Schema, Side
from synth.campaigns import GOALS
from synth.config import WorldConfig
from synth.types import EVENTS


def log_schema(world: WorldConfig) -> Schema:
    """The log's tables; their cardinalities come from the world's sizes."""
    population, catalogue, campaigns = world.population, world.catalogue, world.campaigns
    n_dishes = catalogue.cuisines * catalogue.dishes_per_cuisine
    ads = campaigns.count * campaigns.stores_per_campaign

    def category(name: str, side: Side, cardinality: int, values: tuple[str, ...] = ()) -> Column:
        return Column(
            name=name, kind=Kind.CATEGORICAL, dtype="int32", side=side, cardinality=cardinality, values=values
        )  # fmt: skip

    def dense(name: str, side: Side, unit: str) -> Column:
        return Column(name=name, kind=Kind.DENSE, dtype="float32", side=side, unit=unit)

    def identity(name: str, dtype: str = "int32", cardinality: int = 0) -> Column:
        return Column(name=name, kind=Kind.ID, dtype=dtype, cardinality=cardinality)

    def recent(name: str, values_of: str, cardinality: int, unit: str) -> Column:
        return Column(
            name=name, kind=Kind.LIST, dtype="list<int32>", side=Side.REQUEST, cardinality=cardinality,
            values_of=values_of, ordered=True, unit=unit,
        )  # fmt: skip

    def vector(name: str, width: int) -> Column:
        return Column(name=name, kind=Kind.VECTOR, dtype="float32", side=Side.AD, width=width)

    def time(name: str) -> Column:
        return Column(name=name, kind=Kind.TIME, dtype="int64", unit="ms since the start")

    def money(name: str, unit: str = "micros of USD") -> Column:
        return Column(name=name, kind=Kind.MONEY, dtype="int64", unit=unit)

    def flag(name: str) -> Column:
        return Column(name=name, kind=Kind.FLAG, dtype="bool")

    def decision(name: str, dtype: str, unit: str) -> Column:
        return Column(name=name, kind=Kind.DECISION, dtype=dtype, unit=unit)

    request = identity("request", "int64")
    price = money("price_micros", "micros of USD per billable event")
    predicted = (
        decision("pctr", "float32", "predicted probability of a click given examination"),
        decision("pcvr", "float32", "predicted probability of an attributed conversion given a click"),
        decision("bid_usd", "float64", "USD per billable event, paced"),
        decision("quality", "float64", "predicted probability of the billable event given examination"),
        decision("multiplier", "float64", "pacing multiplier in the bid"),
    )
    return Schema(
        tables={
            "requests": (
                request,
                time("time_ms"),
                identity("user", cardinality=population.users),
                identity("session", "int64"),
                identity("arm", "int16"),
                flag("randomised"),
                category("hour", Side.REQUEST, 24),
                category("weekday", Side.REQUEST, 7),
                category("region", Side.REQUEST, population.regions),
                category("platform", Side.REQUEST, len(population.platform_share)),
                category("cohort", Side.REQUEST, population.segments),
                category("surface", Side.REQUEST, len(world.feed.surfaces), tuple(s.name for s in world.feed.surfaces)),
                category("query", Side.REQUEST, n_dishes),
                dense("user_orders", Side.REQUEST, "log(1 + orders in the user's history)"),
                dense("user_clicks", Side.REQUEST, "log(1 + ad clicks since the start)"),
                dense("user_impressions", Side.REQUEST, "log(1 + ad impressions since the start)"),
                recent("history", "store", catalogue.stores, "stores that the user has ordered from, the last order first"),
                recent("views", "store", catalogue.stores, "looked at in the session, most recent first"),
                recent("viewed_dishes", "dish", n_dishes, "dishes of those stores"),
                recent("clicks", "store", catalogue.stores, "stores of the ads that the user clicked, most recent first"),
                recent("searches", "dish", n_dishes, "searched for before the request, most recent first"),
            ),
            "impressions": (
                request,
                time("time_ms"),
                identity("user", cardinality=population.users),
                identity("arm", "int16"),
                identity("slot", "int16", len(world.feed.slot_effect)),
                identity("ad", cardinality=ads),
                category("store", Side.AD, catalogue.stores),
                category("campaign", Side.AD, campaigns.count),
                category("cuisine", Side.AD, catalogue.cuisines),
                category("dish", Side.AD, n_dishes),
                category("goal", Side.AD, len(GOALS), GOALS),
                dense("store_price", Side.AD, "log of price level"),
                dense("store_rating", Side.AD, "stars of customers, standardised"),
                dense("store_orders", Side.AD, "log(1 + known orders)"),
                dense("ad_ctr", Side.AD, "log of clicks over those expected of a mean ad in its slots, smoothed"),
                dense("ad_cvr", Side.AD, "log of orders over those expected of a mean ad, smoothed"),
                dense("known_orders", Side.CROSS, "log(1 + orders of the user from the store)"),
                dense("days_since_order", Side.CROSS, "log(1 + days since the user's last order from the store), -1 never"),
                dense("cuisine_share", Side.CROSS, "share of the user's stores with the store's cuisine"),
                dense("viewed_dish", Side.CROSS, "share of the session's views with the store's dish"),
                dense("viewed_cuisine", Side.CROSS, "share of the session's views with the store's cuisine"),
                dense("query_match", Side.CROSS, "1 if the query is for the store's dish, 1/2 if for its cuisine"),
                *predicted,
                price,
                money("billed_micros", "micros of USD billed for the impression and its click"),
                money("unbilled_micros", "micros of USD due for them beyond the budget"),
                flag("clicked"),
                flag("long_clicked"),
                flag("hidden"),
            ),
            "conversions": (
                request,
                time("time_ms"),
                identity("user", cardinality=population.users),
                identity("arm", "int16"),
                identity("ad", cardinality=ads),
                identity("campaign", cardinality=campaigns.count),
                Column(name="event", kind=Kind.ID, dtype="int8", cardinality=len(EVENTS), values=EVENTS),
                time("shown_ms"),
                time("click_ms"),
                flag("attributed"),
                money("value_micros", "micros of USD, basket"),
                money("billed_micros"),
                money("unbilled_micros", "micros of USD due beyond the budget"),
            ),
            "organic": (
                request,
                time("time_ms"),
                identity("user", cardinality=population.users),
                identity("store", cardinality=catalogue.stores),
                money("value_micros", "micros of USD, basket"),
            ),
            "candidates": (
                request,
                time("time_ms"),
                identity("rank", "int16"),
                identity("ad", cardinality=ads),
                *predicted,
                identity("slot", "int16", len(world.feed.slot_effect)),
            ),
            "stores": (
                identity("store", cardinality=catalogue.stores),
                vector("text", world.content.text),
                vector("visual", world.content.visual),
            ),
        }
    )  # fmt: skip
