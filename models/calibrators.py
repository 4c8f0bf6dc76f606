"""Calibrators: from a model's logit to a probability that can be bid on, as deployed and as written to a model's card."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, ClassVar, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit

from models.delayed import fnc
from models.errors import Unusable

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]


class Calibrator(Protocol):
    """Keeps the order of candidates, ties allowed; if it needs a column, the order of those that share its value."""

    @property
    def column(self) -> str:
        """The ads' categorical column that it needs, "" for none."""
        ...

    def __call__(self, logit: Float32Array, segment: IntArray | None = None) -> Float32Array:
        """Probabilities of the shape of `logit`, given the values of `column` in that shape, -1 for missing ones."""
        ...

    def card(self) -> dict[str, Any]:
        """What JSON keeps of it, for `calibrator_of`."""
        ...


@dataclass(frozen=True, slots=True)
class Platt:
    """p = sigmoid(slope x logit + intercept) (Platt 1999)."""

    kind: ClassVar[str] = "platt"
    column: ClassVar[str] = ""
    slope: float
    intercept: float

    def __call__(self, logit: Float32Array, segment: IntArray | None = None) -> Float32Array:
        """Probabilities of the shape of `logit`."""
        return _logistic(logit, self.slope, self.intercept)

    def card(self) -> dict[str, Any]:
        """For `calibrator_of`."""
        return {"kind": self.kind, "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True)
class Temperature:
    """p = sigmoid(logit / temperature), which leaves a half where it is (Guo, Pleiss, Sun & Weinberger 2017)."""

    kind: ClassVar[str] = "temperature"
    column: ClassVar[str] = ""
    temperature: float

    def __call__(self, logit: Float32Array, segment: IntArray | None = None) -> Float32Array:
        """Probabilities of the shape of `logit`."""
        return _logistic(logit, 1.0 / self.temperature, 0.0)

    def card(self) -> dict[str, Any]:
        """For `calibrator_of`."""
        return {"kind": self.kind, "temperature": self.temperature}


@dataclass(frozen=True, slots=True)
class Beta:
    """The logit of p is a log(q) - b log(1 - q) + c of the forecast q = sigmoid(logit), a, b >= 0 (Kull et al. 2017)."""

    kind: ClassVar[str] = "beta"
    column: ClassVar[str] = ""
    a: float
    b: float
    c: float

    def __call__(self, logit: Float32Array, segment: IntArray | None = None) -> Float32Array:
        """Probabilities of the shape of `logit`."""
        log_q, minus_log_rest = beta_terms(logit)
        return expit(self.a * log_q + self.b * minus_log_rest + self.c).astype(np.float32)

    def card(self) -> dict[str, Any]:
        """For `calibrator_of`."""
        return {"kind": self.kind, "a": self.a, "b": self.b, "c": self.c}


@dataclass(frozen=True, slots=True, eq=False)
class Isotonic:
    """Straight lines between knots, constant outside them (Zadrozny & Elkan 2002)."""

    kind: ClassVar[str] = "isotonic"
    column: ClassVar[str] = ""
    logit: FloatArray  # (t,) rising
    p: FloatArray  # (t,) never falling, float32 in value: what is rounded last cannot break the order

    def __call__(self, logit: Float32Array, segment: IntArray | None = None) -> Float32Array:
        """Probabilities of the shape of `logit`."""
        return np.interp(logit, self.logit, self.p).astype(np.float32)

    def card(self) -> dict[str, Any]:
        """For `calibrator_of`."""
        return {"kind": self.kind, "logit": self.logit.tolist(), "p": self.p.tolist()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BySegment:
    """Platt with an offset in logits for every value of a column; unseen and missing values have none."""

    kind: ClassVar[str] = "segment"
    base: Platt
    column: str
    tau: float | None  # standard deviation of the offsets that they are shrunk by, None where they are not
    offset: FloatArray  # (v,) by value of the column, 0 where unseen
    rows: FloatArray  # (v,) weight of the rows that each was fitted on
    positives: FloatArray  # (v,) weight of those as positives

    def __call__(self, logit: Float32Array, segment: IntArray | None = None) -> Float32Array:
        """Probabilities of the shape of `logit`, given each one's value of the column in that shape.

        Raises:
            Unusable: If there are no values, or of another shape.
        """
        if segment is None or segment.shape != logit.shape:
            shape = "none" if segment is None else f"of shape {segment.shape}"
            raise Unusable(f"a calibration by {self.column} needs values of shape {logit.shape}, there are {shape}")
        offset = np.append(self.offset, 0.0).astype(np.float32)
        seen = (segment >= 0) & (segment < len(self.offset))
        return _logistic(
            np.float32(self.base.slope) * logit + offset[np.where(seen, segment, -1)], 1.0, self.base.intercept
        )

    def card(self) -> dict[str, Any]:
        """For `calibrator_of`."""
        return {
            "kind": self.kind, "base": self.base.card(), "column": self.column, "tau": self.tau,
            "offset": self.offset.tolist(), "rows": self.rows.tolist(), "positives": self.positives.tolist(),
        }  # fmt: skip


def beta_terms(logit: NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
    """log(q) and -log(1 - q) of q = sigmoid(logit); both rise with the logit."""
    wide = logit.astype(np.float64)
    return -np.logaddexp(0.0, -wide), np.logaddexp(0.0, wide)


@dataclass(frozen=True, slots=True)
class FakeNegative:
    """p = b / (1 - b) of a calibrated b, which is of a stream where every click is a negative first (Ktena et al. 2019)."""

    kind: ClassVar[str] = "fake_negative"
    base: Calibrator

    @property
    def column(self) -> str:
        """The base's."""
        return self.base.column

    def __call__(self, logit: Float32Array, segment: IntArray | None = None) -> Float32Array:
        """Probabilities of the shape of `logit`."""
        return fnc(self.base(logit, segment))

    def card(self) -> dict[str, Any]:
        """For `calibrator_of`."""
        return {"kind": self.kind, "base": self.base.card()}


def calibrator_of(card: Any) -> Calibrator:
    """Read what a calibrator's `card()` wrote.

    Raises:
        Unusable: If the kind is unknown, a key is missing or one too many, a number is not finite or out of range, lengths
            differ, or knots do not rise.
    """
    kind = card.get("kind") if isinstance(card, dict) else None
    if not isinstance(kind, str) or kind not in _READ:
        raise Unusable(f"there is no calibrator of kind {kind!r}; there are {', '.join(_READ)}")
    made, read = _READ[kind]
    known = {"kind", *(field.name for field in fields(made))}
    for key in sorted(known - card.keys()):
        raise Unusable(f"a {kind} calibrator lacks {key}")
    for key in sorted(card.keys() - known):
        raise Unusable(f"a {kind} calibrator has no {key}")
    return read(card)


def _platt(card: dict[str, Any]) -> Platt:
    return Platt(_number("slope", card["slope"], above=0.0), _number("intercept", card["intercept"]))


def _temperature(card: dict[str, Any]) -> Temperature:
    return Temperature(_number("temperature", card["temperature"], above=0.0))


def _beta(card: dict[str, Any]) -> Beta:
    return Beta(_number("a", card["a"], low=0.0), _number("b", card["b"], low=0.0), _number("c", card["c"]))


def _isotonic(card: dict[str, Any]) -> Isotonic:
    logit, p = _numbers("logit", card["logit"]), _numbers("p", card["p"], low=0.0, high=1.0)
    _one_length(logit=logit, p=p)
    if len(logit) == 0 or (np.diff(logit) <= 0).any() or (np.diff(p) < 0).any():
        raise Unusable(f"the {len(logit)} knots of an isotonic calibrator must be at least one and rise")
    return Isotonic(logit, p)


def _by_segment(card: dict[str, Any]) -> BySegment:
    base, column = calibrator_of(card["base"]), card["column"]
    if not isinstance(base, Platt) or not isinstance(column, str) or not column:
        raise Unusable(f"a calibrator by segment needs a platt base and a column, it has {card['base']} and {column!r}")
    tau = None if card["tau"] is None else _number("tau", card["tau"], low=0.0)
    offset = _numbers("offset", card["offset"])
    rows, positives = _numbers("rows", card["rows"], low=0.0), _numbers("positives", card["positives"], low=0.0)
    _one_length(offset=offset, rows=rows, positives=positives)
    return BySegment(base=base, column=column, tau=tau, offset=offset, rows=rows, positives=positives)


_READ: dict[str, tuple[type, Callable[[dict[str, Any]], Calibrator]]] = {
    "platt": (Platt, _platt), "temperature": (Temperature, _temperature), "beta": (Beta, _beta),
    "isotonic": (Isotonic, _isotonic), "segment": (BySegment, _by_segment),
    "fake_negative": (FakeNegative, lambda card: FakeNegative(calibrator_of(card["base"]))),
}  # fmt: skip


def _number(name: str, value: Any, *, low: float = -np.inf, high: float = np.inf, above: float = -np.inf) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not is_number or not low <= value <= high or value <= above:
        raise Unusable(f"a calibrator's {name} is {value!r}, it must be a finite number in range")
    return float(value)


def _numbers(name: str, value: Any, *, low: float = -np.inf, high: float = np.inf) -> FloatArray:
    if not isinstance(value, list):
        raise Unusable(f"a calibrator's {name} is {value!r}, it must be a list of numbers")
    return np.array([_number(f"{name}[{i}]", each, low=low, high=high) for i, each in enumerate(value)], np.float64)


def _one_length(**columns: FloatArray) -> None:
    if len({len(column) for column in columns.values()}) > 1:
        found = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
        raise Unusable(f"a calibrator's lists differ in length: {found}")


def _logistic(logit: Float32Array, slope: float, intercept: float) -> Float32Array:
    out = np.empty(logit.size, np.float32)
    _sigmoid(np.ascontiguousarray(logit).ravel(), np.float32(slope), np.float32(intercept), out)
    return out.reshape(logit.shape)


@njit(cache=True, nogil=True)
def _sigmoid(logit: Float32Array, slope: np.float32, intercept: np.float32, out: Float32Array) -> None:
    for i in range(logit.size):
        out[i] = np.float32(1.0) / (np.float32(1.0) + np.exp(-(slope * logit[i] + intercept)))
