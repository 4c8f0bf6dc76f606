"""Content: what text and pictures tell of a store, as vectors that are noisy views of its hidden style."""

from typing import NamedTuple

import numpy as np

from synth import draws
from synth.config import ContentConfig
from synth.draws import Cause
from synth.items import Stores
from synth.types import Float32Array, FloatArray


class Content(NamedTuple):
    """Pre-trained vectors of the stores, one entry per store (S of them)."""

    text: Float32Array  # (S, text dimensions)
    visual: Float32Array  # (S, visual dimensions)


def make_content(config: ContentConfig, stores: Stores, seed: int) -> Content:
    """Look at every store through two lenses: a random reading of the latent, of unit variance, plus noise.

    The text is read from the style; a picture from the style and the click appeal, since it is what the user sees first.
    """
    style = stores.style.astype(np.float64)
    spread = float(stores.click_appeal.std()) or 1.0
    seen = np.column_stack([style, stores.click_appeal / spread])
    return Content(
        text=_reading(seed, Cause.TEXT_READING, Cause.STORE_TEXT, style, config.text, config.text_noise),
        visual=_reading(seed, Cause.VISUAL_READING, Cause.STORE_VISUAL, seen, config.visual, config.visual_noise),
    )


def _reading(seed: int, lens: Cause, noise: Cause, latent: FloatArray, dims: int, sigma: float) -> Float32Array:
    n, width = latent.shape
    matrix = draws.normal(seed, lens, np.arange(width)[:, None], np.arange(dims)) / np.sqrt(width)
    own = draws.normal(seed, noise, np.arange(n)[:, None], np.arange(dims))
    return (latent @ matrix + sigma * own).astype(np.float32)
