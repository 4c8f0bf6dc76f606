"""Marginals: solve the world's intercepts for the figures that an analyst knows, and say what was obtained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq, root
from scipy.special import expit, logit

from synth.affinity import NEVER, Intercepts
from synth.config import FeedConfig, MarginalsConfig
from synth.errors import Impossible
from synth.types import BoolArray, Float32Array, FloatArray, IdArray, IntArray, Truth

_LOGIT_LIMIT = 40.0  # an intercept beyond this makes no finite rate
# relative error at which a marginal counts as obtained; a market answers to small changes by about as much
_CLOSE = 0.02
_ROUNDS = 6
_REFUSED = 0.1  # relative error of the best round at which a world is not the one asked for


class Solved(NamedTuple):
    """What makes a population a world."""

    intercepts: Intercepts
    familiar: float  # probability that retrieval takes an eligible ad of a store known to the user
    slot_effect: tuple[float, ...]  # of each slot on a platform of depth 1, if nothing above is clicked
    visits: float  # factor of the users' sessions that makes up for those that fatigue costs
    basket_usd: float  # mean order at a store of price level 1


class Marginal(NamedTuple):
    """One figure of the market: what the scenario asks, and what the solved world gives."""

    name: str
    asked: float
    obtained: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exposure:
    """What a pilot showed: enough to know what any intercepts would give."""

    truth: Truth  # (m,) ad impressions
    request: IntArray  # (m,) row of the request, 0 to n - 1
    log_price: FloatArray  # (m,) of the store
    campaign: IdArray  # (m,)
    slot: IntArray  # (m,)
    chance: Float32Array  # (n, v) of an organic order at each store looked at, 0 where there is none
    known: BoolArray  # (n, v)
    sessions: int
    user_days: float

    def slot_curve(self, slots: int) -> FloatArray:
        """(slots,) mean examination of each slot over that of the first; NaN where a slot was never filled."""
        count = np.bincount(self.slot, minlength=slots)
        looks = np.bincount(self.slot, self.truth.examination, minlength=slots) / np.maximum(count, 1)
        return np.where(count > 0, looks / looks[0], np.nan)

    @property
    def orders(self) -> FloatArray:
        """(m,) probability of an order after a click, as it was."""
        truth = self.truth
        return truth.examination.astype(np.float64) * truth.click * truth.cart * truth.checkout


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Logits:
    """Logits of an exposure without intercepts and habit constant; -inf where a thing cannot happen."""

    click: FloatArray
    long_click: FloatArray
    hide: FloatArray
    cart: FloatArray
    checkout: FloatArray
    sign_up: FloatArray
    post_view: FloatArray
    organic: FloatArray


_KEYS = {"carts": "marginals.cart_rate", "slot_effect_": "feed.slot_effect"}  # of figures by another name
_FIGURES = (
    "ctr", "cvr", "carts", "sign_up_rate", "post_view_rate", "repurchase_positives", "repurchase_negatives",
    "long_click_share", "hide_rate", "organic_share", "sessions_per_day", "basket_usd",
)  # fmt: skip


def solve(
    pilots: Sequence[Callable[[Solved], Exposure]],
    asked: MarginalsConfig,
    feed: FeedConfig,
    depth: float,
    substitution: float,
) -> tuple[Solved, list[Marginal], Exposure]:
    """Find what makes the market show the marginals, round by round.

    What the market shows depends on the intercepts, since budgets run out and pacing answers; so each round runs a pilot,
    solves the intercepts for what it showed, and moves the share of familiar stores in retrieval towards the known stores that
    the repurchase shares imply, the visits and the baskets towards those asked.

    Args:
        feed: Its slot effects are the examinations asked of each slot over those of the first.
        depth: Mean power that users raise slot effects to.
        pilots: Each runs the market in a world so solved; the first ones may be quick and rough, the last one counts.
        substitution: Probability that an order after an ad replaces the visit's organic one.

    Returns:
        The solution, asked against obtained in a pilot that was run with it, and what that pilot showed.

    Raises:
        Impossible: If nothing gives the marginals asked for.
    """
    slot_effect = feed.slot_effect
    solved = Solved(_first_guess(asked), 0.5, slot_effect, 1.0, asked.basket_usd)
    for pilot in pilots:
        best: tuple[float, Solved, _Figures, FloatArray] | None = None
        for left in reversed(range(_ROUNDS)):
            exposure = pilot(solved)
            if not exposure.sessions:
                raise Impossible(
                    f"no user came to the pilot's {exposure.user_days:,.0f} days of users: raise marginals.sessions_per_day "
                    "or population.users, or lower population.activity_sigma or fatigue.leaving"
                )
            if not len(exposure.request):
                raise Impossible(
                    "the pilot showed no ad at all: raise campaigns.daily_budget_usd or lower the reserves"
                )
            figures = _Figures(exposure, _without(exposure, solved.intercepts), solved, substitution)
            curve = exposure.slot_curve(len(slot_effect))
            error = max(figures.worst(asked), float(np.nanmax(np.abs(curve / slot_effect - 1))))
            if best is None or error < best[0]:
                best = error, solved, figures, curve
            if error < _CLOSE or not left:
                break
            solved = _next(figures, asked)._replace(slot_effect=_next_slots(solved.slot_effect, feed, depth, curve))
        assert best is not None
        _, solved, obtained, curve = best
    names = [name for name in _FIGURES if getattr(asked, name) > 0]
    found = [Marginal(n, getattr(asked, n), getattr(obtained, n)) for n in names]
    filled = np.flatnonzero(~np.isnan(curve))[1:].tolist()
    found += [Marginal(f"slot_effect_{s + 1}", slot_effect[s], float(curve[s])) for s in filled]
    worst = max(found, key=lambda marginal: abs(marginal.obtained / marginal.asked - 1))
    if abs(worst.obtained / worst.asked - 1) > _REFUSED:
        key = _KEYS.get(worst.name.rstrip("0123456789"), f"marginals.{worst.name}")
        raise Impossible(
            f"{key} is {worst.asked:g}, the nearest that {_ROUNDS} rounds of solving came to is {worst.obtained:.3g}: "
            "a larger or less extreme market can be solved"
        )
    return solved, found, obtained.exposure


def _next_slots(now: tuple[float, ...], feed: FeedConfig, depth: float, curve: FloatArray) -> tuple[float, ...]:
    """Slot effects moved by what the last ones missed; looks answer to an effect by the power `depth`."""
    asked = feed.slot_effect
    moved = np.where(np.isnan(curve), asked, np.array(now) * (np.array(asked) / curve) ** (1 / depth))
    if feed.model == "cascade" and (np.diff(moved) > _CLOSE * moved[:-1]).any():
        raise Impossible(
            f"feed.slot_effect {', '.join(f'{x:g}' for x in asked)} cannot be had, since clicks end the scan: "
            "lower stop_after_click or the effects of the lower slots"
        )
    return tuple(float(x) for x in np.minimum.accumulate(moved))


def _next(obtained: "_Figures", asked: MarginalsConfig) -> Solved:
    """What a pilot's figures suggest for the next one."""
    solved, exposure = obtained.solved, obtained.exposure
    orders = asked.ctr * asked.cvr
    wanted = orders * asked.repurchase_positives + (1 - orders) * asked.repurchase_negatives
    known = float(exposure.truth.known.mean())
    if known == 0.0 or (solved.familiar == 1.0 and known < wanted * (1 - 2 * _CLOSE)):
        raise Impossible(
            f"marginals.repurchase_negatives is {asked.repurchase_negatives:g}, but users know only {known:.3g} of the "
            "stores shown: raise world.habit.history_stores or campaigns.count"
        )
    return Solved(
        _solve_intercepts(obtained, asked),
        min(1.0, solved.familiar * wanted / known),
        solved.slot_effect,
        solved.visits * asked.sessions_per_day / max(obtained.sessions_per_day, 1e-9),
        solved.basket_usd * asked.basket_usd / obtained.basket_usd,
    )


