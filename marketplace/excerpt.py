"""An excerpt of a report: some of its metrics, and the parts of some segmentations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marketplace import words
from marketplace.errors import Refused, known
from marketplace.metrics import METRICS, QUANTILES
from marketplace.segments import SEGMENTS

_MEASURED = "infra_cost"  # in the readout beside the metrics
Rows = list[dict[str, Any]]


def check_names(metrics: Sequence[str], segments: Sequence[str]) -> None:
    """Raises `Refused`, with the nearest name, for a metric or segmentation that no report has."""
    there = [metric.name for metric in (*METRICS, *QUANTILES)] + [_MEASURED]
    for name in metrics:
        known(name, there, f"--metric {name!r}: there is none of that name")
    for name in segments:
        known(name, SEGMENTS, f"--segment {name!r}: there is none of that name")


def excerpt(content: dict[str, Any], metrics: Sequence[str], segments: Sequence[str], folder: Path) -> dict[str, Rows]:
    """Rows of the readout, of the quantiles and of the parts.

    Args:
        content: Of the report.
        metrics: Names; the goals where there are none.
        segments: Segmentations; no parts where there are none.
        folder: Of the run, for what is refused.

    Raises:
        Refused: If no test was read, it has no such metric, or its parts are not read or do not count it.
    """
    if not content.get("readout"):
        raise Refused(f"run folder {folder}: no A/B has been read in it, run `marketplace compare {folder}`")
    readout, quantiles = (_chosen(content[name], metrics) for name in ("readout", "quantiles"))
    for name in metrics:
        if name not in {row["metric"] for row in (*readout, *quantiles)}:
            raise Refused(f"run folder {folder}: its report has no {name}")
    parts, there = [], words.by_segment(content)
    for name in segments:
        if name not in there:
            raise Refused(
                f"run folder {folder}: its report has no parts by {name}; it has where users stay in one arm: design users "
                "without a ramp, budgets or clusters"
            )
        own = _chosen(there[name], metrics)
        if not own:
            raise Refused(f"run folder {folder}: its parts by {name} do not count {', '.join(metrics)}")
        parts += own
    return {"readout": readout, "quantiles": quantiles, "segments": parts}


def _chosen(rows: Rows, metrics: Sequence[str]) -> Rows:
    return [row for row in rows if (row["metric"] in metrics if metrics else row["role"] == "goal")]
