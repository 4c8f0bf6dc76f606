"""Power: before a test, what it would find; from moments of a log's units, for the test that will be read."""

from bisect import bisect_left
from math import ceil, sqrt

from scipy.stats import t as student

from marketplace.metrics import Metric, Moments, counted, value
from marketplace.stats import no_covariate, variances, varies


def minimum_effect(
    metric: Metric,
    moments: Moments,
    shares: tuple[float, float] = (0.5, 0.5),
    *,
    units: int | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    cuped: bool = False,
) -> float | None:
    """The least lift that a two-sided test finds with the power asked for.

    (t_(1 - alpha/2) + t_power) sigma sqrt(1/n_control + 1/n_arm) / metric, of Student's t with Welch's degrees of freedom. Both
    arms are taken to vary as the log does, and a test to find no lift of the wrong sign.

    Args:
        metric: What will be read.
        moments: Of the log's units; with CUPED those of a later part of the log, behind them those of an earlier part.
        shares: Of the test's units in control and in the arm, each above 0; together at most 1.
        units: Of the whole test, in any arm; as many as the moments have where None.
        power: Share of such tests that find the lift.
        alpha: Share of tests without effect that find one.
        cuped: Whether the test will be read with CUPED.

    Returns:
        Relative; None where the metric cannot be read, CUPED is asked for and cannot be had, or an arm has no two units.

    Raises:
        ValueError: If the shares are not above 0 and at most 1 together.

    References:
        Zhou, Lu & Shallah (2023), All about sample-size calculations for A/B testing.
    """
    _check(shares)
    total = moments.units if units is None else units
    sigma = _sigma(metric, moments, cuped)
    if sigma is None or total * min(shares) < 2:
        return None
    return sigma * _noise(total, shares, power, alpha)


def units_needed(
    metric: Metric,
    moments: Moments,
    lift: float,
    shares: tuple[float, float] = (0.5, 0.5),
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    cuped: bool = False,
) -> int | None:
    """Units of the whole test, in any arm, with which a lift is the least that is found.

    Args:
        metric: What will be read.
        moments: Of the log's units, as in `minimum_effect`.
        lift: Relative, of either sign, not 0.
        shares: Of the test's units in control and in the arm, each above 0; together at most 1.
        power: Share of such tests that find the lift.
        alpha: Share of tests without effect that find one.
        cuped: Whether the test will be read with CUPED.

    Returns:
        At least two in either arm; None where the metric cannot be read, or CUPED is asked for and cannot be had.

    Raises:
        ValueError: If the lift is 0, or the shares are not above 0 and at most 1 together.
    """
    _check(shares)
    if lift == 0:
        raise ValueError("lift must not be 0")
    sigma = _sigma(metric, moments, cuped)
    if sigma is None:
        return None

    def found(units: int) -> bool:
        return sigma * _noise(units, shares, power, alpha) <= abs(lift)

    least = ceil(2 / min(shares))
    most = least
    while not found(most):
        most *= 2
    return least + bisect_left(range(least, most), True, key=found)


def _noise(units: int, shares: tuple[float, float], power: float, alpha: float) -> float:
    """The least effect that is found, in standard deviations of a unit."""
    control, arm = (units * share for share in shares)
    freedom = (1 / control + 1 / arm) ** 2 / (1 / control**2 / (control - 1) + 1 / arm**2 / (arm - 1))
    quantiles = student.isf(alpha / 2, freedom) + student.ppf(power, freedom)
    return float(quantiles) * sqrt(1 / control + 1 / arm)


def _sigma(metric: Metric, moments: Moments, cuped: bool) -> float | None:
    """Standard deviation of a unit's part in the metric, relative to the metric."""
    level = value(metric, moments) if counted(metric, moments) else None
    if not level or moments.units < 2 or not varies(metric, moments):
        return None
    if cuped and no_covariate(metric, [moments]):
        return None
    (variance,) = variances(metric, [moments], cuped=cuped)
    return sqrt(variance) * metric.scale / level


def _check(shares: tuple[float, float]) -> None:
    if not (min(shares) > 0 and sum(shares) <= 1 + 1e-9):
        raise ValueError(f"shares must be above 0 and at most 1 together: {shares}")
