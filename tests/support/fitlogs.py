"""Logs whose law is known, for what is fitted to logs: drawn by numpy, without the simulator."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import expit, logit

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 2, 2, 2, 3, 4, 4, 3, 2, 1, 1], float)
WEEKDAYS = np.array([0.9, 0.9, 1.0, 1.0, 1.1, 1.2, 0.9])


@dataclass(frozen=True)
class Law:
    users: int = 1_500
    days: int = 14
    sessions: float = 0.4
    activity: float = 0.8
    pages: float = 2.0
    pause_s: float = 60.0
    slots: tuple[float, ...] = (1.0, 0.7, 0.5)
    ctr: float = 0.2
    items: int = 60
    item_sigma: float = 0.5
    user_sigma: float = 0.4
    cvr: float = 0.3
    fast: float = 0.5
    fast_h: float = 0.7
    slow_h: float = 40.0
    post_view: float = 0.01
    basket: float = 30.0
    basket_sigma: float = 0.4
    price_sigma: float = 0.3
    hours: np.ndarray = field(default_factory=lambda: HOURS * 24 / HOURS.sum())
    weekdays: np.ndarray = field(default_factory=lambda: WEEKDAYS * 7 / WEEKDAYS.sum())


def drawn(law: Law, seed: int) -> pd.DataFrame:
    """Impressions in the standard columns, from Monday midnight, as they are known at the end of the last day."""
    rng = np.random.default_rng(seed)
    active = law.sessions * np.exp(law.activity * rng.standard_normal(law.users) - law.activity**2 / 2)
    rate = active[:, None] * law.weekdays[np.arange(law.days) % 7]
    came = rng.poisson(rate).ravel()
    user, day = (np.repeat(index.ravel(), came) for index in np.indices(rate.shape))
    n = len(user)
    hour = rng.choice(24, n, p=law.hours / law.hours.sum())
    start = day * DAY_MS + hour * HOUR_MS + rng.integers(0, HOUR_MS, n)
    pages = 1 + rng.poisson(law.pages - 1, n)
    session = np.repeat(np.arange(n), pages)
    first = np.cumsum(pages) - pages
    page = np.arange(len(session)) - first[session]
    gap = np.where(page > 0, rng.exponential(law.pause_s * 1e3, len(session)), 0.0)
    since = np.cumsum(gap)
    time = start[session] + (since - since[first[session]]).astype(np.int64)
    k = len(law.slots)
    request = np.repeat(np.arange(len(session)), k)
    slot = np.tile(np.arange(k), len(session))
    item = rng.permuted(np.tile(np.arange(law.items), (len(session), 1)), axis=1)[:, :k].ravel()
    whose = user[session][request]
    taste = (
        law.user_sigma * rng.standard_normal(law.users)[whose] + law.item_sigma * rng.standard_normal(law.items)[item]
    )
    click = rng.random(len(slot)) < np.array(law.slots)[slot] * expit(logit(law.ctr) + taste)
    shown = time[request]
    click_ms = shown + 1_000
    order = np.where(click, rng.random(len(slot)) < law.cvr, rng.random(len(slot)) < law.post_view)
    mean = np.where(rng.random(len(slot)) < law.fast, law.fast_h, law.slow_h)
    ordered = np.where(click, click_ms, shown) + (rng.exponential(mean) * HOUR_MS).astype(np.int64)
    cart = click & (order | (rng.random(len(slot)) < 0.3))
    carted = click_ms + rng.exponential(10 * 60_000, len(slot)).astype(np.int64)
    carted = np.where(order, np.minimum(carted, ordered), carted)
    level = law.price_sigma * rng.standard_normal(law.items)
    noise = law.basket_sigma * rng.standard_normal(len(slot)) - law.basket_sigma**2 / 2
    end = law.days * DAY_MS
    log = pd.DataFrame({
        "time_ms": shown, "item": item, "click": click, "user": whose, "session": session[request], "request": request,
        "slot": slot, "randomised": True, "campaign": item // 5, "known": rng.random(len(slot)) < np.where(order, 0.6, 0.3),
        "click_ms": pd.Series(click_ms, dtype="Int64").where(click),
        "cart_ms": pd.Series(carted, dtype="Int64").where(cart & (carted < end)),
        "checkout_ms": pd.Series(ordered, dtype="Int64").where(order & (ordered < end)),
    })  # fmt: skip
    log["basket_usd"] = pd.Series(law.basket * np.exp(level[item] + noise)).where(log["checkout_ms"].notna())
    return log[log["time_ms"] < end].reset_index(drop=True)
