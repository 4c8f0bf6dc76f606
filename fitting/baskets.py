"""Baskets: the mean order that follows an ad, how orders differ at one store, and stores from each other."""

import numpy as np
from scipy.optimize import minimize_scalar

from fitting.clusters import cluster_of, totals
from fitting.interval import missing, on_logs, profile
from fitting.quadrature import FloatArray
from fitting.source import Log, reading
from fitting.types import Estimate

_MEAN, _SIGMA, _PRICE = "world.marginals.basket_usd", "world.catalogue.basket_sigma", "world.catalogue.price_sigma"
_MOST = 5.0


def baskets(log: Log) -> list[Estimate]:
    """From the orders of the impressions, else from the purchases.

    A basket is taken to be lognormal around its store's price level: log basket = level of the item + noise. The noise is
    pooled within items; levels are normal over items, their sigma by maximum likelihood given the noise.
    """
    if log.has("basket_usd"):
        cluster, called = cluster_of(log)
        source, what, item = "(SELECT * FROM impressions WHERE basket_usd > 0)", "orders after ads", True
    elif log.has("basket_usd", table="purchases"):
        cluster, called = '"user"', "users"
        source, what = "(SELECT * FROM purchases WHERE basket_usd > 0)", "all purchases, ads or not"
        item = log.has("item", table="purchases")
    else:
        why = "neither log has a column basket_usd"
        return [missing(_MEAN, "USD", why), missing(_SIGMA, "of logs", why), missing(_PRICE, "of logs", why)]
    by = totals(log, source, cluster, "0", 1, value="basket_usd")
    orders = int(by.rows[0])
    if orders < 3 or len(by.cluster_rows) < 2:
        return [missing(name, unit, f"{orders} orders are too few", events=orders)
                for name, unit in ((_MEAN, "USD"), (_SIGMA, "of logs"), (_PRICE, "of logs"))]  # fmt: skip
    mean = by.value[0] / orders
    error = by.error((by.cluster_value - mean * by.cluster_rows) / orders)[0]
    found = [
        on_logs(
            _MEAN, mean, error, orders, "USD", f"mean of {what}; sandwich, {called} as clusters", freedom=by.freedom
        )
        if error > 0
        else missing(_MEAN, "USD", "all orders are of one value", events=orders)
    ]
    return found + (_by_item(log, source, what) if item else _together(log, source, what))


def _by_item(log: Log, source: str, what: str) -> list[Estimate]:
    with reading("orders"):
        rows = log.con.execute(
            f"WITH t AS (SELECT item, ln(basket_usd) AS x FROM {source}), m AS (SELECT item, avg(x) AS mean, count(*) AS n FROM "
            "t GROUP BY item) SELECT any_value(n) AS n, any_value(mean) AS mean, sum((x - mean) ** 2) AS s2, "
            "sum((x - mean) ** 4) AS s4 FROM t JOIN m USING (item) GROUP BY item"
        ).fetchnumpy()
    n, mean, s2, s4 = (np.asarray(rows[name], np.float64) for name in ("n", "mean", "s2", "s4"))
    items, orders = len(n), int(n.sum())
    freedom = orders - items
    why = f"{orders} orders of {items} items"
    if freedom < 5 or s2.sum() <= 0:
        return [
            missing(_SIGMA, "of logs", f"{why}: too few items have several", events=orders),
            missing(_PRICE, "of logs", why),
        ]
    within = float(s2.sum() / freedom)
    often = n > 3  # of few, the fourth moment around their own mean says little
    fourth = float(s4[often].sum() / s2[often].sum() * within) if often.any() else 3 * within**2
    error = np.sqrt(max(fourth - within**2, 2 * within**2 * 0.1) / freedom)
    sigma = float(np.sqrt(within))
    how = f"standard deviation of logs within {items} items, {what}; fourth moment"
    found = [on_logs(_SIGMA, sigma, float(error / (2 * sigma)), orders, "of logs", how)]
    if items < 3:
        return [*found, missing(_PRICE, "of logs", f"{items} items are too few", events=items)]
    top = min(_MOST, 4 * float(mean.std()) + 0.1)
    best = float(minimize_scalar(lambda s: -levels(s, mean, within / n), bounds=(0.0, top), method="bounded").x)
    low, high = profile(lambda s: levels(s, mean, within / n), best, max(best / 4, 0.01), floor=0.0, most=_MOST)
    how = f"standard deviation over {items} items of the level of logs, noise taken off, {what}; profile likelihood"
    return [*found, Estimate(_PRICE, best, low, high, orders, "of logs", how)]


def levels(sigma: float, mean: FloatArray, noise: FloatArray) -> float:
    """Log likelihood of items' means (k,) with known variances of noise (k,), their common level being at its best.

    The level is integrated out (restricted maximum likelihood: Patterson & Thompson 1971, Biometrika 58).
    """
    variance = sigma**2 + noise
    weight = 1 / variance
    middle = (weight @ mean) / weight.sum()
    return float(-0.5 * (np.log(variance).sum() + weight @ (mean - middle) ** 2 + np.log(weight.sum())))


def _together(log: Log, source: str, what: str) -> list[Estimate]:
    row = log.con.execute(
        f"WITH t AS (SELECT ln(basket_usd) AS x FROM {source}), m AS (SELECT avg(x) AS mean FROM t) SELECT count(*), "
        "sum((x - mean) ** 2), sum((x - mean) ** 4) FROM t, m"
    ).fetchall()[0]
    orders, variance, fourth = int(row[0]), row[1] / (row[0] - 1), row[2] / row[0]
    why = "the purchases have no column item: stores and orders at one store are not told apart"
    if variance <= 0:
        return [missing(_SIGMA, "of logs", "all orders are of one value"), missing(_PRICE, "of logs", why)]
    sigma = float(np.sqrt(variance))
    error = float(np.sqrt(max(fourth - variance**2, 0.2 * variance**2) / orders) / (2 * sigma))
    how = f"standard deviation of logs, {what}, price levels included; fourth moment"
    return [on_logs(_SIGMA, sigma, error, orders, "of logs", how), missing(_PRICE, "of logs", why)]
