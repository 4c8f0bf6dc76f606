"""Features: what a model may see. Counters run live; models see the copy published last."""

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from marketplace.orders import Orders, in_time, remembered
from marketplace.sequences import CLICKS, SEARCHES, VIEWS, Recent, by_last_order, follow, remember
from models.data import AdTable, Batch
from models.jagged import Jagged
from synth.habits import Habits, record_orders
from synth.traffic import session_of
from synth.types import CHECKOUT, DAY_MS, HOUR_MS, Float32Array, FloatArray, IdArray, IntArray, Requests, Visits
from synth.world import Population

KNOWN_ORDERS = 0  # of the columns of user and ad together


@dataclass(slots=True, kw_only=True, eq=False)
class Features:
    """Counters of users and ads, and the published copy that serving reads."""

    population: Population
    smoothing: float
    user_clicks: FloatArray  # (U,) live
    user_impressions: FloatArray  # (U,) live
    ad_clicks: FloatArray  # (A,) live
    ad_examined: FloatArray  # (A,) live: impressions weighed by the effect of their slot
    ad_orders: FloatArray  # (A,) live: attributed
    store_orders: FloatArray  # (S,) live: all that are known
    views: IdArray  # (U, VIEWS) live: stores looked at in the user's last session, most recent first, -1 where none
    session: IntArray  # (U,) that session
    searches: IdArray  # (U, SEARCHES) live: dishes searched for, likewise, in all sessions
    clicks: IdArray  # (U, CLICKS) published: stores of the ads clicked, likewise
    history: Habits  # published
    user_dense: Float32Array  # (U, 3) published
    ads: AdTable  # published
    unpublished: list[Orders] = field(default_factory=list)
    unpublished_clicks: list[tuple[IdArray, IdArray]] = field(default_factory=list)  # users and stores
    seen: list[IdArray] = field(default_factory=list)  # users served since the last publishing

    def copy(self) -> "Features":
        """Independent of the original from here on."""
        return Features(
            population=self.population, smoothing=self.smoothing, user_clicks=self.user_clicks.copy(),
            user_impressions=self.user_impressions.copy(), ad_clicks=self.ad_clicks.copy(),
            ad_examined=self.ad_examined.copy(), ad_orders=self.ad_orders.copy(), store_orders=self.store_orders.copy(),
            views=self.views.copy(), session=self.session.copy(), searches=self.searches.copy(), clicks=self.clicks.copy(),
            history=self.history.copy(), user_dense=self.user_dense.copy(), ads=self.ads, unpublished=list(self.unpublished),
            unpublished_clicks=list(self.unpublished_clicks), seen=list(self.seen),
        )  # fmt: skip

    def count_shown(self, user: IdArray, ad: IdArray, clicked: np.ndarray, slot_effect: FloatArray) -> None:
        """Count impressions `ad` (n, s), -1 where a slot is empty, of users (n,), and their clicks (n, s)."""
        self.seen.append(user)
        _count(
            user, ad, clicked, slot_effect, self.user_clicks, self.user_impressions, self.ad_clicks, self.ad_examined
        )
        row, slot = np.nonzero(clicked & (ad >= 0))  # down the page, as users read it
        self.unpublished_clicks.append((user[row], self.population.ads.store[ad[row, slot]]))

    def count_orders(self, orders: Orders) -> None:
        """Count orders as they are placed."""
        np.add.at(self.ad_orders, orders["ad"][orders["attributed"]], 1.0)
        checkouts = orders[orders["event"] == CHECKOUT]
        np.add.at(self.store_orders, checkouts["store"], 1.0)
        self.unpublished.append(checkouts)

    def see(self, requests: Requests, visits: Visits) -> Recent:
        """Take note of what users look at and search for, request by request, and say what was known at each."""
        return follow(
            requests.user, session_of(requests.id), visits.view, visits.query, self.views, self.searches, self.session
        )

    def publish(self) -> None:
        """Let serving see what has been counted."""
        placed = in_time(self.unpublished)  # a full history gives up a store by time, so ticks must not show
        record_orders(self.history, *remembered(placed))
        for user, store in self.unpublished_clicks:
            remember(self.clicks, user, store)
        changed = np.unique(np.concatenate([placed["user"], *self.seen]))
        self.unpublished.clear()
        self.unpublished_clicks.clear()
        self.seen.clear()
        counts = self.history.orders[changed].sum(axis=1), self.user_clicks[changed], self.user_impressions[changed]
        self.user_dense[changed] = np.log1p(np.stack(counts, axis=1).astype(np.float32))
        self.ads = _ad_table(self)

    def observe(self, requests: Requests, query: IdArray, recent: Recent, candidates: IdArray) -> Batch:
        """What models see of requests and their candidate ads (n, k): counts, orders and ad clicks as published last.

        Args:
            query: (n,) dish searched for, -1 where none was.
            recent: What the users looked at and searched for, up to each request.
        """
        users = self.population.users
        n, k = candidates.shape
        categorical = np.stack(
            [
                requests.time_ms // HOUR_MS % 24, requests.time_ms // DAY_MS % 7, users.region[requests.user],
                users.platform[requests.user], users.cohort[requests.user], requests.surface, query,
            ],
            axis=1,
        ).astype(np.int32)  # fmt: skip
        cross = np.empty((n, k, 6), np.float32)
        stores = self.population.stores
        viewed_dish = np.where(recent.views >= 0, stores.dish[recent.views], np.int32(-1))
        _cross(
            requests.user, requests.time_ms, candidates, self.population.ads.store, stores.cuisine, stores.dish,
            viewed_dish, query, self.population.tastes.siblings, self.history, cross,
        )  # fmt: skip
        lists = (
            by_last_order(self.history, requests.user), recent.views, viewed_dish, self.clicks[requests.user],
            recent.searches,
        )  # fmt: skip
        return Batch(
            categorical=categorical,
            dense=self.user_dense[requests.user],
            lists=tuple(map(Jagged.packed, lists)),
            ads=self.ads,
            row=candidates,
            cross=cross,
            slot=np.zeros(k, np.int32),
        )