def _first_guess(asked: MarginalsConfig) -> Intercepts:
    def at(rate: float) -> float:
        return float(logit(rate)) if rate > 0 else NEVER

    return Intercepts(
        click=at(asked.ctr), long_click=0.0, hide=at(asked.hide_rate), cart=at(asked.carts),
        checkout=at(asked.cvr / asked.carts), sign_up=at(asked.sign_up_rate), post_view=at(asked.post_view_rate),
        organic=at(0.05) if asked.organic_share > 0 else NEVER, habit=0.0,
    )  # fmt: skip


def _without(exposure: Exposure, used: Intercepts) -> _Logits:
    """Take the intercepts out of the probabilities that they gave."""
    truth = exposure.truth
    habit = used.habit * truth.known

    def base(p: Float32Array, constant: Any) -> FloatArray:
        return np.asarray(logit(p.astype(np.float64)) - constant)

    return _Logits(
        click=base(truth.click, used.click + habit), long_click=base(truth.long_click, used.long_click + habit),
        hide=base(truth.hide, used.hide - habit), cart=base(truth.cart, used.cart + habit),
        checkout=base(truth.checkout, used.checkout), sign_up=base(truth.sign_up, used.sign_up),
        post_view=base(truth.post_view, used.post_view + habit),
        organic=base(exposure.chance, used.organic + used.habit * exposure.known),
    )  # fmt: skip


