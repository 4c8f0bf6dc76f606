"""Orders that follow no ad: what the log of purchases holds beyond the orders of the impressions."""

from fitting.checks import Facts
from fitting.clusters import totals
from fitting.interval import missing, on_logits
from fitting.source import Log
from fitting.types import Estimate

_NAME, _UNIT = "world.marginals.organic_share", "share of orders"


def organic(log: Log, facts: Facts) -> list[Estimate]:
    """1 - orders after ads / purchases, both from the first impression to the log's end.

    The purchases are taken to be all of the same users' orders, those after ads among them.
    """
    if "purchases" not in log.columns:
        return [missing(_NAME, _UNIT, "there is no log of purchases")]
    there = [name for name in ("user", "checkout_ms") if not log.has(name)]
    if there:
        return [missing(_NAME, _UNIT, f"the log has no column {there[0]}")]
    window = f"BETWEEN {facts.first_ms} AND {facts.end_ms}"
    both = (
        f'(SELECT CAST("user" AS VARCHAR) AS who, 1 AS bought, 0 AS advertised FROM purchases WHERE time_ms {window} UNION ALL '
        f'SELECT CAST("user" AS VARCHAR), 0, 1 FROM impressions WHERE checkout_ms {window})'
    )
    by = totals(log, both, "who", "0", 1, rows="bought", value="advertised")
    bought, advertised = float(by.rows[0]), float(by.value[0])
    if not 0 < advertised < bought:
        why = f"{bought:g} purchases are not more than the {advertised:g} orders after ads: they are not all orders"
        return [missing(_NAME, _UNIT, why if advertised else "no order follows an ad", events=int(bought))]
    share = advertised / bought
    error = by.error((by.cluster_value - share * by.cluster_rows) / bought)[0]
    how = "1 less orders after ads over purchases, in the time of the impressions; sandwich, users as clusters"
    return [on_logits(_NAME, 1 - share, error, int(bought), _UNIT, how, freedom=by.freedom)]
