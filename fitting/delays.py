"""Delays by type of event, and the chance that an event comes, however late: add-to-carts, orders, sign-ups."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit

from fitting.checks import HOUR_MS, Facts
from fitting.cure import Cure, Fit, Waits, fit, held, law_of
from fitting.errors import Unfit
from fitting.interval import DROP, missing, on_logits, on_logs, profile, quantile
from fitting.quadrature import FloatArray
from fitting.source import Log, reading
from fitting.types import Estimate

POINTS_H = (1.0, 24.0, 96.0)  # where the law of orders is stated
_MOST_CLICKS = 400_000
_EDGE = 1e-9  # nearer to 0 or 1 a share has no interval on the scale of logits
_RATES = {
    "checkout_ms": ("world.marginals.cvr", "orders per click"),
    "cart_ms": ("world.marginals.cart_rate", "add-to-carts per click"),
    "sign_up_ms": ("world.marginals.sign_up_rate", "sign-ups per click"),
}  # fmt: skip
_MEANS = {
    "cart_ms": ("world.delay.cart_minutes", 60.0, "minutes"),
    "sign_up_ms": ("world.delay.sign_up_hours", 1.0, "hours"),
}
_LAW = (
    ("delay.checkout.fast_share", "share"),
    ("delay.checkout.fast_mean_h", "hours"),
    ("delay.checkout.slow_mean_h", "hours"),
)
_POST_VIEW = "world.marginals.post_view_rate"


def delays(
    log: Log, facts: Facts, *, points_h: tuple[float, float, float] = POINTS_H, window_h: float | None = None
) -> list[Estimate]:
    """Chance and delay of every event that the log has, right-censored at the log's end and each click's own exposure.

    Args:
        log: Opened.
        facts: Of the impressions.
        points_h: Where the distribution function of orders is stated.
        window_h: Hours after which the log takes up no event of a click, where it has such a limit.
    """
    found = []
    law: Cure | None = None
    for column, (name, unit) in _RATES.items():
        why = _unknown(log, column)
        parts = 2 if column == "checkout_ms" else 1
        fitted, waits = None, None
        if not why:
            waits = waits_of(log, facts, column, window_h)
            fitted, why = _fitted(waits, parts)
            parts = 1 if fitted is not None and len(fitted.theta) == 2 else parts
        if fitted is None or waits is None:
            found.append(missing(name, unit, why))
            found += (
                _no_law(points_h, why)
                if column == "checkout_ms"
                else [missing(_MEANS[column][0], _MEANS[column][2], why)]
            )
            continue
        found.append(_chance(name, unit, waits, fitted, parts))
        if column == "checkout_ms":
            law = fitted.law
            found += _law(waits, fitted, points_h, why)
        else:
            found.append(_mean(column, waits, fitted))
    return [*found, _post_view(log, facts, law, window_h)]


def law_found(estimates: Sequence[Estimate]) -> Cure | None:
    """The law of orders that estimates hold; None where they do not know it."""
    value = {one.name: one.value for one in estimates}
    chance, share, fast, slow = (value.get(name) for name in (_RATES["checkout_ms"][0], *(name for name, _ in _LAW)))
    if chance is None or slow is None:
        return None
    return Cure(chance, share or 0.0, 1.0 if fast is None else fast, slow)


def waits_of(log: Log, facts: Facts, column: str, window_h: float | None = None) -> Waits:
    """Waits for an event after each click; more clicks than enough are drawn by a hash of their user.

    Args:
        log: Opened, with click_ms.
        facts: Of the impressions.
        column: Of the event.
        window_h: As in `delays`.
    """
    cluster = 'hash("user")' if log.has("user") else "hash(item, time_ms)"
    keep = max(-(-facts.clicks // _MOST_CLICKS), 1)
    window = np.inf if window_h is None else window_h * HOUR_MS
    exposure = (
        f"least({facts.end_ms} - click_ms, {window:.0f})" if np.isfinite(window) else f"{facts.end_ms} - click_ms"
    )
    late = f"{column} - click_ms > {exposure}"
    hidden = f"coalesce({column} >= checkout_ms, false)" if column == "cart_ms" and log.has("checkout_ms") else "false"
    with reading("impressions"):
        rows = log.con.execute(
            f"SELECT CASE WHEN {column} IS NULL OR {late} THEN {exposure} ELSE {column} - click_ms END AS wait, "
            f"{column} IS NOT NULL AND NOT coalesce({late}, false) AS came, {hidden} AS hidden, {cluster} AS cluster "
            f"FROM impressions WHERE click AND {cluster} % {keep} = 0"
        ).fetchnumpy()
    came = np.asarray(rows["came"], bool)
    cluster_id = np.unique(rows["cluster"], return_inverse=True)[1]
    # a wait of 0 ms is one of less than 1
    hours = np.maximum(np.asarray(rows["wait"], np.float64), 0.5) / HOUR_MS
    return Waits(hours, came, np.asarray(rows["hidden"], bool) & came, cluster_id)


def _fitted(waits: Waits, parts: int) -> tuple[Fit | None, str]:
    """The law with so many parts, or with fewer where the delays do not tell so many apart; and what they do not tell."""
    why = ""
    for fewer in range(parts, 0, -1):
        try:
            return fit(waits, fewer), why
        except Unfit as error:
            why = why or str(error)
    return None, why


def _unknown(log: Log, column: str) -> str:
    there = [name for name in ("click_ms", column) if not log.has(name)]
    if there:
        return f"the log has no column {there[0]}"
    (n,) = log.con.execute(f"SELECT count({column}) FROM impressions").fetchall()[0]
    return "" if n else f"column {column} is empty"


def _how(waits: Waits, parts: int) -> str:
    law = "a mixture of two exponentials" if parts == 2 else "an exponential"
    return (
        f"chance of an event and {law}, right-censored (Chapelle 2014), of {len(waits.came)} clicks, maximum likelihood"
    )


def _chance(name: str, unit: str, waits: Waits, fitted: Fit, parts: int) -> Estimate:
    """By the profile likelihood, which is widened by what users have in common."""
    drop = DROP * max(float(fitted.inflation[0]), 1.0)
    best = float(fitted.theta[0])
    low, high = profile(
        lambda at: held(waits, fitted.theta, 0, at), best, float(np.sqrt(fitted.covariance[0, 0])), floor=best - 20, most=20.0,
        drop=drop,
    )  # fmt: skip
    low, high = float(expit(low)), float(expit(high))
    how = f"{_how(waits, parts)}; profile likelihood, widened by the sandwich over users"
    return Estimate(name, float(expit(best)), low, high, int(waits.came.sum()), unit, how)


def _law(waits: Waits, fitted: Fit, points_h: tuple[float, ...], why: str) -> list[Estimate]:
    """The law itself, and the distribution function at three points; the delta method on logits and logarithms."""
    parts = 2 if len(fitted.theta) == 4 else 1
    how = f"{_how(waits, parts)}; sandwich over users, delta method"
    events, law, longest = int(waits.came.sum()), fitted.law, float(waits.hours.max())

    def share(name: str, unit: str, what: Callable[[Cure], float]) -> Estimate:
        value = what(law)
        if not _EDGE < value < 1 - _EDGE:
            return Estimate(name, value, value, value, events, unit, how)
        return on_logits(name, value, _delta(fitted, what), events, unit, how)

    def mean(name: str, unit: str, what: Callable[[Cure], float]) -> Estimate:
        return on_logs(name, what(law), _delta(fitted, what), events, unit, how)

    if parts == 2:
        found = [share(*_LAW[0], lambda law: law.fast_share), mean(*_LAW[1], lambda law: law.fast_mean_h)]
    else:
        found = [missing(name, unit, f"one exponential serves: {why}", events=events) for name, unit in _LAW[:2]]
    found.append(mean(*_LAW[2], lambda law: law.slow_mean_h))
    for k, hours in enumerate(points_h):
        beyond = " (beyond the longest exposure)" if hours > longest else ""
        unit = f"of orders within {hours:g} h{beyond}"

        def within(law: Cure, hours: float = hours) -> float:
            return float(law.within(hours))

        found.append(share(f"world.marginals.delay[{k}].share", unit, within))
    return found


def _delta(fitted: Fit, what: Callable[[Cure], float]) -> float:
    step = 1e-5
    slope = np.array([
        (what(law_of(fitted.theta + step * one)) - what(law_of(fitted.theta - step * one))) / (2 * step)
        for one in np.eye(len(fitted.theta))
    ])  # fmt: skip
    return float(np.sqrt(slope @ fitted.covariance @ slope))


def _mean(column: str, waits: Waits, fitted: Fit) -> Estimate:
    name, factor, unit = _MEANS[column]
    value, half = fitted.law.slow_mean_h * factor, float(np.exp(quantile() * np.sqrt(fitted.covariance[1, 1])))
    how = f"{_how(waits, 1)}; sandwich over users"
    return Estimate(name, value, value / half, value * half, int((waits.came & ~waits.hidden).sum()), unit, how)


def _no_law(points_h: tuple[float, ...], why: str) -> list[Estimate]:
    points = [(f"world.marginals.delay[{k}].share", f"of orders within {h:g} h") for k, h in enumerate(points_h)]
    return [missing(name, unit, why) for name, unit in (*_LAW, *points)]


def _post_view(log: Log, facts: Facts, law: Cure | None, window_h: float | None) -> Estimate:
    """Orders after a view without a click, over what had come by now if all ever would; delays are as after clicks."""
    unit = "orders per impression, however late"
    if not log.has("checkout_ms"):
        return missing(_POST_VIEW, unit, "the log has no column checkout_ms")
    if law is None:
        return missing(_POST_VIEW, unit, "the delay of orders is not known")
    with reading("impressions"):
        cells = log.con.execute(
            f"SELECT ({facts.end_ms} - time_ms) // {HOUR_MS} AS age, count(*) AS n, count_if(NOT click AND checkout_ms IS NOT "
            "NULL) AS k FROM impressions GROUP BY age"
        ).fetchnumpy()
    exposed: FloatArray = np.minimum(cells["age"] + 0.5, np.inf if window_h is None else window_h)
    orders, looks = int(cells["k"].sum()), float(cells["n"] @ law.within(exposed))
    how = "orders without a click over impressions, each counted for the share of orders that come within its exposure"
    if not orders:
        return Estimate(_POST_VIEW, 0.0, 0.0, 3.0 / looks, 0, unit, f"{how}; none seen: rule of three")
    value, half = orders / looks, float(np.exp(quantile() / np.sqrt(orders)))
    return Estimate(_POST_VIEW, value, value / half, min(value * half, 1.0), orders, unit, f"{how}; Poisson")
