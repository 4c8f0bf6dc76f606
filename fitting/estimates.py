"""Everything that is fitted to an opened log, in order, with progress."""

from collections.abc import Callable

from fitting.advertisers import advertisers
from fitting.baskets import baskets
from fitting.checks import Facts, check_impressions, check_purchases, check_traffic
from fitting.delays import delays, law_found
from fitting.interval import missing
from fitting.lifetime import lifetimes
from fitting.organic import organic
from fitting.rates import rates
from fitting.repurchase import repurchase
from fitting.slots import SLOT_EFFECT, slots
from fitting.source import Log
from fitting.traffic import table_profile, traffic
from fitting.types import Estimate

Part = Callable[[], list[Estimate]]


def estimates_of(
    log: Log, progress: Callable[[str, float], None], *, window_h: float | None = None
) -> tuple[Facts | None, list[Estimate]]:
    """Check a log's tables, and fit all that they tell.

    Args:
        log: Opened. Without impressions, purchases give baskets and repeat purchase, a traffic table the profile, no more.
        progress: Called with what is under way and the share of it that is done.
        window_h: Hours after which the log takes up no event of a click, where it has such a limit.

    Returns:
        What the impressions are, or None where there are none; and the estimates.

    Raises:
        Unfit: If a table breaks a rule of `fitting.checks`.
    """
    progress("check", 0.0)
    facts = check_impressions(log) if "impressions" in log.columns else None
    if "purchases" in log.columns:
        check_purchases(log)
    if "traffic" in log.columns:
        check_traffic(log)
    progress("check", 1.0)
    found: list[Estimate] = []
    for name, part in _parts(log, facts, found, window_h).items():
        progress(name, 0.0)
        found += part()
        progress(name, 1.0)
    return facts, found


def _parts(log: Log, facts: Facts | None, found: list[Estimate], window_h: float | None) -> dict[str, Part]:
    """What there is to fit, by name; `found` holds what those before have found."""
    parts: dict[str, Part] = {"traffic": lambda: table_profile(log)} if "traffic" in log.columns else {}
    if facts is not None and log.clicks_only:
        parts |= {"rates": lambda: [_no_rate()], "delays": lambda: delays(log, facts, window_h=window_h)}
    elif facts is not None:
        parts = {
            "traffic": lambda: traffic(log, facts),
            "slots": lambda: slots(log),
            "delays": lambda: delays(log, facts, window_h=window_h),
            "rates": lambda: rates(
                log, facts, [one for one in found if one.name.startswith(SLOT_EFFECT)], law_found(found)
            ),
            "organic": lambda: organic(log, facts),
            "advertisers": lambda: advertisers(log),
        }
    if facts is not None or "purchases" in log.columns:
        parts["baskets"] = lambda: baskets(log)
    if "purchases" in log.columns:
        parts |= {"lifetimes": lambda: lifetimes(log.con), "repurchase": lambda: repurchase(log.con)}
    return parts


def _no_rate() -> Estimate:
    return missing("world.marginals.ctr", "clicks per impression", "the log holds clicks alone")
