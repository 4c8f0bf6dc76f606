"""Position bias: what a slot does to the click, as a term beside the relevance or as a factor of its probability.

A tower of the slot beside that of the ad adds to the logit (Zhao et al. 2019, Recommending what video to watch next).
If a click is a look and then an attraction, the slot multiplies instead (PAL, Guo et al. 2019), and the tower is wrong
however much is logged and however the slots were drawn (examples/03_tower_on_product.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log1p

from models.errors import Unusable
from models.weights import Weights

Array = Any  # of numpy or of torch
FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.integer[Any]]
Kind = Literal["additive", "product"]

_NOTHING = 1e-30  # far below what 32 bits resolve beside 1, so that 0 / 0 has the limit of a slot that all look at
_FARTHEST = 1.0  # logit that one Newton step may go: where the curvature is small, it would overshoot


class SlotCurve(NamedTuple):
    """What each slot does to a click.

    additive: logits added to the relevance's, 0 in slot 0. product: probabilities of a look, 1 in slot 0, times the
    relevance's probability.
    """

    kind: Kind
    values: FloatArray  # (s,)

    def at(self, logit: Float32Array, slot: IntArray) -> Float32Array:
        """Logits (n, k) of a click in a slot, from those of the relevance, which are of a click in slot 0.

        Args:
            logit: (n, k), finite.
            slot: (k,) >= 0; one beyond the last of the curve has the last's value.
        """
        return _FORMS[self.kind](logit, self.values[np.minimum(slot, len(self.values) - 1)])

    def card(self) -> dict[str, Any]:
        """The curve as JSON takes it."""
        return {"kind": self.kind, "values": self.values.tolist()}


def curve_of(card: Mapping[str, Any]) -> SlotCurve:
    """The curve that a card describes.

    Raises:
        Unusable: If the kind is unknown, there are no values, slot 0 is not the reference, or a value is out of range.
    """
    kind, values = card["kind"], np.array(card["values"], np.float64)
    if kind not in _FORMS:
        raise Unusable(f"slot curve: the kind must be one of {', '.join(_FORMS)}, is {kind!r}")
    reference = 0.0 if kind == "additive" else 1.0
    if values.ndim != 1 or not values.size or values[0] != reference:
        raise Unusable(f"slot curve: {kind} values must begin with {reference}, are {card['values']}")
    wrong = ~np.isfinite(values) if kind == "additive" else ~((values > 0) & (values <= 1))
    if wrong.any():
        slot = int(wrong.argmax())
        rule = "finite" if kind == "additive" else "within (0, 1]"
        raise Unusable(f"slot curve: {kind} values must be {rule}, slot {slot} has {values[slot]}")
    return SlotCurve(kind, values)


def examined_weights(label: Array, examination: Array, relevance: Array) -> Weights:
    """What a row teaches about relevance, if a click is a look and an attraction: the E step of the position-based model.

    A click was attraction: (1, 0). Without one the user was attracted and did not look with probability r(1 - e) / (1 -
    e r), or was not attracted with probability (1 - r) / (1 - e r). The two sum to 1 and are linear in the label, so
    that a rate of clicks gives their mean. Where all look the label counts as it is. Regression on such weights is that
    of Wang, Golbandi, Bendersky, Metzler & Najork (2018); it climbs the likelihood of PAL's product (Guo et al. 2019).

    Args:
        label: (m,) 1 or 0, or a rate of clicks; like the others an array of numpy or a tensor of torch, of 32 bits or more.
        examination: (m,) e, within (0, 1].
        relevance: (m,) r, probability of a click if looked at, within [0, 1].
    """
    clicked = label * 1.0
    missed = (1.0 - clicked) / (1.0 - examination * relevance + _NOTHING)
    return Weights(clicked + missed * relevance * (1.0 - examination), missed * (1.0 - relevance + _NOTHING))


def examination_step(
    label: NDArray[Any], examination: FloatArray, relevance: FloatArray, slot: IntArray, n_slots: int
) -> FloatArray:
    """The M step: the mean over a slot's rows of the probability of a look given the label, y + (1 - y) e (1 - r) / (1 - e r).

    Clicks tell e r, never e and r apart: any factor may go from one to the other. Slot 0 is set to 1, so that relevance
    is the probability of a click in the top slot, looks included. With e = 1 there on entry all its rows were looked
    at, the division changes nothing, and no slot exceeds 1: the form has no place for a slot that is better than the
    top.

    Args:
        label: (m,) 1 or 0, or a rate of clicks.
        examination: (m,) e of the row's slot, 1 in slot 0.
        relevance: (m,) r.
        slot: (m,) within [0, s).
        n_slots: s.

    Returns:
        (s,) examination.

    Raises:
        Unusable: If a slot has no rows.
    """
    looked = label + examination * examined_weights(label, examination, relevance).negative
    mean = np.bincount(slot, looked, n_slots) / rows_per_slot(slot, n_slots)
    return mean / mean[0]


def additive_step(label: NDArray[Any], relevance: FloatArray, effect: FloatArray, slot: IntArray) -> FloatArray:
    """One Newton step of the slots' logits, the relevance held: g_s += sum(y - p) / sum p(1 - p), then g -= g_0.

    What slot 0 would have moved goes to the other slots with its sign turned: the level is the relevance's to learn. No
    slot moves farther than one logit before that.

    Args:
        label: (m,) 1 or 0, or a rate of clicks.
        relevance: (m,) logits of the relevance.
        effect: (s,) g, logits of the slots before the step.
        slot: (m,) within [0, s).

    Returns:
        (s,) g after the step, 0 in slot 0.

    Raises:
        Unusable: If a slot has no rows.
    """
    n_slots = len(effect)
    rows_per_slot(slot, n_slots)
    p = expit(relevance.astype(np.float64) + effect[slot])
    gradient = np.bincount(slot, label - p, n_slots)
    curvature = np.bincount(slot, p * (1 - p), n_slots)
    moved = effect + np.clip(gradient / np.maximum(curvature, _NOTHING), -_FARTHEST, _FARTHEST)
    return moved - moved[0]


def identified(unit: IntArray, slot: IntArray, n_slots: int) -> None:
    """Refuse a log in which position cannot be told from relevance.

    With a free relevance per unit, products e_s r_u give both up to one factor, and sums g_s + r_u up to one shift, if
    and only if slots and units, joined where a unit was shown in a slot, make a connected graph: otherwise each part
    has a factor of its own. Features that units share may tell more, by what they assume.

    Args:
        unit: (m,) an ad, or an ad for a query: what has one relevance.
        slot: (m,) within [0, s).
        n_slots: s.

    Raises:
        Unusable: If the slots fall into parts; a slot without impressions is one.
    """
    known, unit = np.unique(unit, return_inverse=True)
    size = n_slots + len(known)
    graph = coo_array((np.ones(len(slot), np.int8), (slot, n_slots + unit)), shape=(size, size))
    part = connected_components(graph, directed=False)[1][:n_slots]
    parts = [np.flatnonzero(part == one).tolist() for one in dict.fromkeys(part.tolist())]
    if len(parts) > 1:
        raise Unusable(f"position cannot be told from relevance: {' and '.join(map(_slots, parts))} share no ad")


def rows_per_slot(slot: IntArray, n_slots: int) -> IntArray:
    """Rows (s,) of each slot.

    Raises:
        Unusable: If a slot has none.
    """
    rows = np.bincount(slot, minlength=n_slots)
    if not rows.all():
        raise Unusable(f"every slot must have an impression: slot {int((rows == 0).argmax())} has none")
    return rows


def _slots(part: Sequence[int]) -> str:
    return f"slot{'s' if len(part) > 1 else ''} {', '.join(map(str, part))}"


def _added(logit: Float32Array, value: FloatArray) -> Float32Array:
    return logit + value.astype(np.float32)


def _multiplied(logit: Float32Array, value: FloatArray) -> Float32Array:
    """Logit of e sigmoid(a): -logsumexp(-a, -b, -a - b), b that of e, as 1 / (e sigmoid(a)) - 1 = (exp(-a) + 1 - e) / e."""
    return np.log(value).astype(np.float32) - np.logaddexp(-logit, log1p(-value).astype(np.float32))


_FORMS: dict[str, Callable[[Float32Array, FloatArray], Float32Array]] = {"additive": _added, "product": _multiplied}
