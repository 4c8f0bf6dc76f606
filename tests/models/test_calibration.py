"""Calibration: planted curves are found again, sums and order are kept, cards are read back, what cannot be fitted is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, xlogy

from models.calibration import FITS, fit_beta, fit_isotonic, fit_platt, fit_temperature
from models.calibrators import Beta, BySegment, Isotonic, Platt, Temperature, beta_terms, calibrator_of
from models.weights import Weights, plain

CALIBRATORS = [
    Platt(0.3, -4.0),
    Temperature(1.7),
    Beta(0.6, 1.4, 0.3),
    Beta(0.0, 0.1, -7.0),
    Isotonic(np.array([-3.0, -1.5, 0.1, 4.0]), np.float32([0.0, 0.1, 0.1, 1.0]).astype(float)),
    BySegment(
        base=Platt(0.8, -1.0), column="campaign", tau=0.4, offset=np.array([0.3, 0.0, -1.1]), rows=np.array([5.0, 0, 0.5]),
        positives=np.array([2.0, 0, 0.25]),
    ),
]  # fmt: skip
every_calibrator = pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda c: c.kind)
fitting = pytest.mark.parametrize("name", ["platt", "isotonic", "temperature", "beta"])


def drawn(p: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random(p.shape) < p


def logits(mean: float = -1.0, n: int = 40_000) -> np.ndarray:
    return np.random.default_rng(6).normal(mean, 2.0, n).astype(np.float32)


def simulated(slope: float, intercept: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    logit = logits(n=n)
    return logit, drawn(expit(slope * logit + intercept))


def probabilities(calibrator, logit: np.ndarray, segment: int = 2) -> np.ndarray:
    return calibrator(logit, np.full(logit.shape, segment))


def standard_errors(terms: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Of the coefficients of a logistic regression: the inverse of Fisher's information."""
    return np.sqrt(np.diag(np.linalg.inv(terms.T.astype(float) * (p * (1 - p)) @ terms)))


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -0.7), (1.0, 0.0), (1.8, 1.2)])
def test_slope_and_intercept_are_found_again(slope, intercept):
    logit, label = simulated(slope, intercept)

    found = fit_platt(logit, plain(label))

    se = standard_errors(np.stack([logit, np.ones_like(logit)], axis=1), expit(slope * logit + intercept))
    assert abs(found.slope - slope) < 4 * se[0]
    assert abs(found.intercept - intercept) < 4 * se[1]


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_a_temperature_is_found_again(temperature):
    logit = logits()
    p = expit(logit / temperature)

    found = fit_temperature(logit, plain(drawn(p)))

    assert abs(1 / found.temperature - 1 / temperature) < 4 * standard_errors(logit[:, None], p)[0]


def test_the_parameters_of_beta_calibration_are_found_again():
    planted = np.array([0.6, 1.4, 0.3])
    logit = logits()
    terms = np.column_stack([*beta_terms(logit), np.ones(len(logit))])
    p = expit(terms @ planted)

    found = fit_beta(logit, plain(drawn(p)))

    assert (np.abs(np.array([found.a, found.b, found.c]) - planted) < 4 * standard_errors(terms, p)).all()


def test_beta_calibration_is_the_published_formula():
    q = np.linspace(0.01, 0.99, 50)

    p = Beta(0.6, 1.4, 0.3)(np.log(q / (1 - q)).astype(np.float32))

    assert p == pytest.approx(1 / (1 + 1 / (np.exp(0.3) * q**0.6 / (1 - q) ** 1.4)), rel=1e-5)


