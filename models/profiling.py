"""Scoring curves: how long a model takes for so many requests at once.

What a call takes depends on its size, so a service's capacity cannot be read off one throughput. A point is the median of calls,
each on other requests. What is compared is called in turn, round by round, so that a slow moment of a shared machine hits all.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch

from models.data import Batch
from models.errors import Unusable
from models.gbdt import Gbdt
from models.predictor import Model
from models.scoring import PAIRS, Network

_WARM_UP = 2  # calls that are not counted: the first compiles, computes the ads' side and fills caches


class Point(NamedTuple):
    """A place on a scoring curve."""

    requests: int  # scored at once
    rows: int  # candidates = requests x k
    seconds: float  # median of a call
    calls: int  # that it is the median of


class Timed(NamedTuple):
    """What is called with so many requests."""

    predict: Callable[[Batch], object]
    requests: int


def scoring_curve(
    predict: Callable[[Batch], object], batch: Batch, requests: Sequence[int], *, budget_s: float = 0.1,
    least_calls: int = 5,
) -> list[Point]:  # fmt: skip
    """Time calls of several sizes; arguments and refusals as for `in_turn`.

    Returns:
        One point for each size, in the order given.
    """
    return in_turn([Timed(predict, n) for n in requests], batch, budget_s=budget_s, least_calls=least_calls)


def curve_of(
    model: Model, batch: Batch, requests: Sequence[int], *, threads: int = 1, budget_s: float = 0.1, least_calls: int = 5
) -> list[Point]:  # fmt: skip
    """The scoring curve of a model with its calibration, as a service would call it; see `curves_of`."""
    (curve,) = curves_of([model], batch, requests, threads=threads, budget_s=budget_s, least_calls=least_calls)
    return curve


def curves_of(
    models: Sequence[Model], batch: Batch, requests: Sequence[int], *, threads: int = 1, budget_s: float = 0.1,
    least_calls: int = 5, progress: Callable[[float], None] = lambda share: None,
) -> list[list[Point]]:  # fmt: skip
    """The scoring curves of several models, timed in turn.

    Args:
        models: Each scores calls in blocks of their own size, as `sized` says.
        batch: Requests with k candidates each, whose ads stay the same: their side is computed before what is timed.
        requests: Sizes of calls.
        threads: CPU threads of a call; torch's number is put back afterwards.
        budget_s: As for `in_turn`.
        least_calls: As for `in_turn`.
        progress: Called with the share of the work done.

    Returns:
        For each model, one point for each size, in the orders given.

    Raises:
        Unusable: As `in_turn`.
    """
    k = batch.row.shape[1]
    calls = [Timed(sized(model, n, k, threads).predict, n) for model in models for n in requests]
    with torch_threads(threads):
        points = in_turn(calls, batch, budget_s=budget_s, least_calls=least_calls, progress=progress)
    width = len(requests)
    return [points[start : start + width] for start in range(0, len(points), width)]


def in_turn(
    calls: Sequence[Timed], batch: Batch, *, budget_s: float = 0.1, least_calls: int = 5,
    progress: Callable[[float], None] = lambda share: None,
) -> list[Point]:  # fmt: skip
    """Time calls, in as many rounds as `least_calls`; one round has each of them at least once, for its part of the budget.

    Args:
        calls: What is called, and with how many requests.
        batch: What the requests are taken from, one call after the other, and from the start again.
        budget_s: Seconds for each of the calls, about.
        least_calls: Of each, after those that warm up.
        progress: Called with the share of the work done.

    Raises:
        Unusable: If there is nothing to call, a size or `least_calls` is below 1, or the batch has fewer requests than a call.
    """
    _refuse(calls, batch, least_calls)
    took: list[list[float]] = [[] for _ in calls]
    source = [_slices(batch, call.requests) for call in calls]
    done, total = 0, len(calls) * (least_calls + 1)
    for i, call in enumerate(calls):
        for _ in range(_WARM_UP):
            call.predict(next(source[i]))
        progress((done := done + 1) / total)
    for _ in range(least_calls):
        for i, call in enumerate(calls):
            took[i] += _round(call.predict, source[i], budget_s / least_calls)
            progress((done := done + 1) / total)
    k = batch.row.shape[1]
    return [
        Point(call.requests, call.requests * k, median(own), len(own)) for call, own in zip(calls, took, strict=True)
    ]


def sized(model: Model, requests: int, k: int, threads: int = 1) -> Model:
    """The model as it is served in calls of so many requests with k candidates each.

    A network's blocks are then as large as a call, or, of a call beyond its usual block, equal parts of it: a service would not
    fill three requests up to the 6,400 candidates that a simulation scores at once.
    """
    predictor = model.predictor
    if isinstance(predictor, Network):
        blocks = -(-requests // max(1, PAIRS // max(k, 1)))
        return replace(model, predictor=predictor.in_blocks(-(-requests // blocks) * k))
    if isinstance(predictor, Gbdt):
        return replace(model, predictor=replace(predictor, threads=threads))
    return model


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads for torch's operators; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: str) -> str:
    """What the graphics card or, of "cpu", the processor calls itself."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    facts = Path("/proc/cpuinfo")
    named = [line for line in facts.read_text().splitlines() if line.startswith("model name")] if facts.exists() else []
    return named[0].split(":", 1)[1].strip() if named else platform.processor() or platform.machine()


def _refuse(calls: Sequence[Timed], batch: Batch, least_calls: int) -> None:
    if not calls or least_calls < 1:
        raise Unusable(f"{len(calls)} calls, each at least {least_calls} times: both must be 1 or more")
    for call in calls:
        if not 1 <= call.requests <= len(batch):
            raise Unusable(f"a call has {call.requests} requests, it must be 1 to {len(batch)}, those of the batch")


def _slices(batch: Batch, n: int) -> Iterator[Batch]:
    """n requests of the batch after the other, and again; the last ones that are fewer are left out."""
    while True:
        for start in range(0, len(batch) - n + 1, n):
            yield batch.rows(start, start + n)


def _round(predict: Callable[[Batch], object], source: Iterator[Batch], budget_s: float) -> list[float]:
    """Seconds of calls, at least one, until the budget is spent."""
    took: list[float] = []
    spent = 0.0
    while not took or spent < budget_s:
        some = next(source)
        started = perf_counter()
        predict(some)
        took.append(perf_counter() - started)
        spent += took[-1]
    return took
