"""From estimates to a scenario: what the log tells goes in, what it does not is the base's, and each line says which."""

import copy
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from pydantic import ValidationError
from scipy.special import logit

from fitting.curves import delay_points, falling
from fitting.errors import Unfit
from fitting.toml import toml_text
from fitting.types import Estimate
from synth.config import WorldConfig

MOST_USERS = 100_000  # unless more are asked for
_LISTS = {"world.traffic.hour_weight": 24, "world.traffic.weekday_weight": 7}
_WHOLE = {"world.campaigns.count", "world.campaigns.stores_per_campaign", "world.population.users"}
_LIMITS = {"world.traffic.requests_per_session": (1.0, 8.0)}
_SLOTS, _DELAY, _BUDGET = "world.feed.slot_effect", "world.marginals.delay", "world.campaigns.daily_budget_usd"
_USERS = "world.population.users"
_HEAD = """Fitted by `marketplace fit`. "fitted": the log's estimate, its 95% interval, the events behind it, the method.
"default": the log cannot tell, why, and what holds instead. Settings without a word are the base's."""


class Fitted(NamedTuple):
    """A scenario's settings, and what is to be said of them by their dotted names."""

    tree: dict[str, Any]
    comments: dict[str, str]

    def text(self) -> str:
        """TOML."""
        return toml_text(self.tree, self.comments, head=_HEAD)


def base_settings() -> dict[str, Any]:
    """The settings that hold where the log says nothing."""
    return tomllib.loads(files("fitting").joinpath("base.toml").read_text())