@pytest.mark.parametrize("planted", [(-0.5, 1.2, 0.1), (1.2, -0.5, 0.1)])
def test_a_negative_beta_parameter_gives_way_to_the_best_fit_without_it(planted):
    logit = logits(n=5_000)
    terms = np.column_stack([*beta_terms(logit), np.ones(len(logit))])
    label = drawn(expit(terms @ planted))

    found = fit_beta(logit, plain(label))

    def loss(parameters):
        at = terms @ parameters
        return np.mean(np.logaddexp(0, at) - label * at)

    best = minimize(loss, [1.0, 1.0, 0.0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
    assert 0.0 in (found.a, found.b)
    assert (found.a, found.b, found.c) == pytest.approx(best.x, abs=2e-3)


@pytest.mark.parametrize("mean", [-1.0, -7.0])
def test_platt_forecasts_have_the_sum_and_the_logit_moment_of_labels_however_rare(mean):
    """The equations of maximum likelihood: residuals are orthogonal to 1 and to the logit."""
    logit = logits(mean, n=200_000)
    label = drawn(expit(0.8 * logit - 0.7))

    residual = fit_platt(logit, plain(label))(logit) - label

    assert abs(residual.sum()) < 1e-4 * label.sum()
    assert abs(residual @ logit) < 1e-4 * abs(label @ logit)


def test_the_temperature_leaves_residuals_orthogonal_to_the_logit_where_no_temperature_is_right():
    logit, label = simulated(0.8, -0.7)

    residual = fit_temperature(logit, plain(label))(logit) - label

    assert abs(residual @ logit) < 1e-4 * abs(label @ logit)
    assert residual.mean() > 0.05


def test_isotonic_forecasts_add_up_to_the_weighted_labels_and_keep_the_order():
    rng = np.random.default_rng(3)
    logit = rng.normal(-3, 1.5, 20_000).round(2).astype(np.float32)
    weights = Weights(rng.gamma(1.0, 1.0, 20_000) * drawn(expit(logit)), rng.gamma(1.0, 1.0, 20_000))

    p = fit_isotonic(logit, weights)(logit).astype(float)

    assert p @ weights.total == pytest.approx(weights.positive.sum(), rel=1e-6)
    assert (np.diff(p[np.argsort(logit)]) >= 0).all()
    assert len(np.unique(p)) > 20


def pooled(logit: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> dict[float, float]:
    """Pool-adjacent-violators, by hand: join two neighbours that are out of order until none are."""
    blocks = [
        [{x}, positive[logit == x].sum(), negative[logit == x].sum()]
        for x in np.unique(logit[positive + negative > 0])
    ]  # fmt: skip
    rate = [b[1] / (b[1] + b[2]) for b in blocks]
    while down := [i for i in range(len(rate) - 1) if rate[i] > rate[i + 1]]:
        i = down[0]
        left, right = blocks[i], blocks.pop(i + 1)
        blocks[i] = [left[0] | right[0], left[1] + right[1], left[2] + right[2]]
        rate = [b[1] / (b[1] + b[2]) for b in blocks]
    return {x: r for b, r in zip(blocks, rate, strict=True) for x in b[0]}


ROW = st.tuples(st.integers(-4, 4), st.integers(0, 3), st.integers(0, 3))


@given(rows=st.lists(ROW, min_size=1, max_size=12).map(np.array))
def test_isotonic_is_pool_adjacent_violators(rows):
    logit, positive, negative = rows.T.astype(float)
    if not (positive.any() and negative.any()):
        return

    fitted = fit_isotonic(logit, Weights(positive, negative))

    for x, expected in pooled(logit, positive, negative).items():
        assert fitted(np.float32([x]))[0] == pytest.approx(expected, abs=1e-6)


@fitting
def test_fractional_weights_count_as_repeated_rows(name):
    """Each logit ten times as one class or the other, or once with tenths of both."""
    logit = logits(n=400)
    tens = np.random.default_rng(2).binomial(10, expit(0.7 * logit - 0.4))
    label = (np.arange(10) < tens[:, None]).ravel()

    repeated = FITS[name](np.repeat(logit, 10), plain(label))
    fractional = FITS[name](logit, Weights(tens / 10, 1 - tens / 10))

    assert fractional(logit) == pytest.approx(repeated(logit), rel=1e-5, abs=1e-7)


@fitting
def test_rows_that_do_not_count_change_nothing(name):
    logit, label = simulated(0.7, -0.4, n=500)
    weights = plain(label)

    found = FITS[name](np.append(logit, [9.0, -9.0]), Weights(*(np.append(w, [0.0, 0.0]) for w in weights)))

    assert found(logit) == pytest.approx(FITS[name](logit, weights)(logit), rel=1e-6)


@fitting
def test_every_fit_brings_overconfident_forecasts_nearer_to_the_labels(name):
    logit, label = simulated(0.4, 0.0)

    def log_loss(p):
        return -(xlogy(label, p) + xlogy(~label, 1 - p)).mean()

    before, after = (log_loss(FITS[fit](logit, plain(label))(logit).astype(float)) for fit in ("none", name))
    assert after < before - 0.01


def test_no_calibration_is_the_models_own_probability():
    assert FITS["none"](np.zeros(3), plain(np.ones(3, bool))) == Platt(1.0, 0.0)


@every_calibrator
def test_forecasts_are_float32_from_0_to_1_and_never_fall_with_the_logit(calibrator):
    logit = np.sort(np.random.default_rng(7).normal(0, 6, 4_000)).astype(np.float32)

    p = probabilities(calibrator, logit)

    assert p.dtype == np.float32
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()
    assert p[-1] > p[0]


@every_calibrator
def test_extreme_logits_give_finite_probabilities(calibrator):
    low, high = probabilities(calibrator, np.array([-1e4, 1e4], np.float32))

    assert 0 <= low < high <= 1


@every_calibrator
def test_forecasts_have_the_shape_of_the_logits(calibrator):
    logit = np.random.default_rng(8).normal(size=(6, 4)).astype(np.float32)

    p = probabilities(calibrator, logit.T)

    assert p.shape == (4, 6)
    assert np.array_equal(p, probabilities(calibrator, logit).T)


@every_calibrator
def test_a_calibrator_is_read_back_to_the_bit(calibrator):
    logit = np.random.default_rng(9).normal(0, 4, 500).astype(np.float32)

    again = calibrator_of(json.loads(json.dumps(calibrator.card())))

    assert again.card() == calibrator.card()
    assert again.column == calibrator.column
    for segment in (-1, 0, 2, 9):
        assert np.array_equal(probabilities(again, logit, segment), probabilities(calibrator, logit, segment))


@every_calibrator
def test_a_card_with_a_key_too_few_or_too_many_is_refused(calibrator):
    card = calibrator.card()

    for key in card.keys() - {"kind"}:
        with pytest.raises(ValueError, match=f"a {calibrator.kind} calibrator lacks {key}"):
            calibrator_of({k: v for k, v in card.items() if k != key})
    with pytest.raises(ValueError, match=f"a {calibrator.kind} calibrator has no secret"):
        calibrator_of(card | {"secret": 1})


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (0, {"kind": "oracle"}, "no calibrator of kind 'oracle'; there are platt, temperature"),
        (0, {"kind": ["platt"]}, "no calibrator of kind"),
        (0, {"slope": float("nan")}, "slope is nan"),
        (0, {"slope": 0.0}, "slope is 0.0"),
        (0, {"intercept": "0"}, "intercept is '0'"),
        (0, {"intercept": True}, "intercept is True"),
        (1, {"temperature": -1.0}, "temperature is -1.0"),
        (2, {"b": -0.1}, "b is -0.1"),
        (2, {"c": float("inf")}, "c is inf"),
        (4, {"logit": [-3.0, -1.5, -1.5, 4.0]}, "knots"),
        (4, {"p": [0.0, 0.2, 0.1, 1.0]}, "knots"),
        (4, {"p": [0.0, 0.1, 0.1, 1.5]}, r"p\[3\] is 1.5"),
        (4, {"p": [0.0, 0.1, 0.1]}, "4 of logit, 3 of p"),
        (4, {"p": [], "logit": []}, "knots"),
        (4, {"p": 0.5}, "p is 0.5, it must be a list"),
        (5, {"rows": [1.0, 2.0]}, "3 of offset, 2 of rows"),
        (5, {"offset": [0.0, None, 1.0]}, r"offset\[1\] is None"),
        (5, {"column": ""}, "needs a platt base and a column"),
        (5, {"base": CALIBRATORS[1].card()}, "needs a platt base and a column"),
        (5, {"base": None}, "no calibrator of kind None"),
        (5, {"tau": -1.0}, "tau is -1.0"),
    ],
)  # fmt: skip
def test_a_damaged_card_is_refused_with_what_is_wrong(position, change, message):
    with pytest.raises(ValueError, match=message):
        calibrator_of(CALIBRATORS[position].card() | change)


@pytest.mark.parametrize("card", [None, [], "platt", {}])
def test_what_is_no_card_is_refused(card):
    with pytest.raises(ValueError, match="no calibrator of kind None"):
        calibrator_of(card)


def test_platt_is_the_logistic_of_a_line():
    logit = np.array([[-3.0, 0.0], [0.7, 12.0]], np.float32)

    assert Platt(0.5, -0.7)(logit) == pytest.approx(expit(0.5 * logit - 0.7), rel=1e-6)


def test_isotonic_goes_straight_between_knots_and_stays_outside_them():
    p = CALIBRATORS[4](np.float32([-9.0, -3.0, -2.25, -0.7, 2.05, 9.0]))

    assert p == pytest.approx([0.0, 0.0, 0.05, 0.1, 0.55, 1.0])


@fitting
@pytest.mark.parametrize(
    ("positive", "negative", "share"),
    [(0.0, 1.0, "0 of 10"), (1.0, 0.0, "10 of 10"), (0.25, 0.0, "2.5 of 2.5"), (0.0, 0.0, "0 of 0")],
)
def test_one_class_is_refused_with_its_count(name, positive, negative, share):
    weights = Weights(np.full(10, positive), np.full(10, negative))

    with pytest.raises(ValueError, match=f"cannot calibrate: {share} labels are positive"):
        FITS[name](np.linspace(-1, 1, 10, dtype=np.float32), weights)


@pytest.mark.parametrize("name", ["platt", "temperature", "beta"])
def test_a_model_that_ranks_backwards_is_refused(name):
    logit, label = simulated(1.0, 0.0, n=2_000)

    with pytest.raises(ValueError, match=r"the slope is -.*, the model ranks backwards"):
        FITS[name](-logit, plain(label))


@fitting
@pytest.mark.parametrize(("bad", "rule"), [(-0.5, "finite and >= 0"), (np.nan, "finite"), (np.inf, "finite")])
@pytest.mark.parametrize("of", ["positive", "negative"])
def test_weights_below_0_or_not_finite_are_refused_with_their_place(name, of, bad, rule):
    logit, label = simulated(1.0, 0.0, n=20)
    weights = plain(label)
    getattr(weights, of)[3] = bad

    with pytest.raises(ValueError, match=rf"cannot calibrate: {of}\[3\] is {bad}, it must be {rule}"):
        FITS[name](logit, weights)


@fitting
def test_logits_that_are_not_finite_and_other_shapes_are_refused(name):
    logit, label = simulated(1.0, 0.0, n=20)

    with pytest.raises(ValueError, match=r"have shapes \(19,\), \(20,\) and \(20,\)"):
        FITS[name](logit[1:], plain(label))
    logit[5] = np.nan
    with pytest.raises(ValueError, match=r"logit\[5\] is nan"):
        FITS[name](logit, plain(label))