class _Figures:
    """Expected figures of an exposure under the intercepts of `solved`, by their names in MarginalsConfig."""

    def __init__(self, exposure: Exposure, logits: _Logits, solved: Solved, substitution: float) -> None:
        self.exposure, self.logits, self.solved, self.substitution = exposure, logits, solved, substitution
        self.x, self.known = solved.intercepts, exposure.truth.known
        self.habit = self.x.habit * self.known

    def worst(self, asked: MarginalsConfig) -> float:
        """The largest relative error."""
        return float(np.max([abs(getattr(self, n) / getattr(asked, n) - 1) for n in _FIGURES if getattr(asked, n) > 0]))

    @cached_property
    def clicks(self) -> FloatArray:
        return self.exposure.truth.examination * expit(self.x.click + self.logits.click + self.habit)

    @cached_property
    def in_cart(self) -> FloatArray:
        return self.clicks * expit(self.x.cart + self.logits.cart + self.habit)

    @cached_property
    def orders(self) -> FloatArray:
        return self.in_cart * expit(self.x.checkout + self.logits.checkout)

    @cached_property
    def post_view(self) -> FloatArray:
        unclicked = self.exposure.truth.examination - self.clicks
        return unclicked * expit(self.x.post_view + self.logits.post_view + self.habit)

    @cached_property
    def organic(self) -> float:
        """Organic orders: at most one per request, and perhaps none after an order that follows an ad."""
        at_each = expit(self.x.organic + self.logits.organic + self.x.habit * self.exposure.known)
        wanted = 1 - np.prod(1 - at_each, axis=1)
        bought = np.minimum(self.orders + self.post_view, 1 - 1e-9)
        after_ad = -np.expm1(np.bincount(self.exposure.request, np.log1p(-bought), minlength=len(wanted)))
        return float((wanted * (1 - self.substitution * after_ad)).sum())

    @property
    def ctr(self) -> float:
        return float(self.clicks.mean())

    @property
    def carts(self) -> float:
        return float(self.in_cart.sum() / self.clicks.sum())

    @property
    def cvr(self) -> float:
        return float(self.orders.sum() / self.clicks.sum())

    @property
    def sign_up_rate(self) -> float:
        return float((self.clicks * expit(self.x.sign_up + self.logits.sign_up)).sum() / self.clicks.sum())

    @property
    def post_view_rate(self) -> float:
        return float(self.post_view.mean())

    @property
    def repurchase_positives(self) -> float:
        return float(self.orders[self.known].sum() / self.orders.sum())

    @property
    def repurchase_negatives(self) -> float:
        return float((1 - self.orders)[self.known].sum() / (1 - self.orders).sum())

    @property
    def long_click_share(self) -> float:
        short = (self.clicks - self.in_cart) * expit(-(self.x.long_click + self.logits.long_click + self.habit))
        return float(1 - short.sum() / self.clicks.sum())

    @property
    def hide_rate(self) -> float:
        unclicked = self.exposure.truth.examination - self.clicks
        return float((unclicked * expit(self.x.hide + self.logits.hide - self.habit)).mean())

    @property
    def organic_share(self) -> float:
        return self.organic / (self.organic + float(self.orders.sum() + self.post_view.sum()))

    @property
    def sessions_per_day(self) -> float:
        return self.exposure.sessions / self.exposure.user_days

    @property
    def basket_usd(self) -> float:
        price = np.exp(self.exposure.log_price)
        return self.solved.basket_usd * float((self.orders * price).sum() / self.orders.sum())


