"""Auction: what is bid and paid, what a campaign would win at other bids, and one request's auction step by step."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard.parts import Column, chart, plain, table, whole_number
from dashboard.sliced import Chosen, any_arm, kept, one_arm, with_simulation
from marketplace.advertisers import pricings_of
from marketplace.auction_charts import (
    UNITS,
    campaigns_chart,
    candidates_chart,
    landscape_chart,
    slots_chart,
    spread_chart,
)
from marketplace.auction_slices import campaigns_by_spend, distribution, slots_filled, summed
from marketplace.landscape import landscape
from marketplace.one_request import replay
from marketplace.replay import rules_of, whole_requests
from synth.types import DAY_MS

WHOLE = "{:.0f}".format
OFFERED = 100  # requests to choose from; any other can be typed in
SPREAD = (
    Column("arm", "arm", text=True),
    Column("pricing", "pricing", text=True),
    Column("slot", "slot", str, "0 on top."),
    Column("impressions", "n", "{:,}".format),
    Column("mean, USD", "mean", help="Exact."),
    Column("10%, USD", "q10", help="So many are below; to the width of a bin, 28%."),
    Column("median, USD", "q50", help="To the width of a bin, 28%."),
    Column("90%, USD", "q90", help="So many are below; to the width of a bin, 28%."),
)
SLOTS = (
    Column("arm", "arm", text=True),
    Column("slot", "slot", str, "0 on top."),
    Column("requests", "requests", "{:,}".format),
    Column("impressions", "impressions", "{:,}".format),
    Column("sold, share of requests", "filled", "{:.2%}".format),
    Column("CTR, clicks per impression", "ctr", "{:.2%}".format),
    Column("billed, USD", "billed_usd", help="For impressions and clicks; conversions are billed when they come."),
)
CAMPAIGNS = (
    Column("campaign", "campaign", str),
    Column("arm", "arm", text=True),
    Column("pricing", "pricing", text=True),
    Column("goal", "goal", text=True),
    Column("spend, USD", "spend_usd"),
    Column("impressions", "impressions", "{:,}".format),
    Column("clicks", "clicks", "{:,}".format),
    Column("CTR", "ctr", "{:.2%}".format),
    Column("conversions", "conversions", "{:,}".format, "Attributed, of ads shown in the simulation, so far."),
    Column("CPA, USD per conversion", "cpa_usd"),
    Column("mean price, USD per 1,000 looks", "price_ecpm_usd"),
    Column("price / bid", "of_bid", "{:.1%}".format, "By the sums of their eCPM."),
)
LANDSCAPE = (
    Column("bids times", "factor", "{:.3f}".format),
    Column("won, share of auctions", "won", "{:.2%}".format),
    Column("mean price, USD per billable event", "price_usd"),
    Column("clicks expected, per 1,000 auctions", "clicks"),
    Column("spend expected, USD per 1,000 auctions", "spend_usd"),
)
CANDIDATES = (
    Column("place", "place", WHOLE, "By score; none of those that do not compete."),
    Column("ad", "ad", str),
    Column("campaign", "campaign", str),
    Column("outcome", "state", text=True),
    Column("slot", "slot", WHOLE, "0 on top."),
    Column("price, USD per event", "price_usd", help="Per impression, click or conversion, as the pricing says."),
    Column("pricing", "pricing", text=True),
    Column("bid, USD per event", "bid_usd", help="Paced."),
    Column("reserve, USD", "reserve_usd"),
    Column("quality", "quality", help="Predicted probability of the billable event given a look."),
    Column("true quality", "true_quality"),
    Column("score", "score", help="Bid x quality ^ squash."),
    Column("pctr", "pctr", help="Predicted probability of a click given a look at the top slot."),
    Column("true click", "true_ctr", help="The true probability."),
    Column("pcvr", "pcvr", help="Predicted probability of an attributed conversion given a click."),
    Column("true goal", "true_cvr", help="True probability of the campaign's goal given a click, however late."),
    Column("goal", "goal", text=True),
    Column("multiplier", "multiplier", help="Of pacing."),
)
MECHANISMS = (
    Column("mechanism", "mechanism", text=True),
    Column("slot", "slot", str, "0 on top."),
    Column("ad", "ad", str),
    Column("campaign", "campaign", str),
    Column("pricing", "pricing", text=True),
    Column("bid, USD per event", "bid_usd"),
    Column("price, USD per event", "price_usd"),
    Column("revenue predicted, USD", "expected_usd", help="Price x predicted probability of the event in the slot."),
    Column("revenue in truth, USD", "true_usd", help="The same by the true probability."),
)
TOTALS = (
    Column("mechanism", "mechanism", text=True),
    Column("ads shown", "shown", str),
    Column("revenue predicted, USD", "expected_usd", help="Of the request, in expectation."),
    Column("revenue in truth, USD", "true_usd", help="The same by the true probabilities."),
)


def prices(chosen: Chosen) -> None:
    """How bids and prices are spread, by pricing and by slot."""
    figure = st.segmented_control(
        "Figure", list(UNITS), default="bid eCPM", required=True, key="figure", bind="query-params"
    )
    arm = any_arm(chosen)
    rows = [row for row in kept(chosen, distribution, chosen.own, str(figure)) if arm in (None, row["arm"])]
    if not rows:
        st.info("No ad was shown.")
        return
    st.caption(
        "Of the impressions won. A look is an impression that is looked at; eCPM makes bids per click, conversion and impression "
        "comparable: bid or price x predicted probability of the billable event x 1,000."
    )
    for place, by in zip(st.columns(2), ("pricing", "slot"), strict=True):
        with place:
            chart(spread_chart(rows, by, str(figure)), f"{chosen.run}-{chosen.name}-{figure}-by-{by}".replace(" ", "-"))
    named = [row | {"arm": chosen.arms[row["arm"]]} for row in summed(rows)]
    table(named, SPREAD, f"{chosen.run}-{chosen.name}-{figure}".replace(" ", "-"), height=420)


def slots(chosen: Chosen) -> None:
    """How often slots are sold."""
    apart = chosen.name != "ab" or chosen.scenario.experiment.design != "advertisers"
    rows = kept(chosen, slots_filled, len(chosen.scenario.world.feed.slot_effect), apart=apart)
    arms = chosen.arms if apart else ["all arms, which meet in one auction"]
    chart(slots_chart(rows, arms), f"{chosen.run}-{chosen.name}-slots-chart")
    table([row | {"arm": arms[row["arm"]]} for row in rows], SLOTS, f"{chosen.run}-{chosen.name}-slots")


def campaigns(chosen: Chosen) -> None:
    """Campaigns by spend."""
    most = st.segmented_control(
        "Campaigns", ["10", "25", "50", "all"], default="25", required=True, key="most", bind="query-params"
    )
    arm = any_arm(chosen)
    rows = [
        row
        for row in kept(chosen, campaigns_by_spend, chosen.own, chosen.first_day * DAY_MS)
        if arm in (None, row["arm"])
    ]
    order = list(dict.fromkeys(row["campaign"] for row in rows))
    top = set(order if most == "all" else order[: int(str(most))])
    shown = [row for row in rows if row["campaign"] in top]
    if not shown:
        st.info("No campaign won or paid anything.")
        return
    share = sum(row["spend_usd"] for row in shown) / (sum(row["spend_usd"] for row in rows) or 1)
    st.caption(f"{len(top)} of {len(order)} campaigns; they spend {share:.1%} of all.")
    chart(campaigns_chart(shown, chosen.arms), f"{chosen.run}-{chosen.name}-campaigns-chart")
    named = [row | {"arm": chosen.arms[row["arm"]]} for row in shown]
    table(named, CAMPAIGNS, f"{chosen.run}-{chosen.name}-campaigns", height=420)


def bids(chosen: Chosen) -> None:
    """What a campaign would win and pay at other bids."""
    arm = one_arm(chosen)
    count = len(chosen.own.daily_micros)
    campaign = st.selectbox("Campaign", list(range(count)), key="campaign", bind="query-params")
    rules = rules_of(chosen.scenario, chosen.name)[arm]
    rows = kept(chosen, landscape, rules, chosen.own, chosen.scenario.world.feed.slot_effect, arm, int(campaign))
    if not rows:
        st.info(
            f"No auction of {plain(chosen.arms[arm])} in which campaign {campaign} had a bid was logged whole. The scenario's "
            f"log.candidate_share is {chosen.scenario.log.candidate_share:g}; a larger share logs more."
        )
        return
    held, there = rows[0]["auctions"], rows[0]["there"]
    st.caption(
        f"Campaign {campaign} pays by {pricings_of(chosen.own)[int(campaign)]}. {held:,} of the {there:,} auctions that were "
        f"logged whole and in which it had a bid are held again by {rules.auction.mechanism}, with its bids times a factor and "
        "all others as they were. Budgets are not charged. Clicks and spend are those that its own predictions promise."
    )
    file = f"{chosen.run}-{chosen.name}-{chosen.arms[arm]}-campaign-{campaign}"
    chart(landscape_chart(rows), f"{file}-landscape-chart")
    table(rows, LANDSCAPE, f"{file}-landscape")


def one_request(chosen: Chosen) -> None:
    """A request's auction, step by step."""
    arm = one_arm(chosen)
    offered = kept(chosen, whole_requests, arm, OFFERED)
    if not offered:
        st.info(
            f"No auction of {plain(chosen.arms[arm])} was logged whole. The scenario's log.candidate_share is "
            f"{chosen.scenario.log.candidate_share:g}; a larger share logs more."
        )
        return
    names = [str(row["request"]) for row in offered]
    if st.session_state.setdefault("requests of", arm) != arm:  # a request of the arm before is none of this one's
        st.session_state["requests of"] = arm
        st.session_state.pop("request", None)
        st.query_params.pop("request", None)
    asked = st.selectbox(
        "Request", names, key="request", bind="query-params", accept_new_options=True,
        help=f"{len(names)} of {offered[0]['there']:,} whose auction was logged whole; type in any other.",
    )  # fmt: skip
    request = whole_number("request", asked, 2**63)
    found = kept(chosen, replay, chosen.scenario, chosen.own, chosen.name, request)
    _said(chosen, found.about, found.same)
    file = f"{chosen.run}-{chosen.name}-request-{request}"
    slots = len(chosen.scenario.world.feed.slot_effect)
    chart(candidates_chart(found.candidates, slots), f"{file}-chart")
    table(found.candidates, CANDIDATES, f"{file}-candidates", height=460)
    st.markdown("##### The same bids under each mechanism")
    st.caption(
        "Second price sells the top slot alone. Under another mechanism bidders would bid otherwise in the long run, which these "
        "figures leave out. Charges per click or conversion need a look, by the slot's effect."
    )
    table(found.totals, TOTALS, f"{file}-totals")
    table(found.mechanisms, MECHANISMS, f"{file}-mechanisms")


