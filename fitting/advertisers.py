"""Advertisers: campaigns and their ads; what they spend, bid and pay, where it is logged."""

import numpy as np
from scipy.stats import chi2

from fitting.checks import DAY_MS
from fitting.clusters import cluster_of, totals
from fitting.interval import missing, on_logs
from fitting.quadrature import FloatArray
from fitting.source import Log, reading
from fitting.types import Estimate

_BUDGET, _SIGMA = "world.campaigns.daily_budget_usd", "world.campaigns.budget_sigma"
_COUNT, _STORES = "world.campaigns.count", "world.campaigns.stores_per_campaign"
_LOWER = "a lower bound: what a campaign bills is at most its budget"


def advertisers(log: Log) -> list[Estimate]:
    """Campaigns seen, items of each, spend a day, spread of bids and prices."""
    why = "the log has no column campaign"
    if not log.has("campaign"):
        items = _count(log, "item")
        missing_ones = (_COUNT, "campaigns"), (_STORES, "stores"), (_BUDGET, "USD"), (_SIGMA, "of logs")
        return [_items(items), *(missing(name, unit, why) for name, unit in missing_ones), *_prices(log)]
    with reading("impressions"):
        per = np.array(
            log.con.execute(
                "SELECT count(DISTINCT item) FROM impressions WHERE campaign IS NOT NULL GROUP BY campaign"
            ).fetchall(),
            np.float64,
        ).ravel()  # fmt: skip
    n = len(per)
    found = [
        _items(_count(log, "item")),
        Estimate(_COUNT, float(n), None, None, n, "campaigns", "campaigns shown: there may be more"),
    ]
    if n > 1 and per.std() > 0:
        found.append(on_logs(_STORES, float(per.mean()), float(per.std(ddof=1) / np.sqrt(n)), n, "stores",
                             "mean of the items shown per campaign; campaigns as draws", freedom=n - 1))  # fmt: skip
    else:
        how = "items shown, as many for every campaign"
        found.append(Estimate(_STORES, float(per.mean()), None, None, n, "stores", how))
    return [*found, *_budgets(log), *_bids(log), *_prices(log)]


def _items(items: int) -> Estimate:
    return Estimate("items", float(items), None, None, items, "items", "items shown: there may be more")


def _budgets(log: Log) -> list[Estimate]:
    """A campaign's largest spend of a day: its budget, if it ever ran out."""
    if not log.has("price_usd"):
        why = "the log has no column price_usd"
        return [missing(_BUDGET, "USD", why), missing(_SIGMA, "of logs", why)]
    with reading("impressions"):
        most = np.array(
            log.con.execute(
                f"SELECT max(s) FROM (SELECT campaign, sum(price_usd) AS s FROM impressions WHERE campaign IS NOT NULL GROUP BY "
                f"campaign, time_ms // {DAY_MS}) GROUP BY campaign HAVING max(s) > 0"
            ).fetchall(),
            np.float64,
        ).ravel()  # fmt: skip
    n = len(most)
    if n < 3 or most.std() == 0:
        why = f"{n} campaigns have spent" + ("" if n < 3 else ", all the same")
        return [missing(_BUDGET, "USD", why, events=n), missing(_SIGMA, "of logs", why, events=n)]
    how = f"largest spend of a day, over {n} campaigns; {_LOWER}"
    mean = on_logs(
        _BUDGET, float(most.mean()), float(most.std(ddof=1) / np.sqrt(n)), n, "USD a day", how, freedom=n - 1
    )
    return [mean, _sigma(_SIGMA, np.log(most), f"{how}; lognormal, chi-square")]


def _bids(log: Log) -> list[Estimate]:
    """Spread over campaigns of the mean bid, and of bids of one campaign."""
    if not log.has("bid_usd"):
        return [missing("bids.sigma", "of logs", "the log has no column bid_usd")]
    with reading("impressions"):
        logs = np.array(
            log.con.execute("SELECT avg(ln(bid_usd)) FROM impressions WHERE bid_usd > 0 AND campaign IS NOT NULL "
                "GROUP BY campaign").fetchall(),
            np.float64,
        ).ravel()  # fmt: skip
    if len(logs) < 3 or logs.std() == 0:
        return [missing("bids.sigma", "of logs", f"{len(logs)} campaigns have bid", events=len(logs))]
    middle = float(np.exp(logs.mean()))
    error = middle * float(logs.std(ddof=1) / np.sqrt(len(logs)))
    how = "mean log bid of each campaign, whatever it pays for"
    return [
        on_logs(
            "bids.median_usd", middle, error, len(logs), "USD", f"{how}; campaigns as draws", freedom=len(logs) - 1
        ),
        _sigma("bids.sigma", logs, f"{how}; normal, chi-square"),
    ]


def _prices(log: Log) -> list[Estimate]:
    """Level and spread of what impressions cost; a campaign's prices go together."""
    if not log.has("price_usd"):
        return [missing("prices.sigma", "of logs", "the log has no column price_usd")]
    source = "(SELECT * FROM impressions WHERE price_usd > 0)"
    cluster, called = ("campaign", "campaigns") if log.has("campaign") else cluster_of(log)
    by = totals(log, source, cluster, "0", 1, value="ln(price_usd)")
    n = int(by.rows[0])
    if n < 10 or len(by.cluster_rows) < 3:
        return [missing("prices.sigma", "of logs", f"{n} impressions have a price", events=n)]
    middle = float(by.value[0] / n)
    square = totals(log, source, cluster, "0", 1, value=f"(ln(price_usd) - ({middle!r})) ** 2")
    variance = float(square.value[0] / n)
    if variance <= 0:
        return [missing("prices.sigma", "of logs", "all prices are the same", events=n)]
    of_middle = by.error((by.cluster_value - middle * by.cluster_rows) / n)[0]
    of_variance = square.error((square.cluster_value - variance * square.cluster_rows) / n)[0]
    median, sigma = float(np.exp(middle)), float(np.sqrt(variance))
    how = f"of logs of prices above 0; sandwich, {called} as clusters"
    return [
        on_logs("prices.median_usd", median, float(median * of_middle), n, "USD", f"mean {how}", freedom=by.freedom),
        on_logs(
            "prices.sigma",
            sigma,
            float(of_variance / (2 * sigma)),
            n,
            "of logs",
            f"standard deviation {how}",
            freedom=by.freedom,
        ),
    ]


def _sigma(name: str, logs: FloatArray, how: str) -> Estimate:
    """Standard deviation of normal draws."""
    freedom = len(logs) - 1
    value = float(logs.std(ddof=1))
    low, high = (value * float(np.sqrt(freedom / chi2.ppf(level, freedom))) for level in (0.975, 0.025))
    return Estimate(name, value, low, high, len(logs), "of logs", how)


def _count(log: Log, column: str) -> int:
    with reading("impressions"):
        (n,) = log.con.execute(f"SELECT count(DISTINCT {column}) FROM impressions").fetchall()[0]
    return int(n)