def fitted(estimates: Sequence[Estimate], base: dict[str, Any], *, users: int | None = None) -> Fitted:
    """Lay estimates over a base.

    Args:
        estimates: Named as the settings that they are of; others are left aside.
        base: A scenario's settings, with a world.
        users: Of the market to simulate; those of the log by default, up to MOST_USERS. Budgets shrink by as much.

    Raises:
        Unfit: If the settings do not make a world.
    """
    done = Fitted(copy.deepcopy(base), {})
    by_name = {estimate.name: estimate for estimate in estimates}
    if len(by_name) < len(estimates):
        raise Unfit("estimates: two have one name")
    for name, estimate in by_name.items():
        if name.startswith("world.") and "[" not in name and name != _USERS:
            _scalar(done, estimate)
    for name, n in _LISTS.items():
        _whole_list(done, name, [by_name.get(f"{name}[{k}]") for k in range(n)])
    _slots(done, by_name)
    _delays(done, by_name)
    _appeal(done, by_name)
    _scale(done, by_name, users)
    _catalogue(done, by_name)
    _funnel(done)
    _ranker(done, base)
    try:
        world = WorldConfig.model_validate(done.tree["world"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in ("world", *first["loc"]))
        raise Unfit(
            f"the fitted market: {where}: {first['msg'].removeprefix('Value error, ')}, got {first['input']!r:.60}"
        ) from error
    _spell_out(done, world)
    return done


def said(estimate: Estimate) -> str:
    """An estimate in one line."""
    if estimate.value is None:
        return f"default; {estimate.why}"
    inside = (
        "no interval" if estimate.low is None or estimate.high is None else f"[{estimate.low:.4g}, {estimate.high:.4g}]"
    )
    unit = f" {estimate.unit}" if estimate.unit else ""
    return f"fitted: {estimate.value:.4g} {inside}{unit}; {estimate.events:,} events; {estimate.method}"


def _scalar(done: Fitted, estimate: Estimate) -> None:
    done.comments[estimate.name] = said(estimate)
    if estimate.value is None:
        return
    low, high = _LIMITS.get(estimate.name, (float("-inf"), float("inf")))
    value: float = min(max(estimate.value, low), high)
    put(done.tree, estimate.name, max(round(value), 1) if estimate.name in _WHOLE else _short(value))


def _whole_list(done: Fitted, name: str, found: Sequence[Estimate | None]) -> None:
    """All entries or none: some weights of a log and some of another market make a profile of neither."""
    here = [one for one in found if one is not None]
    values = [one.value for one in here if one.value is not None]
    if not here:
        return
    if len(values) < len(found):
        why = next((one.why for one in here if one.value is None), "not all entries are known")
        done.comments[name] = f"default; {why}"
        return
    put(done.tree, name, [_short(value) for value in values])
    ends = ", ".join("-" if one.low is None or one.high is None else f"{one.low:.3g}-{one.high:.3g}" for one in here)
    done.comments[name] = f"fitted: {sum(one.events for one in here):,} events; {here[0].method}; intervals {ends}"


def _slots(done: Fitted, by_name: dict[str, Estimate]) -> None:
    found = _indexed(by_name, _SLOTS)
    base = list(get(done.tree, _SLOTS))
    if not found or any(one.value is None for one in found):
        why = next((one.why for one in found if one.value is None), "no slots")
        n = len(found) if len(found) > 1 else len(base)
        kept = [base[min(s, len(base) - 1)] for s in range(n)]
        put(done.tree, _SLOTS, kept)
        done.comments[_SLOTS] = f"default; {why}; {n} slots, the base's curve"
        return
    values = [float(one.value or 0.0) for one in found]
    curve = falling(values, [max(one.events, 1) for one in found])
    put(done.tree, _SLOTS, [_short(value) for value in curve])
    ends = ", ".join(f"{one.value:.3g} [{one.low:.3g}, {one.high:.3g}]" for one in found)
    moved = (
        "; made to fall, as a scenario's curve must"
        if max(abs(a - b) for a, b in zip(curve, values, strict=True)) > 1e-9
        else ""
    )
    done.comments[_SLOTS] = f"fitted: {ends}; {found[-1].events:,} events; {found[-1].method}{moved}"


def _delays(done: Fitted, by_name: dict[str, Estimate]) -> None:
    parts = [by_name.get(f"delay.checkout.{part}") for part in ("fast_share", "fast_mean_h", "slow_mean_h")]
    share, fast, slow = (None if one is None else one.value for one in parts)
    if parts[2] is None:
        return
    if slow is None:
        done.comments[_DELAY] = f"default; {parts[2].why}"
        return
    known = [one for one in parts if one is not None and one.value is not None]
    points = delay_points(share or 0.0, slow if fast is None else fast, slow)
    put(done.tree, _DELAY, [{"hours": hours, "share": share} for hours, share in points])
    law = ", ".join(f"{one.value:.3g} [{one.low:.3g}, {one.high:.3g}]" for one in known)
    what = (
        "share of the fast part, its mean and that of the slow part in hours" if share is not None else "mean in hours"
    )
    done.comments[_DELAY] = f"fitted: {what}: {law}; {parts[2].events:,} events; {parts[2].method}"


def _appeal(done: Fitted, by_name: dict[str, Estimate]) -> None:
    """Items' spread of the log, less what the base's drift brings about anyway, is their appeal."""
    drift = float(get(done.tree, "world.drift.appeal", 0.3))
    for rate, setting, other in (("ctr", "click_appeal", drift), ("cvr", "purchase_appeal", 0.0)):
        found = by_name.get(f"spread.{rate}.item")
        if found is None:
            continue
        name = f"world.taste.{setting}"
        if found.value is None:
            done.comments[name] = f"default; {found.why}"
            continue
        put(done.tree, name, _short(max(found.value**2 - other**2, 0.0) ** 0.5))
        less = f"; less the {other:g} of world.drift.appeal, in squares" if other else ""
        done.comments[name] = f"from the spread over items; {said(found)}{less}"


def _scale(done: Fitted, by_name: dict[str, Estimate], users: int | None) -> None:
    """Users of the market to simulate, and budgets for as many."""
    found = by_name.get(_USERS)
    there = None if found is None or found.value is None else round(found.value)
    base = int(get(done.tree, _USERS))
    n = users if users is not None else min(there or base, MOST_USERS)
    put(done.tree, _USERS, max(n, 1))
    words = said(found) if found is not None else "default; users were not fitted"
    done.comments[_USERS] = words if n == (there or base) else f"set to {n:,}; {words}"
    budget = by_name.get(_BUDGET)
    if there and n != there and budget is not None and budget.value is not None:
        put(done.tree, _BUDGET, _short(max(budget.value * n / there, 1e-4)))
        done.comments[_BUDGET] = f"times {n / there:.4g}, for so many users of the log's; {said(budget)}"


def _catalogue(done: Fitted, by_name: dict[str, Estimate]) -> None:
    """Stores, ads, regions and candidates that fit each other: one list of stores is split over campaigns and regions."""
    stores, count, each = "world.catalogue.stores", "world.campaigns.count", "world.campaigns.stores_per_campaign"
    items = by_name.get("items")
    seen = None if items is None or items.value is None else round(items.value)
    n, per = int(get(done.tree, count)), int(get(done.tree, each))
    campaigns = by_name.get(count)
    known = campaigns is not None and campaigns.value is not None
    if known:
        put(done.tree, stores, max(seen or 0, n * per))
        done.comments[stores] = f"fitted: {seen or 0:,} items shown, and as many as the campaigns need"
    elif seen is not None:
        per = max(min(per, seen), 1)
        n = max(min(n, seen // per), 1)
        put(done.tree, count, n)
        put(done.tree, each, per)
        put(done.tree, stores, seen)
        done.comments[stores] = f"fitted: {seen:,} items shown"
    ads, slots = n * per, len(get(done.tree, _SLOTS))
    candidates, regions = (
        int(get(done.tree, "world.feed.candidates", 50)),
        int(get(done.tree, "world.population.regions", 20)),
    )
    fewer = max(min(candidates, ads), 1)
    if slots > ads:
        raise Unfit(f"the fitted market: {slots} slots need as many ads, the log has {ads}")
    parts = max(min(regions, ads // max(fewer, slots)), 1)
    for name, was, now in (("world.feed.candidates", candidates, fewer), ("world.population.regions", regions, parts)):
        if was != now:
            put(done.tree, name, now)
            done.comments[name] = f"set to {now} for the {ads:,} ads; {was} in the base"


def _funnel(done: Fitted) -> None:
    """Orders, add-to-carts and long clicks narrow in this order."""
    section = done.tree["world"]["marginals"]
    cvr, cart, long_click = section["cvr"], section.get("cart_rate"), section.get("long_click_share", 0.6)
    if cart is not None and not cvr < cart:
        del section["cart_rate"]
        done.comments["world.marginals.cart_rate"] = (
            f"default; {cart:g} add-to-carts per click are not above {cvr:g} orders"
        )
        cart = None
    widest = cvr if cart is None else cart
    if not widest < long_click:
        section["long_click_share"] = _short((widest + 1) / 2)
        done.comments["world.marginals.long_click_share"] = f"set to be above {widest:g}, {long_click:g} in the base"


def _ranker(done: Fitted, base: dict[str, Any]) -> None:
    """The first ranker's intercepts move with the rates, as far as those differ from the base's."""
    now, then = done.tree["world"]["marginals"], base["world"]["marginals"]
    for part, rate in (("click", "ctr"), ("conversion", "cvr")):
        name = f"first_ranker.{part}.intercept"
        if now[rate] != then[rate]:
            put(done.tree, name, _short(float(get(base, name)) + float(logit(now[rate]) - logit(then[rate]))))
            done.comments[name] = f"moved with {rate}"


def _spell_out(done: Fitted, world: WorldConfig) -> None:
    """Write the value of every default that something is said of."""
    full = {"world": world.model_dump(mode="json")}
    for name in done.comments:
        if name.startswith("world.") and get(done.tree, name) is None and get(full, name) is not None:
            put(done.tree, name, get(full, name))


def put(tree: dict[str, Any], name: str, value: Any) -> None:
    """Set a setting by its dotted name."""
    *sections, leaf = name.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[leaf] = value


def get(tree: dict[str, Any], name: str, default: Any = None) -> Any:
    """A setting by its dotted name."""
    found: Any = tree
    for section in name.split("."):
        if not isinstance(found, dict) or section not in found:
            return default
        found = found[section]
    return found


def _indexed(by_name: dict[str, Estimate], name: str) -> list[Estimate]:
    match = re.compile(re.escape(name) + r"\[(\d+)\]$")
    places = sorted((int(hit[1]), key) for key in by_name if (hit := match.match(key)))
    return [by_name[key] for _, key in places]


def _short(value: float) -> float:
    return float(f"{value:.6g}")
