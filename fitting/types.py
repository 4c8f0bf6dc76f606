"""Types: the standard tables that every log is brought to, and the estimates that are made of them."""

from typing import Literal, NamedTuple

Kind = Literal["id", "time", "flag", "money", "share", "count"]


class Field(NamedTuple):
    """A column of a standard table."""

    kind: Kind
    required: bool
    about: str


class Estimate(NamedTuple):
    """A figure of the market: what the log says of it, or why it says nothing."""

    name: str  # of the setting, such as world.marginals.ctr, or world.feed.slot_effect[1]
    value: float | None  # None where the log cannot tell; the setting's default holds then
    low: float | None  # of its 95% interval
    high: float | None
    events: int  # behind it: clicks for a click rate, orders for a basket
    unit: str
    method: str  # how it was had, in words, with its source
    why: str = ""  # why there is no value


# times are ms since the epoch (UTC), or since any Monday at midnight; ids are integers or text; money is in USD
IMPRESSIONS = {
    "time_ms": Field("time", True, "when the ad was shown"),
    "item": Field("id", True, "the ad"),
    "click": Field("flag", True, "whether it was clicked"),
    "user": Field("id", False, "who saw it"),
    "session": Field("id", False, "visit"),
    "request": Field("id", False, "page"),
    "slot": Field("count", False, "place on the page, 0 is the top"),
    "propensity": Field("share", False, "probability with which the policy in force put the item into the slot"),
    "randomised": Field("flag", False, "whether the slots were filled at random"),
    "campaign": Field("id", False, "whose ad"),
    "bid_usd": Field("money", False, "bid per billable event"),
    "price_usd": Field("money", False, "price of the impression"),
    "known": Field("flag", False, "whether the user had bought from the item's store before"),
    "click_ms": Field("time", False, "when it was clicked; empty where it was not"),
    "cart_ms": Field("time", False, "when the add-to-cart that follows came; empty where there is none yet"),
    "checkout_ms": Field("time", False, "when the order that follows came; empty where there is none yet"),
    "sign_up_ms": Field("time", False, "when the sign-up that follows came; empty where there is none yet"),
    "basket_usd": Field("money", False, "value of that order"),
}
PURCHASES = {
    "user": Field("id", True, "who bought"),
    "time_ms": Field("time", True, "when"),
    "basket_usd": Field("money", False, "value"),
    "item": Field("id", False, "what or where"),
}
TRAFFIC = {
    "weekday": Field("count", True, "0 is Monday"),
    "hour": Field("count", True, "0 to 23"),
    "share": Field("share", True, "of the traffic, in any unit"),
    "region": Field("id", False, "summed over"),
}