def _said(chosen: Chosen, about: dict[str, Any], same: bool) -> None:
    """When and whose the request is, and whether the replay comes to what was logged."""
    day, ms = divmod(about["time_ms"], 86_400_000)
    surface = chosen.scenario.world.feed.surfaces[about["surface"]].name
    squash = f" with squash {about['squash']:g}" if about["squash"] != 1 else ""
    more = ", winners put in the slots at random" if about["randomised"] else ""
    st.caption(
        f"Day {day}, {ms // 3_600_000:02}:{ms // 60_000 % 60:02}, user {about['user']}, {plain(surface)}, arm "
        f"{plain(chosen.arms[about['arm']])}: {about['mechanism']}{squash}{more}."
    )
    if same:
        st.markdown("Held again from the logged bids, the auction has the logged winners and prices, to the micro.")
    else:
        st.warning("Held again from the logged bids, the auction does not have the logged winners and prices.")


PARTS: dict[str, Callable[[Chosen], None]] = {
    "Bids and prices": prices, "Slots": slots, "Campaigns": campaigns, "Bid landscape": bids, "One request": one_request,
}  # fmt: skip


def show(chosen: Chosen) -> None:
    """The part that the reader chooses."""
    part = st.segmented_control(
        "Part", list(PARTS), default=next(iter(PARTS)), required=True, key="part", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    PARTS[str(part)](chosen)


with_simulation(show, "Auction", log=True)
