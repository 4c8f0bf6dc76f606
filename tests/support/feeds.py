"""Planted data whose clicks need a look: the slot decides on the look, and the ad, whatever its slot, on the rest."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit

from models.data import Dataset


@dataclass(frozen=True)
class Feed:
    """Clicks, and what they were drawn by."""

    data: Dataset
    on_top: np.ndarray  # (n, s) probability of a click in the top slot
    slots: np.ndarray  # (s,) examination, or what is added to the logit

    @staticmethod
    def of(
        data: Dataset, on_top: np.ndarray, slots: list[float], *, kind: str, shuffled: float, seed: int = 0
    ) -> "Feed":
        """Ads in the order of their probabilities; in a share of the requests, in any order."""
        rng, effect = np.random.default_rng(seed), np.array(slots)
        randomised = rng.random(len(on_top)) < shuffled
        key = np.where(randomised[:, None], rng.random(on_top.shape), -on_top)
        order = np.argsort(key, axis=1)
        batch, p = data.batch, np.take_along_axis(on_top, order, axis=1)
        row = np.take_along_axis(batch.row, order, axis=1)
        cross = np.take_along_axis(batch.cross, order[:, :, None], axis=1)
        there = p * effect if kind == "product" else expit(logit(p) + effect)
        click = (rng.random(p.shape) < there) & (row >= 0)
        score = batch.ads.dense[row, 1] + cross[:, :, 0]
        moved = replace(
            data, batch=replace(batch, row=row, cross=cross), click=click,
            conversion=click & (rng.random(p.shape) < expit(score)),
        )  # fmt: skip
        return Feed(replace(moved, randomised=randomised), p, effect)
