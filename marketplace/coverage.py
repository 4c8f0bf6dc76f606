"""Coverage: how often intervals hold the truth, and on which side of it they lie where they do not."""

from statistics import median
from typing import Any

from scipy.stats import binomtest

Row = dict[str, Any]


def coverage(rows: list[Row], by: str) -> list[Row]:
    """Readings beside the truth, summed up by a field of theirs.

    Args:
        rows: With `lift`, `low`, `high`, `true_lift` and `covered`; those whose `covered` is None are left out.
        by: The field; its values keep their order.

    Returns:
        A row per value: intervals read, those that hold the truth and their share, those that lie above and below it, and the
        median size of the bias, (1 + lift) / (1 + true lift) - 1. Metrics of one test share its units, so they are not as many
        independent trials, and the share has no interval.
    """
    known = [row for row in rows if row["covered"] is not None]
    groups = {value: [row for row in known if row[by] == value] for value in dict.fromkeys(row[by] for row in known)}
    return [{by: value} | _summed(own) for value, own in groups.items()]


def _summed(rows: list[Row]) -> Row:
    held = sum(row["covered"] for row in rows)
    return {
        "read": len(rows), "held": held, "share": held / len(rows),
        "above": sum(row["low"] > row["true_lift"] for row in rows),
        "below": sum(row["high"] < row["true_lift"] for row in rows),
        "bias": median(_bias(row) for row in rows),
    }  # fmt: skip


def _bias(row: Row) -> float:
    """Its size, relative; infinite where the truth is a loss of everything."""
    true = 1 + row["true_lift"]
    return abs((1 + row["lift"]) / true - 1) if true else float("inf")


def of_trials(held: int, trials: int) -> tuple[float, float, float] | None:
    """A share of independent trials with its 95% interval (Clopper & Pearson 1934); None where there are no trials."""
    if not trials:
        return None
    ends = binomtest(held, trials).proportion_ci(0.95, "exact")
    return held / trials, float(ends.low), float(ends.high)