def new_features(population: Population, smoothing: float) -> Features:
    """Features at the start: the platform knows the orders placed before, and nothing of its ads."""
    n_users, n_ads = len(population.users.region), len(population.ads.store)
    habits = population.habits
    placed = habits.store >= 0
    features = Features(
        population=population, smoothing=smoothing, user_clicks=np.zeros(n_users), user_impressions=np.zeros(n_users),
        ad_clicks=np.zeros(n_ads), ad_examined=np.zeros(n_ads), ad_orders=np.zeros(n_ads),
        store_orders=np.bincount(
            habits.store[placed], habits.orders[placed], minlength=len(population.stores.region)
        ).astype(np.float64),
        views=np.full((n_users, VIEWS), -1, np.int32), session=np.full(n_users, -1, np.int64),
        searches=np.full((n_users, SEARCHES), -1, np.int32), clicks=np.full((n_users, CLICKS), -1, np.int32),
        history=habits.copy(), user_dense=np.empty((n_users, 3), np.float32), seen=[np.arange(n_users, dtype=np.int32)],
        ads=AdTable(
            categorical=np.empty((0, 5), np.int32), dense=np.empty((0, 5), np.float32),
            vector=np.empty((0, 0), np.float32),
        ),
    )  # fmt: skip
    features.publish()
    return features


def _ad_table(features: Features) -> AdTable:
    population = features.population
    ads, stores, content = population.ads, population.stores, population.content
    goal = population.campaigns.goal[ads.campaign]
    return AdTable(
        categorical=np.stack(
            [ads.store, ads.campaign, stores.cuisine[ads.store], stores.dish[ads.store], goal], axis=1
        ),
        dense=np.stack(
            [
                stores.log_price[ads.store],
                stores.rating[ads.store],
                np.log1p(features.store_orders[ads.store]),
                _relative(features.ad_clicks, features.ad_examined, features.smoothing),
                _relative(features.ad_orders, features.ad_examined, features.smoothing),
            ],
            axis=1,
        ).astype(np.float32),
        vector=np.concatenate([content.text[ads.store], content.visual[ads.store]], axis=1),
    )


def _relative(count: FloatArray, exposure: FloatArray, smoothing: float) -> FloatArray:
    """Log of each ad's rate over the mean rate, drawn towards 0 as if by `smoothing` mean impressions."""
    mean = count.sum() / max(exposure.sum(), 1.0)
    return np.log((count + mean * smoothing + 1e-9) / (mean * (exposure + smoothing) + 1e-9))


@njit(cache=True, nogil=True)
def _count(  # type: ignore[no-untyped-def]
    user, ad, clicked, slot_effect, user_clicks, user_impressions, ad_clicks, ad_examined
):  # fmt: skip
    for i in range(ad.shape[0]):
        for s in range(ad.shape[1]):
            if ad[i, s] < 0:
                continue
            user_impressions[user[i]] += 1.0
            ad_examined[ad[i, s]] += slot_effect[s]
            if clicked[i, s]:
                user_clicks[user[i]] += 1.0
                ad_clicks[ad[i, s]] += 1.0


@njit(cache=True, nogil=True)
def _cross(
    user: IdArray,
    time_ms: IntArray,
    candidates: IdArray,
    ad_store: IdArray,
    cuisine: IdArray,
    dish: IdArray,
    viewed_dish: IdArray,
    query: IdArray,
    siblings: int,
    history: Habits,
    cross: Float32Array,
) -> None:
    places = history.store.shape[1]
    stores = np.empty(places, np.int32)
    cuisines = np.empty(places, np.int32)
    for i in range(candidates.shape[0]):
        u = user[i]
        known = viewed = 0
        for h in range(places):
            if history.store[u, h] >= 0:
                stores[known] = history.store[u, h]
                cuisines[known] = cuisine[stores[known]]
                known += 1
        while viewed < viewed_dish.shape[1] and viewed_dish[i, viewed] >= 0:
            viewed += 1
        for j in range(candidates.shape[1]):
            ad = candidates[i, j]
            cross[i, j] = 0.0
            cross[i, j, 1] = -1.0
            if ad < 0:
                continue
            store = ad_store[ad]
            same_dish = same_cuisine = 0
            for v in range(viewed):
                if viewed_dish[i, v] == dish[store]:
                    same_dish += 1
                if viewed_dish[i, v] // siblings == cuisine[store]:
                    same_cuisine += 1
            cross[i, j, 3] = np.float32(same_dish) / np.float32(max(viewed, 1))
            cross[i, j, 4] = np.float32(same_cuisine) / np.float32(max(viewed, 1))
            if query[i] >= 0 and query[i] // siblings == cuisine[store]:
                cross[i, j, 5] = 1.0 if query[i] == dish[store] else 0.5
            if known == 0:
                continue
            same = 0
            for h in range(known):
                if cuisines[h] == cuisine[store]:
                    same += 1
            cross[i, j, 2] = np.float32(same) / np.float32(known)
            for h in range(places):
                if same > 0 and history.store[u, h] == store:
                    since = max(0, time_ms[i] - history.last_ms[u, h])
                    cross[i, j, KNOWN_ORDERS] = np.log1p(np.float32(history.orders[u, h]))
                    cross[i, j, 1] = np.log1p(np.float32(since) / np.float32(DAY_MS))
