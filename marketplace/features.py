"""Features: what a model may see. Counters run live; models see the copy published last."""

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from marketplace.orders import Orders
from models.data import AdTable, Batch
from synth.habits import Habits, record_orders
from synth.types import DAY_MS, HOUR_MS, Float32Array, FloatArray, IdArray, IntArray, Requests
from synth.world import Population


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
    history: Habits  # published
    user_dense: Float32Array  # (U, 3) published
    ads: AdTable  # published
    unpublished: list[Orders] = field(default_factory=list)
    seen: list[IdArray] = field(default_factory=list)  # users served since the last publishing

    def copy(self) -> "Features":
        """Independent of the original from here on."""
        return Features(
            population=self.population, smoothing=self.smoothing, user_clicks=self.user_clicks.copy(),
            user_impressions=self.user_impressions.copy(), ad_clicks=self.ad_clicks.copy(),
            ad_examined=self.ad_examined.copy(), ad_orders=self.ad_orders.copy(), store_orders=self.store_orders.copy(),
            history=self.history.copy(), user_dense=self.user_dense.copy(), ads=self.ads,
            unpublished=list(self.unpublished), seen=list(self.seen),
        )  # fmt: skip

    def count_shown(self, user: IdArray, ad: IdArray, clicked: np.ndarray, slot_effect: FloatArray) -> None:
        """Count impressions `ad` (n, s), -1 where a slot is empty, of users (n,), and their clicks (n, s)."""
        self.seen.append(user)
        _count(
            user, ad, clicked, slot_effect, self.user_clicks, self.user_impressions, self.ad_clicks, self.ad_examined
        )

    def count_orders(self, orders: Orders) -> None:
        """Count orders as they are placed."""
        np.add.at(self.ad_orders, orders["ad"][orders["attributed"]], 1.0)
        np.add.at(self.store_orders, orders["store"], 1.0)
        self.unpublished.append(orders)

    def publish(self) -> None:
        """Let serving see what has been counted."""
        for orders in self.unpublished:
            record_orders(
                self.history,
                orders["user"].astype(np.int64),
                orders["store"].astype(np.int64),
                orders["time_ms"].copy(),
            )
        nobody = np.empty(0, np.int32)
        changed = np.unique(np.concatenate([nobody, *self.seen, *(orders["user"] for orders in self.unpublished)]))
        self.unpublished.clear()
        self.seen.clear()
        counts = self.history.orders[changed].sum(axis=1), self.user_clicks[changed], self.user_impressions[changed]
        self.user_dense[changed] = np.log1p(np.stack(counts, axis=1).astype(np.float32))
        self.ads = _ad_table(self)

    def observe(self, requests: Requests, candidates: IdArray) -> Batch:
        """What models see of requests and their candidate ads (n, k), as published last."""
        users = self.population.users
        n, k = candidates.shape
        categorical = np.stack(
            [
                requests.time_ms // HOUR_MS % 24, requests.time_ms // DAY_MS % 7, users.region[requests.user],
                users.platform[requests.user], users.cohort[requests.user],
            ],
            axis=1,
        ).astype(np.int32)  # fmt: skip
        cross = np.empty((n, k, 3), np.float32)
        stores = self.population.stores
        _cross(
            requests.user, requests.time_ms, candidates, self.population.ads.store, stores.cuisine, self.history, cross
        )
        return Batch(
            categorical=categorical,
            dense=self.user_dense[requests.user],
            history=self.history.store[requests.user],
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
        history=habits.copy(), user_dense=np.empty((n_users, 3), np.float32), seen=[np.arange(n_users, dtype=np.int32)],
        ads=AdTable(categorical=np.empty((0, 3), np.int32), dense=np.empty((0, 4), np.float32)),
    )  # fmt: skip
    features.publish()
    return features


def _ad_table(features: Features) -> AdTable:
    population = features.population
    ads, stores = population.ads, population.stores
    return AdTable(
        categorical=np.stack([ads.store, ads.campaign, stores.cuisine[ads.store]], axis=1),
        dense=np.stack(
            [
                stores.log_price[ads.store],
                np.log1p(features.store_orders[ads.store]),
                _relative(features.ad_clicks, features.ad_examined, features.smoothing),
                _relative(features.ad_orders, features.ad_examined, features.smoothing),
            ],
            axis=1,
        ).astype(np.float32),
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
    history: Habits,
    cross: Float32Array,
) -> None:
    places = history.store.shape[1]
    stores = np.empty(places, np.int32)
    cuisines = np.empty(places, np.int32)
    for i in range(candidates.shape[0]):
        u = user[i]
        known = 0
        for h in range(places):
            if history.store[u, h] >= 0:
                stores[known] = history.store[u, h]
                cuisines[known] = cuisine[stores[known]]
                known += 1
        for j in range(candidates.shape[1]):
            ad = candidates[i, j]
            cross[i, j, 0] = 0.0
            cross[i, j, 1] = -1.0
            cross[i, j, 2] = 0.0
            if ad < 0 or known == 0:
                continue
            same = 0
            for h in range(known):
                if cuisines[h] == cuisine[ad_store[ad]]:
                    same += 1
            cross[i, j, 2] = np.float32(same) / np.float32(known)
            for h in range(places):
                if same > 0 and history.store[u, h] == ad_store[ad]:
                    since = max(0, time_ms[i] - history.last_ms[u, h])
                    cross[i, j, 0] = np.log1p(np.float32(history.orders[u, h]))
                    cross[i, j, 1] = np.log1p(np.float32(since) / np.float32(DAY_MS))
