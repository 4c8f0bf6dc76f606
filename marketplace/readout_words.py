"""Words about a readout as a whole: what its guardrails say, and what a design's replications say."""

from typing import Any

from marketplace import words
from marketplace.coverage import of_trials

Row = dict[str, Any]


def guardrails(rows: list[Row]) -> str:
    """What the guardrails of an arm say, in a sentence; empty where it has none."""
    own = [row for row in rows if row["role"] == "guardrail"]
    if not own:
        return ""
    worse = got_worse(own)
    unread = [row["metric"] for row in own if row["low"] is None]
    lead = "No guardrail got worse"
    if worse:
        names = ", ".join(f"{row['metric']} ({_lift(row['lift'])})" for row in worse)
        lead = f"{len(worse)} of {len(own)} guardrails got worse: {names}"
    return f"{lead}; without an interval: {', '.join(unread)}." if unread else f"{lead}."


def got_worse(rows: list[Row]) -> list[Row]:
    """Guardrails whose interval lies on the bad side of 0."""
    return [row for row in rows if row["role"] == "guardrail" and words.verdict(row) == "worse"]


def trials(held: int | None, of: int) -> str:
    """A count of independent trials, with the 95% interval of its share."""
    share = None if held is None else of_trials(held, of)
    return words.DASH if share is None else f"{held:,} of {of:,} [{share[1]:.0%}, {share[2]:.0%}]"


def shares(row: Row) -> str:
    """A row of the sample ratio: units beside the shares asked for."""
    units = " : ".join(f"{n:,}" for n in row["units"])
    return f"{units} (asked {' : '.join(f'{share:.3g}' for share in row['shares'])})"


def _lift(x: float) -> str:
    """Two decimals, or two digits where those would be zeros."""
    return words.percent(x) if abs(x) >= 1e-4 else f"{100 * x:+.2g}%"
