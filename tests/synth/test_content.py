"""Content: vectors that tell the style of a store through a lens, the more clearly the less noise."""

import numpy as np
import pytest
from scipy import stats

from synth.config import CatalogueConfig, ContentConfig, DriftConfig, InteractionConfig, TasteConfig
from synth.content import Content, make_content
from synth.items import Stores, make_stores

S = 3_000
PLAUSIBLE = 1e-4
QUIET = {"text_noise": 0.0, "visual_noise": 0.0}


@pytest.fixture(scope="module")
def stores() -> Stores:
    return make_stores(CatalogueConfig(stores=S), TasteConfig(), InteractionConfig(), DriftConfig(), 4, 3)


def content(stores: Stores, seed: int = 3, **changes) -> Content:
    return make_content(ContentConfig(**{"text": 5, "visual": 3} | changes), stores, seed)


def told(latent: np.ndarray, vectors: np.ndarray) -> float:
    """R squared of the vectors given the latent, by least squares."""
    latent, vectors = (np.column_stack([part, np.ones(len(part))]).astype(float) for part in (latent, vectors))
    residual = vectors - latent @ np.linalg.lstsq(latent, vectors)[0]
    return float(1 - residual.var() / vectors[:, :-1].var(axis=0).mean() * vectors.shape[1] / (vectors.shape[1] - 1))


def test_vectors_have_the_dimensions_asked_for(stores):
    text, visual = content(stores)

    assert (text.shape, visual.shape) == ((S, 5), (S, 3))


def test_without_noise_text_tells_the_style_and_nothing_else(stores):
    text = content(stores, **QUIET).text

    assert told(stores.style, text) == pytest.approx(1.0, abs=1e-6)


def test_without_noise_pictures_tell_the_style_and_the_click_appeal(stores):
    visual = content(stores, **QUIET).visual

    assert told(np.column_stack([stores.style, stores.click_appeal]), visual) == pytest.approx(1.0, abs=1e-6)
    assert told(stores.style, visual) < 0.95


def test_noise_is_normal_with_the_stated_standard_deviation_and_independent_of_the_signal(stores):
    clear, noisy = content(stores, **QUIET), content(stores, text_noise=0.5, visual_noise=0.7)

    for signal, seen, sigma in ((clear.text, noisy.text, 0.5), (clear.visual, noisy.visual, 0.7)):
        noise = (seen - signal) / sigma
        assert stats.kstest(noise.ravel(), "norm").pvalue > PLAUSIBLE
        assert abs(np.corrcoef(noise.ravel(), signal.ravel())[0, 1]) < 4 / np.sqrt(noise.size)


def test_the_signal_has_unit_variance_over_lenses(stores):
    """Of every text coordinate the variance is that of a lens's squares: chi-squared with 8 degrees over 8."""
    variance = content(stores, text=256, **QUIET).text.var(axis=0)

    assert variance.mean() == pytest.approx(stores.style.var(axis=0).mean(), rel=4 * np.sqrt(2 / 8 / 256))


@pytest.mark.parametrize(("kind", "noise"), [("text", "text_noise"), ("visual", "visual_noise")])
def test_vectors_tell_the_more_of_the_style_the_less_noise_there_is(stores, kind, noise):
    latent = np.column_stack([stores.style, stores.click_appeal])

    share = [told(latent, getattr(content(stores, **{noise: sigma}), kind)) for sigma in (0.0, 0.3, 1.0, 3.0)]

    assert share == sorted(share, reverse=True)
    assert share[0] - share[3] > 0.8


def test_stores_of_like_style_have_like_vectors(stores):
    text = content(stores, text=64).text

    pairs = np.random.default_rng(0).integers(S, size=(2, 5_000))
    apart = [np.linalg.norm(v[pairs[0]] - v[pairs[1]], axis=1) for v in (stores.style, text)]
    assert stats.spearmanr(*apart).statistic > 0.7


def test_pictures_can_be_read_where_no_store_appeals_more_than_another(stores):
    flat = stores._replace(click_appeal=np.zeros(S, np.float32))

    visual = content(flat, **QUIET).visual

    assert told(stores.style, visual) == pytest.approx(1.0, abs=1e-6)


def test_text_and_pictures_are_read_through_lenses_of_their_own(stores):
    plain = content(stores, visual=5, text=5, **QUIET)

    assert np.abs(np.corrcoef(plain.text.T, plain.visual.T)[:5, 5:]).mean() < 0.6
