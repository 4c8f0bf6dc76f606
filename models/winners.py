"""The winner's curse: an auction picks forecasts that are too high, though forecasts are right on average."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from models.errors import Unusable
from models.scores import Interval

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]


class WinnersCurse(NamedTuple):
    """Forecast over true positives; 1 is calibrated."""

    candidates: float
    winners: float


def winners_curse(p_hat: FloatArray, p: FloatArray, won: NDArray[np.bool_]) -> WinnersCurse:
    """Calibration among all candidates and among those that won.

    Args:
        p_hat: Forecasts, of any shape.
        p: True probabilities, or labels, of the same shape.
        won: Of the same shape; True where the candidate was shown.

    Raises:
        Unusable: If the winners' true probabilities do not add up to more than 0.
    """
    if not p[won].sum() > 0:
        raise Unusable(
            f"the winner's curse needs winners with a true probability above 0: {won.sum()} won, none has one"
        )
    return WinnersCurse(float(p_hat.sum() / p.sum()), float(p_hat[won].sum() / p[won].sum()))


class Cursed(NamedTuple):
    """Forecast over true positives, with 95% intervals."""

    candidates: Interval
    winners: Interval
    curse: Interval  # the winners' over the candidates'; above 1, auctions pick what is over-predicted


def curse_intervals(p_hat: FloatArray, p: FloatArray, won: NDArray[np.bool_], group: IntArray) -> Cursed:
    """`winners_curse` with intervals by the delta method: groups, such as users, are independent, rows of a group need not be.

    Args:
        p_hat: (m,) forecasts.
        p: (m,) true probabilities, or labels.
        won: (m,) True where the candidate was shown.
        group: (m,) id of the row's group.

    Raises:
        Unusable: If there are fewer than two groups, or the winners' forecasts or true probabilities add up to 0.

    References:
        Deng, Knoblich & Lu (2018), Applying the delta method in metric analytics, KDD.
    """
    of = np.unique(group, return_inverse=True)[1]
    if not len(of) or of.max() < 1 or not p_hat[won].sum() > 0:
        raise Unusable(f"an interval of the winner's curse needs two groups and a winner: {won.sum()} of {len(of)} won")
    found = winners_curse(p_hat, p, won)

    def pull(ratio: float, rows: NDArray[np.bool_]) -> FloatArray:
        """(groups,) what each adds to the error of a ratio, in parts of it."""
        off = np.bincount(of, np.where(rows, p_hat - ratio * p, 0.0))
        return off / p_hat[rows].sum()

    everyone = pull(found.candidates, np.ones_like(won))
    winners = pull(found.winners, won)
    return Cursed(
        _around(found.candidates, everyone), _around(found.winners, winners),
        _around(found.winners / found.candidates, winners - everyone),
    )  # fmt: skip


def _around(estimate: float, pulls: FloatArray) -> Interval:
    """Interval of an estimate from the errors of its groups, in parts of it; they add up to 0."""
    n = len(pulls)
    half = float(norm.ppf(0.975)) * estimate * float(np.sqrt(n / (n - 1) * (pulls**2).sum()))
    return Interval(estimate, estimate - half, estimate + half)


def expected_curse(candidates: int, sigma: float) -> float:
    """Calibration of the winner, the highest forecast of k candidates whose true probabilities and bids are equal.

    Forecasts are the truth times independent lognormal noise of mean 1 and standard deviation `sigma` of its log, at least 0.
    The mean of the highest of k is k E[Phi(Z + sigma)^(k - 1)], Z standard normal; for k = 2 it is 2 Phi(sigma / sqrt 2), 1.276
    at 0.5.

    Raises:
        Unusable: If there is no candidate or `sigma` is negative.
    """
    if candidates < 1 or not sigma >= 0:
        raise Unusable(f"the winner's curse needs a candidate and noise of at least 0: {candidates} of noise {sigma}")
    k = candidates
    mean, _ = quad(lambda z: k * norm.pdf(z) * ndtr(z + sigma) ** (k - 1), -12, 12, epsabs=0, epsrel=1e-10, limit=200)
    return float(mean)
