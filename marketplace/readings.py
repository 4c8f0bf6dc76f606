"""Readings on disk: the moments of a simulation as they stood at the end of each day."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marketplace.designs import Reading
from marketplace.errors import DAMAGED, Refused
from marketplace.metrics import MOMENTS, Joint, Moments

READINGS = "readings.npz"


def save_readings(days: Sequence[Reading], path: Path) -> None:
    """Write a reading per day."""
    joint = [day.arms for day in days if isinstance(day.arms, Joint)]
    arrays: dict[str, Any] = {
        "weight": np.stack([day.weight for day in days]),
        "cuped": np.array([day.cuped for day in days]),
    }
    if joint:
        arrays |= {f"joint_{name}": np.stack([getattr(day, name) for day in joint]) for name in Joint._fields}
    for kind in ("arms", "strata", "exposed"):
        rows = [getattr(day, kind) for day in days]
        if rows and isinstance(rows[0], list):
            arrays |= {
                f"{kind}_{name}": np.stack([[getattr(arm, name) for arm in row] for row in rows])
                for name in Moments._fields
            }  # fmt: skip
    np.savez_compressed(path, **arrays)


def load_readings(path: Path) -> list[Reading]:
    """Read what `save_readings` wrote.

    Raises:
        Refused: If it is missing, damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = dict(saved)
        days = [_reading(arrays, day) for day in range(len(arrays["weight"]))]
    except DAMAGED as error:
        raise Refused(f"{path} is missing or damaged: {error}") from None
    for day in days:
        width = (day.arms if isinstance(day.arms, Joint) else day.arms[0]).mean.shape[-1]
        if width % len(MOMENTS):
            raise Refused(f"{path} is of another version: it has {width} moments, not {len(MOMENTS)}")
    return days


def _reading(arrays: dict[str, np.ndarray], day: int) -> Reading:
    def of_arms(kind: str) -> list[Moments]:
        units, mean, cov = (arrays[f"{kind}_{name}"][day] for name in Moments._fields)
        return [Moments(int(n), own, covariance) for n, own, covariance in zip(units, mean, cov, strict=True)]

    if "joint_units" in arrays:
        units, mean, cov = (arrays[f"joint_{name}"][day] for name in Joint._fields)
        return Reading(Joint(int(units), mean, cov), arrays["weight"][day])
    strata, exposed = (of_arms(kind) if f"{kind}_units" in arrays else None for kind in ("strata", "exposed"))
    return Reading(of_arms("arms"), arrays["weight"][day], strata, exposed, bool(arrays["cuped"][day]))