def _solve_intercepts(shown: _Figures, asked: MarginalsConfig) -> Intercepts:
    looks = float(shown.exposure.truth.examination.mean())
    if asked.ctr >= looks:
        raise Impossible(
            f"marginals.ctr is {asked.ctr:g}, but only {looks:.3g} of the impressions are looked at: "
            "lower it or raise feed.slot_effect"
        )

    def figures(**changed: float) -> _Figures:
        now = shown.solved._replace(intercepts=intercepts._replace(**changed))
        return _Figures(shown.exposure, shown.logits, now, shown.substitution)

    together = {"click": "ctr", "cart": "carts", "checkout": "cvr", "habit": "repurchase_positives"}
    intercepts = shown.solved.intercepts

    def gaps(x: FloatArray) -> list[float]:
        got = figures(**dict(zip(together, x, strict=True)))
        return [float(logit(getattr(got, name)) - logit(getattr(asked, name))) for name in together.values()]

    found = root(gaps, [getattr(intercepts, name) for name in together], tol=1e-10)
    if not found.success or np.abs(found.x).max() > _LOGIT_LIMIT:
        raise Impossible(
            f"marginals: ctr {asked.ctr:g}, cvr {asked.cvr:g} and repurchase_positives {asked.repurchase_positives:g} "
            "cannot be had together in this world"
        )
    intercepts = intercepts._replace(**{name: float(v) for name, v in zip(together, found.x, strict=True)})
    alone = {
        "long_click": "long_click_share", "hide": "hide_rate", "sign_up": "sign_up_rate", "post_view": "post_view_rate",
        "organic": "organic_share",
    }  # fmt: skip
    for name, marginal in alone.items():
        wanted = getattr(asked, marginal)
        if wanted == 0:
            continue
        least, most = (getattr(figures(**{name: x}), marginal) for x in (-_LOGIT_LIMIT, _LOGIT_LIMIT))
        if least >= wanted:
            raise Impossible(f"marginals.{marginal} is {wanted:g}, in this world it can be no less than {least:.3g}")
        if most <= wanted:
            raise Impossible(f"marginals.{marginal} is {wanted:g}, in this world it can be at most {most:.3g}")
        intercepts = intercepts._replace(
            **{name: brentq(_off(figures, name, marginal, wanted), -_LOGIT_LIMIT, _LOGIT_LIMIT)}
        )
    return intercepts


def _off(figures: Callable[..., _Figures], name: str, marginal: str, wanted: float) -> Callable[[float], float]:
    return lambda x: float(getattr(figures(**{name: x}), marginal)) - wanted
